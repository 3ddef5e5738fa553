import { spawn } from 'node:child_process';
import { timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { HttpMount } from '../../base/http-mount.ts';
import type { Log } from '../../base/log.ts';

export interface ServedRepository {
  /** Bare repository or `.git` directory. */
  readonly gitdir: string;
  readonly writable: boolean;
  /** Called after each push that was accepted, once its refs have moved. */
  onPush(): void;
}

export interface BuiltInRemoteOptions {
  /** By path below the prefix: `cluster.git`, `local/site.git`. */
  readonly repositories: ReadonlyMap<string, ServedRepository>;
  /** Clone and push need it: what is pushed runs on this machine. */
  readonly token: string;
  readonly log: Log;
}

/** Largest push; the same bound is given to git as `receive.maxInputSize`. */
const maxPushBytes = 256 * 1024 * 1024;
const maxDurationMs = 300_000;

const route = /^\/git\/((?:[a-z0-9][a-z0-9._-]*\/)?[a-z0-9][a-z0-9._-]*\.git)\/(info\/refs|git-upload-pack|git-receive-pack)$/i;

/**
 * The built-in Git remote: smart HTTP by git's own `http-backend`, behind a token. Only the three addresses of the smart protocol exist,
 * only repositories of the list are served, and the child gets no other environment than what is written here.
 *
 * @see https://git-scm.com/docs/git-http-backend
 */
export function createBuiltInRemote({ repositories, token, log }: BuiltInRemoteOptions): HttpMount {
  return {
    prefix: '/git/',
    async handle(request, response) {
      const url = new URL(request.url ?? '/', 'http://localhost');
      const [, name = '', action = ''] = route.exec(url.pathname) ?? [];
      if (!isAuthorized(request.headers.authorization, token)) {
        refuse(response, 401, 'The Git remote needs its token: take the address from "midship git-url".', {
          'WWW-Authenticate': 'Basic realm="midship"',
        });
        return;
      }
      const repository = repositories.get(name);
      if (repository === undefined) {
        refuse(response, 404, 'No such repository.');
        return;
      }
      const service = action === 'info/refs' ? url.searchParams.get('service') : action;
      if (
        request.method !== (action === 'info/refs' ? 'GET' : 'POST') ||
        (service !== 'git-upload-pack' && service !== 'git-receive-pack')
      ) {
        refuse(response, 403, 'Only the smart HTTP protocol is served.');
        return;
      }
      if (service === 'git-receive-pack' && !repository.writable) {
        refuse(response, 403, 'This repository is a directory of this machine: commit there, it is watched.');
        return;
      }
      try {
        await serve({ request, response, repository, action, query: url.search.slice(1) });
        if (action === 'git-receive-pack') repository.onPush();
      } catch (err) {
        log.warn({ err, repository: name }, 'Could not serve Git request');
        if (response.headersSent) response.destroy();
        else refuse(response, 500, 'The request failed; see the log.');
      }
    },
  };
}

function isAuthorized(header: string | undefined, token: string): boolean {
  const [scheme = '', value = ''] = (header ?? '').split(' ');
  let given = '';
  if (scheme.toLowerCase() === 'bearer') given = value;
  if (scheme.toLowerCase() === 'basic') {
    const decoded = Buffer.from(value, 'base64').toString('utf8');
    given = decoded.slice(decoded.indexOf(':') + 1);
  }
  const left = Buffer.from(given);
  const right = Buffer.from(token);
  return left.length === right.length && timingSafeEqual(left, right);
}

function refuse(response: ServerResponse, status: number, message: string, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8', Connection: 'close', ...headers });
  response.end(`${message}\n`);
}

interface ServeOptions {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly repository: ServedRepository;
  readonly action: string;
  readonly query: string;
}

async function serve({ request, response, repository, action, query }: ServeOptions): Promise<void> {
  const signal = AbortSignal.timeout(maxDurationMs);
  const child = spawn('git', ['http-backend'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: {
      PATH: process.env.PATH ?? '/usr/bin:/bin',
      HOME: '/nonexistent',
      LANG: 'C',
      GIT_CONFIG_NOSYSTEM: '1',
      GIT_CONFIG_GLOBAL: '/dev/null',
      ...gitConfig({
        'safe.directory': '*',
        'http.receivepack': String(repository.writable),
        'receive.maxInputSize': String(maxPushBytes),
        'transfer.fsckObjects': 'true',
        'core.hooksPath': '/dev/null',
      }),
      GIT_HTTP_EXPORT_ALL: '1',
      GIT_PROJECT_ROOT: repository.gitdir,
      PATH_INFO: `/${action}`,
      QUERY_STRING: query,
      REQUEST_METHOD: request.method ?? 'GET',
      CONTENT_TYPE: request.headers['content-type'] ?? '',
      REMOTE_USER: 'midship',
      REMOTE_ADDR: request.socket.remoteAddress ?? '',
      GIT_PROTOCOL: String(request.headers['git-protocol'] ?? ''),
      HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '',
      ...(request.headers['content-length'] === undefined ? {} : { CONTENT_LENGTH: request.headers['content-length'] }),
    },
    signal,
  });
  const exited = new Promise<void>((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`git http-backend exited with ${code}`))));
  });
  // A client that goes away must not leave git waiting for the rest of its body.
  response.on('close', () => child.kill());
  try {
    await Promise.all([pipeline(request, limit(maxPushBytes), child.stdin).catch(ignoreClosedPipe), relay(child.stdout, response), exited]);
  } finally {
    child.kill();
  }
}

/** git closes its input when it has what it needs (an `info/refs` request has no body). */
function ignoreClosedPipe(err: NodeJS.ErrnoException): void {
  if (err.code !== 'EPIPE' && err.code !== 'ERR_STREAM_PREMATURE_CLOSE') throw err;
}

function limit(maxBytes: number): Transform {
  let seen = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      seen += chunk.byteLength;
      if (seen > maxBytes) done(new Error(`the push is larger than ${maxBytes} bytes`));
      else done(null, chunk);
    },
  });
}

/** Configuration as environment, which git reads as if given on its command line. */
function gitConfig(settings: Readonly<Record<string, string>>): Record<string, string> {
  const entries = Object.entries(settings);
  const env: Record<string, string> = { GIT_CONFIG_COUNT: String(entries.length) };
  for (const [index, [key, value]] of entries.entries()) {
    env[`GIT_CONFIG_KEY_${index}`] = key;
    env[`GIT_CONFIG_VALUE_${index}`] = value;
  }
  return env;
}

/** A CGI answer: header lines, an empty line, the body. */
async function relay(output: Readable, response: ServerResponse): Promise<void> {
  let head = Buffer.alloc(0);
  let headersDone = false;
  for await (const chunk of output as AsyncIterable<Buffer>) {
    if (headersDone) {
      await write(response, chunk);
      continue;
    }
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf('\r\n\r\n');
    if (end === -1) {
      if (head.byteLength > 65_536) throw new Error('git http-backend sent no headers');
      continue;
    }
    headersDone = true;
    let status = 200;
    for (const line of head.subarray(0, end).toString('latin1').split('\r\n')) {
      const colon = line.indexOf(':');
      const name = line.slice(0, colon);
      const value = line.slice(colon + 1).trim();
      if (name.toLowerCase() === 'status') status = Number.parseInt(value, 10);
      else response.setHeader(name, value);
    }
    response.writeHead(status);
    await write(response, head.subarray(end + 4));
  }
  response.end();
}

async function write(response: ServerResponse, chunk: Buffer): Promise<void> {
  if (response.destroyed || response.write(chunk)) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });
}

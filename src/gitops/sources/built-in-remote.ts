import { type ChildProcessByStdio, type SpawnOptions, spawn } from 'node:child_process';
import { statfs } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Duplex, type Readable, Transform, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { HttpMount } from '../../base/contracts/http-mount.ts';
import type { Log } from '../../base/log.ts';
import { syncNames } from './durable-names.ts';
import { durableSettings, frugalSettings, gitConfig, isolatedEnvironment } from './git-command.ts';
import { type FindGitUser, type GitUser, identify } from './git-users.ts';
import type { PushNotice } from './local-source.ts';
import { answerHook, type CheckPush, type Commitment, type CommitPush, type PreReceivePolicy, parseRefUpdate } from './pre-receive.ts';

export interface ServedRepository {
  /** Bare repository or `.git` directory. */
  readonly gitdir: string;
  readonly writable: boolean;
  /** Called with each push before its refs can move: whose commits these are is known when they are seen. */
  onReceiving?(push: PushNotice): void;
  /** Called with each push that passed its check, before its refs move. Absent: every one of them is taken. */
  readonly commit?: CommitPush | undefined;
  /** Called after each push that was accepted, once its refs have moved. */
  onPush(push: PushNotice): void;
}

export interface BuiltInRemoteOptions {
  /** By path below the prefix: `cluster.git`, `local/site.git`. */
  readonly repositories: ReadonlyMap<string, ServedRepository>;
  /** Clone and push need it: what is pushed runs on this machine. */
  readonly token: string;
  /** People with tokens of their own, asked at every request: who is taken off the list is out at once. */
  readonly findUser?: FindGitUser;
  /** Looks at pushes before their refs move. */
  readonly preReceive?: PreReceive;
  readonly log: Log;
}

export interface PreReceive {
  readonly policy: PreReceivePolicy;
  /** With the hook that `writeHooks` wrote. */
  readonly hooksDirectory: string;
  readonly check: CheckPush;
  readonly checkTimeoutMs?: number;
}

/** Largest push; the same bound is given to git as `receive.maxInputSize`. */
const maxPushBytes = 256 * 1024 * 1024;
const maxDurationMs = 300_000;
/** Pushes under way at the same time: each has processes of its own, and may be tried before it is taken. */
const maxPushes = 16;
/** With less room than this a push is not begun. */
const minRoomBytes = 1024 * 1024;
/** Time for git to end by itself once its client is gone. */
const endGraceMs = 10_000;
const maxCommandBytes = 64 * 1024;

const route = /^\/git\/((?:[a-z0-9][a-z0-9._-]*\/)?[a-z0-9][a-z0-9._-]*\.git)\/(info\/refs|git-upload-pack|git-receive-pack)$/i;

/**
 * The built-in Git remote: smart HTTP by git's own `http-backend`, behind a token. Only the three addresses of the smart
 * protocol exist, and only repositories of the list are served. The child gets no other environment than this file gives
 * it.
 *
 * @see https://git-scm.com/docs/git-http-backend
 */
export function createBuiltInRemote({ repositories, token, findUser, preReceive, log }: BuiltInRemoteOptions): HttpMount {
  let pushes = 0;
  return {
    prefix: '/git/',
    async handle(request, response) {
      const url = new URL(request.url ?? '/', 'http://localhost');
      const [, name = '', action = ''] = route.exec(url.pathname) ?? [];
      const user = await identify(request.headers.authorization, { token, findUser });
      if (user === undefined) {
        refuse(response, 401, {
          message: 'The Git remote needs its token: take the address from "midship git-url".',
          headers: { 'WWW-Authenticate': 'Basic realm="midship"' },
        });
        return;
      }
      const repository = repositories.get(name);
      if (repository === undefined) {
        refuse(response, 404, { message: 'No such repository.' });
        return;
      }
      const service = action === 'info/refs' ? url.searchParams.get('service') : action;
      if (
        request.method !== (action === 'info/refs' ? 'GET' : 'POST') ||
        (service !== 'git-upload-pack' && service !== 'git-receive-pack')
      ) {
        refuse(response, 403, { message: 'Only the smart HTTP protocol is served.' });
        return;
      }
      if (service === 'git-receive-pack' && !repository.writable) {
        refuse(response, 403, { message: 'This repository is a directory of this machine: commit there, it is watched.' });
        return;
      }
      if (pushes >= maxPushes && action === 'git-receive-pack') {
        refuse(response, 503, { message: 'Too many pushes at once; try again.' });
        return;
      }
      if (service === 'git-receive-pack' && !user.mayPush) {
        refuse(response, 403, { message: `${user.name} may read this repository and not push to it.` });
        return;
      }
      // Clients show a text only here. Later git itself says "unpacker error".
      if (action === 'info/refs' && service === 'git-receive-pack' && (await isFull(repository.gitdir))) {
        refuse(response, 507, {
          message:
            'The disk of the cluster is full, so it takes no push. Your commits are safe in your clone: free some room and push again.',
        });
        return;
      }
      if (action === 'git-receive-pack') pushes += 1;
      try {
        const pushed = await serve({ request, response, repository, action, query: url.search.slice(1), user, preReceive, log });
        if (pushed !== undefined) {
          log.info({ repository: name, user: user.name, commits: pushed }, 'Took push');
          repository.onPush({ user: user.name, shas: pushed });
        }
      } catch (err) {
        log.warn({ err, repository: name }, 'Could not serve Git request');
        if (response.headersSent) response.destroy();
        else refuse(response, 500, { message: 'The request failed; see the log.' });
      } finally {
        if (action === 'git-receive-pack') pushes -= 1;
      }
    },
  };
}

/** Some file systems make inodes as they need them, and report none. */
async function isFull(gitdir: string): Promise<boolean> {
  const { bavail, bsize, files, ffree } = await statfs(gitdir);
  return bavail * bsize < minRoomBytes || (files > 0 && ffree === 0);
}

function refuse(
  response: ServerResponse,
  status: number,
  { message, headers = {} }: { readonly message: string; readonly headers?: Readonly<Record<string, string>> },
): void {
  response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8', Connection: 'close', ...headers });
  response.end(`${message}\n`);
}

interface ServeOptions {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly repository: ServedRepository;
  readonly action: string;
  readonly query: string;
  readonly user: GitUser;
  readonly preReceive: PreReceive | undefined;
  readonly log: Log;
}

/** @returns the commits that the refs of a push name; undefined when it was none, or refused */
async function serve(options: ServeOptions): Promise<readonly string[] | undefined> {
  const { request, response, repository, action, query, user, preReceive, log } = options;
  const startedAt = Date.now();
  const signal = AbortSignal.timeout(maxDurationMs);
  const isHooked = action === 'git-receive-pack' && (preReceive?.policy !== 'off' || repository.commit !== undefined);
  const hook = isHooked ? preReceive : undefined;
  let committing: Promise<Commitment> | undefined;
  let conversation: ReturnType<typeof answerHook> | undefined;
  const { commit } = repository;
  const spawnOptions: SpawnOptions = {
    // The last one reaches the hook: git leaves it open, and nobody else has the other end.
    stdio: ['pipe', 'pipe', 'ignore', hook === undefined ? 'ignore' : 'pipe'],
    env: {
      ...isolatedEnvironment,
      ...gitConfig({
        'safe.directory': '*',
        ...frugalSettings,
        ...durableSettings,
        'http.receivepack': String(repository.writable),
        'receive.maxInputSize': String(maxPushBytes),
        'transfer.fsckObjects': 'true',
        'core.hooksPath': hook?.hooksDirectory ?? '/dev/null',
      }),
      GIT_HTTP_EXPORT_ALL: '1',
      GIT_PROJECT_ROOT: repository.gitdir,
      PATH_INFO: `/${action}`,
      QUERY_STRING: query,
      REQUEST_METHOD: request.method ?? 'GET',
      CONTENT_TYPE: request.headers['content-type'] ?? '',
      REMOTE_USER: user.name,
      REMOTE_ADDR: request.socket.remoteAddress ?? '',
      GIT_PROTOCOL: String(request.headers['git-protocol'] ?? ''),
      HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '',
      ...(request.headers['content-length'] === undefined ? {} : { CONTENT_LENGTH: request.headers['content-length'] }),
    },
    signal,
  };
  const child = spawn('git', ['http-backend'], spawnOptions) as ChildProcessByStdio<Writable, Readable, null>;
  const exited = new Promise<void>((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`git http-backend exited with ${code}`))));
  });
  const socket = (child.stdio as readonly unknown[])[3] as Duplex | null | undefined;
  let killTimer: NodeJS.Timeout | undefined;
  // Without input git ends by itself, the hook refuses, and git deletes the objects that came. A killed git leaves them.
  const end = (): void => {
    if (action !== 'git-receive-pack') child.kill();
    child.stdin.destroy();
    socket?.destroy();
    killTimer ??= setTimeout(() => child.kill(), endGraceMs);
  };
  response.on('close', end);
  try {
    const commands = new PushCommands((shas) => repository.onReceiving?.({ user: user.name, shas }));
    const input = pipeline(
      request,
      limit(maxPushBytes, (chunk) => action === 'git-receive-pack' && commands.add(chunk)),
      child.stdin,
    ).catch(ignoreClosedPipe);
    conversation =
      hook === undefined || socket === null || socket === undefined
        ? undefined
        : answerHook({
            ...hook,
            socket,
            gitdir: repository.gitdir,
            commit: commit && ((updates) => (committing = commit(updates, signal))),
            signal,
            log,
          });
    const [, , , verdict] = await Promise.all([input, relay(child.stdout, response), exited, conversation]);
    // The client takes the push for done when the answer ends, so it ends once a power cut cannot undo the push.
    if (action === 'git-receive-pack' && verdict !== 'refused') await syncNames(repository.gitdir, startedAt);
    response.end();
    return action === 'git-receive-pack' && verdict !== 'refused' ? commands.shas() : undefined;
  } finally {
    end();
    const gone = exited.catch(() => undefined).finally(() => clearTimeout(killTimer));
    // A git whose client went away may still move refs, and the hook may still be answered.
    if (commit !== undefined) await Promise.allSettled([gone, conversation]);
    await committing?.then(
      (commitment) => commitment.end(),
      () => undefined,
    );
  }
}

/** The beginning of a push: a line for each ref, before the objects. @see gitprotocol-pack(5), "Reference Update Request" */
class PushCommands {
  readonly #onComplete: (shas: readonly string[]) => void;
  #text = '';
  /** The commits that are named from now on; of a push that moves very many refs the first ones. */
  #shas: readonly string[] | undefined;

  constructor(onComplete: (shas: readonly string[]) => void) {
    this.#onComplete = onComplete;
  }

  add(chunk: Buffer): void {
    if (this.#shas !== undefined) return;
    this.#text += chunk.toString('latin1', 0, maxCommandBytes);
    const found = new Set<string>();
    let at = 0;
    for (;;) {
      const length = Number.parseInt(this.#text.slice(at, at + 4), 16);
      if (!(length > 4) || at + length > this.#text.length) break;
      const [line = ''] = this.#text.slice(at + 4, at + length).split('\0');
      const update = parseRefUpdate(line.trimEnd());
      if (update !== undefined) found.add(update.after);
      at += length;
    }
    const isWhole = this.#text.startsWith('0000', at) || this.#text.length > maxCommandBytes;
    if (!isWhole) return;
    this.#shas = [...found];
    this.#text = '';
    this.#onComplete(this.#shas);
  }

  shas(): readonly string[] {
    return this.#shas ?? [];
  }
}

/** git closes its input when it has what it needs (an `info/refs` request has no body). */
function ignoreClosedPipe(err: NodeJS.ErrnoException): void {
  if (err.code !== 'EPIPE' && err.code !== 'ERR_STREAM_PREMATURE_CLOSE') throw err;
}

function limit(maxBytes: number, onChunk: (chunk: Buffer) => unknown): Transform {
  let seen = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      seen += chunk.byteLength;
      onChunk(chunk);
      if (seen > maxBytes) done(new Error(`the push is larger than ${maxBytes} bytes`));
      else done(null, chunk);
    },
  });
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

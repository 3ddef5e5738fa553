import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import net, { type AddressInfo, type Server, type Socket } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { pino } from 'pino';
import { createBuiltInRemote } from '../../src/gitops/sources/built-in-remote.ts';
import { temporaryDirectory } from './git.ts';

const run = promisify(execFile);

export interface ServedRemote {
  /** Address of a repository by its name. */
  url(name: string): string;
  readonly requests: readonly string[];
  stop(): Promise<void>;
}

export interface RemoteOptions {
  /** By name: the directory with the repository's objects. */
  readonly repositories: Readonly<Record<string, string>>;
  readonly token: string;
  /** Repositories that were renamed, by their old name: where requests to them are sent, with the rest of their path. */
  readonly moved?: Readonly<Record<string, string>>;
  /** Serves https; with `ca`, only to clients that have a certificate of it. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca?: string };
}

const listen = async (server: Server): Promise<number> => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
};

/** Closes a server and whatever is still connected to it, in the middle of a handshake too. */
function closer(server: Server): () => Promise<void> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  return async () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of sockets) socket.destroy();
    await closed;
  };
}

/** Repositories behind smart HTTP and a token, on a free port. */
export async function serveRemote({ repositories, token, moved = {}, tls }: RemoteOptions): Promise<ServedRemote> {
  const served = Object.entries(repositories).map(
    ([name, gitdir]) => [`${name}.git`, { gitdir, writable: true, onPush: () => undefined }] as const,
  );
  const remote = createBuiltInRemote({ repositories: new Map(served), token, log: pino({ level: 'silent' }) });
  const requests: string[] = [];
  const handle = (request: http.IncomingMessage, response: http.ServerResponse): void => {
    requests.push(`${request.method} ${request.url}`);
    const [, name = '', rest = ''] = /^\/git\/([^/]+)\.git(.*)$/.exec(request.url ?? '') ?? [];
    const to = Object.hasOwn(moved, name) ? moved[name] : undefined;
    if (to === undefined) void remote.handle(request, response);
    else response.writeHead(301, { Location: to + rest }).end();
  };
  const server =
    tls === undefined
      ? http.createServer(handle)
      : https.createServer({ ...tls, requestCert: tls.ca !== undefined, rejectUnauthorized: tls.ca !== undefined }, handle);
  const stop = closer(server);
  const port = await listen(server);
  return {
    url: (name) => `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}/git/${name}.git`,
    requests,
    stop,
  };
}

export interface ServedProxy {
  readonly address: string;
  /** `CONNECT host:port` and `GET address`, in the order they came. */
  readonly requests: readonly string[];
  stop(): Promise<void>;
}

/** An HTTP proxy that tunnels and forwards, for those who know the password. */
export async function serveProxy(password: string): Promise<ServedProxy> {
  const requests: string[] = [];
  const isAllowed = ({ headers }: http.IncomingMessage): boolean =>
    headers['proxy-authorization'] === `Basic ${Buffer.from(`midship:${password}`).toString('base64')}`;
  const server = http.createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    if (!isAllowed(request)) {
      response.writeHead(407).end();
      return;
    }
    const { 'proxy-authorization': _secret, ...headers } = request.headers;
    const onward = http.request(request.url ?? '', { method: request.method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    request.pipe(onward);
  });
  server.on('connect', (request: http.IncomingMessage, socket: Socket) => {
    requests.push(`${request.method} ${request.url}`);
    if (!isAllowed(request)) {
      socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
      return;
    }
    const [host = '', port = ''] = (request.url ?? '').split(':');
    const onward = net.connect(Number(port), host, () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      onward.pipe(socket).pipe(onward);
    });
    for (const [one, other] of [[onward, socket] as const, [socket, onward] as const]) {
      one.on('error', () => one.destroy());
      one.on('close', () => other.destroy());
    }
  });
  const stop = closer(server);
  const port = await listen(server);
  return {
    address: `http://127.0.0.1:${port}`,
    requests,
    stop,
  };
}

const sshd = '/usr/sbin/sshd';
/** True when a real ssh server can be started here: Debian's openssh-server. */
export const hasSshd = existsSync(sshd);

export interface ServedSsh {
  /** Address of a repository by its directory. */
  url(directory: string): string;
  /** The key that may log in, and the line of known_hosts for the server. */
  readonly identity: string;
  readonly knownHosts: string;
  /** A key that may not. */
  readonly strangerIdentity: string;
  stop(): Promise<void>;
}

/** A real ssh server on a free port, one process a connection, for the user who runs the tests. */
export async function serveSsh(): Promise<ServedSsh> {
  const directory = await temporaryDirectory('sshd');
  const keygen = async (name: string): Promise<string> => {
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(directory, name)]);
    return readFile(join(directory, name), 'utf8');
  };
  await keygen('host');
  const identity = await keygen('identity');
  const strangerIdentity = await keygen('stranger');
  await writeFile(
    join(directory, 'sshd_config'),
    [
      `HostKey "${join(directory, 'host')}"`,
      `AuthorizedKeysFile "${join(directory, 'identity.pub')}"`,
      'StrictModes no',
      'UsePAM no',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'PermitRootLogin prohibit-password',
      'PidFile none',
      '',
    ].join('\n'),
  );
  // The directory the server gives up its rights in; a service of the system would have made it.
  if (userInfo().uid === 0) await mkdir('/run/sshd', { recursive: true, mode: 0o755 });
  const children = new Set<ChildProcess>();
  const server = net.createServer({ pauseOnConnect: true }, (socket) => {
    const child = spawn(sshd, ['-i', '-e', '-f', join(directory, 'sshd_config')], { stdio: [socket, socket, 'ignore'] });
    children.add(child);
    child.on('exit', () => {
      children.delete(child);
      socket.destroy();
    });
  });
  const stop = closer(server);
  const port = await listen(server);
  const hostKey = await readFile(join(directory, 'host.pub'), 'utf8');
  return {
    url: (path) => `ssh://${userInfo().username}@127.0.0.1:${port}${encodeURI(path)}`,
    identity,
    knownHosts: `[127.0.0.1]:${port} ${hostKey}`,
    strangerIdentity,
    async stop() {
      for (const child of children) child.kill();
      await stop();
    },
  };
}

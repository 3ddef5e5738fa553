import { stat } from 'node:fs/promises';
import { type IncomingMessage, STATUS_CODES } from 'node:http';
import { Socket } from 'node:net';
import { type Duplex, Readable } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import { endWhenSilent } from '../../base/message-socket.ts';
import type { NodeAgent } from '../agent.ts';
import { readLog } from '../container-log.ts';
import { type ContainerRuntime, type ContainerStatus, type SandboxStatus, UnsupportedError } from '../container-runtime.ts';
import { HttpError } from '../http-error.ts';
import { allContainers } from '../pod-references.ts';
import { errorText } from './error-text.ts';
import {
  channelProtocol,
  type PortForward,
  parsePorts,
  portForwardProtocol,
  servePortForward,
  servePortForwardChannels,
} from './port-forward.ts';
import { refuseRemoteCommand, remoteCommandProtocols, serveRemoteCommand } from './remote-command.ts';

export interface StreamingServerOptions {
  readonly agent: NodeAgent;
  readonly runtime: ContainerRuntime;
  readonly clock: Clock;
  readonly log: Log;
  /** @throws HttpError 403 for a caller who may not */
  authorize(request: IncomingMessage): void;
}

/** The connections of the kubelet API: exec, attach and port-forward, each opened by an HTTP upgrade. */
export interface StreamingServer {
  /** Takes the connection of a request that asks for an upgrade; it never throws. */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /**
   * Answers a request without an upgrade.
   *
   * @throws HttpError always: the error of the connection, or that an upgrade is needed
   */
  refuse(request: IncomingMessage): never;
  /** Ends every session. */
  close(): void;
}

/** Paths that are served by an upgrade only. */
export const streamingPath = /^\/(exec|attach|portForward)\/([^/]+)\/([^/]+)(?:\/([^/]+))?$/;

const maxSessions = 256;
/** Largest message; clients send some dozens of KiB. */
const maxMessageBytes = 1024 * 1024;
const keepAliveMs = 30_000;
const upgradeRequired = 'Upgrade request required';

interface StreamTarget {
  readonly action: string;
  readonly namespace: string;
  readonly name: string;
  readonly container: string;
  readonly query: URLSearchParams;
}

interface StreamRequest extends StreamTarget {
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
}

export function createStreamingServer({ agent, runtime, clock, log, authorize }: StreamingServerOptions): StreamingServer {
  const sessions = new Set<Duplex>();
  const webSockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    maxPayload: maxMessageBytes,
    perMessageDeflate: false,
    handleProtocols: (offered, request) => accepted(request, offered) ?? false,
  });

  async function handle(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    authorize(request);
    if (sessions.size >= maxSessions) throw new HttpError(429, `${maxSessions} streams are open on this node already`);
    const stream: StreamRequest = { ...targetOf(request), request, socket, head };
    if (stream.action === 'portForward') await portForward(stream);
    else if (stream.action === 'exec') await exec(stream);
    else await attach(stream);
  }

  /** @throws HttpError when the container does not run, in the words of a kubelet for one that has ended or never was */
  function runningContainer({ namespace, name, container, action }: StreamTarget): ContainerStatus {
    const found = agent.podNamed(namespace, name);
    if (found === undefined) throw new HttpError(404, 'pod does not exist');
    const run = found.sandbox?.containers.find((status) => status.name === container && status.state === 'running');
    if (run !== undefined) return run;
    const why =
      action === 'attach' ? `container ${container} not found in pod ${name}_${namespace}` : `container not found ("${container}")`;
    throw new HttpError(500, why);
  }

  /** @throws HttpError when the pod is not on this node */
  function sandboxOf({ namespace, name }: StreamTarget): SandboxStatus {
    const sandbox = agent.podNamed(namespace, name)?.sandbox;
    if (sandbox === undefined) throw new HttpError(404, 'pod does not exist');
    return sandbox;
  }

  async function exec(stream: StreamRequest): Promise<void> {
    const { query } = stream;
    const { id } = runningContainer(stream);
    const command = query.getAll('command');
    if (command.length === 0) throw new HttpError(400, 'you must specify at least one command for the container');
    const wants = wantsOf(query);
    await serveSocket(stream, async (socket, signal) => {
      const session = await orRefuse(socket, 'error executing command in container', () =>
        runtime.startExec(id, command, { stdin: wants.stdin, tty: wants.tty, signal }),
      );
      if (session !== undefined) await serveRemoteCommand({ socket, command: session, wants, clock });
    });
  }

  async function attach(stream: StreamRequest): Promise<void> {
    const { namespace, name, query } = stream;
    const { id } = runningContainer(stream);
    const wants = wantsOf(query);
    if (runtime.openTerminal !== undefined && hasTerminal(stream)) {
      await attachTerminal(stream, id);
      return;
    }
    await serveSocket(stream, async (socket, signal) => {
      const opened = await orRefuse(socket, 'error attaching to container', async () => {
        if (wants.tty) throw new UnsupportedError('containers of this node have no terminal of their own (exec can have one)');
        const log = runtime.logOf(id);
        if (log === undefined) throw new UnsupportedError('the container has no output');
        // Known before there is input, so that what the program answers to it is not missed.
        const offset = (await stat(log.path)).size;
        return { log, offset, stdin: wants.stdin ? await runtime.openStdin(id).catch(explainEnd) : undefined };
      });
      if (opened === undefined) return;
      const isRunning = (): boolean =>
        agent.podNamed(namespace, name)?.sandbox?.containers.find((status) => status.id === id)?.state === 'running';
      const { offset } = opened;
      const options = { follow: true, tailLines: undefined, since: undefined, timestamps: false, limitBytes: undefined, offset };
      // Both streams of a program are in one file, so they come as one.
      const stdout = Readable.from(readLog({ log: opened.log, options, isRunning, clock, signal }));
      opened.stdin?.on('error', () => undefined);
      const command = { stdin: opened.stdin, stdout, stderr: undefined, exitCode: undefined, resize: () => undefined };
      await serveRemoteCommand({ socket, command, wants: { stdout: wants.stdout || wants.stderr, stderr: false }, clock });
    });
  }

  /** The program decides, not the client: it has a terminal from its start to its end. */
  function hasTerminal({ namespace, name, container }: StreamTarget): boolean {
    const pod = agent.podNamed(namespace, name)?.pod;
    return pod !== undefined && allContainers(pod).some((each) => each.name === container && each.tty === true);
  }

  async function attachTerminal(stream: StreamRequest, id: string): Promise<void> {
    const { stdin, stdout } = wantsOf(stream.query);
    await serveSocket(stream, async (socket, signal) => {
      const terminal = await orRefuse(socket, 'error attaching to container', async () => runtime.openTerminal?.(id, { stdin, signal }));
      if (terminal !== undefined) await serveRemoteCommand({ socket, command: terminal, wants: { stdout, stderr: false }, clock });
    });
  }

  async function portForward(stream: StreamRequest): Promise<void> {
    const { request, socket, head, name, query } = stream;
    const sandbox = sandboxOf(stream);
    const forward: PortForward = { pod: name, connect: (port, signal) => runtime.connect(sandbox.id, port, signal) };
    if (/^websocket$/i.test(request.headers.upgrade ?? '')) {
      let ports: readonly number[];
      try {
        ports = parsePorts(query.getAll('port'));
      } catch (err) {
        throw new HttpError(400, (err as Error).message, { cause: err });
      }
      await serveSocket(stream, (webSocket) => servePortForwardChannels(forward, ports, webSocket));
      return;
    }
    const offered = String(request.headers['x-stream-protocol-version'] ?? '').split(/\s*,\s*/);
    if (request.headers.upgrade?.toLowerCase() !== 'spdy/3.1' || request.method !== 'POST') {
      throw new HttpError(400, 'unable to upgrade: WebSocket and SPDY/3.1 are spoken here');
    }
    if (!offered.includes(portForwardProtocol)) {
      throw new HttpError(403, `unable to upgrade: unable to negotiate protocol: client supports [${offered.join(' ')}]`);
    }
    await tracked(socket, async () => {
      const fields = ['Connection: Upgrade', 'Upgrade: SPDY/3.1', `X-Stream-Protocol-Version: ${portForwardProtocol}`];
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${fields.join('\r\n')}\r\n\r\n`);
      await servePortForward(forward, socket, head);
    });
  }

  /** Opens the WebSocket and gives it to `serve`; whatever ends first ends the other, and `signal` is aborted then. */
  async function serveSocket(stream: StreamRequest, serve: (socket: WebSocket, signal: AbortSignal) => Promise<void>): Promise<void> {
    const { request, socket, head } = stream;
    if (request.method !== 'GET' || request.headers.upgrade?.toLowerCase() !== 'websocket') {
      throw new HttpError(400, 'unable to upgrade: only WebSocket is spoken here');
    }
    const offered = new Set(String(request.headers['sec-websocket-protocol'] ?? '').split(/\s*,\s*/));
    if (accepted(request, offered) === undefined) {
      throw new HttpError(403, `unable to upgrade: unable to negotiate protocol: client supports [${[...offered].join(' ')}]`);
    }
    await tracked(socket, async () => {
      const webSocket = await new Promise<WebSocket | undefined>((resolve) => {
        socket.once('close', () => resolve(undefined));
        webSockets.handleUpgrade(request, socket, head, (opened) => {
          // Data of the client waits until a reader is there.
          opened.pause();
          resolve(opened);
        });
      });
      if (webSocket === undefined) return;
      const gone = new AbortController();
      const closed = new Promise<void>((resolve) => webSocket.once('close', () => resolve()));
      webSocket.once('close', () => gone.abort());
      webSocket.on('error', (err) => log.debug({ err }, 'Stream broke'));
      endWhenSilent(webSocket, clock);
      try {
        await serve(webSocket, gone.signal);
      } catch (err) {
        // The client went away, which is its right; anything else is ours.
        if (!gone.signal.aborted && webSocket.readyState === webSocket.OPEN) {
          webSocket.close(1011);
          throw err;
        }
      }
      await closed;
    });
  }

  async function tracked(socket: Duplex, serve: () => Promise<void>): Promise<void> {
    sessions.add(socket);
    try {
      await serve();
    } finally {
      sessions.delete(socket);
    }
  }

  return {
    handleUpgrade(request, socket, head) {
      socket.on('error', () => socket.destroy());
      // The kernel asks after a peer that is silent.
      if (socket instanceof Socket) socket.setKeepAlive(true, keepAliveMs);
      handle(request, socket, head).catch((err: unknown) => {
        if (sessions.has(socket) || !(err instanceof HttpError)) {
          log.debug({ err, path: request.url?.split('?')[0] }, 'Stream ended with an error');
        }
        refuse(socket, err);
      });
    },
    refuse(request) {
      const target = targetOf(request);
      if (target.action === 'portForward') sandboxOf(target);
      else runningContainer(target);
      throw new HttpError(400, upgradeRequired);
    },
    close() {
      for (const socket of sessions) socket.destroy();
    },
  };
}

/** @throws HttpError when the path names no stream */
function targetOf(request: IncomingMessage): StreamTarget {
  const { pathname, searchParams: query } = new URL(request.url ?? '/', 'https://kubelet');
  const [, action, ...parts] = streamingPath.exec(pathname) ?? [];
  const [namespace = '', name = '', container = ''] = parts.map((part) => decoded(part ?? ''));
  if (action === undefined || (action === 'portForward') !== (container === '')) throw new HttpError(404, '404 page not found');
  return { action, namespace, name, container, query };
}

/** A pipe that nobody reads any more belongs to a program that has just ended. */
function explainEnd(err: unknown): never {
  if ((err as NodeJS.ErrnoException).code === 'ENXIO') throw new Error('its program has ended', { cause: err });
  throw err;
}

/** Undefined when there is nothing to serve; the client has got the error then. */
async function orRefuse<T>(socket: WebSocket, what: string, open: () => Promise<T>): Promise<T | undefined> {
  try {
    return await open();
  } catch (err) {
    await refuseRemoteCommand(socket, `${what}: ${errorText(err)}`);
    return undefined;
  }
}

const accepted = ({ url }: IncomingMessage, offered: ReadonlySet<string>): string | undefined =>
  (url?.startsWith('/portForward') ? [channelProtocol] : remoteCommandProtocols).find((protocol) => offered.has(protocol));

function wantsOf(query: URLSearchParams): {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
} {
  const flag = (name: string): boolean => ['1', 'true'].includes(query.get(name) ?? '');
  const tty = flag('tty');
  const wants = { stdin: flag('input'), stdout: flag('output'), stderr: flag('error') && !tty, tty };
  if (!wants.stdin && !wants.stdout && !wants.stderr) throw new HttpError(400, 'you must specify at least 1 of stdin, stdout, stderr');
  return wants;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch (err) {
    throw new HttpError(400, `malformed path segment ${part}`, { cause: err });
  }
}

/** Answers a request that is not upgraded, and closes; a connection that was upgraded is only closed. */
function refuse(socket: Duplex, err: unknown): void {
  if (!(err instanceof HttpError) || !socket.writable) {
    socket.destroy();
    return;
  }
  const body = Buffer.from(err.message);
  const fields = ['content-type: text/plain; charset=utf-8', `content-length: ${body.length}`, 'connection: close'];
  socket.end(`HTTP/1.1 ${err.status} ${STATUS_CODES[err.status] ?? ''}\r\n${fields.join('\r\n')}\r\n\r\n${err.message}`);
}

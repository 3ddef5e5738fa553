import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { WebSocket } from 'ws';
import { pauseUntilDrained, sendMessage } from '../../base/message-socket.ts';
import { timeLimit } from '../../base/time-limit.ts';
import { errorText } from './error-text.ts';
import { type SpdyStream, serveSpdy } from './spdy.ts';

/** Connections to ports of one pod, over SPDY or WebSocket. */
export interface PortForward {
  /** Name of the pod in errors. */
  readonly pod: string;
  connect(port: number, signal: AbortSignal): Promise<Duplex>;
}

/** Of `X-Stream-Protocol-Version`. */
export const portForwardProtocol = 'portforward.k8s.io';
export const channelProtocol = 'v4.channel.k8s.io';

/** Two streams for each connection that is forwarded. */
const maxStreams = 512;
const maxPorts = 32;
const connectTimeoutMs = 10_000;

/** @throws an error for what is no port */
function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65_535) throw new Error(`invalid port ${JSON.stringify(text.slice(0, 40))}`);
  return port;
}

export function parsePorts(texts: readonly string[]): readonly number[] {
  const ports = texts.flatMap((text) => text.split(',')).map(parsePort);
  if (ports.length === 0) throw new Error('query parameter "port" is required');
  if (ports.length > maxPorts) throw new Error(`${ports.length} ports, at most ${maxPorts} in one connection`);
  return ports;
}

/**
 * SPDY: for each connection the client opens a stream of type `error` and one of type `data` with the same `requestid`. The error stream
 * stays empty when all went well; it is closed last, because the client waits for it.
 */
export async function servePortForward(forward: PortForward, socket: Duplex, head: Buffer): Promise<void> {
  // Error streams whose data stream has not come yet.
  const waiting = new Map<string, SpdyStream>();
  await serveSpdy({
    socket,
    head,
    maxStreams,
    onStream(stream) {
      const id = stream.headers.get('requestid') ?? '';
      // Resets end a stream with an error that its other ends get, too.
      stream.on('error', () => undefined);
      if (stream.headers.get('streamtype') === 'error') {
        stream.resume();
        waiting.set(id, stream);
        stream.once('close', () => waiting.delete(id));
        return;
      }
      const errors = waiting.get(id);
      waiting.delete(id);
      if (stream.headers.get('streamtype') !== 'data' || errors === undefined) {
        stream.destroy();
        return;
      }
      forwardStream(forward, stream, stream.headers.get('port') ?? '')
        .catch((err: unknown) => {
          if (!errors.destroyed) errors.write(errorText(err));
        })
        .finally(() => errors.end());
    },
  });
}

async function forwardStream(forward: PortForward, stream: SpdyStream, portText: string): Promise<void> {
  let target: Duplex;
  try {
    target = await forward.connect(parsePort(portText), AbortSignal.timeout(connectTimeoutMs));
  } catch (err) {
    stream.end();
    throw new Error(failure(forward, portText, err), { cause: err });
  }
  try {
    await join(stream, target);
  } catch (err) {
    // kubectl resets each stream that it is done with, and takes an error for the end of all connections.
    if (stream.wasReset) return;
    throw new Error(failure(forward, portText, err), { cause: err });
  }
}

/** Both directions until both have ended; an error of one side ends all. */
async function join(stream: Duplex, target: Duplex): Promise<void> {
  const toTarget = pipeline(stream, target);
  const fromTarget = pipeline(target, stream);
  try {
    await Promise.all([toTarget, fromTarget]);
  } finally {
    stream.destroy();
    target.destroy();
    await Promise.allSettled([toTarget, fromTarget]);
  }
}

const failure = ({ pod }: PortForward, port: string, err: unknown): string =>
  `error forwarding port ${port} to pod ${pod}: ${errorText(err)}`;

/**
 * WebSocket: channels 2i and 2i+1 are data and errors of the i-th port. A message with the port in two bytes opens
 * each. The connections end with the socket, and the socket with the last of them.
 */
export async function servePortForwardChannels(forward: PortForward, ports: readonly number[], socket: WebSocket): Promise<void> {
  const targets = new Map<number, Duplex>();
  const gone = new AbortController();
  socket.on('message', (data: Buffer) => {
    const channel = data[0] ?? 1;
    const target = targets.get(channel);
    if (target === undefined || data.length === 1 || target.destroyed || target.writableEnded) return;
    if (!target.write(data.subarray(1))) pauseUntilDrained(socket, target);
  });
  socket.once('close', () => {
    gone.abort();
    for (const target of targets.values()) target.destroy();
  });
  // Until all are connected the messages wait: there is nobody yet to give them to.
  socket.pause();
  const failures = new Map<number, string>();
  await Promise.all(
    ports.map(async (port, index) => {
      try {
        const target = await forward.connect(port, timeLimit(gone.signal, connectTimeoutMs));
        target.on('error', (err) => failures.set(index, failure(forward, String(port), err)));
        targets.set(2 * index, target);
      } catch (err) {
        failures.set(index, failure(forward, String(port), err));
      }
    }),
  );
  socket.resume();
  if (gone.signal.aborted) {
    for (const target of targets.values()) target.destroy();
    return;
  }
  await Promise.all(ports.map((port, index) => servePort(port, index)));
  socket.close(1000);

  async function servePort(port: number, index: number): Promise<void> {
    const opening = Buffer.alloc(3);
    opening.writeUInt16LE(port, 1);
    for (const channel of [2 * index, 2 * index + 1]) {
      const message = Buffer.from(opening);
      message[0] = channel;
      await sendMessage(socket, message);
    }
    const target = targets.get(2 * index);
    try {
      if (target !== undefined) {
        for await (const chunk of target as AsyncIterable<Buffer>) {
          await sendMessage(socket, Buffer.concat([Buffer.of(2 * index), chunk]));
        }
      }
    } catch (err) {
      if (gone.signal.aborted) return;
      failures.set(index, failure(forward, String(port), err));
    } finally {
      target?.destroy();
    }
    const text = failures.get(index);
    if (text !== undefined && !gone.signal.aborted) await sendMessage(socket, Buffer.concat([Buffer.of(2 * index + 1), Buffer.from(text)]));
  }
}

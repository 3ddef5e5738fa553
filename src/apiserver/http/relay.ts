import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import type { Clock } from '../../base/clock.ts';
import { endWhenSilent, pauseUntilDrained } from '../../base/message-socket.ts';

/** Both ends of a stream through the API server: the client's and the agent's. */
export interface RelayOptions {
  readonly clock: Clock;
  /** Aborted when the server stops. */
  readonly stopping: AbortSignal;
}

/** Bytes that may wait for one end before the other is not read any more. */
const highWaterBytes = 256 * 1024;
/** As the real server: streams over which nothing goes are ended after four hours. */
const idleTimeoutMs = 4 * 3_600_000;
const idleCheckMs = 60_000;
/** For the other end to say goodbye. */
const closeTimeoutMs = 2_000;

/** Passes messages of two paused WebSockets on as they are, both ways, until either end closes; resolves when both are closed. */
export async function relayMessages(client: WebSocket, agent: WebSocket, options: RelayOptions): Promise<void> {
  const supervision = supervise(client, options, () => agent.terminate());
  endWhenSilent(agent, options.clock);
  forward(client, agent, supervision.touch);
  forward(agent, client, supervision.touch);
  client.resume();
  agent.resume();
  await Promise.all([closeOf(client), closeOf(agent)]);
  supervision.end();
}

function forward(from: WebSocket, to: WebSocket, touch: () => void): void {
  from.on('message', (data: Buffer, isBinary: boolean) => {
    touch();
    if (to.readyState !== to.OPEN) return;
    to.send(data, { binary: isBinary }, () => {
      if (from.isPaused && to.bufferedAmount < highWaterBytes) from.resume();
    });
    if (to.bufferedAmount >= highWaterBytes) from.pause();
  });
  const close = (code: number, reason?: Buffer): void => {
    // A break at one end breaks the other end, which must not take it for a regular end.
    if (code === 1005 || code === 1006) to.terminate();
    else to.close(code, reason);
    // One that is not read would never see the other's goodbye.
    to.resume();
  };
  if (from.readyState === from.CLOSED) close(1006);
  else from.once('close', close);
}

/** A connection to an agent, and the bytes that came with its opening. */
interface AgentConnection {
  readonly socket: Duplex;
  readonly head: Buffer;
}

/** Passes the payload of messages on as bytes and bytes as messages: SPDY within WebSocket. */
export async function relayBytes(client: WebSocket, { socket: agent, head }: AgentConnection, options: RelayOptions): Promise<void> {
  const supervision = supervise(client, options, () => agent.destroy());
  const closed = new Promise<void>((resolve) => agent.once('close', resolve));
  // `close` follows.
  agent.on('error', () => undefined);
  const toClient = (data: Buffer): void => {
    supervision.touch();
    if (client.readyState !== client.OPEN) return;
    client.send(data, { binary: true }, () => {
      if (agent.isPaused() && client.bufferedAmount < highWaterBytes) agent.resume();
    });
    if (client.bufferedAmount >= highWaterBytes) agent.pause();
  };
  client.on('message', (data: Buffer) => {
    supervision.touch();
    if (agent.writable && data.length > 0 && !agent.write(data)) pauseUntilDrained(client, agent);
  });
  client.once('close', () => agent.destroy());
  agent.once('end', () => agent.end());
  agent.once('close', () => {
    client.close(1000);
    client.resume();
  });
  if (head.length > 0) toClient(head);
  agent.on('data', toClient);
  client.resume();
  await Promise.all([closeOf(client), closed]);
  supervision.end();
}

const closeOf = (socket: WebSocket): Promise<void> =>
  socket.readyState === socket.CLOSED ? Promise.resolve() : new Promise((resolve) => socket.once('close', () => resolve()));

interface Supervision {
  /** Something went over the stream. */
  touch(): void;
  end(): void;
}

/** Ends the stream when the client is gone without a word, when nothing goes over it, and when the server stops. */
function supervise(client: WebSocket, { clock, stopping }: RelayOptions, endAgent: () => void): Supervision {
  let touchedAt = clock.monotonicMs();
  let cancel: () => void = () => undefined;
  const close = (code: number, reason: string): void => {
    client.close(code, reason);
    endAgent();
    cancel();
    cancel = clock.after(closeTimeoutMs, () => client.terminate());
  };
  const check = (): void => {
    if (clock.monotonicMs() - touchedAt > idleTimeoutMs) close(1001, 'idle timeout');
    else cancel = clock.after(idleCheckMs, check);
  };
  const stop = (): void => close(1001, 'the server is shutting down');
  endWhenSilent(client, clock);
  cancel = clock.after(idleCheckMs, check);
  if (stopping.aborted) stop();
  stopping.addEventListener('abort', stop, { once: true });
  return {
    touch() {
      touchedAt = clock.monotonicMs();
    },
    end() {
      cancel();
      stopping.removeEventListener('abort', stop);
    },
  };
}

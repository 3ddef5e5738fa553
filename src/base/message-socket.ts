import type { Writable } from 'node:stream';
import type { Clock } from './clock.ts';

/** The part of a WebSocket that streams need, so that both ends of a relay keep the same rules. */
export interface MessageSocket {
  /** Bytes that were given to `send` and not yet to the kernel. */
  readonly bufferedAmount: number;
  readonly isPaused: boolean;
  send(data: Uint8Array, callback: (err?: Error | null) => void): void;
  ping(): void;
  pause(): void;
  resume(): void;
  terminate(): void;
  on(event: 'message' | 'ping' | 'pong' | 'close', listener: () => void): unknown;
}

const pingIntervalMs = 30_000;
/** A peer that has said nothing for so long is gone. */
const silenceMs = 95_000;

/**
 * Ends a connection whose peer is gone without a word. One that we do not read from, or that is slow to take what we send, is not taken for
 * dead. The kernel knows when that is so.
 */
export function endWhenSilent(socket: MessageSocket, clock: Clock): void {
  let heardAt = clock.monotonicMs();
  const hear = (): void => {
    heardAt = clock.monotonicMs();
  };
  for (const event of ['message', 'ping', 'pong'] as const) socket.on(event, hear);
  let cancel: () => void = () => undefined;
  const check = (): void => {
    if (socket.isPaused || socket.bufferedAmount > 0) hear();
    if (clock.monotonicMs() - heardAt > silenceMs) {
      socket.terminate();
      return;
    }
    socket.ping();
    cancel = clock.after(pingIntervalMs, check);
  };
  cancel = clock.after(pingIntervalMs, check);
  socket.on('close', () => cancel());
}

/** Resolves when the data is with the kernel, so that a caller who waits is as slow as the peer. Rejects when the connection is gone. */
export function sendMessage(socket: Pick<MessageSocket, 'send'>, data: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.send(data, (err) => {
      if (err === undefined || err === null) resolve();
      else reject(err);
    });
  });
}

/** Reads no further messages until `target` has taken what was written to it, or is gone. */
export function pauseUntilDrained(socket: Pick<MessageSocket, 'pause' | 'resume'>, target: Writable): void {
  const resume = (): void => {
    target.off('drain', resume);
    target.off('close', resume);
    socket.resume();
  };
  socket.pause();
  target.on('drain', resume);
  target.on('close', resume);
}

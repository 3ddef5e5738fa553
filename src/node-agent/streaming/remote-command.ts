import type { Readable, Writable } from 'node:stream';
import type { WebSocket } from 'ws';
import type { Clock } from '../../base/clock.ts';
import { pauseUntilDrained, sendMessage } from '../../base/message-socket.ts';
import type { TerminalSize } from '../container-runtime.ts';
import { errorText } from './error-text.ts';

/** The first byte of each message in `v4.channel.k8s.io` and `v5.channel.k8s.io`. */
const channels = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const;

export const remoteCommandProtocols: readonly string[] = ['v5.channel.k8s.io', 'v4.channel.k8s.io'];

export interface RemoteCommand {
  readonly stdin: Writable | undefined;
  readonly stdout: Readable | undefined;
  readonly stderr: Readable | undefined;
  /** Undefined when no program has an exit code: the end of the output is the end then. */
  readonly exitCode: Promise<number> | undefined;
  resize(size: TerminalSize): void;
}

export interface ServeRemoteCommandOptions {
  readonly socket: WebSocket;
  readonly command: RemoteCommand;
  /** Streams that the client wants. */
  readonly wants: { readonly stdout: boolean; readonly stderr: boolean };
  readonly clock: Clock;
}

/** Longest wait for output after the command has ended: a background child may hold the pipe forever. */
const quietMs = 200;
const maxResizeBytes = 1_024;
const maxFrameBytes = 64 * 1024;

/** Connects a command with the channels of a client, whose socket comes paused, until the command has ended, and tells how. */
export async function serveRemoteCommand({ socket, command, wants, clock }: ServeRemoteCommandOptions): Promise<void> {
  const { stdin, stdout, stderr, exitCode } = command;
  // A runtime that could not run the command says so here. It may do so at any moment from now on, and a rejection that
  // nobody handles ends the process.
  const ended = exitCode?.then(statusOf, (err: unknown) => failureStatus(errorText(err)));
  socket.on('message', (data: Buffer) => receive(socket, command, data));
  socket.once('close', () => stdin?.end());
  socket.resume();
  // Tells the client that the connection is open.
  const lowest = wants.stdout ? channels.stdout : wants.stderr ? channels.stderr : channels.error;
  await sendMessage(socket, Buffer.of(lowest));
  const progress = { lastAt: clock.monotonicMs(), sending: 0 };
  const output = Promise.all([
    pump({ socket, channel: wants.stdout ? channels.stdout : undefined, stream: stdout, progress, clock }),
    pump({ socket, channel: wants.stderr ? channels.stderr : undefined, stream: stderr, progress, clock }),
  ]);
  if (ended === undefined) {
    await output;
    await finish(socket, { metadata: {}, status: 'Success' });
    return;
  }
  const status = await Promise.race([ended, failureOf(output)]);
  await Promise.race([output, untilQuiet(progress, clock)]);
  stdout?.destroy();
  stderr?.destroy();
  await finish(socket, status);
}

/** Tells a client that there was no command to connect to. */
export const refuseRemoteCommand = (socket: WebSocket, message: string): Promise<void> => finish(socket, failureStatus(message));

const failureStatus = (message: string) => ({
  metadata: {},
  status: 'Failure',
  message: `Internal error occurred: ${message}`,
  reason: 'InternalError',
  details: { causes: [{ message }] },
  code: 500,
});

function receive(socket: WebSocket, { stdin, resize }: RemoteCommand, data: Buffer): void {
  const payload = data.subarray(1);
  switch (data[0]) {
    case channels.stdin:
      if (stdin === undefined || payload.length === 0 || stdin.writableEnded || stdin.destroyed) return;
      if (stdin.write(payload)) return;
      // The whole connection waits, since it is one sequence of messages.
      pauseUntilDrained(socket, stdin);
      return;
    case channels.resize: {
      const size = sizeOf(payload);
      if (size !== undefined) resize(size);
      return;
    }
    case channels.close:
      if (payload[0] === channels.stdin) stdin?.end();
      return;
    default:
    // Other channels are not a client's to write; the real server reads over them too.
  }
}

function sizeOf(payload: Buffer): TerminalSize | undefined {
  if (payload.length > maxResizeBytes) return undefined;
  try {
    const size = JSON.parse(payload.toString('utf8')) as { readonly Width?: unknown; readonly Height?: unknown } | null;
    const { Width: width, Height: height } = size ?? {};
    return typeof width === 'number' && typeof height === 'number' ? { width, height } : undefined;
  } catch {
    // A size that cannot be read changes nothing.
    return undefined;
  }
}

interface Progress {
  lastAt: number;
  /** Frames that the client has not yet taken. */
  sending: number;
}

interface PumpOptions {
  readonly socket: WebSocket;
  /** Undefined: read and dropped, so that the program goes on. */
  readonly channel: number | undefined;
  readonly stream: Readable | undefined;
  readonly progress: Progress;
  readonly clock: Clock;
}

async function pump({ socket, channel, stream, progress, clock }: PumpOptions): Promise<void> {
  if (stream === undefined) return;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    if (channel === undefined) continue;
    for (let at = 0; at < chunk.length; at += maxFrameBytes) {
      progress.sending += 1;
      try {
        await sendMessage(socket, Buffer.concat([Buffer.of(channel), chunk.subarray(at, at + maxFrameBytes)]));
      } finally {
        progress.sending -= 1;
        progress.lastAt = clock.monotonicMs();
      }
    }
  }
}

/** Resolves when nothing has come for a while and nothing is on its way. */
function untilQuiet(progress: Progress, clock: Clock): Promise<void> {
  progress.lastAt = clock.monotonicMs();
  return new Promise((resolve) => {
    const check = (): void => {
      const quietFor = clock.monotonicMs() - progress.lastAt;
      if (progress.sending === 0 && quietFor >= quietMs) resolve();
      else clock.after(Math.max(quietMs - quietFor, 50), check);
    };
    clock.after(quietMs, check);
  });
}

/** Never resolves; rejects with what the other does. */
const failureOf = (promise: Promise<unknown>): Promise<never> =>
  new Promise((_, reject) => {
    promise.catch(reject);
  });

function statusOf(code: number): unknown {
  if (code === 0) return { metadata: {}, status: 'Success' };
  return {
    metadata: {},
    status: 'Failure',
    message: `command terminated with non-zero exit code: command terminated with exit code ${code}`,
    reason: 'NonZeroExitCode',
    details: { causes: [{ reason: 'ExitCode', message: String(code) }] },
  };
}

async function finish(socket: WebSocket, status: unknown): Promise<void> {
  await sendMessage(socket, Buffer.concat([Buffer.of(channels.error), Buffer.from(JSON.stringify(status))]));
  socket.close(1000);
  // One that is not read would never see the other's goodbye.
  socket.resume();
}

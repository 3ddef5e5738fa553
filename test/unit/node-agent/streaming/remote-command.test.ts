import { EventEmitter } from 'node:events';
import { expect, it, onTestFinished } from 'vitest';
import type { WebSocket } from 'ws';
import { systemClock } from '../../../../src/base/clock.ts';
import { serveRemoteCommand } from '../../../../src/node-agent/streaming/remote-command.ts';

/** A client that takes each message some time after it was sent, or has left. */
function slowSocket(takes: boolean) {
  const sent: Buffer[] = [];
  const socket = Object.assign(new EventEmitter(), {
    readyState: 1,
    resume: () => undefined,
    pause: () => undefined,
    close: () => undefined,
    terminate: () => undefined,
    send(data: Buffer, done: (err?: Error) => void) {
      sent.push(data);
      setTimeout(() => done(takes ? undefined : new Error('the client left')), 20);
    },
  });
  return { socket: socket as unknown as WebSocket, sent };
}

const command = () => ({
  stdin: undefined,
  stdout: undefined,
  stderr: undefined,
  exitCode: Promise.reject(new Error('exec: "none": executable file not found in $PATH')),
  resize: () => undefined,
});

function watchForUnhandled(): unknown[] {
  const unhandled: unknown[] = [];
  const note = (reason: unknown): void => void unhandled.push(reason);
  const others = process.listeners('unhandledRejection');
  process.removeAllListeners('unhandledRejection').on('unhandledRejection', note);
  onTestFinished(() => {
    process.off('unhandledRejection', note);
    for (const listener of others) process.on('unhandledRejection', listener);
  });
  return unhandled;
}

it('a command that fails before its client has taken a message ends with the reason, and the process goes on', async () => {
  const unhandled = watchForUnhandled();
  const { socket, sent } = slowSocket(true);
  await serveRemoteCommand({ socket, command: command(), wants: { stdout: true, stderr: true }, clock: systemClock });
  expect(unhandled).toEqual([]);
  expect(sent.map(String).join('\n')).toContain('executable file not found in $PATH');
});

it('a command that fails although its client has left ends quietly', async () => {
  const unhandled = watchForUnhandled();
  const { socket } = slowSocket(false);
  await expect(
    serveRemoteCommand({ socket, command: command(), wants: { stdout: true, stderr: true }, clock: systemClock }),
  ).rejects.toThrow('the client left');
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(unhandled).toEqual([]);
});

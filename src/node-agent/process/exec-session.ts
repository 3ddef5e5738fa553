import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { readlink } from 'node:fs/promises';
import type { Readable, Writable } from 'node:stream';
import type { Clock } from '../../base/clock.ts';
import { shellWord } from '../../base/shell-word.ts';
import { type ExecSession, type StartExecOptions, type TerminalSize, UnsupportedError } from '../container-runtime.ts';
import { type ExecPlan, enterCommand, enterEnvironment, giveEnvironment, killGroup } from './exec.ts';
import type { TerminalTools } from './isolation.ts';
import { allProcesses, descendantsOf } from './proc.ts';

export interface ExecSessionOptions extends StartExecOptions {
  readonly terminal: TerminalTools | undefined;
}

const terminalTries = 50;
const terminalPauseMs = 20;
const maxTerminalSize = 10_000;

/** Runs a command in a container with its streams connected to the caller's. */
export async function startExecSession(plan: ExecPlan, options: ExecSessionOptions): Promise<ExecSession> {
  const { tty, terminal, signal } = options;
  if (!tty) {
    const [program, ...args] = enterCommand(plan);
    return sessionOf(await start(program, args, plan.environment, options), undefined, signal);
  }
  if (terminal === undefined)
    throw new UnsupportedError('a terminal needs the programs script and stty, which were not found on this node');
  const { SHELL: ownShell } = plan.environment;
  const command = `${ownShell === undefined ? 'unset SHELL' : `SHELL=${shellWord(ownShell)}`}; exec ${plan.command.map(shellWord).join(' ')}`;
  // Within the container, so that the session and its jobs are the container's own.
  const script = [terminal.script, '--quiet', '--flush', '--return', '--echo', 'always', '--command', command, '/dev/null'];
  // `script` runs the command by the shell in SHELL. Its own messages are part of the output.
  const environment = { TERM: 'xterm', ...plan.environment, SHELL: '/bin/sh' };
  const args = ['-c', 'exec "$@" 2>&1', 'sh', ...enterCommand({ ...plan, command: script })];
  const child = await start('/bin/sh', args, environment, options);
  return sessionOf(child, createResizer(child, terminal, plan.clock), signal);
}

/** A group of its own, so that its end is the end of what the command has started too. */
function start(
  program: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
  { stdin }: StartExecOptions,
): Promise<ChildProcess> {
  return new Promise((resolve, reject) => {
    const stdio: StdioOptions = [stdin ? 'pipe' : 'ignore', 'pipe', 'pipe', 'pipe'];
    const child = spawn(program, args, { detached: true, stdio, env: enterEnvironment, cwd: '/' });
    child.once('spawn', () => {
      giveEnvironment(child, environment);
      resolve(child);
    });
    child.once('error', (err) => reject(new Error(`start ${program}`, { cause: err })));
  });
}

function sessionOf(child: ChildProcess, resizer: ((size: TerminalSize) => void) | undefined, signal: AbortSignal): ExecSession {
  const kill = (): void => killGroup(child.pid);
  if (signal.aborted) kill();
  signal.addEventListener('abort', kill, { once: true });
  // A program that ends without reading its input is no failure.
  child.stdin?.on('error', () => undefined);
  const exitCode = new Promise<number>((resolve) => {
    child.once('exit', (code, killedBy) => {
      signal.removeEventListener('abort', kill);
      resolve(killedBy === null ? (code ?? 0) : 137);
    });
  });
  const stderr = child.stderr as Readable;
  // With a terminal nothing comes there.
  if (resizer !== undefined) stderr.resume();
  return {
    stdin: (child.stdin as Writable | null) ?? undefined,
    stdout: child.stdout as Readable,
    stderr: resizer === undefined ? stderr : undefined,
    exitCode,
    resize: resizer ?? (() => undefined),
  };
}

/** Sets the newest size that was asked for; those in between may be left out. */
function createResizer(child: ChildProcess, { stty }: TerminalTools, clock: Clock): (size: TerminalSize) => void {
  let wanted: TerminalSize | undefined;
  let device: string | undefined;
  let busy = false;

  async function apply(): Promise<void> {
    for (let size = wanted; size !== undefined && child.exitCode === null; size = wanted) {
      wanted = undefined;
      device ??= await terminalOf(child, clock);
      if (device === undefined) return;
      await run(stty, ['-F', device, 'rows', String(size.height), 'cols', String(size.width)]);
    }
  }

  return (size) => {
    const { width, height } = size;
    const fits = [width, height].every((value) => Number.isInteger(value) && value > 0 && value <= maxTerminalSize);
    if (!fits) return;
    wanted = size;
    if (busy) return;
    busy = true;
    // A terminal that keeps its size is no reason to end what runs in it; the next size tries again.
    apply()
      .catch(() => undefined)
      .finally(() => {
        busy = false;
      });
  };
}

/** The terminal that `script` has made for the command, once that is there: a path that also leads into a container's own devices. */
async function terminalOf(child: ChildProcess, clock: Clock): Promise<string | undefined> {
  for (let tries = 0; tries < terminalTries && child.exitCode === null; tries += 1) {
    for (const { pid } of descendantsOf(child.pid ?? -1, await allProcesses())) {
      const input = `/proc/${pid}/fd/0`;
      if ((await linkOptional(input))?.startsWith('/dev/pts/')) return input;
    }
    await new Promise<void>((resolve) => clock.after(terminalPauseMs, resolve));
  }
  return undefined;
}

async function linkOptional(path: string): Promise<string | undefined> {
  try {
    return await readlink(path);
  } catch {
    // The process is gone, or is not one that may be looked at: there is no size to set.
    return undefined;
  }
}

function run(program: string, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: 'ignore', env: {} });
    child.once('error', reject);
    child.once('exit', () => resolve());
  });
}

import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import type { Clock } from '../../base/clock.ts';
import type { ExecOptions, ExecResult } from '../container-runtime.ts';
import { becomeCommand, dropCommand, type Tools } from './isolation.ts';
import type { LimitCommands } from './resource-limits.ts';
import { exportsText, readExports } from './shell-environment.ts';

export interface ExecPlan {
  /** Absent where the container is plain processes of the host. */
  readonly place: ContainerPlace | undefined;
  /** Words that take privileges away where there is no place to enter. */
  readonly drop: readonly string[];
  readonly limits: LimitCommands;
  readonly command: readonly string[];
  readonly workingDir: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly clock: Clock;
}

/** The place in which a container runs, as numbers of the host. */
export interface ContainerPlace {
  readonly tools: Tools;
  /** The first process, in whose process numbers the container lives. */
  readonly first: number;
  /** A process of the program, which has the volumes and the program's user namespace. */
  readonly program: number;
  /** The pod's id on the host, where it has one of its own. */
  readonly hostId: number | undefined;
  /** True when programs see themselves as user 0. */
  readonly asRoot: boolean;
}

/** Longest wait for output after the command has ended: a background child may hold the pipe forever. */
const drainMs = 100;

/**
 * Gives the program and arguments that run `command` where the container's program is, with no more privileges than that has. It waits for
 * `giveEnvironment` on descriptor 3.
 *
 * The container may end meanwhile, and its numbers may then belong to processes of the host. Entering fails then: the
 * kernel lets no process enter the user namespace that it is in.
 */
export function enterCommand({ place, drop, limits, command, workingDir }: ExecPlan): readonly [program: string, ...args: string[]] {
  // The directory may be gone by now; the command then runs in /.
  const script = `umask 022; ${limits.inside}; ${readExports(3)}; cd "$0" 2>/dev/null; exec "$@"`;
  const enter = place === undefined ? drop : enterPlace(place);
  const bounded = [...limits.words, ...enter, '/bin/sh', '-c', script, workingDir, ...command];
  return ['/bin/sh', '-c', `${limits.outside}\nexec "$@"`, 'sh', ...bounded];
}

function enterPlace({ tools, first, program, hostId, asRoot }: ContainerPlace): readonly string[] {
  return [
    // The kernel asks for a privilege over each namespace in turn: the first process's are of the agent, the program's of the pod.
    ...[tools.nsenter, `--target=${first}`, ...(hostId === undefined ? ['--user', '--preserve-credentials'] : [])],
    ...['--pid', '--uts', '--ipc', '--'],
    ...becomeCommand(tools, hostId),
    ...[tools.nsenter, `--target=${program}`, '--user', '--preserve-credentials', '--mount', '--'],
    ...dropCommand(tools.setpriv, { withBounds: asRoot }),
  ];
}

/** For the programs that enter the container; the command's own environment comes by descriptor 3. */
export const enterEnvironment = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };

export function giveEnvironment(child: ChildProcess, environment: Readonly<Record<string, string>>): void {
  const stream = child.stdio[3] as Writable | null;
  // A command that could not be started reads nothing.
  stream?.on('error', () => undefined);
  stream?.end(exportsText(environment));
}

/** Exit codes are those of a shell: 127 when the program is not found, 128 + signal when it was killed. */
export function execInContainer(plan: ExecPlan, { timeoutMs, limitBytes }: ExecOptions): Promise<ExecResult> {
  const { command, environment, clock } = plan;
  const [program, ...args] = enterCommand(plan);
  return new Promise((resolve, reject) => {
    // A group of its own, so that the deadline ends what the command has started too.
    const child = spawn(program, args, { detached: true, stdio: ['ignore', 'pipe', 'pipe', 'pipe'], env: enterEnvironment, cwd: '/' });
    giveEnvironment(child, environment);
    const [output, errors] = [child.stdout as Readable, child.stderr as Readable];
    const stdout = collect(output, limitBytes);
    const stderr = collect(errors, limitBytes);
    let timedOut = false;
    let settled = false;
    const cancelTimeout = clock.after(timeoutMs, () => {
      timedOut = true;
      killGroup(child.pid);
    });
    child.once('error', (err) => {
      cancelTimeout();
      settled = true;
      reject(new Error(`run ${command[0] ?? ''} in the container`, { cause: err }));
    });
    child.once('exit', (code, signal) => {
      cancelTimeout();
      const finish = (): void => {
        if (settled) return;
        settled = true;
        cancelDrain();
        output.destroy();
        errors.destroy();
        resolve({ exitCode: signal === null ? (code ?? 0) : 137, timedOut, stdout: stdout(), stderr: stderr() });
      };
      const cancelDrain = clock.after(drainMs, finish);
      child.once('close', finish);
    });
  });
}

/** Keeps the first `limitBytes`, and reads on, so that the program is not stopped by a full pipe. */
function collect(stream: NodeJS.ReadableStream, limitBytes: number): () => Buffer {
  const chunks: Buffer[] = [];
  let size = 0;
  stream.on('data', (chunk: Buffer) => {
    if (size >= limitBytes) return;
    const kept = chunk.subarray(0, limitBytes - size);
    size += kept.length;
    chunks.push(kept);
  });
  return () => Buffer.concat(chunks);
}

export function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code !== 'ESRCH') throw err;
  }
}

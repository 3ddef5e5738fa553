import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CommandResult, program, run } from './cluster.ts';
import { until } from './until.ts';

/** Machines of a segment, as network namespaces: `10.201.0.N`, with one bridge between them. Each has a host name. */
export class Machines {
  readonly #prefix = `ms${process.pid}`;
  readonly #bridge = `msb${process.pid}`.slice(0, 15);
  readonly #names: readonly string[];

  constructor(...names: readonly string[]) {
    this.#names = names;
  }

  async create(): Promise<void> {
    await succeed('ip', 'link', 'add', this.#bridge, 'type', 'bridge');
    await succeed('ip', 'link', 'set', this.#bridge, 'up');
    for (let n = 1; n <= this.#names.length; n += 1) {
      const name = this.#name(n);
      await succeed('ip', 'netns', 'add', name);
      await succeed('ip', 'link', 'add', this.#cable(n), 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name);
      await succeed('ip', 'link', 'set', this.#cable(n), 'master', this.#bridge, 'up');
      await succeed('ip', '-n', name, 'addr', 'add', `${this.address(n)}/24`, 'dev', 'eth0');
      await succeed('ip', '-n', name, 'link', 'set', 'eth0', 'up');
      await succeed('ip', '-n', name, 'link', 'set', 'lo', 'up');
      await succeed('ip', '-n', name, 'route', 'add', 'default', 'via', '10.201.0.254');
    }
  }

  async remove(): Promise<void> {
    for (let n = 1; n <= this.#names.length; n += 1) await run('ip', ['netns', 'del', this.#name(n)]);
    await run('ip', ['link', 'del', this.#bridge]);
  }

  address(n: number): string {
    return `10.201.0.${n}`;
  }

  /** Runs a command on a machine. The control groups stay visible, which `ip netns exec` would hide. */
  run(n: number, command: string, ...args: string[]): Promise<CommandResult> {
    return this.runWith(n, {}, [command, ...args]);
  }

  /** The same with variables. */
  runWith(n: number, variables: Readonly<Record<string, string>>, command: readonly string[]): Promise<CommandResult> {
    return run('nsenter', [...this.#entry(n), ...command], { ...process.env, NO_COLOR: '1', ...variables });
  }

  /** Pulls the cable of a machine, or puts it back. */
  plug(n: number, state: 'down' | 'up'): Promise<void> {
    return succeed('ip', 'link', 'set', this.#cable(n), state);
  }

  midship(n: number, ...args: string[]): Promise<CommandResult> {
    return this.run(n, process.execPath, program, ...args);
  }

  /** Starts `server` or `agent` on a machine, and waits until it runs. */
  async start(n: number, dataDirectory: string, ...args: string[]): Promise<MachineProcess> {
    const child = spawn('nsenter', [...this.#entry(n), process.execPath, program, ...args, '--data-dir', dataDirectory], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NO_COLOR: '1' },
    });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    const file = join(dataDirectory, 'endpoints.json');
    const pid = await until(
      () => {
        if (child.exitCode !== null) throw new Error(`the program ended with ${child.exitCode}:\n${text}`);
        return existsSync(file) ? runningIn(file) : undefined;
      },
      { timeoutMs: 90_000, what: () => `machine ${n} runs; it printed:\n${text}` },
    );
    return { pid, output: () => text, kill: () => killAndWait(child, pid, file) };
  }

  /** Arguments of nsenter before the command. A namespace of names that is entered by its own shell needs no file. */
  #entry(n: number): readonly string[] {
    const setName = `echo ${this.#names[n - 1]} > /proc/sys/kernel/hostname; exec "$@"`;
    return [`--net=/run/netns/${this.#name(n)}`, 'unshare', '--uts', 'sh', '-c', setName, 'sh'];
  }

  #name(n: number): string {
    return `${this.#prefix}-${n}`;
  }

  #cable(n: number): string {
    return `${this.#prefix}c${n}`.slice(0, 15);
  }
}

export interface MachineProcess {
  readonly pid: number;
  output(): string;
  /** kill -9; the file that names the process goes, too. */
  kill(): Promise<void>;
}

/** The process that the file names; undefined for an agent that joins yet. The file is written by rename, so it is whole. */
function runningIn(file: string): number | undefined {
  const { pid, isJoined = true } = JSON.parse(readFileSync(file, 'utf8')) as { readonly pid: number; readonly isJoined?: boolean };
  return isJoined ? pid : undefined;
}

async function killAndWait(child: ChildProcess, pid: number, file: string): Promise<void> {
  const ended = new Promise((resolve) => child.once('exit', resolve));
  process.kill(pid, 'SIGKILL');
  await ended;
  await run('rm', ['-f', file]);
}

async function succeed(command: string, ...args: string[]): Promise<void> {
  const { code, stderr } = await run(command, args);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}

/** The reason for which this machine cannot pretend to be several; undefined where it can. */
export const whyNoMachines = process.getuid?.() === 0 ? undefined : 'needs root';

import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/base/clock.ts';
import { createLog } from '../../src/base/log.ts';
import type { ContainerConfig, ContainerRuntime, ContainerStatus, PodSandboxConfig } from '../../src/node-agent/container-runtime.ts';
import { openProcessHost, type ProcessHost } from '../../src/node-agent/process/process-host.ts';
import { openProcessRuntime } from '../../src/node-agent/process/process-runtime.ts';

const log = createLog({ level: 'silent' });
const searchPath = process.env.PATH ?? '';

/** This machine as the process runtime finds it, and as it is without namespaces. */
export const hosts = {
  namespaces: await openProcessHost({ nodePath: process.execPath, searchPath }),
  plain: await openProcessHost({ nodePath: process.execPath, searchPath, plain: true, insecurePlainPods: true }),
  withoutCgroups: await openProcessHost({ nodePath: process.execPath, searchPath, cgroupRoot: '/nowhere' }),
};
export const isolated = hosts.namespaces.isolation.mode === 'namespaces';

export async function eventually<T>(what: string, poll: () => Promise<T | undefined>, deadlineMs = 10_000): Promise<T> {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const value = await poll();
    if (value !== undefined) return value;
    if (Date.now() > end) throw new Error(`${what} did not happen in ${deadlineMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** An argument of sleep that no other process of this machine has. */
export const sleepLike = (seconds: number): string => `${seconds}.${process.pid}5`;

let sequence = 0;

/** A process runtime on a directory of its own. */
export class RuntimeFixture {
  readonly directory: string;
  readonly host: ProcessHost;
  runtime: ContainerRuntime;

  private constructor(directory: string, host: ProcessHost, runtime: ContainerRuntime) {
    this.directory = directory;
    this.host = host;
    this.runtime = runtime;
  }

  static async create(host: ProcessHost): Promise<RuntimeFixture> {
    const directory = await mkdtemp(join(tmpdir(), 'midship-runtime-'));
    return new RuntimeFixture(directory, host, await RuntimeFixture.open(directory, host));
  }

  static open(directory: string, host: ProcessHost): Promise<ContainerRuntime> {
    return openProcessRuntime({
      host,
      directory: join(directory, 'pods', 'node-a', 'runtime'),
      podCidr: '127.200.16.0/24',
      version: '0',
      clock: systemClock,
      log,
    });
  }

  async reopen(): Promise<void> {
    await this.runtime.close();
    this.runtime = await RuntimeFixture.open(this.directory, this.host);
  }

  sandbox(changes: Partial<PodSandboxConfig> = {}): Promise<string> {
    sequence += 1;
    // No other test process may have a container of the same id: without namespaces processes are known by it.
    const uid = `uid-${process.pid}-${sequence}`;
    return this.runtime.runPodSandbox({
      namespace: 'default',
      name: `pod-${sequence}`,
      uid,
      attempt: 0,
      hostname: `pod-${sequence}`,
      hostNetwork: false,
      hostAliases: [],
      logDirectory: join(this.directory, 'logs', uid),
      ...changes,
    });
  }

  async run(sandbox: string, script: string, changes: Partial<ContainerConfig> = {}): Promise<string> {
    const id = await this.runtime.createContainer(sandbox, {
      name: 'main',
      attempt: 0,
      image: 'host/sh',
      command: ['/bin/sh', '-c'],
      args: [script],
      workingDir: undefined,
      env: [],
      mounts: [],
      configHash: 'h',
      terminationMessagePath: '/dev/termination-log',
      ...changes,
    });
    await this.runtime.startContainer(id);
    return id;
  }

  async status(id: string): Promise<ContainerStatus> {
    const all = await this.runtime.list();
    const found = all.flatMap((sandbox) => sandbox.containers).find((container) => container.id === id);
    if (found === undefined) throw new Error(`no container ${id}`);
    return found;
  }

  exited(id: string): Promise<ContainerStatus> {
    return eventually('exit', async () => {
      const status = await this.status(id);
      return status.state === 'exited' ? status : undefined;
    });
  }

  output(id: string): Promise<string> {
    return readFile(this.runtime.logOf(id)?.path ?? '', 'utf8');
  }

  printed(id: string, text: string): Promise<string> {
    return eventually(`output of ${text}`, async () => {
      const output = await this.output(id);
      return output.includes(text) ? output : undefined;
    });
  }

  async end(): Promise<void> {
    for (const { id } of await this.runtime.list()) await this.runtime.removePodSandbox(id);
    await this.runtime.close();
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** `PID ARGUMENTS` of every process of this machine. */
export async function commandLines(): Promise<string[]> {
  const lines: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    try {
      lines.push(`${pid} ${await readFile(`/proc/${pid}/cmdline`, 'utf8')}`);
    } catch {
      // Ended while it was looked at.
    }
  }
  return lines;
}

export async function killByCommandLine(text: string): Promise<void> {
  const line = await eventually(`process ${text}`, async () => (await commandLines()).find((candidate) => candidate.includes(` ${text}`)));
  process.kill(Number(line.split(' ')[0]), 'SIGKILL');
}

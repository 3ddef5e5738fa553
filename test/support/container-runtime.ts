import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/base/clock.ts';
import { readLog } from '../../src/node-agent/container-log.ts';
import type { ContainerConfig, ContainerRuntime, ContainerStatus, PodSandboxConfig } from '../../src/node-agent/container-runtime.ts';
import { until } from './until.ts';

/** A container runtime that the conformance suite can be run against. */
export interface RuntimeUnderTest {
  readonly name: string;
  /** As the runtime says it of itself. */
  readonly runsPrograms: boolean;
  /** Reason why this machine cannot run it. */
  readonly skip: string | undefined;
  /** Opens the runtime; on a directory that it was opened on before, this is its start after a crash. */
  open(directory: string): Promise<ContainerRuntime>;
  /** Ends what all instances share; called once, after the last test. */
  close?(): Promise<void>;
  /** An image that the runtime has, with `/bin/sh` and the programs of busybox where it runs programs. */
  readonly image: string;
  /** A name that the runtime takes for no image. */
  readonly badImage: string | undefined;
  /** Pods outlive the runtime, and its next start finds them. */
  readonly survivesRestart: boolean;
  /** Containers have namespaces of their own. */
  readonly hasContainers: boolean;
  /** Containers have file systems of their own, so that volumes can be mounted. */
  readonly hasVolumes: boolean;
  /** A container's program is process 1 of its namespace: the kernel gives it no signal that it does not handle. */
  readonly isFirstProcess: boolean;
  /** The exit code of a command is known although a child of it holds its output. */
  readonly seesEndBehindChild: boolean;
  /** A program that sends the word `hello` to clients of the port, at the address or at all, and prints `listening` before. */
  listener(address: string, port: number): readonly string[];
}

let sequence = 0;

/** A container runtime on a directory of its own. */
export class RuntimeFixture {
  readonly directory: string;
  readonly #open: (directory: string) => Promise<ContainerRuntime>;
  readonly #image: string;
  runtime: ContainerRuntime;

  private constructor(directory: string, options: Pick<RuntimeUnderTest, 'open' | 'image'>, runtime: ContainerRuntime) {
    this.directory = directory;
    this.#open = options.open;
    this.#image = options.image;
    this.runtime = runtime;
  }

  static async create(options: Pick<RuntimeUnderTest, 'open' | 'image'>): Promise<RuntimeFixture> {
    const directory = await mkdtemp(join(tmpdir(), 'midship-runtime-'));
    return new RuntimeFixture(directory, options, await options.open(directory));
  }

  /** A crash runs no clean-up: the runtime lets go of its pods, and `meanwhile` happens before the next one begins. */
  async reopen(meanwhile: () => Promise<unknown> = async () => undefined): Promise<void> {
    await this.runtime.close();
    await meanwhile();
    this.runtime = await this.#open(this.directory);
  }

  sandboxConfig(changes: Partial<PodSandboxConfig> = {}): PodSandboxConfig {
    sequence += 1;
    // No other test process may have a container of the same id: without namespaces processes are known by it.
    const uid = `uid-${process.pid}-${sequence}`;
    return {
      namespace: 'default',
      name: `pod-${sequence}`,
      uid,
      attempt: 0,
      hostname: `pod-${sequence}`,
      hostNetwork: false,
      hostAliases: [],
      logDirectory: join(this.directory, 'logs', uid),
      ...changes,
    };
  }

  sandbox(changes: Partial<PodSandboxConfig> = {}): Promise<string> {
    return this.runtime.runPodSandbox(this.sandboxConfig(changes));
  }

  containerConfig(script: string, changes: Partial<ContainerConfig> = {}): ContainerConfig {
    return {
      name: 'main',
      attempt: 0,
      image: this.#image,
      command: ['/bin/sh', '-c'],
      args: [script],
      workingDir: undefined,
      env: [],
      mounts: [],
      configHash: 'h',
      terminationMessagePath: '/dev/termination-log',
      ...changes,
    };
  }

  async run(sandbox: string, script: string, changes: Partial<ContainerConfig> = {}): Promise<string> {
    const id = await this.runtime.createContainer(sandbox, this.containerConfig(script, changes));
    await this.runtime.startContainer(id);
    return id;
  }

  async find(id: string): Promise<ContainerStatus | undefined> {
    const all = await this.runtime.list();
    return all.flatMap((sandbox) => sandbox.containers).find((container) => container.id === id);
  }

  async status(id: string): Promise<ContainerStatus> {
    const found = await this.find(id);
    if (found === undefined) throw new Error(`no container ${id}`);
    return found;
  }

  exited(id: string): Promise<ContainerStatus> {
    return eventually('exit', async () => {
      const status = await this.status(id);
      return status.state === 'exited' ? status : undefined;
    });
  }

  /** Output of the container, as the agent reads it. */
  async output(id: string): Promise<string> {
    const log = this.runtime.logOf(id);
    if (log === undefined) return '';
    const options = { follow: false, tailLines: undefined, since: undefined, timestamps: false, limitBytes: undefined };
    const chunks: Buffer[] = [];
    const { signal } = new AbortController();
    for await (const chunk of readLog({ log, options, isRunning: () => false, clock: systemClock, signal })) chunks.push(chunk);
    return Buffer.concat(chunks).toString('utf8');
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

export const eventually = <T>(what: string, poll: () => Promise<T | undefined>, timeoutMs = 10_000): Promise<T> =>
  until(poll, { what, timeoutMs, intervalMs: 5 });

import type { Clock } from '../../base/clock.ts';
import {
  type ContainerConfig,
  ContainerError,
  type ContainerId,
  type ContainerRuntime,
  type ContainerStatus,
  type ExecResult,
  type LocalImage,
  type PodSandboxConfig,
  type SandboxId,
  type SandboxStatus,
  UnsupportedError,
} from '../container-runtime.ts';

export interface SimulatedHostOptions {
  readonly clock: Clock;
  readonly version: string;
  /** First address given to a pod; the following ones count up from it. Nothing listens on them. */
  readonly firstAddress?: string;
  /** From the start of a container to its running. */
  readonly startDelayMs?: number;
}

/** Addresses and timers that the simulated nodes of one process share. */
export interface SimulatedHost {
  /** The runtime of one node. Its pods live as long as this process. */
  createRuntime(): ContainerRuntime;
}

/** Only what is reported: the whole configuration of a pod and its container takes 0.7 KiB. */
interface Sandbox extends Pick<SandboxStatus, 'id' | 'namespace' | 'name' | 'uid' | 'attempt' | 'gracePeriodMs'> {
  readonly ip: string;
  readonly createdAt: number;
  ready: boolean;
  containers: readonly Container[];
}

interface Container extends Pick<ContainerConfig, 'name' | 'attempt' | 'image' | 'configHash'> {
  readonly sandbox: Sandbox;
  readonly id: ContainerId;
  readonly createdAt: number;
  startedAt: number | undefined;
  finishedAt: number | undefined;
  exitCode: number | undefined;
  /** Ends when the container runs; present from the call that starts it. */
  start: Promise<void> | undefined;
}

const killedExitCode = 137;
const none: readonly never[] = [];

/**
 * Pods without processes: containers start after a short delay, run until they are stopped, and print nothing. Everything a node does
 * about pods happens, except the programs, so that thousands of pods on hundreds of nodes fit in one process.
 */
export function createSimulatedHost(options: SimulatedHostOptions): SimulatedHost {
  const { clock, version, firstAddress = '10.128.0.1', startDelayMs = 5 } = options;
  const shared: Shared = {
    clock,
    version: `simulated://${version}`,
    takeAddress: addressesFrom(firstAddress),
    delay: createSharedDelay(clock, startDelayMs),
    sandboxes: new Map(),
    containers: new Map(),
  };
  return { createRuntime: () => new SimulatedRuntime(shared) };
}

/** The nodes share it. Ids begin with the uid of their pod, so that no two nodes have the same. */
interface Shared {
  readonly clock: Clock;
  readonly version: string;
  readonly takeAddress: () => string;
  readonly delay: () => Promise<void>;
  readonly sandboxes: Map<SandboxId, Sandbox>;
  readonly containers: Map<ContainerId, Container>;
}

/** A class, since a process has thousands of them: each as an object with a closure a method took 3 KiB. */
class SimulatedRuntime implements ContainerRuntime {
  readonly version: string;
  readonly runsPrograms = false;
  readonly hasContainers = false;
  readonly trouble = undefined;
  readonly isolation = undefined;
  readonly conditions = none;
  readonly #shared: Shared;
  /** A node's agent asks for one pod at a time. */
  readonly #byPod = new Map<string, readonly Sandbox[]>();
  #listeners: readonly ((podUid: string) => void)[] = none;

  constructor(shared: Shared) {
    this.#shared = shared;
    this.version = shared.version;
  }

  async runPodSandbox(config: PodSandboxConfig): Promise<SandboxId> {
    const { sandboxes, clock, takeAddress } = this.#shared;
    const id = `${config.uid}-${config.attempt}`;
    const known = sandboxes.get(id);
    if (known?.ready) return id;
    const { namespace, name, uid, attempt, gracePeriodMs } = config;
    const made = { ip: takeAddress(), createdAt: clock.now(), ready: true, containers: known?.containers ?? [] };
    const sandbox: Sandbox = { id, namespace, name, uid, attempt, gracePeriodMs, ...made };
    sandboxes.set(id, sandbox);
    this.#byPod.set(uid, this.#othersOfPod(known ?? sandbox).concat(sandbox));
    return id;
  }

  async stopPodSandbox(id: SandboxId): Promise<void> {
    const sandbox = this.#shared.sandboxes.get(id);
    if (sandbox === undefined) return;
    sandbox.ready = false;
    await Promise.all(sandbox.containers.map((container) => this.#stop(container, killedExitCode)));
  }

  async removePodSandbox(id: SandboxId): Promise<void> {
    const { sandboxes, containers } = this.#shared;
    await this.stopPodSandbox(id);
    const sandbox = sandboxes.get(id);
    if (sandbox === undefined) return;
    for (const container of sandbox.containers) containers.delete(container.id);
    sandboxes.delete(id);
    const left = this.#othersOfPod(sandbox);
    if (left.length === 0) this.#byPod.delete(sandbox.uid);
    else this.#byPod.set(sandbox.uid, left);
  }

  async findImage(image: string): Promise<LocalImage> {
    return { reference: image, sizeBytes: 0 };
  }

  async createContainer(sandboxId: SandboxId, { name, attempt, image, configHash }: ContainerConfig): Promise<ContainerId> {
    const { sandboxes, containers, clock } = this.#shared;
    const sandbox = sandboxes.get(sandboxId);
    if (sandbox === undefined) throw new Error(`sandbox ${sandboxId} is not known`);
    if (!sandbox.ready) throw new Error(`sandbox ${sandboxId} is not ready`);
    const id = `${sandboxId}-${name}-${attempt}`;
    if (containers.has(id)) throw new ContainerError('CreateContainerError', `container name ${name} with attempt ${attempt} is in use`);
    const container: Container = {
      sandbox,
      id,
      name,
      attempt,
      image,
      configHash,
      createdAt: clock.now(),
      startedAt: undefined,
      finishedAt: undefined,
      exitCode: undefined,
      start: undefined,
    };
    // Unlike a spread, it leaves no room for more.
    sandbox.containers = sandbox.containers.concat(container);
    containers.set(id, container);
    return id;
  }

  async startContainer(id: ContainerId): Promise<void> {
    const { delay, clock } = this.#shared;
    const container = this.#containerOf(id);
    if (container.start !== undefined) throw new ContainerError('RunContainerError', `container ${id} was started already`);
    container.start = delay().then(() => {
      container.startedAt = clock.now();
    });
    await container.start;
  }

  async stopContainer(id: ContainerId, gracePeriodMs: number): Promise<void> {
    await this.#stop(this.#containerOf(id), gracePeriodMs === 0 ? killedExitCode : 0);
  }

  async removeContainer(id: ContainerId): Promise<void> {
    const { containers } = this.#shared;
    const container = containers.get(id);
    if (container === undefined) return;
    await this.#stop(container, killedExitCode);
    container.sandbox.containers = container.sandbox.containers.filter((other) => other !== container);
    containers.delete(id);
  }

  takeProblems(): readonly never[] {
    return none;
  }

  async list({ podUid }: { readonly podUid?: string } = {}): Promise<readonly SandboxStatus[]> {
    const found = podUid === undefined ? [...this.#byPod.values()].flat() : (this.#byPod.get(podUid) ?? none);
    return found.map(sandboxStatusOf);
  }

  async exec(id: ContainerId): Promise<ExecResult> {
    this.#containerOf(id);
    return { exitCode: 0, timedOut: false, stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) };
  }

  startExec(): Promise<never> {
    return Promise.reject(new UnsupportedError('a simulated container has no processes, so no command can run in it'));
  }

  openStdin(): Promise<never> {
    return Promise.reject(new UnsupportedError('a simulated container has no processes and reads nothing'));
  }

  connect(): Promise<never> {
    return Promise.reject(new UnsupportedError('a simulated pod has no processes and listens on no port'));
  }

  logOf(): undefined {
    return undefined;
  }

  async listeners(): Promise<readonly never[]> {
    return none;
  }

  async stats(): Promise<readonly never[]> {
    return none;
  }

  hostIdOf(): undefined {
    return undefined;
  }

  onChange(listener: (podUid: string) => void): () => void {
    this.#listeners = this.#listeners.concat(listener);
    return () => {
      this.#listeners = this.#listeners.filter((other) => other !== listener);
    };
  }

  async close(): Promise<void> {
    this.#listeners = none;
  }

  #containerOf(id: ContainerId): Container {
    const container = this.#shared.containers.get(id);
    if (container === undefined) throw new Error(`container ${id} is not known`);
    return container;
  }

  #othersOfPod(sandbox: Sandbox): readonly Sandbox[] {
    return (this.#byPod.get(sandbox.uid) ?? none).filter((other) => other !== sandbox);
  }

  async #stop(container: Container, exitCode: number): Promise<void> {
    await container.start;
    if (container.startedAt === undefined || container.finishedAt !== undefined) return;
    container.finishedAt = this.#shared.clock.now();
    container.exitCode = exitCode;
    for (const listener of this.#listeners) listener(container.sandbox.uid);
  }
}

/** One timer for all that wait at the same time: each waits at least `delayMs` and at most twice that. */
function createSharedDelay(clock: Clock, delayMs: number): () => Promise<void> {
  if (delayMs <= 0) return () => Promise.resolve();
  let current: (() => void)[] = [];
  let next: (() => void)[] = [];
  let ticking = false;

  const tick = (): void => {
    for (const resolve of current) resolve();
    current = next;
    next = [];
    if (current.length > 0) clock.after(delayMs, tick);
    else ticking = false;
  };
  return () =>
    new Promise((resolve) => {
      if (ticking) {
        next.push(resolve);
        return;
      }
      ticking = true;
      current.push(resolve);
      clock.after(delayMs, tick);
    });
}

function addressesFrom(first: string): () => string {
  const parts = first.split('.').map(Number);
  if (parts.length !== 4 || parts.some((part) => !Number.isInteger(part) || part < 0 || part > 255)) {
    throw new Error(`first address ${first} is not an IPv4 address`);
  }
  let next = parts.reduce((sum, part) => sum * 256 + part, 0);
  return () => {
    const address = next;
    next += 1;
    return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join('.');
  };
}

function sandboxStatusOf({ id, namespace, name, uid, attempt, ready, ip, createdAt, gracePeriodMs, containers }: Sandbox): SandboxStatus {
  return { id, namespace, name, uid, attempt, ready, ip, createdAt, gracePeriodMs, containers: containers.map(containerStatusOf) };
}

function containerStatusOf({
  id,
  name,
  attempt,
  image,
  configHash,
  createdAt,
  startedAt,
  finishedAt,
  exitCode,
}: Container): ContainerStatus {
  const common = { id, name, attempt, image, imageRef: image, configHash, createdAt };
  if (startedAt === undefined) return { ...common, state: 'created' };
  if (finishedAt === undefined || exitCode === undefined) return { ...common, state: 'running', startedAt };
  return { ...common, state: 'exited', startedAt, finishedAt, exitCode, reason: exitCode === 0 ? 'Completed' : 'Error' };
}

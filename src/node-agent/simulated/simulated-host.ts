import type { Clock } from '../../base/clock.ts';
import {
  type ContainerConfig,
  ContainerError,
  type ContainerId,
  type ContainerRuntime,
  type ContainerStatus,
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

interface Sandbox {
  readonly config: PodSandboxConfig;
  readonly ip: string;
  readonly createdAt: number;
  ready: boolean;
  readonly containers: Map<ContainerId, Container>;
}

interface Container {
  readonly sandbox: Sandbox;
  readonly id: ContainerId;
  readonly config: ContainerConfig;
  readonly createdAt: number;
  startedAt: number | undefined;
  finishedAt: number | undefined;
  exitCode: number | undefined;
  /** Ends when the container runs; present from the call that starts it. */
  start: Promise<void> | undefined;
}

const killedExitCode = 137;

/**
 * Pods without processes: containers start after a short delay, run until they are stopped, and print nothing. Everything a node does
 * about pods happens, except the programs, so that thousands of pods on hundreds of nodes fit in one process.
 */
export function createSimulatedHost(options: SimulatedHostOptions): SimulatedHost {
  const { clock, version, firstAddress = '10.128.0.1', startDelayMs = 5 } = options;
  const takeAddress = addressesFrom(firstAddress);
  const delay = createSharedDelay(clock, startDelayMs);

  return {
    createRuntime() {
      // By pod: a node's agent asks for one pod at a time.
      const byPod = new Map<string, Sandbox[]>();
      const sandboxes = new Map<SandboxId, Sandbox>();
      const containers = new Map<ContainerId, Container>();
      const listeners = new Set<(podUid: string) => void>();
      const containerOf = (id: ContainerId): Container => {
        const container = containers.get(id);
        if (container === undefined) throw new Error(`container ${id} is not known`);
        return container;
      };

      async function stop(container: Container, exitCode: number): Promise<void> {
        await container.start;
        if (container.startedAt === undefined || container.finishedAt !== undefined) return;
        container.finishedAt = clock.now();
        container.exitCode = exitCode;
        for (const listener of listeners) listener(container.sandbox.config.uid);
      }

      async function stopPodSandbox(id: SandboxId): Promise<void> {
        const sandbox = sandboxes.get(id);
        if (sandbox === undefined) return;
        sandbox.ready = false;
        await Promise.all([...sandbox.containers.values()].map((container) => stop(container, killedExitCode)));
      }

      return {
        version: `simulated://${version}`,
        runsPrograms: false,
        hasContainers: false,
        trouble: undefined,
        conditions: [],

        async runPodSandbox(config) {
          const id = `${config.uid}-${config.attempt}`;
          const known = sandboxes.get(id);
          if (known?.ready) return id;
          const sandbox: Sandbox = {
            config,
            ip: takeAddress(),
            createdAt: clock.now(),
            ready: true,
            containers: known?.containers ?? new Map(),
          };
          sandboxes.set(id, sandbox);
          byPod.set(config.uid, [...(byPod.get(config.uid) ?? []).filter((other) => other !== known), sandbox]);
          return id;
        },

        stopPodSandbox,

        async removePodSandbox(id) {
          await stopPodSandbox(id);
          const sandbox = sandboxes.get(id);
          if (sandbox === undefined) return;
          for (const container of sandbox.containers.keys()) containers.delete(container);
          sandboxes.delete(id);
          const left = (byPod.get(sandbox.config.uid) ?? []).filter((other) => other !== sandbox);
          if (left.length === 0) byPod.delete(sandbox.config.uid);
          else byPod.set(sandbox.config.uid, left);
        },

        findImage: async (image) => ({ reference: image, sizeBytes: 0 }),

        async createContainer(sandboxId, config) {
          const sandbox = sandboxes.get(sandboxId);
          if (sandbox === undefined) throw new Error(`sandbox ${sandboxId} is not known`);
          if (!sandbox.ready) throw new Error(`sandbox ${sandboxId} is not ready`);
          const id = `${sandboxId}-${config.name}-${config.attempt}`;
          if (containers.has(id))
            throw new ContainerError('CreateContainerError', `container name ${config.name} with attempt ${config.attempt} is in use`);
          const container: Container = {
            sandbox,
            id,
            config,
            createdAt: clock.now(),
            startedAt: undefined,
            finishedAt: undefined,
            exitCode: undefined,
            start: undefined,
          };
          sandbox.containers.set(id, container);
          containers.set(id, container);
          return id;
        },

        async startContainer(id) {
          const container = containerOf(id);
          if (container.start !== undefined) throw new ContainerError('RunContainerError', `container ${id} was started already`);
          container.start = delay().then(() => {
            container.startedAt = clock.now();
          });
          await container.start;
        },

        async stopContainer(id, gracePeriodMs) {
          await stop(containerOf(id), gracePeriodMs === 0 ? killedExitCode : 0);
        },

        async removeContainer(id) {
          const container = containers.get(id);
          if (container === undefined) return;
          await stop(container, killedExitCode);
          container.sandbox.containers.delete(id);
          containers.delete(id);
        },

        takeProblems: () => [],

        async list({ podUid } = {}) {
          const found = podUid === undefined ? [...sandboxes.values()] : (byPod.get(podUid) ?? []);
          return found.map(sandboxStatusOf);
        },

        async exec(id) {
          containerOf(id);
          return { exitCode: 0, timedOut: false, stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) };
        },
        startExec: () => Promise.reject(new UnsupportedError('a simulated container has no processes, so no command can run in it')),
        openStdin: () => Promise.reject(new UnsupportedError('a simulated container has no processes and reads nothing')),
        connect: () => Promise.reject(new UnsupportedError('a simulated pod has no processes and listens on no port')),
        logOf: () => undefined,
        async listeners() {
          return [];
        },
        async stats() {
          return [];
        },

        isolation: undefined,
        hostIdOf: () => undefined,

        onChange(listener) {
          listeners.add(listener);
          return () => listeners.delete(listener);
        },
        async close() {
          listeners.clear();
        },
      };
    },
  };
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

function sandboxStatusOf({ config, ip, createdAt, ready, containers }: Sandbox): SandboxStatus {
  const { namespace, name, uid, attempt, gracePeriodMs } = config;
  return {
    id: `${uid}-${attempt}`,
    namespace,
    name,
    uid,
    attempt,
    ready,
    ip,
    createdAt,
    gracePeriodMs,
    containers: [...containers.values()].map(containerStatusOf),
  };
}

function containerStatusOf({ id, config, createdAt, startedAt, finishedAt, exitCode }: Container): ContainerStatus {
  const { name, attempt, image, configHash } = config;
  const common = { id, name, attempt, image, imageRef: image, configHash, createdAt };
  if (startedAt === undefined) return { ...common, state: 'created' };
  if (finishedAt === undefined || exitCode === undefined) return { ...common, state: 'running', startedAt };
  return { ...common, state: 'exited', startedAt, finishedAt, exitCode, reason: exitCode === 0 ? 'Completed' : 'Error' };
}

import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { ContainerId, ContainerLog, PodSandboxConfig, SandboxId } from '../container-runtime.ts';
import { type AddressPool, createAddressPool } from './address-pool.ts';
import { type ContainerRecord, containerDirectory } from './container-state.ts';
import { hostIdOf } from './isolation.ts';
import type { Container, Sandbox } from './known-container.ts';
import { recordLogTimes } from './log-times.ts';
import type { ProcessHost } from './process-host.ts';
import { createResourceLimits, type ResourceLimits } from './resource-limits.ts';

export interface KnownPodsOptions {
  readonly host: ProcessHost;
  /** Absolute; this runtime's alone. */
  readonly directory: string;
  /** `127.N.M.0/24`; `.1` is the node's own address. */
  readonly podCidr: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** The pods of one process runtime, and what its parts need to work on them. */
export interface KnownPods extends KnownPodsOptions {
  readonly limits: ResourceLimits;
  readonly pool: AddressPool;
  readonly sandboxes: Map<SandboxId, Sandbox>;
  readonly containers: Map<ContainerId, Container>;
  /** @throws Error when the sandbox is not known */
  sandboxOf(id: SandboxId): Sandbox;
  /** @throws Error when the container is not known */
  containerOf(id: ContainerId): Container;
  podOf(container: Container): PodSandboxConfig;
  /** A container of this record, which is not known yet. */
  newContainer(record: ContainerRecord): Container;
  /** The id that the pod has on the host; undefined when that is the agent's own. */
  hostIdOf(podUid: string): number | undefined;
  /** Records from when to when the container wrote which bytes of its log. */
  watchLog(container: Container): void;
  /** Keeps damage that was found, for the user of the pod. */
  report(podUid: string, problem: string): void;
  takeProblems(podUid: string): readonly string[];
}

export function createKnownPods(options: KnownPodsOptions): KnownPods {
  const { host, directory, clock, log } = options;
  const { isolation } = host;
  const sandboxes = new Map<SandboxId, Sandbox>();
  const containers = new Map<ContainerId, Container>();
  const problems = new Map<string, readonly string[]>();

  const sandboxOf = (id: SandboxId): Sandbox => {
    const sandbox = sandboxes.get(id);
    if (sandbox === undefined) throw new Error(`sandbox ${id} is not known`);
    return sandbox;
  };

  return {
    ...options,
    limits: createResourceLimits({ cgroups: host.cgroups, isolation, directory, clock, log }),
    pool: createAddressPool(options.podCidr),
    sandboxes,
    containers,
    sandboxOf,

    containerOf(id) {
      const container = containers.get(id);
      if (container === undefined) throw new Error(`container ${id} is not known`);
      return container;
    },

    podOf: ({ record }) => sandboxOf(record.sandbox).record.config,

    newContainer: (record) => ({
      record,
      directory: containerDirectory(directory, record.sandbox, record.id),
      identity: undefined,
      waiter: undefined,
      startedAt: undefined,
      exit: undefined,
      terminationMessage: undefined,
      ranOutOfMemory: false,
      child: undefined,
      launching: undefined,
      logTimes: undefined,
      exitListeners: [],
    }),

    hostIdOf: (podUid) => (isolation.mode === 'namespaces' && isolation.ids !== undefined ? hostIdOf(isolation.ids, podUid) : undefined),

    watchLog(container) {
      container.logTimes ??= recordLogTimes({ log: logOf(container), clock, logger: log });
    },

    report(podUid, problem) {
      log.warn({ uid: podUid, problem }, 'Found damaged records of a pod');
      problems.set(podUid, [...(problems.get(podUid) ?? []), problem]);
    },

    takeProblems(podUid) {
      const found = problems.get(podUid) ?? [];
      problems.delete(podUid);
      return found;
    },
  };
}

export const isRunning = (container: Container): boolean => container.identity !== undefined && container.exit === undefined;

export const logOf = ({ record }: Container): Required<ContainerLog> => ({
  path: record.logPath,
  timesPath: `${record.logPath}.times`,
});

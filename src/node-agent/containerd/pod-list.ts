import { mapBounded } from '../../base/concurrency.ts';
import { GrpcError, grpcCodes } from '../../base/grpc.ts';
import type { ContainerId, ContainerStats, ContainerStatus, SandboxId, SandboxStatus } from '../container-runtime.ts';
import { readTerminationMessage } from './container-files.ts';
import type { CriClient, CriContainer, CriContainerStats, CriContainerStatus, CriSandbox } from './cri-client.ts';
import { annotations, isHostNetwork, labels } from './cri-config.ts';

const readsAtOnce = 8;

export interface PodListOptions {
  readonly client: CriClient;
  /** The labels of this node's pods. */
  readonly own: Readonly<Record<string, string>>;
  readonly directory: string;
}

/** Reads this node's pods from the runtime, and remembers what cannot change. */
export interface PodList {
  list(options?: { readonly podUid?: string }): Promise<readonly SandboxStatus[]>;
  /** @throws Error when the sandbox is not there */
  sandboxOf(id: SandboxId): Promise<CriSandbox>;
  /** The address of a pod with a network of its own; undefined while there is none. */
  addressOf(sandbox: CriSandbox, ready: boolean): Promise<string | undefined>;
  noteLog(id: ContainerId, path: string): void;
  /** The path that was noted or that a list showed. */
  logOf(id: ContainerId): string | undefined;
  openLogs(): Iterable<readonly [id: ContainerId, path: string]>;
  forgetContainer(id: ContainerId): void;
  forgetSandbox(id: SandboxId): void;
}

export function createPodList({ client, own, directory }: PodListOptions): PodList {
  /** The details of a container only change with its state, so each is asked for once a state. Holds those of the newest list. */
  let details = new Map<ContainerId, CriContainerStatus>();
  let addresses = new Map<SandboxId, string>();
  const logPaths = new Map<ContainerId, string>();

  async function statusOf(container: CriContainer): Promise<ContainerStatus> {
    const known = details.get(container.id);
    const status =
      known?.state === container.state || container.state === 'CONTAINER_CREATED' ? known : await client.containerStatus(container.id);
    if (status !== undefined) logPaths.set(container.id, status.logPath);
    const message = status?.state === 'CONTAINER_EXITED' ? await readTerminationMessage(directory, container) : undefined;
    if (status !== undefined) details.set(container.id, status);
    return containerStatusOf({ container, status, message });
  }

  async function addressOf(sandbox: CriSandbox, ready: boolean): Promise<string | undefined> {
    const known = addresses.get(sandbox.id);
    if (known !== undefined || !ready || isHostNetwork(sandbox)) return known;
    const address = await client.podAddress(sandbox.id);
    if (address === '') return undefined;
    addresses.set(sandbox.id, address);
    return address;
  }

  function forgetOthers(sandboxes: readonly CriSandbox[], containers: readonly CriContainer[]): void {
    const ids = new Set(containers.map(({ id }) => id));
    details = new Map([...details].filter(([id]) => ids.has(id)));
    for (const id of logPaths.keys()) if (!ids.has(id)) logPaths.delete(id);
    const sandboxIds = new Set(sandboxes.map(({ id }) => id));
    addresses = new Map([...addresses].filter(([id]) => sandboxIds.has(id)));
  }

  return {
    async list({ podUid } = {}) {
      const filter = podUid === undefined ? own : { ...own, [labels.podUid]: podUid };
      const [allSandboxes, allContainers] = await Promise.all([client.listPodSandboxes(filter), client.listContainers(filter)]);
      // The runtime lists in no order.
      const sandboxes = allSandboxes.toSorted(byCreation);
      const containers = allContainers.toSorted(byCreation);
      const statuses = await mapBounded(containers, readsAtOnce, async (container) => ({
        sandbox: container.podSandboxId,
        status: await statusOf(container).catch((err: unknown) => {
          // Removed since the list.
          if (err instanceof GrpcError && err.code === grpcCodes.notFound) return undefined;
          throw err;
        }),
      }));
      const found = await mapBounded(sandboxes, readsAtOnce, async (sandbox) => ({
        ...sandboxStatusOf(sandbox),
        ip: await addressOf(sandbox, sandbox.state === 'SANDBOX_READY'),
        containers: statuses.flatMap(({ sandbox: of, status }) => (of === sandbox.id && status !== undefined ? [status] : [])),
      }));
      if (podUid === undefined) forgetOthers(sandboxes, containers);
      return found;
    },

    async sandboxOf(id) {
      const sandbox = (await client.listPodSandboxes(own)).find((each) => each.id === id);
      if (sandbox === undefined) throw new Error(`sandbox ${id} is not known`);
      return sandbox;
    },

    addressOf,
    noteLog: (id, path) => void logPaths.set(id, path),
    logOf: (id) => logPaths.get(id),
    openLogs: () => [...logPaths].filter(([id]) => details.get(id)?.state !== 'CONTAINER_EXITED'),

    forgetContainer(id) {
      details.delete(id);
      logPaths.delete(id);
    },

    forgetSandbox: (id) => void addresses.delete(id),
  };
}

function sandboxStatusOf({ id, state, metadata, createdAt, annotations: notes }: CriSandbox): Omit<SandboxStatus, 'ip' | 'containers'> {
  const { name, namespace, uid, attempt } = metadata;
  const grace = Number(notes[annotations.gracePeriod]);
  return {
    id,
    namespace,
    name,
    uid,
    attempt,
    ready: state === 'SANDBOX_READY',
    createdAt: millisecondsOf(createdAt),
    ...(Number.isFinite(grace) ? { gracePeriodMs: grace } : {}),
  };
}

interface FoundContainer {
  readonly container: CriContainer;
  /** Absent before its start. */
  readonly status: CriContainerStatus | undefined;
  readonly message: string | undefined;
}

function containerStatusOf({ container, status, message }: FoundContainer): ContainerStatus {
  return {
    id: container.id,
    name: container.metadata.name,
    attempt: container.metadata.attempt,
    image: container.image.image,
    imageRef: container.imageRef,
    configHash: container.annotations[annotations.hash] ?? '',
    state: stateOf(status?.state ?? container.state),
    createdAt: millisecondsOf(container.createdAt),
    ...(status === undefined || status.startedAt === 0 ? {} : { startedAt: millisecondsOf(status.startedAt) }),
    ...(status?.state === 'CONTAINER_EXITED'
      ? {
          finishedAt: millisecondsOf(status.finishedAt),
          exitCode: status.exitCode,
          reason: status.reason === '' ? (status.exitCode === 0 ? 'Completed' : 'Error') : status.reason,
        }
      : {}),
    ...(message === undefined || message === '' ? (status?.message ? { message: status.message } : {}) : { message }),
  };
}

/** Usage of the containers of one node; undefined measurements are left out. */
export function statsOf(found: readonly CriContainerStats[], nodeName: string): readonly ContainerStats[] {
  return found.flatMap(({ attributes, cpu, memory, writableLayer }) => {
    const podUid = attributes.labels[labels.podUid];
    const container = attributes.labels[labels.containerName];
    if (podUid === undefined || container === undefined || attributes.labels[labels.node] !== nodeName) return [];
    // An ended container is in the list without measurements.
    if (!cpu && !memory) return [];
    const used = cpu?.usageCoreNanoSeconds?.value;
    const workingSet = memory?.workingSetBytes?.value;
    const rss = memory?.rssBytes?.value;
    const usage = memory?.usageBytes?.value;
    const written = writableLayer?.usedBytes?.value;
    const inodes = writableLayer?.inodesUsed?.value;
    return [
      {
        podUid,
        container,
        ...(used === undefined ? {} : { cpuUsageSeconds: used / 1e9 }),
        ...(workingSet === undefined ? {} : { memoryWorkingSetBytes: workingSet }),
        ...(rss === undefined ? {} : { memoryRssBytes: rss }),
        ...(usage === undefined ? {} : { memoryUsageBytes: usage }),
        ...(written === undefined ? {} : { writableLayerBytes: written }),
        ...(inodes === undefined ? {} : { writableLayerInodes: inodes }),
      },
    ];
  });
}

const byCreation = (a: { readonly createdAt: number }, b: { readonly createdAt: number }): number => a.createdAt - b.createdAt;

const millisecondsOf = (nanoseconds: number): number => Math.round(nanoseconds / 1e6);

const stateOf = (state: CriContainer['state']): ContainerStatus['state'] =>
  (({ CONTAINER_CREATED: 'created', CONTAINER_RUNNING: 'running', CONTAINER_EXITED: 'exited', CONTAINER_UNKNOWN: 'unknown' }) as const)[
    state
  ];

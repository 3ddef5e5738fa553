import type { Node } from '../api/core/v1/node.ts';
import type { EvictionSettings } from '../api/eviction-settings.ts';
import type { AgentContext } from './agent-context.ts';
import type { NodeConditionReport } from './container-runtime.ts';
import type { CsiVolumes } from './csi/csi-volumes.ts';
import { volumeImagesOf } from './image-volumes.ts';
import type { NodePressure } from './node-pressure.ts';
import { endOrphans } from './orphans.ts';
import type { PodWorkers } from './pod-workers.ts';
import { createPressureEviction } from './pressure-eviction.ts';
import type { TokenSource } from './service-account-tokens.ts';
import { evictThoseOverStorage } from './storage-eviction.ts';

export interface NodeUpkeepOptions {
  readonly context: AgentContext;
  readonly workers: PodWorkers;
  readonly tokens: TokenSource;
  readonly pressure: NodePressure;
  readonly eviction: EvictionSettings;
  /** Absent: the node has no drivers of volumes. */
  readonly csi?: CsiVolumes | undefined;
}

/** The work of a node that comes back with time, apart from any change of its pods. It ends with the signal of the agent. */
export interface NodeUpkeep {
  /** Ends what earlier agents left, and repeats that and the rest every minute. */
  start(): Promise<void>;
  /** Measures memory, disk and process ids once. */
  lookAtPressure(): Promise<void>;
  /** Repeats that, and evicts pods while one of them runs out, and those that fill more of the disk than they may. */
  watchPressure(): void;
  /** The Node of the API, for Events about it. */
  registered(node: Node): void;
  /** Pods that wait for a driver of their volumes, or for an attachment, try again. */
  renewWaiting(): void;
  stop(): void;
}

const housekeepingMs = 60_000;
/** Between two looks at the disk that pods use, as upstream. */
const storageLookMs = 10_000;

export function createNodeUpkeep({ context, workers, tokens, pressure, csi, ...options }: NodeUpkeepOptions): NodeUpkeep {
  const { runtime, clock, config, recorder, log, nodeName, signal } = context;
  let node: Node | undefined;
  let cancelHousekeeping: (() => void) | undefined;
  let cancelStorageLook: (() => void) | undefined;
  const eviction = createPressureEviction(context, { pressure, maxPodGraceSeconds: options.eviction.maxPodGraceSeconds });
  const orphans = { context, isKnown: (uid: string) => workers.has(uid) };

  function recordPressure({ reason: ofCondition }: NodeConditionReport): void {
    if (node === undefined) return;
    const reason = ofCondition.replace('Kubelet', 'Node');
    recorder.record(node, { type: 'Normal', reason, message: `Node ${nodeName} status is now: ${reason}` });
  }

  async function lookAtPressure(): Promise<void> {
    for (const condition of await pressure.look()) recordPressure(condition);
  }

  /** Images that no pod uses go before pods do. Processes of a machine that its user fills are left alone. */
  async function relieve(): Promise<void> {
    const [shortage] = pressure.shortages;
    if (!runtime.hasContainers || shortage === undefined) return;
    const { resource } = shortage;
    if (node !== undefined)
      recorder.record(node, { type: 'Warning', reason: 'EvictionThresholdMet', message: `Attempting to reclaim ${resource}` });
    if (resource === 'ephemeral-storage' || resource === 'inodes') {
      await collectImages({ all: true });
      await lookAtPressure();
    }
    await eviction.relieve(workers.all());
  }

  function watchPressure(): void {
    if (signal.aborted || !runtime.runsPrograms) return;
    cancelStorageLook = clock.after(storageLookMs, () => {
      renewWaiting();
      lookAtPressure()
        .then(relieve)
        .then(() => evictThoseOverStorage(context, workers.all()))
        .catch((err: unknown) => log.warn({ err }, 'Could not look at the disk that pods use'))
        .finally(watchPressure);
    });
  }

  function renewWaiting(): void {
    for (const uid of csi?.takeWaiting() ?? []) workers.renew(uid);
  }

  async function collectImages({ all = false } = {}): Promise<void> {
    const kept = new Set<string>();
    for (const image of volumeImagesOf(workers.all().map(({ pod }) => pod))) {
      const found = await runtime.findImage(image).catch(() => undefined);
      if (found !== undefined) kept.add(found.reference);
    }
    const problem = await runtime.collectImages?.(kept, { all });
    if (problem !== undefined && node !== undefined)
      recorder.record(node, { type: 'Warning', reason: 'FreeDiskSpaceFailed', message: problem });
  }

  function scheduleHousekeeping(): void {
    if (signal.aborted) return;
    cancelHousekeeping = clock.after(housekeepingMs, () => {
      // A driver may want its volumes published again, or a volume may have grown.
      for (const uid of new Set([...tokens.due(), ...(csi?.podUids() ?? [])])) workers.renew(uid);
      config.releaseUnused((reference) => workers.all().some((worker) => worker.refersTo(reference)));
      endOrphans(orphans)
        .catch((err: unknown) => log.warn({ err }, 'Could not look for orphaned pods'))
        .then(() => csi?.unstageUnused())
        .then(() => collectImages())
        .catch((err: unknown) => log.warn({ err }, 'Could not collect images'))
        .finally(scheduleHousekeeping);
    });
  }

  return {
    async start() {
      await endOrphans(orphans);
      scheduleHousekeeping();
    },
    lookAtPressure,
    watchPressure,
    renewWaiting,
    registered(registered) {
      node = registered;
      for (const condition of pressure.conditions) if (condition.status === 'True') recordPressure(condition);
    },
    stop() {
      cancelHousekeeping?.();
      cancelStorageLook?.();
    },
  };
}

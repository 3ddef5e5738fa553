import type { Node } from '../api/core/v1/node.ts';
import type { EvictionSettings } from '../api/eviction-settings.ts';
import type { RecordedEvent } from '../reconcile/event-recorder.ts';
import type { AgentContext } from './agent-context.ts';
import type { NodeConditionReport } from './container-runtime.ts';
import type { CsiVolumes } from './csi/csi-volumes.ts';
import { volumeImagesOf } from './image-volumes.ts';
import type { NodePressure } from './node-pressure.ts';
import { endOrphans } from './orphans.ts';
import type { PodWorkers } from './pod-workers.ts';
import { createPressureEviction, type PressureEviction } from './pressure-eviction.ts';
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

export const createNodeUpkeep = (options: NodeUpkeepOptions): NodeUpkeep => new Upkeep(options);

class Upkeep implements NodeUpkeep {
  readonly #options: NodeUpkeepOptions;
  readonly #eviction: PressureEviction;
  #node: Node | undefined;
  #cancelHousekeeping: (() => void) | undefined;
  #cancelStorageLook: (() => void) | undefined;

  constructor(options: NodeUpkeepOptions) {
    this.#options = options;
    const { context, pressure, eviction } = options;
    this.#eviction = createPressureEviction(context, { pressure, maxPodGraceSeconds: eviction.maxPodGraceSeconds });
  }

  async start(): Promise<void> {
    await endOrphans(this.#options.context, this.#options.workers);
    this.#scheduleHousekeeping();
  }

  async lookAtPressure(): Promise<void> {
    for (const condition of await this.#options.pressure.look()) this.#recordPressure(condition);
  }

  watchPressure(): void {
    const { context, workers } = this.#options;
    const { clock, log, runtime, signal } = context;
    if (signal.aborted || !runtime.runsPrograms) return;
    this.#cancelStorageLook = clock.after(storageLookMs, () => {
      this.renewWaiting();
      this.lookAtPressure()
        .then(() => this.#relieve())
        .then(() => evictThoseOverStorage(context, workers.all()))
        .catch((err: unknown) => log.warn({ err }, 'Could not look at the disk that pods use'))
        .finally(() => this.watchPressure());
    });
  }

  renewWaiting(): void {
    const { csi, workers } = this.#options;
    for (const uid of csi?.takeWaiting() ?? []) workers.renew(uid);
  }

  registered(node: Node): void {
    this.#node = node;
    for (const condition of this.#options.pressure.conditions) if (condition.status === 'True') this.#recordPressure(condition);
  }

  stop(): void {
    this.#cancelHousekeeping?.();
    this.#cancelStorageLook?.();
  }

  #record(event: RecordedEvent): void {
    if (this.#node !== undefined) this.#options.context.recorder.record(this.#node, event);
  }

  #recordPressure({ reason: ofCondition }: NodeConditionReport): void {
    const reason = ofCondition.replace('Kubelet', 'Node');
    this.#record({ type: 'Normal', reason, message: `Node ${this.#options.context.nodeName} status is now: ${reason}` });
  }

  /** Images that no pod uses go before pods do. Processes of a machine that its user fills are left alone. */
  async #relieve(): Promise<void> {
    const { context, workers, pressure } = this.#options;
    const [shortage] = pressure.shortages;
    if (!context.runtime.hasContainers || shortage === undefined) return;
    const { resource } = shortage;
    this.#record({ type: 'Warning', reason: 'EvictionThresholdMet', message: `Attempting to reclaim ${resource}` });
    if (resource === 'ephemeral-storage' || resource === 'inodes') {
      await this.#collectImages({ all: true });
      await this.lookAtPressure();
    }
    await this.#eviction.relieve(workers.all());
  }

  async #collectImages({ all = false } = {}): Promise<void> {
    const { context, workers } = this.#options;
    const { runtime } = context;
    const kept = new Set<string>();
    for (const image of volumeImagesOf(workers.all().map(({ pod }) => pod))) {
      const found = await runtime.findImage(image).catch(() => undefined);
      if (found !== undefined) kept.add(found.reference);
    }
    const problem = await runtime.collectImages?.(kept, { all });
    if (problem !== undefined) this.#record({ type: 'Warning', reason: 'FreeDiskSpaceFailed', message: problem });
  }

  #scheduleHousekeeping(): void {
    const { context, workers, tokens, csi } = this.#options;
    const { clock, config, log, signal } = context;
    if (signal.aborted) return;
    this.#cancelHousekeeping = clock.after(housekeepingMs, () => {
      // A driver may want its volumes published again, or a volume may have grown.
      for (const uid of new Set([...tokens.due(), ...(csi?.podUids() ?? [])])) workers.renew(uid);
      config.releaseUnused((reference) => workers.all().some((worker) => worker.refersTo(reference)));
      endOrphans(context, workers)
        .catch((err: unknown) => log.warn({ err }, 'Could not look for orphaned pods'))
        .then(() => csi?.unstageUnused())
        .then(() => this.#collectImages())
        .catch((err: unknown) => log.warn({ err }, 'Could not collect images'))
        .finally(() => this.#scheduleHousekeeping());
    });
  }
}

import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { type ResourceAmounts, readAmounts } from '../../api/core/v1/pod-resources.ts';
import { addAmounts, isInScope, mayCount, restrictTo, subtractAmounts, usageOf } from '../../api/core/v1/quota-usage.ts';
import type { ResourceQuota } from '../../api/core/v1/resource-quota.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import { type KubeObject, keyOf } from '../../machinery/object.ts';
import { groupResourceOf } from '../../machinery/resource.ts';
import type { Registry } from '../registry/registry.ts';
import type { Watcher } from '../registry/watch-hub.ts';

export interface LedgerOptions {
  readonly registry: Pick<Registry, 'stateOf' | 'revision'>;
  readonly quota: ResourceQuota;
  /** Kinds that are stored. */
  readonly kinds: readonly KindDefinition[];
}

interface Entry {
  readonly usage: ResourceAmounts;
  /** From when on it counts no more, in milliseconds since the epoch: an agent that is lost must not hold the quota of its pods. */
  readonly until: number | undefined;
}

const nothing: ResourceAmounts = new Map();

/**
 * Usage of one quota: counted once, then kept up to date by every committed change, so that a check reads no object. It
 * includes the amounts of writes under way, which no object has yet.
 */
export class QuotaLedger {
  readonly quota: ResourceQuota;
  readonly hard: ResourceAmounts;
  #used: ResourceAmounts = nothing;
  #reserved: ResourceAmounts = nothing;
  #uncharged: ResourceAmounts = nothing;
  /** Reservations of writes under way; no two are for one object. */
  readonly #reservations = new Map<string, ResourceAmounts>();
  readonly #entries = new Map<string, Entry>();
  readonly #expiring = new Set<string>();
  readonly #close: (() => void)[] = [];

  readonly #registry: LedgerOptions['registry'];
  readonly #followed = new Set<string>();

  constructor({ registry, quota, kinds }: LedgerOptions) {
    this.#registry = registry;
    this.quota = quota;
    this.hard = readAmounts(quota.spec?.hard);
    for (const kind of kinds) if (kind.namespaced && mayCount(this.hard, kind)) this.follow(kind);
  }

  /** Sum over objects and writes under way. */
  used(nowMs: number): ResourceAmounts {
    for (const id of this.#expiring) {
      const entry = this.#entries.get(id);
      if (entry?.until !== undefined && entry.until <= nowMs) this.#drop(id);
    }
    return addAmounts(this.#used, this.#reserved);
  }

  /** Amounts of writes under way that the status does not show yet. */
  get uncharged(): ResourceAmounts {
    return this.#uncharged;
  }

  /**
   * Reserves `usage` for a write of the object. The reservation ends when the stored change arrives, or when the caller
   * calls the returned function because the write is over. At no moment does the usage count twice, or not at all.
   */
  reserve(kind: KindDefinition, object: KubeObject, usage: ResourceAmounts): () => void {
    const id = idOf(groupResourceOf(kind), object);
    this.#reservations.set(id, usage);
    this.#reserved = addAmounts(this.#reserved, usage);
    this.#uncharged = addAmounts(this.#uncharged, usage);
    return () => this.#release(id, usage);
  }

  #release(id: string, usage: ResourceAmounts | undefined): void {
    if (usage === undefined || this.#reservations.get(id) !== usage) return;
    this.#reservations.delete(id);
    this.#reserved = subtractAmounts(this.#reserved, usage);
  }

  /** The status shows `usage` from now on. */
  charged(usage: ResourceAmounts): void {
    this.#uncharged = subtractAmounts(this.#uncharged, usage);
  }

  close(): void {
    for (const close of this.#close.splice(0)) close();
  }

  /** Counts a kind that came after the quota, such as a custom one; one that is counted already changes nothing. */
  follow(kind: KindDefinition): void {
    const name = groupResourceOf(kind);
    if (this.#followed.has(name)) return;
    this.#followed.add(name);
    const registry = this.#registry;
    const { namespace } = this.quota.metadata;
    const state = registry.stateOf(kind);
    const filter = { namespace, name: undefined, indexed: undefined, predicate: undefined, selective: false };
    for (const object of state.candidates(filter).objects.values()) this.#put(idOf(name, object), kind, object);
    const watcher: Watcher = {
      filter,
      after: registry.revision,
      bookmarks: false,
      isInternal: true,
      pending: [],
      consumer: {
        onEvents: (records) => {
          for (const { type, object } of records) {
            const id = idOf(name, object);
            if (type === 'DELETED') this.#drop(id);
            else {
              this.#release(id, this.#reservations.get(id));
              this.#put(id, kind, object);
            }
          }
        },
        // The server stops, or the process ends because its store is gone.
        onEnd: () => undefined,
      },
    };
    state.hub.add(watcher);
    this.#close.push(() => state.hub.remove(watcher));
  }

  #put(id: string, kind: KindDefinition, object: KubeObject): void {
    const usage = isInScope(this.quota, kind, object) ? restrictTo(this.hard, usageOf(kind, object)) : nothing;
    const before = this.#entries.get(id);
    const until = kind.group === pods.group && kind.resource === pods.resource ? endOf(object as Pod) : undefined;
    if (before !== undefined && before.until === until && sameAmounts(before.usage, usage)) return;
    this.#drop(id);
    if (usage.size === 0) return;
    this.#entries.set(id, { usage, until });
    if (until !== undefined) this.#expiring.add(id);
    this.#used = addAmounts(this.#used, usage);
  }

  #drop(id: string): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#entries.delete(id);
    this.#expiring.delete(id);
    this.#used = subtractAmounts(this.#used, entry.usage);
  }
}

const idOf = (resource: string, object: KubeObject): string => `${resource} ${keyOf(object)}`;

/** A pod that is being deleted counts for as long as its grace period, once more. */
function endOf({ metadata: { deletionTimestamp, deletionGracePeriodSeconds = 0 } }: Pod): number | undefined {
  return deletionTimestamp === undefined ? undefined : Date.parse(deletionTimestamp) + deletionGracePeriodSeconds * 1000;
}

function sameAmounts(a: ResourceAmounts, b: ResourceAmounts): boolean {
  if (a === b) return true;
  if (a.size !== b.size) return false;
  for (const [name, { nanos }] of a) if (b.get(name)?.nanos !== nanos) return false;
  return true;
}

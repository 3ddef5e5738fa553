import { BoundedMap } from '../base/bounded-map.ts';
import type { NodeRecord, SchedulerCache } from './cache.ts';
import type { NamedFilter } from './feasibility.ts';
import type { PreparedScore, Shift } from './plugin.ts';
import type { PodRecord, PodShape } from './pod-record.ts';
import type { Profile } from './profile.ts';
import { createRejectionMemory, type RejectionMemory } from './rejection-memory.ts';

/** Filters and scores made for a shape of pods. */
export interface Prepared {
  readonly filters: readonly NamedFilter[];
  readonly scores: readonly { readonly weight: number; readonly prepared: PreparedScore }[];
  /** No other pod may take it, nor a node of its sample. */
  readonly forThisPod: boolean;
  /** The functions of filters and scores that count the next pod. */
  readonly shifts: readonly Shift[];
  /** Nodes are judged by pods elsewhere, so a scored sample is stale as soon as one pod is placed. */
  looksAround(): boolean;
  /** Nodes are filtered by what their records say, and by nothing else: an answer holds for as long as the version of the record. */
  filtersByNodeAlone(): boolean;
  /** Rejections by these filters while `filtersByNodeAlone`. */
  readonly rejections: RejectionMemory;
}

/**
 * Filters and scores by shape, kept in step with every pod that is placed or leaves. Counting the pods of 5,000 nodes for each pod with a
 * spread constraint was by far the largest cost of such pods. A change of a node's labels or taints drops all.
 */
export interface Preparations {
  of(pod: PodRecord): Prepared;
}

/** Shapes kept: each placement is offered to all of them. */
const maxShapes = 64;

export function createPreparations(profile: Profile, cluster: SchedulerCache): Preparations {
  const kept = new BoundedMap<PodShape, Prepared>(maxShapes);
  let topology = cluster.topologyVersion;

  cluster.onShift((pod: PodRecord, node: NodeRecord, sign: 1 | -1) => {
    if (topology !== cluster.topologyVersion) {
      kept.clear();
      topology = cluster.topologyVersion;
    }
    for (const { shifts } of kept.values()) for (const shift of shifts) shift(pod, node, sign);
  });

  return {
    of(pod) {
      if (topology !== cluster.topologyVersion) {
        kept.clear();
        topology = cluster.topologyVersion;
      }
      const known = kept.use(pod.shape);
      if (known !== undefined) return known;
      const prepared = prepare(profile, pod, cluster);
      if (!prepared.forThisPod) kept.set(pod.shape, prepared);
      return prepared;
    },
  };
}

function prepare(profile: Profile, pod: PodRecord, cluster: SchedulerCache): Prepared {
  const filters = profile.filters.flatMap((plugin) => {
    const prepared = plugin.prepare(pod, cluster);
    return prepared === undefined ? [] : [{ name: plugin.name, prepared }];
  });
  const scores = profile.scores.flatMap((plugin) => {
    const prepared = plugin.prepare(pod, cluster);
    return prepared === undefined ? [] : [{ weight: plugin.weight, prepared }];
  });
  const all = [...filters, ...scores].map(({ prepared }) => prepared);
  const forThisPod = all.some((one) => one.forThisPod);
  return {
    filters,
    scores,
    shifts: all.flatMap(({ shift }) => shift ?? []),
    forThisPod,
    looksAround: () => all.some(({ looksAround }) => looksAround),
    filtersByNodeAlone: () => !forThisPod && filters.every(({ prepared: { looksAround } }) => looksAround !== true),
    rejections: createRejectionMemory(cluster.nodes.length),
  };
}

import type { Clock } from '../base/clock.ts';
import type { NodeRecord, SchedulerCache } from './cache.ts';
import { extenderName, type PodExtenders } from './extenders/extenders.ts';
import type { Feasibility } from './feasibility.ts';
import type { Nominator } from './nominator.ts';
import type { PodRecord } from './pod-record.ts';
import { createPreparations, type Preparations, type Prepared } from './preparations.ts';
import type { Profile } from './profile.ts';
import { RejectionTally } from './rejection-memory.ts';
import { Sample } from './sample.ts';
import type { Unfit } from './unfit.ts';

export interface AlgorithmOptions {
  readonly profile: Profile;
  readonly cluster: SchedulerCache;
  readonly feasibility: Feasibility;
  readonly nominator: Nominator;
  readonly clock: Clock;
  /** Breaks ties between equally good nodes; [0, 1). */
  readonly random: () => number;
  /** Receives the duration of a step, for every tenth pod. */
  readonly onTimed?: (step: 'Filter' | 'Score', durationMs: number) => void;
}

export type Decision = { readonly node: NodeRecord } | { readonly unfit: Unfit };

/**
 * Chooses a node for a pod: filters enough nodes, scores them, takes the best.
 *
 * Pods that look the same take the best node of a sample that was scored at most 20 ms ago. Only nodes that have
 * changed since then (mostly the one that was just taken) are filtered and scored again. On 5,000 nodes that raises
 * throughput from 4,600 to 7,300 pods/s.
 */
export interface Algorithm {
  choose(pod: PodRecord): Decision;
  /**
   * The same with extenders, which take their time. Nodes are filtered again at the end, so that the chosen one fits when the promise
   * resolves. No sample is kept.
   *
   * @throws Error of an extender that fails and is not ignorable
   */
  chooseWith(pod: PodRecord, extenders: PodExtenders, signal: AbortSignal): Promise<Decision>;
  /** Choices that were served by a sample scored for another pod. */
  readonly reused: number;
  readonly preparations: Preparations;
}

const sampleTtlMs = 20;
const timedEvery = 10;

/** Nodes that a pod may have, and why it may not have the others. */
interface Found {
  readonly feasible: readonly NodeRecord[];
  readonly unfit: Unfit;
}

interface Among {
  readonly names: ReadonlySet<string>;
  readonly plugins: readonly string[];
}

export function createAlgorithm(options: AlgorithmOptions): Algorithm {
  const { profile, cluster, feasibility, nominator, clock, random, onTimed } = options;
  const preparations = createPreparations(profile, cluster);
  let start = 0;
  let kept: { readonly sample: Sample; readonly at: number; readonly prepared: Prepared; readonly nominations: number } | undefined;
  let reused = 0;
  let count = 0;

  function choose(pod: PodRecord): Decision {
    const node = fromKept(pod);
    if (node !== undefined) {
      reused += 1;
      return { node };
    }
    kept = undefined;
    const refused = refusalOf(pod);
    return refused === undefined ? chooseAmongAll(pod) : { unfit: refused };
  }

  function refusalOf(pod: PodRecord): Unfit | undefined {
    for (const plugin of profile.filters) {
      const refusal = plugin.refuse?.(pod);
      if (refusal !== undefined) return { ...emptyUnfit(), refusal, plugins: new Set([plugin.name]) };
    }
    return undefined;
  }

  async function chooseWith(pod: PodRecord, extenders: PodExtenders, signal: AbortSignal): Promise<Decision> {
    const refused = refusalOf(pod);
    if (refused !== undefined) return { unfit: refused };
    const before = preparations.of(pod);
    const nominated = nominatedNode(pod, before);
    if (nominated !== undefined && (await extenders.filter([nominated], signal)).nodes.length > 0) {
      const fitsStill = nominatedNode(pod, preparations.of(pod)) === nominated;
      if (fitsStill) return { node: nominated };
    }
    const { feasible, unfit } = find(pod, preparations.of(pod));
    if (feasible.length === 0) return { unfit };
    const narrowed = await extenders.filter(feasible, signal);
    const extraOf = narrowed.nodes.length > 1 ? await extenders.prioritize(narrowed.nodes, signal) : undefined;
    // The cluster went on while they answered: what was prepared may be out of step, and nodes may be taken or gone.
    const { filters, scores } = preparations.of(pod);
    const fits = (node: NodeRecord) => feasibility.rejectionOf(pod, filters, node) === undefined;
    const left = narrowed.nodes.filter((node) => node.present && fits(node));
    if (left.length > 0) {
      const node = new Sample({
        shape: pod.shape,
        feasible: left,
        scores,
        fits,
        random,
        ...(extraOf === undefined ? {} : { extraOf }),
      }).best();
      if (node !== undefined) return { node };
    }
    const reasons = new Map(unfit.reasons);
    for (const [reason, number] of narrowed.reasons) reasons.set(reason, (reasons.get(reason) ?? 0) + number);
    const resolvable = [...unfit.resolvable, ...narrowed.resolvable];
    return { unfit: { ...unfit, reasons, resolvable, plugins: new Set([...unfit.plugins, extenderName]) } };
  }

  /** The best node of the last sample, when that was made for such pods and nothing has happened that it cannot see. */
  function fromKept(pod: PodRecord): NodeRecord | undefined {
    if (kept?.sample.shape !== pod.shape || clock.monotonicMs() - kept.at > sampleTtlMs) return undefined;
    if (kept.nominations !== nominator.version || nominator.nodeOf(pod.key) !== undefined || kept.prepared.looksAround()) return undefined;
    return kept.sample.best();
  }

  function chooseAmongAll(pod: PodRecord): Decision {
    count += 1;
    const timed = count % timedEvery === 0 && onTimed !== undefined;
    const startedAt = timed ? clock.monotonicMs() : 0;
    const prepared = preparations.of(pod);
    const nominated = nominatedNode(pod, prepared);
    if (nominated !== undefined) return { node: nominated };

    const { feasible, unfit } = find(pod, prepared);
    const filteredAt = timed ? clock.monotonicMs() : 0;
    if (timed) onTimed('Filter', filteredAt - startedAt);
    if (feasible.length === 0) return { unfit };

    const fits = (node: NodeRecord) => feasibility.rejectionOf(pod, prepared.filters, node) === undefined;
    const sample = new Sample({ shape: pod.shape, feasible, scores: prepared.scores, fits, random });
    if (timed) onTimed('Score', clock.monotonicMs() - filteredAt);
    if (!prepared.forThisPod) kept = { sample, at: clock.monotonicMs(), prepared, nominations: nominator.version };
    const node = sample.best();
    return node === undefined ? { unfit } : { node };
  }

  /** The node that the pod made room on, if it still fits there: no other is looked at then. */
  function nominatedNode(pod: PodRecord, { filters }: Prepared): NodeRecord | undefined {
    const name = nominator.nodeOf(pod.key);
    const node = name === undefined ? undefined : cluster.node(name);
    return node !== undefined && feasibility.rejectionOf(pod, filters, node) === undefined ? node : undefined;
  }

  function find(pod: PodRecord, prepared: Prepared): Found {
    const { filters } = prepared;
    const among = amongOf(pod);
    if (among !== undefined) return findAmong(pod, filters, among);
    const known = prepared.filtersByNodeAlone() ? prepared.rejections : undefined;
    const ownNomination = nominator.nodeOf(pod.key);
    const { nodes } = cluster;
    const total = nodes.length;
    const enough = nodesToFind(total, profile.percentageOfNodesToScore);
    const feasible: NodeRecord[] = [];
    const resolvable: NodeRecord[] = [];
    const tally = new RejectionTally();
    let looked = 0;
    while (looked < total && feasible.length < enough) {
      const index = (start + looked) % total;
      const node = nodes[index];
      looked += 1;
      if (node === undefined) continue;
      // Pods that are nominated for the node count too, all but this one: its version does not follow them.
      const nominations = nominator.versionOn(node.name);
      const memory = node.name === ownNomination ? undefined : known;
      let rejection = memory?.of(index, node, nominations);
      let plugin = memory?.pluginAt(index) ?? '';
      if (rejection === undefined) {
        rejection = feasibility.rejectionOf(pod, filters, node);
        if (rejection === undefined) {
          feasible.push(node);
          continue;
        }
        plugin = feasibility.rejectedBy;
        memory?.keep(index, node, { rejection, plugin, nominations });
      }
      if (rejection.resolvable) resolvable.push(node);
      tally.add(rejection, plugin);
    }
    if (total > 0) start = (start + looked) % total;
    const { reasons, plugins } = tally.end();
    return { feasible, unfit: { ...emptyUnfit(), reasons, resolvable, plugins } };
  }

  /** The nodes that a plugin leaves to the pod by their names, as for the pods of a DaemonSet, and the names of such plugins. */
  function amongOf(pod: PodRecord): Among | undefined {
    let names: ReadonlySet<string> | undefined;
    const plugins: string[] = [];
    for (const plugin of profile.filters) {
      const left = plugin.namedNodes?.(pod);
      if (left === undefined) continue;
      names = names === undefined ? left : new Set([...names].filter((name) => left.has(name)));
      plugins.push(plugin.name);
    }
    return names === undefined ? undefined : { names, plugins };
  }

  /** Looks at these nodes alone: a DaemonSet on thousands of nodes has as many pods, and each of them fits one. */
  function findAmong(pod: PodRecord, filters: Prepared['filters'], { names, plugins }: Among): Found {
    const feasible: NodeRecord[] = [];
    const resolvable: NodeRecord[] = [];
    const tally = new RejectionTally();
    const nodes = [...names].flatMap((name) => cluster.node(name) ?? []);
    for (const node of nodes) {
      const rejection = feasibility.rejectionOf(pod, filters, node);
      if (rejection === undefined) feasible.push(node);
      else {
        if (rejection.resolvable) resolvable.push(node);
        tally.add(rejection, feasibility.rejectedBy);
      }
    }
    const { reasons, plugins: rejecting } = tally.end();
    const others = cluster.nodes.length - nodes.length;
    if (others > 0) reasons.set(`node(s) didn't satisfy plugin(s) [${plugins.join(' ')}]`, others);
    return { feasible, unfit: { ...emptyUnfit(), reasons, resolvable, plugins: new Set([...rejecting, ...plugins]) } };
  }

  const emptyUnfit = (): Unfit => ({
    nodes: cluster.nodes.length,
    refusal: undefined,
    reasons: new Map(),
    resolvable: [],
    plugins: new Set(),
  });

  return {
    choose,
    chooseWith,
    get reused() {
      return reused;
    },
    preparations,
  };
}

/**
 * Number of fitting nodes to score. It is all of a small cluster, then a falling share of at least 5 % and 100 nodes, as
 * upstream's adaptive `percentageOfNodesToScore`. A profile may set the share itself.
 */
export function nodesToFind(total: number, percentage = 0): number {
  const least = 100;
  if (total <= least) return total;
  const share = percentage > 0 ? percentage : Math.max(5, 50 - Math.floor(total / 125));
  return Math.min(total, Math.max(least, Math.floor((total * share) / 100)));
}

import type { Clock } from '../base/clock.ts';
import type { NodeRecord } from './cache.ts';
import { type ClusterView, maxScore, type PreparedFilter, type PreparedScore } from './plugin.ts';
import type { PodRecord, PodShape } from './pod-record.ts';
import type { Profile } from './profile.ts';
import type { Unfit } from './unfit.ts';

export interface AlgorithmOptions {
  readonly profile: Profile;
  readonly cluster: ClusterView;
  readonly clock: Clock;
  /** Breaks ties between equally good nodes; [0, 1). */
  readonly random: () => number;
  /** Receives the duration of a step, for every tenth pod. */
  readonly onTimed?: (step: 'Filter' | 'Score', durationMs: number) => void;
}

type Decision = { readonly node: NodeRecord } | { readonly unfit: Unfit };

/**
 * Chooses a node for a pod: filters enough nodes, scores them, takes the best.
 *
 * Pods that look the same take the best node of a sample that was scored at most 20 ms ago. Only nodes that have
 * changed since then (mostly the one that was just taken) are filtered and scored again. On 5,000 nodes that raises
 * throughput from 4,600 to 7,300 pods/s.
 */
export interface Algorithm {
  choose(pod: PodRecord): Decision;
  /** Choices that were served by a sample scored for another pod. */
  readonly reused: number;
}

const sampleTtlMs = 20;
const timedEvery = 10;

export function createAlgorithm({ profile, cluster, clock, random, onTimed }: AlgorithmOptions): Algorithm {
  let start = 0;
  let sample: Sample | undefined;
  let reused = 0;
  let count = 0;

  function choose(pod: PodRecord): Decision {
    if (sample?.shape === pod.shape && clock.monotonicMs() - sample.at <= sampleTtlMs) {
      const node = sample.best();
      if (node !== undefined) {
        reused += 1;
        return { node };
      }
    }
    sample = undefined;
    return chooseAnew(pod);
  }

  function chooseAnew(pod: PodRecord): Decision {
    const { nodes } = cluster;
    const total = nodes.length;
    for (const plugin of profile.filters) {
      const refusal = plugin.refuse?.(pod);
      if (refusal !== undefined)
        return { unfit: { nodes: total, refusal, reasons: new Map(), resolvable: 0, plugins: new Set([plugin.name]) } };
    }
    count += 1;
    const timed = count % timedEvery === 0 && onTimed !== undefined;
    const startedAt = timed ? clock.monotonicMs() : 0;

    const filters: NamedFilter[] = [];
    for (const plugin of profile.filters) {
      const prepared = plugin.prepare(pod, cluster);
      if (prepared !== undefined) filters.push({ name: plugin.name, prepared });
    }
    const enough = nodesToFind(total);
    const feasible: NodeRecord[] = [];
    const reasons = new Map<string, number>();
    const plugins = new Set<string>();
    let resolvable = 0;
    let looked = 0;
    while (looked < total && feasible.length < enough) {
      const node = nodes[(start + looked) % total];
      looked += 1;
      if (node === undefined) continue;
      let fits = true;
      for (const { name, prepared } of filters) {
        const rejection = prepared.filter(node);
        if (rejection === undefined) continue;
        fits = false;
        plugins.add(name);
        if (rejection.resolvable) resolvable += 1;
        for (const reason of rejection.reasons) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
        break;
      }
      if (fits) feasible.push(node);
    }
    if (total > 0) start = (start + looked) % total;
    const filteredAt = timed ? clock.monotonicMs() : 0;
    if (timed) onTimed('Filter', filteredAt - startedAt);
    if (feasible.length === 0) return { unfit: { nodes: total, refusal: undefined, reasons, resolvable, plugins } };

    const scores: WeighedScore[] = [];
    for (const plugin of profile.scores) {
      const prepared = plugin.prepare(pod, cluster);
      if (prepared !== undefined) scores.push({ weight: plugin.weight, prepared, low: 0, high: 0 });
    }
    const scored = new Sample({ shape: pod.shape, at: clock.monotonicMs(), feasible, filters, scores, random });
    if (timed) onTimed('Score', clock.monotonicMs() - filteredAt);
    // A choice that depends on pods elsewhere is stale as soon as one is placed.
    const looksAround = filters.some(({ prepared }) => prepared.looksAround) || scores.some(({ prepared }) => prepared.looksAround);
    if (!looksAround) sample = scored;
    const node = scored.best();
    if (node === undefined) return { unfit: { nodes: total, refusal: undefined, reasons, resolvable, plugins } };
    return { node };
  }

  return {
    choose,
    get reused() {
      return reused;
    },
  };
}

/**
 * Number of fitting nodes to score. It is all of a small cluster, then a falling share of at least 5 % and 100 nodes, as
 * upstream's adaptive `percentageOfNodesToScore`.
 */
export function nodesToFind(total: number): number {
  const least = 100;
  if (total <= least) return total;
  const percentage = Math.max(5, 50 - Math.floor(total / 125));
  return Math.max(least, Math.floor((total * percentage) / 100));
}

interface NamedFilter {
  readonly name: string;
  readonly prepared: PreparedFilter;
}

interface WeighedScore {
  readonly weight: number;
  readonly prepared: PreparedScore;
  /** Lowest and highest raw score of the sample: what later scores are measured by, too. */
  low: number;
  high: number;
}

interface Entry {
  readonly node: NodeRecord;
  version: number;
  score: number;
  readonly tieBreak: number;
}

interface SampleOptions {
  readonly shape: PodShape;
  readonly at: number;
  readonly feasible: readonly NodeRecord[];
  readonly filters: readonly NamedFilter[];
  readonly scores: readonly WeighedScore[];
  readonly random: () => number;
}

/** Scored nodes as a heap with the best on top. */
class Sample {
  readonly shape: PodShape;
  readonly at: number;
  readonly #filters: readonly NamedFilter[];
  readonly #scores: readonly WeighedScore[];
  readonly #heap: Entry[];

  constructor({ shape, at, feasible, filters, scores, random }: SampleOptions) {
    this.shape = shape;
    this.at = at;
    this.#filters = filters;
    this.#scores = scores;
    for (const score of scores) {
      if (score.prepared.scale === undefined) continue;
      score.low = Number.POSITIVE_INFINITY;
      score.high = Number.NEGATIVE_INFINITY;
      for (const node of feasible) {
        const raw = score.prepared.score(node);
        if (raw < score.low) score.low = raw;
        if (raw > score.high) score.high = raw;
      }
    }
    this.#heap = feasible.map((node) => ({ node, version: node.version, score: this.#scoreOf(node), tieBreak: random() }));
    for (let index = (this.#heap.length >> 1) - 1; index >= 0; index -= 1) this.#sink(index);
  }

  /** The best node as things are now; undefined when none is left that fits. */
  best(): NodeRecord | undefined {
    for (let top = this.#heap[0]; top !== undefined; top = this.#heap[0]) {
      const { node } = top;
      if (top.version === node.version) return node;
      if (node.present && this.#fits(node)) {
        top.version = node.version;
        top.score = this.#scoreOf(node);
      } else {
        const last = this.#heap.pop();
        if (last !== undefined && last !== top) this.#heap[0] = last;
      }
      this.#sink(0);
    }
    return undefined;
  }

  #fits(node: NodeRecord): boolean {
    for (const { prepared } of this.#filters) if (prepared.filter(node) !== undefined) return false;
    return true;
  }

  #scoreOf(node: NodeRecord): number {
    let sum = 0;
    for (const { weight, prepared, low, high } of this.#scores) {
      const raw = prepared.score(node);
      switch (prepared.scale) {
        case undefined:
          sum += weight * raw;
          break;
        case 'highest-is-100':
          sum += weight * (high === 0 ? 0 : (raw * maxScore) / high);
          break;
        case 'highest-is-0':
          // Measured by at least one, so that a node taken after the sample was made falls behind the others.
          sum += weight * (maxScore - (raw * maxScore) / (high > 0 ? high : 1));
          break;
        case 'range':
          sum += weight * (high === low ? 0 : ((raw - low) * maxScore) / (high - low));
          break;
        default:
          prepared.scale satisfies never;
      }
    }
    return sum;
  }

  #sink(from: number): void {
    const heap = this.#heap;
    let index = from;
    for (;;) {
      const entry = heap[index];
      if (entry === undefined) return;
      let best = index;
      let bestEntry = entry;
      for (let child = 2 * index + 1; child <= 2 * index + 2; child += 1) {
        const other = heap[child];
        if (other !== undefined && isBetter(other, bestEntry)) {
          best = child;
          bestEntry = other;
        }
      }
      if (best === index) return;
      heap[index] = bestEntry;
      heap[best] = entry;
      index = best;
    }
  }
}

const isBetter = (a: Entry, b: Entry): boolean => a.score > b.score || (a.score === b.score && a.tieBreak > b.tieBreak);

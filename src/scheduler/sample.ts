import type { NodeRecord } from './cache.ts';
import { maxScore, type PreparedScore } from './plugin.ts';
import type { PodShape } from './pod-record.ts';

export interface SampleOptions {
  readonly shape: PodShape;
  readonly feasible: readonly NodeRecord[];
  readonly scores: readonly { readonly weight: number; readonly prepared: PreparedScore }[];
  /** A node that changed since it was scored still fits. */
  readonly fits: (node: NodeRecord) => boolean;
  /** Breaks ties between equally good nodes; [0, 1). */
  readonly random: () => number;
  /** Points of a node besides those of `scores`. */
  readonly extraOf?: (node: NodeRecord) => number;
}

interface Measure {
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

/** Scored nodes as a heap with the best on top. */
export class Sample {
  readonly shape: PodShape;
  readonly #measures: Measure[] = [];
  readonly #heap: Entry[];
  readonly #fits: SampleOptions['fits'];
  readonly #extraOf: SampleOptions['extraOf'];

  constructor({ shape, feasible, scores, fits, random, extraOf }: SampleOptions) {
    this.shape = shape;
    this.#fits = fits;
    this.#extraOf = extraOf;
    const totals = new Float64Array(feasible.length);
    const raws = new Float64Array(feasible.length);
    for (const { weight, prepared } of scores) {
      if (weight === 0 || prepared.isSilent === true) continue;
      prepared.begin?.(feasible);
      const measure = { weight, prepared, low: Number.POSITIVE_INFINITY, high: Number.NEGATIVE_INFINITY };
      this.#measures.push(measure);
      // Each node is asked once: the points need the lowest and the highest of all.
      for (const [index, node] of feasible.entries()) {
        const raw = prepared.score(node);
        raws[index] = raw;
        if (prepared.scale === 'even' && raw < 0) continue;
        if (raw < measure.low) measure.low = raw;
        if (raw > measure.high) measure.high = raw;
      }
      for (let index = 0; index < totals.length; index += 1) {
        totals[index] = (totals[index] ?? 0) + weight * pointsOf(raws[index] ?? 0, prepared.scale, measure);
      }
    }
    if (extraOf !== undefined) for (const [index, node] of feasible.entries()) totals[index] = (totals[index] ?? 0) + extraOf(node);
    this.#heap = feasible.map((node, index) => ({ node, version: node.version, score: totals[index] ?? 0, tieBreak: random() }));
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

  /** Whole points of each plugin, as upstream counts them: nodes that differ by less are equally good. */
  #scoreOf(node: NodeRecord): number {
    let sum = this.#extraOf?.(node) ?? 0;
    for (const measure of this.#measures) sum += measure.weight * pointsOf(measure.prepared.score(node), measure.prepared.scale, measure);
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

function pointsOf(raw: number, scale: PreparedScore['scale'], { low, high }: { readonly low: number; readonly high: number }): number {
  switch (scale) {
    case undefined:
      return raw;
    case 'highest-is-100':
      return high === 0 ? 0 : Math.floor((raw * maxScore) / high);
    case 'highest-is-0':
      // Measured by at least one, so that a node taken after the sample was made falls behind the others.
      return maxScore - Math.floor((raw * maxScore) / Math.max(1, high));
    case 'range':
      return high === low ? 0 : Math.floor(((raw - low) / (high - low)) * maxScore);
    case 'even':
      if (raw < 0) return 0;
      return high > 0 ? Math.floor((maxScore * (high + low - raw)) / high) : maxScore - raw;
    default:
      return scale satisfies never;
  }
}

const isBetter = (a: Entry, b: Entry): boolean => a.score > b.score || (a.score === b.score && a.tieBreak > b.tieBreak);

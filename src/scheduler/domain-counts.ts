import type { NodeRecord } from './cache.ts';

/** Pods by the value of one topology label, kept up to date with the fewest of any domain. */
export class DomainCounts {
  readonly #counts = new Map<string, number>();
  /** Domains by their count, so that the least is known without a look at all of them. */
  readonly #domains = new Map<number, number>();
  #least = 0;

  /** Makes the domain known with no pods. */
  open(value: string): void {
    if (this.#counts.has(value)) return;
    this.#counts.set(value, 0);
    this.#moveDomain(undefined, 0);
  }

  /** Counts a pod of a known domain in (1) or out (-1). */
  add(value: string, sign: 1 | -1): void {
    const count = this.#counts.get(value);
    if (count === undefined) return;
    this.#counts.set(value, count + sign);
    this.#moveDomain(count, count + sign);
  }

  /** Pods of the domain; undefined when it is not known. */
  get(value: string): number | undefined {
    return this.#counts.get(value);
  }

  get size(): number {
    return this.#counts.size;
  }

  /** The fewest pods of a domain; 0 without any. */
  get least(): number {
    return this.#least;
  }

  #moveDomain(from: number | undefined, to: number): void {
    const isFirst = this.#domains.size === 0;
    if (from !== undefined) {
      const left = (this.#domains.get(from) ?? 0) - 1;
      if (left === 0) this.#domains.delete(from);
      else this.#domains.set(from, left);
    }
    this.#domains.set(to, (this.#domains.get(to) ?? 0) + 1);
    // Counts move by one, so a least that nobody has any more is the next number.
    if (isFirst || to < this.#least || !this.#domains.has(this.#least)) this.#least = to;
  }
}

/** Pods by the value of one topology label; a value without any takes no memory, of which a cluster may have thousands. */
export class PodCounts {
  readonly #counts = new Map<string, number>();

  /** Counts a pod in (1) or out (-1). */
  add(value: string, sign: 1 | -1): void {
    const count = (this.#counts.get(value) ?? 0) + sign;
    if (count === 0) this.#counts.delete(value);
    else this.#counts.set(value, count);
  }

  get(value: string): number | undefined {
    return this.#counts.get(value);
  }
}

/** Sums by topology key and value. A key is present only while one of its values has a sum that is not 0. */
export class DomainSums {
  readonly #sums = new Map<string, Map<string, number>>();

  /** Adds at the node's domain; nothing when the node has no such label. */
  add(key: string, node: NodeRecord, amount: number): void {
    const value = node.labels[key];
    if (value === undefined || amount === 0) return;
    const ofKey = this.#sums.get(key) ?? new Map<string, number>();
    const sum = (ofKey.get(value) ?? 0) + amount;
    if (sum === 0) ofKey.delete(value);
    else ofKey.set(value, sum);
    if (ofKey.size === 0) this.#sums.delete(key);
    else this.#sums.set(key, ofKey);
  }

  get(key: string, value: string): number {
    return this.#sums.get(key)?.get(value) ?? 0;
  }

  /** One of the node's domains has a sum above 0. */
  hasAny(node: NodeRecord): boolean {
    for (const [key, ofKey] of this.#sums) {
      const value = node.labels[key];
      if (value !== undefined && (ofKey.get(value) ?? 0) > 0) return true;
    }
    return false;
  }

  /** The sum of all domains that the node is in. */
  totalOf(node: NodeRecord): number {
    let total = 0;
    for (const [key, ofKey] of this.#sums) {
      const value = node.labels[key];
      if (value !== undefined) total += ofKey.get(value) ?? 0;
    }
    return total;
  }

  get isEmpty(): boolean {
    return this.#sums.size === 0;
  }
}

import type { KubeObject } from '../../machinery/object.ts';

/** Keys that wait for the next list at least, however few objects there are. */
const minAdded = 1_024;

/** Objects by key with a lazily kept key order, so that writes pay nothing for lists that nobody asks for. */
export class Bucket {
  readonly objects = new Map<string, KubeObject>();
  /** Memory of all of them. */
  #bytes = 0;
  // Keys in order as of the last list. The next list merges in the keys that came and went meanwhile.
  #sorted: string[] | undefined;
  #added: string[] = [];
  #removed = false;

  get bytes(): number {
    return this.#bytes;
  }

  /** `growth` in bytes is the object's memory, less that of the object that it replaces in this bucket. */
  set(key: string, object: KubeObject, growth: number): void {
    if (this.#sorted !== undefined && !this.objects.has(key)) this.#noteAdded(key);
    this.objects.set(key, object);
    this.#bytes += growth;
  }

  /** Objects may come and go for days without a list. Beyond the bound sorting all keys again is cheaper than merging. */
  #noteAdded(key: string): void {
    this.#added.push(key);
    if (this.#added.length <= Math.max(minAdded, this.objects.size)) return;
    this.#sorted = undefined;
    this.#added = [];
  }

  delete(key: string, bytes: number): void {
    if (!this.objects.delete(key)) return;
    this.#removed = true;
    this.#bytes -= bytes;
  }

  /** All keys in byte order. The array is replaced, never changed, when keys come or go. */
  keys(): readonly string[] {
    if (this.#sorted === undefined) {
      this.#sorted = [...this.objects.keys()].sort();
    } else if (this.#removed || this.#added.length > 0) {
      // A key that went and came back is in both halves; merging drops the second.
      const kept = this.#removed ? this.#sorted.filter((key) => this.objects.has(key)) : this.#sorted;
      const added = this.#added.filter((key) => this.objects.has(key)).sort();
      this.#sorted = merge(kept, added);
    }
    this.#added = [];
    this.#removed = false;
    return this.#sorted;
  }
}

function merge(left: readonly string[], right: readonly string[]): string[] {
  const merged: string[] = [];
  let r = 0;
  const push = (key: string): void => {
    if (merged.at(-1) !== key) merged.push(key);
  };
  for (const key of left) {
    for (let next = right[r]; next !== undefined && next < key; next = right[r]) {
      push(next);
      r += 1;
    }
    push(key);
  }
  for (; r < right.length; r += 1) push(right[r] ?? '');
  return merged;
}

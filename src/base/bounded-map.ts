/**
 * A map of at most `max` entries. A write makes its entry the newest, and beyond the bound the oldest entry goes. `get` leaves the order
 * as it is, `use` makes the entry the newest: a cache that reads with `use` forgets what was used longest ago.
 *
 * The map keeps its iterator at the oldest entry. A fresh one steps over the holes that deleted entries leave
 * until the map is packed again. Measured: 10 instead of 2 microseconds a write at 100,000 entries, over 40,000 writes.
 */
export class BoundedMap<K, V> extends Map<K, V> {
  readonly #max: number;
  #oldest: MapIterator<K> | undefined;

  /** @param max  at least 1 */
  constructor(max: number, entries: Iterable<readonly [K, V]> = []) {
    super();
    this.#max = max;
    for (const [key, value] of entries) this.set(key, value);
  }

  use(key: K): V | undefined {
    const value = super.get(key);
    if (value !== undefined) {
      super.delete(key);
      super.set(key, value);
    }
    return value;
  }

  override set(key: K, value: V): this {
    super.delete(key);
    super.set(key, value);
    if (this.size > this.#max) this.#forgetOldest();
    return this;
  }

  override clear(): void {
    this.#oldest = undefined;
    super.clear();
  }

  #forgetOldest(): void {
    this.#oldest ??= this.keys();
    const { done, value } = this.#oldest.next();
    // Every entry before the iterator has been deleted, so it ends only where the map was empty in between.
    if (done !== true) super.delete(value);
    else {
      this.#oldest = undefined;
      this.#forgetOldest();
    }
  }
}

/**
 * Lets one write of a key finish before the next one looks at it. Within a process, a lost compare-and-set is then due to a stale
 * resourceVersion of the client, never to a race of the server with itself.
 */
export class KeyLock {
  readonly #tails = new Map<string, Promise<unknown>>();

  isHeld(key: string): boolean {
    return this.#tails.has(key);
  }

  /** Runs `work` when all earlier work for `key` is done; at once when there is none. */
  run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key);
    const result = before === undefined ? work() : before.then(work);
    const release = (): void => {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    };
    // The tail settles either way: who waits is not concerned with how it went.
    const tail = result.then(release, release);
    this.#tails.set(key, tail);
    return result;
  }
}

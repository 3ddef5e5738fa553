import type { Retained } from '../kube-api.ts';

/** The events that wait to be written to one watch. */
export interface QueuedWatch {
  /** Memory that would be free without it, events that others wait for included. */
  readonly queuedBytes: number;
  /** Ends the watch and lets go of what waits. */
  fallBehind(): void;
  /** Cuts the connection. */
  cut(): void;
}

/**
 * The memory that events take while they wait for the clients of watches. An event that waits for many is counted once. When it is full,
 * the watch that has most waiting is ended. Its client does not read, or reads too slowly for the size of its watch.
 */
export class WatchMemory {
  readonly #maxBytes: number;
  readonly #watches = new Set<QueuedWatch>();
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Bytes that may wait for one watch. */
  get maxBytesOfWatch(): number {
    return this.#maxBytes / 2;
  }

  join(watch: QueuedWatch): void {
    this.#watches.add(watch);
  }

  leave(watch: QueuedWatch): void {
    this.#watches.delete(watch);
  }

  hold(retained: Retained): void {
    retained.holders += 1;
    if (retained.holders === 1) this.#bytes += retained.bytes;
  }

  release(retained: Retained): void {
    retained.holders -= 1;
    if (retained.holders === 0) this.#bytes -= retained.bytes;
  }

  /** Counts what one watch alone needs; negative when it no longer does. */
  count(bytes: number): void {
    this.#bytes += bytes;
  }

  /** Ends watches until there is room again. */
  makeRoom(): void {
    while (this.#bytes > this.#maxBytes) {
      let largest: QueuedWatch | undefined;
      for (const watch of this.#watches) if (largest === undefined || watch.queuedBytes > largest.queuedBytes) largest = watch;
      if (largest === undefined) return;
      largest.fallBehind();
      // The connection keeps the events it already got until it is cut.
      if (this.#bytes > this.#maxBytes) largest.cut();
      this.#watches.delete(largest);
    }
  }
}

import { insufficientStorage, tooLarge } from '../../machinery/status-error.ts';
import { memoryOf } from './encoding.ts';

/** Largest stored size of one object. etcd takes as much in one request, so an object that fits there fits here. */
const maxObjectBytes = 1.5 * 1024 * 1024;
/** Growth of an object that a full heap still allows: a counter that gets a digit more is no reason to refuse it. */
const toleratedGrowth = 1_024;
/** Beyond the quota, for what a full cluster needs to go on working and deleting. */
const neededShare = 1 / 8;

/**
 * The memory that all stored objects take together, and its limit. A write holds the room by which it grows from its decision
 * until it is made. Writes under way can therefore not pass the limit together.
 */
export class ObjectQuota {
  readonly #maxBytes: number;
  #bytes = 0;
  #held = 0;

  readonly #isHeapFull: () => boolean;

  /** @param isHeapFull  although the objects are within the quota: they take more than was counted */
  constructor(maxBytes: number, isHeapFull: () => boolean) {
    this.#maxBytes = maxBytes;
    this.#isHeapFull = isHeapFull;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** An object came, changed its size or went. */
  count(growth: number): void {
    this.#bytes += growth;
  }

  /**
   * Holds room for an object in place of one that takes `before`; give it back with `release` once the write has settled.
   *
   * @param text  of the object as it will be stored
   * @param isNeeded  written by a part of this process, or to an object on its way out
   * @throws StatusError 413 for an object that is too large, 507 when all objects together would be; never when the object shrinks
   */
  hold(text: string, before: number, isNeeded: boolean): number {
    const bytes = memoryOf(text);
    const growth = bytes - before;
    if (growth <= 0) return 0;
    if (bytes > maxObjectBytes && Buffer.byteLength(text) > maxObjectBytes) throw tooLarge(maxObjectBytes);
    if (!isNeeded && (before === 0 || growth > toleratedGrowth) && this.#isHeapFull()) {
      throw insufficientStorage(
        'the memory of the process is nearly full: deletions and what makes objects smaller are accepted, growth is refused. ' +
          'Delete objects, or start with a larger --memory-budget.',
      );
    }
    const limit = isNeeded ? this.#maxBytes * (1 + neededShare) : this.#maxBytes;
    if (this.#bytes + this.#held + growth > limit) {
      throw insufficientStorage(
        `all objects together take ${inMiB(this.#bytes)} of the ${inMiB(this.#maxBytes)} of --storage-quota: deletions and what makes objects ` +
          'smaller are accepted, growth is refused. Delete objects, or start with a larger --storage-quota or --memory-budget.',
      );
    }
    this.#held += growth;
    return growth;
  }

  release(held: number): void {
    this.#held -= held;
  }
}

const inMiB = (bytes: number): string => `${(bytes / 1024 ** 2).toFixed(1)} MiB`;

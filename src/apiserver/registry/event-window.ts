import type { KubeObject } from '../../machinery/object.ts';
import type { Retained } from '../kube-api.ts';

/**
 * Change of one object by one revision. `before` is absent on creation, `after` on deletion; both carry their
 * resourceVersion.
 */
export interface Change extends Retained {
  readonly revision: number;
  /** `namespace/name` or `name`. */
  readonly key: string;
  readonly before: KubeObject | undefined;
  readonly after: KubeObject | undefined;
  /** Memory of `before` and of `after`; 0 for what is absent. */
  readonly beforeBytes: number;
  readonly afterBytes: number;
}

/** A change that no watch waits for yet. */
export function changeOf(change: Omit<Change, keyof Retained>): Change {
  const { revision, key, before, after, beforeBytes, afterBytes } = change;
  // Beside both objects, the text that is written to watches.
  return { revision, key, before, after, beforeBytes, afterBytes, bytes: beforeBytes + 2 * afterBytes, holders: 0 };
}

/** Bytes a change takes beside the object that it replaces. */
const changeBytes = 256;

/**
 * The memory that the windows of all resources share. When it is full, the oldest change of all resources is forgotten. A resource that
 * rests keeps its history for as long as there is room for it.
 */
export class WindowMemory {
  readonly #maxBytes: number;
  #bytes = 0;
  /** The window of each change that is remembered, in the order in which they came; what lies before the head is gone. */
  #order: EventWindow[] = [];
  #head = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  took(window: EventWindow, bytes: number): void {
    this.#bytes += bytes;
    this.#order.push(window);
    while (this.#bytes > this.#maxBytes && this.#head < this.#order.length) this.#forgetOldest();
  }

  /** Forgets half of what is remembered. */
  halve(): void {
    const aim = this.#bytes / 2;
    while (this.#bytes > aim && this.#head < this.#order.length) this.#forgetOldest();
  }

  gave(bytes: number): void {
    this.#bytes -= bytes;
  }

  #forgetOldest(): void {
    const oldest = this.#order[this.#head];
    this.#head += 1;
    oldest?.forgetOldest();
    if (this.#head * 2 <= this.#order.length) return;
    this.#order = this.#order.slice(this.#head);
    this.#head = 0;
  }
}

/**
 * The recent changes of one resource. They let a watch resume where it broke off and a list be read as of an earlier revision; beyond
 * the window both get `Expired`.
 */
export class EventWindow {
  readonly #memory: WindowMemory;
  #changes: Change[] = [];
  #head = 0;
  /** Changes after this revision are all in the window. */
  #completeAfter: number;

  constructor(completeAfter: number, memory: WindowMemory) {
    this.#completeAfter = completeAfter;
    this.#memory = memory;
  }

  get completeAfter(): number {
    return this.#completeAfter;
  }

  /** For a window without changes: those after `revision` come now, or there are none. */
  startAt(revision: number): void {
    this.#completeAfter = revision;
  }

  add(change: Change): void {
    this.#changes.push(change);
    this.#memory.took(this, bytesOf(change));
  }

  forgetOldest(): void {
    const oldest = this.#changes[this.#head];
    // The window was closed after the change came.
    if (oldest === undefined) return;
    this.#completeAfter = oldest.revision;
    this.#memory.gave(bytesOf(oldest));
    this.#head += 1;
    if (this.#head * 2 <= this.#changes.length) return;
    this.#changes = this.#changes.slice(this.#head);
    this.#head = 0;
  }

  /** Forgets everything; the resource is no longer served. */
  close(): void {
    while (this.#changes.length > this.#head) this.forgetOldest();
  }

  /** Changes after `revision`, oldest first; undefined when some of them are forgotten. */
  since(revision: number): readonly Change[] | undefined {
    if (revision < this.#completeAfter) return undefined;
    let low = this.#head;
    let high = this.#changes.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#changes[middle]?.revision ?? 0) <= revision) low = middle + 1;
      else high = middle;
    }
    return this.#changes.slice(low);
  }
}

/** Leaves out the object after the change: it is the current one, or the next change replaces it, and it counts there. */
const bytesOf = ({ beforeBytes }: Change): number => beforeBytes + changeBytes;

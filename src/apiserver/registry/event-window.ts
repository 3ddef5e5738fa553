import type { KubeObject } from '../../machinery/object.ts';

/** What one revision did to one object. `before` is absent on creation, `after` on deletion; both carry their resourceVersion. */
export interface Change {
  readonly revision: number;
  /** `namespace/name` or `name`. */
  readonly key: string;
  readonly before: KubeObject | undefined;
  readonly after: KubeObject | undefined;
}

/** Changes remembered for each resource: enough for minutes of an ordinary cluster, some seconds of a burst. */
const maxChanges = 8192;

/**
 * The recent changes of one resource. They let a watch resume where it broke off and a list be read as of an earlier revision; beyond
 * the window both are told `Expired`.
 */
export class EventWindow {
  #changes: Change[] = [];
  #head = 0;
  /** Changes after this revision are all in the window. */
  #completeAfter: number;

  constructor(completeAfter: number) {
    this.#completeAfter = completeAfter;
  }

  get completeAfter(): number {
    return this.#completeAfter;
  }

  add(change: Change): void {
    this.#changes.push(change);
    if (this.#changes.length - this.#head <= maxChanges) return;
    this.#completeAfter = this.#changes[this.#head]?.revision ?? this.#completeAfter;
    this.#head += 1;
    if (this.#head >= maxChanges) {
      this.#changes = this.#changes.slice(this.#head);
      this.#head = 0;
    }
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

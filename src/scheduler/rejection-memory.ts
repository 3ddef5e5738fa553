import type { NodeRecord } from './cache.ts';
import type { Rejection } from './plugin.ts';

/**
 * Rejections of nodes by the filters of one shape of pods. A hundred replicas that fit nowhere ask about the same thousands of nodes
 * one after the other, of which few have changed. It is good for one list of nodes: each is known by its place there.
 */
export interface RejectionMemory {
  /** The rejection of the node at the place, while the node is as it was, and so are the pods that are nominated for it. */
  of(place: number, node: NodeRecord, nominations: number): Rejection | undefined;
  /** Name of the plugin that gave the rejection at the place. */
  pluginAt(place: number): string;
  keep(place: number, node: NodeRecord, kept: Kept): void;
}

interface Kept {
  readonly rejection: Rejection;
  readonly plugin: string;
  /** Version of the pods that are nominated for the node. */
  readonly nominations: number;
}

/** @param size  nodes of the list. Their room is taken with the first rejection, which most shapes never see. */
export function createRejectionMemory(size: number): RejectionMemory {
  let versions: Float64Array | undefined;
  let nominated: Float64Array | undefined;
  let rejections: (Rejection | undefined)[] = [];
  let plugins: string[] = [];

  return {
    of: (place, node, nominations) =>
      versions?.[place] === node.version && nominated?.[place] === nominations ? rejections[place] : undefined,
    pluginAt: (place) => plugins[place] ?? '',
    keep(place, node, { rejection, plugin, nominations }) {
      if (versions === undefined || nominated === undefined) {
        versions = new Float64Array(size).fill(-1);
        nominated = new Float64Array(size);
        rejections = new Array<Rejection | undefined>(size).fill(undefined);
        plugins = new Array<string>(size).fill('');
      }
      versions[place] = node.version;
      nominated[place] = nominations;
      rejections[place] = rejection;
      plugins[place] = plugin;
    },
  };
}

/** Counts rejections by their reasons. Neighbours in the list are mostly rejected for the same ones. */
export class RejectionTally {
  readonly reasons = new Map<string, number>();
  readonly plugins = new Set<string>();
  #last: Rejection | undefined;
  #plugin = '';
  #times = 0;

  add(rejection: Rejection, plugin: string): void {
    if (rejection === this.#last && plugin === this.#plugin) {
      this.#times += 1;
      return;
    }
    this.end();
    this.#last = rejection;
    this.#plugin = plugin;
    this.#times = 1;
  }

  /** Completes the counts. */
  end(): this {
    if (this.#last === undefined) return this;
    this.plugins.add(this.#plugin);
    for (const reason of this.#last.reasons) this.reasons.set(reason, (this.reasons.get(reason) ?? 0) + this.#times);
    this.#last = undefined;
    return this;
  }
}

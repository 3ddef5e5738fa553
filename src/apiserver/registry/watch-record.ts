import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { apiVersionOf } from '../../machinery/resource.ts';
import type { WatchRecord } from '../kube-api.ts';
import { atRevision, spliceRevision } from './encoding.ts';
import type { Change } from './event-window.ts';

/** Counters that tell a regression before the clock does; see the performance rules. */
export interface RegistryCounters {
  encodes: number;
  noopWrites: number;
  watchPredicateCalls: number;
}

/**
 * A change as the watchers of its revision see it: at most three records, made on first use and shared. ADDED and MODIFIED have one JSON
 * text. The text that was made for the store is used when it is still at hand, and goes away with the record.
 */
export class SharedChange {
  readonly change: Change;
  readonly #counters: RegistryCounters;
  #text: string | undefined;
  #json: string | undefined;
  #added: WatchRecord | undefined;
  #modified: WatchRecord | undefined;
  #deleted: WatchRecord | undefined;

  /** `text` is the stored text, if this process just wrote or read it. */
  constructor(change: Change, counters: RegistryCounters, text?: string) {
    this.change = change;
    this.#counters = counters;
    this.#text = text;
  }

  added(after: KubeObject): WatchRecord {
    this.#added ??= { type: 'ADDED', object: after, retains: this.change, json: () => this.#jsonOf(after) };
    return this.#added;
  }

  modified(after: KubeObject): WatchRecord {
    this.#modified ??= { type: 'MODIFIED', object: after, retains: this.change, json: () => this.#jsonOf(after) };
    return this.#modified;
  }

  /** The last state that was seen, at the revision at which it was left. */
  deleted(before: KubeObject): WatchRecord {
    if (this.#deleted === undefined) {
      this.#deleted = deletionOf(this.change, before, this.#counters);
    }
    return this.#deleted;
  }

  #jsonOf(after: KubeObject): string {
    if (this.#json === undefined) {
      if (this.#text === undefined) {
        this.#counters.encodes += 1;
        this.#json = JSON.stringify(after);
      } else {
        this.#json = spliceRevision(this.#text, this.change.revision);
        this.#text = undefined;
      }
    }
    return this.#json;
  }
}

/** A record whose JSON is made on first use and kept as long as the record. */
function deletionOf(change: Change, before: KubeObject, counters: RegistryCounters): WatchRecord {
  const object = atRevision(before, change.revision);
  let json: string | undefined;
  return {
    type: 'DELETED',
    object,
    retains: change,
    json() {
      if (json === undefined) {
        counters.encodes += 1;
        json = JSON.stringify(object);
      }
      return json;
    },
  };
}

/**
 * An object as a watch finds it. A watch begins with thousands, for a client that may not read them, so that they are small and their texts
 * are not kept.
 */
export class FoundRecord implements WatchRecord {
  readonly type = 'ADDED';
  readonly object: KubeObject;
  readonly #counters: RegistryCounters;

  constructor(object: KubeObject, counters: RegistryCounters) {
    this.object = object;
    this.#counters = counters;
  }

  json(): string {
    this.#counters.encodes += 1;
    return JSON.stringify(this.object);
  }
}

/** Tells a watcher how far it has seen, and, after initial events, that they are complete. */
export function bookmarkOf(kind: KindDefinition, revision: number, options: { readonly initialEventsEnd?: boolean } = {}): WatchRecord {
  // A bookmark has no name, since it is no object.
  const object = Object.freeze({
    kind: kind.kind,
    apiVersion: apiVersionOf(kind),
    metadata: Object.freeze({
      resourceVersion: String(revision),
      ...(options.initialEventsEnd === true ? { annotations: Object.freeze({ 'k8s.io/initial-events-end': 'true' }) } : {}),
    }),
  }) as unknown as KubeObject;
  return { type: 'BOOKMARK', object, json: () => JSON.stringify(object) };
}

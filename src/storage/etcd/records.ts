import { type EtcdClient, isOpen } from './client.ts';
import { createOnce } from './create-once.ts';
import type { StoreKeys } from './keys.ts';
import type { EtcdEvent, KeyValue } from './messages.ts';

/** `bootstrap`: the keys of the cluster, encrypted. `git-home`: the server that has the built-in Git remote. */
export type RecordName = 'bootstrap' | 'git-home';

/** Texts that servers share beside the objects; no reader or watcher of objects sees them. */
export interface StoreRecords {
  get(name: RecordName): Promise<StoreRecord | undefined>;
  /** Gives the record that is there afterwards: this one, or that of another server which came first. */
  create(name: RecordName, text: string): Promise<StoreRecord>;
  /**
   * Replaces the record of that revision, and no other. The text has to differ from all earlier ones, so that a try without an answer is
   * recognised.
   *
   * @returns undefined when another server changed it first
   */
  update(name: RecordName, text: string, expectedRevision: number): Promise<StoreRecord | undefined>;
  /** Calls `listener` with each later change, before any change of objects that was written after it. Gives the function that ends it. */
  watch(name: RecordName, listener: (record: StoreRecord) => void): () => void;
}

export interface StoreRecord {
  readonly text: string;
  readonly revision: number;
}

/** The records of a store, and where its watch hands on what it sees. */
export interface LiveRecords extends StoreRecords {
  onEvents(events: readonly EtcdEvent[]): void;
  /** Changes were missed: each record that somebody watches is read again. */
  onGap(): void;
}

/** The client waits some seconds for each. */
const maxTries = 4;

export function createRecords(client: EtcdClient, keys: StoreKeys): LiveRecords {
  const listeners = new Map<string, Set<(record: StoreRecord) => void>>();
  const recordOf = ({ text, modRevision }: KeyValue): StoreRecord => ({ text, revision: modRevision });

  async function put(key: string, text: string, expected: number): Promise<StoreRecord | undefined> {
    const { succeeded, revision, found } = await client.txn({
      compare: [{ key, revision: expected }],
      success: { put: { key, text } },
      read: key,
    });
    if (succeeded) return { text, revision };
    // An earlier try was done, and its answer was lost.
    return found?.text === text ? recordOf(found) : undefined;
  }

  /** Each try perseveres for some seconds. When all fail, the watch breaks as well, and comes back with later changes. */
  async function readAgain(key: string): Promise<void> {
    for (let tries = 1; tries <= maxTries; tries += 1) {
      try {
        const [entry] = (await client.range({ key })).entries;
        if (entry !== undefined) for (const listener of listeners.get(key) ?? []) listener(recordOf(entry));
        return;
      } catch (err) {
        if (!isOpen(err)) return;
      }
    }
  }

  return {
    async get(name) {
      const [entry] = (await client.range({ key: keys.record(name) })).entries;
      return entry === undefined ? undefined : recordOf(entry);
    },
    async create(name, text) {
      const { succeeded, revision, found } = await createOnce(client, { key: keys.record(name), text, maxTries });
      return succeeded || found === undefined ? { text, revision } : recordOf(found);
    },
    async update(name, text, expectedRevision) {
      for (let tries = 1; ; tries += 1) {
        try {
          return await put(keys.record(name), text, expectedRevision);
        } catch (err) {
          if (!isOpen(err) || tries === maxTries) throw err;
          client.moveOn();
        }
      }
    },
    watch(name, listener) {
      const key = keys.record(name);
      const known = listeners.get(key) ?? new Set();
      listeners.set(key, known.add(listener));
      return () => void known.delete(listener);
    },
    onGap() {
      for (const key of listeners.keys()) void readAgain(key);
    },
    onEvents(events) {
      if (listeners.size === 0) return;
      for (const { type, key, text, revision } of events) {
        if (type === 'delete') continue;
        for (const listener of listeners.get(key) ?? []) listener({ text, revision });
      }
    },
  };
}

import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { Metrics } from '../../base/metrics.ts';
import type { Storage, StoredEntry } from '../../storage/storage.ts';
import type { EncryptionConfiguration } from './configuration.ts';
import { type Sealing, startSealer } from './sealer.ts';
import { type Unreadable, ValueSeals } from './value-seals.ts';

/**
 * A store whose confidential values lie encrypted in another one. It is between the registry and every backend, and
 * neither knows of it. The registry sees plain texts; the backend keeps, checks and copies the sealed ones.
 *
 * A value that cannot be opened is left out of what is read and noted in `unreadable`; everything else goes on.
 */
export interface EncryptedStorage extends Storage {
  /** Values that no key opens, by store key. */
  readonly unreadable: ReadonlyMap<string, Unreadable>;
  /**
   * Seals values that are not sealed with the first key, a few at a time, then makes the backend drop the old texts.
   * Runs until all are sealed or it is stopped. The next start finishes the rest after a stop or a crash.
   */
  startSealing(): Sealing;
  /**
   * Seals with the first key of another configuration from now on, and opens with all of them. Values that were sealed before stay as they
   * are.
   *
   * @throws Error when a value that could not be opened can be now: who read the store lacks it, and has to read it again
   */
  use(configuration: EncryptionConfiguration): void;
  /** Counts the values of encrypted resources, and notes those that are to be sealed again. Reads all of the store, in pages. */
  survey(): Promise<Survey>;
}

export interface Survey {
  readonly values: number;
  /** Values that do not lie under the first key. */
  readonly stale: number;
}

export interface EncryptedStorageOptions {
  readonly storage: Storage;
  readonly configuration: EncryptionConfiguration;
  /** The store may have files from before the first key, with old plain texts in them. */
  readonly purge?: boolean;
  /** True: sealing begins with the first `wake`, when it is known that other servers can read the result. */
  readonly sealsLater?: boolean;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics?: Metrics | undefined;
}

/** Noted in the store while old texts are to be removed from its files. Its prefix is no resource's. */
const purgeKey = 'midship/encryption/purge';
/** Values of a survey that are read at once, usually a few KiB each. */
const surveyPage = 500;

export function createEncryptedStorage(options: EncryptedStorageOptions): EncryptedStorage {
  const { storage, configuration, clock, log, metrics } = options;
  const seals = new ValueSeals({ configuration, log, metrics });
  const purging = new Purging(storage, options.purge === true);

  return {
    isShared: storage.isShared,
    get currentRevision() {
      return storage.currentRevision;
    },
    get compactedRevision() {
      return storage.compactedRevision;
    },
    get failure() {
      return storage.failure;
    },
    damage: storage.damage,
    unreadable: seals.unreadable,
    latest: () => storage.latest(),
    async get(key) {
      const entry = await storage.get(key);
      if (entry === undefined) return undefined;
      const text = seals.opened(entry);
      return text === undefined ? undefined : { ...entry, text };
    },
    async range(range) {
      const result = await storage.range(range);
      const entries: StoredEntry[] = [];
      for (const entry of result.entries) {
        if (entry.key === purgeKey) {
          purging.found();
          continue;
        }
        const text = range.revision === undefined ? seals.opened(entry) : seals.openedPast(entry);
        if (text !== undefined) entries.push(text === entry.text ? entry : { ...entry, text });
      }
      return { ...result, entries };
    },
    create: (key, value) => storage.create(key, seals.sealed(key, value)),
    update: (key, value, expectedRevision) => storage.update(key, seals.sealed(key, value), expectedRevision),
    delete: (key, expectedRevision) => storage.delete(key, expectedRevision),
    watch: (watch) =>
      storage.watch({
        ...watch,
        onEvents: (events) => watch.onEvents(seals.openedEvents(events)),
      }),
    history: (history) =>
      storage.history({
        ...history,
        onChanges: (changes) =>
          history.onChanges(changes.filter(({ key }) => key !== purgeKey).map((change) => seals.openedChange(change))),
      }),
    revisionKeeping: (bytes) => storage.revisionKeeping(bytes),
    compact: (revision) => storage.compact(revision),
    purge: () => storage.purge(),
    close: () => storage.close(),
    startSealing: () => startSealer({ storage, seals, purging, waits: options.sealsLater === true, clock, log }),
    use: (next) => seals.use(next),
    async survey() {
      seals.stale.clear();
      let values = 0;
      for (let after: string | undefined; ; ) {
        const { entries, more } = await storage.range({ prefix: '', limit: surveyPage, ...(after === undefined ? {} : { after }) });
        for (const entry of entries) if (entry.key !== purgeKey && seals.isNoted(entry)) values += 1;
        after = entries.at(-1)?.key;
        if (!more || after === undefined) return { values, stale: seals.stale.size };
      }
    },
  };
}

/** Removal of old plain texts from the files of the store, which a mark in the store makes the next start finish. */
class Purging {
  readonly #storage: Storage;
  isDue: boolean;
  #isMarked = false;

  constructor(storage: Storage, isDue: boolean) {
    this.#storage = storage;
    this.isDue = isDue;
  }

  /** A start before this one has left its mark. */
  found(): void {
    this.#isMarked = true;
    this.isDue = true;
  }

  /** So that the next start purges, when this one does not come to it. */
  async mark(): Promise<void> {
    if (!this.#isMarked) await this.#storage.create(purgeKey, { text: '{}' });
    this.found();
  }

  async purge(): Promise<void> {
    // Watches of other servers may be behind: what was superseded in etcd goes with its next compactions, minutes later.
    if (!this.#storage.isShared) await this.#storage.purge();
    const mark = await this.#storage.get(purgeKey);
    if (mark !== undefined) await this.#storage.delete(purgeKey, mark.revision);
    this.#isMarked = false;
    this.isDue = false;
  }
}

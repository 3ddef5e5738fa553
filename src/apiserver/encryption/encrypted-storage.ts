import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { Metrics } from '../../base/metrics.ts';
import { internalError } from '../../machinery/status-error.ts';
import type { Storage, StorageEvent, StoredChange, StoredEntry, Value } from '../../storage/storage.ts';
import { splitStoreKey } from '../registry/keys.ts';
import type { EncryptionConfiguration } from './configuration.ts';
import { identityProvider, type Provider } from './providers.ts';

/**
 * A store whose confidential values lie encrypted in another one. It is between the registry and every backend, so that neither knows of
 * it: the registry sees plain texts, the backend keeps, checks and copies the sealed ones.
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
  startSealing(): { stop(): void };
}

export interface Unreadable {
  readonly revision: number;
  /** `no key named "old"` */
  readonly reason: string;
}

export interface EncryptedStorageOptions {
  readonly storage: Storage;
  readonly configuration: EncryptionConfiguration;
  /** The store may have files from before the first key, with old plain texts in them. */
  readonly purge?: boolean;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics?: Metrics | undefined;
}

/** All sealed values begin with it; objects begin with a brace. */
const sealedMark = 'k8s:enc:';
/** Noted in the store while old texts are to be removed from its files. Its prefix is no resource's. */
const purgeKey = 'midship/encryption/purge';
/** At most 80 values a second: a start has more urgent work. */
const sealAtOnce = 16;
const sealEveryMs = 200;
const retryMs = 60_000;

/** Takes the place of the companion of a value: the backend hands it on, and the plain text with it. */
class Opened {
  readonly text: string;
  readonly decoded: unknown;
  constructor({ text, decoded }: Value) {
    this.text = text;
    this.decoded = decoded;
  }
}

export function createEncryptedStorage(options: EncryptedStorageOptions): EncryptedStorage {
  const { storage, configuration, clock, log } = options;
  const providers = new Map<string, readonly Provider[]>();
  const unreadable = new Map<string, Unreadable>();
  /** Values that are to be sealed again: as many as there are objects of the encrypted resources at most. */
  const stale = new Set<string>();
  let purgeDue = options.purge === true;
  let isMarked = false;
  const operations = options.metrics?.counter({
    name: 'apiserver_storage_transformation_operations_total',
    help: 'Values sealed for the store (to_storage) and opened (from_storage), by provider and outcome.',
    labelNames: ['transformation_type', 'transformer_prefix', 'status'],
  });

  /** Empty for what is kept as it is. */
  function providersOf(key: string): readonly Provider[] {
    const { prefix } = splitStoreKey(key);
    let found = providers.get(prefix);
    if (found === undefined) {
      found = configuration.providersOf(prefix) ?? [];
      providers.set(prefix, found);
    }
    return found;
  }

  function sealed(key: string, value: Value): Value {
    const [first] = providersOf(key);
    if (first === undefined || first === identityProvider) return value;
    const text = first.seal(key, value.text);
    operations?.inc({ transformation_type: 'to_storage', transformer_prefix: first.prefix, status: 'OK' });
    return { text, decoded: new Opened(value), ...(value.always === true ? { always: true } : {}) };
  }

  type Attempt =
    | { readonly plain: string; readonly provider: Provider | undefined }
    | { readonly plain: undefined; readonly provider: Provider | undefined; readonly reason: string };

  /** Notes nothing: the value may be an older one. */
  function tryOpen(key: string, text: string): Attempt {
    const usable = providersOf(key);
    const isSealed = text.startsWith(sealedMark);
    if (usable.length === 0 && !isSealed) return { plain: text, provider: undefined };
    const provider = usable.find(({ prefix }) => (prefix === '' ? !isSealed : text.startsWith(prefix)));
    if (provider === undefined) {
      return {
        plain: undefined,
        provider,
        reason: isSealed ? `no key named ${JSON.stringify(keyNameOf(text))}` : 'plain values are not read',
      };
    }
    try {
      const plain = provider.open(key, text);
      if (isSealed) operations?.inc({ transformation_type: 'from_storage', transformer_prefix: provider.prefix, status: 'OK' });
      return { plain, provider };
    } catch {
      // The library's words for a wrong tag say nothing of what to do.
      return { plain: undefined, provider, reason: 'it was changed, moved, or sealed with another key of this name' };
    }
  }

  /** Undefined when it cannot be opened, which is noted. */
  function opened({ key, text, revision }: StoredEntry): string | undefined {
    const attempt = tryOpen(key, text);
    const { plain, provider } = attempt;
    if (plain !== undefined) {
      if (provider === undefined) return plain;
      if (provider === providersOf(key)[0]) stale.delete(key);
      else stale.add(key);
      unreadable.delete(key);
      return plain;
    }
    const { reason } = attempt;
    if (unreadable.get(key)?.revision !== revision)
      log.error({ object: key, revision, reason }, 'Set aside value that could not be decrypted');
    operations?.inc({ transformation_type: 'from_storage', transformer_prefix: provider?.prefix ?? 'unknown', status: 'Internal' });
    unreadable.set(key, { revision, reason });
    stale.delete(key);
    return undefined;
  }

  function openedChange(change: StoredChange): StoredChange {
    const { key, values } = change;
    if (values === undefined) return change;
    const { before, after } = values;
    const textBefore = before === undefined ? undefined : tryOpen(key, before.text).plain;
    return {
      ...change,
      values: {
        before: before === undefined || textBefore === undefined ? undefined : { ...before, text: textBefore },
        after: after === undefined ? undefined : tryOpen(key, after).plain,
      },
    };
  }

  function openedEvents(events: readonly StorageEvent[]): readonly StorageEvent[] {
    const isPlain = (event: StorageEvent): boolean =>
      event.type === 'delete' || (!(event.value.decoded instanceof Opened) && !event.value.text.startsWith(sealedMark));
    if (unreadable.size === 0 && stale.size === 0 && events.every(isPlain)) return events;
    return events.map((event): StorageEvent => {
      const { key, revision } = event;
      if (event.type === 'delete' || event.value.decoded instanceof Opened) {
        unreadable.delete(key);
        stale.delete(key);
        return event.type === 'delete' ? event : { ...event, value: event.value.decoded as Opened };
      }
      const text = opened({ key, text: event.value.text, revision });
      // A reader that saw the value before must not take it for the present one.
      if (text === undefined) return { type: 'delete', key, revision };
      return text === event.value.text ? event : { ...event, value: { text } };
    });
  }

  /** So that the next start purges, when this one does not come to it. */
  async function markPurge(): Promise<void> {
    if (!isMarked) await storage.create(purgeKey, { text: '{}' });
    isMarked = true;
    purgeDue = true;
  }

  async function sealNext(): Promise<void> {
    const due = [...stale].slice(0, sealAtOnce);
    await Promise.all(
      due.map(async (key) => {
        const entry = await storage.get(key);
        const text = entry === undefined ? undefined : opened(entry);
        // Written meanwhile, or gone.
        if (entry === undefined || text === undefined || !stale.has(key)) return void stale.delete(key);
        const [first] = providersOf(key);
        await storage.update(key, { text: first?.seal(key, text) ?? text }, entry.revision);
        stale.delete(key);
      }),
    );
  }

  async function purge(): Promise<void> {
    await storage.purge();
    const mark = await storage.get(purgeKey);
    if (mark !== undefined) await storage.delete(purgeKey, mark.revision);
    isMarked = false;
    purgeDue = false;
  }

  return {
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
    unreadable,
    async get(key) {
      const entry = await storage.get(key);
      if (entry === undefined) return undefined;
      const text = opened(entry);
      return text === undefined ? undefined : { ...entry, text };
    },
    async range(range) {
      const result = await storage.range(range);
      const entries: StoredEntry[] = [];
      for (const entry of result.entries) {
        if (entry.key === purgeKey) {
          isMarked = true;
          purgeDue = true;
          continue;
        }
        const text = opened(entry);
        if (text !== undefined) entries.push(text === entry.text ? entry : { ...entry, text });
      }
      return { ...result, entries };
    },
    create: (key, value) => storage.create(key, sealed(key, value)),
    update: (key, value, expectedRevision) => storage.update(key, sealed(key, value), expectedRevision),
    delete: (key, expectedRevision) => storage.delete(key, expectedRevision),
    watch: (watch) =>
      storage.watch({
        ...watch,
        onEvents: (events) => watch.onEvents(openedEvents(events)),
      }),
    history: (history) =>
      storage.history({
        ...history,
        onChanges: (changes) => history.onChanges(changes.filter(({ key }) => key !== purgeKey).map(openedChange)),
      }),
    revisionKeeping: (bytes) => storage.revisionKeeping(bytes),
    compact: (revision) => storage.compact(revision),
    purge: () => storage.purge(),
    close: () => storage.close(),
    startSealing() {
      let stopped = false;
      let count = 0;
      let cancel = clock.after(sealEveryMs, () => void round());

      async function round(): Promise<void> {
        let pauseMs = sealEveryMs;
        try {
          if (stale.size > 0 || purgeDue) await markPurge();
          if (stale.size > 0) {
            count += Math.min(stale.size, sealAtOnce);
            await sealNext();
          } else if (purgeDue) {
            await purge();
            log.info({ count }, 'Sealed values of the store with the current key');
          }
        } catch (err) {
          if (stopped) return;
          log.warn({ err }, 'Could not seal values of the store');
          pauseMs = retryMs;
        }
        if (!stopped && (stale.size > 0 || purgeDue)) cancel = clock.after(pauseMs, () => void round());
      }

      return {
        stop() {
          stopped = true;
          cancel();
        },
      };
    },
  };
}

/** Upstream's words, with what to do. */
export const unreadableError = (key: string, { reason }: Unreadable): Error =>
  internalError(
    `unable to transform key ${JSON.stringify(key)}: ${reason}; put the key back into the encryption configuration, or delete the object`,
  );

const keyNameOf = (text: string): string => text.split(':', 5)[4] ?? '';

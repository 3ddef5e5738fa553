import { type Clock, systemClock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { Metrics } from '../../base/metrics.ts';
import { expired } from '../../machinery/status-error.ts';
import type {
  HistoryOptions,
  RangeOptions,
  RangeResult,
  Storage,
  StorageEvent,
  StoredChange,
  StoredEntry,
  WatchOptions,
} from '../storage.ts';
import { createEtcdClient, type EtcdClient, type EtcdClientOptions, isOpen } from './client.ts';
import { type EtcdHealth, watchHealth } from './health.ts';
import { createStoreKeys, keyAfterPrefix, type StoreKeys } from './keys.ts';
import { createLiveWatch, type LiveWatch, retryMs } from './live-watch.ts';
import type { EtcdEvent, KeyValue } from './messages.ts';
import { withOffset } from './offset.ts';
import { checkFormat, checkMembers, offsetIn, openFailure } from './open.ts';
import { createRecords, type StoreRecords } from './records.ts';
import { createEtcdWrites, type EtcdWrites, isFull } from './writes.ts';

/**
 * The store in etcd, version 3.5.8 or later. Its revisions are etcd's, so they have gaps: other keys of the same etcd count, too.
 *
 * `currentRevision` is what the watch of this process has delivered. Reads ask a quorum. There are no groups of writes, and no budget of
 * bytes for what is superseded: etcd has a quota of its own. Its file keeps what compaction freed until `etcdctl defrag`.
 */
export interface EtcdStorageOptions extends Omit<EtcdClientOptions, 'clock'> {
  /** All keys begin with it; it begins with a slash and does not end with one. */
  readonly prefix: string;
  /** The same over restarts of this server, and no other server's. */
  readonly serverId: string;
  readonly log: Log;
  readonly clock?: Clock;
  readonly metrics?: Metrics | undefined;
}

/** A store that several servers share. */
export interface EtcdStorage extends Storage {
  readonly records: StoreRecords;
  /** All entries of one revision, in pages. Writes go on meanwhile. */
  readAll(): Promise<EntrySnapshot>;
}

interface EntrySnapshot {
  readonly revision: number;
  readonly pages: AsyncIterable<readonly StoredEntry[]>;
}

/** Objects of one page of a range; at most 1.5 MiB each, usually a few KiB. */
const pageKeys = 1_000;
/** Changes handed on at once. */
const historyPage = 500;
const neverAborted = new AbortController().signal;
/**
 * @throws StorageError when etcd is away, too old, or written by a later version
 */
export async function openEtcdStorage(options: EtcdStorageOptions): Promise<EtcdStorage> {
  const { prefix, serverId, log, clock = systemClock, metrics } = options;
  const direct = createEtcdClient({ ...options, clock });
  const keys = createStoreKeys(prefix);
  let client: EtcdClient;
  try {
    await direct.preferLeader();
    await checkMembers(direct);
    await checkFormat(direct, keys);
    client = withOffset(direct, await offsetIn(direct, keys));
  } catch (err) {
    direct.close();
    throw openFailure(err, options);
  }
  const live = createLiveWatch({ client, key: keys.first, rangeEnd: keys.end, clock, log });
  const writes = createEtcdWrites({ client, live, keys, serverId, clock });
  try {
    const { revision } = await client.range({ key: keys.fence(serverId) });
    live.start(revision);
    // Writes of an earlier process of this server are done by now, or never.
    await writes.raiseFence();
    const compacted = await compactedIn(client, keys);
    const health = watchHealth({
      ...options,
      client,
      clock,
      metrics,
      onLook: (alarms) => writes.noteFull(alarms.includes('NOSPACE')),
      onMoved: live.reopen,
    });
    return createStorage({ client, keys, live, writes, health, clock, compacted });
  } catch (err) {
    live.stop(err as Error);
    client.close();
    throw openFailure(err, options);
  }
}

interface Compacted {
  /** Values that were replaced up to here are gone. */
  readonly revision: number;
  /** The revision of the key that says so, 0 without one. */
  readonly writtenAt: number;
}

interface Parts {
  readonly client: EtcdClient;
  readonly keys: StoreKeys;
  readonly live: LiveWatch;
  readonly writes: EtcdWrites;
  readonly health: EtcdHealth;
  readonly clock: Clock;
  readonly compacted: Compacted;
}

interface Subscriber {
  readonly options: WatchOptions;
  /** Up to where it has been served. */
  position: number;
  /** Its signal was aborted, or it threw. */
  hasEnded: boolean;
}

function createStorage({ client, keys, live, writes, health, clock, compacted }: Parts): EtcdStorage {
  const subscribers = new Set<Subscriber>();
  const records = createRecords(client, keys);
  let compactedRevision = compacted.revision;
  /** Version of the key that says so: the server that replaces it is the one that compacts. */
  let compactedAt = compacted.writtenAt;
  let closing: Promise<void> | undefined;
  live.subscribe({
    onEvents(events) {
      for (const { key, text, revision } of events) if (key === keys.compaction) noteCompacted(Number(text), revision);
      records.onEvents(events);
      const own = eventsOf(events);
      if (own.length > 0) for (const subscriber of subscribers) serve(subscriber, own);
    },
    onProgress(revision) {
      for (const subscriber of subscribers) noteProgress(subscriber, revision);
    },
    onGap(compacted) {
      noteCompacted(compacted, compactedAt);
      records.onGap();
      for (const subscriber of subscribers) end(subscriber, tooOld(subscriber.position, compacted));
    },
    onEnd(err) {
      for (const subscriber of subscribers) end(subscriber, err);
    },
  });

  function eventsOf(events: readonly EtcdEvent[]): readonly StorageEvent[] {
    return events.flatMap((event): readonly StorageEvent[] => {
      const { type, revision, created, text } = event;
      const key = keys.nameOf(event.key);
      if (key === undefined) return [];
      if (type === 'delete') return [{ type, key, revision }];
      const decoded = writes.decodedOf(event);
      return [{ type, key, revision, created, value: decoded === undefined ? { text } : { text, decoded } }];
    });
  }

  function serve(subscriber: Subscriber, events: readonly StorageEvent[]): void {
    const { options } = subscriber;
    const fresh = events.filter(({ key, revision }) => revision > subscriber.position && key.startsWith(options.prefix));
    if (fresh.length === 0) return;
    subscriber.position = fresh.at(-1)?.revision ?? subscriber.position;
    try {
      options.onEvents(fresh);
    } catch (err) {
      end(subscriber, err as Error);
    }
  }

  function noteProgress(subscriber: Subscriber, revision: number): void {
    subscriber.position = Math.max(subscriber.position, revision);
    subscriber.options.onProgress?.(revision);
  }

  function end(subscriber: Subscriber, err: Error): void {
    subscribers.delete(subscriber);
    subscriber.hasEnded = true;
    subscriber.options.onEnd(err);
  }

  function checkOpen(): void {
    if (closing !== undefined) throw new Error('the store is closed');
  }

  async function range(options: RangeOptions): Promise<RangeResult> {
    try {
      return await readRange(options);
    } catch (err) {
      if (options.revision !== undefined && isCompacted(err)) throw tooOld(options.revision, compactedRevision);
      throw err;
    }
  }

  async function readRange({ prefix, after, limit = Number.POSITIVE_INFINITY, revision: wanted }: RangeOptions): Promise<RangeResult> {
    const rangeEnd = prefix === '' ? keys.end : keyAfterPrefix(keys.of(prefix));
    let key = after === undefined || after < prefix ? keys.of(prefix) : `${keys.of(after)}\0`;
    const entries: StoredEntry[] = [];
    let revision = wanted;
    for (;;) {
      const page = await client.range({
        key,
        rangeEnd,
        // The store's own keys lie among them, and do not count.
        limit: Math.min(pageKeys, limit - entries.length + 1),
        ...(revision === undefined ? {} : { revision }),
      });
      revision ??= page.revision;
      for (const entry of page.entries) {
        const name = keys.nameOf(entry.key);
        if (name === undefined) continue;
        if (entries.length === limit) return { entries, revision, more: true };
        entries.push({ key: name, text: entry.text, revision: entry.modRevision });
      }
      const last = page.entries.at(-1);
      if (!page.more || last === undefined) return { entries, revision, more: false };
      key = `${last.key}\0`;
    }
  }

  /** Serves a watch from the past by a watch of its own, until it has reached the live one. */
  async function catchUp(subscriber: Subscriber): Promise<void> {
    const { options } = subscriber;
    const key = keys.of(options.prefix);
    const rangeEnd = options.prefix === '' ? keys.end : keyAfterPrefix(key);
    while (!subscriber.hasEnded) {
      try {
        const past = client.past({ key, rangeEnd, startRevision: subscriber.position + 1, withBefore: false }, options.signal);
        for await (const { created, compactRevision, revision, events } of past) {
          if (compactRevision > 0) throw tooOld(subscriber.position, compactRevision);
          if (closing !== undefined) throw new Error('the store is closed');
          if (events.length > 0) serve(subscriber, eventsOf(events));
          else if (!created) subscriber.position = Math.max(subscriber.position, revision);
          if (subscriber.hasEnded) return;
          if (subscriber.position >= live.position) {
            subscribers.add(subscriber);
            options.onProgress?.(subscriber.position);
            return;
          }
        }
      } catch (err) {
        if (subscriber.hasEnded) return;
        if (closing !== undefined) end(subscriber, new Error('the store is closed'));
        else if (!isOpen(err)) end(subscriber, err as Error);
        // Another member goes on where this one broke off. The live watch says when none does.
        else await new Promise<void>((resolve) => void clock.after(retryMs, resolve));
      }
    }
  }

  async function history({ afterRevision = 0, upTo = live.position, maxChanges, maxSize, onChanges }: HistoryOptions): Promise<void> {
    const newest: { readonly event: EtcdEvent; readonly size: number }[] = [];
    const page: StoredChange[] = [];
    let size = 0;
    const hand = async (change: StoredChange): Promise<void> => {
      page.push(change);
      if (page.length === historyPage) await onChanges(page.splice(0));
    };
    for await (const event of changes(Math.max(compactedRevision, afterRevision), upTo)) {
      const name = keys.nameOf(event.key);
      if (name === undefined) continue;
      const own = { event: { ...event, key: name }, size: event.text.length };
      newest.push(own);
      size += own.size;
      while (newest.length > maxChanges || size > maxSize) {
        const oldest = newest.shift();
        if (oldest === undefined) break;
        size -= oldest.size;
        await hand({ revision: oldest.event.revision, key: oldest.event.key, values: undefined });
      }
    }
    const first = newest[0]?.event.revision ?? 0;
    for (const { event } of newest) {
      const { revision, key, before, type, text } = event;
      await hand({ revision, key, values: { before: beforeOf(before, first), after: type === 'delete' ? undefined : text } });
    }
    if (page.length > 0) await onChanges(page);
  }

  /** Every change after one revision and up to another, oldest first. */
  async function* changes(after: number, upTo: number): AsyncGenerator<EtcdEvent> {
    if (after >= upTo) return;
    const request = { key: keys.first, rangeEnd: keys.end, startRevision: after + 1, withBefore: true };
    for await (const { created, compactRevision, revision, events } of client.past(request, neverAborted)) {
      if (compactRevision > 0) {
        noteCompacted(compactRevision, compactedAt);
        throw tooOld(after, compactRevision);
      }
      for (const event of events) {
        if (event.revision > upTo) return;
        yield event;
      }
      if (!created && revision >= upTo && events.length === 0) return;
      if ((events.at(-1)?.revision ?? 0) === upTo) return;
    }
  }

  function noteCompacted(revision: number, writtenAt: number): void {
    compactedRevision = Math.max(compactedRevision, revision);
    compactedAt = Math.max(compactedAt, writtenAt);
  }

  /**
   * True when this server is the one that compacts to `target`; the others have nothing to do. It is written before, since a watch may not
   * start before what is about to go.
   */
  async function winCompaction(target: number): Promise<boolean> {
    const { succeeded, found, revision } = await client.txn({
      compare: [{ key: keys.compaction, revision: compactedAt }],
      success: { put: { key: keys.compaction, text: String(target) } },
      read: keys.compaction,
    });
    if (succeeded) noteCompacted(target, revision);
    else noteCompacted(Number(found?.text ?? 0), found?.modRevision ?? 0);
    return succeeded;
  }

  /** @param physical  waits until the values are gone from the file of the member */
  async function compact(revision: number, physical: boolean): Promise<void> {
    checkOpen();
    const target = Math.min(revision, live.position);
    if (target <= compactedRevision) return;
    let waits = physical;
    try {
      if (!(await winCompaction(target))) return physical ? compact(revision, physical) : undefined;
    } catch (err) {
      // A full etcd takes no key, and compaction is what makes room in it. A defragmentation finds that room once it is done.
      if (!isFull(err)) throw err;
      noteCompacted(target, compactedAt);
      waits = true;
    }
    try {
      await client.compact(target, waits);
    } catch (err) {
      // Somebody else went further.
      if (!isCompacted(err)) throw err;
    }
  }

  async function readAll(): Promise<EntrySnapshot> {
    const { revision } = await client.range({ key: keys.format });
    async function* pages(): AsyncGenerator<readonly StoredEntry[]> {
      for (let key = keys.first; ; ) {
        const page = await client.range({ key, rangeEnd: keys.end, limit: pageKeys, revision });
        yield page.entries.flatMap(({ key: etcdKey, text, modRevision }) => {
          const name = keys.nameOf(etcdKey);
          return name === undefined ? [] : [{ key: name, text, revision: modRevision }];
        });
        const last = page.entries.at(-1);
        if (!page.more || last === undefined) return;
        key = `${last.key}\0`;
      }
    }
    return { revision, pages: pages() };
  }

  return {
    isShared: true,
    get currentRevision() {
      return live.position;
    },
    get compactedRevision() {
      return compactedRevision;
    },
    get failure() {
      return live.failure ?? writes.failure;
    },
    damage: [],
    records,
    async latest() {
      checkOpen();
      // A read that a quorum answers has the revision of the newest write in its header.
      const { revision } = await client.range({ key: keys.format });
      // A write below another prefix sends no change here, so the watch has to ask whether it is that far. The caller has its own bound.
      live.reach(revision).catch(() => undefined);
      return revision;
    },
    async readAll() {
      checkOpen();
      return await readAll();
    },
    async get(key) {
      checkOpen();
      const [entry] = (await client.range({ key: keys.of(key) })).entries;
      return entry === undefined ? undefined : { key, text: entry.text, revision: entry.modRevision };
    },
    async range(options) {
      checkOpen();
      return await range(options);
    },
    async create(key, value) {
      checkOpen();
      return await writes.create(key, value);
    },
    async update(key, value, expected) {
      checkOpen();
      return await writes.update(key, value, expected);
    },
    async delete(key, expected) {
      checkOpen();
      return await writes.delete(key, expected);
    },
    async watch(options) {
      checkOpen();
      if (options.afterRevision < compactedRevision) throw tooOld(options.afterRevision, compactedRevision);
      if (options.signal.aborted) return;
      const subscriber: Subscriber = { options, position: options.afterRevision, hasEnded: false };
      const leave = (): void => {
        subscribers.delete(subscriber);
        subscriber.hasEnded = true;
      };
      options.signal.addEventListener('abort', leave, { once: true });
      if (options.afterRevision >= live.position) subscribers.add(subscriber);
      else void catchUp(subscriber);
    },
    async history(options) {
      checkOpen();
      await history(options);
    },
    revisionKeeping: () => compactedRevision,
    compact: (revision) => compact(revision, false),
    async purge() {
      checkOpen();
      await compact(live.position, true);
    },
    close() {
      closing ??= (async () => {
        health.stop();
        await writes.drain();
        live.stop(new Error('the store is closed'));
        client.close();
      })();
      return closing;
    },
  };
}

/** A value that is itself given as the `after` of a change is not given again. */
const beforeOf = (before: KeyValue | undefined, firstRevision: number): { readonly text: string; readonly revision: number } | undefined =>
  before === undefined || before.modRevision >= firstRevision ? undefined : { text: before.text, revision: before.modRevision };

const tooOld = (revision: number, compacted: number) => expired(`too old resource version: ${revision} (${compacted})`);

const isCompacted = (err: unknown): boolean => (err as Error).message.includes('has been compacted');

/** Up to where etcd has forgotten what was superseded, whoever asked for it: a watch that begins before is refused and says so. */
async function compactedIn(client: EtcdClient, keys: StoreKeys): Promise<Compacted> {
  const [entry] = (await client.range({ key: keys.compaction })).entries;
  const written = entry === undefined ? 0 : Number(entry.text);
  const writtenAt = entry?.modRevision ?? 0;
  if (await isReadable(client, keys, Math.max(written, 1))) return { revision: written, writtenAt };
  const request = { key: keys.compaction, startRevision: written + 1, withBefore: false };
  for await (const { compactRevision, created, events } of client.past(request, neverAborted)) {
    if (compactRevision > 0) return { revision: compactRevision, writtenAt };
    // An answer beside the first one says that the past can be read.
    if (!created || events.length > 0) break;
  }
  return { revision: written, writtenAt };
}

/** A watch of the past says where it begins, and takes up to 0.1 s. A read says only whether `revision` is later than that. */
async function isReadable(client: EtcdClient, keys: StoreKeys, revision: number): Promise<boolean> {
  try {
    await client.range({ key: keys.compaction, revision });
    return true;
  } catch (err) {
    if (isCompacted(err)) return false;
    throw err;
  }
}

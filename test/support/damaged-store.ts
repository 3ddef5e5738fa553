import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openSqliteStorage } from '../../src/storage/sqlite/storage.ts';
import type { Damage, Storage, StorageEvent } from '../../src/storage/storage.ts';
import { StorageError } from '../../src/storage/storage-error.ts';

/** A store with history, deletions and a log that is not in the database yet, as the end of its process leaves it. */
export interface PopulatedStore {
  readonly directory: string;
  readonly content: ReadonlyMap<string, { readonly text: string; readonly revision: number }>;
  readonly history: readonly StorageEvent[];
  readonly compactedRevision: number;
  /** Text of every revision that was ever written. */
  readonly written: ReadonlyMap<number, string>;
}

export const storeFiles = ['state.db', 'state.db-wal', 'state.revision'] as const;

const textOf = (random: () => number, key: string, long: number): string =>
  JSON.stringify({ kind: 'ConfigMap', metadata: { name: key }, data: { value: random().toString(36).repeat(long) } });

export async function populate(directory: string, random: () => number): Promise<PopulatedStore> {
  const work = join(directory, 'work');
  const stopped = join(directory, 'stopped');
  await Promise.all([mkdir(work), mkdir(stopped)]);
  const storage = await openSqliteStorage({ path: join(work, 'state.db') });
  const revisions = new Map<string, number>();
  const written = new Map<number, string>();
  const put = async (n: number): Promise<void> => {
    const key = `core/configmaps/ns${n % 3}/name-${n}`;
    const known = revisions.get(key);
    const value = { text: textOf(random, key, 1 + Math.floor(random() * (n % 20 === 0 ? 600 : 20))) };
    const result = await (known === undefined ? storage.create(key, value) : storage.update(key, value, known));
    if (!result.ok) throw new Error(`lost the race for ${key}`);
    revisions.set(key, result.revision);
    written.set(result.revision, value.text);
  };
  const remove = async (n: number): Promise<void> => {
    const key = `core/configmaps/ns${n % 3}/name-${n}`;
    await storage.delete(key, revisions.get(key) ?? 0);
    revisions.delete(key);
  };
  for (let n = 0; n < 120; n += 1) await put(n);
  for (let n = 0; n < 120; n += 3) await put(n);
  await storage.compact(100);
  for (let n = 0; n < 20; n += 1) await remove(n);
  // A pause: what came so far goes into the database.
  await new Promise((resolve) => setTimeout(resolve, 250));
  for (let n = 60; n < 130; n += 2) await put(n);
  for (let n = 40; n < 50; n += 1) await remove(n);
  await put(130);
  for (const file of storeFiles) await copyFile(join(work, file), join(stopped, file));
  const { content, history } = await contentOf(storage, storage.compactedRevision);
  const { compactedRevision } = storage;
  await storage.close();
  return { directory: stopped, content, history, compactedRevision, written };
}

async function contentOf(
  storage: Storage,
  since: number,
): Promise<{ readonly content: PopulatedStore['content']; readonly history: readonly StorageEvent[] }> {
  const { entries } = await storage.range({ prefix: '' });
  const history: StorageEvent[] = [];
  const abort = new AbortController();
  await storage.watch({
    prefix: '',
    afterRevision: since,
    signal: abort.signal,
    onEvents: (events) => void history.push(...events),
    onEnd: () => undefined,
  });
  abort.abort();
  return { content: new Map(entries.map(({ key, text, revision }) => [key, { text, revision }])), history };
}

export type Outcome =
  | { readonly type: 'refused'; readonly message: string }
  | { readonly type: 'named'; readonly damage: readonly Damage[] }
  | { readonly type: 'harmless' }
  /** Must not happen: another content, and no word of it. */
  | { readonly type: 'silent'; readonly why: string; readonly damage: readonly Damage[] };

/** Opens a copy of the stopped store with one bit of `file` changed. */
export async function openWithFlip(
  store: PopulatedStore,
  directory: string,
  flip: { readonly file: string; readonly byte: number; readonly bit: number },
): Promise<Outcome> {
  await mkdir(directory);
  for (const file of storeFiles) {
    const bytes = await readFile(join(store.directory, file));
    if (file === flip.file) bytes[flip.byte] = (bytes[flip.byte] ?? 0) ^ (1 << flip.bit);
    await writeFile(join(directory, file), bytes);
  }
  return judge(store, directory);
}

/** Says what a start makes of the files in `directory`, which were once those of `store`. */
export async function judge(store: PopulatedStore, directory: string): Promise<Outcome> {
  const path = join(directory, 'state.db');
  let storage: Storage;
  try {
    storage = await openSqliteStorage({ path });
  } catch (err) {
    if (err instanceof StorageError && err.message.includes(directory) && err.hint !== '') return { type: 'refused', message: err.message };
    return { type: 'silent', why: `refused without naming the file and a way out: ${String(err)}`, damage: [] };
  }
  try {
    const why = await unexplained(store, storage);
    if (why !== undefined) return { type: 'silent', why, damage: storage.damage };
    return storage.damage.length === 0 ? { type: 'harmless' } : { type: 'named', damage: storage.damage };
  } finally {
    await storage.close();
  }
}

/** A difference between what was stored and what is there that no entry of `damage` accounts for. */
async function unexplained(store: PopulatedStore, storage: Storage): Promise<string | undefined> {
  const { damage } = storage;
  const { content, history } = await contentOf(storage, Math.max(storage.compactedRevision, store.compactedRevision));
  const missingAfter = Math.min(...damage.map((each) => (each.type === 'missing' ? each.after : Number.POSITIVE_INFINITY)));
  // By revision, too: when the key is what is damaged, only the revision says which row it was.
  const absent = new Set(damage.flatMap((each) => (each.type === 'row' && each.effect === 'keyAbsent' ? [each.key, each.revision] : [])));
  for (const [key, { text, revision }] of store.content) {
    const found = content.get(key);
    if (found?.text === text && found.revision === revision) continue;
    if (revision > missingAfter) continue;
    if (found === undefined && (absent.has(key) || absent.has(revision))) continue;
    return found === undefined ? `${key} is absent` : `${key} has the value of revision ${found.revision}, not ${revision}`;
  }
  for (const [key, { revision }] of content) {
    if (!store.content.has(key) && missingAfter === Number.POSITIVE_INFINITY) return `${key} is back at revision ${revision}`;
  }
  if (damage.length === 0) {
    if (storage.compactedRevision !== store.compactedRevision) return `compacted at ${storage.compactedRevision}`;
    if (JSON.stringify(history) !== JSON.stringify(store.history)) return 'another history';
  } else if (storage.compactedRevision <= (store.history.at(-1)?.revision ?? 0)) {
    return 'watches go on over damage';
  }
  return undefined;
}

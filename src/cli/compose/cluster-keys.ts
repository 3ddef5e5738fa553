import { mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { writeDurableFile } from '../../base/durable-file.ts';
import type { Log } from '../../base/log.ts';
import { StatusError } from '../../machinery/status-error.ts';
import type { StoreRecord, StoreRecords } from '../../storage/etcd/records.ts';
import { type OpenedBundle, openBundle, resealBundle, sealBundle, withoutHandover } from '../sealed-bundle.ts';
import { readShared, sharedFiles } from '../shared-files.ts';

/** Texts of shared files, by their path in a data directory. */
export type KeyFiles = Readonly<Record<string, string>>;

/** The keys in a store, opened. */
export interface OpenedKeys extends OpenedBundle {
  readonly record: StoreRecord;
}

/** The keys of a cluster while its servers run. */
export interface ClusterKeys {
  /** Grows with each change, and is the same on servers with the same keys. 0: no other server has them. */
  readonly revision: number;
  readonly files: KeyFiles;
  /**
   * Replaces them in one write of the store or the data directory. `change` is called again with newer files when another server was
   * first. Resolves when this server works with the result.
   */
  change(change: (files: KeyFiles) => KeyFiles | Promise<KeyFiles>): Promise<void>;
  /** Calls `listener` after each change, also of other servers; the files are written then. */
  onChanged(listener: () => Promise<void>): void;
  /** The secret that seals them in the store; absent: they lie in the data directory alone. */
  readonly seal: KeySeal | undefined;
  stop(): Promise<void>;
}

export interface KeySeal {
  /** RFC 3339; undefined: it was never replaced. */
  readonly rotatedAt: string | undefined;
  /** True while the former secret still opens the keys. */
  readonly hasOverlap: boolean;
  /** Seals the keys by another secret in one write. The former one opens them, too, until `endOverlap`. */
  rotate(secret: string, at: string): Promise<void>;
  endOverlap(): Promise<void>;
}

/** Servers that write at the same moment; each try but the last means that another one has written. */
const maxTries = 5;

export interface StoredKeysOptions {
  readonly records: StoreRecords;
  readonly prefix: string;
  readonly opened: OpenedKeys;
  /** Makes the files of the data directory those of the keys, and notes the secret there. */
  adopt(opened: OpenedKeys): Promise<void>;
  readonly log: Log;
}

/** Follows the keys in a store that servers share. A change that cannot be opened leaves this server with those of before. */
export async function followStoredKeys({ records, prefix, opened, adopt, log }: StoredKeysOptions): Promise<ClusterKeys> {
  let state = opened;
  let turn: Promise<void> = Promise.resolve();
  const listeners: (() => Promise<void>)[] = [];
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const result = turn.then(work);
    turn = result.then(
      () => undefined,
      () => undefined,
    );
    return result;
  };

  async function take(next: OpenedKeys): Promise<void> {
    if (next.record.revision <= state.record.revision) return;
    await adopt(next);
    state = next;
    for (const listener of listeners) await listener();
  }

  async function open(record: StoreRecord): Promise<void> {
    if (record.revision <= state.record.revision) return;
    await take({ record, ...(await openBundle(record.text, { secret: state.secret, prefix })) });
  }

  /** Writes what `textOf` makes of the newest record, which nobody changes meanwhile. */
  function replace(next: () => Promise<Omit<OpenedKeys, 'record'> & { readonly text: string }>): Promise<void> {
    return inTurn(async () => {
      for (let tries = 1; tries <= maxTries; tries += 1) {
        const { text, ...made } = await next();
        const record = await records.update('bootstrap', text, state.record.revision);
        if (record !== undefined) {
          await take({ record, ...made });
          return;
        }
        const newest = await records.get('bootstrap');
        if (newest === undefined) break;
        await open(newest);
      }
      const message = 'other servers change the keys at the same time, please try again';
      throw new StatusError({ code: 409, reason: 'Conflict', message });
    });
  }

  const stopWatch = records.watch('bootstrap', (record) => {
    inTurn(() => open(record)).catch((err: unknown) => log.error({ err }, 'Could not take changed keys of the cluster'));
  });
  // A change between the first look and the watch.
  const newest = await records.get('bootstrap');
  if (newest !== undefined) await inTurn(() => open(newest));

  return {
    get revision() {
      return state.record.revision;
    },
    get files() {
      return state.bundle.files;
    },
    change: (change) =>
      replace(async () => {
        const { secret, rotatedAt } = state;
        const bundle = { ...state.bundle, files: await change(state.bundle.files) };
        return { bundle, secret, rotatedAt, text: await resealBundle(state.record.text, bundle, { secret, prefix }) };
      }),
    onChanged: (listener) => void listeners.push(listener),
    seal: {
      get rotatedAt() {
        return state.rotatedAt;
      },
      get hasOverlap() {
        return withoutHandover(state.record.text) !== state.record.text;
      },
      rotate: (secret, at) =>
        replace(async () => {
          const { bundle, secret: former } = state;
          return { bundle, secret, rotatedAt: at, text: await sealBundle(bundle, { secret, prefix, rotation: { former, at } }) };
        }),
      async endOverlap() {
        if (!this.hasOverlap) return;
        await replace(async () => {
          const { bundle, secret, rotatedAt } = state;
          return { bundle, secret, rotatedAt, text: withoutHandover(state.record.text) };
        });
      },
    },
    async stop() {
      stopWatch();
      await turn;
    },
  };
}

/** The keys in the data directory of the only server of a cluster. */
export async function openDirectoryKeys(dataDirectory: string): Promise<ClusterKeys> {
  let files: KeyFiles = await readShared(dataDirectory);
  const listeners: (() => Promise<void>)[] = [];
  return {
    revision: 0,
    get files() {
      return files;
    },
    async change(change) {
      const next = await change(files);
      await writeShared(dataDirectory, { present: files, wanted: next });
      files = next;
      for (const listener of listeners) await listener();
    },
    onChanged: (listener) => void listeners.push(listener),
    seal: undefined,
    stop: async () => undefined,
  };
}

/** Writes what differs. */
export async function writeShared(
  dataDirectory: string,
  { present, wanted }: { readonly present: KeyFiles; readonly wanted: KeyFiles },
): Promise<void> {
  for (const path of sharedFiles) {
    const text = wanted[path];
    const target = join(dataDirectory, path);
    if (text === present[path]) continue;
    if (text === undefined) {
      await rm(target, { force: true });
      continue;
    }
    await mkdir(dirname(target), { recursive: true, mode: 0o700 });
    await writeDurableFile(target, text);
  }
}

import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readBoundedFile } from '../../base/bounded-file.ts';
import { type Clock, systemClock } from '../../base/clock.ts';
import { writeDurableFile } from '../../base/durable-file.ts';
import type { Log } from '../../base/log.ts';
import type { Metrics } from '../../base/metrics.ts';
import { authorityFiles } from '../../base/pki/authority.ts';
import { tryReadText } from '../../base/pki/key-pair.ts';
import type { StoreRecords } from '../../storage/etcd/records.ts';
import type { SqliteStorage } from '../../storage/sqlite/storage.ts';
import type { Storage, StoredEntry } from '../../storage/storage.ts';
import type { StoreSnapshot } from '../backup-snapshot.ts';
import { type Configuration, type EtcdSettings, filesOf } from '../configuration.ts';
import { Failure } from '../failure.ts';

/** The store of a cluster, and a way to copy it into a file. */
export interface OpenStore extends Storage {
  /** Absent: no other server has the store. */
  readonly shared?: SharedStore;
  /** All objects of one revision, while writes go on. `stage` is a directory for copies, which are there as long as the pages are read. */
  snapshot(stage: string): Promise<StoreSnapshot>;
}

/** A store that several servers may have. */
export interface SharedStore {
  readonly records: StoreRecords;
  /** The name of this server in it. */
  readonly serverId: string;
}

export interface OpenStoreOptions {
  readonly configuration: Pick<Configuration, 'dataDirectory' | 'store'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

const maxCredentialBytes = 1024 * 1024;
/** Objects of one page, usually a few KiB each. */
const pageEntries = 500;

/** Opens SQLite in the data directory, or the etcd of the configuration. */
export async function openStore({ configuration, clock, log, metrics }: OpenStoreOptions): Promise<OpenStore> {
  const { dataDirectory, store } = configuration;
  const files = filesOf(dataDirectory);
  refuseOtherStore(configuration);
  if (store === undefined) {
    const { openSqliteStorage } = await import('../../storage/sqlite/storage.ts');
    const storage = await openSqliteStorage({ path: files.database, clock, metrics });
    return Object.assign(storage, { snapshot: (stage: string) => snapshotOf(storage, stage) });
  }
  const { openEtcdStorage } = await import('../../storage/etcd/storage.ts');
  const known = await tryServerId(files.serverId);
  const serverId = known ?? newServerId();
  const storage = await openEtcdStorage({
    endpoints: store.address.endpoints,
    prefix: store.address.prefix,
    ...(await credentialsOf(store)),
    serverId,
    clock,
    log: log.child({ component: 'etcd' }),
    metrics,
  });
  // A refusal of etcd leaves the data directory as it was.
  if (known === undefined) await keepServerId(files.serverId, serverId);
  return Object.assign(storage, {
    shared: { records: storage.records, serverId },
    async snapshot(): Promise<StoreSnapshot> {
      const { revision, pages } = await storage.readAll();
      const text = (await storage.records.get('bootstrap'))?.text;
      return { revision, pages, ...(text === undefined ? {} : { bundle: { prefix: store.address.prefix, text } }) };
    },
  });
}

/** Objects in pages of a copy of the database: nothing else gives one moment of it without holding up writes. */
export async function snapshotOf(storage: SqliteStorage, stage: string): Promise<StoreSnapshot> {
  const { currentRevision: revision } = storage;
  const path = join(stage, 'copy.db');
  await storage.backup(path);
  async function* pages(): AsyncGenerator<readonly StoredEntry[]> {
    const { openSqliteStorage } = await import('../../storage/sqlite/storage.ts');
    const copy = await openSqliteStorage({ path, clock: systemClock });
    try {
      for (let after: string | undefined; ; ) {
        const { entries, more } = await copy.range({ prefix: '', limit: pageEntries, ...(after === undefined ? {} : { after }) });
        yield entries;
        after = entries.at(-1)?.key;
        if (!more || after === undefined) return;
      }
    } finally {
      await copy.close();
    }
  }
  return { revision, pages: pages() };
}

/** The objects of a data directory stay where they are: the other store would be empty, and what runs would be taken for foreign. */
function refuseOtherStore({ dataDirectory, store }: OpenStoreOptions['configuration']): void {
  const { database, serverId, pki } = filesOf(dataDirectory);
  const isEmbedded = existsSync(database);
  if (store !== undefined && isEmbedded) {
    throw new Failure(`${dataDirectory} has its objects in SQLite`, {
      why: '--store names an etcd, and what is there would be another cluster.',
      fix: `Move the objects first: midship migrate --from ${dataDirectory} --to etcd://HOST:2379, or start it without --store.`,
    });
  }
  // A server that was refused the keys has a name in the store, and nothing else.
  if (store === undefined && !isEmbedded && existsSync(serverId) && existsSync(join(pki, authorityFiles.certificate))) {
    throw new Failure(`${dataDirectory} has its objects in etcd`, {
      why: 'The start names no --store, and would begin an empty cluster with the same keys.',
      fix: `Give the --store of before, or move the objects: midship migrate --from etcd://HOST:2379 --to ${dataDirectory}`,
    });
  }
}

/** Contents of the files that open etcd. */
export async function credentialsOf({ tls, login }: EtcdSettings) {
  const read = async (file: string | undefined): Promise<string | undefined> =>
    file === undefined ? undefined : (await readBoundedFile(file, maxCredentialBytes)).toString('utf8');
  return {
    tls: tls === undefined ? undefined : { ca: await read(tls.ca), certificate: await read(tls.certificate), key: await read(tls.key) },
    login: login === undefined ? undefined : { user: login.user, password: ((await read(login.passwordFile)) ?? '').trim() },
  };
}

/** The name of this data directory in the store; made at the first start. */
export async function serverIdIn(file: string): Promise<string> {
  return (await tryServerId(file)) ?? keepServerId(file, newServerId());
}

const tryServerId = async (file: string): Promise<string | undefined> => (await tryReadText(file))?.trim();

const newServerId = (): string => randomBytes(8).toString('hex');

async function keepServerId(file: string, serverId: string): Promise<string> {
  await writeDurableFile(file, `${serverId}\n`);
  return serverId;
}

import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { readBoundedFile } from '../../base/bounded-file.ts';
import type { Clock } from '../../base/clock.ts';
import { writeDurableFile } from '../../base/durable-file.ts';
import type { Log } from '../../base/log.ts';
import type { Metrics } from '../../base/metrics.ts';
import { notImplemented } from '../../machinery/status-error.ts';
import type { StoreRecords } from '../../storage/etcd/storage.ts';
import { openSqliteStorage } from '../../storage/sqlite/storage.ts';
import type { Storage } from '../../storage/storage.ts';
import { type Configuration, type EtcdSettings, filesOf } from '../configuration.ts';
import { Failure } from '../failure.ts';

/** The store of a cluster, and a way to copy it into a file. */
export interface OpenStore extends Storage {
  /** Absent: no other server has the store. */
  readonly shared?: SharedStore;
  /** @throws StatusError 501 for a store in etcd */
  backup(path: string): Promise<void>;
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

/** Opens SQLite in the data directory, or the etcd of the configuration. */
export async function openStore({ configuration, clock, log, metrics }: OpenStoreOptions): Promise<OpenStore> {
  const { dataDirectory, store } = configuration;
  const files = filesOf(dataDirectory);
  refuseOtherStore(configuration);
  if (store === undefined) return openSqliteStorage({ path: files.database, clock, metrics });
  const { openEtcdStorage } = await import('../../storage/etcd/storage.ts');
  const serverId = await serverIdIn(files.serverId);
  const storage = await openEtcdStorage({
    endpoints: store.address.endpoints,
    prefix: store.address.prefix,
    ...(await credentialsOf(store)),
    serverId,
    clock,
    log: log.child({ component: 'etcd' }),
  });
  return Object.assign(storage, {
    shared: { records: storage.records, serverId },
    async backup() {
      throw notImplemented('a backup of a store in etcd; "etcdctl snapshot save" makes one, and the keys are in the data directory');
    },
  });
}

/** The objects of a data directory stay where they are: the other store would be empty, and what runs would be taken for foreign. */
function refuseOtherStore({ dataDirectory, store }: OpenStoreOptions['configuration']): void {
  const { database, serverId } = filesOf(dataDirectory);
  const isEmbedded = existsSync(database);
  if (store !== undefined && isEmbedded) {
    throw new Failure(`${dataDirectory} has its objects in SQLite`, {
      why: '--store names an etcd, and moving objects between stores is not supported yet.',
      fix: 'Start it without --store, or take another --data-dir.',
    });
  }
  if (store === undefined && !isEmbedded && existsSync(serverId)) {
    throw new Failure(`${dataDirectory} has its objects in etcd`, {
      why: 'The start names no --store, and moving objects between stores is not supported yet.',
      fix: 'Give the --store of before, or take another --data-dir.',
    });
  }
}

async function credentialsOf({ tls, login }: EtcdSettings) {
  const read = async (file: string | undefined): Promise<string | undefined> =>
    file === undefined ? undefined : (await readBoundedFile(file, maxCredentialBytes)).toString('utf8');
  return {
    tls: tls === undefined ? undefined : { ca: await read(tls.ca), certificate: await read(tls.certificate), key: await read(tls.key) },
    login: login === undefined ? undefined : { user: login.user, password: ((await read(login.passwordFile)) ?? '').trim() },
  };
}

/** The name of this data directory in the store; made at the first start. */
async function serverIdIn(file: string): Promise<string> {
  const known = await readFile(file, 'utf8').catch((err: NodeJS.ErrnoException) => {
    if (err.code === 'ENOENT') return undefined;
    throw err;
  });
  if (known !== undefined) return known.trim();
  const made = randomBytes(8).toString('hex');
  await writeDurableFile(file, `${made}\n`);
  return made;
}

import { existsSync } from 'node:fs';
import { builtInKinds } from '../../api/kinds.ts';
import { resourcePrefixOf } from '../../apiserver/registry/keys.ts';
import { systemClock } from '../../base/clock.ts';
import { describeDamage } from '../../storage/damage-report.ts';
import { type SalvageReport, salvageStore } from '../../storage/sqlite/salvage.ts';
import { openSqliteStorage } from '../../storage/sqlite/storage.ts';
import { StorageError } from '../../storage/storage-error.ts';
import type { StoppedBackup } from '../backup.ts';
import { openSnapshot } from '../backup-snapshot.ts';
import { filesOf } from '../configuration.ts';
import { claimStopped } from '../data-directory.ts';
import { explainStartFailure } from '../explain.ts';
import { Failure } from '../failure.ts';
import type { StoppedStore } from '../repair.ts';
import { snapshotOf } from './store.ts';

/** A backup of a cluster that does not run, and cannot be started until it is closed. */
export async function openStoppedBackup(options: { readonly dataDirectory: string; readonly version: string }): Promise<StoppedBackup> {
  const { dataDirectory, version } = options;
  const release = await claimStopped(dataDirectory);
  try {
    refuseObjectsInEtcd(dataDirectory);
    const storage = await openSqliteStorage({ path: filesOf(dataDirectory).database, clock: systemClock });
    try {
      const [damage] = storage.damage;
      if (damage !== undefined && damage.type !== 'restored') {
        throw new Failure(`the store of ${dataDirectory} is damaged`, {
          why: describeDamage(damage).message,
          fix: 'Start the cluster once, so that Git is applied again, then back it up. "midship restore" puts an earlier backup in place.',
        });
      }
      const signal = new AbortController().signal;
      const store = { snapshot: (stage: string) => snapshotOf(storage, stage) };
      return { stream: await openSnapshot({ dataDirectory, store, version, now: systemClock.now(), signal }), close: release };
    } finally {
      await storage.close();
    }
  } catch (err) {
    await release();
    throw await explainStartFailure(err, { apiPort: 0, httpPort: 0, dataDirectory });
  }
}

function refuseObjectsInEtcd(dataDirectory: string): void {
  const { database, serverId } = filesOf(dataDirectory);
  if (existsSync(database) || !existsSync(serverId)) return;
  throw new Failure(`the objects of ${dataDirectory} are in etcd`, {
    why: 'This server does not run, and only one that runs reads them.',
    fix: 'Start it, or make the backup on another server of the cluster.',
  });
}

/** The store of a cluster that does not run, and cannot be started until it is closed. */
export async function openStoppedStore(dataDirectory: string): Promise<StoppedStore> {
  const { database: path } = filesOf(dataDirectory);
  if (!existsSync(path)) {
    throw new Failure(`${dataDirectory} is not a data directory of Midship`, { why: `There is no ${path}.`, fix: 'Check --data-dir.' });
  }
  // The store is the lock of the directory: `network.json` may be what is damaged.
  const storage = await openSqliteStorage({ path, clock: systemClock }).catch(async (err: unknown) => {
    throw await explainStartFailure(err, { apiPort: 0, httpPort: 0, dataDirectory });
  });
  return {
    revision: storage.currentRevision,
    damage: storage.damage.map((damage) => describeDamage(damage).message),
    kinds: builtInKinds.map((kind) => ({ prefix: resourcePrefixOf(kind), kind })),
    range: (options) => storage.range(options),
    get: (key) => storage.get(key),
    delete: async (entry) => (await storage.delete(entry.key, entry.revision)).ok,
    close: () => storage.close(),
  };
}

/** Only where a start refuses the store as damaged: a start itself sets aside rows that are. */
export async function salvageStoppedStore(dataDirectory: string): Promise<SalvageReport> {
  const { database: path } = filesOf(dataDirectory);
  try {
    await (await openStoppedStore(dataDirectory)).close();
  } catch (err) {
    if (!(err instanceof Failure && err.cause instanceof StorageError && err.cause.isDamage)) throw err;
    return salvageStore(path).catch(async (reason: unknown) => {
      throw await explainStartFailure(reason, { apiPort: 0, httpPort: 0, dataDirectory });
    });
  }
  throw new Failure(`${path} can be read`, {
    why: 'There is nothing to salvage: single rows that are damaged are set aside by a start.',
    fix: `Start it: midship up --data-dir ${dataDirectory}`,
    exitCode: 1,
  });
}

import { stat } from 'node:fs/promises';
import { type Clock, systemClock } from '../../base/clock.ts';
import type { Metrics } from '../../base/metrics.ts';
import { openLogStorage } from '../log/storage.ts';
import type { Storage } from '../storage.ts';
import { openSqliteDriver } from './driver.ts';

export interface SqliteStorageOptions {
  /** The database file; created when absent. Its directory must exist. */
  readonly path: string;
  readonly clock?: Clock;
  readonly metrics?: Metrics;
}

export interface SqliteStorage extends Storage {
  /**
   * Writes a consistent copy of the store to a new file, synced, without free pages and without a log beside it. Commits wait meanwhile.
   *
   * @throws StorageError when the file exists or cannot be written; nothing is left of it then
   */
  backup(path: string): Promise<void>;
}

/**
 * The embedded store: an acknowledged write is on disk. One process a file, which is locked while it is open.
 *
 * @throws StorageError when the file is in use, damaged, or of a newer version
 */
export async function openSqliteStorage({ path, clock = systemClock, metrics }: SqliteStorageOptions): Promise<SqliteStorage> {
  const driver = await openSqliteDriver({ path, clock });
  metrics?.gauge({
    name: 'apiserver_storage_size_bytes',
    help: 'Size of the database file with its log.',
    labelNames: ['storage_cluster_id'],
    async collect() {
      const [data, log] = await Promise.all([sizeOf(path), sizeOf(`${path}-wal`)]);
      this.set({ storage_cluster_id: 'sqlite' }, data + log);
    },
  });
  metrics?.gauge({
    name: 'store_wal_size_bytes',
    help: 'Size of the write-ahead log of the database, which checkpoints empty.',
    async collect() {
      this.set(await sizeOf(`${path}-wal`));
    },
  });
  try {
    const storage = await openLogStorage({ driver, clock, metrics });
    return Object.assign(storage, { backup: (target: string) => storage.inLane(() => driver.backup(target)) });
  } catch (err) {
    await driver.close();
    throw err;
  }
}

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size;
  } catch {
    // There is no log file before the first write.
    return 0;
  }
}

import { systemClock } from '../../base/clock.ts';
import { GrpcError } from '../../base/grpc.ts';
import type { StoredEntry } from '../storage.ts';
import { StorageError } from '../storage-error.ts';
import { createEtcdClient, type EtcdClientOptions } from './client.ts';
import { createOnce } from './create-once.ts';
import { createStoreKeys } from './keys.ts';
import { checkMembers, formatText, openFailure } from './open.ts';
import { isFull } from './writes.ts';

export interface EtcdFillOptions extends Omit<EtcdClientOptions, 'clock'> {
  readonly prefix: string;
  /** The revisions of the store begin above it. */
  readonly above: number;
}

/** Fills an empty prefix of etcd. No server starts on it before `finish`, and what breaks off stays refused. */
export interface EtcdFill {
  put(entries: readonly Pick<StoredEntry, 'key' | 'text'>[]): Promise<void>;
  /** Writes the record `bootstrap`, and the format as the last key. */
  finish(bootstrap: string): Promise<void>;
  close(): void;
}

/** Transactions under way; more gain little, and each holds an object. */
const parallel = 64;
const maxTries = 8;

/** @throws StorageError when etcd is away, or when the prefix is in use */
export async function startEtcdFill(options: EtcdFillOptions): Promise<EtcdFill> {
  const { prefix, above } = options;
  const client = createEtcdClient({ ...options, clock: systemClock });
  const keys = createStoreKeys(prefix);
  try {
    await checkMembers(client);
    const { entries } = await client.range({ key: keys.first, rangeEnd: keys.end, limit: 1 });
    // The key decides between two that fill at once: it is made by one of them.
    if (entries.length > 0 || !(await createOnce(client, { key: keys.offset, text: String(above), maxTries })).succeeded)
      throw inUse(options);
  } catch (err) {
    client.close();
    throw openFailure(err, options);
  }
  let newest = 0;

  /** A fill that breaks off leaves keys behind, and the next try refuses them. */
  const broken = (err: unknown): unknown => {
    if (!(err instanceof GrpcError)) return err;
    const { message, why } = isFull(err)
      ? { message: 'etcd has no space left', why: 'Its database is at its quota (--quota-backend-bytes).' }
      : openFailure(err, options);
    return new StorageError(message, {
      ...(why === undefined ? {} : { why }),
      hint: `Repair that (etcdctl endpoint status --cluster), run etcdctl del --prefix ${prefix}/, then run this again.`,
      cause: err,
    });
  };

  async function write(key: string, text: string): Promise<void> {
    const { succeeded, found, revision } = await createOnce(client, { key, text, maxTries });
    if (!succeeded && found?.text !== text) throw inUse(options);
    newest = Math.max(newest, succeeded ? revision : (found?.modRevision ?? 0));
  }

  return {
    async put(entries) {
      for (let at = 0; at < entries.length; at += parallel) {
        await Promise.all(entries.slice(at, at + parallel).map(({ key, text }) => write(keys.of(key), text))).catch((err: unknown) => {
          throw broken(err);
        });
      }
    },
    async finish(bootstrap) {
      try {
        await write(keys.record('bootstrap'), bootstrap);
        // Nobody resumes a watch from before.
        await write(keys.compaction, String(newest + above));
        await write(keys.format, formatText);
      } catch (err) {
        throw broken(err);
      }
    },
    close: () => client.close(),
  };
}

const inUse = ({ prefix }: EtcdFillOptions): StorageError =>
  new StorageError(`the prefix ${prefix} in etcd is not empty`, {
    why: 'It holds a cluster, or filling it from a backup or another store broke off.',
    hint: `Name another one (--store etcd://HOST/PREFIX). If nothing in it is needed: etcdctl del --prefix ${prefix}/`,
  });

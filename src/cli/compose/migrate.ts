import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../base/clock.ts';
import { makeDurableDirectory, syncDirectory } from '../../base/durable-file.ts';
import { createLog } from '../../base/log.ts';
import { createMetrics } from '../../base/metrics.ts';
import { type EtcdSettings, filesOf } from '../configuration.ts';
import { claimKeptNetwork, claimStopped } from '../data-directory.ts';
import { explainStoreFailure } from '../explain.ts';
import { type ExitCode, Failure } from '../failure.ts';
import type { StoreFill } from '../restore.ts';
import { readServerToken, type ServerToken } from '../server-token.ts';
import { type OpenStore, openStore, serverIdIn } from './store.ts';
import { startStoreFill } from './store-fill.ts';

export interface MigrateOptions {
  readonly dataDirectory: string;
  readonly store: EtcdSettings;
  /** The place of the store, as it was typed. */
  readonly address: string;
  /** `etcd`: the objects go there from the data directory; `sqlite`: they come back. */
  readonly to: 'etcd' | 'sqlite';
  /** Undefined: that of the data directory, or a new one. */
  readonly token: ServerToken | undefined;
  readonly output: NodeJS.WritableStream;
}

/** A server that runs renews leases several times in it. */
const quietMs = 5_000;

/** Moves the objects of a stopped cluster between SQLite in a data directory and etcd. Revisions go on, so that clients resume. */
export async function migrate(options: MigrateOptions): Promise<ExitCode> {
  try {
    return await (options.to === 'etcd' ? toEtcd(options) : toSqlite(options));
  } catch (err) {
    throw explainStoreFailure(err, options.dataDirectory);
  }
}

async function toEtcd(options: MigrateOptions): Promise<ExitCode> {
  const { dataDirectory, store, token, address, output } = options;
  const { database, serverId } = filesOf(dataDirectory);
  if (!existsSync(database)) {
    throw new Failure(`${dataDirectory} has no objects in SQLite`, {
      why: `There is no ${database}.`,
      fix: 'Name the data directory of the cluster: --from DIR.',
    });
  }
  const release = await claimStopped(dataDirectory);
  try {
    const source = await openStore({ configuration: { dataDirectory, store: undefined }, ...quiet() });
    const objects = await copy(source, dataDirectory, (revision) =>
      startStoreFill({ dataDirectory, revision, isCopy: false, bundle: undefined, store, token }),
    ).finally(() => source.close());
    await serverIdIn(serverId);
    // The old store stays, under a name that no start opens.
    await rename(database, `${database}.migrated`);
    for (const suffix of ['state.revision', 'state.reserve']) await rm(join(dataDirectory, suffix), { force: true });
    await syncDirectory(dataDirectory);
    output.write(`moved ${objects} objects to ${address}; the database is kept as ${database}.migrated\n`);
    output.write(`Start it with: midship server --store ${address} --data-dir ${dataDirectory}\n`);
    return 0;
  } finally {
    await release();
  }
}

async function toSqlite(options: MigrateOptions): Promise<ExitCode> {
  const { dataDirectory, store, address, output } = options;
  const { database, serverId, serverToken } = filesOf(dataDirectory);
  if (existsSync(database) || (!existsSync(serverId) && (await readdir(dataDirectory).catch(() => [])).length > 0)) {
    throw new Failure(`${dataDirectory} cannot take the objects`, {
      why: 'It has objects of its own, or is none of a server on etcd. Nothing was changed.',
      fix: 'Name the data directory of a server of the cluster, or a new one: --to DIR.',
    });
  }
  await makeDurableDirectory(dataDirectory);
  const claim = await claimKeptNetwork(dataDirectory);
  const stage = await mkdtemp(join(dataDirectory, 'migrate-'));
  try {
    const token = options.token ?? (existsSync(serverToken) ? readServerToken(serverToken) : undefined);
    const source = await openStore({ configuration: { dataDirectory: stage, store }, ...quiet() });
    const objects = await copy(source, stage, async (revision, bundle) => {
      const fill = await startStoreFill({ dataDirectory: stage, revision, isCopy: false, bundle, store: undefined, token });
      return fill;
    }).finally(() => source.close());
    const made = filesOf(stage);
    for (const name of await readdir(made.pki, { recursive: true, withFileTypes: true })) {
      if (!name.isFile()) continue;
      const path = join(name.parentPath, name.name);
      const target = join(dataDirectory, path.slice(stage.length + 1));
      await makeDurableDirectory(join(target, '..'));
      await rename(path, target);
    }
    if (existsSync(made.token)) await rename(made.token, filesOf(dataDirectory).token);
    await rename(join(stage, 'state.revision'), join(dataDirectory, 'state.revision'));
    await rename(made.database, database);
    for (const path of [serverId, serverToken]) await rm(path, { force: true });
    await syncDirectory(dataDirectory);
    output.write(`moved ${objects} objects from ${address} to ${dataDirectory}; those in etcd stay until you remove them\n`);
    output.write(`Start it with: midship server --data-dir ${dataDirectory}\n`);
    output.write(`Then: etcdctl del --prefix ${store.address.prefix}/\n`);
    return 0;
  } finally {
    await rm(stage, { recursive: true, force: true });
    await claim?.release();
  }
}

type Bundle = Parameters<typeof startStoreFill>[0]['bundle'];

/** Copies all objects, and opens the new store when nobody has written to the old one meanwhile. */
async function copy(
  source: OpenStore,
  stage: string,
  startFill: (revision: number, bundle: Bundle) => Promise<StoreFill>,
): Promise<number> {
  const begun = performance.now();
  const { revision, pages, bundle } = await source.snapshot(stage);
  const fill = await startFill(revision, bundle);
  try {
    let objects = 0;
    for await (const page of pages) {
      await fill.put(page);
      objects += page.length;
    }
    if (source.shared !== undefined) await refuseWrites(source, { after: revision, untilMs: begun + quietMs });
    await fill.finish();
    return objects;
  } finally {
    await fill.close();
    await rm(join(stage, 'copy.db'), { force: true });
  }
}

/** @throws Failure when a server writes; other prefixes of the same etcd do not count */
async function refuseWrites(source: OpenStore, { after, untilMs }: { readonly after: number; readonly untilMs: number }): Promise<void> {
  const watching = new AbortController();
  let isWritten = false;
  let broken: Error | undefined;
  let seen: () => void = () => undefined;
  const over = new Promise<void>((resolve) => {
    seen = resolve;
  });
  await source.watch({
    prefix: '',
    afterRevision: after,
    signal: watching.signal,
    onEvents: () => {
      isWritten = true;
      seen();
    },
    onEnd: (err) => {
      broken = err;
      seen();
    },
  });
  const cancel = systemClock.after(Math.max(1_000, untilMs - performance.now()), () => seen());
  await over;
  cancel();
  watching.abort();
  if (broken !== undefined) throw broken;
  if (!isWritten) return;
  throw new Failure('a server of the cluster still writes to etcd', {
    why: 'Its writes after the copy would be lost. Nothing was changed.',
    fix: 'Stop all servers of the cluster, and run this again.',
  });
}

function quiet() {
  return { clock: systemClock, log: createLog({ level: 'silent' }), metrics: createMetrics() };
}

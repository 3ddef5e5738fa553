import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { authorityHashOf } from '../../api/join-token-secrets.ts';
import { annotations } from '../../api/well-known.ts';
import { systemClock, timestampOf } from '../../base/clock.ts';
import { writeDurableFile } from '../../base/durable-file.ts';
import { startSqliteFill } from '../../storage/sqlite/fill.ts';
import { type EtcdSettings, filesOf } from '../configuration.ts';
import { Failure } from '../failure.ts';
import type { StoredObject } from '../repair.ts';
import type { FillOptions, StoreFill } from '../restore.ts';
import { type Bundle, sealBundle } from '../sealed-bundle.ts';
import { formatServerToken, type ServerToken } from '../server-token.ts';
import { authoritiesIn, readShared } from '../shared-files.ts';
import { openSharedKeys } from './shared-keys.ts';
import { credentialsOf } from './store.ts';

/** As far above the revisions of a backup begin those of what is restored: writes after the backup were seen by clients. */
const revisionJump = 1_000_000_000;

/** Begins a new store: SQLite in the data directory, or an empty prefix of etcd. */
export function startStoreFill(
  options: FillOptions & { readonly store: EtcdSettings | undefined; readonly token: ServerToken | undefined },
): Promise<StoreFill> {
  const { store } = options;
  return store === undefined ? fillSqlite(options) : fillEtcd({ ...options, store });
}

interface Keys {
  readonly token: ServerToken | undefined;
}

async function fillSqlite({ dataDirectory, revision, isCopy, bundle, token }: FillOptions & Keys): Promise<StoreFill> {
  if (bundle !== undefined) {
    const { files } = (await openSharedKeys(bundle.text, token ?? missingToken(), bundle.prefix)).bundle;
    for (const [path, text] of Object.entries(files)) {
      await mkdir(dirname(join(dataDirectory, path)), { recursive: true, mode: 0o700 });
      await writeDurableFile(join(dataDirectory, path), text);
    }
  }
  const fill = await startSqliteFill({ path: filesOf(dataDirectory).database, revision, isCopy });
  return fill;
}

async function fillEtcd(options: FillOptions & Keys & { readonly store: EtcdSettings }): Promise<StoreFill> {
  const { dataDirectory, revision, isCopy, store } = options;
  const { prefix } = store.address;
  const keys = await keysOf(options);
  const { startEtcdFill } = await import('../../storage/etcd/fill.ts');
  const above = revision + (isCopy ? revisionJump : 0);
  const credentials = await credentialsOf(store);
  const { serverToken } = filesOf(dataDirectory);
  const isNew = keys.token !== undefined && !existsSync(serverToken);
  // The last file: a disk that is full refuses it before a key is in etcd.
  if (keys.token !== undefined) await writeDurableFile(serverToken, `${keys.token}\n`);
  const removeToken = async (): Promise<void> => {
    if (isNew) await rm(serverToken, { force: true });
  };
  const fill = await startEtcdFill({ endpoints: store.address.endpoints, prefix, above, ...credentials }).catch(async (err: unknown) => {
    await removeToken();
    throw err;
  });
  let networkBackend = 'vxlan';
  let isComplete = false;
  return {
    async put(entries) {
      networkBackend = entries.map(backendIn).find((found) => found !== undefined) ?? networkBackend;
      await fill.put(entries);
    },
    async finish() {
      await fill.finish(await keys.seal(networkBackend));
      isComplete = true;
    },
    async close() {
      fill.close();
      if (!isComplete) await removeToken();
    },
  };
}

interface SealedKeys {
  /** For the file `server-token`; undefined: whoever has it has it still. */
  readonly token: string | undefined;
  seal(networkBackend: string): Promise<string>;
}

/** The record of the keys: as in the backup, or sealed for the new prefix. */
async function keysOf(options: FillOptions & Keys & { readonly store: EtcdSettings }): Promise<SealedKeys> {
  const { dataDirectory, bundle, token, store } = options;
  const { prefix } = store.address;
  if (bundle !== undefined && bundle.prefix === prefix && token === undefined) return { token: undefined, seal: async () => bundle.text };
  if (bundle !== undefined) {
    const opened = await openSharedKeys(bundle.text, token ?? missingToken(), bundle.prefix);
    return sealed(opened.bundle, opened, prefix);
  }
  const secret = token?.secret ?? randomBytes(32).toString('base64url');
  const network = await rangesIn(dataDirectory);
  const files = await readShared(dataDirectory);
  const createdAt = timestampOf(systemClock.now());
  const own = { authorityHash: undefined, secret };
  const made = (networkBackend: string): Bundle => ({ createdAt, network: { ...network, networkBackend }, files });
  const { token: text } = sealed(made(''), own, prefix);
  return { token: text, seal: (networkBackend) => sealed(made(networkBackend), own, prefix).seal(networkBackend) };
}

function sealed(bundle: Bundle, { secret }: Pick<ServerToken, 'secret'>, prefix: string): SealedKeys {
  return {
    token: formatServerToken(authorityHashOf(authoritiesIn(bundle)[0] ?? ''), secret),
    seal: () => sealBundle(bundle, { secret, prefix }),
  };
}

const missingToken = (): never => {
  throw new Failure('missing flag: --token-file', {
    why: 'The keys of the cluster are encrypted by the token of its servers.',
    fix: 'Name a copy of the file server-token of a server of that cluster: --token-file FILE',
  });
};

/** The ranges of a server; its Services and pods have addresses in them. */
async function rangesIn(dataDirectory: string): Promise<{ readonly clusterCidr: string; readonly serviceCidr: string }> {
  const path = filesOf(dataDirectory).network;
  const { kind, clusterCidr, serviceCidr } = JSON.parse(existsSync(path) ? await readFile(path, 'utf8') : '{}') as Partial<
    Record<string, string>
  >;
  if (kind === 'machines' && clusterCidr !== undefined && serviceCidr !== undefined) return { clusterCidr, serviceCidr };
  throw new Failure('the cluster is not one of "midship server"', {
    why: 'Its Services and pods have addresses of one machine alone, and servers on etcd are for several. Nothing was changed.',
    fix: 'Start "midship server" with an empty store, and push the repository there.',
  });
}

/** The way of packets between machines, which the range of Services names. */
function backendIn({ key, text }: StoredObject): string | undefined {
  if (key !== 'networking.k8s.io/servicecidrs/kubernetes') return undefined;
  const { metadata } = JSON.parse(text) as { readonly metadata?: { readonly annotations?: Readonly<Record<string, string>> } };
  return metadata?.annotations?.[annotations.networkBackend];
}

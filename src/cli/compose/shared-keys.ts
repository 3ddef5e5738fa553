import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { authorityHashOf } from '../../api/join-token-secrets.ts';
import { ensureEncryptionConfiguration } from '../../apiserver/encryption/configuration.ts';
import type { Clock } from '../../base/clock.ts';
import { writeDurableFile } from '../../base/durable-file.ts';
import type { Log } from '../../base/log.ts';
import { authorityFiles, certificatesIn } from '../../base/pki/authority.ts';
import { tryReadText } from '../../base/pki/key-pair.ts';
import { openPki } from '../../base/pki.ts';
import type { StoreRecords } from '../../storage/etcd/records.ts';
import type { Storage } from '../../storage/storage.ts';
import { authoritiesOf, filesOf, type MachinesSettings } from '../configuration.ts';
import { ensureToken } from '../data-directory.ts';
import { Failure } from '../failure.ts';
import {
  type Bundle,
  BundleError,
  type DerivedKey,
  deriveKey,
  type OpenedBundle,
  openBundle,
  type SealingKey,
  saltOf,
  sealBundle,
} from '../sealed-bundle.ts';
import { formatServerToken, type ServerToken, tryParseServerToken } from '../server-token.ts';
import { authoritiesIn, authorityPath, newKeysPrefix, readShared } from '../shared-files.ts';
import { type ClusterKeys, followStoredKeys, type OpenedKeys, writeShared } from './cluster-keys.ts';

export interface SharedKeysOptions {
  readonly dataDirectory: string;
  readonly storage: Pick<Storage, 'range'>;
  readonly records: StoreRecords;
  /** Place of the store in etcd. */
  readonly prefix: string;
  readonly machines: Pick<MachinesSettings, 'clusterCidr' | 'serviceCidr' | 'networkBackend'>;
  /** Undefined: that of the data directory, or a new one. */
  readonly token: ServerToken | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Brings the keys of the cluster into the data directory. The first server makes them and puts them into the store, encrypted by its
 * token. Later ones read them with the same token. The store decides between servers that start at the same moment, and no file of the
 * data directory is written before that.
 *
 * @throws Failure for a wrong token, for keys of another cluster, and for other ranges of addresses than the cluster has
 */
export async function shareKeys(options: SharedKeysOptions): Promise<ClusterKeys> {
  const { derived, ...opened } = await openOrMake(options);
  await adopt(options, opened);
  if (derived !== undefined) await keepDerived(options.dataDirectory, derived);
  const { records, prefix, log } = options;
  return followStoredKeys({ records, prefix, opened, adopt: (next) => adopt(options, next), log });
}

/** The keys in the store; made when there are none. `derived` is the key that opened them, which the next start is spared to make. */
async function openOrMake(options: SharedKeysOptions): Promise<OpenedKeys & { readonly derived: DerivedKey | undefined }> {
  const { dataDirectory, records, prefix } = options;
  const { serverToken: tokenPath } = filesOf(dataDirectory);
  const kept = tryParseServerToken((await tryReadText(tokenPath)) ?? '');
  const token = options.token ?? kept;
  const stored = (await records.get('bootstrap')) ?? (await refuseObjectsWithoutKeys(options));
  if (stored === undefined) {
    const { secret } = token ?? { secret: randomBytes(32).toString('base64url') };
    // Both take 0.2 s of a processor, on threads of their own.
    const [made, derived] = await Promise.all([makeBundle(options), deriveKey(secret)]);
    const record = await records.create('bootstrap', await sealBundle(made, { secret, prefix, derived }));
    const opened = await openSharedKeys(record.text, { authorityHash: token?.authorityHash, secret, derived }, prefix);
    return { record, derived: derived.salt === saltOf(record.text) ? derived : undefined, ...opened };
  }
  if (token === undefined) {
    throw new Failure('missing flag: --token-file', {
      why: `The store at ${prefix} has a cluster already, and its keys open with the token of its servers.`,
      fix: `Copy the file server-token of the data directory of another server, and name the copy: --token-file FILE`,
    });
  }
  // The kept key was made of the secret beside it; another secret has to be tried.
  const known = token.secret === kept?.secret ? await readDerived(dataDirectory) : undefined;
  const salt = saltOf(stored.text);
  const derived = salt === undefined ? undefined : known?.salt === salt ? known : await deriveKey(token.secret, salt);
  const opened = await openSharedKeys(stored.text, { ...token, derived }, prefix);
  return { record: stored, derived: opened.secret === token.secret ? derived : undefined, ...opened };
}

async function readDerived(dataDirectory: string): Promise<DerivedKey | undefined> {
  const [salt = '', key = ''] = (await tryReadText(filesOf(dataDirectory).derivedKey))?.split('\n') ?? [];
  return key === '' ? undefined : { salt, key };
}

async function keepDerived(dataDirectory: string, { salt, key }: DerivedKey): Promise<void> {
  if ((await readDerived(dataDirectory))?.salt !== salt) await writeDurableFile(filesOf(dataDirectory).derivedKey, `${salt}\n${key}\n`);
}

/** An earlier version kept the keys in the data directory of its one server. New ones could not read what is there. */
async function refuseObjectsWithoutKeys({ dataDirectory, storage, records, prefix }: SharedKeysOptions) {
  if ((await tryReadText(join(dataDirectory, 'pki', authorityFiles.key))) !== undefined) return undefined;
  const { entries } = await storage.range({ prefix: '', limit: 1 });
  const found = await records.get('bootstrap');
  if (found !== undefined || entries.length === 0) return found;
  throw new Failure(`the store at ${prefix} has objects, and no keys of a cluster`, {
    why: 'The server that wrote them has the keys in its data directory; with others, Secrets could not be read.',
    fix: 'Start that data directory once with this version, which shares the keys, or name another prefix: --store etcd://HOST/PREFIX',
  });
}

/** The keys of the data directory; where it has none, new ones, which are written nowhere yet. */
async function makeBundle({ dataDirectory, machines, clock }: SharedKeysOptions): Promise<Bundle> {
  const isOwn = (await tryReadText(join(dataDirectory, 'pki', authorityFiles.key))) !== undefined;
  const directory = isOwn ? dataDirectory : await mkdtemp(join(dataDirectory, newKeysPrefix));
  try {
    const { cluster, frontProxy } = authoritiesOf(directory);
    const pki = await openPki({ ...cluster, clock });
    await pki.signingKey();
    await openPki({ ...frontProxy, clock });
    const { encryption, token } = filesOf(directory);
    await ensureEncryptionConfiguration(encryption);
    await ensureToken(token);
    const { clusterCidr, serviceCidr, networkBackend } = machines;
    return {
      createdAt: new Date(clock.now()).toISOString(),
      network: { clusterCidr, serviceCidr, networkBackend },
      files: await readShared(directory),
    };
  } finally {
    if (!isOwn) await rm(directory, { recursive: true });
  }
}

/** Opens the keys in a store, or in a backup of it. @throws Failure for a wrong token, and for keys of another cluster */
export async function openSharedKeys(
  text: string,
  { authorityHash, secret, derived }: ServerToken & Pick<SealingKey, 'derived'>,
  prefix: string,
): Promise<OpenedBundle> {
  const opened = await openBundle(text, { secret, prefix, derived }).catch((cause: unknown) => {
    if (!(cause instanceof BundleError)) throw cause;
    throw explain(cause, prefix);
  });
  const isOfCluster = authorityHash === undefined || authoritiesIn(opened.bundle).some((pem) => authorityHashOf(pem) === authorityHash);
  if (isOfCluster) return opened;
  throw new Failure('the token is that of another cluster', {
    why: `It names an authority that the cluster in the store at ${prefix} does not have.`,
    fix: 'Take the file server-token of a server of this cluster, or name the store of the other one with --store.',
  });
}

const explain = (cause: BundleError, prefix: string): Failure =>
  cause.reason === 'format'
    ? new Failure('a later version of Midship wrote the keys in the store', {
        why: `This version cannot read them: ${cause.message}.`,
        fix: 'Start the version of the other servers, or a later one.',
        cause,
      })
    : cause.reason === 'secret'
      ? new Failure('the token does not open the keys in the store', {
          why:
            cause.rotatedAt === undefined
              ? `Another token encrypted them, or the store at ${prefix} is that of another cluster.`
              : `The token was rotated at ${cause.rotatedAt}, and this is not the new one.`,
          fix: 'Take the file server-token of a server that runs on this store, and name it with --token-file.',
          cause,
        })
      : new Failure(`the keys in the store at ${prefix} are damaged`, {
          why: `Their record cannot be read: ${cause.message}.`,
          fix: 'Restore etcd from a snapshot; a server that runs goes on with the copies in its data directory.',
          cause,
        });

/** Makes the files of the data directory copies of the bundle. Nothing is written when they belong to another cluster. */
async function adopt({ dataDirectory, prefix, machines }: SharedKeysOptions, { bundle, secret }: OpenedKeys): Promise<void> {
  refuseOtherRanges(machines, bundle.network);
  const present = await readShared(dataDirectory);
  const [authority] = certificatesIn(present[authorityPath] ?? '');
  if (authority !== undefined && !authoritiesIn(bundle).includes(authority)) {
    throw new Failure(`${dataDirectory} has the keys of another cluster`, {
      why: `Its authority is none of the cluster in the store at ${prefix}. Nothing was changed.`,
      fix: 'Take another --data-dir, or name the store of that cluster with --store.',
    });
  }
  await writeShared(dataDirectory, { present, wanted: bundle.files });
  const hash = authorityHashOf(authoritiesIn(bundle)[0] ?? '');
  await writeDurableFile(filesOf(dataDirectory).serverToken, `${formatServerToken(hash, secret)}\n`);
}

function refuseOtherRanges(wanted: SharedKeysOptions['machines'], cluster: Bundle['network']): void {
  for (const [flag, before, now] of [
    ['--cluster-cidr', cluster.clusterCidr, wanted.clusterCidr],
    ['--service-cidr', cluster.serviceCidr, wanted.serviceCidr],
    ['--network-backend', cluster.networkBackend, wanted.networkBackend],
  ] as const) {
    if (before === now) continue;
    throw new Failure(`${flag} cannot be ${now} on this server`, {
      why: `The cluster in the store began with ${before}, and its servers have to agree.`,
      fix: `Start it with ${flag} ${before}.`,
    });
  }
}

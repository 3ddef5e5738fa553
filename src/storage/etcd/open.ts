import { GrpcError, grpcCodes } from '../../base/grpc.ts';
import { networkErrorText } from '../../base/network-error.ts';
import { isOlder } from '../../base/version-order.ts';
import { StorageError } from '../storage-error.ts';
import { type EtcdClient, type EtcdEndpoint, isOfCertificates } from './client.ts';
import type { StoreKeys } from './keys.ts';
import type { KeyValue } from './messages.ts';

/** etcd before it may say in a progress answer that nothing is missing while something is. (etcd-io/etcd#15220) */
const oldestVersion = '3.5.8';
/** Version of how values and keys lie in etcd. */
const formatVersion = 1;

/** The place of a store, for messages. */
interface Place {
  readonly endpoints: readonly EtcdEndpoint[];
  readonly prefix: string;
}

/** Says for the operator why the store cannot be opened. */
export function openFailure(err: GrpcError, place: Place): StorageError;
export function openFailure(err: unknown, place: Place): unknown;
export function openFailure(err: unknown, { endpoints, prefix }: Place): unknown {
  if (!(err instanceof GrpcError)) return err;
  const where = endpoints.map(({ host, port }) => `${host}:${port}`).join(',');
  if (err.code === grpcCodes.permissionDenied) {
    return new StorageError(`etcd at ${where} refuses the prefix ${prefix}`, {
      why: `The user may not read and write it: ${err.message}.`,
      hint: `Give the user the right to read and write it: etcdctl role grant-permission ROLE readwrite --prefix=true ${prefix}/`,
      cause: err,
    });
  }
  if (err.code === grpcCodes.invalidArgument || err.code === grpcCodes.unauthenticated) {
    return new StorageError(`etcd at ${where} refuses the login`, {
      why: `It says: ${err.message}.`,
      hint: 'Check --store-user and --store-password-file.',
      cause: err,
    });
  }
  if (isOfCertificates(err)) {
    return new StorageError(`etcd at ${where} and this server do not trust each other`, {
      why: `One of them refuses the certificate of the other: ${reasonOf(err)}.`,
      hint: 'Check --store-ca against the certificate of etcd, and --store-cert and --store-key against its --trusted-ca-file.',
      cause: err,
    });
  }
  return new StorageError(`etcd at ${where} does not answer`, {
    why: `The last try ended with: ${reasonOf(err)}.`,
    hint: 'Check that etcd runs there and has a quorum: etcdctl endpoint status --cluster. With TLS it needs --store-ca.',
    cause: err,
  });
}

/** The error of the connection as Go's library names it, or what etcd said. */
function reasonOf({ message, cause }: GrpcError): string {
  if (!(cause instanceof Error)) return message;
  // A stream that waited for the connection names it as its cause.
  return networkErrorText(cause.cause instanceof Error ? cause.cause : cause);
}

/** @throws StorageError for an etcd that loses changes of watches, and for members of several clusters */
export async function checkMembers(client: EtcdClient): Promise<void> {
  const [{ version }, members] = await Promise.all([client.status(), client.members()]);
  if (isOlder(version, oldestVersion)) {
    throw new StorageError(`etcd ${version} is too old`, {
      why: `Before ${oldestVersion} it loses changes of watches (etcd-io/etcd#15220).`,
      hint: `Upgrade etcd to ${oldestVersion} or later.`,
    });
  }
  // A member that is away does not say.
  const known = members.filter(({ clusterId }) => clusterId !== undefined);
  const other = known.find(({ clusterId }) => clusterId !== known[0]?.clusterId);
  if (known[0] !== undefined && other !== undefined) {
    const [one, two] = [known[0], other].map(({ endpoint: { host, port } }) => `${host}:${port}`);
    throw new StorageError(`etcd at ${one} and at ${two} are of different clusters`, {
      why: 'The objects of one are not in the other, so each change of the member would give other objects.',
      hint: 'Name members of one cluster in --store. `etcdctl member list` shows them.',
    });
  }
}

/** Says how a store is written that begins now. */
export const formatText = JSON.stringify({ written: formatVersion, oldestReader: formatVersion });

/** Notes the format in a new store. @throws StorageError for one that a later version wrote, and for one that was filled by half */
export async function checkFormat(client: EtcdClient, keys: StoreKeys): Promise<void> {
  const found = await formatIn(client, keys);
  if (found === undefined) return;
  const { oldestReader } = JSON.parse(found.text) as { readonly oldestReader: number };
  if (oldestReader > formatVersion) {
    throw new StorageError(`the store in etcd is of format ${oldestReader}, which this version cannot read`, {
      why: `A later version of Midship wrote it; this one reads formats up to ${formatVersion}.`,
      hint: 'Start the version of Midship that wrote it, or a later one.',
    });
  }
}

async function formatIn(client: EtcdClient, keys: StoreKeys): Promise<KeyValue | undefined> {
  const read = async (): Promise<KeyValue | undefined> => (await client.range({ key: keys.format })).entries[0];
  const first = await read();
  if (first !== undefined) return first;
  const { entries } = await client.range({ key: keys.first, rangeEnd: keys.end, limit: 1 });
  // Another server may have begun the store meanwhile.
  if (entries.length > 0) {
    const second = await read();
    if (second !== undefined) return second;
    throw new StorageError('the store in etcd is incomplete', {
      why: 'Filling it from a backup or another store broke off, or goes on.',
      hint: `Wait for it, or remove what is there and fill it again: etcdctl del --prefix ${keys.first}`,
    });
  }
  const { found } = await client.txn({
    compare: [{ key: keys.format, revision: 0 }],
    success: { put: { key: keys.format, text: formatText } },
    read: keys.format,
  });
  return found;
}

/** The number that a store filled from another one adds to the revisions of etcd. */
export async function offsetIn(client: EtcdClient, keys: StoreKeys): Promise<number> {
  const [entry] = (await client.range({ key: keys.offset })).entries;
  return entry === undefined ? 0 : Number(entry.text);
}

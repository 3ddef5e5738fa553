import { createHash } from 'node:crypto';
import { type Lease, leases } from '../api/coordination/v1/lease.ts';
import { annotations } from '../api/well-known.ts';
import { type Clock, microTimestampOf } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { Log } from '../base/log.ts';
import type { Client } from '../client/client.ts';
import type { KeyDigests } from './encryption/configuration.ts';
import { ensure } from './ensure.ts';
import { addServer, identityLabel, removeServers, type ServerAddress } from './server-endpoints.ts';

export interface IdentityLeaseOptions {
  /** A local client of `apiServerUser`. */
  readonly client: Client;
  readonly hostname: string;
  /** Changes with each start, so that the lease differs between two starts on one host. */
  readonly uid: string;
  /** Absent: this is the only server. */
  readonly shared?: SharedIdentity;
  readonly clock: Clock;
  readonly log: Log;
}

/** A server among several on one store: the others read in its Lease where it is, and that it lives. */
export interface SharedIdentity extends ServerAddress {
  /** No other server of the cluster has it, also on the same machine. */
  readonly serverId: string;
  readonly version: string;
  /** The address of the page, once it is known. */
  pageUrl(): string | undefined;
  /** Pushes that its Git remote took since the start: other servers then copy the repository. */
  pushes(): number;
  keys(): ServerKeys;
}

/** The keys that a server works with. */
export interface ServerKeys {
  /** Revision of the record of keys in the store. */
  readonly revision: number;
  /** Digests of the configuration of encryption; `identity` for values that are kept as they are. */
  readonly encryption: KeyDigests;
}

export interface IdentityLease extends Component {
  /** Writes what has changed before it is time to. */
  renew(): Promise<void>;
}

/** Upstream's; others take the lease for expired afterwards. */
const durationSeconds = 3_600;
/** Upstream renews every 10 s. Each renewal is a write of the store, and this often keeps the lease valid through several failures. */
const renewEveryMs = 10 * 60_000;
/** The times of one server among several: one that was killed is to leave the endpoints soon. */
const shared = { durationSeconds: 15, renewEveryMs: 5_000 } as const;

/**
 * Keeps the Lease `kube-system/apiserver-HASH` by which clients see how many API servers there are, one for each host.
 * A server among several is an endpoint of the Service `kubernetes`, too, from its start to its stop.
 *
 * @see Kubernetes documentation, "Leases", API server identity
 */
export function createIdentityLease({ client, hostname, uid, shared: own, clock, log }: IdentityLeaseOptions): IdentityLease {
  const name = leaseNameOf(own === undefined ? hostname : `${hostname}/${own.serverId}`);
  const labels = { [identityLabel]: 'kube-apiserver', 'kubernetes.io/hostname': hostname };
  const times = own === undefined ? { durationSeconds, renewEveryMs } : shared;
  let cancel: () => void = () => undefined;
  let renewing: Promise<void> = Promise.resolve();
  let isStopped = false;

  async function renew(): Promise<void> {
    const spec = {
      holderIdentity: `${name}_${uid}`,
      leaseDurationSeconds: times.durationSeconds,
      renewTime: microTimestampOf(clock.now()),
    };
    const places = own === undefined ? undefined : annotationsOf(own);
    try {
      await ensure<Lease>(client, leases, {
        object: {
          apiVersion: 'coordination.k8s.io/v1',
          kind: 'Lease',
          metadata: { namespace: 'kube-system', name, labels, ...(places === undefined ? {} : { annotations: places }) },
          spec,
        },
        change: ({ metadata, ...stored }) => ({
          ...stored,
          metadata: {
            ...metadata,
            labels: { ...metadata.labels, ...labels },
            ...(places === undefined ? {} : { annotations: { ...metadata.annotations, ...places } }),
          },
          spec,
        }),
      });
      // Another server may have taken this one for gone while it was halted.
      if (own !== undefined && !isStopped) await addServer(client, own);
    } catch (err) {
      log.warn({ err, lease: `kube-system/${name}` }, 'Could not renew lease of identity');
    }
    if (!isStopped) cancel = clock.after(times.renewEveryMs, next);
  }

  function next(): void {
    cancel();
    renewing = renewing.then(renew);
  }

  return {
    name: 'identity-lease',
    async start() {
      next();
      await renewing;
    },
    async renew() {
      next();
      await renewing;
    },
    async stop() {
      const isSecond = isStopped;
      isStopped = true;
      cancel();
      await renewing;
      if (own === undefined || isSecond) return;
      try {
        await removeServers(client, ({ address, port }) => address === own.address && port === own.port);
        await client.delete(leases, { namespace: 'kube-system', name });
      } catch (err) {
        // The store may be away; another server removes this one when its Lease does not change.
        log.warn({ err, lease: `kube-system/${name}` }, 'Could not leave endpoints of servers');
      }
    },
  };
}

function annotationsOf({ address, port, serverId, version, pageUrl, pushes, keys }: SharedIdentity): Readonly<Record<string, string>> {
  const page = pageUrl();
  const { revision, encryption } = keys();
  return {
    [annotations.serverAddress]: address,
    [annotations.serverPort]: String(port),
    [annotations.serverId]: serverId,
    [annotations.serverVersion]: version,
    [annotations.serverKeysRevision]: String(revision),
    [annotations.serverEncryptionKeys]: formatDigests(encryption),
    ...(page === undefined ? {} : { [annotations.serverPage]: page, [annotations.serverPushes]: String(pushes()) }),
  };
}

/** `writes=DIGEST,…;reads=DIGEST,…` */
const formatDigests = ({ writes, reads }: KeyDigests): string => `writes=${writes.join(',')};reads=${reads.join(',')}`;

function parseDigests(text: string): KeyDigests {
  const [, writes = '', reads = ''] = /^writes=([^;]*);reads=([^;]*)$/.exec(text) ?? [];
  const listOf = (part: string): readonly string[] => part.split(',').filter((digest) => digest !== '');
  return { writes: listOf(writes), reads: listOf(reads) };
}

/** A server among several, as its Lease has it. */
export interface KnownServer {
  readonly serverId: string;
  readonly hostname: string;
  readonly version: string;
  readonly keys: ServerKeys;
  /** Changes with each renewal. */
  readonly renewTime: string;
  readonly leaseDurationSeconds: number;
}

/** The servers that have a Lease, those that stopped hard included. */
export function knownServersIn(found: readonly Lease[]): readonly KnownServer[] {
  return found.flatMap(({ metadata, spec }) => {
    const { annotations: notes = {}, labels = {} } = metadata;
    const serverId = notes[annotations.serverId];
    if (serverId === undefined) return [];
    return [
      {
        serverId,
        hostname: labels['kubernetes.io/hostname'] ?? metadata.name,
        version: notes[annotations.serverVersion] ?? '',
        keys: {
          revision: Number(notes[annotations.serverKeysRevision] ?? 0),
          encryption: parseDigests(notes[annotations.serverEncryptionKeys] ?? ''),
        },
        renewTime: spec?.renewTime ?? '',
        leaseDurationSeconds: spec?.leaseDurationSeconds ?? shared.durationSeconds,
      },
    ];
  });
}

const base32 = 'abcdefghijklmnopqrstuvwxyz234567';

/** `apiserver-` and the first half of the host name's SHA-256 in base32, as upstream. */
export function leaseNameOf(hostname: string): string {
  let text = '';
  let bits = 0;
  let value = 0;
  for (const byte of createHash('sha256').update(hostname).digest().subarray(0, 16)) {
    value = (value << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      text += base32[(value >>> (bits - 5)) & 31];
      bits -= 5;
      value &= (1 << bits) - 1;
    }
  }
  if (bits > 0) text += base32[(value << (5 - bits)) & 31];
  return `apiserver-${text}`;
}

import { createHash } from 'node:crypto';
import { type Lease, leases } from '../api/coordination/v1/lease.ts';
import { type Clock, microTimestampOf } from '../base/clock.ts';
import type { Component } from '../base/component.ts';
import type { Log } from '../base/log.ts';
import type { Client } from '../client/client.ts';
import { ensure } from './bootstrap.ts';

export interface IdentityLeaseOptions {
  /** A local client of `apiServerUser`. */
  readonly client: Client;
  readonly hostname: string;
  /** Changes with each start, so that the lease differs between two starts on one host. */
  readonly uid: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Upstream's; others take the lease for expired afterwards. */
const durationSeconds = 3_600;
/** Upstream renews every 10 s. Each renewal is a write of the store, and this often keeps the lease valid through several failures. */
const renewEveryMs = 10 * 60_000;

/**
 * Keeps the Lease `kube-system/apiserver-HASH` by which clients see how many API servers there are, one for each host.
 *
 * @see Kubernetes documentation, "Leases", API server identity
 */
export function createIdentityLease({ client, hostname, uid, clock, log }: IdentityLeaseOptions): Component {
  const name = leaseNameOf(hostname);
  const labels = { 'apiserver.kubernetes.io/identity': 'kube-apiserver', 'kubernetes.io/hostname': hostname };
  let cancel: () => void = () => undefined;
  let isStopped = false;

  async function renew(): Promise<void> {
    const spec = { holderIdentity: `${name}_${uid}`, leaseDurationSeconds: durationSeconds, renewTime: microTimestampOf(clock.now()) };
    try {
      await ensure<Lease>(client, leases, {
        object: { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { namespace: 'kube-system', name, labels }, spec },
        change: (stored) => ({ ...stored, metadata: { ...stored.metadata, labels: { ...stored.metadata.labels, ...labels } }, spec }),
      });
    } catch (err) {
      log.warn({ err, lease: `kube-system/${name}` }, 'Could not renew lease of identity');
    }
    if (!isStopped) cancel = clock.after(renewEveryMs, () => void renew());
  }

  return {
    name: 'identity-lease',
    start: () => renew(),
    async stop() {
      isStopped = true;
      cancel();
    },
  };
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

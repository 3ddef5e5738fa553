import { type Lease, leases } from '../api/coordination/v1/lease.ts';
import { annotations } from '../api/well-known.ts';
import type { Clock } from '../base/clock.ts';
import type { GitOpsOverview } from '../base/contracts/overview.ts';
import { isLoopback } from '../base/loopback.ts';
import type { InformerSet } from '../client/informer.ts';
import { deepEqual } from '../machinery/object.ts';

/** The election of the server, among several on one store, that GitOps runs on. */
export interface GitOpsElection {
  readonly lease: { readonly namespace: string; readonly name: string };
  /** `HOST_UID` of this server; the identity Lease of a server ends with the same UID. */
  readonly identity: string;
}

export interface GitOpsLeaderSource {
  read(): GitOpsOverview;
  /** Calls back when `read` may give something else. Returns a function that ends it. */
  onChange(listener: () => void): () => void;
}

const none: GitOpsOverview = { leader: '', here: false, page: '' };

/**
 * Follows which server leads GitOps. A record that does not change for the time of the Lease has no leader any more. This server's clock
 * measures that time, as candidates do.
 */
export function followGitOpsLeader(informers: InformerSet, { lease, identity }: GitOpsElection, clock: Clock): GitOpsLeaderSource {
  const known = informers.get(leases);
  let record: Lease | undefined;
  let seenAtMs = 0;
  const isRecord = ({ metadata }: Lease): boolean => metadata.name === lease.name && metadata.namespace === lease.namespace;
  known.addHandler(({ before, after }: LeaseChange) => {
    if (!isRecord((after ?? before) as Lease)) return;
    if (!deepEqual(record?.spec, after?.spec)) seenAtMs = clock.monotonicMs();
    record = after;
  });

  /** Milliseconds until the record as it is has no leader. */
  const leftMs = (): number => seenAtMs + (record?.spec?.leaseDurationSeconds ?? 0) * 1_000 - clock.monotonicMs();

  function read(): GitOpsOverview {
    const holder = record?.spec?.holderIdentity ?? '';
    if (holder === '' || leftMs() <= 0) return none;
    const { host, uid } = partsOf(holder);
    const own = [...known.list({ namespace: 'kube-system' })].find(
      ({ metadata, spec }) => metadata.annotations?.[annotations.serverId] !== undefined && partsOf(spec?.holderIdentity ?? '').uid === uid,
    );
    const page = own?.metadata.annotations?.[annotations.serverPage] ?? '';
    return { leader: host, here: holder === identity, page: isReachable(page, host === partsOf(identity).host) ? page : '' };
  }

  return {
    read,
    onChange(listener) {
      let shown = read();
      let cancel: () => void = () => undefined;
      const look = (): void => {
        cancel();
        const left = leftMs();
        if (left > 0) cancel = clock.after(left, look);
        const next = read();
        // Leases are renewed every few seconds, and pages are not made again for that.
        if (deepEqual(shown, next)) return;
        shown = next;
        listener();
      };
      const remove = known.addHandler(({ before, after }: LeaseChange) => {
        const changed = (after ?? before) as Lease;
        if (isRecord(changed) || changed.metadata.namespace === 'kube-system') look();
      });
      look();
      return () => {
        remove();
        cancel();
      };
    },
  };
}

interface LeaseChange {
  readonly before?: Lease;
  readonly after?: Lease;
}

/** The parts of `HOST_UID`. */
function partsOf(identity: string): { readonly host: string; readonly uid: string } {
  const at = identity.lastIndexOf('_');
  return { host: identity.slice(0, Math.max(0, at)), uid: identity.slice(at + 1) };
}

/** A browser can be sent to it: a web address, and of loopback only one of the same machine. */
function isReachable(page: string, isSameHost: boolean): boolean {
  if (!URL.canParse(page)) return false;
  const { protocol, hostname } = new URL(page);
  if (protocol !== 'http:' && protocol !== 'https:') return false;
  return isSameHost || !isLoopback(hostname.replace(/^\[|\]$/g, ''));
}

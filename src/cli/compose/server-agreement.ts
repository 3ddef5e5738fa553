import { leases } from '../../api/coordination/v1/lease.ts';
import type { KeyDigests } from '../../apiserver/encryption/configuration.ts';
import { type KnownServer, knownServersIn } from '../../apiserver/identity-lease.ts';
import { identityLabel } from '../../apiserver/server-endpoints.ts';
import { type Clock, sleep } from '../../base/clock.ts';
import type { Client } from '../../client/client.ts';
import { Failure } from '../failure.ts';

export interface Agreement {
  readonly client: Client;
  readonly clock: Clock;
  /** Says of a server why it does not agree yet; undefined when it does. */
  refusalOf(server: KnownServer): string | undefined;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** A server that does not agree. */
export interface Disagreement {
  readonly server: KnownServer;
  readonly refusal: string;
}

const lookEveryMs = 200;

/**
 * Waits until all servers of the cluster agree. A server has stopped, and is left out, when its Lease does not change for as long as it
 * lasts. Clocks of machines differ, so written times are not compared.
 *
 * @returns those that do not agree at the end of the time
 */
export async function awaitServers({ client, clock, refusalOf, timeoutMs, signal }: Agreement): Promise<readonly Disagreement[]> {
  const began = clock.monotonicMs();
  const seen = new Map<string, { readonly renewTime: string; readonly at: number }>();
  for (;;) {
    const servers = await serversOf(client);
    const now = clock.monotonicMs();
    const against = servers.flatMap((server): readonly Disagreement[] => {
      const known = seen.get(server.serverId);
      if (known === undefined || known.renewTime !== server.renewTime) seen.set(server.serverId, { renewTime: server.renewTime, at: now });
      const hasStopped = known !== undefined && now - known.at >= server.leaseDurationSeconds * 1_000;
      const refusal = hasStopped ? undefined : refusalOf(server);
      return refusal === undefined ? [] : [{ server, refusal }];
    });
    if (against.length === 0 || now - began >= timeoutMs) return against;
    await sleep(clock, lookEveryMs, signal);
  }
}

export const serversOf = async (client: Client): Promise<readonly KnownServer[]> =>
  knownServersIn((await client.list(leases, { namespace: 'kube-system', labelSelector: `${identityLabel}=kube-apiserver` })).items);

/** Longer than a Lease of a server that was killed. */
const startTimeoutMs = 17_000;

/**
 * Compares the keys of the store's encryption with those of the servers that run, before this one writes anything.
 *
 * @throws Failure when one could not read what the other writes
 */
export async function checkEncryptionKeys(
  options: Pick<Agreement, 'client' | 'clock' | 'signal'> & { readonly own: KeyDigests; readonly serverId: string },
): Promise<void> {
  const { own, serverId } = options;
  const [first] = await awaitServers({
    ...options,
    timeoutMs: startTimeoutMs,
    refusalOf: (server) => (server.serverId === serverId ? undefined : missingKey(own, server.keys.encryption)),
  });
  if (first === undefined) return;
  throw new Failure(`the encryption configuration does not fit that of server ${first.server.hostname}`, {
    why: `${first.refusal} Secrets would be lost to one of them.`,
    fix: 'Give every server the new key behind the others first, restart each, then put it in front (docs/how-to/rotate-keys.md).',
  });
}

/** A server of an earlier version says nothing of its keys, and has those of the cluster. */
export function missingKey(own: KeyDigests, other: KeyDigests): string | undefined {
  if (other.reads.length === 0) return undefined;
  const ours = own.writes.find((digest) => !other.reads.includes(digest));
  if (ours !== undefined) return `It lacks the key (${ours}) with which this one writes.`;
  const theirs = other.writes.find((digest) => !own.reads.includes(digest));
  return theirs === undefined ? undefined : `It writes with a key (${theirs}) that this one lacks.`;
}

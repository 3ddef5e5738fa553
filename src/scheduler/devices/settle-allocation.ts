import { claimFinalizer, type ResourceClaim, resourceClaims } from '../../api/resource/v1/resource-claim.ts';
import { type Clock, sleep } from '../../base/clock.ts';
import type { Client } from '../../client/client.ts';
import { isConflict, isNotFound } from '../../machinery/status-error.ts';

/** With `maxDelayMs` that is some 75 s. No server works on a request for longer than a minute. */
const maxTries = 10;
const maxDelayMs = 10_000;

export interface SettleOptions {
  readonly client: Client;
  readonly clock: Clock;
  /** The claim as it was when the write without an answer was sent. */
  readonly claim: ResourceClaim;
  /** False: somebody else took over, and the outcome is theirs. */
  readonly isWanted: () => boolean;
  /** Aborted: the scheduler stops. */
  readonly signal: AbortSignal;
}

/**
 * Finds out whether an allocation was stored whose write got no answer. An unallocated claim loses the scheduler's finalizer. A write
 * that is still on its way then meets a newer version and is refused, so the outcome does not change any more.
 *
 * @returns `allocated`, `free`, or `unknown` after the last try, when another took over, or at the end of the scheduler
 */
export async function settleAllocation(options: SettleOptions): Promise<'allocated' | 'free' | 'unknown'> {
  const { client, clock, claim, isWanted, signal } = options;
  const { namespace, name, uid } = claim.metadata;
  for (let attempt = 0; attempt < maxTries && isWanted() && !signal.aborted; attempt += 1) {
    try {
      const newest = await client.get(resourceClaims, { namespace, name }, { signal });
      if (newest.metadata.uid !== uid) return 'free';
      if ((newest.status?.allocation ?? undefined) !== undefined) return 'allocated';
      if (!isWanted()) break;
      const finalizers = (newest.metadata.finalizers ?? []).filter((one) => one !== claimFinalizer);
      await client.update(resourceClaims, { ...newest, metadata: { ...newest.metadata, finalizers } }, { signal });
      return isWanted() ? 'free' : 'unknown';
    } catch (err) {
      if (isNotFound(err)) return 'free';
      // Somebody wrote in between, perhaps that very write: the next look shows it.
      // An aborted wait ends the loop by its condition.
      if (!isConflict(err)) await sleep(clock, Math.min(maxDelayMs, 1_000 * 2 ** attempt), signal).catch(() => undefined);
    }
  }
  return 'unknown';
}

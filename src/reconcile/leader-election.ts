import { setMaxListeners } from 'node:events';
import { type Lease, leases } from '../api/coordination/v1/lease.ts';
import { type Clock, microTimestampOf, sleep } from '../base/clock.ts';
import { untilAborted } from '../base/concurrency.ts';
import { invariant } from '../base/invariant.ts';
import { jitterFactor, type LeaderElectionTiming } from '../base/leader-election-timing.ts';
import type { Log } from '../base/log.ts';
import type { Metrics } from '../base/metrics.ts';
import type { Client } from '../client/client.ts';
import { withDeadline } from '../client/deadline-client.ts';
import { guardedClient } from '../client/guarded-client.ts';
import { deepEqual } from '../machinery/object.ts';
import { isAlreadyExists, isConflict, isNotFound, isStatusError } from '../machinery/status-error.ts';

/**
 * Elects one leader among several processes that could do the same work, by a Lease, as client-go does. Processes of
 * both kinds can compete for the same Lease.
 *
 * Times in the record are for people. A candidate measures by its own clock how long the record has not changed, so
 * clocks may differ by any amount. Their speeds may not: two processes lead at once when one clock is faster than the
 * other by `leaseDurationMs / renewDeadlineMs`. The same happens when a leader's process is halted between its last
 * look at the clock and a write.
 *
 * @see client-go, tools/leaderelection
 */
export interface LeaderElector {
  /**
   * Waits until this process leads. It may lead again once an earlier leadership has ended.
   *
   * @throws StatusError when the first try is refused, so that a missing right shows at once. Later failures are logged
   * and tried again
   * @throws the signal's reason
   */
  acquire(options: { readonly signal: AbortSignal }): Promise<Leadership>;
}

/** The time from becoming leader to losing or leaving the Lease. */
export interface Leadership {
  /** Aborted with `LeadershipLost` when this process leads no more: nothing may be written from then on. */
  readonly signal: AbortSignal;
  /**
   * For the last moment before a write: a timer that is late does not count here.
   *
   * @throws LeadershipLost
   */
  check(): void;
  /** Lets the next one lead without waiting for the Lease to end. Call it when the work is over; it never fails. */
  release(): Promise<void>;
}

/** Another process leads, or may do so by now. */
export class LeadershipLost extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'LeadershipLost';
  }
}

export interface LeaderElectionOptions {
  /** Not one that `guardByLeadership` made: the Lease is renewed and released with it. */
  readonly client: Client;
  /** The Lease; its namespace has to be there. */
  readonly lease: { readonly namespace: string; readonly name: string };
  /** `HOST_UUID`: no two processes may have the same one, not even one after the other. */
  readonly identity: string;
  readonly timing?: LeaderElectionTiming;
  readonly metrics: LeaderElectionMetrics;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: () => number;
  /** Called while waiting, for each holder that is seen. */
  onStandby?(holder: string): void;
  /** The Lease as a cache sees it change; the elector then waits for its end and does not ask. Absent: it asks at each try. */
  readonly followed?: FollowedLease;
}

export interface FollowedLease {
  /** Calls the listener with the record, undefined once it was deleted. Gives the function that ends it. */
  onChange(listener: (lease: Lease | undefined) => void): () => void;
  /** A pause before a Lease that nobody holds is taken: a process that leads much lets others come first. */
  pauseMs(): number;
}

/** Those of kube-controller-manager and controller-runtime. */
const defaultTiming: LeaderElectionTiming = { leaseDurationMs: 15_000, renewDeadlineMs: 10_000, retryPeriodMs: 2_000 };

/** Metrics of the electors of one registry; all electors that report there share them. */
export interface LeaderElectionMetrics {
  setLeading(name: string, isLeading: boolean): void;
  /** A renewal had to read the record first. */
  countSlowPath(name: string): void;
}

export function createLeaderElectionMetrics(metrics: Metrics): LeaderElectionMetrics {
  const status = metrics.gauge({
    name: 'leader_election_master_status',
    help: '1 while this process is the leader by the Lease of that name, 0 while it waits.',
    labelNames: ['name'],
  });
  const slow = metrics.counter({
    name: 'leader_election_slowpath_total',
    help: 'Renewals of the Lease of that name that had to read it first.',
    labelNames: ['name'],
  });
  return {
    setLeading(name, isLeading) {
      status.set({ name }, isLeading ? 1 : 0);
      slow.inc({ name }, 0);
    },
    countSlowPath: (name) => slow.inc({ name }),
  };
}

/** Outcome of one try. */
type Outcome =
  /** `sentAtMs`: when the request was sent that wrote the record. */
  { readonly isHeld: true; readonly sentAtMs: number } | { readonly isHeld: false; readonly holder: string };

export function createLeaderElector(options: LeaderElectionOptions): LeaderElector {
  const { lease: ref, identity, metrics, clock, log, random, onStandby, followed, timing = defaultTiming } = options;
  const { leaseDurationMs, renewDeadlineMs, retryPeriodMs } = timing;
  invariant(
    leaseDurationMs > renewDeadlineMs && renewDeadlineMs > jitterFactor * retryPeriodMs,
    'a Lease lasts longer than its leader tries to renew it, and that is longer than the pause between two tries',
  );
  // A request without an answer must leave time for another one.
  const client = withDeadline(options.client, { clock, timeoutMs: renewDeadlineMs / 2 });
  const lockName = `${ref.namespace}/${ref.name}`;
  let lease: Lease | undefined;
  /** When the record was first seen as it is, by the clock of this process. */
  let observedAtMs = 0;
  let latest: AbortController | undefined;
  /** Writes to the record that an earlier leadership still has under way. */
  let renewing: Promise<void> = Promise.resolve();
  let leaving: Promise<void> = Promise.resolve();
  metrics.setLeading(ref.name, false);

  function observe(found: Lease): void {
    if (!deepEqual(lease?.spec, found.spec)) observedAtMs = clock.monotonicMs();
    lease = found;
  }

  /** Makes the record this process's, when it is nobody else's. */
  async function attempt({ isLeading, signal }: { readonly isLeading: boolean; readonly signal: AbortSignal }): Promise<Outcome> {
    if (lease !== undefined && holderOf(lease) === identity) {
      try {
        return await write(lease, signal);
      } catch (err) {
        if (!isStatusError(err)) throw err;
        log.debug({ lease: lockName, err }, 'Could not renew lease as it was seen last');
      }
    }
    const found = await find(signal);
    if (found === undefined) return create(signal);
    observe(found);
    const holder = holderOf(found);
    // A leader that finds another one's name does not fight for the lease: it has lost it.
    if (holder !== '' && holder !== identity && (isLeading || clock.monotonicMs() < observedAtMs + durationMsOf(found)))
      return { isHeld: false, holder };
    if (holder === identity) metrics.countSlowPath(ref.name);
    return write(found, signal);
  }

  async function find(signal: AbortSignal): Promise<Lease | undefined> {
    try {
      return await client.get(leases, ref, { signal });
    } catch (err) {
      if (isNotFound(err)) return undefined;
      throw err;
    }
  }

  async function create(signal: AbortSignal): Promise<Outcome> {
    const sentAtMs = clock.monotonicMs();
    const spec = { ...recordOf(), leaseTransitions: 0 };
    observe(
      await client.create(
        leases,
        { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { namespace: ref.namespace, name: ref.name }, spec },
        { signal },
      ),
    );
    return { isHeld: true, sentAtMs };
  }

  /** Only over the version that was seen: whoever wrote in between has won. */
  async function write(found: Lease, signal: AbortSignal): Promise<Outcome> {
    const sentAtMs = clock.monotonicMs();
    const { spec } = found;
    const record = recordOf();
    const isMine = holderOf(found) === identity;
    observe(
      await client.update(
        leases,
        {
          ...found,
          spec: {
            ...spec,
            ...record,
            acquireTime: isMine ? (spec?.acquireTime ?? record.acquireTime) : record.acquireTime,
            leaseTransitions: (spec?.leaseTransitions ?? 0) + (isMine ? 0 : 1),
          },
        },
        { signal },
      ),
    );
    return { isHeld: true, sentAtMs };
  }

  function recordOf() {
    const now = microTimestampOf(clock.now());
    return { holderIdentity: identity, leaseDurationSeconds: leaseDurationMs / 1_000, acquireTime: now, renewTime: now };
  }

  /** A record without a duration lasts as long as ours do. */
  function durationMsOf({ spec }: Lease): number {
    return spec?.leaseDurationSeconds === undefined ? leaseDurationMs : spec.leaseDurationSeconds * 1_000;
  }

  function lead(sentAtMs: number): Leadership {
    const abort = new AbortController();
    // Every write under way waits on it.
    setMaxListeners(0, abort.signal);
    let deadlineMs = sentAtMs + renewDeadlineMs;
    let cancelRenewal: () => void = () => undefined;
    let cancelDeadline: () => void = () => undefined;

    function end(reason: LeadershipLost): void {
      if (abort.signal.aborted) return;
      cancelRenewal();
      cancelDeadline();
      metrics.setLeading(ref.name, false);
      abort.abort(reason);
    }

    function expire(): void {
      log.error({ lease: lockName, identity }, 'Lost lease');
      end(new LeadershipLost(`lease ${lockName} was not renewed within ${renewDeadlineMs / 1_000} s`));
    }

    function schedule(): void {
      if (abort.signal.aborted) return;
      cancelDeadline();
      cancelDeadline = clock.after(deadlineMs - clock.monotonicMs(), expire);
      cancelRenewal = clock.after(retryPeriodMs, () => {
        renewing = renew().finally(schedule);
      });
    }

    async function renew(): Promise<void> {
      try {
        const outcome = await attempt({ isLeading: true, signal: abort.signal });
        if (outcome.isHeld) {
          deadlineMs = outcome.sentAtMs + renewDeadlineMs;
          return;
        }
        log.error({ lease: lockName, identity, holder: outcome.holder }, 'Lost lease');
        end(new LeadershipLost(`lease ${lockName} is held by ${outcome.holder}`));
      } catch (err) {
        if (!abort.signal.aborted) log.warn({ lease: lockName, err }, 'Could not renew lease');
      }
    }

    latest = abort;
    metrics.setLeading(ref.name, true);
    schedule();
    return {
      signal: abort.signal,
      check() {
        if (!abort.signal.aborted && clock.monotonicMs() >= deadlineMs) expire();
        if (abort.signal.aborted) throw abort.signal.reason;
      },
      async release() {
        end(new LeadershipLost(`lease ${lockName} was released`));
        // The record may belong to a later leadership of this process by now.
        if (latest === abort) leaving = Promise.all([renewing, leaving]).then(leave);
        await leaving;
      },
    };
  }

  /** Twice: a renewal that was cut off may have been done. */
  async function leave(): Promise<void> {
    try {
      for (let tries = 1; tries <= 2 && lease !== undefined && holderOf(lease) === identity; tries += 1) {
        const now = microTimestampOf(clock.now());
        try {
          observe(
            await client.update(leases, {
              ...lease,
              spec: { ...lease.spec, holderIdentity: '', leaseDurationSeconds: 1, acquireTime: now, renewTime: now },
            }),
          );
          log.info({ lease: lockName, identity }, 'Released lease');
        } catch (err) {
          if (!isConflict(err)) throw err;
          observe(await client.get(leases, ref));
        }
      }
    } catch (err) {
      // It ends by itself; the next leader only waits longer.
      log.warn({ lease: lockName, err }, 'Could not release lease');
    }
  }

  /** Between two tries. */
  async function pause(signal: AbortSignal): Promise<void> {
    const retryMs = retryPeriodMs * (1 + jitterFactor * random());
    if (followed === undefined || lease === undefined) return sleep(clock, retryMs, signal);
    const free = new AbortController();
    const endFollowing = followed.onChange((found) => {
      if (found === undefined || holderOf(found) === '') free.abort();
      else observe(found);
    });
    try {
      // Each renewal that was seen meanwhile puts the end off.
      for (let leftMs = retryMs; leftMs > 0 && !free.signal.aborted; ) {
        await sleep(clock, leftMs, AbortSignal.any([signal, free.signal])).catch(() => signal.throwIfAborted());
        leftMs = lease === undefined ? 0 : observedAtMs + durationMsOf(lease) - clock.monotonicMs();
      }
    } finally {
      endFollowing();
    }
    const pauseMs = followed.pauseMs();
    if (pauseMs > 0) await sleep(clock, pauseMs, signal);
  }

  return {
    async acquire({ signal }) {
      // The record may become ours again: from here on, the release of an earlier leadership must not give it away.
      latest = undefined;
      await untilAborted(Promise.all([renewing, leaving]), signal);
      let told = '';
      for (let tries = 1; ; tries += 1) {
        signal.throwIfAborted();
        try {
          const outcome = await attempt({ isLeading: false, signal });
          // An answer that took longer than a leader may go without one is no ground to lead on; the record is renewed instead.
          if (outcome.isHeld && clock.monotonicMs() < outcome.sentAtMs + renewDeadlineMs) {
            log.info({ lease: lockName, identity }, 'Acquired lease');
            return lead(outcome.sentAtMs);
          }
          if (!outcome.isHeld && outcome.holder !== told) {
            told = outcome.holder;
            log.info({ lease: lockName, identity, holder: outcome.holder }, 'Stood by');
            onStandby?.(outcome.holder);
          }
        } catch (err) {
          signal.throwIfAborted();
          if (!isStatusError(err)) throw err;
          // Another one was quicker.
          if (isConflict(err) || isAlreadyExists(err)) log.debug({ lease: lockName, err }, 'Could not acquire lease');
          else if (tries === 1) throw err;
          else log.warn({ lease: lockName, err }, 'Could not acquire lease');
        }
        await pause(signal);
      }
    },
  };
}

/** A client that writes only while this process leads. The end of the leadership aborts writes under way. */
export function guardByLeadership(client: Client, leadership: Leadership): Client {
  return guardedClient(client, async (act, { signal, isWrite }) => {
    if (!isWrite) return act(signal);
    leadership.check();
    return act(signal === undefined ? leadership.signal : AbortSignal.any([signal, leadership.signal]));
  });
}

const holderOf = ({ spec }: Lease): string => spec?.holderIdentity ?? '';

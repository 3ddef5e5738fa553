import { hostname } from 'node:os';
import { type Lease, leases } from '../../api/coordination/v1/lease.ts';
import { sleep } from '../../base/clock.ts';
import type { Component } from '../../base/component.ts';
import type { Metrics } from '../../base/metrics.ts';
import type { Client } from '../../client/client.ts';
import type { InformerSet } from '../../client/informer.ts';
import {
  createLeaderElectionMetrics,
  createLeaderElector,
  type FollowedLease,
  guardByLeadership,
  type Leadership,
  LeadershipLost,
} from '../../reconcile/leader-election.ts';
import { leaseTiming } from './led-components.ts';
import { type PartStart, type Surroundings, startPart } from './part.ts';

/** The Leases of a cluster with several servers; each names the one that does the work. */
export type ServerLease = 'kube-controller-manager' | 'kube-scheduler' | 'midship-housekeeping' | 'midship-gitops';

/** The place of a Lease in the API. */
export const serverLeaseOf = (name: ServerLease): { readonly namespace: string; readonly name: ServerLease } => ({
  namespace: name === 'midship-gitops' ? 'flux-system' : 'kube-system',
  name,
});

/** The surroundings of a part that runs only while this server leads. */
export interface Led {
  /** Writes only while this server leads. */
  guard(client: Client): Client;
  /** Caches of their own, so that nothing of an earlier leadership is left in them. */
  readonly informers: InformerSet;
  /** Aborted when this server leads no more. */
  readonly signal: AbortSignal;
  readonly part: PartStart;
}

export interface ElectionsOptions extends Surroundings {
  /** Reads and writes Leases. */
  readonly client: Client;
  /** The caches of the server, which live as long as it does. */
  readonly informers: InformerSet;
  newInformers(): InformerSet;
  readonly metrics: Metrics;
  /** Changes with each start; the identity Lease of this server has it, too. */
  readonly uid: string;
}

/** Lets one of several servers do the work of each Lease. */
export interface Elections {
  /** `HOST_UID`, by which this server holds Leases. */
  readonly identity: string;
  /** A component that competes for the Lease, and starts the part each time this server leads. It competes again after a loss. */
  led(name: ServerLease, start: (led: Led) => Promise<void>): Component;
  /** Ends the work by all Leases, and gives them to other servers. */
  retire(): Promise<void>;
}

/** After a start that failed, or a Lease that could not be asked for. */
const retryMs = 1_000;
/** Servers that lead less come first, within half a second. */
const pauseForEachMs = 80;

export function createElections(options: ElectionsOptions): Elections {
  const { client, informers, newInformers, clock, log, random } = options;
  const identity = `${hostname()}_${options.uid}`;
  const metrics = createLeaderElectionMetrics(options.metrics);
  const known = informers.get(leases);
  const leading = new Set<ServerLease>();
  const components = new Set<Component>();
  let isRetired = false;

  function followedOf(name: ServerLease): FollowedLease {
    const { namespace } = serverLeaseOf(name);
    return {
      onChange: (listener) =>
        known.addHandler(({ before, after }: { readonly before?: Lease; readonly after?: Lease }) => {
          const { metadata } = (after ?? before) as Lease;
          if (metadata.name === name && metadata.namespace === namespace) listener(after);
        }),
      pauseMs: () => (leading.size + 1) * pauseForEachMs,
    };
  }

  /** Works until this server leads no more, or stops. A stop lets the writes under way end. */
  async function lead(leadership: Leadership, stopping: AbortSignal, start: (led: Led) => Promise<void>): Promise<void> {
    const signal = AbortSignal.any([leadership.signal, stopping]);
    const own = newInformers();
    const running = await startPart({ clock, log, signal }, async (part) => {
      const caches = new AbortController();
      part.onClose(async () => caches.abort(new Error('the leadership ends')));
      own.start({ signal: caches.signal });
      await start({ guard: (each) => guardByLeadership(each, leadership), informers: own, signal, part });
      return {};
    });
    await untilAbort(signal);
    await running.stop();
  }

  return {
    identity,
    async retire() {
      isRetired = true;
      await Promise.all([...components].map((component) => component.stop()));
    },
    led(name, start) {
      const abort = new AbortController();
      let ended: Promise<void> = Promise.resolve();
      const elector = createLeaderElector({
        client,
        lease: serverLeaseOf(name),
        identity,
        timing: leaseTiming,
        metrics,
        clock,
        log: log.child({ component: 'leader-election' }),
        random,
        followed: followedOf(name),
      });

      async function turn(): Promise<void> {
        const leadership = await elector.acquire({ signal: abort.signal });
        leading.add(name);
        try {
          await lead(leadership, abort.signal, start);
        } finally {
          leading.delete(name);
          await leadership.release();
        }
      }

      async function compete(): Promise<void> {
        while (!abort.signal.aborted) {
          try {
            await turn();
          } catch (err) {
            if (abort.signal.aborted) return;
            if (!(err instanceof LeadershipLost)) log.error({ err, lease: name }, 'Could not work by lease');
            await sleep(clock, retryMs, abort.signal).catch(() => undefined);
          }
        }
      }

      const component: Component = {
        name: `leader of ${name}`,
        async start() {
          if (isRetired) return;
          components.add(component);
          ended = compete();
        },
        async stop() {
          abort.abort(new LeadershipLost('the server stops'));
          await ended;
          components.delete(component);
        },
      };
      return component;
    },
  };
}

function untilAbort(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

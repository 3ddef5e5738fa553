import { type Clock, systemClock } from '../../base/clock.ts';
import type { Component } from '../../base/component.ts';
import type { LeaderElectionTiming } from '../../base/leader-election-timing.ts';
import { createMetrics, type Metrics } from '../../base/metrics.ts';
import { createHttpClient, type HttpClient, type HttpClientOptions } from '../../client/http-client.ts';
import { createInformerSet } from '../../client/informer-set.ts';
import { createControllerMetrics } from '../../reconcile/controller-metrics.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createEventQueue } from '../../reconcile/event-recorder.ts';
import { createLeaderElectionMetrics, createLeaderElector, guardByLeadership, LeadershipLost } from '../../reconcile/leader-election.ts';
import { createSkipReporter } from '../../reconcile/skipped-objects.ts';
import { createStepLog } from '../../reconcile/step-log.ts';
import { createScheduler, type SchedulerOptions } from '../../scheduler/scheduler.ts';
import { lostLease } from '../lost-lease.ts';
import { type ComponentEndpointsOptions, createComponentEndpoints } from './component-endpoints.ts';
import { type ControllersOptions, createControllers } from './controllers.ts';
import { type Running, type Surroundings, startPart } from './part.ts';

/** Components that work on the cluster of a kubeconfig. */
export interface LedComponents extends Running {
  /** Aborted when another process has or may have the lease: this one writes nothing any more. Never aborted without election. */
  readonly lost: AbortSignal;
}

export interface LedComponentsOptions extends Omit<Surroundings, 'clock' | 'random'> {
  readonly connection: Omit<HttpClientOptions, 'userAgent'>;
  /** The name in the API's log: that of Kubernetes' own component. */
  readonly name: ComponentName;
  /** Makes the components once this process leads. */
  create(parts: ComponentParts): readonly Component[];
  /** Undefined: whoever starts it sees to it that it is the only one. */
  readonly election: ElectionSettings | undefined;
  /** For its state and metrics; undefined: nothing listens. */
  readonly listensOn: Pick<ComponentEndpointsOptions, 'address' | 'port'> | undefined;
  onListening(url: string): void;
  onStandby(holder: string): void;
}

export type ComponentName = 'kube-controller-manager' | 'kube-scheduler';

export interface ElectionSettings {
  /** `HOST_UUID`, another one for each process. */
  readonly identity: string;
  /** By default it has the name of Kubernetes' own component, which may compete for it. */
  readonly lease: { readonly namespace: string; readonly name: string };
  readonly timing: LeaderElectionTiming;
}

/** Parts that components of one process share. */
export interface ComponentParts {
  dependencies(component: string): ControllerDependencies;
  /** Reads beside the caches. */
  readonly reader: HttpClient;
  readonly metrics: Metrics;
  readonly random: () => number;
}

/** Faster than upstream's 15, 10 and 2 s: pods wait while nobody leads. */
export const leaseTiming: LeaderElectionTiming = { leaseDurationMs: 10_000, renewDeadlineMs: 7_000, retryPeriodMs: 1_500 };

/** For `create`. */
export const controllersFor =
  (settings: Pick<ControllersOptions, 'caCertificate' | 'clusterCidr' | 'nodeGraceMs'>) =>
  ({ dependencies, reader }: ComponentParts): readonly Component[] =>
    createControllers({ dependencies, admitsMachines: true, rawReader: reader, ...settings });

/** The same for the scheduler. */
export const schedulerFor =
  (configuration: SchedulerOptions['configuration']) =>
  ({ dependencies, metrics, random }: ComponentParts): readonly Component[] => [
    createScheduler({ ...dependencies('default-scheduler'), metrics, random, configuration }),
  ];

/** Waits until this process leads, then starts the components, with the same code as in a server. @throws Failure when it leads no more */
export function startLedComponents(options: LedComponentsOptions): Promise<LedComponents> {
  const { connection, name, create, election, log, version, signal, listensOn, onListening, onStandby } = options;
  const clock: Clock = systemClock;
  const random = Math.random;
  return startPart({ clock, log, signal }, async ({ start, onClose }) => {
    const client = createHttpClient({ ...connection, userAgent: `${name}/${version}`, clock, random });
    onClose(async () => client.close());
    const metrics = createMetrics();
    let lost = new AbortController().signal;
    if (listensOn !== undefined) {
      const check = () => lost.throwIfAborted();
      const checks = [{ name: 'leaderElection', liveness: true, check }];
      const endpoints = createComponentEndpoints({ ...listensOn, client, metrics, checks, clock, log });
      await start([endpoints]);
      onListening(endpoints.url);
    }
    const leadership =
      election === undefined
        ? undefined
        : await createLeaderElector({
            ...election,
            client,
            metrics: createLeaderElectionMetrics(metrics),
            clock,
            log: log.child({ component: 'leader-election' }),
            random,
            onStandby,
          }).acquire({ signal });
    if (leadership !== undefined) onClose(leadership.release);
    lost = leadership?.signal ?? lost;
    const writer = leadership === undefined ? client : guardByLeadership(client, leadership);
    const events = createEventQueue({ client: writer, clock, log, metrics });
    const informers = createInformerSet({
      client,
      clock,
      log,
      random,
      onSkipped: createSkipReporter({ log, metrics, recorder: events.recorder(name) }),
    });
    const steps = createStepLog({ clock, log, metrics });
    const controllerMetrics = createControllerMetrics({ metrics, clock });
    const dependencies = (component: string): ControllerDependencies => ({
      client: writer,
      informers,
      clock,
      log: log.child({ component }),
      recorder: events.recorder(component),
      metrics: controllerMetrics,
      steps,
    });
    const components = create({ dependencies, reader: client, metrics, random });
    try {
      await start([cachesOf(informers), events, ...components]);
    } catch (err) {
      throw err instanceof LeadershipLost ? lostLease(err) : err;
    }
    return { lost };
  });
}

function cachesOf(informers: ReturnType<typeof createInformerSet>): Component {
  const abort = new AbortController();
  return {
    name: 'caches',
    async start() {
      informers.start({ signal: abort.signal });
    },
    stop: async () => abort.abort(new Error('caches stop')),
  };
}

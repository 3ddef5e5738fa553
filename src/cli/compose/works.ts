import { leases } from '../../api/coordination/v1/lease.ts';
import type { ServiceRange } from '../../apiserver/bootstrap.ts';
import { createDefaultServiceCidr } from '../../apiserver/default-service-cidr.ts';
import { createServerEndpointsKeeper } from '../../apiserver/server-endpoints.ts';
import type { ServiceAccountTokens } from '../../apiserver/service-account-tokens.ts';
import { createServiceAddresses } from '../../apiserver/service-addresses.ts';
import type { Component } from '../../base/component.ts';
import type { Metrics } from '../../base/metrics.ts';
import type { Pki } from '../../base/pki.ts';
import type { Client } from '../../client/client.ts';
import { createHttpClient, type HttpClient } from '../../client/http-client.ts';
import type { InformerSet } from '../../client/informer.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import type { EventQueue } from '../../reconcile/event-recorder.ts';
import { createScheduler } from '../../scheduler/scheduler.ts';
import type { Configuration, DisablePart } from '../configuration.ts';
import { cloudSettingsIn } from './cloud.ts';
import type { ControlPlaneInputs } from './control-plane-inputs.ts';
import { createControllers, createServerControllers } from './controllers.ts';
import type { Elections, Led, ServerLease } from './elections.ts';
import { servesIngresses } from './ingress.ts';
import type { MetricsPaths } from './metrics-paths.ts';
import type { PartStart, Surroundings } from './part.ts';

export interface WorksOptions extends Surroundings {
  readonly configuration: Configuration;
  readonly inputs: Pick<ControlPlaneInputs, 'scheduler'>;
  readonly metrics: Pick<MetricsPaths, 'scheduler'>;
  readonly apiUrl: string;
  readonly pki: Pki;
  readonly accountTokens: ServiceAccountTokens | undefined;
  readonly serviceRange: ServiceRange;
  /** Absent: nodes get no ranges of it. */
  readonly clusterCidr: string | undefined;
  readonly ownClient: Client;
  clientFor(name: string): Client;
  readonly informers: InformerSet;
  readonly events: EventQueue;
  dependencies(component: string): ControllerDependencies;
  /** Absent: this is the only server, and does all the work. */
  readonly elections: Elections | undefined;
  /** Parts of the API that run on one of several servers; on the only one they run already. */
  readonly housekeeping: readonly Component[];
}

/** Work that one server of a cluster does. */
interface Work {
  readonly lease: ServerLease;
  create(tools: WorkTools): readonly Component[];
}

interface WorkTools extends Pick<Led, 'guard' | 'informers'> {
  dependencies(component: string): ControllerDependencies;
  readonly metrics: Metrics;
}

/** Starts the controllers and the scheduler, unless other processes run them. One of several servers does each work. */
export async function startWorks(options: WorksOptions, part: PartStart): Promise<void> {
  const { metrics, elections } = options;
  const rawReader = isOn(options, 'controllers') ? await openRawReader(options, part) : undefined;
  const works = [housekeeping(options), controllers(options, rawReader), scheduling(options)];
  if (elections === undefined) {
    await part.start(works.flatMap(({ create }) => create({ ...toolsOf(options), metrics: metrics.scheduler })));
    return;
  }
  // A Lease whose work is switched off here is left to other processes.
  const led = works.filter(({ lease }) =>
    lease === 'kube-scheduler' ? isOn(options, 'scheduler') : lease !== 'kube-controller-manager' || isOn(options, 'controllers'),
  );
  await part.start(
    led.map(({ lease, create }) =>
      elections.led(lease, async (now) => {
        const branch = metrics.scheduler.branch();
        now.part.onClose(async () => branch.end());
        await now.part.start(create({ ...toolsOf(options, now), metrics: branch.metrics }));
      }),
    ),
  );
}

const isOn = ({ configuration }: WorksOptions, part: DisablePart): boolean => configuration.disabled?.includes(part) !== true;

/** Caches and clients of a leadership, or those of the only server. */
function toolsOf({ informers, dependencies }: WorksOptions, led?: Led): Omit<WorkTools, 'metrics'> {
  const guard = led?.guard ?? ((client: Client) => client);
  const caches = led?.informers ?? informers;
  return {
    guard,
    informers: caches,
    dependencies(name) {
      const own = dependencies(name);
      return { ...own, client: guard(own.client), informers: caches };
    },
  };
}

/** Metrics APIs are behind the wire alone, so the autoscalers have a connection of their own. */
async function openRawReader({ apiUrl, pki, version, clock, random }: WorksOptions, { onClose }: PartStart): Promise<HttpClient> {
  const account = 'horizontal-pod-autoscaler';
  const client = createHttpClient({
    server: apiUrl,
    caCertificate: pki.caCertificate,
    clientCertificate: await pki.clientCertificate({ name: account, commonName: `system:serviceaccount:kube-system:${account}` }),
    userAgent: `${account}/${version}`,
    clock,
    random,
  });
  onClose(async () => client.close());
  return client;
}

function housekeeping(options: WorksOptions): Work {
  const { configuration, apiUrl, pki, accountTokens, serviceRange, clusterCidr, ownClient, elections, clock, log } = options;
  return {
    lease: 'midship-housekeeping',
    create: ({ informers, guard, dependencies }) => [
      ...(elections === undefined
        ? []
        : [
            createServerEndpointsKeeper({
              client: guard(ownClient),
              leases: informers.get(leases),
              clock,
              log: log.child({ component: 'server-endpoints' }),
            }),
            ...options.housekeeping,
          ]),
      createDefaultServiceCidr({
        client: guard(ownClient),
        informers,
        range: serviceRange,
        clock,
        log: log.child({ component: 'default-service-cidr' }),
      }),
      createServiceAddresses({ client: guard(ownClient), informers, clock, log: log.child({ component: 'service-addresses' }) }),
      ...createServerControllers({
        dependencies,
        pki,
        clusterCidr,
        accountTokens,
        servesIngresses: servesIngresses(configuration),
        hasLocalStorage: isOn(options, 'local-storage'),
        cloud: cloudSettingsIn(configuration, Number(new URL(apiUrl).port)),
      }),
    ],
  };
}

function controllers({ configuration: { machines }, pki, clusterCidr }: WorksOptions, rawReader: HttpClient | undefined): Work {
  return {
    lease: 'kube-controller-manager',
    create: ({ dependencies }) =>
      rawReader === undefined
        ? []
        : createControllers({
            dependencies,
            caCertificate: pki.caCertificate,
            admitsMachines: machines !== undefined,
            clusterCidr,
            nodeGraceMs: machines?.nodeGraceMs,
            rawReader,
          }),
  };
}

function scheduling(options: WorksOptions): Work {
  const { clientFor, events, random, inputs } = options;
  return {
    lease: 'kube-scheduler',
    create: ({ dependencies, guard, metrics }) =>
      isOn(options, 'scheduler')
        ? [
            createScheduler({
              ...dependencies('scheduler'),
              client: guard(clientFor('system:kube-scheduler')),
              recorder: events.recorder('default-scheduler'),
              metrics,
              random,
              configuration: inputs.scheduler,
            }),
          ]
        : [],
  };
}

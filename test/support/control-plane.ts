import { pino } from 'pino';
import { namespaces } from '../../src/api/core/v1/namespace.ts';
import { type Pod, pods } from '../../src/api/core/v1/pod.ts';
import { serviceAccounts } from '../../src/api/core/v1/service-account.ts';
import { builtInKinds } from '../../src/api/kinds.ts';
import { loadSchemas } from '../../src/api/schemas.ts';
import { createKubeApi } from '../../src/apiserver/create-kube-api.ts';
import { createLocalClient } from '../../src/apiserver/local-client.ts';
import { type Clock, systemClock, timestampOf } from '../../src/base/clock.ts';
import type { Component } from '../../src/base/component.ts';
import type { Log } from '../../src/base/log.ts';
import { createMetrics } from '../../src/base/metrics.ts';
import { startAll } from '../../src/base/shutdown.ts';
import type { Client } from '../../src/client/client.ts';
import type { InformerSet } from '../../src/client/informer.ts';
import { createInformerSet } from '../../src/client/informer-set.ts';
import { isConflict, isNotFound } from '../../src/machinery/status-error.ts';
import { createControllerMetrics } from '../../src/reconcile/controller-metrics.ts';
import type { ControllerDependencies } from '../../src/reconcile/dependencies.ts';
import { createEventQueue } from '../../src/reconcile/event-recorder.ts';
import { createStepLog } from '../../src/reconcile/step-log.ts';
import { openMemoryStorage } from '../../src/storage/memory/storage.ts';

/** The API on a memory store with some controllers, all in this process and real; no scheduler and no node. */
export interface ControlPlane {
  /** As an administrator. */
  readonly client: Client;
  /** Those of the controllers that run now. */
  readonly informers: InformerSet;
  /** Ends the controllers in the middle of what they do and starts new ones, which know only what is stored. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export interface ControlPlaneOptions {
  readonly controllers: readonly ((dependencies: ControllerDependencies) => Component)[];
  readonly logLevel?: string;
  /** The API and the controllers take time from it; by default the system's. */
  readonly clock?: Clock;
}

export async function startControlPlane({
  controllers,
  logLevel = 'silent',
  clock = systemClock,
}: ControlPlaneOptions): Promise<ControlPlane> {
  const log = pino({ level: logLevel });
  const storage = await openMemoryStorage();
  const kubeApi = await createKubeApi({
    storage,
    kinds: builtInKinds,
    schemas: loadSchemas(builtInKinds.map(({ schemas }) => schemas)),
    serviceCidr: '127.64.0.0/20',
    log,
    clock,
  });
  const client = createLocalClient({ kubeApi, user: { name: 'admin', groups: ['system:masters'] }, userAgent: 'test/1' });
  await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'default' } });
  await client.create(serviceAccounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace: 'default' } });

  let running = await startControllers(client, controllers, { log, clock });
  return {
    client,
    get informers() {
      return running.informers;
    },
    async restart() {
      await running.stop();
      running = await startControllers(client, controllers, { log, clock });
    },
    async stop() {
      await running.stop();
      kubeApi.stop();
      await storage.close();
    },
  };
}

/** Controllers over `client`, with informers and an event queue of their own; resolves when all have started. */
export async function startControllers(
  client: Client,
  controllers: ControlPlaneOptions['controllers'],
  { log = pino({ level: 'silent' }), clock = systemClock }: { readonly log?: Log; readonly clock?: Clock } = {},
): Promise<{ readonly informers: InformerSet; stop(): Promise<void> }> {
  const metrics = createMetrics();
  const informers = createInformerSet({ client, clock, log });
  const queue = createEventQueue({ client, clock, log, metrics });
  const dependencies: ControllerDependencies = {
    client,
    informers,
    clock,
    log,
    recorder: queue.recorder('test-controllers'),
    metrics: createControllerMetrics({ metrics, clock }),
    steps: createStepLog({ clock, log, metrics }),
  };
  const abort = new AbortController();
  const components = controllers.map((create) => create(dependencies));
  informers.start({ signal: abort.signal });
  const stopAll = await startAll([queue, ...components], { clock, log, signal: abort.signal });
  return {
    informers,
    async stop() {
      await stopAll();
      abort.abort(new Error('controllers stop'));
    },
  };
}

export interface PodPlayerOptions {
  /** The status a new pod gets; undefined leaves it alone. */
  readonly statusOf?: (pod: Pod) => Pod['status'] | undefined;
}

/** The status that the agent of a Ready pod writes. */
export const readyStatus = (): NonNullable<Pod['status']> => ({
  phase: 'Running',
  conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: timestampOf(Date.now()) }],
});

/** The status of a pod whose containers have all exited. */
export const finishedStatus = (phase: 'Succeeded' | 'Failed'): NonNullable<Pod['status']> => ({
  phase,
  conditions: [{ type: 'Ready', status: 'False', reason: 'PodCompleted', lastTransitionTime: timestampOf(Date.now()) }],
});

/** Plays the scheduler's and the agents' part: every new pod gets a status at once, by default that of a Ready pod. */
export function playPods(
  { client, informers }: Pick<ControlPlane, 'client' | 'informers'>,
  { statusOf = readyStatus }: PodPlayerOptions = {},
): () => void {
  return informers.get(pods).addHandler(({ before, after }) => {
    if (before !== undefined || after === undefined || after.metadata.deletionTimestamp !== undefined) return;
    const status = statusOf(after);
    if (status !== undefined) void setStatus(client, after, status);
  });
}

/** Writes the status of a pod; one that is gone by now needs none. */
export async function setStatus(client: Client, pod: Pod, status: NonNullable<Pod['status']>): Promise<void> {
  const ref = { namespace: pod.metadata.namespace, name: pod.metadata.name };
  try {
    await client.patch(pods, ref, { type: 'merge', body: { status } }, { subresource: 'status' });
  } catch (err) {
    if (!isNotFound(err) && !isConflict(err)) throw err;
  }
}

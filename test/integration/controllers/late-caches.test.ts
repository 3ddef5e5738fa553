import { afterEach, describe, expect, it } from 'vitest';
import { daemonSets } from '../../../src/api/apps/v1/daemon-set.ts';
import { deployments } from '../../../src/api/apps/v1/deployment.ts';
import { replicaSets } from '../../../src/api/apps/v1/replica-set.ts';
import { statefulSets } from '../../../src/api/apps/v1/stateful-set.ts';
import { type Job, jobs } from '../../../src/api/batch/v1/job.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { endpoints } from '../../../src/api/core/v1/endpoints.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { persistentVolumes } from '../../../src/api/core/v1/persistent-volume.ts';
import { type Pod, pods } from '../../../src/api/core/v1/pod.ts';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { services } from '../../../src/api/core/v1/service.ts';
import { endpointSlices } from '../../../src/api/discovery/v1/endpoint-slice.ts';
import type { Client, New } from '../../../src/client/client.ts';
import type { InformerSet } from '../../../src/client/informer.ts';
import { createDaemonSetController } from '../../../src/controllers/daemon-set/daemon-set-controller.ts';
import { createDeploymentController } from '../../../src/controllers/deployment/deployment-controller.ts';
import { createEndpointsController } from '../../../src/controllers/endpoints/endpoints-controller.ts';
import { createGarbageCollector } from '../../../src/controllers/garbage-collector/garbage-collector.ts';
import { createJobController } from '../../../src/controllers/job/job-controller.ts';
import { createLocalPathVolumeController } from '../../../src/controllers/local-path/local-path-controller.ts';
import { createNamespaceController } from '../../../src/controllers/namespace/namespace-controller.ts';
import { createReplicaSetController } from '../../../src/controllers/replica-set/replica-set-controller.ts';
import { createStatefulSetController } from '../../../src/controllers/stateful-set/stateful-set-controller.ts';
import type { KubeObject, List } from '../../../src/machinery/object.ts';
import type { Resource } from '../../../src/machinery/resource.ts';
import { StatusError } from '../../../src/machinery/status-error.ts';
import type { Controller } from '../../../src/reconcile/controller.ts';
import type { ControllerDependencies } from '../../../src/reconcile/dependencies.ts';
import { nodeOf } from '../../support/cluster-objects.ts';
import { type ControlPlane, startControllers, startControlPlane } from '../../support/control-plane.ts';
import { type HeldWatch, withHeldWatch } from '../../support/faults.ts';
import { until } from '../../support/until.ts';

/** Controllers whose cache of one resource is behind the server, and writes that are not answered as they hope. */

const namespace = 'default';
const template = { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'web', image: 'host/web:1' }] } };

let stop: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const each of stop.reverse()) await each();
  stop = [];
});

interface Late extends HeldWatch {
  /** As a person, whose view is never late. */
  readonly people: Client;
  readonly informers: InformerSet;
  /** Waits until the controller has nothing to do. */
  rest(): Promise<void>;
}

async function startPlane(): Promise<Client> {
  const plane: ControlPlane = await startControlPlane({ controllers: [] });
  stop.push(() => plane.stop());
  return plane.client;
}

/** Starts a controller whose watch of `late` a test may hold. */
async function start(
  create: (dependencies: ControllerDependencies) => Controller,
  late: unknown,
  through = (client: Client): Client => client,
): Promise<Late> {
  const people = await startPlane();
  return await startOver(people, create, withHeldWatch(through(people), late as Resource));
}

async function startOver(people: Client, create: (dependencies: ControllerDependencies) => Controller, watch: HeldWatch): Promise<Late> {
  let controller: Controller | undefined;
  const running = await startControllers(watch.client, [(dependencies) => (controller = create(dependencies))]);
  stop.push(() => running.stop());
  return {
    ...watch,
    people,
    informers: running.informers,
    async rest() {
      let quiet = 0;
      await until(
        () => {
          quiet = controller?.depth === 0 && controller.active === 0 ? quiet + 1 : 0;
          return quiet > 5;
        },
        { what: 'the controller to rest', intervalMs: 1 },
      );
    },
  };
}

/** The controller of Jobs of a server that is about to lose its Lease. */
async function startEarlierLeader(): Promise<{ readonly people: Client; stop(): Promise<void> }> {
  const people = await startPlane();
  const { stop } = await startControllers(people, [createJobController]);
  return { people, stop };
}

/** The next leader, at rest. Its cache of `stale` shows the moment of `old`, before the last writes of the earlier one. */
async function succeed<T extends KubeObject>(people: Client, stale: Resource<T>, old: List<T>): Promise<Late> {
  let first: List<T> | undefined = old;
  const watch = withHeldWatch(
    {
      ...people,
      async list(resource, options) {
        if (first === undefined || resource.resource !== stale.resource) return await people.list(resource, options);
        const answer = first;
        first = undefined;
        return answer as never;
      },
    },
    stale as never,
  );
  watch.hold();
  const late = await startOver(people, createJobController, watch);
  await late.rest();
  return late;
}

const seen = (informers: InformerSet, resource: unknown, name: string): Promise<unknown> =>
  until(() => [...informers.get(resource as Resource<KubeObject>).list()].some(({ metadata }) => metadata.name === name), {
    what: `the cache to have ${name}`,
    intervalMs: 1,
  });

const newPod = (name: string, metadata: Partial<Pod['metadata']> = {}): New<Pod> => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace, ...template.metadata, ...metadata },
  spec: template.spec,
});
const podsOf = async (client: Client): Promise<readonly Pod[]> => (await client.list(pods, { namespace })).items;

async function theOnlyPod(client: Client): Promise<{ readonly namespace: string; readonly name: string }> {
  const [pod] = await until(async () => (await podsOf(client)).length === 1 && podsOf(client), { what: 'a pod', intervalMs: 2 });
  return { namespace, name: pod?.metadata.name ?? '' };
}
const newJob = (spec: Partial<Job['spec']> = {}): New<Job> => ({
  apiVersion: 'batch/v1',
  kind: 'Job',
  metadata: { name: 'once', namespace },
  spec: { template: { ...template, spec: { ...template.spec, restartPolicy: 'Never' } }, ...spec },
});
const tracking = 'batch.kubernetes.io/job-tracking';

describe('with a late cache', () => {
  it('a namespace that was made again keeps its content', async () => {
    let hold = (): void => undefined;
    const late = await start(createNamespaceController, namespaces, (client) => ({
      ...client,
      update(resource, object, options) {
        // The last events of the old one wait.
        if (options?.subresource === 'status') hold();
        return client.update(resource, object, options);
      },
    }));
    hold = late.hold;
    const name = 'shop';
    const namespaceOf = (): Promise<unknown> => late.people.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
    await namespaceOf();
    await seen(late.informers, namespaces, name);
    await late.people.delete(namespaces, { name });
    await until(async () => !(await late.people.list(namespaces)).items.some(({ metadata }) => metadata.name === name), {
      what: 'the namespace to go',
      intervalMs: 2,
    });
    await namespaceOf();
    await late.people.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'settings', namespace: name } });
    late.deliver(1);
    await late.rest();
    expect((await late.people.list(configMaps, { namespace: name })).items).toHaveLength(1);
  });

  it('Endpoints stay that a person keeps by hand for a Service that was made again', async () => {
    const late = await start(createEndpointsController, services);
    const { people } = late;
    const create = async (): Promise<void> => {
      await people.create(services, {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'db', namespace },
        spec: { ports: [{ port: 5432 }] },
      });
    };
    await create();
    await seen(late.informers, services, 'db');
    late.hold();
    await people.delete(services, { namespace, name: 'db' });
    await create();
    await people.create(endpoints, {
      apiVersion: 'v1',
      kind: 'Endpoints',
      metadata: { name: 'db', namespace },
      subsets: [{ addresses: [{ ip: '192.0.2.7' }], ports: [{ port: 5432 }] }],
    });
    await seen(late.informers, endpoints, 'db');
    late.deliver(1);
    await late.rest();
    expect((await people.list(endpoints, { namespace })).items.map(({ metadata }) => metadata.name)).toContain('db');
  });

  it('Endpoints that cannot be made have an Event in the words of Kubernetes', async () => {
    const { people } = await start(createEndpointsController, services, (client) => ({
      ...client,
      async create(resource, object, options) {
        if (resource.resource === endpoints.resource) throw new StatusError({ code: 500, reason: 'InternalError', message: 'disk full' });
        return await client.create(resource, object, options);
      },
    }));
    await people.create(services, {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'db', namespace },
      spec: { selector: { app: 'db' }, ports: [{ port: 5432 }] },
    });
    await people.create(endpointSlices, {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: {
        name: 'db-1',
        namespace,
        labels: { 'kubernetes.io/service-name': 'db', 'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io' },
      },
      addressType: 'IPv4',
      endpoints: [{ addresses: ['10.0.0.1'] }],
    });
    const event = await until(async () => (await people.list(events, { namespace })).items[0], { what: 'an Event', intervalMs: 5 });
    expect(event).toMatchObject({
      involvedObject: { kind: 'Endpoints', name: 'db' },
      type: 'Warning',
      reason: 'FailedToCreateEndpoint',
      message: 'Failed to create endpoint for service default/db: disk full',
    });
  });

  it('a volume stays that a person keeps while it is released', async () => {
    const late = await start(createLocalPathVolumeController, persistentVolumes);
    const { people } = late;
    await people.create(persistentVolumes, {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: 'disk', annotations: { 'pv.kubernetes.io/provisioned-by': 'rancher.io/local-path' } },
      spec: {
        capacity: { storage: '1Gi' },
        accessModes: ['ReadWriteOnce'],
        hostPath: { path: '/disk' },
        persistentVolumeReclaimPolicy: 'Delete',
      },
    });
    await seen(late.informers, persistentVolumes, 'disk');
    late.hold();
    await people.patch(
      persistentVolumes,
      { name: 'disk' },
      { type: 'merge', body: { status: { phase: 'Released' } } },
      { subresource: 'status' },
    );
    await people.patch(persistentVolumes, { name: 'disk' }, { type: 'merge', body: { spec: { persistentVolumeReclaimPolicy: 'Retain' } } });
    late.deliver(1);
    await late.rest();
    late.deliver();
    await late.rest();
    expect((await people.get(persistentVolumes, { name: 'disk' })).metadata.deletionTimestamp).toBeUndefined();
  });

  it('a ReplicaSet makes no pod beside those that it adopts', async () => {
    const late = await start(createReplicaSetController, pods);
    await late.people.create(pods, newPod('orphan'));
    await seen(late.informers, pods, 'orphan');
    late.hold();
    await late.people.create(replicaSets, {
      apiVersion: 'apps/v1',
      kind: 'ReplicaSet',
      metadata: { name: 'web', namespace },
      spec: { replicas: 1, selector: { matchLabels: { app: 'web' } }, template },
    });
    await until(async () => (await podsOf(late.people)).some(({ metadata }) => metadata.ownerReferences !== undefined), {
      what: 'the orphan to be adopted',
      intervalMs: 2,
    });
    await late.rest();
    expect(await podsOf(late.people)).toHaveLength(1);
    late.deliver();
    await late.rest();
    expect((await podsOf(late.people)).map(({ metadata }) => metadata.name)).toEqual(['orphan']);
  });

  it('a StatefulSet does not ask for the pod that it adopts', async () => {
    let creations = 0;
    const late = await start(createStatefulSetController, pods, (client) => ({
      ...client,
      create(resource, object, options) {
        if (resource.resource === pods.resource) creations += 1;
        return client.create(resource, object, options);
      },
    }));
    await late.people.create(pods, newPod('db-0'));
    await seen(late.informers, pods, 'db-0');
    late.hold();
    await late.people.create(statefulSets, {
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      metadata: { name: 'db', namespace },
      spec: { replicas: 1, serviceName: 'db', selector: { matchLabels: { app: 'web' } }, template },
    });
    await until(async () => (await podsOf(late.people)).some(({ metadata }) => metadata.ownerReferences !== undefined), {
      what: 'the orphan to be adopted',
      intervalMs: 2,
    });
    await late.rest();
    late.deliver();
    await late.rest();
    expect(creations).toBe(0);
  });

  it('a DaemonSet makes no pod beside the one that it adopts', async () => {
    const late = await start(createDaemonSetController, pods);
    const node = await late.people.create(nodes, nodeOf('n1'));
    // Every Node begins with the taint that it is not ready.
    await late.people.update(nodes, { ...node, spec: { ...node.spec, taints: [] } });
    const { metadata, ...orphan } = newPod('orphan');
    await late.people.create(pods, { ...orphan, metadata, spec: { ...template.spec, nodeName: 'n1' } });
    await seen(late.informers, pods, 'orphan');
    const isReady = (): boolean => [...late.informers.get(nodes).list()].some(({ spec }) => (spec?.taints ?? []).length === 0);
    await until(isReady, { what: 'the node to be ready', intervalMs: 1 });
    late.hold();
    await late.people.create(daemonSets, {
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      metadata: { name: 'web', namespace },
      spec: { selector: { matchLabels: { app: 'web' } }, template },
    });
    await until(async () => (await podsOf(late.people)).some(({ metadata }) => metadata.ownerReferences !== undefined), {
      what: 'the orphan to be adopted',
      intervalMs: 2,
    });
    await late.rest();
    expect(await podsOf(late.people)).toHaveLength(1);
  });

  it('the garbage collector orphans a dependent that its cache lacks', async () => {
    const late = await start(createGarbageCollector, configMaps);
    const owner = await late.people.create(secrets, { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'owner', namespace } });
    await seen(late.informers, secrets, 'owner');
    late.hold();
    const ownerReferences = [{ apiVersion: 'v1', kind: 'Secret', name: 'owner', uid: owner.metadata.uid ?? '' }];
    await late.people.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'late', namespace, ownerReferences } });
    await late.people.delete(secrets, { namespace, name: 'owner' }, { propagationPolicy: 'Orphan' });
    await until(async () => (await late.people.list(secrets, { namespace })).items.length === 0, {
      what: 'the owner to go',
      intervalMs: 2,
    });
    late.deliver();
    await late.rest();
    expect((await late.people.get(configMaps, { namespace, name: 'late' })).metadata.ownerReferences).toBeUndefined();
  });

  it('a Deployment goes on with a ReplicaSet that it adopts, whatever its name', async () => {
    const late = await start(createDeploymentController, replicaSets);
    const labels = { app: 'web', 'pod-template-hash': 'abc' };
    await late.people.create(replicaSets, {
      apiVersion: 'apps/v1',
      kind: 'ReplicaSet',
      metadata: { name: 'web-abc', namespace, labels },
      spec: { replicas: 1, selector: { matchLabels: labels }, template: { ...template, metadata: { labels } } },
    });
    await seen(late.informers, replicaSets, 'web-abc');
    late.hold();
    await late.people.create(deployments, {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web', namespace },
      spec: { replicas: 1, selector: { matchLabels: { app: 'web' } }, template },
    });
    const all = async () => (await late.people.list(replicaSets, { namespace })).items;
    await until(async () => (await all()).some(({ metadata }) => metadata.ownerReferences !== undefined), {
      what: 'it adopts',
      intervalMs: 2,
    });
    await late.rest();
    late.deliver();
    await late.rest();
    expect((await all()).map(({ metadata }) => metadata.name)).toEqual(['web-abc']);
  });

  it('a Deployment says of no template that it is observed before it looked at it', async () => {
    let isChanged = false;
    const late = await start(createDeploymentController, deployments, (client) => ({
      ...client,
      async patch(resource, ref, patch, options) {
        // A person is between the look at the Deployment and the answer with its revision.
        if (!isChanged) {
          isChanged = true;
          await client.patch(deployments, ref, { type: 'merge', body: { spec: { template: { metadata: { labels: { next: 'yes' } } } } } });
        }
        return client.patch(resource, ref, patch, options);
      },
      update(resource, object, options) {
        if (options?.subresource === 'status')
          observed.push((object as { readonly status?: { readonly observedGeneration?: number } }).status?.observedGeneration);
        return client.update(resource, object, options);
      },
    }));
    const observed: (number | undefined)[] = [];
    late.hold();
    await late.people.create(deployments, {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web', namespace },
      spec: { replicas: 1, selector: { matchLabels: { app: 'web' } }, template },
    });
    late.deliver(1);
    await late.rest();
    expect(isChanged).toBe(true);
    expect(observed).toEqual([]);
    late.deliver();
    await until(async () => (await late.people.list(replicaSets, { namespace })).items.length === 2, {
      what: 'the second template',
      intervalMs: 2,
    });
    await late.rest();
    expect((await late.people.get(deployments, { namespace, name: 'web' })).status?.observedGeneration).toBe(2);
  });

  it('a Job makes its pod though the one that it would adopt is gone', async () => {
    const late = await start(createJobController, pods);
    await late.people.create(pods, newPod('stray'));
    await seen(late.informers, pods, 'stray');
    late.hold();
    await late.people.delete(pods, { namespace, name: 'stray' }, { gracePeriodSeconds: 0 });
    await late.people.create(jobs, newJob({ manualSelector: true, selector: { matchLabels: { app: 'web' } } }));
    await seen(late.informers, jobs, 'once');
    await late.rest();
    late.deliver();
    await until(async () => (await podsOf(late.people)).length === 1, { what: 'a pod of the Job', timeoutMs: 5_000, intervalMs: 5 });
  });

  it('a Job does not run again for a pod that it has counted', async () => {
    const late = await start(createJobController, jobs);
    await late.people.create(jobs, newJob());
    const ref = await theOnlyPod(late.people);
    await late.rest();
    late.hold();
    const body = { status: { phase: 'Succeeded' } };
    await late.people.patch(pods, ref, { type: 'merge', body }, { subresource: 'status' });
    const isFree = async () => (await late.people.get(pods, ref)).metadata.finalizers === undefined;
    await until(isFree, { what: 'the pod to be counted', intervalMs: 2 });
    await late.rest();
    expect(await podsOf(late.people)).toHaveLength(1);
    late.deliver();
    const isComplete = async () =>
      (await late.people.get(jobs, { namespace, name: 'once' })).status?.conditions?.some(({ type }) => type === 'Complete');
    await until(isComplete, { what: 'the Job to be complete', intervalMs: 5 });
  });

  it('a Job finds the pods again that an earlier leader made', async () => {
    const late = await start(createJobController, jobs);
    late.hold();
    const job = await late.people.create(jobs, newJob());
    const { uid = '' } = job.metadata;
    await late.people.create(
      pods,
      newPod('first', {
        finalizers: [tracking],
        labels: { 'batch.kubernetes.io/controller-uid': uid, 'batch.kubernetes.io/job-name': 'once' },
        ownerReferences: [{ apiVersion: 'batch/v1', kind: 'Job', name: 'once', uid, controller: true, blockOwnerDeletion: true }],
      }),
    );
    await seen(late.informers, pods, 'first');
    await late.rest();
    expect((await podsOf(late.people)).map(({ metadata }) => metadata.finalizers)).toEqual([[tracking]]);
    late.deliver();
    await late.rest();
    expect((await podsOf(late.people)).map(({ metadata }) => metadata.name)).toEqual(['first']);
  });

  it('a Job does not run again for a pod that the earlier leader has counted', async () => {
    const { people, stop: stopEarlier } = await startEarlierLeader();
    await people.create(jobs, newJob());
    const ref = await theOnlyPod(people);
    const old = await people.list(jobs);
    await people.patch(pods, ref, { type: 'merge', body: { status: { phase: 'Succeeded' } } }, { subresource: 'status' });
    const isFree = async () => (await people.get(pods, ref)).metadata.finalizers === undefined;
    await until(isFree, { what: 'the pod to be counted', intervalMs: 2 });
    await stopEarlier();
    const late = await succeed(people, jobs, old);
    expect(await podsOf(people)).toHaveLength(1);
    late.deliver();
    const isComplete = async () =>
      (await people.get(jobs, { namespace, name: 'once' })).status?.conditions?.some(({ type }) => type === 'Complete');
    await until(isComplete, { what: 'the Job to be complete', intervalMs: 5 });
  });

  it('a Job makes no pod beside the last one of the earlier leader', async () => {
    const { people, stop: stopEarlier } = await startEarlierLeader();
    const old = await people.list(pods);
    await people.create(jobs, newJob());
    await theOnlyPod(people);
    await stopEarlier();
    const late = await succeed(people, pods, old);
    expect(await podsOf(people)).toHaveLength(1);
    late.deliver();
    await late.rest();
    expect(await podsOf(people)).toHaveLength(1);
  });

  it('pods that an orphaning deletion leaves can be deleted', async () => {
    const late = await start(createJobController, jobs);
    await late.people.create(jobs, newJob());
    const ref = await theOnlyPod(late.people);
    late.hold();
    await late.people.delete(jobs, { namespace, name: 'once' }, { propagationPolicy: 'Orphan' });
    // As the garbage collector does.
    await late.people.patch(pods, ref, { type: 'merge', body: { metadata: { ownerReferences: null } } });
    await late.people.patch(jobs, { namespace, name: 'once' }, { type: 'merge', body: { metadata: { finalizers: null } } });
    late.deliver();
    await until(async () => (await late.people.get(pods, ref)).metadata.finalizers === undefined, {
      what: 'the pod to lose the finalizer',
      timeoutMs: 5_000,
      intervalMs: 5,
    });
  });

  it('a Job fails for the restarts of a pod, though the write that says so conflicts', async () => {
    let conflicts = 0;
    const late = await start(createJobController, jobs, (client) => ({
      ...client,
      async update(resource, object, options) {
        const { conditions = [] } = ((object as { readonly status?: unknown }).status ?? {}) as NonNullable<Job['status']>;
        if (conditions.some(({ type }) => type === 'FailureTarget') && conflicts === 0) {
          conflicts += 1;
          throw new StatusError({ code: 409, reason: 'Conflict', message: 'the object has been modified' });
        }
        return client.update(resource, object, options);
      },
    }));
    await late.people.create(
      jobs,
      newJob({ backoffLimit: 2, template: { ...template, spec: { ...template.spec, restartPolicy: 'OnFailure' } } }),
    );
    const ref = await theOnlyPod(late.people);
    const containerStatuses = [{ name: 'web', image: 'host/web:1', imageID: '', ready: true, restartCount: 2, state: {} }];
    await late.people.patch(
      pods,
      ref,
      { type: 'merge', body: { status: { phase: 'Running', containerStatuses } } },
      { subresource: 'status' },
    );
    const isFailed = async () =>
      (await late.people.get(jobs, { namespace, name: 'once' })).status?.conditions?.some(({ type }) => type === 'Failed');
    await until(isFailed, { what: 'the Job to fail', timeoutMs: 5_000, intervalMs: 5 });
    expect(conflicts).toBe(1);
  });
});

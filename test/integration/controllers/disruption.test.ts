import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { customResourceDefinitions } from '../../../src/api/apiextensions/v1/custom-resource-definition.ts';
import { type Deployment, deployments } from '../../../src/api/apps/v1/deployment.ts';
import { statefulSets } from '../../../src/api/apps/v1/stateful-set.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { type Pod, pods } from '../../../src/api/core/v1/pod.ts';
import { type PodDisruptionBudget, podDisruptionBudgets } from '../../../src/api/policy/v1/pod-disruption-budget.ts';
import { createDeploymentController } from '../../../src/controllers/deployment/deployment-controller.ts';
import { createDisruptionController } from '../../../src/controllers/disruption/disruption-controller.ts';
import { createReplicaSetController } from '../../../src/controllers/replica-set/replica-set-controller.ts';
import type { DynamicObject, KubeObject } from '../../../src/machinery/object.ts';
import type { Resource } from '../../../src/machinery/resource.ts';
import { isNotFound, isStatusError } from '../../../src/machinery/status-error.ts';
import { type ControlPlane, playPods, readyStatus, setStatus, startControlPlane } from '../../support/control-plane.ts';
import { until } from '../../support/until.ts';

const namespace = 'default';
let plane: ControlPlane;
let stopPlaying: () => void;

beforeAll(async () => {
  plane = await startControlPlane({ controllers: [createDisruptionController, createDeploymentController, createReplicaSetController] });
  stopPlaying = playPods(plane, { statusOf: (pod) => (pod.metadata.labels?.sick === 'yes' ? undefined : readyStatus()) });
});
afterAll(async () => {
  stopPlaying();
  await plane.stop();
});
afterEach(async () => {
  const { client } = plane;
  await client.deleteCollection(podDisruptionBudgets, { namespace });
  for (const { metadata } of (await client.list(deployments, { namespace })).items) await client.delete(deployments, metadata);
  await client.deleteCollection(pods, { namespace, gracePeriodSeconds: 0 });
});

const makePod = (name: string, labels: Record<string, string> = { app: 'a' }): Promise<Pod> =>
  plane.client.create(pods, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels },
    spec: { nodeName: 'n', containers: [{ name: 'c', image: 'i' }] },
  });

const makeBudget = (name: string, spec: NonNullable<PodDisruptionBudget['spec']>): Promise<PodDisruptionBudget> =>
  plane.client.create(podDisruptionBudgets, {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: { name, namespace },
    spec: { selector: { matchLabels: { app: 'a' } }, ...spec },
  });

const becomes = (name: string, expected: Partial<NonNullable<PodDisruptionBudget['status']>>) =>
  until(
    async () => {
      const { status } = await plane.client.get(podDisruptionBudgets, { namespace, name });
      const isThere = Object.entries(expected).every(([field, value]) => (status as unknown as Record<string, unknown>)?.[field] === value);
      return isThere ? status : undefined;
    },
    { what: `budget ${name} to have ${JSON.stringify(expected)}` },
  );

const evict = (name: string, deleteOptions?: object) =>
  plane.client.createSubresource(pods, { namespace, name }, 'eviction', {
    apiVersion: 'policy/v1',
    kind: 'Eviction',
    metadata: { name, namespace },
    ...(deleteOptions === undefined ? {} : { deleteOptions }),
  });

async function refusalOf(eviction: Promise<unknown>) {
  const err = await eviction.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!isStatusError(err)) throw new Error('expected a refusal', { cause: err });
  return { code: err.code, message: err.message, cause: err.details?.causes?.[0], retry: err.details?.retryAfterSeconds };
}

describe('a budget', () => {
  it('says which selector has pods without a controller, in the form of Go', async () => {
    await makePod('alone');
    await makeBudget('half', { minAvailable: '50%' });
    const selector = '&LabelSelector{MatchLabels:map[string]string{app: a,},MatchExpressions:[]LabelSelectorRequirement{},}';
    const event = await until(
      async () => (await plane.client.list(events, { namespace })).items.find(({ reason }) => reason === 'UnmanagedPods'),
      { what: 'the Event' },
    );
    expect(event.message).toContain(`(selector: ${selector}) were found to be unmanaged`);
  });

  it('counts the pods it selects', async () => {
    await makePod('one');
    await makePod('two');
    await makePod('other', { app: 'b' });
    await makeBudget('min', { minAvailable: 1 });
    const status = await becomes('min', { currentHealthy: 2, disruptionsAllowed: 1 });
    expect(status).toMatchObject({ observedGeneration: 1, desiredHealthy: 1, expectedPods: 2 });
    expect(status?.conditions).toMatchObject([
      { type: 'DisruptionAllowed', status: 'True', reason: 'SufficientPods', observedGeneration: 1, message: '' },
    ]);
  });

  it('asks the owners for their replicas when it is a percentage', async () => {
    const deployment: Deployment = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web', namespace },
      spec: {
        replicas: 4,
        selector: { matchLabels: { app: 'web' } },
        template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'c', image: 'i' }] } },
      },
    } as Deployment;
    await makeBudget('share', { maxUnavailable: '30%', selector: { matchLabels: { app: 'web' } } });
    await plane.client.create(deployments, deployment);
    await becomes('share', { expectedPods: 4, desiredHealthy: 2, currentHealthy: 4, disruptionsAllowed: 2 });
    await plane.client.patch(deployments, { namespace, name: 'web' }, { type: 'merge', body: { spec: { replicas: 2 } } });
    await becomes('share', { expectedPods: 2, desiredHealthy: 1, currentHealthy: 2, disruptionsAllowed: 1 });
  });

  it('asks for the scale of a custom resource, and of a built-in owner whatever owns that', async () => {
    const { client } = plane;
    await client.create(customResourceDefinitions, {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: 'boxes.example.com' },
      spec: {
        group: 'example.com',
        scope: 'Namespaced',
        names: { plural: 'boxes', singular: 'box', kind: 'Box' },
        versions: [
          {
            name: 'v1',
            served: true,
            storage: true,
            schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
            subresources: { scale: { specReplicasPath: '.spec.size', statusReplicasPath: '.status.size' } },
          },
        ],
      },
    } as never);
    const boxes: Resource<DynamicObject> = { group: 'example.com', version: 'v1', resource: 'boxes', kind: 'Box', namespaced: true };
    const metadata = { name: 'b', namespace };
    const box = await until(
      () => client.create(boxes, { apiVersion: 'example.com/v1', kind: 'Box', metadata, spec: { size: 4 } } as never).catch(() => false),
      { what: 'the kind Box' },
    );
    if (typeof box === 'boolean') throw new Error('no Box');
    const ownedBy = ({ apiVersion, kind, metadata: { name, uid = '' } }: KubeObject) => ({ apiVersion, kind, name, uid, controller: true });
    const makeOwned = (name: string, owner: KubeObject) =>
      client.create(pods, {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace, labels: { app: 'a' }, ownerReferences: [ownedBy(owner)] },
        spec: { nodeName: 'n', containers: [{ name: 'c', image: 'i' }] },
      });
    await makeOwned('b-1', box);
    await makeBudget('part', { maxUnavailable: '25%' });
    await becomes('part', { expectedPods: 4, desiredHealthy: 3, currentHealthy: 1, disruptionsAllowed: 0 });

    // As an operator makes it: its own object has no scale that counts here.
    const set = await client.create(statefulSets, {
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      metadata: { name: 's', namespace, ownerReferences: [ownedBy(box)] },
      spec: {
        replicas: 2,
        serviceName: 's',
        selector: { matchLabels: { app: 'a' } },
        template: { metadata: { labels: { app: 'a' } }, spec: { containers: [{ name: 'c', image: 'i' }] } },
      },
    });
    await makeOwned('s-0', set);
    await becomes('part', { expectedPods: 6, desiredHealthy: 4, currentHealthy: 2 });
    await client.delete(statefulSets, set.metadata);
  });

  it('names the kind of an owner that cannot be scaled', async () => {
    const owner = { apiVersion: 'apps/v1', kind: 'DaemonSet', name: 'agent', uid: 'u', controller: true };
    await plane.client.create(pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'agent-1', namespace, labels: { app: 'a' }, ownerReferences: [owner] },
      spec: { nodeName: 'n', containers: [{ name: 'c', image: 'i' }] },
    });
    await makeBudget('half', { maxUnavailable: '50%' });
    await until(
      async () => {
        const { status } = await plane.client.get(podDisruptionBudgets, { namespace, name: 'half' });
        return status?.conditions?.[0]?.message === 'daemonsets.apps does not implement the scale subresource';
      },
      { what: 'the words of the condition' },
    );
  });

  it('that cannot know how many pods there should be allows nothing', async () => {
    await plane.client.create(pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name: 'lost',
        namespace,
        labels: { app: 'a' },
        ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'gone', uid: 'u', controller: true }],
      },
      spec: { nodeName: 'n', containers: [{ name: 'c', image: 'i' }] },
    });
    await makeBudget('blind', { maxUnavailable: 1 });
    const status = await until(
      async () => {
        const budget = await plane.client.get(podDisruptionBudgets, { namespace, name: 'blind' });
        return budget.status?.conditions?.[0]?.reason === 'SyncFailed' ? budget.status : undefined;
      },
      { what: 'the budget to say that it failed' },
    );
    expect(status.disruptionsAllowed).toBe(0);
    await until(async () => (await plane.client.get(pods, { namespace, name: 'lost' })).status?.phase === 'Running', {
      what: 'the pod to run',
    });
    expect((await refusalOf(evict('lost'))).cause).toEqual({
      reason: 'DisruptionBudget',
      message:
        'The disruption budget blind does not allow evicting pods currently because it failed sync: found no controllers for pod "lost"',
    });
  });
});

describe('an eviction', () => {
  it('takes what the budget allows and is then refused', async () => {
    for (const name of ['one', 'two']) await makePod(name);
    await makeBudget('min', { minAvailable: 1 });
    await becomes('min', { disruptionsAllowed: 1 });
    await evict('one', { dryRun: ['All'] });
    await evict('one');
    const gone = await plane.client.get(pods, { namespace, name: 'one' });
    expect(gone.metadata.deletionTimestamp).toBeDefined();
    expect(gone.status?.conditions).toContainEqual(
      expect.objectContaining({
        type: 'DisruptionTarget',
        status: 'True',
        reason: 'EvictionByEvictionAPI',
        message: 'Eviction API: evicting',
      }),
    );
    await becomes('min', { disruptionsAllowed: 0, currentHealthy: 1 });
    expect(await refusalOf(evict('two'))).toEqual({
      code: 429,
      message: "Cannot evict pod as it would violate the pod's disruption budget.",
      cause: { reason: 'DisruptionBudget', message: 'The disruption budget min needs 1 healthy pods and has 1 currently' },
      retry: undefined,
    });
  });

  it('at the same time as others never takes more than there is', async () => {
    const names = Array.from({ length: 10 }, (_, n) => `p${n}`);
    for (const name of names) await makePod(name);
    await makeBudget('min', { minAvailable: 7 });
    await becomes('min', { currentHealthy: 10, disruptionsAllowed: 3 });
    const results = await Promise.allSettled(names.map((name) => evict(name)));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(3);
  });

  it('lets a sick pod go when the healthy ones are enough, or when the budget says so', async () => {
    await makePod('well');
    await makePod('sick', { app: 'a', sick: 'yes' });
    await setStatus(plane.client, await plane.client.get(pods, { namespace, name: 'sick' }), { phase: 'Running' });
    await makeBudget('min', { minAvailable: 2 });
    await becomes('min', { currentHealthy: 1, desiredHealthy: 2 });
    expect((await refusalOf(evict('sick'))).code).toBe(429);
    await plane.client.patch(
      podDisruptionBudgets,
      { namespace, name: 'min' },
      { type: 'merge', body: { spec: { unhealthyPodEvictionPolicy: 'AlwaysAllow' } } },
    );
    await evict('sick');
  });

  it('needs no budget for a pod that waits or has ended', async () => {
    await makePod('waiting', { app: 'a', sick: 'yes' });
    await setStatus(plane.client, await makePod('over', { app: 'a', sick: 'yes' }), { phase: 'Succeeded' });
    await makeBudget('min', { minAvailable: 5 });
    await becomes('min', { desiredHealthy: 5, disruptionsAllowed: 0 });
    await evict('waiting', { gracePeriodSeconds: 0 });
    await evict('over', { gracePeriodSeconds: 0 });
    // The budget is still in force after that: it forbids to evict a pod that runs, and has noted no eviction.
    await makePod('running');
    await becomes('min', { currentHealthy: 1, expectedPods: 1 });
    expect((await refusalOf(evict('running'))).code).toBe(429);
    expect((await plane.client.get(podDisruptionBudgets, { namespace, name: 'min' })).status?.disruptedPods ?? {}).toEqual({});
    const left = (await plane.client.list(pods, { namespace })).items.map(({ metadata }) => metadata.name);
    expect(left).toContain('running');
    expect(left).not.toContain('waiting');
    expect(left).not.toContain('over');
  });

  it('is an error for a pod with two budgets', async () => {
    await makePod('one');
    await until(async () => (await plane.client.get(pods, { namespace, name: 'one' })).status?.phase === 'Running', {
      what: 'the pod to run',
    });
    await makeBudget('a', { minAvailable: 0 });
    await makeBudget('b', { minAvailable: 0 });
    expect((await refusalOf(evict('one'))).message).toBe(
      'This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.',
    );
  });

  it('is 404 for a missing pod', async () => {
    await expect(evict('nobody')).rejects.toSatisfy(isNotFound);
  });
});

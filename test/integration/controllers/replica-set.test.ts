import { afterEach, describe, expect, it } from 'vitest';
import { type ReplicaSet, replicaSets } from '../../../src/api/apps/v1/replica-set.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { type ReplicationController, replicationControllers } from '../../../src/api/core/v1/replication-controller.ts';
import { resourceQuotas } from '../../../src/api/core/v1/resource-quota.ts';
import { createReplicaSetController } from '../../../src/controllers/replica-set/replica-set-controller.ts';
import { createReplicationController } from '../../../src/controllers/replication-controller/replication-controller.ts';
import { createResourceQuotaController } from '../../../src/controllers/resource-quota/resource-quota-controller.ts';
import type { Resource } from '../../../src/machinery/resource.ts';
import { type Stage, startStage } from '../../support/behaviours.ts';

let stage: Stage | undefined;
afterEach(async () => {
  await stage?.stop();
  stage = undefined;
});

async function start(): Promise<Stage> {
  stage = await startStage({ controllers: [createReplicaSetController, createReplicationController, createResourceQuotaController] });
  return stage;
}

const template = { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'web', image: 'host/web:1' }] } };

type Replicas = ReplicaSet | ReplicationController;

const kinds: readonly (readonly [string, Resource<Replicas>, (overrides?: object) => Replicas])[] = [
  [
    'ReplicaSet',
    replicaSets as Resource<Replicas>,
    (overrides = {}) => ({
      apiVersion: 'apps/v1',
      kind: 'ReplicaSet',
      metadata: { name: 'web', namespace: 'default' },
      spec: { replicas: 2, selector: { matchLabels: { app: 'web' } }, template, ...overrides },
    }),
  ],
  [
    'ReplicationController',
    replicationControllers as Resource<Replicas>,
    (overrides = {}) => ({
      apiVersion: 'v1',
      kind: 'ReplicationController',
      metadata: { name: 'web', namespace: 'default' },
      spec: { replicas: 2, selector: { app: 'web' }, template, ...overrides },
    }),
  ],
];

describe.each(kinds)('[sig-apps] %s', (kind, resource, of) => {
  async function create(stage: Stage, overrides: object = {}): Promise<void> {
    await stage.client.create(resource, of(overrides));
    await stage.settle();
  }
  const statusOf = async (stage: Stage) => (await stage.get(resource, 'web')).status;

  it('should serve a basic image on each replica', async () => {
    const stage = await start();
    await create(stage);
    const names = await stage.podNames();
    expect(names).toHaveLength(2);
    expect(names.every((name) => name.startsWith('web-'))).toBe(true);
    for (const { metadata } of await stage.list(pods))
      expect(metadata.ownerReferences).toMatchObject([{ kind, name: 'web', controller: true }]);
    expect(await statusOf(stage)).toEqual({
      replicas: 2,
      fullyLabeledReplicas: 2,
      readyReplicas: 2,
      availableReplicas: 2,
      observedGeneration: 1,
      ...(kind === 'ReplicaSet' ? { terminatingReplicas: 0 } : {}),
    });
    expect(await stage.events()).toEqual(expect.arrayContaining(names.map((name) => `SuccessfulCreate: Created pod: ${name}`)));
  });

  it('should surface a failure condition on a common issue like exceeded quota', async () => {
    const stage = await start();
    const name = 'small';
    await stage.client.create(resourceQuotas, {
      apiVersion: 'v1',
      kind: 'ResourceQuota',
      metadata: { name, namespace: 'default' },
      spec: { hard: { pods: '2' } },
    });
    await stage.settle();
    await create(stage, { replicas: 3 });
    const conditions = (await statusOf(stage))?.conditions;
    expect(conditions).toMatchObject([{ type: 'ReplicaFailure', status: 'True', reason: 'FailedCreate' }]);
    expect(conditions?.[0]?.message).toMatch(/exceeded quota: small/);
    await stage.change(resource, 'web', (current) => ({ ...current, spec: { ...current.spec, replicas: 2 } }) as Replicas);
    expect((await statusOf(stage))?.conditions).toBeUndefined();
    expect(await statusOf(stage)).toMatchObject({ replicas: 2, readyReplicas: 2 });
  });

  it('should adopt matching pods on creation', async () => {
    const stage = await start();
    await stage.client.create(pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      ...template,
      metadata: { ...template.metadata, name: 'orphan', namespace: 'default' },
    });
    await create(stage, { replicas: 1 });
    expect(await stage.podNames()).toEqual(['orphan']);
    expect((await stage.get(pods, 'orphan')).metadata.ownerReferences).toMatchObject([{ kind, name: 'web' }]);
  });

  it('should release no longer matching pods', async () => {
    const stage = await start();
    await create(stage, { replicas: 1 });
    const [name = ''] = await stage.podNames();
    await stage.change(pods, name, (pod) => ({ ...pod, metadata: { ...pod.metadata, labels: { app: 'other' } } }));
    expect((await stage.get(pods, name)).metadata.ownerReferences).toBeUndefined();
    expect(await stage.podNames()).toHaveLength(2);
  });

  it('should have a working scale subresource', async () => {
    const stage = await start();
    await create(stage);
    const ref = { namespace: 'default', name: 'web' };
    await stage.client.patch(resource, ref, { type: 'merge', body: { spec: { replicas: 4 } } }, { subresource: 'scale' });
    await stage.settle();
    expect(await stage.podNames()).toHaveLength(4);
    const scale = await stage.client.patch(resource, ref, { type: 'merge', body: {} }, { subresource: 'scale' });
    expect(scale).toMatchObject({ kind: 'Scale', spec: { replicas: 4 }, status: { replicas: 4, selector: 'app=web' } });
  });

  it('makes pods when its name has no room for a dash', async () => {
    const stage = await start();
    const longest = 'z'.repeat(253);
    const { metadata, ...rest } = of({ replicas: 1 });
    await stage.client.create(resource, { ...rest, metadata: { ...metadata, name: longest } });
    await stage.settle();
    expect((await stage.get(resource, longest)).status?.replicas).toBe(1);
  });

  it('counts a pod as available after minReadySeconds', async () => {
    const stage = await start();
    await create(stage, { minReadySeconds: 30 });
    expect(await statusOf(stage)).toMatchObject({ readyReplicas: 2 });
    expect((await statusOf(stage))?.availableReplicas).toBeUndefined();
    await stage.pass(31_000);
    expect(await statusOf(stage)).toMatchObject({ readyReplicas: 2, availableReplicas: 2 });
  });

  // Timers of Node end up to a millisecond early, by the clock of the day.
  it('waits on for a pod that gets available while a pass is under way', async () => {
    let next: number | undefined;
    const controllers = [createReplicaSetController, createReplicationController].map((create): typeof create => (dependencies) => {
      const now = (): number => {
        const at = next ?? dependencies.clock.now();
        next = undefined;
        return at;
      };
      return create({ ...dependencies, clock: { ...dependencies.clock, now } });
    });
    stage = await startStage({ controllers });
    await create(stage, { minReadySeconds: 30 });
    const [pod] = await stage.list(pods);
    const readyAt = Date.parse(pod?.status?.conditions?.find(({ type }) => type === 'Ready')?.lastTransitionTime ?? '');
    next = readyAt + 29_999;
    await stage.pass(32_000);
    expect(next).toBeUndefined();
    expect(await statusOf(stage)).toMatchObject({ readyReplicas: 2, availableReplicas: 2 });
  });
});

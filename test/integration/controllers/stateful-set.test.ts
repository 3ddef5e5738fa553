import { afterEach, describe, expect, it } from 'vitest';
import { controllerRevisions } from '../../../src/api/apps/v1/controller-revision.ts';
import { type StatefulSet, statefulSets } from '../../../src/api/apps/v1/stateful-set.ts';
import { limitRanges } from '../../../src/api/core/v1/limit-range.ts';
import { persistentVolumeClaims } from '../../../src/api/core/v1/persistent-volume-claim.ts';
import { type Pod, pods } from '../../../src/api/core/v1/pod.ts';
import { createGarbageCollector } from '../../../src/controllers/garbage-collector/garbage-collector.ts';
import { createClaimProtectionController } from '../../../src/controllers/protection/protection-controller.ts';
import { createStatefulSetController } from '../../../src/controllers/stateful-set/stateful-set-controller.ts';
import { type Stage, type StageOptions, startStage } from '../../support/behaviours.ts';

let stage: Stage | undefined;
afterEach(async () => {
  await stage?.stop();
  stage = undefined;
});

async function start(options: Partial<StageOptions> = {}): Promise<Stage> {
  stage = await startStage({ controllers: [createStatefulSetController], ...options });
  return stage;
}

const startWithGarbage = (): Promise<Stage> =>
  start({ controllers: [createStatefulSetController, createGarbageCollector, createClaimProtectionController] });

const set = (overrides: Partial<StatefulSet['spec']> = {}, image = 'host/web:1'): StatefulSet => ({
  apiVersion: 'apps/v1',
  kind: 'StatefulSet',
  metadata: { name: 'web', namespace: 'default' },
  spec: {
    replicas: 3,
    serviceName: 'web',
    selector: { matchLabels: { app: 'web' } },
    template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'web', image }] } },
    ...overrides,
  },
});

const withImage =
  (image: string) =>
  (current: StatefulSet): StatefulSet => ({
    ...current,
    spec: { ...current.spec, template: { ...current.spec.template, spec: { containers: [{ name: 'web', image }] } } },
  });

const scaledTo =
  (replicas: number) =>
  (current: StatefulSet): StatefulSet => ({ ...current, spec: { ...current.spec, replicas } });

const claimTemplates: NonNullable<StatefulSet['spec']['volumeClaimTemplates']> = [
  {
    metadata: { name: 'data', labels: { tier: 'disk' } },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
  },
];

async function create(stage: Stage, object: StatefulSet): Promise<void> {
  await stage.client.create(statefulSets, object);
  await stage.settle();
}

const images = async (stage: Stage): Promise<Readonly<Record<string, string | undefined>>> =>
  Object.fromEntries((await stage.list(pods)).map(({ metadata, spec }) => [metadata.name, spec.containers[0]?.image]));

const statusOf = async (stage: Stage) => (await stage.get(statefulSets, 'web')).status;

describe('[sig-apps] StatefulSet Basic StatefulSet functionality', () => {
  it('should provide basic identity', async () => {
    const stage = await start();
    await create(stage, set({ volumeClaimTemplates: claimTemplates, replicas: 2 }));
    expect(await stage.podNames()).toEqual(['web-0', 'web-1']);
    const revision = (await statusOf(stage))?.updateRevision;
    const pod = await stage.get(pods, 'web-1');
    expect(pod.metadata.labels).toEqual({
      app: 'web',
      'controller-revision-hash': revision,
      'statefulset.kubernetes.io/pod-name': 'web-1',
      'apps.kubernetes.io/pod-index': '1',
    });
    expect(pod.metadata.ownerReferences).toMatchObject([{ kind: 'StatefulSet', name: 'web', controller: true, blockOwnerDeletion: true }]);
    expect(pod.spec).toMatchObject({ hostname: 'web-1', subdomain: 'web' });
    expect(pod.spec.volumes).toContainEqual({ name: 'data', persistentVolumeClaim: { claimName: 'data-web-1' } });
    const claim = await stage.get(persistentVolumeClaims, 'data-web-1');
    expect(claim.metadata).toMatchObject({ labels: { app: 'web', tier: 'disk' } });
    expect(claim.metadata.ownerReferences).toBeUndefined();
    expect(claim.spec).toMatchObject({ accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } });
    expect(await statusOf(stage)).toEqual({
      observedGeneration: 1,
      replicas: 2,
      readyReplicas: 2,
      availableReplicas: 2,
      currentReplicas: 2,
      updatedReplicas: 2,
      currentRevision: revision,
      updateRevision: revision,
      collisionCount: 0,
    });
    expect(await stage.events()).toEqual(
      expect.arrayContaining([
        'SuccessfulCreate: create Claim data-web-0 Pod web-0 in StatefulSet web success',
        'SuccessfulCreate: create Pod web-0 in StatefulSet web successful',
      ]),
    );
  });

  it('PVC should be recreated when pod is pending due to missing PVC', async () => {
    const stage = await start({ play: false, controllers: [createStatefulSetController, createClaimProtectionController] });
    await create(stage, set({ volumeClaimTemplates: claimTemplates, replicas: 2 }));
    const first = await stage.get(persistentVolumeClaims, 'data-web-0');
    await stage.delete(persistentVolumeClaims, 'data-web-0');
    await stage.settle();
    expect((await stage.get(persistentVolumeClaims, 'data-web-0')).metadata.uid).not.toBe(first.metadata.uid);
    // The claim of a pod that runs is missed when its pod comes next.
    await stage.ready('web-0');
    await stage.delete(persistentVolumeClaims, 'data-web-0');
    await stage.settle();
    expect((await stage.list(persistentVolumeClaims)).map(({ metadata }) => metadata.name)).toEqual(['data-web-1']);
  });

  it('should adopt matching orphans and release non-matching pods', async () => {
    const stage = await start();
    await create(stage, set({ replicas: 1 }));
    const uid = (await stage.get(pods, 'web-0')).metadata.uid;
    await stage.change(pods, 'web-0', (pod) => ({ ...pod, metadata: { ...pod.metadata, ownerReferences: [] } }));
    expect((await stage.get(pods, 'web-0')).metadata).toMatchObject({ uid, ownerReferences: [{ kind: 'StatefulSet', name: 'web' }] });
    await stage.change(pods, 'web-0', (pod) => ({ ...pod, metadata: { ...pod.metadata, labels: {} } }));
    expect((await stage.get(pods, 'web-0')).metadata.ownerReferences).toBeUndefined();
    // An orphan of another name is none of its pods, whatever its labels say.
    await stage.client.create(pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'web-extra', namespace: 'default', labels: { app: 'web' } },
      spec: { containers: [{ name: 'web', image: 'host/web:1' }] },
    });
    await stage.settle();
    expect((await stage.get(pods, 'web-extra')).metadata.ownerReferences).toBeUndefined();
  });

  it("should not deadlock when a pod's predecessor fails", async () => {
    const stage = await start({ play: false });
    await create(stage, set({ replicas: 2 }));
    await stage.ready('web-0');
    expect(await stage.podNames()).toEqual(['web-0', 'web-1']);
    await stage.delete(pods, 'web-0');
    expect(await stage.podNames()).toEqual(['web-0', 'web-1']);
    await stage.ready('web-1');
    await stage.ready('web-0');
    expect(await statusOf(stage)).toMatchObject({ replicas: 2, readyReplicas: 2 });
  });

  it('should perform rolling updates and roll backs of template modifications', async () => {
    const stage = await start();
    await create(stage, set());
    const first = (await statusOf(stage))?.updateRevision;
    await stage.change(statefulSets, 'web', withImage('host/web:2'));
    expect(await images(stage)).toEqual({ 'web-0': 'host/web:2', 'web-1': 'host/web:2', 'web-2': 'host/web:2' });
    const second = (await statusOf(stage))?.updateRevision;
    expect(second).not.toBe(first);
    expect(await statusOf(stage)).toMatchObject({ currentRevision: second, currentReplicas: 3, updatedReplicas: 3 });
    expect(await stage.revisions()).toEqual([
      { name: first, revision: 1 },
      { name: second, revision: 2 },
    ]);
    await stage.change(statefulSets, 'web', withImage('host/web:1'));
    expect(await images(stage)).toEqual({ 'web-0': 'host/web:1', 'web-1': 'host/web:1', 'web-2': 'host/web:1' });
    // The way back makes no revision: the old one gets the newest number.
    expect(await stage.revisions()).toEqual([
      { name: second, revision: 2 },
      { name: first, revision: 3 },
    ]);
  });

  it('should perform canary updates and phased rolling updates of template modifications', async () => {
    const stage = await start();
    const partition = (value: number) => ({ updateStrategy: { type: 'RollingUpdate', rollingUpdate: { partition: value } } });
    await create(stage, set(partition(3)));
    const first = (await statusOf(stage))?.currentRevision;
    await stage.change(statefulSets, 'web', withImage('host/web:2'));
    expect(await images(stage)).toEqual({ 'web-0': 'host/web:1', 'web-1': 'host/web:1', 'web-2': 'host/web:1' });
    const second = (await statusOf(stage))?.updateRevision;
    expect(await statusOf(stage)).toMatchObject({ currentRevision: first, currentReplicas: 3 });

    await stage.change(statefulSets, 'web', (current) => ({ ...current, spec: { ...current.spec, ...partition(2) } }));
    expect(await images(stage)).toEqual({ 'web-0': 'host/web:1', 'web-1': 'host/web:1', 'web-2': 'host/web:2' });
    expect(await statusOf(stage)).toMatchObject({ currentRevision: first, currentReplicas: 2, updateRevision: second, updatedReplicas: 1 });

    // Each comes back as its side of the partition says.
    await stage.delete(pods, 'web-0');
    await stage.delete(pods, 'web-2');
    expect(await images(stage)).toEqual({ 'web-0': 'host/web:1', 'web-1': 'host/web:1', 'web-2': 'host/web:2' });
    expect((await stage.get(pods, 'web-0')).metadata.labels).toMatchObject({ 'controller-revision-hash': first });

    await stage.change(statefulSets, 'web', (current) => ({ ...current, spec: { ...current.spec, ...partition(0) } }));
    expect(await images(stage)).toEqual({ 'web-0': 'host/web:2', 'web-1': 'host/web:2', 'web-2': 'host/web:2' });
    expect(await statusOf(stage)).toMatchObject({ currentRevision: second, updateRevision: second });
  });

  it('should implement legacy replacement when the update strategy is OnDelete', async () => {
    const stage = await start();
    await create(stage, set({ updateStrategy: { type: 'OnDelete' } }));
    await stage.change(statefulSets, 'web', withImage('host/web:2'));
    expect(await images(stage)).toEqual({ 'web-0': 'host/web:1', 'web-1': 'host/web:1', 'web-2': 'host/web:1' });
    await stage.delete(pods, 'web-1');
    expect(await images(stage)).toEqual({ 'web-0': 'host/web:1', 'web-1': 'host/web:2', 'web-2': 'host/web:1' });
    expect(await statusOf(stage)).toMatchObject({ currentReplicas: 2, updatedReplicas: 1 });
  });

  it('Scaling should happen in predictable order and halt if any stateful pod is unhealthy', async () => {
    const stage = await start({ play: false });
    await create(stage, set());
    expect(await stage.podNames()).toEqual(['web-0']);
    await stage.ready('web-0');
    expect(await stage.podNames()).toEqual(['web-0', 'web-1']);
    await stage.ready('web-1');
    expect(await stage.podNames()).toEqual(['web-0', 'web-1', 'web-2']);
    await stage.ready('web-2');

    const broken = { phase: 'Running', conditions: [{ type: 'Ready', status: 'False' }] };
    for (const name of ['web-0', 'web-1', 'web-2']) await stage.setStatus(name, broken);
    await stage.change(statefulSets, 'web', scaledTo(0));
    // The highest waits for those below it, and the lowest waits for none.
    expect(await stage.podNames()).toEqual(['web-0', 'web-1', 'web-2']);
    for (const name of ['web-2', 'web-1']) await stage.ready(name);
    expect(await stage.podNames()).toEqual([]);
    const deleted = (await stage.events()).filter((event) => event.startsWith('SuccessfulDelete'));
    expect(deleted.toSorted()).toEqual(
      ['web-0', 'web-1', 'web-2'].map((name) => `SuccessfulDelete: delete Pod ${name} in StatefulSet web successful`),
    );
  });

  it('Burst scaling should run to completion even with unhealthy pods', async () => {
    const stage = await start({ play: false });
    await create(stage, set({ podManagementPolicy: 'Parallel' }));
    expect(await stage.podNames()).toEqual(['web-0', 'web-1', 'web-2']);
    await stage.change(statefulSets, 'web', scaledTo(5));
    expect(await stage.podNames()).toHaveLength(5);
    await stage.change(statefulSets, 'web', scaledTo(0));
    expect(await stage.podNames()).toEqual([]);
  });

  it('Should recreate evicted statefulset', async () => {
    const stage = await start();
    await create(stage, set({ replicas: 2 }));
    for (const phase of ['Failed', 'Succeeded']) {
      const { uid } = (await stage.get(pods, 'web-0')).metadata;
      await stage.setStatus('web-0', { phase, reason: 'Evicted' });
      const pod = await stage.get(pods, 'web-0');
      expect(pod.metadata.uid).not.toBe(uid);
      expect(pod.status?.phase).toBe('Running');
    }
  });

  it('should have a working scale subresource', async () => {
    const stage = await start();
    await create(stage, set({ replicas: 1 }));
    const ref = { namespace: 'default', name: 'web' };
    await stage.client.patch(statefulSets, ref, { type: 'merge', body: { spec: { replicas: 2 } } }, { subresource: 'scale' });
    await stage.settle();
    expect(await stage.podNames()).toEqual(['web-0', 'web-1']);
  });
});

describe('[sig-apps] StatefulSet order and availability', () => {
  it('MinReadySeconds should be honored when enabled', async () => {
    const stage = await start();
    await create(stage, set({ minReadySeconds: 30 }));
    expect(await stage.podNames()).toEqual(['web-0']);
    expect(await statusOf(stage)).toMatchObject({ readyReplicas: 1, availableReplicas: 0 });
    await stage.pass(31_000);
    expect(await stage.podNames()).toEqual(['web-0', 'web-1']);
    expect(await statusOf(stage)).toMatchObject({ readyReplicas: 2, availableReplicas: 1 });
    await stage.pass(31_000);
    await stage.pass(31_000);
    expect(await statusOf(stage)).toMatchObject({ readyReplicas: 3, availableReplicas: 3 });
  });

  it('Setting .start ordinal: numbers pods from there, and moves them when it changes', async () => {
    const stage = await start();
    await create(stage, set({ replicas: 2, ordinals: { start: 2 } }));
    expect(await stage.podNames()).toEqual(['web-2', 'web-3']);
    await stage.change(statefulSets, 'web', (current) => ({ ...current, spec: { ...current.spec, ordinals: { start: 3 } } }));
    expect(await stage.podNames()).toEqual(['web-3', 'web-4']);
    await stage.change(statefulSets, 'web', ({ spec: { ordinals: _, ...spec }, ...current }) => ({ ...current, spec }));
    expect(await stage.podNames()).toEqual(['web-0', 'web-1']);
  });

  it('updates as many pods at a time as maxUnavailable says, from the highest ordinal on', async () => {
    const seen: string[] = [];
    const stage = await start({
      play: ({ metadata }) => {
        seen.push(metadata.name);
        return undefined;
      },
    });
    await create(
      stage,
      set({
        replicas: 4,
        podManagementPolicy: 'Parallel',
        updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: '50%' } },
      }),
    );
    for (const name of ['web-0', 'web-1', 'web-2', 'web-3']) await stage.ready(name);
    seen.length = 0;
    await stage.change(statefulSets, 'web', withImage('host/web:2'));
    expect(seen.toSorted()).toEqual(['web-2', 'web-3']);
    await stage.ready('web-3');
    expect(seen.toSorted()).toEqual(['web-1', 'web-2', 'web-3']);
    await stage.ready('web-1');
    await stage.ready('web-2');
    await stage.ready('web-0');
    expect(await statusOf(stage)).toMatchObject({ updatedReplicas: 4, availableReplicas: 4 });
  });

  it('stays on a broken pod after a revert until someone deletes that pod, and with Parallel replaces it by itself', async () => {
    for (const podManagementPolicy of ['OrderedReady', 'Parallel']) {
      const stage = await start({
        play: (pod: Pod) =>
          pod.spec.containers[0]?.image === 'host/broken'
            ? undefined
            : { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] },
      });
      await create(stage, set({ podManagementPolicy }));
      await stage.change(statefulSets, 'web', withImage('host/broken'));
      expect(await images(stage)).toEqual({ 'web-0': 'host/web:1', 'web-1': 'host/web:1', 'web-2': 'host/broken' });
      await stage.change(statefulSets, 'web', withImage('host/web:1'));
      if (podManagementPolicy === 'OrderedReady') {
        expect((await images(stage))['web-2']).toBe('host/broken');
        await stage.delete(pods, 'web-2');
      }
      expect(await images(stage)).toEqual({ 'web-0': 'host/web:1', 'web-1': 'host/web:1', 'web-2': 'host/web:1' });
      await stage.stop();
    }
    stage = undefined;
  });

  it('gives a pod its labels back', async () => {
    const stage = await start();
    await create(stage, set({ replicas: 1 }));
    await stage.change(pods, 'web-0', (pod) => ({ ...pod, metadata: { ...pod.metadata, labels: { app: 'web' } } }));
    expect((await stage.get(pods, 'web-0')).metadata.labels).toMatchObject({
      'statefulset.kubernetes.io/pod-name': 'web-0',
      'apps.kubernetes.io/pod-index': '0',
    });
    expect(await stage.events()).toContain('SuccessfulUpdate: update Pod web-0 in StatefulSet web successful');
  });
});

describe('[sig-apps] StatefulSet Non-retain StatefulSetPersistentVolumeClaimPolicy', () => {
  const claimNames = async (stage: Stage) => (await stage.list(persistentVolumeClaims)).map(({ metadata }) => metadata.name).sort();
  const policy = (whenDeleted: string, whenScaled: string) => ({
    replicas: 2,
    volumeClaimTemplates: claimTemplates,
    persistentVolumeClaimRetentionPolicy: { whenDeleted, whenScaled },
  });

  it('should delete PVCs with a WhenDeleted policy', async () => {
    const stage = await startWithGarbage();
    await create(stage, set(policy('Delete', 'Retain')));
    expect((await stage.get(persistentVolumeClaims, 'data-web-0')).metadata.ownerReferences).toMatchObject([
      { kind: 'StatefulSet', controller: true },
    ]);
    await stage.delete(statefulSets, 'web');
    expect([await claimNames(stage), await stage.podNames()]).toEqual([[], []]);
  });

  it('should delete PVCs with a OnScaledown policy, and no claim of a pod that stays', async () => {
    const stage = await startWithGarbage();
    await create(stage, set(policy('Retain', 'Delete')));
    await stage.delete(pods, 'web-1');
    expect(await claimNames(stage)).toEqual(['data-web-0', 'data-web-1']);
    await stage.change(statefulSets, 'web', scaledTo(1));
    expect([await claimNames(stage), await stage.podNames()]).toEqual([['data-web-0'], ['web-0']]);
    await stage.change(statefulSets, 'web', scaledTo(2));
    expect([await claimNames(stage), await stage.podNames()]).toEqual([
      ['data-web-0', 'data-web-1'],
      ['web-0', 'web-1'],
    ]);
  });

  it('should delete PVCs after adopting pod (WhenDeleted), once the policy of a living set says so', async () => {
    const stage = await startWithGarbage();
    await create(stage, set(policy('Retain', 'Retain')));
    await stage.change(statefulSets, 'web', (current) => ({
      ...current,
      spec: { ...current.spec, persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Delete', whenScaled: 'Retain' } },
    }));
    await stage.delete(statefulSets, 'web');
    expect(await claimNames(stage)).toEqual([]);
  });

  it('keeps claims by default', async () => {
    const stage = await startWithGarbage();
    await create(stage, set({ replicas: 2, volumeClaimTemplates: claimTemplates }));
    await stage.change(statefulSets, 'web', scaledTo(1));
    await stage.delete(statefulSets, 'web');
    expect(await claimNames(stage)).toEqual(['data-web-0', 'data-web-1']);
  });
});

describe('[sig-apps] ControllerRevision of a StatefulSet', () => {
  it('keeps as many old revisions as revisionHistoryLimit says', async () => {
    const stage = await start();
    await create(stage, set({ replicas: 1, revisionHistoryLimit: 2 }));
    for (let version = 2; version <= 6; version += 1) await stage.change(statefulSets, 'web', withImage(`host/web:${version}`));
    expect((await stage.revisions()).map(({ revision }) => revision)).toEqual([4, 5, 6]);
  });

  it('says of a name that is too long for labels why there is no pod', async () => {
    const stage = await start();
    const { metadata, ...rest } = set({ replicas: 1 });
    await create(stage, { ...rest, metadata: { ...metadata, name: 'y'.repeat(250) } });
    expect((await stage.revisions()).map(({ name }) => name.length)).toEqual([223 + 1 + 10]);
    expect((await stage.events()).join()).toMatch(
      /FailedCreate: create Pod y+-0 in StatefulSet y+ failed error: .* must be no more than 63 bytes/,
    );
  });

  it('adopts orphaned revisions of a set that comes back', async () => {
    const stage = await startWithGarbage();
    await create(stage, set({ replicas: 1 }));
    const [first] = await stage.list(controllerRevisions);
    await stage.client.delete(statefulSets, { namespace: 'default', name: 'web' }, { propagationPolicy: 'Orphan' });
    await stage.settle();
    expect((await stage.list(controllerRevisions))[0]?.metadata.ownerReferences).toBeUndefined();
    await create(stage, set({ replicas: 1 }));
    const uid = (await stage.get(statefulSets, 'web')).metadata.uid;
    expect(await stage.list(controllerRevisions)).toMatchObject([{ metadata: { uid: first?.metadata.uid, ownerReferences: [{ uid }] } }]);
  });

  it('takes another name for a revision when the first one is in use', async () => {
    const stage = await startWithGarbage();
    await create(stage, set({ replicas: 1 }));
    const taken = (await statusOf(stage))?.updateRevision ?? '';
    await stage.delete(statefulSets, 'web');
    await stage.client.create(controllerRevisions, {
      apiVersion: 'apps/v1',
      kind: 'ControllerRevision',
      metadata: { name: taken, namespace: 'default' },
      data: { foreign: true },
      revision: 7,
    });
    await create(stage, set({ replicas: 1 }));
    expect(await statusOf(stage)).toMatchObject({ collisionCount: 1, readyReplicas: 1 });
    expect((await statusOf(stage))?.updateRevision).not.toBe(taken);
  });

  it('says why a pod cannot be created, and goes on when it can', async () => {
    const stage = await start();
    await stage.client.create(limitRanges, {
      apiVersion: 'v1',
      kind: 'LimitRange',
      metadata: { name: 'small', namespace: 'default' },
      spec: { limits: [{ type: 'Pod', max: { cpu: '100m' } }] },
    });
    await create(
      stage,
      set({
        replicas: 1,
        template: {
          metadata: { labels: { app: 'web' } },
          spec: { containers: [{ name: 'web', image: 'host/web:1', resources: { limits: { cpu: '1' } } }] },
        },
      }),
    );
    expect(await stage.podNames()).toEqual([]);
    expect(
      (await stage.events()).filter((event) =>
        event.startsWith('FailedCreate: create Pod web-0 in StatefulSet web failed error: pods "web-0" is forbidden'),
      ),
    ).not.toEqual([]);
    await stage.client.delete(limitRanges, { namespace: 'default', name: 'small' });
    await stage.pass(60_000);
    expect(await stage.podNames()).toEqual(['web-0']);
  });

  it('comes to the same end after a restart in the middle of a rollout', async () => {
    const stage = await start();
    await create(stage, set({ replicas: 4 }));
    await stage.client.update(statefulSets, withImage('host/web:2')(await stage.get(statefulSets, 'web')));
    for (let times = 0; times < 4; times += 1) {
      stage.clock.advance(25);
      await new Promise((resolve) => setTimeout(resolve, 2));
      await stage.restart();
    }
    await stage.settle();
    expect(Object.values(await images(stage))).toEqual(['host/web:2', 'host/web:2', 'host/web:2', 'host/web:2']);
    expect(await stage.revisions()).toHaveLength(2);
  });
});

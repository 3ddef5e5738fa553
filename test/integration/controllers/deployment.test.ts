import { pino } from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { type Deployment, deployments } from '../../../src/api/apps/v1/deployment.ts';
import { type ReplicaSet, replicaSets } from '../../../src/api/apps/v1/replica-set.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { type Pod, pods } from '../../../src/api/core/v1/pod.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createInformerSet } from '../../../src/client/informer-set.ts';
import { createDeploymentController } from '../../../src/controllers/deployment/deployment-controller.ts';
import { createReplicaSetController } from '../../../src/controllers/replica-set/replica-set-controller.ts';
import { isConflict } from '../../../src/machinery/status-error.ts';
import { type ControlPlane, playPods, readyStatus, setStatus, startControlPlane } from '../../support/control-plane.ts';
import { until } from '../../support/until.ts';

const namespace = 'default';
const revision = 'deployment.kubernetes.io/revision';

let plane: ControlPlane | undefined;
afterEach(async () => {
  await plane?.stop();
  plane = undefined;
});

async function start(statusOf?: (pod: Pod) => Pod['status'] | undefined): Promise<ControlPlane> {
  plane = await startControlPlane({ controllers: [createReplicaSetController, createDeploymentController] });
  playPods(plane, statusOf === undefined ? {} : { statusOf });
  return plane;
}

const deployment = (overrides: Partial<Deployment['spec']> = {}, image = 'host/web:1'): Deployment => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web', namespace },
  spec: {
    replicas: 3,
    selector: { matchLabels: { app: 'web' } },
    template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'web', image }] } },
    ...overrides,
  },
});

/** Changes the Deployment as a person would: again when someone else was faster. */
async function change({ client }: ControlPlane, edit: (current: Deployment) => Deployment): Promise<Deployment> {
  for (;;) {
    try {
      return await client.update(deployments, edit(await client.get(deployments, { namespace, name: 'web' })));
    } catch (err) {
      if (!isConflict(err)) throw err;
    }
  }
}

const setImage = (plane: ControlPlane, image: string) =>
  change(plane, (current) => ({
    ...current,
    spec: { ...current.spec, template: { ...current.spec.template, spec: { containers: [{ name: 'web', image }] } } },
  }));

const get = ({ client }: ControlPlane) => client.get(deployments, { namespace, name: 'web' });
const sets = async ({ client }: ControlPlane): Promise<readonly ReplicaSet[]> => (await client.list(replicaSets, { namespace })).items;
const livePods = async ({ client }: ControlPlane): Promise<readonly Pod[]> => (await client.list(pods, { namespace })).items;
const progressing = (object: Deployment) => object.status?.conditions?.find(({ type }) => type === 'Progressing');

/** The rule by which `kubectl rollout status` says that it is done. */
function isRolledOut({ metadata, spec, status }: Deployment): boolean {
  const updated = status?.updatedReplicas ?? 0;
  return (
    (metadata.generation ?? 0) <= (status?.observedGeneration ?? 0) &&
    updated >= (spec.replicas ?? 1) &&
    (status?.replicas ?? 0) <= updated &&
    (status?.availableReplicas ?? 0) >= updated
  );
}

const rolledOut = (plane: ControlPlane) =>
  until(
    async () => {
      const current = await get(plane);
      return isRolledOut(current) && progressing(current)?.reason === 'NewReplicaSetAvailable' && current;
    },
    { what: 'rollout to be complete', timeoutMs: 10_000, intervalMs: 5 },
  );

describe('a new Deployment', () => {
  it('gets its pods and says so', async () => {
    const plane = await start();
    await plane.client.create(deployments, deployment());
    const done = await rolledOut(plane);
    expect(done.status).toMatchObject({ replicas: 3, updatedReplicas: 3, readyReplicas: 3, availableReplicas: 3, observedGeneration: 1 });
    expect(done.status?.unavailableReplicas).toBeUndefined();
    expect(done.metadata.annotations?.[revision]).toBe('1');
    expect(done.status?.conditions).toMatchObject([
      { type: 'Available', status: 'True', reason: 'MinimumReplicasAvailable' },
      { type: 'Progressing', status: 'True', reason: 'NewReplicaSetAvailable' },
    ]);
    const [replicaSet] = await sets(plane);
    expect(replicaSet?.metadata.name).toBe(`web-${replicaSet?.metadata.labels?.['pod-template-hash']}`);
    expect(replicaSet?.metadata.annotations).toMatchObject({
      [revision]: '1',
      'deployment.kubernetes.io/desired-replicas': '3',
      'deployment.kubernetes.io/max-replicas': '4',
    });
    expect(replicaSet?.status).toMatchObject({ replicas: 3, fullyLabeledReplicas: 3, readyReplicas: 3, availableReplicas: 3 });
    for (const { metadata } of await livePods(plane)) {
      expect(metadata.ownerReferences).toMatchObject([{ kind: 'ReplicaSet', name: replicaSet?.metadata.name, controller: true }]);
      expect(metadata.name.startsWith(`${replicaSet?.metadata.name}-`)).toBe(true);
    }
    const list = await until(
      async () => {
        const { items } = await plane.client.list(events, { namespace });
        return items.some(({ reason }) => reason === 'ScalingReplicaSet') && items;
      },
      { what: 'scaling event' },
    );
    expect(list.find(({ reason }) => reason === 'ScalingReplicaSet')?.message).toBe(
      `Scaled up replica set ${replicaSet?.metadata.name} from 0 to 3`,
    );
  });

  it('gets exactly as many pods as it asks for', async () => {
    const plane = await start();
    await plane.client.create(deployments, deployment({ replicas: 700 }));
    await rolledOut(plane);
    expect(await livePods(plane)).toHaveLength(700);
  });
});

describe('a change of the template', () => {
  it('rolls over without going below or above its bounds, and keeps the old ReplicaSet empty', async () => {
    const plane = await start();
    await plane.client.create(
      deployments,
      deployment({ replicas: 8, strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 2, maxUnavailable: 1 } } }),
    );
    await rolledOut(plane);
    let most = 0;
    let fewest = 8;
    const podInformer = plane.informers.get(pods);
    const stop = podInformer.addHandler(() => {
      const all = [...podInformer.list()].filter(({ metadata }) => metadata.deletionTimestamp === undefined);
      most = Math.max(most, all.length);
      fewest = Math.min(fewest, all.filter(({ status }) => status?.phase === 'Running').length);
    });
    await setImage(plane, 'host/web:2');
    const done = await rolledOut(plane);
    stop();
    expect(most).toBeLessThanOrEqual(10);
    expect(fewest).toBeGreaterThanOrEqual(7);
    expect(done.metadata.annotations?.[revision]).toBe('2');
    const all = await sets(plane);
    expect(all.map(({ spec }) => spec.replicas).toSorted()).toEqual([0, 8]);
    expect(new Set((await livePods(plane)).map(({ spec }) => spec.containers[0]?.image))).toEqual(new Set(['host/web:2']));
  });

  it('back to an old template uses its ReplicaSet again, as a new revision', async () => {
    const plane = await start();
    await plane.client.create(deployments, deployment());
    await rolledOut(plane);
    const [first] = await sets(plane);
    await setImage(plane, 'host/web:2');
    await rolledOut(plane);
    await setImage(plane, 'host/web:1');
    const done = await rolledOut(plane);
    expect(done.metadata.annotations?.[revision]).toBe('3');
    const again = (await sets(plane)).find(({ metadata }) => metadata.uid === first?.metadata.uid);
    expect(again?.spec.replicas).toBe(3);
    expect(again?.metadata.annotations).toMatchObject({ [revision]: '3', 'deployment.kubernetes.io/revision-history': '1' });
    expect(await sets(plane)).toHaveLength(2);
  });

  it('with Recreate starts new pods only when all old ones are gone', async () => {
    const plane = await start();
    await plane.client.create(deployments, deployment({ strategy: { type: 'Recreate' } }));
    await rolledOut(plane);
    const podInformer = plane.informers.get(pods);
    let mixed = false;
    const stop = podInformer.addHandler(() => {
      mixed ||= new Set([...podInformer.list()].map(({ spec }) => spec.containers[0]?.image)).size > 1;
    });
    await setImage(plane, 'host/web:2');
    await rolledOut(plane);
    stop();
    expect(mixed).toBe(false);
    expect((await livePods(plane)).map(({ spec }) => spec.containers[0]?.image)).toEqual(Array(3).fill('host/web:2'));
  });

  it('keeps only as many old ReplicaSets as asked for', async () => {
    const plane = await start();
    await plane.client.create(deployments, deployment({ revisionHistoryLimit: 2 }));
    await rolledOut(plane);
    for (let version = 2; version <= 6; version += 1) {
      await setImage(plane, `host/web:${version}`);
      await rolledOut(plane);
    }
    const kept = await until(
      async () => {
        const all = await sets(plane);
        return all.length === 3 && all;
      },
      { what: 'old ReplicaSets to go', intervalMs: 5 },
    );
    expect(kept.map(({ metadata }) => metadata.annotations?.[revision]).toSorted()).toEqual(['4', '5', '6']);
  });

  it('that cannot start stalls after its deadline while the old pods go on', async () => {
    const plane = await start((pod) => (pod.spec.containers[0]?.image === 'host/broken:1' ? undefined : readyStatus()));
    await plane.client.create(deployments, deployment({ progressDeadlineSeconds: 2, minReadySeconds: 0 }));
    await rolledOut(plane);
    await setImage(plane, 'host/broken:1');
    const stalled = await until(
      async () => {
        const current = await get(plane);
        return progressing(current)?.status === 'False' && current;
      },
      { what: 'progress deadline', timeoutMs: 10_000 },
    );
    expect(progressing(stalled)).toMatchObject({ reason: 'ProgressDeadlineExceeded' });
    expect(progressing(stalled)?.message).toMatch(/^ReplicaSet "web-[a-z0-9]+" has timed out progressing\.$/);
    expect(stalled.status).toMatchObject({ availableReplicas: 3, updatedReplicas: 1, unavailableReplicas: 1 });
    await setImage(plane, 'host/web:1');
    await rolledOut(plane);
    expect(await livePods(plane)).toHaveLength(3);
  });
});

describe('a change of the number', () => {
  it('is followed both ways', async () => {
    const plane = await start();
    await plane.client.create(deployments, deployment());
    await rolledOut(plane);
    const scale = (replicas: number) => change(plane, (current) => ({ ...current, spec: { ...current.spec, replicas } }));
    await scale(5);
    await rolledOut(plane);
    expect(await livePods(plane)).toHaveLength(5);
    await scale(0);
    await until(async () => (await livePods(plane)).length === 0, { what: 'no pods' });
    await rolledOut(plane);
    await scale(2);
    await rolledOut(plane);
    expect(await livePods(plane)).toHaveLength(2);
    expect(await sets(plane)).toHaveLength(1);
  });

  it('during a stuck rollout is shared in proportion', async () => {
    const plane = await start((pod) => (pod.spec.containers[0]?.image === 'host/broken:1' ? undefined : readyStatus()));
    const strategy = { type: 'RollingUpdate', rollingUpdate: { maxSurge: 3, maxUnavailable: 2 } };
    await plane.client.create(deployments, deployment({ replicas: 10, strategy }));
    await rolledOut(plane);
    await setImage(plane, 'host/broken:1');
    const sizes = async () => (await sets(plane)).map(({ spec }) => spec.replicas ?? 0).toSorted((a, b) => a - b);
    await until(async () => (await sizes()).join() === '5,8', { what: 'sizes 5 and 8', intervalMs: 5 });
    await change(plane, (current) => ({ ...current, spec: { ...current.spec, replicas: 15 } }));
    // 18 pods may be: 5 are added, 3 to the larger and 2 to the smaller one.
    await until(async () => (await sizes()).join() === '7,11', { what: 'sizes 7 and 11', intervalMs: 5 });
  });
});

describe('a paused Deployment', () => {
  it('follows a change of the number but not of the template until it is resumed', async () => {
    const plane = await start();
    await plane.client.create(deployments, deployment());
    await rolledOut(plane);
    await change(plane, (current) => ({ ...current, spec: { ...current.spec, paused: true } }));
    await until(async () => progressing(await get(plane))?.reason === 'DeploymentPaused', { what: 'condition paused' });
    await setImage(plane, 'host/web:2');
    await change(plane, (current) => ({ ...current, spec: { ...current.spec, replicas: 4 } }));
    await until(async () => (await livePods(plane)).length === 4, { what: 'four pods' });
    await until(
      async () => {
        const { metadata, status } = await get(plane);
        return status?.observedGeneration === metadata.generation;
      },
      { what: 'spec to be seen' },
    );
    expect(await sets(plane)).toHaveLength(1);
    await change(plane, (current) => ({ ...current, spec: { ...current.spec, paused: false } }));
    await rolledOut(plane);
    expect(new Set((await livePods(plane)).map(({ spec }) => spec.containers[0]?.image))).toEqual(new Set(['host/web:2']));
  });
});

describe('a pod of a Deployment', () => {
  it('that is deleted or evicted is replaced', async () => {
    const plane = await start();
    await plane.client.create(deployments, deployment());
    await rolledOut(plane);
    const [victim, evicted] = await livePods(plane);
    if (victim === undefined || evicted === undefined) throw new Error('no pods');
    await plane.client.delete(pods, { namespace, name: victim.metadata.name });
    await setStatus(plane.client, evicted, { phase: 'Failed', reason: 'Evicted' });
    await until(
      async () => {
        const live = (await livePods(plane)).filter(({ status }) => status?.phase === 'Running');
        return live.length === 3 && live.every(({ metadata }) => metadata.name !== victim.metadata.name);
      },
      { what: 'three running pods' },
    );
    await rolledOut(plane);
  });

  it('is released when its labels change, and another one takes its place', async () => {
    const plane = await start();
    await plane.client.create(deployments, deployment());
    await rolledOut(plane);
    const [pod] = await livePods(plane);
    await plane.client.patch(
      pods,
      { namespace, name: pod?.metadata.name ?? '' },
      { type: 'merge', body: { metadata: { labels: { app: 'debug' } } } },
    );
    const all = await until(
      async () => {
        const list = await livePods(plane);
        return (
          list.length === 4 &&
          list.every(({ metadata }) => metadata.labels?.app === 'web' || metadata.ownerReferences === undefined) &&
          list
        );
      },
      { what: 'a fourth pod' },
    );
    expect(all.filter(({ metadata }) => metadata.labels?.app === 'web')).toHaveLength(3);
    await plane.client.patch(
      pods,
      { namespace, name: pod?.metadata.name ?? '' },
      { type: 'merge', body: { metadata: { labels: { app: 'web' } } } },
    );
    await until(async () => (await livePods(plane)).length === 3, { what: 'the surplus to go after adoption' });
  });
});

describe('controllers after a restart', () => {
  it('finish a rollout from wherever it was, with no pod too many or too few', async () => {
    plane = await startControlPlane({ controllers: [createReplicaSetController, createDeploymentController] });
    // The player outlives the controllers, as agents do.
    const { client } = plane;
    const players = createInformerSet({ client, clock: systemClock, log: pino({ level: 'silent' }) });
    const abort = new AbortController();
    playPods({ client, informers: players });
    players.start({ signal: abort.signal });
    await plane.client.create(deployments, deployment({ replicas: 40 }));
    await rolledOut(plane);
    for (let version = 2; version <= 9; version += 1) {
      await setImage(plane, `host/web:${version}`);
      // Lets the rollout get a different way each time.
      const enough = version * 4;
      await until(
        async () =>
          (await livePods(plane as ControlPlane)).filter(({ spec }) => spec.containers[0]?.image === `host/web:${version}`).length >=
          enough,
        {
          what: 'rollout to be under way',
          intervalMs: 0,
        },
      );
      await plane.restart();
      await plane.restart();
      const done = await rolledOut(plane);
      expect(done.metadata.annotations?.[revision]).toBe(String(version));
      const images = (await livePods(plane)).map(({ spec }) => spec.containers[0]?.image);
      expect(images).toEqual(Array(40).fill(`host/web:${version}`));
    }
    abort.abort(new Error('test ends'));
  });
});

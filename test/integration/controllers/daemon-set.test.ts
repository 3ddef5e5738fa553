import { afterEach, describe, expect, it } from 'vitest';
import { controllerRevisions } from '../../../src/api/apps/v1/controller-revision.ts';
import { type DaemonSet, daemonSets } from '../../../src/api/apps/v1/daemon-set.ts';
import { type Node, nodes } from '../../../src/api/core/v1/node.ts';
import { type Pod, pods } from '../../../src/api/core/v1/pod.ts';
import { targetNodeOf } from '../../../src/controllers/daemon-set/daemon-pods.ts';
import { createDaemonSetController } from '../../../src/controllers/daemon-set/daemon-set-controller.ts';
import { type Stage, type StageOptions, startStage } from '../../support/behaviours.ts';

let stage: Stage | undefined;
afterEach(async () => {
  await stage?.stop();
  stage = undefined;
});

/** A cluster of three nodes, `a`, `b` and `c`. */
async function start(options: Partial<StageOptions> = {}): Promise<Stage> {
  stage = await startStage({ controllers: [createDaemonSetController], ...options });
  for (const name of ['a', 'b', 'c']) await addNode(stage, name);
  return stage;
}

async function addNode(stage: Stage, name: string, labels: Readonly<Record<string, string>> = { color: 'blue' }): Promise<void> {
  await stage.client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name, labels } });
  // A new node has a taint until its agent says that it is ready.
  await changeNode(stage, name, taint());
}

async function changeNode({ client, settle }: Stage, name: string, edit: (node: Node) => Node): Promise<void> {
  await client.update(nodes, edit(await client.get(nodes, { name })));
  await settle();
}

const taint =
  (...taints: NonNullable<NonNullable<Node['spec']>['taints']>) =>
  (node: Node): Node => ({ ...node, spec: { ...node.spec, taints } });

type PodSpec = NonNullable<DaemonSet['spec']['template']['spec']>;

const set = (overrides: Partial<DaemonSet['spec']> = {}, podSpec: Partial<PodSpec> = {}): DaemonSet => ({
  apiVersion: 'apps/v1',
  kind: 'DaemonSet',
  metadata: { name: 'agent', namespace: 'default' },
  spec: {
    selector: { matchLabels: { app: 'agent' } },
    template: { metadata: { labels: { app: 'agent' } }, spec: { containers: [{ name: 'agent', image: 'host/agent:1' }], ...podSpec } },
    ...overrides,
  },
});

const withImage =
  (image: string) =>
  (current: DaemonSet): DaemonSet => ({
    ...current,
    spec: {
      ...current.spec,
      template: { ...current.spec.template, spec: { ...current.spec.template.spec, containers: [{ name: 'agent', image }] } },
    },
  });

async function create(stage: Stage, object: DaemonSet): Promise<void> {
  await stage.client.create(daemonSets, object);
  await stage.settle();
}

/** Images of the pods by node, those of one node in order. */
async function images(stage: Stage): Promise<Readonly<Record<string, string>>> {
  const byNode: Record<string, string[]> = {};
  for (const pod of await stage.list(pods)) {
    const node = targetNodeOf(pod) ?? '';
    byNode[node] = [...(byNode[node] ?? []), pod.spec.containers[0]?.image ?? ''].sort();
  }
  return Object.fromEntries(
    Object.entries(byNode)
      .sort()
      .map(([node, all]) => [node, all.join(' ')]),
  );
}

const statusOf = async (stage: Stage) => (await stage.get(daemonSets, 'agent')).status;

const podOn = async (stage: Stage, node: string): Promise<Pod> => {
  const found = (await stage.list(pods)).find((pod) => targetNodeOf(pod) === node);
  if (found === undefined) throw new Error(`no pod for node ${node}`);
  return found;
};

describe('[sig-apps] Daemon set', () => {
  it('should run and stop simple daemon', async () => {
    const stage = await start();
    await create(stage, set());
    expect(await images(stage)).toEqual({ a: 'host/agent:1', b: 'host/agent:1', c: 'host/agent:1' });
    expect(await statusOf(stage)).toEqual({
      currentNumberScheduled: 3,
      numberMisscheduled: 0,
      desiredNumberScheduled: 3,
      numberReady: 3,
      observedGeneration: 1,
      updatedNumberScheduled: 3,
      numberAvailable: 3,
    });
    const { metadata, spec } = await podOn(stage, 'a');
    const [revision] = await stage.list(controllerRevisions);
    expect(revision?.metadata).toMatchObject({
      name: `agent-${revision?.metadata.labels?.['controller-revision-hash']}`,
      ownerReferences: [{ kind: 'DaemonSet', name: 'agent', controller: true }],
    });
    expect(metadata.labels).toEqual({
      app: 'agent',
      'controller-revision-hash': revision?.metadata.labels?.['controller-revision-hash'],
      'pod-template-generation': '1',
    });
    expect(spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms).toEqual([
      { matchFields: [{ key: 'metadata.name', operator: 'In', values: ['a'] }] },
    ]);
    expect((spec.tolerations ?? []).map(({ key, effect }) => `${key}:${effect}`)).toEqual([
      'node.kubernetes.io/not-ready:NoExecute',
      'node.kubernetes.io/unreachable:NoExecute',
      'node.kubernetes.io/disk-pressure:NoSchedule',
      'node.kubernetes.io/memory-pressure:NoSchedule',
      'node.kubernetes.io/pid-pressure:NoSchedule',
      'node.kubernetes.io/unschedulable:NoSchedule',
    ]);
    // A pod that goes comes back.
    await stage.delete(pods, metadata.name);
    expect((await podOn(stage, 'a')).metadata.uid).not.toBe(metadata.uid);
  });

  it('should run and stop complex daemon', async () => {
    const stage = await start();
    await create(stage, set({}, { nodeSelector: { color: 'green' } }));
    expect(await images(stage)).toEqual({});
    const paint =
      (color: string) =>
      (node: Node): Node => ({ ...node, metadata: { ...node.metadata, labels: { color } } });
    await changeNode(stage, 'b', paint('green'));
    expect(await images(stage)).toEqual({ b: 'host/agent:1' });
    await changeNode(stage, 'b', paint('blue'));
    expect(await images(stage)).toEqual({});
    await stage.change(daemonSets, 'agent', (current) => ({
      ...current,
      spec: { ...current.spec, template: set({}, { nodeSelector: { color: 'blue' } }).spec.template },
    }));
    expect(Object.keys(await images(stage))).toEqual(['a', 'b', 'c']);
  });

  it('should run and stop complex daemon with node affinity', async () => {
    const stage = await start();
    const nodeAffinity = {
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: [{ matchExpressions: [{ key: 'color', operator: 'In', values: ['green'] }] }],
      },
    };
    await create(stage, set({}, { affinity: { nodeAffinity } }));
    expect(await images(stage)).toEqual({});
    await addNode(stage, 'd', { color: 'green' });
    expect(await images(stage)).toEqual({ d: 'host/agent:1' });
  });

  it('should retry creating failed daemon pods', async () => {
    const stage = await start();
    await create(stage, set());
    const first = await podOn(stage, 'a');
    await stage.setStatus(first.metadata.name, { phase: 'Failed' });
    const second = await podOn(stage, 'a');
    expect(second.metadata.uid).not.toBe(first.metadata.uid);
    expect(await stage.events()).toContain(
      `FailedDaemonPod: Found failed daemon pod default/${first.metadata.name} on node a, will try to kill it`,
    );
    // The second time within a second it waits, and longer each time.
    await stage.client.patch(
      pods,
      { namespace: 'default', name: second.metadata.name },
      { type: 'merge', body: { status: { phase: 'Failed' } } },
      { subresource: 'status' },
    );
    stage.clock.advance(1);
    expect((await podOn(stage, 'a')).metadata.uid).toBe(second.metadata.uid);
    await stage.pass(1_000);
    expect((await podOn(stage, 'a')).metadata.uid).not.toBe(second.metadata.uid);
  });

  it('should not update pod when spec was updated and update strategy is OnDelete', async () => {
    const stage = await start();
    await create(stage, set({ updateStrategy: { type: 'OnDelete' } }));
    await stage.change(daemonSets, 'agent', withImage('host/agent:2'));
    expect(await images(stage)).toEqual({ a: 'host/agent:1', b: 'host/agent:1', c: 'host/agent:1' });
    expect(await statusOf(stage)).toMatchObject({ observedGeneration: 2, numberAvailable: 3 });
    await stage.delete(pods, (await podOn(stage, 'b')).metadata.name);
    expect(await images(stage)).toEqual({ a: 'host/agent:1', b: 'host/agent:2', c: 'host/agent:1' });
    expect(await statusOf(stage)).toMatchObject({ updatedNumberScheduled: 1 });
  });

  it('should update pod when spec was updated and update strategy is RollingUpdate', async () => {
    const ready: string[] = [];
    const stage = await start({
      play: ({ metadata }) => {
        ready.push(metadata.name);
        return undefined;
      },
    });
    await create(stage, set());
    for (const name of ready.splice(0)) await stage.ready(name);
    await stage.change(daemonSets, 'agent', withImage('host/agent:2'));
    for (let node = 1; node <= 3; node += 1) {
      // One at a time: maxUnavailable is 1 by default.
      expect(ready).toHaveLength(1);
      expect(await statusOf(stage)).toMatchObject({ updatedNumberScheduled: node, numberAvailable: 2, numberUnavailable: 1 });
      for (const name of ready.splice(0)) await stage.ready(name);
    }
    expect(await images(stage)).toEqual({ a: 'host/agent:2', b: 'host/agent:2', c: 'host/agent:2' });
    expect((await stage.revisions()).map(({ revision }) => revision)).toEqual([1, 2]);
  });

  it('should rollback without unnecessary restarts', async () => {
    const stage = await start({
      play: (pod) =>
        pod.spec.containers[0]?.image === 'host/broken' ? undefined : { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] },
    });
    await create(stage, set());
    const before = new Map((await stage.list(pods)).map((pod) => [targetNodeOf(pod), pod.metadata.uid]));
    await stage.change(daemonSets, 'agent', withImage('host/broken'));
    const broken = Object.entries(await images(stage)).filter(([, image]) => image === 'host/broken');
    expect(broken).toHaveLength(1);
    await stage.change(daemonSets, 'agent', withImage('host/agent:1'));
    expect(await images(stage)).toEqual({ a: 'host/agent:1', b: 'host/agent:1', c: 'host/agent:1' });
    const kept = (await stage.list(pods)).filter((pod) => before.get(targetNodeOf(pod)) === pod.metadata.uid);
    expect(kept).toHaveLength(2);
    expect((await stage.revisions()).map(({ revision }) => revision)).toEqual([2, 3]);
    expect(await statusOf(stage)).toMatchObject({ updatedNumberScheduled: 3, numberAvailable: 3 });
  });

  it('should surge pods onto nodes when spec was updated and update strategy is RollingUpdate', async () => {
    const stage = await start({
      play: (pod) =>
        pod.spec.containers[0]?.image === 'host/agent:2'
          ? undefined
          : { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] },
    });
    await create(stage, set({ updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } } }));
    await stage.change(daemonSets, 'agent', withImage('host/agent:2'));
    for (let step = 1; step <= 3; step += 1) {
      const surged = Object.values(await images(stage)).filter((image) => image === 'host/agent:1 host/agent:2');
      expect(surged).toHaveLength(1);
      // The old pod serves until the new one does.
      expect(await statusOf(stage)).toMatchObject({ numberAvailable: 3 });
      const fresh = (await stage.list(pods)).find(
        ({ spec, status }) => spec.containers[0]?.image === 'host/agent:2' && status?.phase === 'Pending',
      );
      await stage.ready(fresh?.metadata.name ?? '');
    }
    expect(await images(stage)).toEqual({ a: 'host/agent:2', b: 'host/agent:2', c: 'host/agent:2' });
  });
});

describe('[sig-apps] Daemon set and its nodes', () => {
  it('follows nodes that come and go', async () => {
    const stage = await start({ play: false });
    await create(stage, set());
    await addNode(stage, 'd');
    expect(Object.keys(await images(stage))).toEqual(['a', 'b', 'c', 'd']);
    await stage.client.delete(nodes, { name: 'd' });
    await stage.settle();
    // The pod was never bound, so nobody else would delete it.
    expect(Object.keys(await images(stage))).toEqual(['a', 'b', 'c']);
    expect(await statusOf(stage)).toMatchObject({ desiredNumberScheduled: 3, currentNumberScheduled: 3 });
  });

  it('leaves nodes with taints that it does not tolerate: new pods by NoSchedule, all by NoExecute', async () => {
    const stage = await start();
    await changeNode(stage, 'a', taint({ key: 'gpu', effect: 'NoSchedule' }));
    await create(stage, set());
    expect(Object.keys(await images(stage))).toEqual(['b', 'c']);
    await changeNode(stage, 'b', taint({ key: 'gpu', effect: 'NoSchedule' }));
    expect(Object.keys(await images(stage))).toEqual(['b', 'c']);
    expect(await statusOf(stage)).toMatchObject({ desiredNumberScheduled: 1, numberMisscheduled: 1 });
    await changeNode(stage, 'b', taint({ key: 'gpu', effect: 'NoExecute' }));
    expect(Object.keys(await images(stage))).toEqual(['c']);
    await changeNode(
      stage,
      'c',
      taint(
        { key: 'node.kubernetes.io/not-ready', effect: 'NoExecute' },
        { key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' },
      ),
    );
    expect(await statusOf(stage)).toMatchObject({ desiredNumberScheduled: 1, numberMisscheduled: 0 });
  });

  it('counts a pod as available after minReadySeconds', async () => {
    const stage = await start();
    await create(stage, set({ minReadySeconds: 30 }));
    expect(await statusOf(stage)).toMatchObject({ numberReady: 3, numberUnavailable: 3 });
    await stage.pass(31_000);
    expect(await statusOf(stage)).toMatchObject({ numberReady: 3, numberAvailable: 3 });
  });

  it('keeps the oldest of several pods of a node, and adopts and releases pods by their labels', async () => {
    const stage = await start();
    await create(stage, set());
    const { metadata, spec } = await podOn(stage, 'a');
    const twin = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'twin', namespace: 'default', labels: metadata.labels ?? {} }, spec };
    stage.clock.advance(2_000);
    await stage.client.create(pods, twin);
    await stage.settle();
    expect(await images(stage)).toEqual({ a: 'host/agent:1', b: 'host/agent:1', c: 'host/agent:1' });
    expect((await podOn(stage, 'a')).metadata.uid).toBe(metadata.uid);
    await stage.change(pods, metadata.name, (pod) => ({ ...pod, metadata: { ...pod.metadata, labels: {} } }));
    expect((await stage.get(pods, metadata.name)).metadata.ownerReferences).toBeUndefined();
    expect(await images(stage)).toMatchObject({ a: 'host/agent:1 host/agent:1' });
  });

  it('keeps one revision of a template and as many old ones as revisionHistoryLimit says', async () => {
    const stage = await start();
    await create(stage, set({ revisionHistoryLimit: 1 }));
    for (const version of [2, 3, 4]) await stage.change(daemonSets, 'agent', withImage(`host/agent:${version}`));
    expect((await stage.revisions()).map(({ revision }) => revision)).toEqual([3, 4]);
    const newest = (await stage.list(controllerRevisions)).find(({ revision }) => revision === 4);
    const uids = (await stage.list(pods)).map(({ metadata }) => metadata.uid).sort();
    const { resourceVersion: _, uid: __, ...metadata } = newest?.metadata ?? { name: '' };
    await stage.client.create(controllerRevisions, {
      ...(newest ?? { apiVersion: 'apps/v1', kind: 'ControllerRevision' }),
      metadata: { ...metadata, name: 'agent-twin', labels: { app: 'agent', 'controller-revision-hash': 'twin' } },
      revision: 9,
    });
    await stage.delete(pods, (await podOn(stage, 'a')).metadata.name);
    expect((await stage.revisions()).map(({ name }) => name)).toContain('agent-twin');
    expect(await stage.revisions()).toHaveLength(2);
    const hashes = (await stage.list(pods)).map(({ metadata }) => metadata.labels?.['controller-revision-hash']);
    expect(hashes).toEqual(['twin', 'twin', 'twin']);
    expect((await stage.list(pods)).filter(({ metadata: { uid } }) => uids.includes(uid))).toHaveLength(2);
  });

  it('comes to the same end after a restart in the middle of a rollout', async () => {
    const stage = await start();
    await create(stage, set());
    await stage.client.update(daemonSets, withImage('host/agent:2')(await stage.get(daemonSets, 'agent')));
    for (let times = 0; times < 3; times += 1) {
      stage.clock.advance(25);
      await new Promise((resolve) => setTimeout(resolve, 2));
      await stage.restart();
    }
    await stage.settle();
    expect(await images(stage)).toEqual({ a: 'host/agent:2', b: 'host/agent:2', c: 'host/agent:2' });
    expect(await stage.revisions()).toHaveLength(2);
  });
});

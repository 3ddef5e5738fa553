import { afterEach, describe, expect, it } from 'vitest';
import { type Lease, leases } from '../../../src/api/coordination/v1/lease.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { type Node, nodes } from '../../../src/api/core/v1/node.ts';
import { type Pod, pods } from '../../../src/api/core/v1/pod.ts';
import { microTimestampOf, timestampOf } from '../../../src/base/clock.ts';
import { createNodeLifecycleController } from '../../../src/controllers/node-lifecycle/node-lifecycle-controller.ts';
import { createPodEvictionController } from '../../../src/controllers/node-lifecycle/pod-eviction-controller.ts';
import { createPodGcController } from '../../../src/controllers/pod-gc.ts';
import { isNotFound } from '../../../src/machinery/status-error.ts';
import { podOf } from '../../support/cluster-objects.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { until } from '../../support/until.ts';

const namespace = 'default';
const graceMs = 400;

let plane: ControlPlane | undefined;
const agents: (() => void)[] = [];
afterEach(async () => {
  for (const stop of agents.splice(0)) stop();
  await plane?.stop();
  plane = undefined;
});

async function start(): Promise<ControlPlane> {
  plane = await startControlPlane({
    controllers: [
      (dependencies) =>
        createNodeLifecycleController({ ...dependencies, graceMs, startupGraceMs: 600, scanMs: 20, evictionsPerSecond: 50 }),
      createPodEvictionController,
      (dependencies) => createPodGcController({ ...dependencies, periodMs: 50, quarantineMs: 100 }),
    ],
  });
  await plane.client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'kube-node-lease' } });
  return plane;
}

/** Plays an agent: a node that reports once and renews its Lease until it is silenced, which the function that is given does. */
async function addNode({ client }: ControlPlane, name: string): Promise<() => void> {
  const created = await client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name } });
  await report(client, created, 'True');
  const lease: Lease = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name, namespace: 'kube-node-lease' } };
  await client.create(leases, lease);
  return renewLease(client, name);
}

async function renewLease(client: ControlPlane['client'], name: string): Promise<() => void> {
  const renew = () =>
    client.patch(
      leases,
      { namespace: 'kube-node-lease', name },
      { type: 'merge', body: { spec: { holderIdentity: name, renewTime: microTimestampOf(Date.now()) } } },
    );
  await renew();
  const timer = setInterval(() => void renew(), 50);
  const silence = (): void => clearInterval(timer);
  agents.push(silence);
  return silence;
}

function report(client: ControlPlane['client'], node: Node, ready: 'True' | 'False') {
  const now = timestampOf(Date.now());
  const conditions = [
    {
      type: 'Ready',
      status: ready,
      reason: ready === 'True' ? 'KubeletReady' : 'KubeletNotReady',
      lastHeartbeatTime: now,
      lastTransitionTime: now,
    },
  ];
  return client.patch(nodes, { name: node.metadata.name }, { type: 'merge', body: { status: { conditions } } }, { subresource: 'status' });
}

async function addPod({ client }: ControlPlane, name: string, nodeName: string, tolerationSeconds: number): Promise<Pod> {
  const tolerations = ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable', 'example.com/repairs'].map((key) => ({
    key,
    operator: 'Exists',
    effect: 'NoExecute',
    tolerationSeconds,
  }));
  const { uid: _, ...metadata } = podOf(name, {}, { namespace }).metadata;
  const created = await client.create(pods, { ...podOf(name, { nodeName, tolerations }), metadata });
  const status = { ...created.status, phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] };
  return client.update(pods, { ...created, status }, { subresource: 'status' });
}

const nodeWhen = ({ client }: ControlPlane, name: string, what: string, test: (node: Node) => boolean) =>
  until(
    async () => {
      const node = await client.get(nodes, { name });
      return test(node) && node;
    },
    { what, timeoutMs: 10_000, intervalMs: 5 },
  );
const podWhen = ({ client }: ControlPlane, name: string, what: string, test: (pod: Pod) => boolean) =>
  until(
    async () => {
      const pod = await client.get(pods, { namespace, name });
      return test(pod) && pod;
    },
    { what, timeoutMs: 10_000, intervalMs: 5 },
  );
const taintsOf = (node: Node): readonly string[] =>
  (node.spec?.taints ?? []).map(({ key, effect }) => `${key.split('/')[1]}:${effect}`).sort();
const ready = (node: Node) => node.status?.conditions?.find(({ type }) => type === 'Ready');

describe('node lifecycle', () => {
  it('opens a node that reports ready', async () => {
    const cluster = await start();
    await addNode(cluster, 'n1');
    await nodeWhen(cluster, 'n1', 'no taints', (node) => taintsOf(node).length === 0);
  });

  it('finds a silent node, takes its pods out of service and moves them', async () => {
    const cluster = await start();
    await addNode(cluster, 'alive');
    const silence = await addNode(cluster, 'dead');
    await nodeWhen(cluster, 'dead', 'no taints', (node) => taintsOf(node).length === 0);
    await addPod(cluster, 'quick', 'dead', 0);
    await addPod(cluster, 'patient', 'dead', 3_600);
    silence();
    const lost = await nodeWhen(cluster, 'dead', 'both taints', (node) => taintsOf(node).length === 2);
    expect(taintsOf(lost)).toEqual(['unreachable:NoExecute', 'unreachable:NoSchedule']);
    expect(ready(lost)).toMatchObject({ status: 'Unknown', reason: 'NodeStatusUnknown', message: 'Kubelet stopped posting node status.' });
    const evicted = await podWhen(cluster, 'quick', 'deletion', ({ metadata }) => metadata.deletionTimestamp !== undefined);
    expect(evicted.status?.conditions?.find(({ type }) => type === 'DisruptionTarget')).toMatchObject({
      status: 'True',
      reason: 'DeletionByTaintManager',
    });
    const waiting = await podWhen(cluster, 'patient', 'not ready', ({ status }) => status?.conditions?.[0]?.status === 'False');
    expect(waiting.metadata.deletionTimestamp).toBeUndefined();
    expect(taintsOf(await cluster.client.get(nodes, { name: 'alive' }))).toEqual([]);
    await until(
      async () => {
        const { items } = await cluster.client.list(events, {});
        const reasons = new Set(items.map(({ reason }) => reason));
        return ['RegisteredNode', 'NodeNotReady', 'TaintManagerEviction'].every((reason) => reasons.has(reason));
      },
      { what: 'events' },
    );
  });

  it('removes its taints when the node comes back', async () => {
    const cluster = await start();
    await addNode(cluster, 'alive');
    const silence = await addNode(cluster, 'dead');
    await addPod(cluster, 'patient', 'dead', 3_600);
    silence();
    const lost = await nodeWhen(cluster, 'dead', 'both taints', (node) => taintsOf(node).length === 2);
    await renewLease(cluster.client, 'dead');
    await report(cluster.client, lost, 'True');
    await nodeWhen(cluster, 'dead', 'no taints', (node) => taintsOf(node).length === 0);
    await until(
      async () =>
        (await cluster.client.list(events, {})).items.some(({ message }) => message === 'Cancelling deletion of Pod default/patient'),
      { what: 'the cancelled eviction' },
    );
  });

  it('moves nothing when every node is lost', async () => {
    const cluster = await start();
    const silence = [await addNode(cluster, 'n1'), await addNode(cluster, 'n2')];
    await nodeWhen(cluster, 'n1', 'no taints', (node) => taintsOf(node).length === 0);
    // One node is lost before the other, and may be left until then; the pod tolerates that.
    await addPod(cluster, 'web', 'n1', 1);
    for (const stop of silence) stop();
    for (const name of ['n1', 'n2']) await nodeWhen(cluster, name, 'unknown', (node) => ready(node)?.status === 'Unknown');
    await nodeWhen(cluster, 'n1', 'the NoSchedule taint alone', (node) => taintsOf(node).join() === 'unreachable:NoSchedule');
    await nodeWhen(cluster, 'n2', 'the NoSchedule taint alone', (node) => taintsOf(node).join() === 'unreachable:NoSchedule');
    // Nodes that fall silent one after the other later are seen by scans that come after the time of the pod's toleration.
    for (const name of ['later', 'last']) {
      await cluster.client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name } });
      await nodeWhen(cluster, name, 'unknown', (node) => ready(node)?.status === 'Unknown');
    }
    for (const name of ['n1', 'n2', 'last']) {
      await nodeWhen(cluster, name, 'the NoSchedule taint alone', (node) => taintsOf(node).join() === 'unreachable:NoSchedule');
    }
    const web = await cluster.client.get(pods, { namespace, name: 'web' });
    expect(web.metadata.deletionTimestamp).toBeUndefined();
  });

  it('ends the time of a taint that a person set without a date', async () => {
    const cluster = await start();
    await addNode(cluster, 'n1');
    await nodeWhen(cluster, 'n1', 'no taints', (node) => taintsOf(node).length === 0);
    await addPod(cluster, 'web', 'n1', 1);
    const taints = [{ key: 'example.com/repairs', effect: 'NoExecute' }];
    await cluster.client.patch(nodes, { name: 'n1' }, { type: 'merge', body: { spec: { taints } } });
    await podWhen(cluster, 'web', 'deletion', ({ metadata }) => metadata.deletionTimestamp !== undefined);
  });

  it('says by taints that a node is cordoned or not ready', async () => {
    const cluster = await start();
    await addNode(cluster, 'alive');
    await addNode(cluster, 'n1');
    const node = await nodeWhen(cluster, 'n1', 'no taints', (current) => taintsOf(current).length === 0);
    await cluster.client.patch(nodes, { name: 'n1' }, { type: 'merge', body: { spec: { unschedulable: true } } });
    await nodeWhen(cluster, 'n1', 'cordon', (current) => taintsOf(current).join() === 'unschedulable:NoSchedule');
    await cluster.client.patch(nodes, { name: 'n1' }, { type: 'merge', body: { spec: { unschedulable: null } } });
    await report(cluster.client, node, 'False');
    await nodeWhen(cluster, 'n1', 'not ready', (current) => taintsOf(current).join() === 'not-ready:NoExecute,not-ready:NoSchedule');
  });

  it('removes the pods of a node that was deleted', async () => {
    const cluster = await start();
    const silence = await addNode(cluster, 'n1');
    await addPod(cluster, 'web', 'n1', 3_600);
    silence();
    await cluster.client.delete(nodes, { name: 'n1' });
    await until(
      async () => {
        try {
          await cluster.client.get(pods, { namespace, name: 'web' });
          return false;
        } catch (err) {
          if (!isNotFound(err)) throw err;
          return true;
        }
      },
      { what: 'the pod to be gone', timeoutMs: 10_000, intervalMs: 10 },
    );
  });
});

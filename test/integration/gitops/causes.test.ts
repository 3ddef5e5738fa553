import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deployments } from '../../../src/api/apps/v1/deployment.ts';
import { replicaSets } from '../../../src/api/apps/v1/replica-set.ts';
import { type Event, events } from '../../../src/api/core/v1/event.ts';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { type ContainerStatus, type Pod, pods } from '../../../src/api/core/v1/pod.ts';
import { serviceAccounts } from '../../../src/api/core/v1/service-account.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { causeAt, findCause, type ReadLastLine } from '../../../src/gitops/apply/observe/causes.ts';
import { whyOf } from '../../../src/lifecycle/why.ts';
import { conditionOf } from '../../../src/machinery/conditions.ts';
import { type EngineWorld, startEngineWorld } from '../../support/engine.ts';
import { until } from '../../support/until.ts';

const namespace = 'web';
const image = 'host/node';
const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, namespace: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers:
      - {name: web, image: ${image}, readinessProbe: {httpGet: {path: /healthz, port: 8080}}}
`;
const readLastLine: ReadLastLine = async ({ metadata: { name } }, container) => {
  if (name !== 'crash') throw new Error('no output');
  return `FATAL: no database url in ${container}\n`;
};

let world: EngineWorld;
beforeAll(async () => {
  world = await startEngineWorld({ 'shop/shop.yaml': deployment }, { readLastLine });
  await world.client.create(serviceAccounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace } });
});
afterAll(() => world.stop());

const container = (status: Partial<ContainerStatus>): ContainerStatus => ({
  name: 'web',
  image,
  imageID: '',
  ready: false,
  restartCount: 0,
  ...status,
});
const running = (startedAt: string): Partial<ContainerStatus> => ({ state: { running: { startedAt } }, started: true });
const crashed = (exitCode: number, message?: string): Partial<ContainerStatus> => ({
  restartCount: 4,
  state: { waiting: { reason: 'CrashLoopBackOff' } },
  lastState: { terminated: { exitCode, ...(message === undefined ? {} : { message }) } },
});
const longAgo = '2026-01-01T00:00:00Z';

interface PodFacts {
  readonly spec?: object;
  readonly owner?: Pod['metadata']['ownerReferences'];
}

async function newPod(name: string, status: Pod['status'], { spec = {}, owner }: PodFacts = {}): Promise<Pod> {
  const probe = { httpGet: { path: '/healthz', port: 8080 } };
  await world.client.create(pods, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels: { app: name }, ...(owner === undefined ? {} : { ownerReferences: owner }) },
    spec: { containers: [{ name: 'web', image, readinessProbe: probe, livenessProbe: probe }], ...spec },
  });
  return world.client.patch(pods, { namespace, name }, { type: 'merge', body: { status } }, { subresource: 'status' });
}

interface PodEvent extends Pick<Event, 'reason' | 'message' | 'count' | 'lastTimestamp'> {
  readonly name: string;
}

const failedProbe = (pod: Pod, name: string, message: string, count: number, lastTimestamp: string): Promise<Event> =>
  podEvent(pod, { name, reason: 'Unhealthy', message, count, lastTimestamp });

const podEvent = (pod: Pod, { name, ...event }: PodEvent): Promise<Event> =>
  world.client.create(events, {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name, namespace },
    involvedObject: {
      kind: 'Pod',
      apiVersion: 'v1',
      namespace,
      name: pod.metadata.name,
      uid: pod.metadata.uid ?? '',
      fieldPath: 'spec.containers{web}',
    },
    type: 'Warning',
    ...event,
  });

let waiting = 0;
const now = Date.parse('2026-06-01T00:00:00Z');
const find = (all: readonly Pod[]) => findCause(all, { client: world.client, readLastLine, now: () => now });

describe('the cause of an unhealthy object', () => {
  it('is the probe that fails, how often and with what', async () => {
    const pod = await newPod('probed', { phase: 'Running', containerStatuses: [container(running(longAgo))] });
    expect(await find([pod])).toBeUndefined();
    await failedProbe(pod, 'e1', 'Readiness probe failed: connection refused', 3, longAgo);
    await failedProbe(pod, 'e2', 'Readiness probe failed: HTTP probe failed with statuscode: 500', 70, '2026-01-01T00:01:00Z');
    expect(await find([pod])).toEqual({
      place: 'beside',
      text: 'probed: readiness probe failed 73 times: HTTP 500 from :8080/healthz',
      fix: 'kubectl logs -n web probed -c web',
    });
  });

  it('is what a container wrote before it exited, or the liveness probe that it was killed for', async () => {
    const crash = await newPod('crash', { phase: 'Running', containerStatuses: [container(crashed(3))] });
    const fix = 'kubectl logs -n web crash -c web --previous';
    const said = 'Container web in crash exited 3, restarted 4 times';
    expect(await find([crash])).toEqual({ place: 'instead', text: `${said}: FATAL: no database url in web`, fix });
    const silent = await newPod('silent', { phase: 'Running', containerStatuses: [container(crashed(1))] });
    expect(await find([silent])).toMatchObject({ text: 'Container web in silent exited 1, restarted 4 times' });
    // A kubelet that falls back to the log gives many lines.
    const told = await newPod('told', { phase: 'Running', containerStatuses: [container(crashed(1, 'starting\nFATAL: no disk\n'))] });
    expect(await find([told])).toMatchObject({ text: 'Container web in told exited 1, restarted 4 times: FATAL: no disk' });
    const killed = await newPod('killed', { phase: 'Running', containerStatuses: [container(crashed(137))] });
    await failedProbe(killed, 'e3', 'Liveness probe failed: HTTP probe failed with statuscode: 503', 9, longAgo);
    expect(await find([killed])).toMatchObject({
      text: 'Container web in killed exited 137, restarted 4 times: liveness probe failed 9 times: HTTP 503 from :8080/healthz',
    });
  });

  it('is the node that does not report, and how many of the pods are on it', async () => {
    const { client } = world;
    await client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'nuc-2' } });
    const lost = { type: 'Ready', status: 'Unknown', reason: 'NodeStatusUnknown', message: '', lastHeartbeatTime: '2026-05-31T23:58:00Z' };
    await client.patch(nodes, { name: 'nuc-2' }, { type: 'merge', body: { status: { conditions: [lost] } } }, { subresource: 'status' });
    const status: Pod['status'] = {
      phase: 'Running',
      conditions: [{ type: 'Ready', status: 'False' }],
      containerStatuses: [container({ ...running(longAgo), ready: true })],
    };
    const stranded = await newPod('stranded', status, { spec: { nodeName: 'nuc-2' } });
    const well = {
      ...stranded,
      spec: { ...stranded.spec, nodeName: 'nuc-1' },
      status: { conditions: [{ type: 'Ready', status: 'True' }] },
    };
    expect(await find([well as Pod, stranded])).toEqual({
      place: 'beside',
      text: 'node nuc-2 has not reported for 2 min: 1 of 2 pods is on it',
      fix: 'kubectl describe node nuc-2',
    });
  });

  it('is what the pod needs and the most that a node has left', async () => {
    const { client } = world;
    for (const [name, cpu] of [
      ['room-a', '4'],
      ['room-b', '2'],
    ] as const) {
      await client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name } });
      const body = { status: { allocatable: { cpu, memory: '8Gi' } } };
      await client.patch(nodes, { name }, { type: 'merge', body }, { subresource: 'status' });
    }
    const asks = (requests: object) => ({ containers: [{ name: 'web', image, resources: { requests } }] });
    await newPod('there', { phase: 'Running' }, { spec: { ...asks({ cpu: '500m' }), nodeName: 'room-a' } });
    const status: Pod['status'] = {
      phase: 'Pending',
      conditions: [
        {
          type: 'PodScheduled',
          status: 'False',
          reason: 'Unschedulable',
          message: '0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 No preemption victims found.',
          lastTransitionTime: longAgo,
        },
      ],
    };
    const large = await newPod('large', status, { spec: asks({ cpu: '64', memory: '1Gi' }) });
    expect(await find([large])).toEqual({
      place: 'instead',
      text: 'Pod large fits on no node: it needs 64 CPU, most free is 3.5 on room-a',
      fix: "lower resources.requests.cpu in Git, or add a node with room; each node's verdict: midship why pod/large -n web",
    });
    const wide = await newPod('wide', status, { spec: asks({ memory: '10Gi' }) });
    expect(await find([wide])).toMatchObject({ text: 'Pod wide fits on no node: it needs 10 GiB memory, most free is 8 GiB on room-a' });
    // Something else keeps it off: the scheduler's own sentence says what.
    const [unscheduled] = status?.conditions ?? [];
    const picky = (name: string, message: string) =>
      newPod(
        name,
        { ...status, conditions: [{ type: 'PodScheduled', status: 'False', ...unscheduled, message }] },
        { spec: asks({ cpu: '1' }) },
      );
    const tainted = '0/2 nodes are available: 2 node(s) had untolerated taint(s).';
    expect(await find([await picky('picky', tainted)])).toEqual({
      place: 'instead',
      text: `Pod picky fits on no node: ${tainted}`,
      fix: "add a toleration in Git, or take the taint off a node; each node's verdict: midship why pod/picky -n web",
    });
    expect(await find([await picky('odd', '0/2 nodes are available: 2 something new.')])).toMatchObject({
      fix: "each node's verdict: midship why pod/odd -n web",
    });
  });

  it.each([
    ['ErrImagePull', 'manifest unknown', 'correct the image of container web in Git'],
    [
      'ImagePullBackOff',
      'Back-off pulling image "x": ErrImagePull: unauthorized: access to the requested resource is not authorized',
      'correct the image of container web in Git, or name a Secret for its registry in imagePullSecrets',
    ],
    ['ErrImagePull', 'dial tcp: lookup registry.example.com: no such host', 'kubectl describe pod -n web POD'],
    [
      'ErrImageNeverPull',
      'Container image "x" is not present with pull policy of Never',
      'put the image on the node, or set imagePullPolicy of container web to IfNotPresent in Git',
    ],
    ['InvalidImageName', 'couldn\'t parse image name "X"', 'correct the image of container web in Git'],
    [
      'CreateContainerConfigError',
      'secret "db" not found',
      'add Secret db to Git, or make it: kubectl create secret generic db -n web --from-literal=KEY=VALUE',
    ],
    [
      'CreateContainerConfigError',
      'MountVolume.SetUp failed for volume "conf" : configmap "shop" not found',
      'add ConfigMap shop to Git, or make it: kubectl create configmap shop -n web --from-literal=KEY=VALUE',
    ],
    [
      'CreateContainerConfigError',
      "couldn't find key url in Secret web/db",
      'add key url to Secret web/db in Git, or correct its name in the container',
    ],
  ])('names the next action for a container that waits with %s: %s', async (reason, message, fix) => {
    waiting += 1;
    const name = `waits-${waiting}`;
    const pod = await newPod(name, { phase: 'Pending', containerStatuses: [container({ state: { waiting: { reason, message } } })] });
    const found = await find([pod]);
    expect(found).toMatchObject({ place: 'instead', fix: fix.replace('POD', name) });
    expect(found?.text).toContain(`container web in ${name}`.replace('container', reason.includes('Config') ? 'Container' : 'container'));
  });

  it('is the volume that a kubelet cannot mount, once the pod has waited for 5 s', async () => {
    const pod = await newPod('mounts', {
      phase: 'Pending',
      startTime: longAgo,
      containerStatuses: [container({ state: { waiting: { reason: 'ContainerCreating' } } })],
    });
    expect(causeAt([pod], now)).toBe(Date.parse(longAgo) + 5_000);
    expect(await find([pod])).toBeUndefined();
    const message = 'MountVolume.SetUp failed for volume "tls" : secret "shop-tls" not found';
    await podEvent(pod, { name: 'e-mount', reason: 'FailedMount', message, count: 3, lastTimestamp: longAgo });
    expect(await find([pod])).toEqual({
      place: 'beside',
      text: `mounts: ${message}`,
      fix: 'add Secret shop-tls to Git, or make it: kubectl create secret generic shop-tls -n web --from-literal=KEY=VALUE',
    });
  });

  it('is looked for in a container that runs only when that has had 5 s to be ready', () => {
    const pod = (startedAt: string): Pod => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'x' },
      spec: { containers: [] },
      status: { phase: 'Running', containerStatuses: [container(running(startedAt))] },
    });
    expect(causeAt([pod(new Date(now).toISOString())], now)).toBe(now + 5_000);
    expect(causeAt([{ ...pod(longAgo), status: { phase: 'Pending' } }], now)).toBeUndefined();
  });

  it('is in the health of the app, with the command that shows more', async () => {
    const { client } = world;
    await client.create(kustomizations, {
      apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
      kind: 'Kustomization',
      metadata: { name: 'shop', namespace: 'flux-system' },
      spec: { interval: '1h', prune: true, path: './shop', sourceRef: { kind: 'GitRepository', name: 'cluster' } },
    });
    const live = await until(() => client.get(deployments, { namespace, name: 'shop' }).catch(() => undefined), { what: 'the Deployment' });
    const ownerOf = (kind: string, { metadata }: { readonly metadata: { readonly name: string; readonly uid?: string } }) => [
      { apiVersion: 'apps/v1', kind, name: metadata.name, uid: metadata.uid ?? '', controller: true },
    ];
    const set = await client.create(replicaSets, {
      apiVersion: 'apps/v1',
      kind: 'ReplicaSet',
      metadata: { name: 'shop-1', namespace, ownerReferences: ownerOf('Deployment', live) },
      spec: { replicas: 2, selector: live.spec.selector, template: live.spec.template },
    });
    const pod = await newPod(
      'shop-1-a',
      { phase: 'Running', containerStatuses: [container(running(longAgo))] },
      { owner: ownerOf('ReplicaSet', set) },
    );
    await failedProbe(pod, 'e9', 'Readiness probe failed: HTTP probe failed with statuscode: 500', 73, longAgo);
    const status = { observedGeneration: 1, replicas: 2, updatedReplicas: 2, readyReplicas: 1, availableReplicas: 1 };
    await client.patch(deployments, { namespace, name: 'shop' }, { type: 'merge', body: { status } }, { subresource: 'status' });
    const sentence = '1 of 2 pods ready; shop-1-a: readiness probe failed 73 times: HTTP 500 from :8080/healthz';
    const app = await until(
      async () => {
        const found = await client.get(kustomizations, { namespace: 'flux-system', name: 'shop' });
        return conditionOf(found.status?.conditions, 'Healthy')?.message.startsWith(sentence) === true ? found : undefined;
      },
      { what: 'the cause in the status' },
    );
    const why = whyOf(app, undefined);
    expect(why.phases.find(({ name }) => name === 'health')).toMatchObject({ result: 'running', detail: sentence });
    expect(conditionOf(app.status?.conditions, 'Healthy')?.message.split('\n')[1]).toBe('kubectl logs -n web shop-1-a -c web');
  });
});

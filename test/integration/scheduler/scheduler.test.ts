import { afterEach, describe, expect, it } from 'vitest';
import { events } from '../../../src/api/core/v1/event.ts';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { persistentVolumes } from '../../../src/api/core/v1/persistent-volume.ts';
import { persistentVolumeClaims } from '../../../src/api/core/v1/persistent-volume-claim.ts';
import { type Pod, pods } from '../../../src/api/core/v1/pod.ts';
import { priorityClasses } from '../../../src/api/scheduling/v1/priority-class.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import type { Client } from '../../../src/client/client.ts';
import { StatusError } from '../../../src/machinery/status-error.ts';
import { parseSchedulerConfiguration } from '../../../src/scheduler/configuration/configuration.ts';
import { createScheduler, type Scheduler } from '../../../src/scheduler/scheduler.ts';
import { nodeOf, ownedBy, podOf } from '../../support/cluster-objects.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { until } from '../../support/until.ts';

const namespace = 'default';

let plane: ControlPlane | undefined;
afterEach(async () => {
  await plane?.stop();
  plane = undefined;
});

async function start(configuration?: string, through = (client: Client): Client => client) {
  const metrics = createMetrics();
  let scheduler: Scheduler | undefined;
  plane = await startControlPlane({
    controllers: [
      (dependencies) => {
        scheduler = createScheduler({
          ...dependencies,
          client: through(dependencies.client),
          metrics,
          random: () => 0.5,
          configuration: configuration === undefined ? undefined : parseSchedulerConfiguration(configuration, 'scheduler.yaml'),
        });
        return scheduler;
      },
    ],
  });
  if (scheduler === undefined) throw new Error('no scheduler');
  return { ...plane, metrics, scheduler };
}

/** As a person writes it: without what the server adds. */
function newPod(name: string, ...[spec, metadata]: [Parameters<typeof podOf>[1]?, Parameters<typeof podOf>[2]?]): Pod {
  const { uid: _, ...rest } = podOf(name, spec, { namespace, ...metadata }).metadata;
  return { ...podOf(name, spec), metadata: rest };
}

async function addNode({ client }: ControlPlane, name: string, options: Parameters<typeof nodeOf>[1] = {}) {
  const { status, ...node } = nodeOf(name, options);
  const created = await client.create(nodes, node);
  const reported = await client.update(nodes, { ...created, ...(status === undefined ? {} : { status }) }, { subresource: 'status' });
  // A node begins as not ready; taking that taint away is the node controller's part.
  return client.update(nodes, { ...reported, spec: { ...reported.spec, taints: [] } });
}

const get = ({ client }: ControlPlane, name: string) => client.get(pods, { namespace, name });
const bound = (cluster: ControlPlane, name: string) =>
  until(async () => (await get(cluster, name)).spec.nodeName, { what: `${name} to be bound`, timeoutMs: 15_000, intervalMs: 5 });
const unscheduled = (cluster: ControlPlane, name: string) =>
  until(
    async () => {
      const condition = (await get(cluster, name)).status?.conditions?.find(({ type }) => type === 'PodScheduled');
      return condition?.status === 'False' && condition;
    },
    { what: `${name} to be unschedulable`, intervalMs: 5 },
  );
const eventOf = ({ client }: ControlPlane, reason: string, about: string) =>
  until(
    async () => (await client.list(events, { namespace })).items.find((one) => one.reason === reason && one.involvedObject.name === about),
    { what: `event ${reason} of ${about}`, intervalMs: 5 },
  );

/** A node, and a bound claim of the mode ReadWriteOncePod; gives the volumes of a pod that uses it. */
async function createExclusiveClaim(cluster: ControlPlane): Promise<NonNullable<Pod['spec']['volumes']>> {
  const { client } = cluster;
  await addNode(cluster, 'n1');
  const spec = { accessModes: ['ReadWriteOncePod'], storageClassName: '' } as const;
  const volume = { ...spec, capacity: { storage: '1Gi' }, hostPath: { path: '/data' }, claimRef: { namespace, name: 'data' } };
  await client.create(persistentVolumes, { apiVersion: 'v1', kind: 'PersistentVolume', metadata: { name: 'v' }, spec: volume });
  await client.create(persistentVolumeClaims, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'data', namespace, annotations: { 'pv.kubernetes.io/bind-completed': 'yes' } },
    spec: { ...spec, volumeName: 'v', resources: { requests: { storage: '1Gi' } } },
  });
  return [{ name: 'data', persistentVolumeClaim: { claimName: 'data' } }];
}

describe('scheduler', () => {
  it('binds a pod and says so', async () => {
    const cluster = await start();
    await addNode(cluster, 'n1');
    await cluster.client.create(pods, newPod('web', { cpu: '1' }));
    expect(await bound(cluster, 'web')).toBe('n1');
    expect((await get(cluster, 'web')).status?.conditions?.find(({ type }) => type === 'PodScheduled')?.status).toBe('True');
    expect(await eventOf(cluster, 'Scheduled', 'web')).toMatchObject({
      type: 'Normal',
      message: 'Successfully assigned default/web to n1',
    });
    expect(await cluster.metrics.text()).toContain('scheduler_schedule_attempts_total{result="scheduled",profile="default-scheduler"} 1');
  });

  it('says why a pod does not fit, and binds it when a node comes', async () => {
    const cluster = await start();
    await addNode(cluster, 'n1', { allocatable: { cpu: '1' } });
    await cluster.client.create(pods, newPod('web', { cpu: '2' }));
    const message =
      '0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.';
    expect(await unscheduled(cluster, 'web')).toMatchObject({ reason: 'Unschedulable', message });
    expect(await eventOf(cluster, 'FailedScheduling', 'web')).toMatchObject({ type: 'Warning', message });
    expect(cluster.scheduler.count('unschedulable')).toBe(1);
    await addNode(cluster, 'n2');
    expect(await bound(cluster, 'web')).toBe('n2');
  });

  it('waits for nodes when there are none', async () => {
    const cluster = await start();
    await cluster.client.create(pods, newPod('web'));
    expect((await unscheduled(cluster, 'web')).message).toBe('no nodes available to schedule pods');
    await addNode(cluster, 'n1');
    expect(await bound(cluster, 'web')).toBe('n1');
  });

  it('gives the room of a deleted pod to the one that waits', async () => {
    const cluster = await start();
    await addNode(cluster, 'n1');
    await cluster.client.create(pods, newPod('first', { cpu: '3' }));
    await bound(cluster, 'first');
    await cluster.client.create(pods, newPod('second', { cpu: '3' }));
    expect((await unscheduled(cluster, 'second')).message).toContain('1 No preemption victims found for incoming pod');
    await cluster.client.delete(pods, { namespace, name: 'first' }, { gracePeriodSeconds: 0 });
    expect(await bound(cluster, 'second')).toBe('n1');
  });

  it('spreads a waiting pod over the nodes that are left when the emptiest one is deleted', async () => {
    const cluster = await start();
    const cordoned = await addNode(cluster, 'n2');
    await cluster.client.update(nodes, { ...cordoned, spec: { ...cordoned.spec, unschedulable: true } });
    await addNode(cluster, 'n1');
    const spread = (name: string): Pod => {
      const pod = newPod(name, {}, { labels: { app: 'web' } });
      const labelSelector = { matchLabels: { app: 'web' } };
      const topologySpreadConstraints = [
        { maxSkew: 1, topologyKey: 'kubernetes.io/hostname', whenUnsatisfiable: 'DoNotSchedule', labelSelector },
      ];
      return { ...pod, spec: { ...pod.spec, topologySpreadConstraints } };
    };
    await cluster.client.create(pods, spread('first'));
    expect(await bound(cluster, 'first')).toBe('n1');
    await cluster.client.create(pods, spread('second'));
    expect((await unscheduled(cluster, 'second')).message).toContain("1 node(s) didn't match pod topology spread constraints");
    await cluster.client.delete(nodes, { name: 'n2' });
    expect(await bound(cluster, 'second')).toBe('n1');
  });

  it('leaves gated pods and pods of other schedulers alone, and keeps no room for them', async () => {
    const cluster = await start();
    await addNode(cluster, 'n1');
    const gated = await cluster.client.create(pods, newPod('gated', { cpu: '2', schedulingGates: [{ name: 'shop.example/quota' }] }));
    await cluster.client.patch(
      pods,
      { namespace, name: 'gated' },
      { type: 'merge', body: { status: { nominatedNodeName: 'n1' } } },
      { subresource: 'status' },
    );
    await cluster.client.create(pods, newPod('foreign', { schedulerName: 'other' }));
    // Only one of the two has room on the node.
    await cluster.client.create(pods, newPod('web', { cpu: '3' }));
    await bound(cluster, 'web');
    await cluster.client.delete(pods, { namespace, name: 'web' }, { gracePeriodSeconds: 0 });
    expect(await unscheduled(cluster, 'gated')).toMatchObject({ reason: 'SchedulingGated' });
    expect((await get(cluster, 'foreign')).spec.nodeName).toBeUndefined();
    await cluster.client.patch(
      pods,
      { namespace, name: gated.metadata.name },
      { type: 'json', body: [{ op: 'replace', path: '/spec/schedulingGates', value: [] }] },
    );
    expect(await bound(cluster, 'gated')).toBe('n1');
  });

  it('removes a less important pod for one that fits nowhere else, and gives it the room', async () => {
    const cluster = await start();
    const { client } = cluster;
    await addNode(cluster, 'n1');
    for (const [name, value] of [
      ['low', -10],
      ['high', 1_000],
    ] as const) {
      await client.create(priorityClasses, { apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', metadata: { name }, value });
    }
    await client.create(pods, newPod('low', { cpu: '3', priorityClassName: 'low' }));
    await bound(cluster, 'low');
    await client.create(pods, newPod('high', { cpu: '3', priorityClassName: 'high' }));
    const nominated = await until(
      async () => {
        const pod = await get(cluster, 'high');
        return pod.status?.nominatedNodeName !== undefined && pod;
      },
      { what: 'high to be nominated', intervalMs: 5 },
    );
    expect(nominated.status?.nominatedNodeName).toBe('n1');
    expect(nominated.status?.conditions?.find(({ type }) => type === 'PodScheduled')).toMatchObject({
      reason: 'Unschedulable',
      message: '0/1 nodes are available: 1 Insufficient cpu.',
    });
    const victim = await until(
      async () => {
        const pod = await get(cluster, 'low');
        return pod.metadata.deletionTimestamp !== undefined && pod;
      },
      { what: 'low to be deleted', intervalMs: 5 },
    );
    expect(victim.metadata.deletionGracePeriodSeconds).toBe(30);
    expect(victim.status?.conditions?.find(({ type }) => type === 'DisruptionTarget')).toMatchObject({
      status: 'True',
      reason: 'PreemptionByScheduler',
      message: 'default-scheduler: preempting to accommodate a higher priority pod',
    });
    expect(await eventOf(cluster, 'Preempted', 'low')).toMatchObject({
      type: 'Normal',
      message: `Preempted by pod ${nominated.metadata.uid} on node n1`,
    });
    // While the victim ends, its room is kept from a pod that is less important.
    await client.create(pods, newPod('middle', { cpu: '2' }));
    expect((await unscheduled(cluster, 'middle')).message).toContain('1 Insufficient cpu');
    await client.delete(pods, { namespace, name: 'low' }, { gracePeriodSeconds: 0 });
    expect(await bound(cluster, 'high')).toBe('n1');
    expect((await get(cluster, 'high')).status?.nominatedNodeName).toBeUndefined();
    expect(await cluster.metrics.text()).toContain('scheduler_preemption_attempts_total 1');
  });

  it('makes room elsewhere for a pod whose nomination a more important one takes, however late that is written', async () => {
    let cleared = (): void => undefined;
    const isCleared = new Promise<void>((resolve) => {
      cleared = resolve;
    });
    let nominatedAgain = (): void => undefined;
    const isNominatedAgain = new Promise<void>((resolve) => {
      nominatedAgain = resolve;
    });
    const cluster = await start(undefined, (client) => ({
      ...client,
      async patch(resource, ref, patch, options) {
        const { status } = patch.body as { readonly status?: Pod['status'] };
        const isClearing = ref.name === 'medium' && (status?.nominatedNodeName as unknown) === null;
        // The next nomination does not overtake it, or would be lost.
        if (isClearing) await Promise.race([isNominatedAgain, new Promise((resolve) => setTimeout(resolve, 50))]);
        const answer = await client.patch(resource, ref, patch, options);
        if (isClearing) cleared();
        else if (ref.name === 'medium' && status?.nominatedNodeName !== undefined) {
          if (nominations.push(status.nominatedNodeName) === 2) nominatedAgain();
        }
        return answer;
      },
    }));
    const nominations: string[] = [];
    const { client } = cluster;
    for (const [name, value] of Object.entries({ medium: 100, high: 1_000 })) {
      await client.create(priorityClasses, { apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', metadata: { name }, value });
    }
    for (const name of ['n1', 'n2']) {
      await addNode(cluster, name);
      await client.create(pods, newPod(`low-${name}`, { cpu: '3', nodeSelector: { 'kubernetes.io/hostname': name } }));
      await bound(cluster, `low-${name}`);
    }
    const nominated = (name: string, isOther: (node: string) => boolean) =>
      until(
        async () => {
          const { nominatedNodeName = '' } = (await get(cluster, name)).status ?? {};
          return nominatedNodeName !== '' && isOther(nominatedNodeName) && nominatedNodeName;
        },
        { what: `${name} to be nominated`, intervalMs: 5 },
      );
    await client.create(pods, newPod('medium', { cpu: '3', priorityClassName: 'medium' }));
    const first = await nominated('medium', () => true);
    await client.create(pods, newPod('high', { cpu: '3', priorityClassName: 'high' }));
    expect(await nominated('high', () => true)).toBe(first);
    // Its victim there has not ended yet.
    const second = await nominated('medium', (node) => node !== first);
    expect((await get(cluster, `low-${second}`)).metadata.deletionTimestamp).toBeDefined();
    await isCleared;
    expect((await get(cluster, 'medium')).status?.nominatedNodeName).toBe(second);
  });

  it('preempts again after the API refused to delete a victim', async () => {
    let refusals = 0;
    const cluster = await start(undefined, (client) => ({
      ...client,
      delete: async (...args) => {
        refusals += 1;
        if (refusals === 1) throw new Error('etcdserver: request timed out');
        return client.delete(...args);
      },
    }));
    const { client } = cluster;
    await addNode(cluster, 'n1');
    await client.create(priorityClasses, {
      apiVersion: 'scheduling.k8s.io/v1',
      kind: 'PriorityClass',
      metadata: { name: 'high' },
      value: 9,
    });
    await client.create(pods, newPod('low', { cpu: '3' }));
    await bound(cluster, 'low');
    await client.create(pods, newPod('high', { cpu: '3', priorityClassName: 'high' }));
    const isLeaving = async () => (await get(cluster, 'low')).metadata.deletionTimestamp !== undefined;
    await until(isLeaving, { what: 'low to be deleted', timeoutMs: 15_000, intervalMs: 5 });
  });

  it('gives the room of victims to the pods of the highest priority, also when they come last', async () => {
    const cluster = await start();
    const { client } = cluster;
    await addNode(cluster, 'n1', { allocatable: { cpu: '10' } });
    const create = async (kind: string, value: number, count: number) => {
      await client.create(priorityClasses, { apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', metadata: { name: kind }, value });
      const names = Array.from({ length: count }, (_, index) => `${kind}-${index}`);
      await Promise.all(names.map((name) => client.create(pods, newPod(name, { cpu: '1', priorityClassName: kind }))));
    };
    const untilAll = (kind: string, fits: (pod: Pod) => boolean, count: number) =>
      until(
        async () => {
          const { items } = await client.list(pods, { namespace });
          return items.filter((pod) => pod.metadata.name.startsWith(kind) && fits(pod)).length === count;
        },
        { what: `${count} pods of priority ${kind}`, timeoutMs: 30_000, intervalMs: 20 },
      );
    const isBound = ({ spec }: Pod) => spec.nodeName !== undefined;
    await create('low', 1, 10);
    await untilAll('low', isBound, 10);
    await create('medium', 100, 10);
    await untilAll('low', ({ metadata }) => metadata.deletionTimestamp !== undefined, 10);
    await create('high', 1_000, 5);
    await untilAll('high', ({ status }) => status?.nominatedNodeName === 'n1', 5);
    await Promise.all(
      Array.from({ length: 10 }, (_, index) => client.delete(pods, { namespace, name: `low-${index}` }, { gracePeriodSeconds: 0 })),
    );
    await untilAll('high', isBound, 5);
    await untilAll('medium', isBound, 5);
  });

  it('binds a pod after the report on its former attempt, so that a bound pod says that it is bound', async () => {
    const order: string[] = [];
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const cluster = await start(undefined, (client) => ({
      ...client,
      patch: async (...args) => {
        order.push('report');
        await held;
        return client.patch(...args);
      },
      createSubresource: async (...args) => {
        order.push('binding');
        return client.createSubresource(...args);
      },
    }));
    await cluster.client.create(pods, newPod('web'));
    await until(() => order.length === 1, { what: 'the report to be under way', intervalMs: 2 });
    await addNode(cluster, 'n1');
    await until(() => cluster.scheduler.count('unschedulable') + cluster.scheduler.count('active') === 0, {
      what: 'a node',
      intervalMs: 2,
    });
    expect(order).toEqual(['report']);
    release();
    await bound(cluster, 'web');
    expect((await get(cluster, 'web')).status?.conditions?.find(({ type }) => type === 'PodScheduled')?.status).toBe('True');
  });

  it('counts a binding whose answer got lost as done', async () => {
    let bindings = 0;
    const cluster = await start(undefined, (client) => ({
      ...client,
      createSubresource: async (...args) => {
        bindings += 1;
        await client.createSubresource(...args);
        throw new Error('socket hang up');
      },
    }));
    await addNode(cluster, 'n1');
    await cluster.client.create(pods, newPod('web'));
    expect(await eventOf(cluster, 'Scheduled', 'web')).toBeDefined();
    expect(bindings).toBe(1);
  });

  it('gives a claim of the mode ReadWriteOncePod to one pod, though two profiles want it at the same time', async () => {
    const cluster = await start(
      'apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles: [{schedulerName: a}, {schedulerName: b}]',
    );
    const { client } = cluster;
    const volumes = await createExclusiveClaim(cluster);
    await Promise.all(['a', 'b'].map((schedulerName) => client.create(pods, newPod(schedulerName, { schedulerName, volumes }))));
    const isSettled = async () => {
      const both = await Promise.all(['a', 'b'].map((name) => get(cluster, name)));
      return (
        both.every(({ spec: { nodeName }, status }) => nodeName ?? status?.conditions?.some(({ type }) => type === 'PodScheduled')) && both
      );
    };
    const both = await until(isSettled, { what: 'both pods to be tried', intervalMs: 5 });
    expect(both.filter(({ spec: { nodeName } }) => nodeName === 'n1')).toHaveLength(1);
  });

  it.each(['succeeds', 'fails'])(
    'gives that claim to one of two pods of a profile, though the binding of the first is slow and %s',
    async (end) => {
      let answer = (): void => undefined;
      const held = new Promise<void>((resolve) => {
        answer = resolve;
      });
      const bindings: string[] = [];
      const cluster = await start(undefined, (client) => ({
        ...client,
        async createSubresource(...args) {
          if (bindings.push(args[1].name) === 1) {
            await held;
            if (end === 'fails') throw new StatusError({ code: 503, reason: 'ServiceUnavailable', message: 'later' });
          }
          return client.createSubresource(...args);
        },
      }));
      const volumes = await createExclusiveClaim(cluster);
      await Promise.all(['a', 'b'].map((name) => cluster.client.create(pods, newPod(name, { volumes }))));
      const [first = ''] = await until(() => bindings.length === 1 && bindings, { what: 'the first binding', intervalMs: 2 });
      const second = first === 'a' ? 'b' : 'a';
      expect((await unscheduled(cluster, second)).message).toContain('1 node has pod using PersistentVolumeClaim with the same name');
      answer();
      const isBound = async () =>
        (await Promise.all(['a', 'b'].map((name) => get(cluster, name)))).filter(({ spec }) => spec.nodeName === 'n1');
      const [winner] = await until(async () => (await isBound()).length > 0 && isBound(), { what: 'a pod to be bound', intervalMs: 5 });
      const loser = winner?.metadata.name === 'a' ? 'b' : 'a';
      if (end === 'succeeds') expect(winner?.metadata.name).toBe(first);
      await unscheduled(cluster, loser);
      expect(await isBound()).toHaveLength(1);
      await cluster.client.delete(pods, { namespace, name: winner?.metadata.name ?? '' }, { gracePeriodSeconds: 0 });
      expect(await bound(cluster, loser)).toBe('n1');
    },
  );

  it('schedules the pods of each profile by its own plugins', async () => {
    const cluster = await start(`apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: default-scheduler
- schedulerName: packed
  plugins:
    score:
      disabled: [{name: '*'}]
      enabled: [{name: NodeResourcesFit}]
  pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated}}
`);
    await addNode(cluster, 'n1');
    await addNode(cluster, 'n2');
    await cluster.client.create(pods, newPod('there', { cpu: '1', nodeSelector: { 'kubernetes.io/hostname': 'n1' } }));
    await bound(cluster, 'there');
    await cluster.client.create(pods, newPod('packed', { cpu: '1', schedulerName: 'packed' }));
    expect(await bound(cluster, 'packed')).toBe('n1');
    await cluster.client.create(pods, newPod('spread', { cpu: '1' }));
    expect(await bound(cluster, 'spread')).toBe('n2');
    expect(await cluster.metrics.text()).toContain('scheduler_schedule_attempts_total{result="scheduled",profile="packed"} 1');
  });

  it('does not give away twice what it promised, when a thousand pods come at once', async () => {
    const cluster = await start();
    for (let index = 0; index < 20; index += 1) await addNode(cluster, `n${index}`, { allocatable: { cpu: '10' } });
    await Promise.all(
      Array.from({ length: 1_000 }, (_, index) => cluster.client.create(pods, newPod(`web-${index}`, { cpu: '200m' }, ownedBy('rs')))),
    );
    await until(() => cluster.scheduler.count('active') + cluster.scheduler.count('assumed') === 0, { what: 'all bound', intervalMs: 2 });
    const { items } = await cluster.client.list(pods, { namespace });
    const perNode = new Map<string, number>();
    for (const { spec } of items) perNode.set(spec.nodeName ?? '', (perNode.get(spec.nodeName ?? '') ?? 0) + 1);
    expect([...perNode.values()]).toEqual(Array.from({ length: 20 }, () => 50));
  });
});

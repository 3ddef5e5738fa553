import { describe, expect, it } from 'vitest';
import type { Node } from '../../../src/api/core/v1/node.ts';
import type { Pod } from '../../../src/api/core/v1/pod.ts';
import type { Informer, InformerHandler } from '../../../src/client/informer.ts';
import type { KubeObject } from '../../../src/machinery/object.ts';
import { watchCluster } from '../../../src/scheduler/cluster-watch.ts';
import { defaultProfile } from '../../../src/scheduler/configuration/configuration.ts';
import { createHelpedPods } from '../../../src/scheduler/helped-pods.ts';
import { createProfile } from '../../../src/scheduler/profile.ts';
import { createSchedulingQueue, type QueuedPod } from '../../../src/scheduler/queue.ts';
import { nodeOf, podOf } from '../../support/cluster-objects.ts';
import { detachedHandle } from '../../support/scheduler-profile.ts';
import { schedulingCluster } from '../../support/scheduling-cluster.ts';
import { createDraw, type Draw, drawNode, drawnNamespaces, drawnServices, drawPod } from '../../support/scheduling-draws.ts';

const clusters = 60;
/** Among these is one whose node goes, and with it the pod that keeps another one away (262). */
const firstSeed = 210;

/** Objects of one kind as a test changes them, seen as an informer shows them. */
function source<T extends KubeObject>() {
  let handler: InformerHandler<T> | undefined;
  const objects = new Map<string, T>();
  const informer = {
    addHandler(next: InformerHandler<T>) {
      handler = next;
      return () => {};
    },
  } as unknown as Informer<T>;
  return {
    informer,
    objects,
    set(name: string, after: T) {
      const before = objects.get(name);
      objects.set(name, after);
      handler?.(before === undefined ? { after } : { before, after });
    },
    delete(name: string) {
      const before = objects.get(name);
      objects.delete(name);
      if (before !== undefined) handler?.({ before });
    },
  };
}

function setUp(draw: Draw) {
  const namespaces: Record<string, Record<string, string>> = { ...drawnNamespaces };
  const cluster = schedulingCluster([], [], { namespaceLabels: namespaces, serviceSelectors: drawnServices, random: draw.random });
  const { cache, clock, nominator } = cluster;
  const queue = createSchedulingQueue({ clock });
  const profile = createProfile(detachedHandle(clock), defaultProfile);
  const helped = createHelpedPods(() => profile);
  const [nodes, pods] = [source<Node>(), source<Pod>()];
  const arrived: QueuedPod[] = [];
  watchCluster({
    nodes: nodes.informer,
    pods: pods.informer,
    owns: () => true,
    cache,
    queue,
    nominator,
    observe(pod, object) {
      if (object === undefined || object.spec.nodeName !== undefined) queue.delete(pod);
      else if (pod.hold === 'gated') arrived.push(pod);
    },
    onChange: helped.note,
    onParkedPodChanged: (pod) => arrived.push(pod),
    onGated: () => {},
  });
  const relabel = (name: string, labels: Record<string, string>) => {
    namespaces[name] = labels;
    cache.topologyChanged();
    helped.note('NamespaceChanged', {});
  };
  return { ...cluster, queue, helped, nodes, pods, arrived, relabel };
}
type World = ReturnType<typeof setUp>;

const fresh = ({ algorithm, clock }: World, pod: QueuedPod) => {
  clock.advance(21);
  return algorithm.choose(pod.record);
};

/** Tries the pods as the scheduler does, until there is nothing to try: a pod that is placed may help others. */
function settle(world: World): void {
  const { queue, helped, arrived, pods } = world;
  for (let tries = [...arrived.splice(0), ...helped.take(queue.parked())]; tries.length > 0; ) {
    for (const pod of tries) {
      if (queue.get(pod.record.key) !== pod) continue;
      const decision = fresh(world, pod);
      if ('unfit' in decision) {
        pod.rejectedBy = decision.unfit.plugins;
        queue.park(pod);
        continue;
      }
      const { pod: object } = pod.record;
      pods.set(pod.record.key, { ...object, spec: { ...object.spec, nodeName: decision.node.name } });
    }
    tries = [...arrived.splice(0), ...helped.take(queue.parked())];
  }
}

function change(world: World, draw: Draw, step: number): void {
  const { nodes, pods, relabel } = world;
  const placed = [...pods.objects].filter(([, pod]) => pod.spec.nodeName !== undefined);
  const [key, pod] = placed[draw.below(placed.length)] ?? [];
  const name = [...nodes.objects.keys()][draw.below(nodes.objects.size)] ?? 'n0';
  const node = nodes.objects.get(name);
  const kind = draw.below(10);
  if (kind === 0) nodes.set(`n${step}`, drawNode(draw, `n${step}`));
  else if (kind === 1) nodes.delete(name);
  else if (kind === 2) nodes.set(name, drawNode(draw, name));
  else if (kind === 3 && node !== undefined)
    nodes.set(name, { ...node, spec: { ...node.spec, taints: [], unschedulable: draw.chance(0.3) } });
  else if (kind === 4 && node !== undefined) nodes.set(name, { ...node, status: drawNode(draw, name).status } as Node);
  else if (kind === 5) relabel('other', { team: draw.of('a', 'b') });
  else if (kind === 6 && key !== undefined && pod !== undefined) {
    pods.set(key, { ...pod, metadata: { ...pod.metadata, labels: { app: draw.of('a', 'b'), rev: draw.of('1', '2') } } });
  } else if (kind === 7 && key !== undefined && pod !== undefined) {
    pods.set(key, { ...pod, metadata: { ...pod.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } });
  } else if (kind === 8 && key !== undefined && pod !== undefined) {
    resize(pods, key, pod, draw);
  } else if (key !== undefined) pods.delete(key);
}

/** A resize comes in steps: the spec says less, and the container has it when its node has changed it. */
function resize(pods: World['pods'], key: string, pod: Pod, draw: Draw): void {
  const [first, ...others] = pod.spec.containers;
  if (first === undefined) return;
  const before = first.resources?.requests ?? {};
  const requests = { cpu: `${50 * draw.below(4)}m`, memory: `${64 * draw.below(4)}Mi` };
  const wanted = { ...pod, spec: { ...pod.spec, containers: [{ ...first, resources: { requests } }, ...others] } };
  const statusOf = (has: object) => ({
    status: { ...pod.status, containerStatuses: [{ name: first.name, allocatedResources: requests, resources: { requests: has } }] },
  });
  pods.set(key, { ...wanted, ...statusOf(before) } as unknown as Pod);
  if (draw.chance(0.7)) pods.set(key, { ...wanted, ...statusOf(requests) } as unknown as Pod);
}

describe('a parked pod', () => {
  it(`is tried again by the change that makes it fit, in ${clusters} random clusters`, () => {
    let parked = 0;
    let spared = 0;
    for (let seed = firstSeed; seed < firstSeed + clusters; seed += 1) {
      const draw = createDraw(seed);
      const world = setUp(draw);
      const { queue, helped, nodes, pods } = world;
      for (let index = 0; index < 3; index += 1) nodes.set(`n${index}`, drawNode(draw, `n${index}`));
      for (let step = 3; step < 30; step += 1) {
        if (draw.chance(0.6)) {
          const pod = drawPod(draw, `p${step}`);
          pods.set(`${pod.metadata.namespace}/${pod.metadata.name}`, pod);
        } else change(world, draw, step);
        const before = new Set(queue.parked());
        const taken = new Set(helped.take(queue.parked()));
        for (const pod of before) {
          if (taken.has(pod)) continue;
          spared += 1;
          const decision = fresh(world, pod);
          if ('node' in decision) {
            expect({ seed, step, pod: pod.record.key, rejectedBy: [...pod.rejectedBy], node: decision.node.name }).toEqual({ seed, step });
          }
        }
        parked += before.size;
        world.arrived.push(...taken);
        settle(world);
      }
    }
    // The hints are of use: most pods are not tried at most changes.
    expect(parked).toBeGreaterThan(clusters);
    expect(spared / parked).toBeGreaterThan(0.5);
  }, 60_000);

  it('is tried again when the container of another one gets less, and not when it was only asked for', () => {
    const world = setUp(createDraw(1));
    const { pods, nodes, queue, helped, arrived } = world;
    nodes.set('n1', nodeOf('n1'));
    const there = podOf('there', { cpu: '4', nodeName: 'n1' });
    pods.set('shop/there', there);
    pods.set('shop/waits', podOf('waits', { cpu: '2' }));
    settle(world);
    expect([...queue.parked()].map(({ record }) => record.key)).toEqual(['shop/waits']);
    const amounts = (cpu: string) => ({ requests: { cpu } });
    const wanted = podOf('there', { nodeName: 'n1', containers: [{ name: 'main', resources: amounts('1') }] });
    for (const cpu of ['4', '1']) {
      const containerStatuses = [{ name: 'main', allocatedResources: { cpu }, resources: amounts('4') }];
      pods.set('shop/there', { ...wanted, status: { containerStatuses } } as unknown as Pod);
      expect(helped.take(queue.parked())).toEqual([]);
    }
    const containerStatuses = [{ name: 'main', allocatedResources: { cpu: '1' }, resources: amounts('1') }];
    pods.set('shop/there', { ...wanted, status: { containerStatuses } } as unknown as Pod);
    expect(arrived).toEqual([]);
    settle(world);
    expect(pods.objects.get('shop/waits')?.spec.nodeName).toBe('n1');
  });
});

import { describe, expect, it } from 'vitest';
import { createSchedulerCache } from '../../../src/scheduler/cache.ts';
import { createShapeReader } from '../../../src/scheduler/pod-record.ts';
import { nodeOf, ownedBy, podOf } from '../../support/cluster-objects.ts';
import { createManualClock } from '../../support/manual-clock.ts';

function setUp() {
  const clock = createManualClock();
  const cache = createSchedulerCache({ clock, namespaceLabels: () => undefined });
  const shapes = createShapeReader();
  cache.setNode(nodeOf('n1'));
  cache.setNode(nodeOf('n2'));
  const used = () => cache.nodes.map((node) => node.usedMilliCpu);
  return { clock, cache, shapes, used };
}

describe('scheduler cache', () => {
  it('counts a promised pod until the promise is taken back', () => {
    const { cache, shapes, used } = setUp();
    const pod = shapes.read(podOf('a', { cpu: '1' }));
    cache.assume(pod, cache.nodes[0]!);
    expect(used()).toEqual([1_000, 0]);
    cache.forget(pod.key);
    expect(used()).toEqual([0, 0]);
  });

  it('does not take back what the API has confirmed', () => {
    const { cache, shapes, used } = setUp();
    const pod = shapes.read(podOf('a', { cpu: '1' }));
    cache.assume(pod, cache.nodes[0]!);
    cache.setPod(pod, 'n1');
    cache.forget(pod.key);
    expect([used(), cache.assumedPods]).toEqual([[1_000, 0], 0]);
  });

  it('follows the API when it put the pod elsewhere', () => {
    const { cache, shapes, used } = setUp();
    const pod = shapes.read(podOf('a', { cpu: '1' }));
    cache.assume(pod, cache.nodes[0]!);
    cache.setPod(pod, 'n2');
    expect(used()).toEqual([0, 1_000]);
  });

  it('lets an accepted binding expire that nobody confirms', () => {
    const { clock, cache, shapes } = setUp();
    const pod = shapes.read(podOf('a', { cpu: '1' }));
    cache.assume(pod, cache.nodes[0]!);
    clock.advance(60_000);
    expect(cache.expired()).toEqual([]);
    cache.bindingFinished(pod.key);
    clock.advance(30_000);
    expect(cache.expired()).toEqual([pod.key]);
  });

  it('remembers the pods of a node that comes back', () => {
    const { cache, shapes, used } = setUp();
    cache.setPod(shapes.read(podOf('a', { cpu: '1' })), 'n1');
    cache.removeNode('n1');
    expect(cache.nodes.map(({ name }) => name)).toEqual(['n2']);
    cache.setNode(nodeOf('n1'));
    expect(used()).toEqual([0, 1_000]);
  });

  it('finds pods by owner and namespace as they come, move and go', () => {
    const { cache, shapes } = setUp();
    const found = () =>
      [[...cache.podsOfOwner('rs')], [...cache.podsIn('shop')]].map((all) => all.map(({ pod, node }) => [pod.key, node.name]));
    const pod = shapes.read(podOf('a', { cpu: '1' }, ownedBy('rs')));
    cache.assume(pod, cache.nodes[0]!);
    cache.setPod(shapes.read(podOf('b')), 'n1');
    expect(found()).toEqual([
      [['shop/a', 'n1']],
      [
        ['shop/a', 'n1'],
        ['shop/b', 'n1'],
      ],
    ]);
    cache.setPod(pod, 'n2');
    expect(found()[0]).toEqual([['shop/a', 'n2']]);
    cache.removePod('shop/a');
    expect(found()).toEqual([[], [['shop/b', 'n1']]]);
  });

  it('knows the domains of nodes that have all labels, as the labels are', () => {
    const { cache } = setUp();
    const zones = () => [...(cache.domains(['zone', 'disk']).get('zone') ?? [])];
    cache.setNode(nodeOf('n1', { labels: { zone: 'a', disk: 'ssd' } }));
    cache.setNode(nodeOf('n2', { labels: { zone: 'b' } }));
    expect(zones()).toEqual(['a']);
    cache.setNode(nodeOf('n2', { labels: { zone: 'b', disk: 'ssd' } }));
    expect(zones()).toEqual(['a', 'b']);
    cache.removeNode('n1');
    expect(zones()).toEqual(['b']);
  });

  it('tells what changed on a node', () => {
    const { cache } = setUp();
    expect(cache.setNode(nodeOf('n1')).changes).toEqual([]);
    expect(cache.setNode(nodeOf('n1', { spec: { unschedulable: true } })).changes).toEqual(['NodeTaintsChanged']);
    expect(cache.setNode(nodeOf('n1', { labels: { a: 'b' }, allocatable: { cpu: '8' } })).changes).toEqual([
      'NodeAllocatableChanged',
      'NodeLabelsChanged',
      'NodeTaintsChanged',
    ]);
    expect(cache.setNode(nodeOf('n3')).changes).toContain('NodeAdded');
  });
});

describe('shapes', () => {
  it('are one for pods without an owner that differ in names alone, also those of their volumes', () => {
    const shapes = createShapeReader();
    const withToken = (name: string, cpu = '1') => {
      const pod = podOf(name, { cpu, volumes: [{ name: `kube-api-access-${name}`, projected: { sources: [] } }] });
      const [main] = pod.spec.containers;
      const volumeMounts = [{ name: `kube-api-access-${name}`, mountPath: '/token' }];
      return shapes.read({ ...pod, spec: { ...pod.spec, containers: main === undefined ? [] : [{ ...main, volumeMounts }] } }).shape;
    };
    expect(withToken('a')).toBe(withToken('b'));
    expect(withToken('c', '2')).not.toBe(withToken('a'));
  });
});

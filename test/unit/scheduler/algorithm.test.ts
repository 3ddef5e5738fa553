import { describe, expect, it } from 'vitest';
import type { Node } from '../../../src/api/core/v1/node.ts';
import type { Pod } from '../../../src/api/core/v1/pod.ts';
import { nodesToFind } from '../../../src/scheduler/algorithm.ts';
import { podTopologySpread } from '../../../src/scheduler/plugins/pod-topology-spread.ts';
import { nodeOf, ownedBy, podOf } from '../../support/cluster-objects.ts';
import { createManualClock } from '../../support/manual-clock.ts';
import { detachedHandle } from '../../support/scheduler-profile.ts';
import { schedulingCluster } from '../../support/scheduling-cluster.ts';

const namespaceLabels: Record<string, Record<string, string>> = { shop: { team: 'a' }, other: { team: 'b' } };

const clusterOf = (nodes: readonly Node[], placed: readonly (readonly [Pod, string])[] = []) =>
  schedulingCluster(nodes, placed, { namespaceLabels });

const notHelpful = (nodes: number) => `preemption: 0/${nodes} nodes are available: ${nodes} Preemption is not helpful for scheduling.`;

describe('filters, in the words of kube-scheduler', () => {
  it('says that there are no nodes', () => {
    expect(clusterOf([]).choose(podOf('a'))).toBe('no nodes available to schedule pods');
  });

  it('counts the reasons of all nodes, sorted as text', () => {
    const { choose } = clusterOf([
      nodeOf('n1', { spec: { taints: [{ key: 'dedicated', value: 'gpu', effect: 'NoSchedule' }] } }),
      nodeOf('n2', { allocatable: { cpu: '1' } }),
      nodeOf('n3', { allocatable: { cpu: '1' } }),
    ]);
    expect(choose(podOf('a', { cpu: '2' }))).toBe(
      `0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. ${notHelpful(3)}`,
    );
  });

  it('tells shortage that removing pods would end from shortage that it would not', () => {
    const { choose } = clusterOf([nodeOf('n1'), nodeOf('n2', { allocatable: { cpu: '1' } })], [[podOf('big', { cpu: '3' }), 'n1']]);
    expect(choose(podOf('a', { cpu: '2' }))).toBe(
      '0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling.',
    );
  });

  it.each<[string, Pod, Node, string]>([
    ['cordoned node', podOf('a'), nodeOf('n1', { spec: { unschedulable: true } }), '1 node(s) were unschedulable'],
    [
      'taint without value',
      podOf('a'),
      nodeOf('n1', { spec: { taints: [{ key: 'node.kubernetes.io/unreachable', effect: 'NoExecute' }] } }),
      '1 node(s) had untolerated taint(s)',
    ],
    ['node selector', podOf('a', { nodeSelector: { disk: 'ssd' } }), nodeOf('n1'), "1 node(s) didn't match Pod's node affinity/selector"],
    [
      'node affinity',
      podOf('a', {
        affinity: {
          nodeAffinity: {
            requiredDuringSchedulingIgnoredDuringExecution: {
              nodeSelectorTerms: [{ matchExpressions: [{ key: 'cores', operator: 'Gt', values: ['8'] }] }],
            },
          },
        },
      }),
      nodeOf('n1', { labels: { cores: '8' } }),
      "1 node(s) didn't match Pod's node affinity/selector",
    ],
    ['memory', podOf('a', { memory: '9Gi' }), nodeOf('n1'), '1 Insufficient memory'],
    [
      'local ephemeral storage',
      podOf('a', { containers: [{ name: 'm', resources: { requests: { 'ephemeral-storage': '21Gi' } } }] }),
      nodeOf('n1'),
      '1 Insufficient ephemeral-storage',
    ],
    [
      'extended resource',
      podOf('a', { containers: [{ name: 'm', resources: { requests: { 'example.com/gpu': '1' } } }] }),
      nodeOf('n1'),
      '1 Insufficient example.com/gpu',
    ],
    [
      'spread over a label the node lacks',
      podOf('a', { topologySpreadConstraints: [{ maxSkew: 1, topologyKey: 'rack', whenUnsatisfiable: 'DoNotSchedule' }] }),
      nodeOf('n1'),
      "1 node(s) didn't match pod topology spread constraints (missing required label)",
    ],
    [
      'affinity to a pod that is not there',
      podOf('a', {
        affinity: {
          podAffinity: {
            requiredDuringSchedulingIgnoredDuringExecution: [
              { topologyKey: 'kubernetes.io/hostname', labelSelector: { matchLabels: { app: 'cache' } } },
            ],
          },
        },
      }),
      nodeOf('n1'),
      "1 node(s) didn't match pod affinity rules",
    ],
  ])('%s', (_, pod, node, why) => {
    expect(clusterOf([node]).choose(pod)).toBe(`0/1 nodes are available: ${why}. ${notHelpful(1)}`);
  });

  it('says when a node has too many pods', () => {
    const { choose } = clusterOf([nodeOf('n1', { allocatable: { pods: '1' } })], [[podOf('there'), 'n1']]);
    expect(choose(podOf('a'))).toBe(
      '0/1 nodes are available: 1 Too many pods. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.',
    );
  });

  it('looks at no node but those that a pod names, as a pod of a DaemonSet does', () => {
    const naming = (...terms: readonly (readonly string[])[]) => {
      const nodeSelectorTerms = terms.map((values) => ({ matchFields: [{ key: 'metadata.name', operator: 'In', values: [...values] }] }));
      return podOf('a', {
        cpu: '2',
        affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } } },
      });
    };
    const { choose, place } = clusterOf([nodeOf('n1'), nodeOf('n2', { allocatable: { cpu: '1' } }), nodeOf('n3')]);
    expect(choose(naming(['n2']))).toBe(
      `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]. ${notHelpful(3)}`,
    );
    expect(choose(naming(['n9']))).toBe(`0/3 nodes are available: 3 node(s) didn't satisfy plugin(s) [NodeAffinity]. ${notHelpful(3)}`);
    expect(place(naming(['n2'], ['n9', 'n3']))).toBe('n3');
  });

  it('says that a pod names two nodes at once', () => {
    const both = ['n1', 'n2'].map((name) => ({ key: 'metadata.name', operator: 'In', values: [name] }));
    const nodeSelectorTerms = [{ matchFields: both }];
    const pod = podOf('a', { affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } } } });
    expect(clusterOf([nodeOf('n1'), nodeOf('n2')]).choose(pod)).toContain('0/2 nodes are available: pod affinity terms conflict.');
  });

  it('lets one pod of a node write to a disk, and several read one', () => {
    const withDisk = (name: string, iqn: string, readOnly: boolean) =>
      podOf(name, { volumes: [{ name: 'd', iscsi: { targetPortal: '10.0.0.1', iqn, lun: 0, readOnly } }] });
    const there: readonly (readonly [Pod, string])[] = [
      [withDisk('reader', 'read', true), 'n1'],
      [withDisk('writer', 'written', false), 'n1'],
    ];
    const { choose } = clusterOf([nodeOf('n1')], there);
    expect(choose(withDisk('a', 'read', true))).toBe('n1');
    for (const [iqn, readOnly] of [['read', false] as const, ['written', true] as const]) {
      expect(choose(withDisk('b', iqn, readOnly))).toContain('1 node(s) had no available disk.');
    }
  });

  it('never ignores claims for devices', () => {
    const pod = podOf('a', { resourceClaims: [{ name: 'gpu' }] });
    expect(clusterOf([nodeOf('n1')]).choose(pod)).toBe(
      `0/1 nodes are available: waiting for dynamic resource controller to create the resourceclaim for pod claim "gpu". ${notHelpful(1)}`,
    );
  });

  it('keeps host ports apart by protocol and address', () => {
    const withPort = (name: string, hostPort: number, hostIP?: string) =>
      podOf(name, { containers: [{ name: 'm', ports: [{ containerPort: 80, hostPort, ...(hostIP === undefined ? {} : { hostIP }) }] }] });
    const { choose } = clusterOf([nodeOf('n1')], [[withPort('there', 8080, '127.0.0.1'), 'n1']]);
    expect(choose(withPort('a', 8081))).toBe('n1');
    expect(choose(withPort('b', 8080, '127.0.0.2'))).toBe('n1');
    expect(choose(withPort('c', 8080))).toContain("1 node(s) didn't have free ports for the requested pod ports");
  });

  it('lets tolerations through', () => {
    const { choose } = clusterOf([
      nodeOf('n1', { spec: { unschedulable: true, taints: [{ key: 'a', value: 'b', effect: 'NoExecute' }] } }),
    ]);
    expect(choose(podOf('a', { tolerations: [{ operator: 'Exists' }] }))).toBe('n1');
  });
});

describe('pod affinity', () => {
  const required = (kind: 'podAffinity' | 'podAntiAffinity', app: string, more = {}): Partial<Pod['spec']> => ({
    affinity: {
      [kind]: {
        requiredDuringSchedulingIgnoredDuringExecution: [
          { topologyKey: 'kubernetes.io/hostname', labelSelector: { matchLabels: { app } }, ...more },
        ],
      },
    },
  });
  const nodes = [nodeOf('n1'), nodeOf('n2')];
  const cache = podOf('cache', {}, { labels: { app: 'cache' } });

  it('brings a pod to the one it wants', () => {
    expect(clusterOf(nodes, [[cache, 'n2']]).choose(podOf('a', required('podAffinity', 'cache')))).toBe('n2');
  });

  it('looks only at its own namespace by default', () => {
    const elsewhere = podOf('cache', {}, { labels: { app: 'cache' }, namespace: 'other' });
    const { choose } = clusterOf(nodes, [[elsewhere, 'n2']]);
    expect(choose(podOf('a', required('podAffinity', 'cache')))).toContain("2 node(s) didn't match pod affinity rules");
    expect(choose(podOf('b', required('podAffinity', 'cache', { namespaceSelector: { matchLabels: { team: 'b' } } })))).toBe('n2');
  });

  it('lets the first of a group start that wants its own kind', () => {
    const pod = podOf('a', required('podAffinity', 'web'), { labels: { app: 'web' } });
    expect(['n1', 'n2']).toContain(clusterOf(nodes).choose(pod));
  });

  it('keeps a pod away from those it avoids, and from those that avoid it', () => {
    const { place } = clusterOf(nodes);
    const replica = (name: string) => podOf(name, required('podAntiAffinity', 'web'), { labels: { app: 'web' } });
    expect(new Set([place(replica('a')), place(replica('b'))])).toEqual(new Set(['n1', 'n2']));
    expect(place(replica('c'))).toContain("2 node(s) didn't match pod anti-affinity rules");
    expect(place(podOf('d', {}, { labels: { app: 'web' } }))).toContain("2 node(s) didn't satisfy existing pods anti-affinity rules");
  });
});

describe('topology spread', () => {
  const spread = {
    topologySpreadConstraints: [
      { maxSkew: 1, topologyKey: 'zone', whenUnsatisfiable: 'DoNotSchedule', labelSelector: { matchLabels: { app: 'web' } } },
    ],
  };
  const web = (name: string) => podOf(name, spread, { labels: { app: 'web' } });

  it('keeps the domains even', () => {
    const { place } = clusterOf([
      nodeOf('a1', { labels: { zone: 'a' } }),
      nodeOf('a2', { labels: { zone: 'a' } }),
      nodeOf('b1', { labels: { zone: 'b' }, allocatable: { pods: '2' } }),
    ]);
    const placed = Array.from({ length: 5 }, (_, index) => place(web(`w${index}`)));
    expect(placed.filter((name) => name === 'b1')).toHaveLength(2);
    expect(placed.filter((name) => name.startsWith('a'))).toHaveLength(3);
    expect(place(web('w5'))).toBe(
      "0/3 nodes are available: 1 Too many pods, 2 node(s) didn't match pod topology spread constraints. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.",
    );
  });
});

describe('a spread constraint with an empty selector', () => {
  it('counts no pods, as under kube-scheduler', () => {
    const constraint = { maxSkew: 1, topologyKey: 'kubernetes.io/hostname', whenUnsatisfiable: 'DoNotSchedule', labelSelector: {} };
    const spread = { topologySpreadConstraints: [constraint] };
    const { choose } = clusterOf(
      [nodeOf('n1'), nodeOf('n2', { spec: { unschedulable: true } })],
      [
        [podOf('a', spread), 'n1'],
        [podOf('b', spread), 'n1'],
      ],
    );
    expect(choose(podOf('c', spread))).toBe('n1');
  });
});

describe('zones', () => {
  // Upstream's names, of Multi-AZ Clusters.
  it.each<[string, Partial<Pod['metadata']>]>([
    ['should spread the pods of a service across zones', { labels: { app: 'web' } }],
    ['should spread the pods of a replication controller across zones', ownedBy('rc')],
  ])('%s', (_, metadata) => {
    const nodes = Array.from({ length: 9 }, (_, index) =>
      nodeOf(`n${index}`, { labels: { 'topology.kubernetes.io/zone': `z${Math.floor(index / 3)}` } }),
    );
    const { place } = schedulingCluster(nodes, [], { serviceSelectors: { shop: [{ app: 'web' }] } });
    const placed = Array.from({ length: 3 }, (_, index) => place(podOf(`w${index}`, {}, metadata)));
    expect(placed.map((name) => Math.floor(Number(name.slice(1)) / 3)).sort()).toEqual([0, 1, 2]);
  });
});

describe('first counts of a further kind of pods', () => {
  const zoned = Array.from({ length: 6 }, (_, index) => nodeOf(`n${index}`, { labels: { zone: index < 3 ? 'a' : 'b' } }));
  const constraint = { maxSkew: 1, topologyKey: 'zone', labelSelector: { matchLabels: { app: 'web' } } };
  const spread = (whenUnsatisfiable: string) => ({ topologySpreadConstraints: [{ ...constraint, whenUnsatisfiable }] });

  it.each<[string, Pod]>([
    ['default spread', podOf('w', { cpu: '100m' }, ownedBy('rs'))],
    ['DoNotSchedule', podOf('w', spread('DoNotSchedule'), { labels: { app: 'web' } })],
    ['ScheduleAnyway', podOf('w', spread('ScheduleAnyway'), { labels: { app: 'web' } })],
  ])('need no look at all nodes and the pods of others: %s', (_, pod) => {
    const others = zoned.map((node, index): [Pod, string] => [podOf(`p${index}`, {}, { namespace: 'other' }), node.metadata.name]);
    const { cache, shapes } = schedulingCluster(zoned, others);
    cache.domains(['zone']);
    const asked = new Set<string | symbol>();
    const cluster = new Proxy(cache, {
      get(target, name) {
        asked.add(name);
        return Reflect.get(target, name) as unknown;
      },
    });
    const { filter, score } = podTopologySpread(detachedHandle(createManualClock()), undefined);
    const prepared = [filter?.prepare(shapes.read(pod), cluster), score?.prepare(shapes.read(pod), cluster)];
    expect(prepared.filter((one) => one !== undefined)).not.toEqual([]);
    expect(asked).not.toContain('nodes');
    expect([...cache.podsIn('shop'), ...cache.podsOfOwner('rs')]).toEqual([]);
  });
});

describe('scores', () => {
  it('prefers the emptier node', () => {
    expect(clusterOf([nodeOf('n1'), nodeOf('n2')], [[podOf('there', { cpu: '1', memory: '1Gi' }), 'n1']]).choose(podOf('a'))).toBe('n2');
  });

  it('spreads the pods of one owner, though other pods make the nodes uneven', () => {
    const nodes = ['n1', 'n2', 'n3', 'n4'].map((name) => nodeOf(name));
    const { place } = clusterOf(nodes, [[podOf('there', { cpu: '1', memory: '1Gi' }), 'n1']]);
    const placed = Array.from({ length: 8 }, (_, index) => place(podOf(`w${index}`, { cpu: '100m', memory: '64Mi' }, ownedBy('rs'))));
    for (const { metadata } of nodes) expect(placed.filter((name) => name === metadata.name)).toHaveLength(2);
  });

  it('weighs preferred node affinity and avoids PreferNoSchedule', () => {
    const { choose } = clusterOf([
      nodeOf('n1', { labels: { disk: 'ssd' } }),
      nodeOf('n2', { spec: { taints: [{ key: 'old', effect: 'PreferNoSchedule' }] } }),
      nodeOf('n3'),
    ]);
    const pod = podOf('a', {
      affinity: {
        nodeAffinity: {
          preferredDuringSchedulingIgnoredDuringExecution: [
            { weight: 50, preference: { matchExpressions: [{ key: 'disk', operator: 'In', values: ['ssd'] }] } },
          ],
        },
      },
    });
    expect(choose(pod)).toBe('n1');
    expect(choose(podOf('b'))).not.toBe('n2');
  });
});

describe('reuse of a scored sample', () => {
  const replica = (name: string) => podOf(name, { cpu: '100m' }, ownedBy('rs'));

  it('places alike pods as if each had been scored alone', () => {
    const nodes = Array.from({ length: 10 }, (_, index) => nodeOf(`n${index}`));
    const { algorithm, place } = clusterOf(nodes);
    const placed = Array.from({ length: 30 }, (_, index) => place(replica(`w${index}`)));
    expect(algorithm.reused).toBe(29);
    for (const { metadata } of nodes) expect(placed.filter((name) => name === metadata.name)).toHaveLength(3);
  });

  it('looks again at a node that changed since', () => {
    const { cache, place } = clusterOf([nodeOf('n1'), nodeOf('n2')]);
    place(replica('a'));
    cache.setNode(nodeOf('n1', { spec: { unschedulable: true } }));
    cache.removeNode('n2');
    cache.setNode(nodeOf('n3'));
    expect([place(replica('b')), place(replica('c'))]).toEqual(['n3', 'n3']);
  });

  it('ends after 20 ms and for pods that look different', () => {
    const { algorithm, clock, place } = clusterOf([nodeOf('n1'), nodeOf('n2')]);
    place(replica('a'));
    place(podOf('other', { cpu: '200m' }, ownedBy('rs')));
    expect(algorithm.reused).toBe(0);
    place(podOf('other2', { cpu: '200m' }, ownedBy('rs')));
    expect(algorithm.reused).toBe(1);
    clock.advance(21);
    place(podOf('other3', { cpu: '200m' }, ownedBy('rs')));
    expect(algorithm.reused).toBe(1);
  });
});

describe('nodesToFind', () => {
  it('looks at all nodes of a small cluster and at a falling share of a large one', () => {
    expect([50, 100, 1_000, 5_000, 10_000].map((total) => nodesToFind(total))).toEqual([50, 100, 420, 500, 500]);
  });
});

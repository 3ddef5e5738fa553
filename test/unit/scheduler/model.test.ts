import { describe, expect, it } from 'vitest';
import type { Node } from '../../../src/api/core/v1/node.ts';
import type { Pod } from '../../../src/api/core/v1/pod.ts';
import { nodeOf, ownedBy, podOf } from '../../support/cluster-objects.ts';
import { createRandom } from '../../support/random.ts';
import { schedulingCluster } from '../../support/scheduling-cluster.ts';
import { pointsOf, rejectorOf, type World } from '../../support/scheduling-model.ts';

/** 300 in the gate; `npm run fault -- --scheduler N` runs more. */
const clusters = Number(process.env.MIDSHIP_SCHEDULER_CLUSTERS ?? 300);
const firstSeed = Number(process.env.MIDSHIP_SEED ?? 1);

const namespaces = { shop: { team: 'a' }, other: { team: 'b' } };
const services = { shop: [{ app: 'a' }], other: [{ app: 'b', rev: '1' }] };
const zone = 'topology.kubernetes.io/zone';
const hostname = 'kubernetes.io/hostname';

function createDraw(seed: number) {
  const random = createRandom(seed);
  const below = (count: number) => Math.floor(random() * count);
  const chance = (share: number) => random() < share;
  const of = <T>(...choices: readonly T[]): T => choices[below(choices.length)] as T;
  const some = <T>(share: number, make: () => T): T[] => (chance(share) ? [make()] : []);
  return { random, below, chance, of, some };
}
type Draw = ReturnType<typeof createDraw>;

function drawNode({ below, chance, of, some }: Draw, name: string): Node {
  const node = nodeOf(name, {
    labels: { ...(chance(0.85) ? { [zone]: of('x', 'y', 'z') } : {}), ...(chance(0.4) ? { disk: of('ssd', 'hdd') } : {}) },
    allocatable: { cpu: `${of(1_000, 2_000, 4_000)}m`, memory: `${of(1_024, 2_048, 4_096)}Mi`, pods: String(3 + below(8)) },
    spec: {
      ...(chance(0.06) ? { unschedulable: true } : {}),
      taints: [
        ...some(0.12, () => ({ key: 'dedicated', value: 'db', effect: 'NoSchedule' as const })),
        ...some(0.2, () => ({ key: 'old', effect: 'PreferNoSchedule' as const })),
      ],
    },
  });
  const images = ['app:1', 'db:2'].flatMap((image) =>
    chance(0.4) ? [{ names: [image], sizeBytes: (100 + below(900)) * 1024 * 1024 }] : [],
  );
  return { ...node, status: { ...node.status, images } } as Node;
}

function drawTerm({ chance, of }: Draw) {
  return {
    topologyKey: of(zone, hostname, 'disk'),
    labelSelector: chance(0.8)
      ? { matchLabels: { app: of('a', 'b') } }
      : { matchExpressions: [{ key: 'app', operator: of('In', 'NotIn', 'Exists'), values: ['a'] }].map(withoutValues) },
    ...(chance(0.2) ? { namespaces: ['other'] } : {}),
    ...(chance(0.2) ? { namespaceSelector: of({}, { matchLabels: { team: 'b' } }) } : {}),
    ...(chance(0.2) ? { matchLabelKeys: ['rev'] } : {}),
    ...(chance(0.15) ? { mismatchLabelKeys: ['tenant'] } : {}),
  };
}

const withoutValues = ({ values, ...rest }: { key: string; operator: string; values: string[] }) =>
  rest.operator === 'Exists' ? rest : { ...rest, values };

function drawConstraint({ chance, of }: Draw) {
  const whenUnsatisfiable = of('DoNotSchedule', 'ScheduleAnyway');
  return {
    topologyKey: of(zone, hostname, 'disk'),
    maxSkew: of(1, 2),
    whenUnsatisfiable,
    ...(chance(0.9) ? { labelSelector: { matchLabels: { app: of('a', 'b') } } } : {}),
    ...(chance(0.2) && whenUnsatisfiable === 'DoNotSchedule' ? { minDomains: of(2, 4) } : {}),
    ...(chance(0.2) ? { nodeAffinityPolicy: 'Ignore' } : {}),
    ...(chance(0.3) ? { nodeTaintsPolicy: 'Honor' } : {}),
    ...(chance(0.2) ? { matchLabelKeys: ['rev'] } : {}),
  };
}

function drawPod(draw: Draw, name: string): Pod {
  const { below, chance, of, some } = draw;
  const weighted = () => ({ weight: 1 + below(100), podAffinityTerm: drawTerm(draw) });
  const kindOfTerms = () => ({
    requiredDuringSchedulingIgnoredDuringExecution: some(0.35, () => drawTerm(draw)),
    preferredDuringSchedulingIgnoredDuringExecution: [...some(0.4, weighted), ...some(0.2, weighted)],
  });
  const onDisk = () => ({ matchExpressions: [{ key: 'disk', operator: of('In', 'NotIn'), values: ['ssd'] }] });
  const affinity = {
    ...(chance(0.35) ? { podAffinity: kindOfTerms() } : {}),
    ...(chance(0.35) ? { podAntiAffinity: kindOfTerms() } : {}),
    ...(chance(0.3)
      ? {
          nodeAffinity: {
            ...(chance(0.4) ? { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [onDisk()] } } : {}),
            preferredDuringSchedulingIgnoredDuringExecution: some(0.7, () => ({ weight: 1 + below(100), preference: onDisk() })),
          },
        }
      : {}),
  };
  const labels = {
    ...(chance(0.9) ? { app: of('a', 'b') } : {}),
    ...(chance(0.6) ? { rev: of('1', '2') } : {}),
    ...(chance(0.4) ? { tenant: of('t', 'u') } : {}),
  };
  const requests = {
    ...(chance(0.7) ? { cpu: `${100 * (1 + below(12))}m` } : {}),
    ...(chance(0.7) ? { memory: `${64 * (1 + below(16))}Mi` } : {}),
  };
  const spec = {
    containers: [
      {
        name: 'main',
        image: of('app:1', 'db:2', 'none:3'),
        resources: { requests },
        ...(chance(0.1) ? { ports: [{ containerPort: 80, hostPort: of(80, 81) }] } : {}),
      },
    ],
    ...(chance(0.1) ? { nodeSelector: { disk: 'ssd' } } : {}),
    tolerations: some(0.25, () => ({ operator: 'Exists', ...(chance(0.5) ? { key: of('dedicated', 'old') } : {}) })),
    topologySpreadConstraints: [...some(0.3, () => drawConstraint(draw)), ...some(0.15, () => drawConstraint(draw))],
    affinity,
  } as unknown as Pod['spec'];
  const unique = spec.topologySpreadConstraints?.filter(
    (one, index, all) =>
      all.findIndex((other) => other.topologyKey === one.topologyKey && other.whenUnsatisfiable === one.whenUnsatisfiable) === index,
  );
  // Replicas of one owner have one template, as a ReplicaSet makes them.
  return podOf(
    name,
    { ...spec, topologySpreadConstraints: unique ?? [] },
    {
      namespace: chance(0.8) ? 'shop' : 'other',
      labels,
      ...(chance(0.3) ? ownedBy(of('rs-1', 'rs-2')) : {}),
    },
  );
}

/** A cluster that changes while pods come, with the same world for the model. */
function runCluster(seed: number): void {
  const draw = createDraw(seed);
  let world: World = {
    nodes: Array.from({ length: 1 + draw.below(7) }, (_, index) => drawNode(draw, `n${index}`)),
    pods: [],
    namespaces,
    services,
  };
  const cluster = schedulingCluster(world.nodes, [], { namespaceLabels: namespaces, serviceSelectors: services, random: draw.random });
  for (let step = 0; step < 16; step += 1) {
    world = changeCluster(draw, world, cluster);
    // Beyond the life of a scored sample: the model scores each pod alone.
    cluster.clock.advance(21);
    const template = draw.chance(0.3) ? world.pods[0]?.pod : undefined;
    const drawn = drawPod(draw, `p${step}`);
    const pod: Pod =
      template === undefined ? drawn : { ...template, metadata: { ...template.metadata, name: `p${step}`, uid: `uid-p${step}` } };
    const { deletionTimestamp: _, ...metadata } = pod.metadata;
    world = decide({ seed, step, pod: { ...pod, metadata }, world, cluster });
  }
}

/** Numbers are compared before objects are made for the message: `expect` costs more than the decision. */
function decide({ seed, step, pod, world, cluster }: Decision): World {
  const rejectors = new Map(world.nodes.map((node) => [node.metadata.name, rejectorOf(pod, node, world)]));
  const feasible = world.nodes.filter(({ metadata: { name } }) => rejectors.get(name) === undefined);
  const record = cluster.shapes.read(pod);
  const decision = cluster.algorithm.choose(record);
  const about = { seed, step };
  if ('unfit' in decision) {
    const found = [...decision.unfit.plugins].sort().join();
    const wanted = [...new Set(rejectors.values())].sort().join();
    if (feasible.length > 0 || found !== wanted) {
      expect({ ...about, node: undefined, found }).toEqual({ ...about, node: feasible[0]?.metadata.name, found: wanted });
    }
    return world;
  }
  const points = pointsOf(pod, feasible, world);
  const best = Math.max(...points.values());
  const { name } = decision.node;
  if (rejectors.get(name) !== undefined || points.get(name) !== best) {
    expect({ ...about, node: name, rejector: rejectors.get(name), points: points.get(name), all: [...points] }).toEqual({
      ...about,
      points: best,
    });
  }
  cluster.cache.assume(record, decision.node);
  return { ...world, pods: [...world.pods, { pod, node: name }] };
}

interface Decision {
  readonly seed: number;
  readonly step: number;
  readonly pod: Pod;
  readonly world: World;
  readonly cluster: ReturnType<typeof schedulingCluster>;
}

function changeCluster(draw: Draw, world: World, { cache, shapes }: Decision['cluster']): World {
  let { nodes, pods } = world;
  const victim = pods[draw.below(pods.length)];
  const ofPods = draw.random();
  if (victim !== undefined && ofPods < 0.12) {
    cache.removePod(`${victim.pod.metadata.namespace}/${victim.pod.metadata.name}`);
    pods = pods.filter((one) => one !== victim);
  } else if (victim !== undefined && ofPods < 0.24) {
    const pod = { ...victim.pod, metadata: { ...victim.pod.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } };
    cache.setPod(shapes.read(pod), victim.node);
    pods = pods.map((one) => (one === victim ? { ...one, pod } : one));
  }
  const name = nodes[draw.below(nodes.length)]?.metadata.name ?? '';
  const ofNodes = draw.random();
  if (ofNodes < 0.08) {
    const node = drawNode(draw, name);
    cache.setNode(node);
    nodes = nodes.map((one) => (one.metadata.name === name ? node : one));
  } else if (ofNodes < 0.12) {
    const node = drawNode(draw, `extra${draw.below(1_000)}`);
    if (nodes.every(({ metadata }) => metadata.name !== node.metadata.name)) {
      cache.setNode(node);
      nodes = [...nodes, node];
    }
  } else if (nodes.length > 1 && ofNodes < 0.16) {
    cache.removeNode(name);
    nodes = nodes.filter(({ metadata }) => metadata.name !== name);
  }
  return { ...world, nodes, pods };
}

describe('decisions', () => {
  it(
    `are those of a model of the published rules, over ${clusters} random clusters`,
    () => {
      for (let seed = firstSeed; seed < firstSeed + clusters; seed += 1) runCluster(seed);
    },
    10_000 + clusters * 50,
  );

  it(
    'put no pod of a burst on a node that a filter rejects, though scores are some milliseconds old',
    () => {
      for (let seed = firstSeed; seed < firstSeed + Math.ceil(clusters / 10); seed += 1) {
        const draw = createDraw(seed);
        let world: World = {
          nodes: Array.from({ length: 150 }, (_, index) => drawNode(draw, `n${index}`)),
          pods: [],
          namespaces,
          services,
        };
        const cluster = schedulingCluster(world.nodes, [], {
          namespaceLabels: namespaces,
          serviceSelectors: services,
          random: draw.random,
        });
        const templates = [drawPod(draw, 'a'), drawPod(draw, 'b')];
        for (let step = 0; step < 12; step += 1) {
          const template = templates[draw.chance(0.8) ? 0 : 1];
          if (template === undefined) throw new Error('no template');
          const pod = { ...template, metadata: { ...template.metadata, name: `p${step}`, uid: `uid-${step}` } };
          const record = cluster.shapes.read(pod);
          const decision = cluster.algorithm.choose(record);
          if ('unfit' in decision) continue;
          const node = world.nodes.find(({ metadata }) => metadata.name === decision.node.name);
          const rejector = node === undefined ? 'no node' : rejectorOf(pod, node, world);
          if (rejector !== undefined) expect({ seed, step, rejector }).toEqual({ seed, step, rejector: undefined });
          cluster.cache.assume(record, decision.node);
          world = { ...world, pods: [...world.pods, { pod, node: decision.node.name }] };
        }
      }
    },
    10_000 + clusters * 50,
  );
});

import { describe, expect, it } from 'vitest';
import type { Pod } from '../../../src/api/core/v1/pod.ts';
import { schedulingCluster } from '../../support/scheduling-cluster.ts';
import { createDraw, type Draw, drawNode, drawnNamespaces, drawnServices, drawPod } from '../../support/scheduling-draws.ts';
import { pointsOf, rejectorOf, type World } from '../../support/scheduling-model.ts';

/** 300 in the gate; `npm run fault -- --scheduler N` runs more. */
const clusters = Number(process.env.MIDSHIP_SCHEDULER_CLUSTERS ?? 300);
const firstSeed = Number(process.env.MIDSHIP_SEED ?? 1);
/** Long runs say in between where to go on after an interruption. */
const reportEvery = 500;

/** A cluster that changes while pods come, with the same world for the model. */
function runCluster(seed: number): void {
  const draw = createDraw(seed);
  let world: World = {
    nodes: Array.from({ length: 1 + draw.below(7) }, (_, index) => drawNode(draw, `n${index}`)),
    pods: [],
    namespaces: drawnNamespaces,
    services: drawnServices,
  };
  const cluster = schedulingCluster(world.nodes, [], {
    namespaceLabels: drawnNamespaces,
    serviceSelectors: drawnServices,
    random: draw.random,
  });
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
    async () => {
      for (let done = 1; done <= clusters; done += 1) {
        runCluster(firstSeed + done - 1);
        if (done % reportEvery !== 0) continue;
        const left = clusters - done;
        process.stdout.write(
          `${done} clusters from MIDSHIP_SEED=${firstSeed} agree; --scheduler ${left} --seed ${firstSeed + done} goes on\n`,
        );
        // The output leaves with the next turn.
        await new Promise(setImmediate);
      }
    },
    60_000 + clusters * 50,
  );

  it(
    'put no pod of a burst on a node that a filter rejects, though scores are some milliseconds old',
    () => {
      for (let seed = firstSeed; seed < firstSeed + Math.ceil(clusters / 10); seed += 1) {
        const draw = createDraw(seed);
        let world: World = {
          nodes: Array.from({ length: 150 }, (_, index) => drawNode(draw, `n${index}`)),
          pods: [],
          namespaces: drawnNamespaces,
          services: drawnServices,
        };
        const cluster = schedulingCluster(world.nodes, [], {
          namespaceLabels: drawnNamespaces,
          serviceSelectors: drawnServices,
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
    60_000 + clusters * 50,
  );
});

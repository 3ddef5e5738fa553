import { describe, expect, it } from 'vitest';
import type { Pod } from '../../../../src/api/core/v1/pod.ts';
import type { PodMetrics } from '../../../../src/controllers/horizontal-pod-autoscaler/metrics-client.ts';
import { groupPods } from '../../../../src/controllers/horizontal-pod-autoscaler/pod-groups.ts';
import { byAverageValue, byUtilization } from '../../../../src/controllers/horizontal-pod-autoscaler/replica-count.ts';

/**
 * The published rules for pods that are not ready or have no metrics, with the numbers of upstream's own cases.
 *
 * @see https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/, "Algorithm details"
 * @see Kubernetes, pkg/controller/podautoscaler/replica_calculator_test.go
 */

const now = Date.parse('2026-01-01T01:00:00Z');
const at = (ageSeconds: number): string => new Date(now - ageSeconds * 1000).toISOString();

type PodState = 'ready' | 'unready' | 'failed' | 'leaving' | 'pending' | 'once ready' | 'young';

/** Pods are an hour old, but for young ones; those that are not ready never were, but for the one that was once. */
function podOf(name: string, state: PodState): Pod {
  const isReady = state === 'ready' || state === 'young' || state === 'leaving';
  const startTime = at(state === 'young' ? 60 : 3600);
  const changed = state === 'young' ? at(20) : state === 'once ready' ? at(600) : startTime;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, ...(state === 'leaving' ? { deletionTimestamp: at(1) } : {}) },
    spec: { containers: [{ name: 'c', resources: { requests: { cpu: '1' } } }] },
    status: {
      phase: state === 'failed' ? 'Failed' : state === 'pending' ? 'Pending' : 'Running',
      startTime,
      conditions: [{ type: 'Ready', status: isReady ? 'True' : 'False', lastTransitionTime: changed }],
    },
  };
}

interface Case {
  readonly pods: readonly PodState[];
  /** Thousandths of the first pods; the others have no metric. */
  readonly levels: readonly number[];
  readonly target: number;
  readonly wanted: number;
  readonly current?: number;
}

function targetOf({ pods: states, levels, current }: Case, resource: string | undefined) {
  const pods = states.map((state, number) => podOf(`p${number}`, state));
  const metrics: PodMetrics = new Map(levels.map((value, number) => [`p${number}`, { value, at: now - 10_000, windowMs: 30_000 }]));
  const groups = groupPods(pods, metrics, { resource, now });
  const requests = new Map(pods.map(({ metadata }) => [metadata.name, 1000]));
  return { requests, options: { currentReplicas: current ?? pods.length, metrics, groups, tolerances: { up: 0.1, down: 0.1 } } };
}

describe('CPU as a share of requests', () => {
  it.each<[string, Case]>([
    ['on the way down, pods without metrics use all', { pods: Array(4).fill('ready'), levels: [400, 95], target: 100, wanted: 3 }],
    ['at the target, they change nothing', { pods: ['ready', 'ready'], levels: [1000], target: 100, wanted: 2 }],
    ['on the way up, they use nothing, and the way does not turn', { pods: ['ready', 'ready'], levels: [1900], target: 100, wanted: 2 }],
    ['a step down that they make too small is none', { pods: ['ready', 'ready'], levels: [600], target: 100, wanted: 2 }],
    ['their share is the target where that is above 100 %', { pods: ['ready', 'ready'], levels: [1400], target: 150, wanted: 2 }],
    ['pods that never were ready use nothing', { pods: ['unready', 'ready', 'ready'], levels: [300, 500, 700], target: 30, wanted: 4 }],
    ['and change nothing at the target', { pods: ['ready', 'unready', 'unready'], levels: [400, 500, 700], target: 40, wanted: 3 }],
    [
      'nor on the way down',
      { pods: ['ready', 'ready', 'ready', 'unready', 'unready'], levels: [100, 300, 500, 250, 250], target: 50, wanted: 2 },
    ],
    ['pods that were ready once count', { pods: ['ready', 'once ready'], levels: [300, 900], target: 30, wanted: 4 }],
    ['a sample from before a young pod was ready does not', { pods: ['ready', 'young'], levels: [300, 900], target: 30, wanted: 2 }],
    ['failed pods are left out', { pods: ['ready', 'ready', 'failed', 'failed'], levels: [500, 700], target: 30, wanted: 4, current: 2 }],
    [
      'leaving pods are left out',
      { pods: ['ready', 'ready', 'leaving', 'leaving'], levels: [500, 700], target: 30, wanted: 4, current: 2 },
    ],
    ['pending pods use nothing', { pods: ['ready', 'ready', 'pending'], levels: [500, 700], target: 30, wanted: 4 }],
  ])('%s', (_, one) => {
    const { requests, options } = targetOf(one, 'cpu');
    expect(byUtilization(one.target, requests, options).replicas).toBe(one.wanted);
  });

  it('no number comes of pods of which none is ready', () => {
    const { requests, options } = targetOf({ pods: ['unready', 'unready'], levels: [900, 900], target: 30, wanted: 0 }, 'cpu');
    expect(() => byUtilization(30, requests, options)).toThrow('did not receive metrics for targeted pods (pods might be unready)');
  });
});

describe('a value for each pod', () => {
  it.each<[string, Case]>([
    ['grows by its average', { pods: Array(3).fill('ready'), levels: [20_000, 10_000, 30_000], target: 15_000, wanted: 4 }],
    [
      'counts also pods that are not ready: that rule is of the CPU',
      { pods: ['ready', 'ready', 'unready'], levels: [50_000, 10_000, 30_000], target: 15_000, wanted: 6 },
    ],
    [
      'on the way down, pods without metrics are at the target',
      { pods: Array(4).fill('ready'), levels: [5_000], target: 10_000, wanted: 4 },
    ],
    ['on the way up, they have nothing', { pods: ['ready', 'ready'], levels: [50_000], target: 10_000, wanted: 5 }],
    ['at the target, they change nothing', { pods: ['ready', 'ready'], levels: [10_000], target: 10_000, wanted: 2 }],
  ])('%s', (_, one) => {
    expect(byAverageValue(one.target, targetOf(one, undefined).options).replicas).toBe(one.wanted);
  });
});

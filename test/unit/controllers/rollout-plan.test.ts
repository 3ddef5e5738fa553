import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Deployment } from '../../../src/api/apps/v1/deployment.ts';
import type { ReplicaSet } from '../../../src/api/apps/v1/replica-set.ts';
import {
  type Generations,
  isResized,
  newSize,
  oldSizes,
  proportionalSizes,
  sizeAnnotations,
} from '../../../src/controllers/deployment/rollout-plan.ts';
import { fencepostsOf } from '../../../src/lifecycle/deployment.facts.ts';

const deployment = (replicas: number, maxSurge: number, maxUnavailable: number, type = 'RollingUpdate'): Deployment => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web', namespace: 'default' },
  spec: {
    replicas,
    selector: { matchLabels: { app: 'web' } },
    template: {},
    strategy: type === 'Recreate' ? { type } : { type, rollingUpdate: { maxSurge, maxUnavailable } },
  },
});

const replicaSet = (name: string, size: number, available: number, sizedFor?: Deployment): ReplicaSet => ({
  apiVersion: 'apps/v1',
  kind: 'ReplicaSet',
  metadata: { name, namespace: 'default', ...(sizedFor === undefined ? {} : { annotations: sizeAnnotations(sizedFor) }) },
  spec: { replicas: size, selector: { matchLabels: { app: 'web' } } },
  status: { replicas: size, availableReplicas: available },
});

const sizes = (resizes: ReturnType<typeof oldSizes>) =>
  Object.fromEntries(resizes.map((one) => [one.replicaSet.metadata.name, one.replicas]));

describe('the size of the new ReplicaSet', () => {
  it('takes the room that surge leaves', () => {
    const old = replicaSet('old', 10, 10);
    expect(newSize({ deployment: deployment(10, 3, 2), newReplicaSet: undefined, oldReplicaSets: [old] })).toBe(3);
    expect(newSize({ deployment: deployment(10, 0, 2), newReplicaSet: undefined, oldReplicaSets: [old] })).toBe(0);
    expect(newSize({ deployment: deployment(10, 3, 2), newReplicaSet: undefined, oldReplicaSets: [] })).toBe(10);
  });

  it('is the wanted number for Recreate, and shrinks to it', () => {
    expect(newSize({ deployment: deployment(4, 0, 0, 'Recreate'), newReplicaSet: undefined, oldReplicaSets: [] })).toBe(4);
    expect(newSize({ deployment: deployment(4, 1, 1), newReplicaSet: replicaSet('new', 6, 6), oldReplicaSets: [] })).toBe(4);
  });
});

describe('the sizes of old ReplicaSets', () => {
  it('give up what is unhealthy first, oldest first', () => {
    const generations: Generations = {
      deployment: deployment(10, 3, 2),
      newReplicaSet: replicaSet('new', 3, 0),
      oldReplicaSets: [replicaSet('a', 4, 1), replicaSet('b', 6, 6)],
    };
    // 13 pods, 8 must stay available, 3 new ones are not: 2 may go, and 3 of `a` serve nobody.
    expect(sizes(oldSizes(generations))).toEqual({ a: 2 });
  });

  it('give up healthy ones as new ones become available', () => {
    const generations: Generations = {
      deployment: deployment(10, 3, 2),
      newReplicaSet: replicaSet('new', 5, 4),
      oldReplicaSets: [replicaSet('a', 3, 3), replicaSet('b', 5, 5)],
    };
    expect(sizes(oldSizes(generations))).toEqual({ a: 0, b: 4 });
  });

  it('go to nothing at once for Recreate', () => {
    const generations: Generations = {
      deployment: deployment(3, 0, 0, 'Recreate'),
      newReplicaSet: undefined,
      oldReplicaSets: [replicaSet('a', 3, 3)],
    };
    expect(sizes(oldSizes(generations))).toEqual({ a: 0 });
  });
});

describe('a rolling update', () => {
  it('stays within its bounds and ends, whatever the order in which pods become available', () => {
    fc.assert(
      fc.property(
        fc.record({
          replicas: fc.integer({ min: 1, max: 30 }),
          maxSurge: fc.integer({ min: 0, max: 10 }),
          maxUnavailable: fc.integer({ min: 0, max: 10 }),
          seed: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 20 }),
        }),
        ({ replicas, maxSurge, maxUnavailable, seed }) => {
          const wanted = deployment(replicas, maxSurge, maxUnavailable);
          const bounds = fencepostsOf(wanted);
          let fresh = replicaSet('new', 0, 0);
          let old = replicaSet('old', replicas, replicas);
          for (let round = 0; ; round += 1) {
            const grown = newSize({ deployment: wanted, newReplicaSet: fresh, oldReplicaSets: [old] });
            fresh = replicaSet('new', grown, fresh.status?.availableReplicas ?? 0);
            const shrunk =
              oldSizes({ deployment: wanted, newReplicaSet: fresh, oldReplicaSets: [old] })[0]?.replicas ?? old.spec.replicas ?? 0;
            old = replicaSet('old', shrunk, shrunk);
            const available = (fresh.status?.availableReplicas ?? 0) + shrunk;
            expect(grown + shrunk).toBeLessThanOrEqual(replicas + bounds.maxSurge);
            expect(available).toBeGreaterThanOrEqual(replicas - bounds.maxUnavailable);
            if (grown === replicas && shrunk === 0) return;
            expect(round).toBeLessThan(500);
            const arrived = Math.min(
              grown,
              (fresh.status?.availableReplicas ?? 0) + Math.max(round % 4 === 3 ? 1 : 0, seed[round % seed.length] ?? 0),
            );
            fresh = replicaSet('new', grown, arrived);
          }
        },
      ),
    );
  });
});

describe('a change of the number', () => {
  it('is noticed by the annotations of active ReplicaSets', () => {
    const before = deployment(10, 3, 2);
    const after = deployment(15, 3, 2);
    const sized = replicaSet('new', 10, 10, before);
    expect(isResized({ deployment: before, newReplicaSet: sized, oldReplicaSets: [] })).toBe(false);
    expect(isResized({ deployment: after, newReplicaSet: sized, oldReplicaSets: [] })).toBe(true);
    expect(isResized({ deployment: after, newReplicaSet: undefined, oldReplicaSets: [replicaSet('empty', 0, 0, before)] })).toBe(false);
  });

  it('goes to the only active ReplicaSet', () => {
    const sized = replicaSet('new', 10, 10, deployment(10, 3, 2));
    expect(
      sizes(proportionalSizes({ deployment: deployment(4, 3, 2), newReplicaSet: sized, oldReplicaSets: [replicaSet('old', 0, 0)] })),
    ).toEqual({ new: 4 });
  });

  it('is shared in proportion, up and down, without a pod lost by rounding', () => {
    const before = deployment(10, 3, 2);
    const parts = { newReplicaSet: replicaSet('new', 5, 0, before), oldReplicaSets: [replicaSet('old', 8, 8, before)] };
    expect(sizes(proportionalSizes({ deployment: deployment(15, 3, 2), ...parts }))).toEqual({ old: 11, new: 7 });
    expect(sizes(proportionalSizes({ deployment: deployment(5, 3, 2), ...parts }))).toEqual({ old: 5, new: 3 });
    expect(sizes(proportionalSizes({ deployment: deployment(0, 3, 2), ...parts }))).toEqual({ old: 0, new: 0 });
  });

  it('empties old ReplicaSets when the new one has it all', () => {
    const wanted = deployment(4, 1, 1);
    const parts = { newReplicaSet: replicaSet('new', 4, 4, wanted), oldReplicaSets: [replicaSet('old', 2, 2, wanted)] };
    expect(sizes(proportionalSizes({ deployment: wanted, ...parts }))).toEqual({ old: 0 });
  });
});

import { describe, expect, it } from 'vitest';
import type { Pod } from '../../../src/api/core/v1/pod.ts';
import { eventsOf, type PodEvictionState, stateOf, statusOf, stayOf } from '../../../src/lifecycle/pod-eviction.facts.ts';
import { podEvictionMachine } from '../../../src/lifecycle/pod-eviction.machine.ts';
import { podOf } from '../../support/cluster-objects.ts';
import { machineSuite } from '../../support/machine-suite.ts';

const leaving = podOf('web', {}, { deletionTimestamp: '2026-01-01T00:00:00Z' });

machineSuite({
  machine: podEvictionMachine,
  samples: [
    { type: 'TAINTS_TOLERATED' },
    { type: 'TAINTS_TOLERATED_FOR_A_WHILE' },
    { type: 'TAINTS_NOT_TOLERATED' },
    { type: 'TOLERATION_EXPIRED' },
    { type: 'DELETED' },
  ],
  terminal: [],
  deletion: { event: { type: 'DELETED' }, states: ['Leaving'] },
  roundTrip: (state: PodEvictionState) => stateOf(state === 'Leaving' ? leaving : podOf('web'), statusOf(state).hasDeadline),
});

describe('time that a pod may stay', () => {
  const now = Date.parse('2026-01-01T00:10:00Z');
  const taint = { key: 'node.kubernetes.io/unreachable', effect: 'NoExecute', timeAdded: '2026-01-01T00:09:00Z' };
  const tolerating = (...seconds: (number | undefined)[]): Pod =>
    podOf('web', {
      tolerations: seconds.map((tolerationSeconds) => ({
        key: taint.key,
        operator: 'Exists',
        ...(tolerationSeconds === undefined ? {} : { tolerationSeconds }),
      })),
    });

  it('is forever without taints or limits', () => {
    expect(stayOf(podOf('web'), [], now)).toBe('forever');
    expect(stayOf(tolerating(undefined), [taint], now)).toBe('forever');
  });

  it('ends at once without a toleration', () => {
    expect(stayOf(podOf('web'), [taint], now)).toBe('not at all');
    expect(eventsOf(podOf('web'), 'not at all', now)).toEqual([{ type: 'TAINTS_NOT_TOLERATED' }]);
  });

  it('runs from when the taint was added, by the shortest toleration', () => {
    expect(stayOf(tolerating(300, 120), [taint], now)).toEqual({ until: now + 60_000 });
    expect(eventsOf(tolerating(60), stayOf(tolerating(60), [taint], now), now)).toEqual([{ type: 'TOLERATION_EXPIRED' }]);
  });

  it('runs from the binding for a pod that came later', () => {
    const pod: Pod = {
      ...tolerating(300),
      status: { conditions: [{ type: 'PodScheduled', status: 'True', lastTransitionTime: '2026-01-01T00:10:00Z' }] },
    };
    expect(stayOf(pod, [taint], now)).toEqual({ until: now + 300_000 });
    const { metadata, ...rest } = tolerating(300);
    const named: Pod = { ...rest, metadata: { ...metadata, creationTimestamp: '2026-01-01T00:10:00Z' } };
    expect(stayOf(named, [taint], now)).toEqual({ until: now + 300_000 });
  });
});

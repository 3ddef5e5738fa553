import { describe, expect, it } from 'vitest';
import type { Pod } from '../../../src/api/core/v1/pod.ts';
import { eventsOf, type PodSchedulingState, stateOf, statusOf } from '../../../src/lifecycle/pod-scheduling.facts.ts';
import { podSchedulingMachine } from '../../../src/lifecycle/pod-scheduling.machine.ts';
import { machineSuite } from '../../support/machine-suite.ts';

/** A pod as it is stored while it is in `state`. */
function podIn(state: PodSchedulingState): Pod | undefined {
  if (state === 'Gone') return undefined;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'shop' },
    spec: {
      containers: [],
      ...(state === 'Bound' ? { nodeName: 'node-1' } : {}),
      ...(state === 'Gated' ? { schedulingGates: [{ name: 'shop/quota' }] } : {}),
    },
  };
}

machineSuite({
  machine: podSchedulingMachine,
  samples: [
    { type: 'GATES_LIFTED' },
    { type: 'NODE_FOUND' },
    { type: 'NODE_NOT_FOUND' },
    { type: 'VICTIMS_FOUND' },
    { type: 'ATTEMPT_FAILED' },
    { type: 'CLUSTER_CHANGED', backingOff: true },
    { type: 'CLUSTER_CHANGED', backingOff: false },
    { type: 'BACKOFF_EXPIRED' },
    { type: 'QUEUE_IDLE' },
    { type: 'BIND_FAILED' },
    { type: 'ASSUMPTION_EXPIRED' },
    { type: 'BOUND' },
    { type: 'DELETED' },
  ],
  terminal: ['Bound'],
  deletion: { event: { type: 'DELETED' }, states: ['Gone'] },
  roundTrip: (state) => stateOf(podIn(state), statusOf(state)),
});

describe('stateOf', () => {
  const pending = podIn('Pending');

  it('takes a node name over whatever the scheduler holds', () => {
    expect(stateOf(podIn('Bound'), 'backoff')).toBe('Bound');
  });

  it('has done with a pod that is deleted before it got a node', () => {
    if (pending === undefined) throw new Error('no pod');
    const leaving: Pod = { ...pending, metadata: { ...pending.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } };
    expect(stateOf(leaving, 'active')).toBe('Gone');
  });
});

describe('eventsOf', () => {
  const [gated, pending, bound] = [podIn('Gated'), podIn('Pending'), podIn('Bound')];

  it('lifts the gates of a pod that is held for them and has none left', () => {
    expect(eventsOf(pending, 'gated')).toEqual([{ type: 'GATES_LIFTED' }]);
    expect(eventsOf(gated, 'gated')).toEqual([]);
    expect(eventsOf(pending, 'backoff')).toEqual([]);
  });

  it('takes a binding by anybody, and the end of a pod', () => {
    expect(eventsOf(bound, 'unschedulable')).toEqual([{ type: 'BOUND' }]);
    expect(eventsOf(undefined, 'active')).toEqual([{ type: 'DELETED' }]);
  });
});

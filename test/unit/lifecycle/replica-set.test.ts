import { describe, expect, it } from 'vitest';
import type { ReplicaSet } from '../../../src/api/apps/v1/replica-set.ts';
import { eventsOf, type PodCounts, type ReplicaSetState, stateOf, statusOf } from '../../../src/lifecycle/replica-set.facts.ts';
import { type ReplicaSetEvent, replicaSetMachine } from '../../../src/lifecycle/replica-set.machine.ts';
import { stateNameOf } from '../../../src/lifecycle/step.ts';
import { machineSuite } from '../../support/machine-suite.ts';

const replicaSet = (overrides: Partial<ReplicaSet['metadata']> = {}): ReplicaSet => ({
  apiVersion: 'apps/v1',
  kind: 'ReplicaSet',
  metadata: { name: 'web', namespace: 'default', generation: 2, ...overrides },
  spec: { replicas: 3, selector: { matchLabels: { app: 'web' } } },
});

const counts = (active: number, available: number): PodCounts => ({
  active,
  fullyLabeled: active,
  ready: available,
  available,
  terminating: 0,
});

const refusal = { reason: 'FailedCreate', message: 'exceeded quota' } as const;
const timestamp = '2026-01-01T00:00:00Z';

const countsByState: Readonly<Record<string, PodCounts>> = {
  'Live.Scaling': counts(1, 1),
  'Live.Starting': counts(3, 1),
  'Live.Available': counts(3, 3),
  'Live.Failing': counts(1, 1),
  Deleting: counts(3, 3),
};

function written(state: ReplicaSetState, before = replicaSet()): ReplicaSet {
  const name = stateNameOf(state);
  const object = name === 'Deleting' ? { ...before, metadata: { ...before.metadata, deletionTimestamp: timestamp } } : before;
  const status = statusOf(state, object, { counts: countsByState[name] ?? counts(0, 0), refusal, timestamp });
  return { ...object, status };
}

machineSuite({
  machine: replicaSetMachine,
  samples: [
    { type: 'PODS_MISSING' },
    { type: 'PODS_SURPLUS' },
    { type: 'PODS_REFUSED' },
    { type: 'PODS_UNAVAILABLE' },
    { type: 'PODS_AVAILABLE' },
    { type: 'DELETED' },
  ],
  terminal: [],
  deletion: { event: { type: 'DELETED' }, states: ['Deleting'] },
  roundTrip: (value) => stateOf(written(value)),
});

describe('replica set facts', () => {
  const events = (active: number, available: number, expecting = false): readonly ReplicaSetEvent['type'][] =>
    eventsOf(replicaSet(), { counts: counts(active, available), expecting }).map(({ type }) => type);

  it('asks for the difference, unless it was asked for already', () => {
    expect(events(1, 1)).toEqual(['PODS_MISSING']);
    expect(events(4, 1)).toEqual(['PODS_SURPLUS']);
    expect(events(1, 1, true)).toEqual([]);
  });

  it('tells availability once the number is right', () => {
    expect(events(3, 2)).toEqual(['PODS_UNAVAILABLE']);
    expect(events(3, 3, true)).toEqual(['PODS_AVAILABLE']);
  });

  it('writes the status as the real controller does', () => {
    expect(written({ Live: 'Starting' }).status).toEqual({
      replicas: 3,
      fullyLabeledReplicas: 3,
      readyReplicas: 1,
      availableReplicas: 1,
      terminatingReplicas: 0,
      observedGeneration: 2,
    });
  });

  it('keeps the failure condition until the number is right, and its time while the reason stays', () => {
    const failing = written({ Live: 'Failing' });
    expect(failing.status?.conditions).toEqual([{ type: 'ReplicaFailure', status: 'True', lastTransitionTime: timestamp, ...refusal }]);
    const later = statusOf({ Live: 'Failing' }, failing, { counts: counts(2, 1), timestamp: '2026-01-01T00:01:00Z' });
    expect(later.conditions).toEqual(failing.status?.conditions);
    // Each try names another pod; a status that follows would bring the next try at once, and so on without end.
    const again = statusOf({ Live: 'Failing' }, failing, {
      counts: counts(2, 1),
      refusal: { ...refusal, message: 'exceeded quota again' },
      timestamp: '2026-01-01T00:01:00Z',
    });
    expect(again.conditions).toEqual(failing.status?.conditions);
    expect(statusOf({ Live: 'Starting' }, failing, { counts: counts(3, 1), timestamp }).conditions).toBeUndefined();
  });

  it('is not settled before the controller has seen the newest spec', () => {
    const available = written({ Live: 'Available' });
    expect(stateOf({ ...available, metadata: { ...available.metadata, generation: 3 } })).toEqual({ Live: 'Scaling' });
  });
});

import { describe, expect, it } from 'vitest';
import type { StatefulSet } from '../../../src/api/apps/v1/stateful-set.ts';
import {
  eventsOf,
  type StatefulPodCounts,
  type StatefulSetState,
  type StatefulSetWorld,
  stateOf,
  statusOf,
} from '../../../src/lifecycle/stateful-set.facts.ts';
import { statefulSetMachine } from '../../../src/lifecycle/stateful-set.machine.ts';
import { stateNameOf } from '../../../src/lifecycle/step.ts';
import { machineSuite } from '../../support/machine-suite.ts';

const set = (metadata: Partial<StatefulSet['metadata']> = {}, spec: Partial<StatefulSet['spec']> = {}): StatefulSet => ({
  apiVersion: 'apps/v1',
  kind: 'StatefulSet',
  metadata: { name: 'web', namespace: 'default', generation: 2, ...metadata },
  spec: { replicas: 3, serviceName: 'web', selector: { matchLabels: { app: 'web' } }, template: {}, ...spec },
});

const counts = (replicas: number, updated: number, available: number): StatefulPodCounts => ({
  replicas,
  updated,
  current: replicas - updated,
  ready: available,
  available,
});

type Strategy = NonNullable<StatefulSet['spec']['updateStrategy']>;

const none = { finished: false, missing: false, damaged: false, surplus: false, outdated: false };

const world = (of: StatefulPodCounts, overrides: Partial<StatefulSetWorld> = {}): StatefulSetWorld => ({
  counts: of,
  currentRevision: 'web-1',
  updateRevision: 'web-2',
  collisionCount: 0,
  due: none,
  historyTooLong: false,
  ...overrides,
});

const countsByState: Readonly<Record<string, StatefulPodCounts>> = {
  'Live.Scaling': counts(1, 1, 1),
  'Live.Updating': counts(3, 1, 3),
  'Live.Starting': counts(3, 3, 1),
  'Live.Available': counts(3, 3, 3),
  Deleting: counts(3, 3, 3),
};

function written(state: StatefulSetState): StatefulSet {
  const name = stateNameOf(state);
  const object = name === 'Deleting' ? set({ deletionTimestamp: '2026-01-01T00:00:00Z' }) : set();
  return { ...object, status: statusOf(state, object, world(countsByState[name] ?? counts(0, 0, 0))) };
}

machineSuite({
  machine: statefulSetMachine,
  samples: [
    { type: 'PODS_FINISHED' },
    { type: 'PODS_MISSING' },
    { type: 'PODS_DAMAGED' },
    { type: 'PODS_SURPLUS' },
    { type: 'PODS_OUTDATED' },
    { type: 'HISTORY_TOO_LONG' },
    { type: 'NUMBER_WRONG' },
    { type: 'UPDATE_UNFINISHED' },
    { type: 'PODS_UNAVAILABLE' },
    { type: 'PODS_AVAILABLE' },
    { type: 'DELETED' },
  ],
  terminal: [],
  deletion: { event: { type: 'DELETED' }, states: ['Deleting'] },
  roundTrip: (value) => stateOf(written(value)),
});

describe('stateful set facts', () => {
  const events = (of: StatefulPodCounts, overrides: Partial<StatefulSetWorld> = {}, object = set()) =>
    eventsOf(object, world(of, overrides)).map(({ type }) => type);

  it('asks for repairs before deletions, and for a place in its life last', () => {
    const all = { finished: true, missing: true, damaged: true, surplus: true, outdated: true };
    expect(events(counts(3, 3, 3), { due: all, historyTooLong: true })).toEqual([
      'PODS_FINISHED',
      'PODS_MISSING',
      'PODS_DAMAGED',
      'PODS_SURPLUS',
      'PODS_OUTDATED',
      'HISTORY_TOO_LONG',
      'PODS_AVAILABLE',
    ]);
  });

  it('has finished its update when the pods above the partition are new, and with OnDelete at once', () => {
    const strategy = (updateStrategy: Strategy) => events(counts(3, 1, 3), {}, set({}, { updateStrategy }));
    expect(strategy({ type: 'RollingUpdate', rollingUpdate: { partition: 2 } })).toEqual(['PODS_AVAILABLE']);
    expect(strategy({ type: 'RollingUpdate', rollingUpdate: { partition: 1 } })).toEqual(['UPDATE_UNFINISHED']);
    expect(strategy({ type: 'OnDelete' })).toEqual(['PODS_AVAILABLE']);
  });

  it('makes the new revision the current one when all pods have it and are ready', () => {
    const status = (of: StatefulPodCounts, updateStrategy: Strategy = { type: 'RollingUpdate' }) =>
      statusOf({ Live: 'Starting' }, set({}, { updateStrategy }), world(of));
    expect(status(counts(3, 3, 2))).toMatchObject({ currentRevision: 'web-1', updateRevision: 'web-2' });
    expect(status(counts(3, 3, 3))).toMatchObject({ currentRevision: 'web-2', currentReplicas: 3 });
    expect(status(counts(3, 3, 3), { type: 'OnDelete' })).toMatchObject({ currentRevision: 'web-1' });
  });

  it('writes the status as the real controller does', () => {
    expect(written({ Live: 'Starting' }).status).toEqual({
      observedGeneration: 2,
      replicas: 3,
      readyReplicas: 1,
      updatedReplicas: 3,
      currentRevision: 'web-1',
      updateRevision: 'web-2',
      collisionCount: 0,
      availableReplicas: 1,
    });
  });
});

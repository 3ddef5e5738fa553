import { describe, expect, it } from 'vitest';
import type { DaemonSet } from '../../../src/api/apps/v1/daemon-set.ts';
import {
  type DaemonCounts,
  type DaemonSetState,
  type DaemonSetWorld,
  eventsOf,
  stateOf,
  statusOf,
} from '../../../src/lifecycle/daemon-set.facts.ts';
import { daemonSetMachine } from '../../../src/lifecycle/daemon-set.machine.ts';
import { stateNameOf } from '../../../src/lifecycle/step.ts';
import { machineSuite } from '../../support/machine-suite.ts';

const set = (metadata: Partial<DaemonSet['metadata']> = {}): DaemonSet => ({
  apiVersion: 'apps/v1',
  kind: 'DaemonSet',
  metadata: { name: 'agent', namespace: 'default', generation: 2, ...metadata },
  spec: { selector: { matchLabels: { app: 'agent' } }, template: {} },
});

const counts = (current: number, updated: number, available: number): DaemonCounts => ({
  desired: 3,
  current,
  updated,
  ready: available,
  available,
  misscheduled: 0,
});

const none = { missing: false, finished: false, surplus: false, outdated: false, surge: false };

const world = (of: DaemonCounts, overrides: Partial<DaemonSetWorld> = {}): DaemonSetWorld => ({
  counts: of,
  collisionCount: 0,
  expecting: false,
  due: none,
  historyTooLong: false,
  ...overrides,
});

const countsByState: Readonly<Record<string, DaemonCounts>> = {
  'Live.Scaling': counts(1, 1, 1),
  'Live.Updating': counts(3, 1, 3),
  'Live.Starting': counts(3, 3, 1),
  'Live.Available': counts(3, 3, 3),
  Deleting: counts(3, 3, 3),
};

function written(state: DaemonSetState): DaemonSet {
  const name = stateNameOf(state);
  const object = name === 'Deleting' ? set({ deletionTimestamp: '2026-01-01T00:00:00Z' }) : set();
  return { ...object, status: statusOf(state, object, world(countsByState[name] ?? counts(0, 0, 0))) };
}

machineSuite({
  machine: daemonSetMachine,
  samples: [
    { type: 'PODS_MISSING' },
    { type: 'PODS_FINISHED' },
    { type: 'PODS_SURPLUS' },
    { type: 'PODS_OUTDATED' },
    { type: 'SURGE_DUE' },
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

describe('daemon set facts', () => {
  const events = (of: DaemonCounts, overrides: Partial<DaemonSetWorld> = {}) =>
    eventsOf(set(), world(of, overrides)).map(({ type }) => type);

  it('lets a rollout wait until each node has its pod, and everything until the cache shows what was done', () => {
    const all = { missing: true, finished: true, surplus: true, outdated: true, surge: true };
    expect(events(counts(2, 2, 2), { due: all })).toEqual(['PODS_MISSING', 'PODS_FINISHED', 'PODS_SURPLUS', 'NUMBER_WRONG']);
    expect(events(counts(3, 2, 2), { due: { ...none, outdated: true } })).toEqual(['PODS_OUTDATED', 'UPDATE_UNFINISHED']);
    expect(events(counts(3, 2, 2), { due: all, historyTooLong: true, expecting: true })).toEqual(['UPDATE_UNFINISHED']);
  });

  it('counts a node that should have no pod as a wrong number', () => {
    expect(events({ ...counts(3, 3, 3), misscheduled: 1 })).toEqual(['NUMBER_WRONG']);
  });

  it('observes a generation when the pass could act on it', () => {
    const before = { ...set(), status: { ...written({ Live: 'Available' }).status, observedGeneration: 1 } } as DaemonSet;
    expect(statusOf({ Live: 'Updating' }, before, world(counts(3, 1, 3), { expecting: true })).observedGeneration).toBe(1);
    expect(statusOf({ Live: 'Updating' }, before, world(counts(3, 1, 3))).observedGeneration).toBe(2);
  });

  it('writes the status as the real controller does', () => {
    expect(written({ Live: 'Starting' }).status).toEqual({
      currentNumberScheduled: 3,
      numberMisscheduled: 0,
      desiredNumberScheduled: 3,
      numberReady: 1,
      observedGeneration: 2,
      updatedNumberScheduled: 3,
      numberAvailable: 1,
      numberUnavailable: 2,
    });
  });
});

import { describe, expect, it } from 'vitest';
import type { Pod } from '../../../src/api/core/v1/pod.ts';
import { eventsOf, type PodObservation, stateOf, statusOf } from '../../../src/lifecycle/pod-run.facts.ts';
import { podRunMachine } from '../../../src/lifecycle/pod-run.machine.ts';
import { machineSuite } from '../../support/machine-suite.ts';

const pod = (changes: Partial<Pod['metadata']>, status: Pod['status']): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web', namespace: 'default', ...changes },
  spec: { containers: [] },
  ...(status === undefined ? {} : { status }),
});

machineSuite({
  machine: podRunMachine,
  samples: [
    { type: 'SANDBOX_MISSING' },
    { type: 'INITIALIZED' },
    { type: 'CONTAINERS_DUE' },
    { type: 'CONTAINERS_STARTED' },
    { type: 'SUCCEEDED' },
    { type: 'FAILED' },
    { type: 'DEADLINE_EXCEEDED' },
    { type: 'EVICTED' },
    { type: 'CONTAINERS_LEFT' },
    { type: 'SANDBOX_LEFT' },
    { type: 'CONTAINERS_STOPPED' },
    { type: 'DELETED' },
  ],
  terminal: ['Succeeded', 'Failed'],
  deletion: { event: { type: 'DELETED' }, states: ['Terminating', 'Gone'] },
  roundTrip: (state) => {
    if (state === 'Gone') return stateOf(undefined);
    if (state === 'Terminating') return stateOf(pod({ deletionTimestamp: '2026-01-01T00:00:00Z' }, { phase: 'Running' }));
    const { phase, initialized } = statusOf(state) ?? { phase: '', initialized: false };
    return stateOf(pod({}, { phase, conditions: [{ type: 'Initialized', status: initialized ? 'True' : 'False' }] }));
  },
});

describe('events of a pod on its node', () => {
  const seen: PodObservation = {
    deleted: false,
    sandboxReady: true,
    initialized: true,
    running: 1,
    started: true,
    due: false,
    outcome: undefined,
    deadlineExceeded: false,
    evicted: false,
  };
  const types = (state: Parameters<typeof eventsOf>[0], changes: Partial<PodObservation>): string[] =>
    [...eventsOf(state, { ...seen, ...changes })].map(({ type }) => type);

  it('asks for nothing when all is as it should be', () => {
    expect(types('Running', {})).toEqual([]);
    expect(types('Succeeded', { running: 0, sandboxReady: false })).toEqual([]);
  });

  it('takes a new pod to running', () => {
    expect(types('Pending', { sandboxReady: false, started: false, initialized: false, running: 0 })).toEqual(['SANDBOX_MISSING']);
    expect(types('Pending', { started: false, running: 0, due: true })).toEqual(['INITIALIZED', 'CONTAINERS_DUE']);
    expect(types('Starting', {})).toEqual(['CONTAINERS_STARTED']);
  });

  it('restores the sandbox of a running pod that lost it', () => {
    expect(types('Running', { sandboxReady: false, running: 0 })).toEqual(['SANDBOX_MISSING']);
  });

  it('ends a pod that its node evicts, once', () => {
    expect(types('Running', { evicted: true })).toEqual(['EVICTED']);
    expect(types('Failed', { evicted: true })).toEqual(['CONTAINERS_LEFT']);
  });

  it('ends what still runs in a pod that is deleted, and releases it after', () => {
    expect(types('Running', { deleted: true })).toEqual(['DELETED']);
    expect(types('Terminating', { deleted: true })).toEqual(['CONTAINERS_LEFT']);
    expect(types('Terminating', { deleted: true, running: 0 })).toEqual(['CONTAINERS_STOPPED']);
  });
});

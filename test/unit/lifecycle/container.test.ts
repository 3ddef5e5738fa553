import { describe, expect, it } from 'vitest';
import { afterExit, stateOf, statusOf } from '../../../src/lifecycle/container.facts.ts';
import { containerMachine } from '../../../src/lifecycle/container.machine.ts';
import { machineSuite } from '../../support/machine-suite.ts';

machineSuite({
  machine: containerMachine,
  samples: [
    { type: 'START_DUE' },
    { type: 'START_FAILED' },
    { type: 'EXITED', next: 'restart' },
    { type: 'EXITED', next: 'backOff' },
    { type: 'EXITED', next: 'completed' },
    { type: 'EXITED', next: 'failed' },
    { type: 'UNHEALTHY', probe: 'liveness' },
    { type: 'UNHEALTHY', probe: 'startup' },
    { type: 'SPEC_CHANGED' },
    { type: 'DELETED' },
  ],
  terminal: ['Completed', 'Failed'],
  deletion: { event: { type: 'DELETED' }, states: ['Stopped'] },
  roundTrip: (state) => stateOf({ state: statusOf(state), deleting: state === 'Stopped' }),
});

describe('after an exit', () => {
  it.each([
    [0, 'Always', 0, 'restart'],
    [1, 'Always', 10_000, 'backOff'],
    [0, 'OnFailure', 0, 'completed'],
    [1, 'OnFailure', 0, 'restart'],
    [0, 'Never', 0, 'completed'],
    [1, 'Never', 0, 'failed'],
  ] as const)('exit %i with policy %s and %i ms of back-off left: %s', (exitCode, policy, backOffMs, next) => {
    expect(afterExit(exitCode, policy, backOffMs)).toBe(next);
  });
});

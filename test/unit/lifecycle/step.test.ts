import { describe, expect, it } from 'vitest';
import { setup } from 'xstate';
import { type EventOf, memoMisses, restore, stateNameOf, step } from '../../../src/lifecycle/step.ts';
import { machineSuite } from '../../support/machine-suite.ts';

const doorMachine = setup({
  types: {
    events: {} as { type: 'PUSHED'; hard: boolean } | { type: 'COUNTED'; times: number } | { type: 'REMOVED' },
  },
  guards: { isHard: (_, params: { hard: boolean }) => params.hard },
  actions: { ring(_, _params: { loud: boolean }) {}, count(_, _params: { times: number }) {} },
}).createMachine({
  id: 'door',
  initial: 'Closed',
  on: { REMOVED: '.Gone' },
  states: {
    Closed: {
      on: {
        PUSHED: [
          {
            guard: { type: 'isHard', params: ({ event }) => event },
            target: 'Open',
            actions: { type: 'ring', params: ({ event }) => ({ loud: event.hard }) },
          },
          { actions: { type: 'ring', params: { loud: false } } },
        ],
        COUNTED: { actions: { type: 'count', params: ({ event }) => ({ times: event.times }) } },
      },
    },
    Open: {},
    Gone: {},
  },
});

const samples: EventOf<typeof doorMachine>[] = [
  { type: 'PUSHED', hard: true },
  { type: 'PUSHED', hard: false },
  { type: 'COUNTED', times: 3 },
  { type: 'REMOVED' },
];

machineSuite({
  machine: doorMachine,
  samples,
  terminal: ['Open'],
  deletion: { event: { type: 'REMOVED' }, states: ['Gone'] },
  roundTrip: (value) => value,
});

describe('step', () => {
  const closed = restore(doorMachine, 'Closed');

  it('gives the next state and the intents of the branch that was taken', () => {
    const pushed = step(doorMachine, closed, { type: 'PUSHED', hard: true });
    expect(pushed.next.value).toBe('Open');
    expect(pushed.changed).toBe(true);
    expect(pushed.intents).toEqual([{ type: 'ring', params: { loud: true } }]);
  });

  it('tells an intent without a change of state', () => {
    const pushed = step(doorMachine, closed, { type: 'PUSHED', hard: false });
    expect(pushed.changed).toBe(false);
    expect(pushed.intents).toEqual([{ type: 'ring', params: { loud: false } }]);
  });

  it('asks XState once for the same question', () => {
    step(doorMachine, closed, { type: 'PUSHED', hard: true });
    const before = memoMisses().get('door');
    for (let i = 0; i < 100; i += 1) step(doorMachine, doorMachine.resolveState({ value: 'Closed' }), { type: 'PUSHED', hard: true });
    expect(memoMisses().get('door')).toBe(before);
  });

  it('never remembers an answer that depends on a number', () => {
    expect(step(doorMachine, closed, { type: 'COUNTED', times: 1 }).intents).toEqual([{ type: 'count', params: { times: 1 } }]);
    expect(step(doorMachine, closed, { type: 'COUNTED', times: 2 }).intents).toEqual([{ type: 'count', params: { times: 2 } }]);
  });

  it('gives the same snapshot for the same state', () => {
    expect(step(doorMachine, closed, { type: 'PUSHED', hard: true }).next).toBe(restore(doorMachine, 'Open'));
  });
});

describe('stateNameOf', () => {
  it('names compound and parallel states', () => {
    expect(stateNameOf('Active')).toBe('Active');
    expect(stateNameOf({ Ready: 'Open' })).toBe('Ready.Open');
    expect(stateNameOf({ b: 'Y', a: { X: {} } })).toBe('a.X+b.Y');
  });
});

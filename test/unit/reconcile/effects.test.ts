import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { setup } from 'xstate';
import { systemClock } from '../../../src/base/clock.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import { advance } from '../../../src/reconcile/effects.ts';
import { createStepLog } from '../../../src/reconcile/step-log.ts';

const lampMachine = setup({
  types: { events: {} as { type: 'PRESSED' } | { type: 'BROKEN' } },
  actions: { lightUp() {}, sweep(_, _params: { with: string }) {} },
}).createMachine({
  id: 'lamp',
  initial: 'Dark',
  states: {
    Dark: { on: { PRESSED: { target: 'Bright', actions: 'lightUp' } } },
    Bright: { on: { BROKEN: { target: 'Dark', actions: { type: 'sweep', params: { with: 'broom' } } } } },
  },
});

const createSteps = (capacity = 8) =>
  createStepLog({ clock: systemClock, log: pino({ level: 'silent' }), metrics: createMetrics(), capacity });

describe('advance', () => {
  it('performs the intents of all events in order and records the steps', async () => {
    const steps = createSteps();
    const done: string[] = [];
    const reached = await advance({
      machine: lampMachine,
      key: 'hall/lamp',
      from: 'Dark',
      events: [{ type: 'PRESSED' }, { type: 'PRESSED' }, { type: 'BROKEN' }],
      effects: {
        lightUp: async () => {
          await Promise.resolve();
          done.push('lightUp');
        },
        sweep: (params) => {
          done.push(params.with);
        },
      },
      steps,
    });
    expect(reached.value).toBe('Dark');
    expect(done).toEqual(['lightUp', 'broom']);
    expect(steps.recent().map(({ key, from, event, to }) => `${key} ${from} ${event} ${to}`)).toEqual([
      'hall/lamp Bright BROKEN Dark',
      'hall/lamp Dark PRESSED Bright',
    ]);
  });

  it('passes on the failure of an effect', async () => {
    const attempt = advance({
      machine: lampMachine,
      key: 'hall/lamp',
      from: 'Dark',
      events: [{ type: 'PRESSED' }],
      effects: { lightUp: () => Promise.reject(new Error('no current')), sweep() {} },
      steps: createSteps(),
    });
    await expect(attempt).rejects.toThrow('no current');
  });

  it('goes on from what came of an intent', async () => {
    const done: string[] = [];
    const reached = await advance({
      machine: lampMachine,
      key: 'hall/lamp',
      from: 'Dark',
      events: [{ type: 'PRESSED' }],
      effects: {
        lightUp: () => ({ type: 'BROKEN' }) as const,
        sweep: (params) => {
          done.push(params.with);
        },
      },
      steps: createSteps(),
    });
    expect(reached.value).toBe('Dark');
    expect(done).toEqual(['broom']);
  });

  it('does not compile without an effect for every intent', () => {
    // @ts-expect-error sweep is missing
    const effects: Parameters<typeof advance<typeof lampMachine>>[0]['effects'] = { lightUp() {} };
    expect(effects).toBeDefined();
  });
});

describe('step log', () => {
  it('keeps only the newest steps, newest first', () => {
    const steps = createSteps(3);
    for (let i = 0; i < 5; i += 1) steps.record({ machine: 'lamp', key: String(i), from: 'a', event: 'E', to: 'b' });
    expect(steps.recent().map(({ key }) => key)).toEqual(['4', '3', '2']);
  });
});

import { describe, expect, it } from 'vitest';
import { createTurnGate } from '../../../src/base/turn-gate.ts';
import { createTurns, type Turns } from '../../../src/base/turns.ts';
import { createManualClock } from '../../support/manual-clock.ts';

/** A gate whose turns the test makes; each piece of work lasts 3 ms. */
function start(maxWaiting = 100) {
  const clock = createManualClock();
  const scheduled: (() => void)[] = [];
  const gate = createTurnGate({ clock, schedule: (action) => scheduled.push(action), sliceMs: 2 });
  const order: string[] = [];
  return {
    order,
    turns: () => createTurns({ gate, maxWaiting }),
    async turn(): Promise<void> {
      for (const action of scheduled.splice(0)) {
        action();
        for (let microtask = 0; microtask < 3; microtask += 1) await Promise.resolve();
      }
    },
    work(turns: Turns, flow: string): void {
      void turns.take(flow)?.then(() => {
        order.push(flow);
        clock.advance(3);
      });
    },
  };
}

describe('turns', () => {
  it('let one piece of work into a turn of the event loop that it fills, and flows follow each other', async () => {
    const { turns, work, turn, order } = start();
    const slices = turns();
    for (let piece = 0; piece < 5; piece += 1) work(slices, 'greedy');
    work(slices, 'modest');
    await turn();
    expect(order).toEqual(['greedy']);
    await turn();
    expect(order).toEqual(['greedy', 'modest']);
    await turn();
    await turn();
    expect(order).toEqual(['greedy', 'modest', 'greedy', 'greedy']);
    expect(slices.waiting).toBe(2);
  });

  it('alternate between two sorts at one gate, however many of one sort wait', async () => {
    const { turns, work, turn, order } = start();
    const lists = turns();
    const pages = turns();
    for (let piece = 0; piece < 5; piece += 1) work(lists, 'list');
    work(pages, 'page');
    await turn();
    await turn();
    expect(order).toEqual(['list', 'page']);
  });

  it('are refused when too many wait', async () => {
    const { turns, turn } = start(2);
    const slices = turns();
    void slices.take('a');
    void slices.take('a');
    expect(slices.take('b')).toBeUndefined();
    await turn();
    expect(slices.take('b')).toBeInstanceOf(Promise);
  });
});

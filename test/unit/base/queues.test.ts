import { describe, expect, it } from 'vitest';
import { createBackoff } from '../../../src/base/backoff.ts';
import { mapBounded } from '../../../src/base/concurrency.ts';
import { createWorkQueue } from '../../../src/base/work-queue.ts';
import { createManualClock } from '../../support/manual-clock.ts';

describe('work queue', () => {
  const queueOf = () => {
    const clock = createManualClock();
    let ready = 0;
    const queue = createWorkQueue({ clock, backoff: createBackoff({ baseMs: 10, maxMs: 1_000 }), onReady: () => (ready += 1) });
    return { clock, queue, ready: () => ready };
  };

  it('holds a key once, and gives it to one worker at a time', () => {
    const { queue } = queueOf();
    queue.add('a');
    queue.add('a');
    expect(queue.depth).toBe(1);
    expect(queue.take()).toBe('a');
    expect(queue.take()).toBeUndefined();
    queue.add('a');
    expect(queue.take()).toBeUndefined();
    queue.done('a');
    expect(queue.take()).toBe('a');
    queue.done('a');
    expect(queue.take()).toBeUndefined();
  });

  it('adds later, the earliest time counting, and at once what is added meanwhile', () => {
    const { queue, clock } = queueOf();
    queue.addAfter('a', 100);
    queue.addAfter('a', 50);
    queue.addAfter('a', 80);
    clock.advance(49);
    expect(queue.depth).toBe(0);
    clock.advance(1);
    expect(queue.take()).toBe('a');
    queue.done('a');
    queue.addAfter('b', 100);
    queue.add('b');
    expect(queue.waiting).toBe(0);
    expect(queue.take()).toBe('b');
  });

  it('backs off by key, doubling to a bound, and forgets on success', () => {
    const { queue, clock } = queueOf();
    for (const delay of [10, 20, 40, 80, 160, 320, 640, 1_000, 1_000]) {
      queue.addRateLimited('a');
      clock.advance(delay - 1);
      expect(queue.depth).toBe(0);
      clock.advance(1);
      expect(queue.take()).toBe('a');
      queue.done('a');
    }
    queue.forget('a');
    queue.addRateLimited('a');
    clock.advance(10);
    expect(queue.take()).toBe('a');
  });

  it('takes nothing after it was closed', () => {
    const { queue, clock } = queueOf();
    queue.addAfter('a', 10);
    queue.add('b');
    queue.close();
    clock.advance(100);
    queue.add('c');
    expect(queue.take()).toBeUndefined();
  });
});

describe('mapBounded', () => {
  it('keeps the order of results and the bound', async () => {
    let active = 0;
    let most = 0;
    const results = await mapBounded([3, 1, 2, 5, 4], 2, async (value) => {
      active += 1;
      most = Math.max(most, active);
      await new Promise((resolve) => setImmediate(resolve));
      active -= 1;
      return value * 2;
    });
    expect(results).toEqual([6, 2, 4, 10, 8]);
    expect(most).toBe(2);
  });

  it('starts nothing after an error, and throws it when what runs has settled', async () => {
    const started: number[] = [];
    let settled = false;
    const work = mapBounded([1, 2, 3, 4], 2, async (value) => {
      started.push(value);
      if (value === 1) throw new Error('one');
      await new Promise((resolve) => setImmediate(resolve));
      settled = true;
    });
    await expect(work).rejects.toThrow('one');
    expect(settled).toBe(true);
    expect(started).toEqual([1, 2]);
  });
});

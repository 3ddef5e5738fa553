import { describe, expect, it } from 'vitest';
import { createTurnQueue } from '../../../../src/apiserver/http/turn-queue.ts';
import { systemClock } from '../../../../src/base/clock.ts';

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('turn queue', () => {
  it('runs what is due in order, a slice a turn', async () => {
    let now = 0;
    const clock = { ...systemClock, monotonicMs: () => now };
    const queue = createTurnQueue({ clock, sliceMs: 3 });
    const done: number[] = [];
    for (let task = 0; task < 6; task += 1) {
      queue.add(() => {
        done.push(task);
        now += 2;
      });
    }
    expect(done).toEqual([]);
    await nextTurn();
    expect(done).toEqual([0, 1]);
    queue.add(() => done.push(6));
    await nextTurn();
    expect(done).toEqual([0, 1, 2, 3]);
    await nextTurn();
    await nextTurn();
    expect(done).toEqual([0, 1, 2, 3, 4, 5, 6]);
    queue.add(() => done.push(7));
    await nextTurn();
    expect(done).toHaveLength(8);
  });
});

import { expect, it } from 'vitest';
import { createSliceLoop } from '../../../src/base/slice-loop.ts';

const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve));
const spin = (ms: number) => {
  const until = performance.now() + ms;
  while (performance.now() < until);
};

it('works off all that waits in the turn after it was woken, and then rests', async () => {
  let left = 3;
  let slices = 0;
  const loop = createSliceLoop({
    beforeSlice() {
      slices += 1;
    },
    work() {
      if (left === 0) return false;
      left -= 1;
      return true;
    },
  });
  loop.wake();
  await nextTurn();
  expect(left).toBe(3);
  loop.start();
  loop.wake();
  expect(left).toBe(3);
  await nextTurn();
  expect([left, slices]).toEqual([0, 1]);
});

it('leaves the turn after 3 ms, and goes on in the next one', async () => {
  let done = 0;
  const loop = createSliceLoop({
    work() {
      spin(4);
      done += 1;
      return done < 3;
    },
  });
  loop.start();
  for (const expected of [1, 2, 3]) {
    await nextTurn();
    expect(done).toBe(expected);
  }
});

it('stops in the middle of a slice', async () => {
  let done = 0;
  const loop = createSliceLoop({
    work() {
      done += 1;
      if (done === 2) loop.stop();
      return true;
    },
  });
  loop.start();
  await nextTurn();
  await nextTurn();
  expect(done).toBe(2);
});

import { expect, it } from 'vitest';
import { createWorkLoop } from '../../../src/base/work-loop.ts';
import { createManualClock } from '../../support/manual-clock.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

it('works on one key at a time, and comes back to a key that failed', async () => {
  const clock = createManualClock();
  const worked: string[] = [];
  const failed: string[] = [];
  let atOnce = 0;
  const queue = createWorkLoop({
    clock,
    async work(key) {
      atOnce += 1;
      expect(atOnce).toBe(1);
      await turn();
      atOnce -= 1;
      worked.push(key);
      if (key === 'b' && failed.length === 0) throw new Error('not yet');
    },
    onFailure: (key, err) => failed.push(`${key}: ${(err as Error).message}`),
  });
  for (const key of ['a', 'b', 'c']) queue.add(key);
  for (let turns = 0; turns < 10; turns += 1) await turn();
  expect(worked).toEqual(['a', 'b', 'c']);
  expect(failed).toEqual(['b: not yet']);
  clock.advance(60_000);
  for (let turns = 0; turns < 10; turns += 1) await turn();
  expect(worked).toEqual(['a', 'b', 'c', 'b']);
  queue.close();
});

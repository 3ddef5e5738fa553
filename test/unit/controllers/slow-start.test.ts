import { describe, expect, it } from 'vitest';
import { inBatches, slowStart } from '../../../src/controllers/slow-start.ts';

async function run(count: number, failAt = Number.POSITIVE_INFINITY) {
  let running = 0;
  let tried = 0;
  let most = 0;
  const outcome = await slowStart(count, async (index) => {
    running += 1;
    tried += 1;
    most = Math.max(most, running);
    await Promise.resolve();
    running -= 1;
    if (index >= failAt) throw new Error(`refused ${index}`);
  });
  return { ...outcome, tried, most };
}

describe('slow start', () => {
  it('does all, in batches that grow to 100', async () => {
    expect(await run(500)).toMatchObject({ succeeded: 500, tried: 500, most: 100 });
  });

  it('stops after the batch with the first failure', async () => {
    expect(await run(500, 0)).toMatchObject({ succeeded: 0, tried: 1 });
    const { succeeded, tried, failure } = await run(500, 5);
    expect({ succeeded, tried }).toEqual({ succeeded: 5, tried: 7 });
    expect(failure).toMatchObject({ message: 'refused 5' });
  });
});

describe('batches', () => {
  it('take every item once', async () => {
    const seen: number[] = [];
    await inBatches(
      Array.from({ length: 250 }, (_, index) => index),
      async (item) => {
        seen.push(item);
      },
    );
    expect(seen).toHaveLength(250);
    expect(new Set(seen).size).toBe(250);
  });
});

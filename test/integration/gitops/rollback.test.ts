import { describe, expect, it } from 'vitest';
import { rollBack } from '../../support/rollback.ts';

/** `MIDSHIP_ROLLBACK_SEEDS=1-200` for more; a failure names its seed. */
const [first = 1, last = first + 5] = (process.env.MIDSHIP_ROLLBACK_SEEDS ?? '1-6').split('-').map(Number);

describe('after a history of changes to several apps, going back', () => {
  for (let seed = first; seed <= last; seed += 1) {
    it(`leaves what a fresh install of that commit has, seed ${seed}`, { timeout: 120_000 }, async () => {
      const { live, fresh } = await rollBack(seed);
      expect(live).toEqual(fresh);
    });
  }
});

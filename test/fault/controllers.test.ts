import { afterAll, describe, expect, it } from 'vitest';
import { runOnce } from './controllers-run.ts';

/** `npm run fault -- --controllers N --seed S` sets both. A seed does not repeat its run call by call. */
const runs = Number(process.env.MIDSHIP_CONTROLLER_RUNS ?? 5);
const seed = Number(process.env.MIDSHIP_SEED ?? 2_000_000);

describe('the controllers among kills', () => {
  const counts = new Map<string, number>();
  let done = 0;
  afterAll(() => {
    const lines = [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, count]) => `  ${String(count).padStart(7)}  ${name}`);
    process.stdout.write(`${done} runs from MIDSHIP_SEED=${seed}; --seed ${seed + done} goes on from here\n${lines.join('\n')}\n`);
  });

  it('come to the end of a cluster without faults, whatever happened', { timeout: 60_000 + runs * 30_000 }, async () => {
    while (done < runs) {
      await runOnce((seed + done) % 2 ** 32, counts);
      done += 1;
    }
    expect(counts.get('kill in the middle of a call') ?? 0).toBeGreaterThan(0);
    expect(counts.get('API write done but not answered') ?? 0).toBeGreaterThan(0);
  });
});

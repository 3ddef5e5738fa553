import { describe, expect, it } from 'vitest';
import { runOnce } from './gitops-run.ts';

/** `npm run fault -- --runs N --seed S` sets both. A seed does not repeat its run call by call. */
const runs = Number(process.env.MIDSHIP_FAULT_RUNS ?? 10);
const seed = Number(process.env.MIDSHIP_SEED ?? 1_000_000);

/** Seeds that once found something. */
const regressions: readonly number[] = [2, 302, 304, 800_014, 1_000_017];

describe('the GitOps engine among faults', () => {
  const counts = new Map<string, number>();
  const tell = (done: number): void => {
    const lines = [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, count]) => `  ${String(count).padStart(7)}  ${name}`);
    process.stdout.write(`MIDSHIP_SEED=${seed}: ${done} runs\n${lines.join('\n')}\n`);
  };

  it.each(regressions)('holds with seed %i, which once broke it', (known) => runOnce(known, new Map()));

  it('ends as the newest good commit says, leaks nothing and touches nothing of others, whatever happened', {
    timeout: 60_000 + runs * 30_000,
  }, async () => {
    let done = 0;
    try {
      while (done < runs) {
        await runOnce((seed + done) % 2 ** 32, counts);
        done += 1;
      }
    } finally {
      tell(done);
    }
    // Each act and each fault fired.
    expect(counts.get('API error') ?? 0).toBeGreaterThan(0);
    expect(counts.get('kill in the middle of a call') ?? 0).toBeGreaterThan(0);
  });
});

import { afterAll, describe, expect, it } from 'vitest';
import { runOnce, runProcesses } from './controllers-run.ts';

/** `npm run fault -- --controllers N --seed S` sets both. A seed does not repeat its run call by call. */
const runs = Number(process.env.MIDSHIP_CONTROLLER_RUNS ?? 5);
/** `--controller-processes N` */
const processRuns = Number(process.env.MIDSHIP_CONTROLLER_PROCESSES ?? 1);
const seed = Number(process.env.MIDSHIP_SEED ?? 2_000_000);

describe('the controllers among kills', () => {
  const counts = new Map<string, number>();
  let done = 0;
  let processesDone = 0;
  afterAll(() => {
    const lines = [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, count]) => `  ${String(count).padStart(7)}  ${name}`);
    const from = `from MIDSHIP_SEED=${seed}`;
    process.stdout.write(`${done} runs ${from}; --seed ${seed + done} goes on from here\n`);
    process.stdout.write(`${processesDone} runs with processes ${from}; --seed ${seed + processesDone} goes on from here\n`);
    process.stdout.write(`${lines.join('\n')}\n`);
  });

  it.skipIf(runs === 0)(
    'come to the end of a cluster without faults, whatever happened (needs a number of runs)',
    { timeout: 60_000 + runs * 30_000 },
    async () => {
      while (done < runs) {
        await runOnce((seed + done) % 2 ** 32, counts);
        done += 1;
      }
      expect([...counts.keys()].some((name) => name.startsWith('kill in a call of '))).toBe(true);
      expect(counts.get('API write done but not answered') ?? 0).toBeGreaterThan(0);
    },
  );

  it.skipIf(processRuns === 0)(
    'come to that end as processes that get SIGKILL (needs a number of runs)',
    { timeout: 60_000 + processRuns * 120_000 },
    async () => {
      while (processesDone < processRuns) {
        await runProcesses((seed + processesDone) % 2 ** 32, counts);
        processesDone += 1;
      }
    },
  );
});

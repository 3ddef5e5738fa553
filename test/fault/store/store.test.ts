import { appendFileSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { hasEtcd } from '../../support/etcd.ts';
import { runOnce } from './run.ts';
import type { StoreName } from './stage.ts';

/** `npm run fault -- store N --store sqlite|etcd --from SEED` sets these. */
const runs = Number(process.env.MIDSHIP_STORE_RUNS ?? 2);
const firstSeed = Number(process.env.MIDSHIP_SEED ?? 1);
const stores = (process.env.MIDSHIP_STORE ?? 'sqlite,etcd').split(',') as StoreName[];

/** A line for each run that ended, so that figures of many nights can be added up. */
const recordFile = fileURLToPath(new URL('../../../node_modules/.cache/midship/store-runs.jsonl', import.meta.url));

describe.each(stores)('the API over %s among faults (needs etcd for etcd)', (store) => {
  const counts = new Map<string, number>();
  const sums = { runs: 0, calls: 0, unknown: 0, events: 0 };
  afterAll(() => {
    const lines = [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, count]) => `  ${String(count).padStart(7)}  ${name}`);
    const { runs: done, calls, unknown, events } = sums;
    process.stdout.write(
      `${store}: ${done} runs from seed ${firstSeed}, ${calls} calls, ${unknown} of unknown outcome, ${events} events; ` +
        `--store ${store} --from ${firstSeed + done} goes on from here\n${lines.join('\n')}\n`,
    );
  });

  it.skipIf(store === 'etcd' && !hasEtcd).each(Array.from({ length: runs }, (_, n) => firstSeed + n))(
    'keeps every promise (seed %i)',
    { timeout: 400_000 },
    async (seed) => {
      const began = performance.now();
      const result = await runOnce(store, seed);
      const { errors, faults, historyFile, topology, calls, unknown, events } = result;
      const at = new Date().toISOString();
      const ms = Math.round(performance.now() - began);
      mkdirSync(dirname(recordFile), { recursive: true });
      appendFileSync(
        recordFile,
        `${JSON.stringify({ at, seed, ms, ...topology, calls, unknown, events, faults: Object.fromEntries(faults), errors })}\n`,
      );
      expect(errors, `${store}, seed ${seed}, ${topology.servers} servers, ${topology.members} members; history: ${historyFile}`).toEqual(
        [],
      );
      for (const [name, count] of faults) counts.set(name, (counts.get(name) ?? 0) + count);
      sums.runs += 1;
      sums.calls += calls;
      sums.unknown += unknown;
      sums.events += events;
    },
  );
});

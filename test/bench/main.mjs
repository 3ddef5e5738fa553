// Runs the benchmarks that are named on the command line, or all. Each gives rows of samples; the medians are what counts, and rows that
// compare do so with a baseline of the same run. With `--only TEXT` the suites that have workloads run those with the text in their names.
import { cpus, release, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { api } from './api.mjs';
import { apps, large } from './apps.mjs';
import { floods } from './floods.mjs';
import { gitops } from './gitops.mjs';
import { ha } from './ha.mjs';
import { kustomize } from './kustomize.mjs';
import { network } from './network.mjs';
import { nodes } from './nodes.mjs';
import { pods } from './pods.mjs';
import { push } from './push.mjs';
import { scheduler } from './scheduler.mjs';
import { start } from './start.mjs';
import { store } from './store.mjs';

const suites = { start, store, api, pods, scheduler, push, apps, large, gitops, kustomize, floods, network, nodes, ha };

const { values, positionals: names } = parseArgs({ allowPositionals: true, options: { only: { type: 'string' } } });
const unknown = names.filter((name) => !(name in suites));
if (unknown.length > 0) {
  process.stderr.write(
    `✗ no benchmark ${unknown.join(', ')}\n  There are: ${Object.keys(suites).join(', ')}.\n  Run: npm run bench -- NAME [--only WORKLOAD]\n`,
  );
  process.exit(2);
}

const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
const results = [];
for (const [name, suite] of Object.entries(suites)) {
  if (names.length > 0 && !names.includes(name)) continue;
  process.stderr.write(`\n${name}\n`);
  for (const { name: row, unit, samples } of await suite(values)) {
    const sorted = [...samples].sort((a, b) => a - b);
    const round = (value) => Number(value.toPrecision(4));
    const result = {
      name: `${name}/${row}`,
      unit,
      median: round(quantile(sorted, 0.5)),
      min: round(sorted[0]),
      max: round(sorted.at(-1)),
      runs: sorted.length,
    };
    if (sorted.length >= 20) result.p95 = round(quantile(sorted, 0.95));
    if (sorted.length >= 200) result.p99 = round(quantile(sorted, 0.99));
    results.push(result);
    const p95 = `${result.p95 === undefined ? '' : `   p95 ${result.p95}`}${result.p99 === undefined ? '' : `   p99 ${result.p99}`}`;
    process.stderr.write(
      `  ${row.padEnd(58)} ${String(result.median).padStart(9)} ${unit.padEnd(7)} min ${result.min}   max ${result.max}   runs ${result.runs}${p95}\n`,
    );
  }
}
const machine = {
  cpu: cpus()[0]?.model ?? '',
  cores: cpus().length,
  memoryMiB: Math.round(totalmem() / 1048576),
  kernel: release(),
  node: process.version,
};
process.stdout.write(`${JSON.stringify({ machine, results }, undefined, 2)}\n`);
process.exit(0);

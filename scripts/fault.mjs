// npm run fault [-- FLAGS]: set-up, then the tests of test/fault, and all comparisons with kustomize. npm test has no time for them.
//
//   --runs N        seeded runs of the GitOps engine in process among faults; prints how often each fault fired
//   --kills N       kill -9 of the program at seeded moments of a rollout
//   --fuzz N        rounds of odd objects of every kind, and a restart after each
//   --damage N      starts with one damaged file of the data directory each
//   --power-cuts N  cuts of the power, on a loop device (root only)
//   --budgets M,M   memory budgets in MiB, each filled by an account that may write in one namespace
//   --kustomize all  every pair of fields of a kustomization and all drawn ones, compared with the real program
//   --seed S        the same run again
//
// Without any of them every suite runs at the size of the gate, after `npm test`, which leaves them out. With some, only
// those run.
// npm run fault -- soak [--minutes M]: two hours of churn, which check that memory stays flat.
import { parseArgs } from 'node:util';
import { root, run, setUp } from './setup.mjs';

const suites = [
  { flag: 'runs', file: 'gitops', variable: 'MIDSHIP_FAULT_RUNS', gate: '150' },
  { flag: 'kills', file: 'kill', variable: 'MIDSHIP_KILLS', gate: '20' },
  { flag: 'fuzz', file: 'odd-objects', variable: 'MIDSHIP_FUZZ_ROUNDS', gate: '2' },
  { flag: 'damage', file: 'damaged-files', variable: 'MIDSHIP_DAMAGED_FILES', gate: '4' },
  { flag: 'power-cuts', file: 'power-cut', variable: 'MIDSHIP_POWER_CUTS', gate: '6' },
  { flag: 'kustomize', tier: 'conformance', file: 'kustomize', variable: 'MIDSHIP_KUSTOMIZE_PAIRS', gate: 'all' },
  { flag: 'kustomize', tier: 'conformance', file: 'kustomize-fuzz', variable: 'MIDSHIP_KUSTOMIZE_PAIRS', gate: 'all' },
  { flag: 'kustomize', tier: 'conformance', file: 'kustomize-transformers', variable: 'MIDSHIP_KUSTOMIZE_PAIRS', gate: 'all' },
  { flag: 'kustomize', tier: 'conformance', file: 'kustomize-helm', variable: 'MIDSHIP_KUSTOMIZE_PAIRS', gate: 'all' },
  { flag: 'budgets', file: 'memory-budget', variable: 'MIDSHIP_MEMORY_BUDGETS', gate: '192,288' },
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: 'string', default: '120' },
    seed: { type: 'string' },
    ...Object.fromEntries(suites.map(({ flag }) => [flag, { type: 'string' }])),
  },
});
setUp();
if (positionals[0] === 'soak') {
  run(process.execPath, ['test/fault/soak.mjs', '--minutes', values.minutes]);
  process.exit(0);
}
if (values.seed !== undefined) process.env.MIDSHIP_SEED = values.seed;
const named = suites.filter(({ flag }) => values[flag] !== undefined);
const wanted = named.length > 0 ? named : suites;
for (const { flag, variable, gate } of wanted) process.env[variable] = values[flag] ?? gate;
// All of the folder, so that the gate misses none that has no flag.
const files = [...(named.length > 0 ? [] : ['test/fault/']), ...wanted.map(({ tier = 'fault', file }) => `test/${tier}/${file}.test.ts`)];
const reporters = ['--reporter=default', '--reporter=./scripts/test-report.mjs'];
run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', '--project', 'fault', '--project', 'conformance', ...reporters, ...files], {
  cwd: root,
});

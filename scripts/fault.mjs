// npm run fault -- [--runs N] [--seed S] [--kills] [--fuzz N] [--power-cuts N] [--damage N]: set-up, then seeded runs of the GitOps engine among faults;
// with --kills also kill -9 of the real program, with --fuzz N rounds of odd objects and a restart, with --power-cuts N cuts of the power
// (root only), with --damage N starts with a damaged file each. Prints the seed, and how often each fault fired.
// npm run fault -- soak [--minutes M]: two hours of churn, and whether memory stays flat.
import { parseArgs } from 'node:util';
import { root, run, setUp } from './setup.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: 'string', default: '120' },
    runs: { type: 'string', default: '100' },
    seed: { type: 'string' },
    kills: { type: 'boolean', default: false },
    fuzz: { type: 'string' },
    'power-cuts': { type: 'string' },
    damage: { type: 'string' },
  },
});
process.env.MIDSHIP_FAULT_RUNS = values.runs;
if (values.seed !== undefined) process.env.MIDSHIP_SEED = values.seed;
if (values.fuzz !== undefined) process.env.MIDSHIP_FUZZ_ROUNDS = values.fuzz;
if (values['power-cuts'] !== undefined) process.env.MIDSHIP_POWER_CUTS = values['power-cuts'];
if (values.damage !== undefined) process.env.MIDSHIP_DAMAGED_FILES = values.damage;
setUp();
if (positionals[0] === 'soak') {
  run(process.execPath, ['test/fault/soak.mjs', '--minutes', values.minutes], { cwd: root });
  process.exit(0);
}
const files = [
  'test/fault/gitops.test.ts',
  ...(values.kills ? ['test/fault/kill.test.ts'] : []),
  ...(values.fuzz === undefined ? [] : ['test/fault/odd-objects.test.ts']),
  ...(values.damage === undefined ? [] : ['test/fault/damaged-files.test.ts']),
  ...(values['power-cuts'] === undefined ? [] : ['test/fault/power-cut.test.ts']),
];
run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', '--project', 'fault', ...files], { cwd: root });

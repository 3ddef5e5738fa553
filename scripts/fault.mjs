// npm run fault [-- FLAGS]: set-up, then the tests of test/fault and test/machines, and all comparisons with kustomize. npm test has no
// time for them.
//
//   --runs N        seeded runs of the GitOps engine in process among faults; prints how often each fault fired
//   --kills N       kill -9 of the program at seeded moments of a rollout
//   --fuzz N        rounds of odd objects of every kind, and a restart after each
//   --damage N      starts with one damaged file of the data directory each
//   --power-cuts N  cuts of the power, on a loop device (root only)
//   --scheduler N   random clusters in which the scheduler has to decide as a plain model does; prints where to go on
//   --controllers N  kills of the process with all controllers in the middle of its calls, seeded; prints where to go on
//   --controller-processes N  the same with SIGKILL for midship controllers and midship scheduler
//   --budgets M,M   memory budgets in MiB, each filled by an account that may write in one namespace
//   --clients system  everyday commands by the kubectl of the system; npm test runs a newer one
//   --target 'in process'  the suites of the GitOps engine on that target; npm test runs the others
//   --store-runs N  seeded runs of clients and watchers on SQLite, and N on etcd, among faults; prints how often each fired
//   --store sqlite  only these (or etcd)
//   --runtime containerd  the suite of container runtimes on that one; npm test runs the others
//   --server-gone S  seconds without a server, in which the pods of three machines go on
//   --kustomize all  every pair of fields of a kustomization and all drawn ones, compared with the real program
//   --seed S        the same run again; --from S is the same, to go on where a run has ended
//
// Without any of them every suite runs at the size of the gate, after `npm test`, which leaves them out. With some, only
// those run.
// `npm run fault -- scheduler` runs that suite alone, over 10,000 clusters.
// `npm run fault -- controllers` runs that one alone, 200 times.
// `npm run fault -- store 1000 --store etcd --from 101` runs that one alone, from a seed on; without numbers 100 times on each store.
//
// npm run fault -- soak [--minutes M]: two hours of churn, which check that memory stays flat.
import { parseArgs } from 'node:util';
import { root, run, setUp } from './setup.mjs';

const suites = [
  { flag: 'runs', path: 'test/fault/gitops.test.ts', variable: 'MIDSHIP_FAULT_RUNS', gate: '150' },
  { flag: 'kills', path: 'test/fault/kill.test.ts', variable: 'MIDSHIP_KILLS', gate: '20' },
  { flag: 'fuzz', path: 'test/fault/odd-objects.test.ts', variable: 'MIDSHIP_FUZZ_ROUNDS', gate: '2' },
  { flag: 'damage', path: 'test/fault/damaged-files.test.ts', variable: 'MIDSHIP_DAMAGED_FILES', gate: '4' },
  { flag: 'power-cuts', path: 'test/fault/power-cut.test.ts', variable: 'MIDSHIP_POWER_CUTS', gate: '6' },
  { flag: 'kustomize', path: 'test/conformance/kustomize.test.ts', variable: 'MIDSHIP_KUSTOMIZE_PAIRS', gate: 'all' },
  { flag: 'kustomize', path: 'test/conformance/kustomize-fuzz.test.ts', variable: 'MIDSHIP_KUSTOMIZE_PAIRS', gate: 'all' },
  { flag: 'kustomize', path: 'test/conformance/kustomize-transformers.test.ts', variable: 'MIDSHIP_KUSTOMIZE_PAIRS', gate: 'all' },
  { flag: 'kustomize', path: 'test/conformance/kustomize-helm.test.ts', variable: 'MIDSHIP_KUSTOMIZE_PAIRS', gate: 'all' },
  { flag: 'clients', path: 'test/e2e/clients/kubectl.test.ts', variable: 'MIDSHIP_CLIENTS', gate: 'system' },
  { flag: 'target', path: 'test/conformance/gitops/', variable: 'MIDSHIP_CONFORMANCE_TARGET', gate: 'in process' },
  { flag: 'target', path: 'test/integration/gitops/custom-resources.test.ts', variable: 'MIDSHIP_CONFORMANCE_TARGET', gate: 'in process' },
  { flag: 'runtime', path: 'test/conformance/runtimes/', variable: 'MIDSHIP_CONFORMANCE_RUNTIME', gate: 'containerd' },
  { flag: 'scheduler', path: 'test/unit/scheduler/model.test.ts', variable: 'MIDSHIP_SCHEDULER_CLUSTERS', gate: '300', full: '10000' },
  { flag: 'controllers', path: 'test/fault/controllers.test.ts', variable: 'MIDSHIP_CONTROLLER_RUNS', gate: '40', full: '200' },
  {
    ...{ flag: 'controller-processes', path: 'test/fault/controllers.test.ts', variable: 'MIDSHIP_CONTROLLER_PROCESSES' },
    ...{ gate: '1', full: '20' },
  },
  { flag: 'store-runs', command: 'store', path: 'test/fault/store/', variable: 'MIDSHIP_STORE_RUNS', gate: '2', full: '100' },
  { flag: 'server-gone', path: 'test/machines/machines.test.ts', variable: 'MIDSHIP_SERVER_GONE_SECONDS', gate: '2' },
  { flag: 'budgets', path: 'test/fault/memory-budget.test.ts', variable: 'MIDSHIP_MEMORY_BUDGETS', gate: '192,288' },
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: 'string', default: '120' },
    seed: { type: 'string' },
    from: { type: 'string' },
    store: { type: 'string' },
    ...Object.fromEntries(suites.map(({ flag }) => [flag, { type: 'string' }])),
  },
});
setUp();
if (positionals[0] === 'soak') {
  run(process.execPath, ['test/fault/soak.mjs', '--minutes', values.minutes]);
  process.exit(0);
}
const seed = values.seed ?? values.from;
if (seed !== undefined) process.env.MIDSHIP_SEED = seed;
if (values.store !== undefined) process.env.MIDSHIP_STORE = values.store;
const [command, count] = positionals;
for (const suite of suites) {
  if (suite.full !== undefined && command === (suite.command ?? suite.flag)) values[suite.flag] ??= count ?? suite.full;
}
// One file has both, and a flag of one leaves the other out.
if (values.controllers !== undefined) values['controller-processes'] ??= '0';
else if (values['controller-processes'] !== undefined) values.controllers = '0';
const named = suites.filter(({ flag }) => values[flag] !== undefined);
const wanted = named.length > 0 ? named : suites;
for (const { flag, variable, gate } of wanted) process.env[variable] = values[flag] ?? gate;
// All of the folder, so that the gate misses none that has no flag.
const files = [...(named.length > 0 ? [] : ['test/fault/', 'test/machines/']), ...wanted.map(({ path }) => path)];
const projects = ['fault', 'machines', 'unit', 'integration', 'conformance', 'e2e'].flatMap((name) => ['--project', name]);
const reporters = ['--reporter=default', '--reporter=./scripts/test-report.mjs'];
run(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', ...projects, ...reporters, ...files], {
  cwd: root,
});

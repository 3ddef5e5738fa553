import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { TestOrder } from './test/support/test-order.ts';

/**
 * Test files at once: two more than cores. The order of the files gives about half of the workers files that wait for half of their
 * time.
 *
 * vitest itself would leave a machine of two cores with one worker.
 */
const workers = Math.max(2, availableParallelism()) + 2;

/** Files of integration that measure the memory of their process, and therefore have one of their own. */
const measureMemory = [
  'test/integration/gitops/hostile.test.ts',
  'test/integration/gitops/sources.test.ts',
  'test/integration/node-agent/pod-records.test.ts',
];

interface Tier {
  /** Files; those of the folder of its name when absent. */
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly testTimeout: number;
  readonly maxWorkers: number;
  /** False: files share a process, one after the other, and with it the modules of `src`, whose loading costs more than many a file. */
  readonly isolate: boolean;
  /** Tiers of one order share the workers. A later order begins when the one before has ended. */
  readonly order: number;
}

/**
 * One project for each tier of test/README.md. `npm test` runs all but `machines` and `fault`, and `npm test -- --project unit` one of
 * them.
 */
const tier = (name: string, { include = [`test/${name}/**/*.test.ts`], exclude = [], testTimeout, maxWorkers, isolate, order }: Tier) => ({
  test: {
    name,
    include: [...include],
    exclude: [...exclude],
    testTimeout,
    hookTimeout: testTimeout,
    // As long as `until` waits. The one second of vitest ends while another file has the cores.
    expect: { poll: { timeout: 30_000 } },
    maxWorkers,
    isolate,
    // The targets of a GitOps suite, which are tests that run side by side in one process.
    maxConcurrency: 3,
    sequence: { groupOrder: order },
    pool: 'forks' as const,
  },
});

// Tests start programs, which inherit all of this. A hook that runs the tests sets GIT_ variables for its own repository.
for (const name of Object.keys(process.env)) if (name.startsWith('GIT_')) delete process.env[name];
// No test may touch the developer's cluster.
delete process.env.KUBECONFIG;

/** A proxy of the machine is not asked for what the tests themselves serve. */
const withoutProxy = [process.env.NO_PROXY ?? process.env.no_proxy ?? '', '127.0.0.1', 'localhost', '::1']
  .filter((host) => host !== '')
  .join();

/** The flag asks for any order of files, too, and vitest heeds it only where the configuration names none. */
const isShuffled = process.argv.some((arg) => arg.startsWith('--sequence.shuffle'));

export default defineConfig({
  test: {
    ...(isShuffled ? {} : { sequence: { sequencer: TestOrder } }),
    // The projects share most of `src`. Otherwise one process, which serves all workers, compiles each module once for every project.
    experimental: { fsModuleCache: true },
    env: {
      // Words are compared, so nothing colours them: on a machine with CI=true or FORCE_COLOR set, the programs would.
      NO_COLOR: '1',
      // No hook, signature or line ending of the developer's own git.
      GIT_CONFIG_GLOBAL: '/dev/null',
      GIT_CONFIG_NOSYSTEM: '1',
      // kubectl, helm and etcd are Go programs that live for a moment or stay small. Their collector takes a quarter of the processor time
      // of a kubectl when it begins at 4 MB, and next to nothing at 16.
      GOGC: '400',
      NO_PROXY: withoutProxy,
      no_proxy: withoutProxy,
    },
    projects: [
      // Some compute for a second or two, by intent. That is ten while the cores are shared with e2e files and other programs.
      tier('unit', { testTimeout: 30_000, maxWorkers: workers, isolate: false, order: 1 }),
      tier('integration', { exclude: measureMemory, testTimeout: 60_000, maxWorkers: workers, isolate: false, order: 1 }),
      tier('integration-alone', { include: measureMemory, testTimeout: 60_000, maxWorkers: workers, isolate: true, order: 1 }),
      tier('conformance', { testTimeout: 60_000, maxWorkers: workers, isolate: false, order: 1 }),
      // Each file has a cluster of its own, which waits more than it works.
      tier('e2e', { testTimeout: 180_000, maxWorkers: workers, isolate: true, order: 1 }),
      // Each starts several containerds, which company would slow down.
      tier('machines', { testTimeout: 180_000, maxWorkers: 2, isolate: true, order: 2 }),
      // Kills and cuts come at moments of a start or a rollout, which company would stretch.
      tier('fault', { testTimeout: 300_000, maxWorkers: 1, isolate: true, order: 3 }),
    ],
  },
});

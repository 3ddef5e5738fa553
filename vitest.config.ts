import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

/** Test files at once: one more than cores, since many of them wait. vitest itself would leave a machine of two cores with one worker. */
const workers = Math.max(2, availableParallelism()) + 1;

interface Tier {
  readonly testTimeout: number;
  readonly maxWorkers: number;
  /** False: files share a process, one after the other, and with it the modules of `src`, whose loading costs more than many a file. */
  readonly isolate: boolean;
  /** Tiers of one order run side by side, and a later order begins when the one before has ended. */
  readonly order: number;
}

/** One project for each tier of test/README.md; `npm test -- --project unit` runs one of them. */
const tier = (name: string, { testTimeout, maxWorkers, isolate, order }: Tier) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
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

export default defineConfig({
  test: {
    env: {
      // Words are compared, so nothing colours them: on a machine with CI=true or FORCE_COLOR set, the programs would.
      NO_COLOR: '1',
      // No hook, signature or line ending of the developer's own git.
      GIT_CONFIG_GLOBAL: '/dev/null',
      GIT_CONFIG_NOSYSTEM: '1',
      NO_PROXY: withoutProxy,
      no_proxy: withoutProxy,
    },
    projects: [
      tier('unit', { testTimeout: 10_000, maxWorkers: workers, isolate: false, order: 1 }),
      // Some of these measure the memory of their process.
      tier('integration', { testTimeout: 60_000, maxWorkers: workers, isolate: true, order: 1 }),
      tier('conformance', { testTimeout: 60_000, maxWorkers: workers, isolate: false, order: 1 }),
      // Each file has a cluster of its own, which waits more than it works.
      tier('e2e', { testTimeout: 180_000, maxWorkers: 3, isolate: true, order: 2 }),
      // The moments of kills and the pods on the machine are measured, so nothing else runs.
      tier('fault', { testTimeout: 300_000, maxWorkers: 1, isolate: true, order: 3 }),
    ],
  },
});

import { defineConfig } from 'vitest/config';

/** One project for each tier of test/README.md; `npm test -- --project unit` runs one of them. */
const tier = (name: string, testTimeout: number, fileParallelism: boolean) => ({
  test: { name, include: [`test/${name}/**/*.test.ts`], testTimeout, hookTimeout: testTimeout, fileParallelism, pool: 'forks' as const },
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
      tier('unit', 10_000, true),
      tier('integration', 60_000, true),
      tier('conformance', 60_000, true),
      tier('e2e', 180_000, false),
      tier('fault', 300_000, false),
    ],
  },
});

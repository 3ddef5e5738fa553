import { defineConfig } from 'vitest/config';

/** One project for each tier of test/README.md; `npm test -- --project unit` runs one of them. */
const tier = (name: string, testTimeout: number, fileParallelism: boolean) => ({
  test: { name, include: [`test/${name}/**/*.test.ts`], testTimeout, hookTimeout: testTimeout, fileParallelism, pool: 'forks' as const },
});

export default defineConfig({
  test: {
    // Words are compared, so nothing colours them: on a machine with CI=true or FORCE_COLOR set, the programs would.
    env: { NO_COLOR: '1' },
    projects: [
      tier('unit', 10_000, true),
      tier('integration', 60_000, true),
      tier('conformance', 60_000, true),
      tier('e2e', 180_000, false),
      tier('fault', 300_000, false),
    ],
  },
});

// The gate over a small vitest project: what fails in company is run once more alone, and the last lines name every failure.
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';

const firstRunOnly = (message: string) => `if (process.env.SECOND_RUN === undefined) throw new Error(${JSON.stringify(message)});`;
const leavesPromise = `it('leaves a promise', () => { if (process.env.SECOND_RUN === undefined) Promise.reject(new Error('is late')); });`;
const faultOutcome = { passed: 7, skipped: 1, failures: [], passedTests: [] };

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'midship-gate-test-'));
  await writeFile(join(folder, 'vitest.config.mjs'), `export default { test: { globals: true, pool: 'forks' } };`);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Runs the gate over `files`, name to content, and returns the lines of its end after the report of vitest. */
async function runGate(files: Readonly<Record<string, string>>): Promise<{ readonly code: number; readonly lines: readonly string[] }> {
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, `${name}.test.mjs`), content);
  const vitest = [
    ...[process.execPath, resolve('node_modules/vitest/vitest.mjs'), 'run', '--root', folder],
    ...['--reporter', resolve('scripts/test-report.mjs')],
  ];
  const writeOutcome = `require('node:fs').writeFileSync(process.env.MIDSHIP_TEST_OUTCOME, ${JSON.stringify(JSON.stringify(faultOutcome))})`;
  const script = `
    const { runGate } = await import(${JSON.stringify(resolve('scripts/gate.mjs'))});
    const vitest = ${JSON.stringify(vitest)};
    process.exitCode = runGate({
      before: [],
      test: vitest,
      fault: [process.execPath, '-e', ${JSON.stringify(writeOutcome)}],
      again: (files) => ['env', 'SECOND_RUN=true', ...vitest, '--no-file-parallelism', ...files],
    });`;
  return await new Promise((done) => {
    execFile(process.execPath, ['--input-type=module', '-e', script], (error, stdout) => {
      done({ code: Number(error?.code ?? 0), lines: stdout.trimEnd().split('\n').slice(-8) });
    });
  });
}

it('a test that passes alone is named as flaky, and the gate is green', { timeout: 180_000 }, async () => {
  const { code, lines } = await runGate({
    timing: `
      describe('a clock', () => { it('ticks', () => { ${firstRunOnly('not within 50 ms\nand more')} }); it('stops', () => {}); });
      describe('a server', () => { it('answers', () => {}); afterAll(() => { ${firstRunOnly('ENOTEMPTY')} }); });
      ${leavesPromise}`,
  });
  expect(lines.slice(-4)).toEqual([
    'flaky: timing.test.mjs > a server (suite or its hooks): Error: ENOTEMPTY',
    'flaky: timing.test.mjs > a clock > ticks: Error: not within 50 ms',
    'flaky: timing.test.mjs > error outside of any test: Error: is late',
    '13 passed, 0 failed, 1 skipped',
  ]);
  expect(code).toBe(0);
});

it('a test that fails twice, a property, and an error outside of the tests turn it red', { timeout: 180_000 }, async () => {
  const { code, lines } = await runGate({
    mixed: `
      it('ticks', () => { ${firstRunOnly('not within 50 ms')} });
      it('adds', () => expect(1 + 1).toBe(3));
      it('holds', () => { ${firstRunOnly('Property failed after 54 tests')} });`,
    loose: leavesPromise,
    crashed: `it('ends its process', () => { process.kill(process.pid, 'SIGKILL'); return new Promise(() => {}); });`,
  });
  expect(lines.slice(-7, -1).toSorted()).toEqual([
    'failed: crashed.test.mjs > (file): the file did not run to its end',
    expect.stringMatching(/^failed: error outside of any test: Error: .*Worker/),
    'failed: loose.test.mjs > error outside of any test: Error: is late',
    'failed: mixed.test.mjs > adds: AssertionError: expected 2 to be 3 // Object.is equality',
    'failed: mixed.test.mjs > holds: Error: Property failed after 54 tests',
    'flaky: mixed.test.mjs > ticks: Error: not within 50 ms',
  ]);
  expect(lines.at(-1)).toBe('9 passed, 5 failed, 1 skipped');
  expect(code).toBe(1);
});

// .ci/run installs what tests use and then starts this. It runs set-up, check, npm test, the fault suites, and failed files once more.
// The last lines name each failure, and the last one of all counts: `N passed, N failed, N skipped`.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { failureLines, filesToRunAgain, judge } from './gate/outcome.mjs';
import { root } from './setup.mjs';

/** The commands of the gate. A test gives others, of a small project of its own. */
const commands = {
  before: [
    ['node', 'scripts/setup.mjs'],
    ['node', 'scripts/check.mjs'],
  ],
  test: ['npm', 'test'],
  fault: ['npm', 'run', 'fault'],
  again: (files) => ['npm', 'test', '--', '--no-file-parallelism', '--isolate=true', ...files],
};

/**
 * Runs the gate. A failure of `test` is excused when its test passes in a second run, with no other file beside it or in its process.
 * Decision 0030 says why, and what is never excused.
 *
 * @returns the exit code: 0 when nothing failed but what was excused
 */
export function runGate({ before, test, fault, again }) {
  for (const command of before) {
    if (execute(command, {}) !== 0) {
      console.log('0 passed, 1 failed');
      return 1;
    }
  }
  const first = runTests(test);
  const faults = runTests(fault);
  const files = filesToRunAgain(first);
  if (files.length > 0) console.log(`\nonce more, one after the other: ${files.join(' ')}`);
  const { flaky, failed } = judge(first, files.length > 0 ? runTests(again(files)) : undefined);
  const failures = [...failed, ...faults.failures];
  for (const line of [...failureLines(flaky, 'flaky'), ...failureLines(failures)]) console.log(line);
  const passed = first.passed + faults.passed + flaky.length;
  console.log(`${passed} passed, ${failures.length} failed, ${first.skipped + faults.skipped} skipped`);
  return failures.length > 0 ? 1 : 0;
}

const nothingRun = { passed: 0, skipped: 0, passedTests: [] };

/** The outcome of a command that loads test-report.mjs. A command without an outcome, or that fails without a failure in it, has failed. */
function runTests(command) {
  const folder = mkdtempSync(join(tmpdir(), 'midship-gate-'));
  try {
    const file = join(folder, 'outcome.json');
    const code = execute(command, { MIDSHIP_TEST_OUTCOME: file });
    const outcome = tryReadOutcome(file);
    if (outcome !== undefined && (code === 0 || outcome.failures.length > 0)) return outcome;
    const error = `ended with ${code} and ${outcome === undefined ? 'without a report' : 'without a failed test'}`;
    return { ...nothingRun, ...outcome, failures: [{ file: '', name: command.join(' '), error, again: 'never' }] };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function tryReadOutcome(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    // The run ended before its report; its exit code says so.
    return undefined;
  }
}

/** The exit code, or the signal, of a command whose output is shown. */
function execute([program, ...args], env) {
  const { status, signal, error } = spawnSync(program, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
  if (error !== undefined) console.error(`✗ ${program} could not be started\n  ${error.message}`);
  return status ?? signal ?? 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = runGate(commands);

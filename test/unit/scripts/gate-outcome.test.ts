import { describe, expect, it } from 'vitest';
import { type Failure, failureLines, filesToRunAgain, judge, type Outcome } from '../../../scripts/gate/outcome.mjs';

const failure = (file: string, name = 'works', again: Failure['again'] = 'test'): Failure => ({ file, name, error: 'Error: late', again });
const outcome = (failures: readonly Failure[], passed: readonly string[] = []): Outcome => ({
  passed: passed.length,
  skipped: 0,
  failures,
  passedTests: passed.map((key) => key.replace(' > ', '\0')),
});

describe('a failure beside other files', () => {
  it('is flaky when its test passes alone', () => {
    expect(judge(outcome([failure('a.test.ts')]), outcome([], ['a.test.ts > works']))).toEqual({
      flaky: [failure('a.test.ts')],
      failed: [],
    });
  });

  it.each([
    ['fails again', outcome([failure('a.test.ts')])],
    ['does not run again', outcome([], ['a.test.ts > other'])],
    ['has no second run', undefined],
  ])('stays one when its test %s', (_, second) => {
    expect(judge(outcome([failure('a.test.ts')]), second)).toEqual({ flaky: [], failed: [failure('a.test.ts')] });
  });

  it('is excused in a hook by a file without a failure, and not by a test of the same file', () => {
    const hook = failure('a.test.ts', 'suite', 'file');
    expect(judge(outcome([hook]), outcome([], ['a.test.ts > suite'])).failed).toEqual([hook]);
    expect(judge(outcome([hook]), outcome([], ['a.test.ts > '])).flaky).toEqual([hook]);
  });

  it('is never excused where the second run draws other values or has no better conditions', () => {
    const drawn = failure('a.test.ts', 'works', 'never');
    expect(judge(outcome([drawn]), outcome([], ['a.test.ts > works'])).failed).toEqual([drawn]);
    expect(filesToRunAgain(outcome([drawn, failure('b.test.ts')]))).toEqual(['b.test.ts']);
  });

  it('counts beside one that only the second run has', () => {
    const second = outcome([failure('a.test.ts', 'other')], ['a.test.ts > works']);
    expect(judge(outcome([failure('a.test.ts')]), second)).toEqual({
      flaky: [failure('a.test.ts')],
      failed: [failure('a.test.ts', 'other')],
    });
  });
});

it('six files that failed are not run again', () => {
  const files = ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => `${name}.test.ts`);
  expect(filesToRunAgain(outcome(files.slice(0, 5).flatMap((file) => [failure(file), failure(file, 'other')])))).toEqual(files.slice(0, 5));
  expect(filesToRunAgain(outcome(files.map((file) => failure(file))))).toEqual([]);
});

it('twenty failures have a line each, and the rest is counted', () => {
  const failures = Array.from({ length: 23 }, (_, index) => failure('a.test.ts', `test ${index}`));
  const lines = failureLines(failures);
  expect(lines).toHaveLength(21);
  expect(lines[0]).toBe('failed: a.test.ts > test 0: Error: late');
  expect(lines.at(-1)).toBe('failed: and 3 more');
});

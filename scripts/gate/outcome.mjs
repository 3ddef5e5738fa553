// The outcome of a test run in plain values: test-report.mjs makes them of vitest's objects, and the gate judges them. Pure.
import { stripVTControlCharacters } from 'node:util';

/** Failures that are listed; the rest is counted. The end of a gate, all lists together, stays within 60 lines. */
const listedFailures = 20;
/** Longest first line of an error that is listed, in characters. */
const listedErrorLength = 300;
/** Files that failed and are run once more, alone. More of them have a common cause, which a second run would only repeat. */
const secondRunFiles = 5;
/** Draws the moments of its kills and cuts by chance: the next run draws others, and would excuse what these found. */
const tierByChance = 'fault';
/** First line of fast-check's errors, whose values are drawn by chance, too. */
const drawnByChance = /\bProperty failed after \d+ tests?\b/;

/** Takes what vitest hands to a reporter at the end of a run. The types are in outcome.d.mts. */
export function outcomeOf(modules, unhandledErrors) {
  const tests = modules.flatMap((module) => [...module.children.allTests()]);
  const inState = (state) => tests.filter((test) => test.result().state === state);
  const ofFiles = modules.flatMap(failuresOfFile);
  const failures = [...ofFiles, ...unhandledErrors.map((error) => failureOutside(error, modules, ofFiles))];
  return {
    passed: inState('passed').length,
    skipped: inState('skipped').length,
    failures,
    passedTests: [
      ...inState('passed').map((test) => keyOf({ file: test.module.relativeModuleId, name: test.fullName })),
      ...modules
        .filter((module) => failuresOfFile(module).length === 0)
        .map((module) => keyOf({ file: module.relativeModuleId, name: '' })),
    ],
  };
}

/** A test that failed leaves requests behind that fail, too. Such an error is excused with its file; any other is never. */
function failureOutside(error, modules, failures) {
  const file = modules.find(({ moduleId }) => moduleId === error.VITEST_TEST_PATH)?.relativeModuleId ?? '';
  const isLeftBehind = failures.some((failure) => failure.file === file && failure.again !== 'never');
  return { file, name: 'error outside of any test', error: firstLine([error]), again: isLeftBehind ? 'file' : 'never' };
}

function failuresOfFile(module) {
  const failure = (name, error, again) => {
    const excusable = module.project.name !== tierByChance && !drawnByChance.test(error);
    return { file: module.relativeModuleId, name, error, again: excusable ? again : 'never' };
  };
  const state = module.state();
  return [
    // Its process ended before the file did: vitest counts no test of it.
    ...(state === 'queued' || state === 'pending' ? [failure('(file)', 'the file did not run to its end', 'never')] : []),
    ...(module.errors().length > 0 ? [failure('(file)', firstLine(module.errors()), 'file')] : []),
    ...[...module.children.allSuites()]
      .filter((suite) => suite.errors().length > 0)
      .map((suite) => failure(`${suite.fullName} (suite or its hooks)`, firstLine(suite.errors()), 'file')),
    ...[...module.children.allTests('failed')].map((test) => failure(test.fullName, firstLine(test.result().errors), 'test')),
  ];
}

function firstLine(errors) {
  const { name, message } = errors[0] ?? {};
  const line = stripVTControlCharacters(String(message ?? 'without a message'))
    .split('\n')[0]
    .trim();
  const named = name === undefined || line.startsWith(name) ? line : `${name}: ${line}`;
  return named.length > listedErrorLength ? `${named.slice(0, listedErrorLength)} …` : named;
}

/** One line for each failure, at most 20, and one for the rest. */
export function failureLines(failures, word = 'failed') {
  const more = failures.length - listedFailures;
  return [
    ...failures.slice(0, listedFailures).map(({ file, name, error }) => `${word}: ${file === '' ? '' : `${file} > `}${name}: ${error}`),
    ...(more > 0 ? [`${word}: and ${more} more`] : []),
  ];
}

/** Files that a second run may excuse. None when too many failed. */
export function filesToRunAgain({ failures }) {
  const failed = new Set(failures.map(({ file }) => file));
  if (failed.size > secondRunFiles) return [];
  return [...new Set(failures.filter(({ again }) => again !== 'never').map(({ file }) => file))];
}

/**
 * Splits the failures of a run beside other files by a second run of their files alone. A failure is flaky when its test passed there.
 * Every failure of the second run counts as well. Without a second run nothing is excused.
 */
export function judge(first, second) {
  const passed = new Set(second?.passedTests);
  const isExcused = ({ again, file, name }) => again !== 'never' && passed.has(keyOf({ file, name: again === 'file' ? '' : name }));
  const flaky = first.failures.filter(isExcused);
  const failed = first.failures.filter((failure) => !isExcused(failure));
  const known = new Set(failed.map(keyOf));
  return { flaky, failed: [...failed, ...(second?.failures ?? []).filter((failure) => !known.has(keyOf(failure)))] };
}

const keyOf = ({ file, name }) => `${file}\0${name}`;

// The end of a test run: the time of each tier, the slowest files, what was skipped, grouped by why, and what failed. Loaded by vitest.
import { writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { failureLines, outcomeOf } from './gate/outcome.mjs';
import { root } from './setup.mjs';

const slowestFiles = 10;
/** Tests of one reason that are named; the rest is counted. */
const namedTests = 3;

// vitest takes a reporter by its default export.
export default class TestReport {
  /** Tier to when its first file was begun and its last one ended, in ms. */
  #spans = new Map();

  onTestModuleQueued(module) {
    const span = this.#spans.get(module.project.name);
    if (span === undefined) this.#spans.set(module.project.name, { from: performance.now(), to: performance.now() });
  }

  onTestModuleEnd(module) {
    const span = this.#spans.get(module.project.name);
    if (span !== undefined) span.to = performance.now();
  }

  onTestRunEnd(modules, unhandledErrors) {
    const outcome = outcomeOf(modules, unhandledErrors);
    const lines = [tierLines(modules, this.#spans), slowestLines(modules), skippedLines(modules), failedLines(outcome.failures)];
    process.stdout.write(`\n${lines.flat().join('\n')}\n`);
    // The gate reads it, whatever the lines above look like.
    const file = process.env.MIDSHIP_TEST_OUTCOME;
    if (file !== undefined) writeFileSync(file, JSON.stringify(outcome));
  }
}

function tierLines(modules, spans) {
  const tiers = new Map();
  for (const module of modules) {
    const name = module.project.name;
    const tier = tiers.get(name) ?? { files: 0, passed: 0, failed: 0, skipped: 0, ms: 0 };
    tiers.set(name, tier);
    tier.files += 1;
    tier.ms += timeOf(module);
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state in tier) tier[state] += 1;
    }
  }
  // Files run side by side, so the tiers overlap: the first time is on the clock, the second one what the files took together.
  const row = (...cells) => ` ${cells.map((cell, index) => (index === 0 ? cell.padEnd(12) : cell.padStart(9))).join(' ')}`;
  return [
    row('tier', 'files', 'passed', 'failed', 'skipped', 'clock', 'together'),
    ...[...tiers].map(([name, { files, passed, failed, skipped, ms }]) => {
      const { from, to } = spans.get(name) ?? { from: 0, to: 0 };
      return row(name, ...[files, passed, failed, skipped].map(String), seconds(to - from), seconds(ms));
    }),
  ];
}

function slowestLines(modules) {
  const slow = modules.toSorted((a, b) => timeOf(b) - timeOf(a)).slice(0, slowestFiles);
  return ['', ' slowest files', ...slow.map((module) => ` ${seconds(timeOf(module)).padStart(9)}  ${relative(root, module.moduleId)}`)];
}

function skippedLines(modules) {
  const reasons = groupBy(
    modules.flatMap((module) => [...module.children.allTests('skipped')]),
    reasonOf,
  );
  if (reasons.size === 0) return ['', ' nothing was skipped'];
  return [
    '',
    ' skipped',
    ...[...reasons].flatMap(([reason, tests]) => {
      const more = tests.length - namedTests;
      return [
        `   ${reason}: ${tests.length}`,
        ...tests.slice(0, namedTests).map((test) => `     ${relative(root, test.module.moduleId)}: ${test.fullName}`),
        ...(more > 0 ? [`     and ${more} more`] : []),
      ];
    }),
  ];
}

/** Last of all, because a reader of a failed run looks at its end first. */
function failedLines(failures) {
  return failures.length === 0 ? [] : ['', ...failureLines(failures).map((line) => ` ${line}`)];
}

/** The note of the skipped test; else the words in brackets of its title, or of the title of a suite around it. */
function reasonOf(test) {
  const { note } = test.result();
  if (note !== undefined) return note;
  for (let at = test; at !== undefined && at.type !== 'module'; at = at.parent) {
    const bracketed = /\(((?:needs|skipped)\b[^)]*)\)/.exec(at.name)?.[1];
    if (bracketed !== undefined) return bracketed;
  }
  return 'without a reason';
}

function groupBy(values, keyOf) {
  const groups = new Map();
  for (const value of values) {
    const key = keyOf(value);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(value);
  }
  return groups;
}

const timeOf = (module) => module.diagnostic().duration + module.diagnostic().collectDuration;
const seconds = (ms) => `${(ms / 1_000).toFixed(1)} s`;

/** A second run excuses a failure when what `again` names passes there: its test, or the whole file, since a hook or a suite failed. */
export interface Failure {
  readonly file: string;
  readonly name: string;
  /** First line of the error. */
  readonly error: string;
  readonly again: 'test' | 'file' | 'never';
}

export interface Outcome {
  readonly passed: number;
  readonly skipped: number;
  /** Tests, hooks, files and unhandled errors that failed. */
  readonly failures: readonly Failure[];
  /** `FILE\0NAME` of the tests that passed, and `FILE\0` of the files without a failure. */
  readonly passedTests: readonly string[];
}

/** One line for each failure, at most 20, and one for the rest. */
export function failureLines(failures: readonly Failure[], word?: string): readonly string[];

/** Files that a second run may excuse. None when more than five failed. */
export function filesToRunAgain(outcome: Outcome): readonly string[];

/** Splits the failures of a run beside other files by a second run of their files alone; all of them have failed without one. */
export function judge(
  first: Outcome,
  second: Outcome | undefined,
): { readonly flaky: readonly Failure[]; readonly failed: readonly Failure[] };

import pc from 'picocolors';

/** Exit codes: 0 yes or done, 1 an honest no, 2 an error, 130 interrupted. */
export type ExitCode = 0 | 1 | 2 | 130;

/**
 * Something a person has to mend, in three lines: what happened, why, and the next step. Anything else that reaches `main` is a defect
 * of the program and is shown with its stack only on request.
 */
export class Failure extends Error {
  override readonly name = 'Failure';
  readonly why: string;
  readonly fix: string;
  readonly exitCode: ExitCode;
  constructor(
    what: string,
    options: { readonly why: string; readonly fix: string; readonly exitCode?: ExitCode; readonly cause?: unknown },
  ) {
    super(what, options.cause === undefined ? undefined : { cause: options.cause });
    this.why = options.why;
    this.fix = options.fix;
    this.exitCode = options.exitCode ?? 2;
  }
}

/** `✗ what`, then why and fix, indented. */
export function formatFailure(failure: Failure): string {
  return `${pc.red('✗')} ${failure.message}\n  ${failure.why}\n  ${failure.fix}\n`;
}

import type { BuildError } from '../build/manifest.ts';

/** A revision that could not be put in force; `reason` goes into the Ready condition, every error into its message. */
export class SyncFailure extends Error {
  override readonly name = 'SyncFailure';
  readonly reason: string;
  readonly errors: readonly BuildError[];
  constructor(reason: string, errors: readonly BuildError[]) {
    super(errors.map(formatBuildError).join('\n'));
    this.reason = reason;
    this.errors = errors;
  }
}

/** A newer revision is there: what was under way is given up between two objects. */
export class Superseded extends Error {
  override readonly name = 'Superseded';
}

/** `apps/web.yaml:31:9 unknown field "spec.foo". Did you mean …?` */
export function formatBuildError({ file, line, column, message, hint }: BuildError): string {
  const place = [file, line, column].filter((part) => part !== undefined && part !== '').join(':');
  return `${place} ${message}${hint === undefined ? '' : `. ${hint}`}`.trim();
}

import type { BuildError } from '../../manifests/manifest.ts';
import type { ObjectId } from '../objects/object-id.ts';

/**
 * When another try may go better. `soon`: by itself. `change`: after a change of the commit, the spec or the cluster. `commit`: after a
 * change of the commit or the spec alone.
 */
export type NextTry = 'soon' | 'change' | 'commit';

/** A revision that could not be put in force; `reason` goes into the Ready condition, every error into its message. */
export class SyncFailure extends Error {
  override readonly name = 'SyncFailure';
  readonly reason: string;
  readonly errors: readonly BuildError[];
  /** The objects that could not be written: when one of them changes, another try may succeed. */
  readonly objects: ReadonlySet<ObjectId>;
  readonly nextTry: NextTry;
  /** The next try comes no sooner by itself, unless `spec.retryInterval` says so; milliseconds. */
  readonly minRetryMs: number;
  constructor(
    reason: string,
    errors: readonly BuildError[],
    { objects = new Set(), nextTry = 'soon', minRetryMs = 0 }: Partial<Pick<SyncFailure, 'objects' | 'nextTry' | 'minRetryMs'>> = {},
  ) {
    super(errors.map(formatBuildError).join('\n'));
    this.reason = reason;
    this.errors = errors;
    this.objects = objects;
    this.nextTry = nextTry;
    this.minRetryMs = minRetryMs;
  }
}

/** The failure of objects that the server refused. The errors of those that changes of the cluster bring about are not temporary. */
export function refusal(errors: ReadonlyMap<ObjectId, readonly BuildError[]>, Failure: typeof SyncFailure = SyncFailure): SyncFailure {
  const all = [...new Set([...errors.values()].flat())];
  return new Failure('ReconciliationFailed', all, { objects: new Set(errors.keys()), nextTry: isLasting(all) ? 'change' : 'soon' });
}

export const isLasting = (errors: readonly BuildError[]): boolean => !errors.some(({ temporary }) => temporary);

/** Nothing is wrong but that kinds or Namespaces are not there, which another app may bring. */
export class PartsMissing extends SyncFailure {}

/** A newer revision is there: what was under way is given up between two objects. */
export class Superseded extends Error {
  override readonly name = 'Superseded';
}

/** `apps/web.yaml:31:9 unknown field "spec.foo". Did you mean …?` */
export function formatBuildError({ file, line, column, message, hint }: BuildError): string {
  const place = [file, line, column].filter((part) => part !== undefined && part !== '').join(':');
  return `${place} ${message}${hint === undefined ? '' : `. ${hint}`}`.trim();
}

/** The chain of causes, which reads like a path. */
export function messageOf(err: unknown): string {
  if (!(err instanceof Error)) return String(err);
  const parts: string[] = [];
  for (let cause: unknown = err; cause instanceof Error && parts.length < 5; cause = cause.cause) parts.push(cause.message);
  return parts.join(': ');
}

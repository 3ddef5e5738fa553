/** A reason why this machine cannot join the cluster that no retry removes. */
export class JoinError extends Error {
  override readonly name: string = 'JoinError';
  readonly why: string;
  /** The next step for a person. */
  readonly fix: string;

  constructor(message: string, { why, fix, cause }: { readonly why: string; readonly fix: string; readonly cause?: unknown }) {
    super(message, { cause });
    this.why = why;
    this.fix = fix;
  }
}

/** The store cannot do its work. `hint` tells the operator what to do about it. */
export class StorageError extends Error {
  override readonly name = 'StorageError';
  /** The cause, as a sentence; undefined where the message says it. */
  readonly why: string | undefined;
  readonly hint: string;
  /** The disk has no room for what was to be written. */
  readonly isFull: boolean;
  /** Stored data cannot be read any more. */
  readonly isDamage: boolean;

  constructor(
    message: string,
    options: {
      readonly why?: string;
      readonly hint: string;
      readonly isFull?: boolean;
      readonly isDamage?: boolean;
      readonly cause?: unknown;
    },
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.why = options.why;
    this.hint = options.hint;
    this.isFull = options.isFull ?? false;
    this.isDamage = options.isDamage ?? false;
  }
}

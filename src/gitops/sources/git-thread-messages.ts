import type { FileContent } from '../manifests/documents.ts';
import { SourceError, type SourceErrorReason } from './git-source.ts';

/** Repository from which objects are read. */
export interface ObjectPlace {
  readonly gitdir: string;
  readonly url: string;
  readonly quarantine?: string | undefined;
}

/** A request to the Git thread; the answer carries the same id. */
export interface Request {
  readonly id: number;
  readonly place: ObjectPlace;
  /** Blobs with manifests. */
  readonly oids: readonly string[];
}

/** An error as it crosses to the other thread. */
export interface Failure {
  readonly message: string;
  /** Fields of a SourceError. */
  readonly reason?: SourceErrorReason;
  readonly hint?: string;
}

export type DocumentsAnswer = { readonly content: FileContent } | { readonly failure: Failure };

/** `answers` is a list of `DocumentsAnswer` in the form of `v8.serialize`, which keeps what YAML aliases share shared. */
export type Answer =
  | { readonly id: number; readonly answers: Uint8Array<ArrayBuffer> }
  | { readonly id: number; readonly failure: Failure };

export function failureOf(err: unknown): Failure {
  if (err instanceof SourceError) return { message: err.message, reason: err.reason, hint: err.hint };
  return { message: err instanceof Error ? err.message : String(err) };
}

export function sourceErrorOf({ message, reason, hint = '' }: Failure): Error {
  return reason === undefined ? new Error(message) : new SourceError(reason, message, { hint });
}

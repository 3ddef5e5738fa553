import type { FileContent } from '../build/documents.ts';
import { SourceError, type SourceErrorReason } from './git-source.ts';
import type { RemoteAccess } from './remote-access.ts';

/** Where objects are read from. */
export interface ObjectPlace {
  readonly gitdir: string;
  readonly url: string;
  readonly quarantine?: string | undefined;
}

export interface FetchRequest {
  readonly gitdir: string;
  readonly url: string;
  readonly access: RemoteAccess;
  /** Full name of a ref, or an object id. */
  readonly ref: string;
  /** Commits of its history that are fetched; 1 is the commit alone. */
  readonly depth: number;
}

/** What is asked of the Git thread; answers carry the same id. */
export type Request =
  | { readonly id: number; readonly type: 'documents'; readonly place: ObjectPlace; readonly oids: readonly string[] }
  | ({ readonly id: number; readonly type: 'fetch' } & FetchRequest)
  | { readonly id: number; readonly type: 'abort' };

/** An error as it crosses to the other thread. */
export interface Failure {
  readonly message: string;
  /** Of a SourceError. */
  readonly reason?: SourceErrorReason;
  readonly hint?: string;
}

export type DocumentsAnswer = { readonly content: FileContent } | { readonly failure: Failure };

/** Of `documents`, `value` is a list of `DocumentsAnswer` in the form of `v8.serialize`, which keeps what YAML aliases share shared. */
export type Answer = { readonly id: number; readonly value: unknown } | { readonly id: number; readonly failure: Failure };

export function failureOf(err: unknown): Failure {
  if (err instanceof SourceError) return { message: err.message, reason: err.reason, hint: err.hint };
  return { message: err instanceof Error ? err.message : String(err) };
}

export function sourceErrorOf({ message, reason, hint = '' }: Failure): Error {
  return reason === undefined ? new Error(message) : new SourceError(reason, message, { hint });
}

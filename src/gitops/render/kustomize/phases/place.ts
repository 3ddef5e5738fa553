import { KustomizeError, type KustomizeProblem } from '../file-tree.ts';
import type { Kustomization } from '../kustomization.ts';
import type { Origin } from '../resource.ts';

export type PlaceOf = (field: string) => { readonly line?: number; readonly column?: number };

export const nowhere: PlaceOf = () => ({});

export interface LoadedKustomization {
  readonly directory: string;
  readonly file: string;
  readonly blob: string;
  /** Line and column of a field; nothing where the file does not have it. */
  readonly placeOf: PlaceOf;
  readonly spec: Kustomization;
}

/** A field of a kustomization that refers to something. */
export interface Reference {
  readonly loaded: Pick<LoadedKustomization, 'directory' | 'file' | 'placeOf'>;
  readonly field: string;
}

export function problemAt(
  from: Reference | undefined,
  { message, ...more }: Pick<KustomizeProblem, 'message' | 'hint' | 'temporary'>,
): KustomizeError {
  if (from === undefined) return new KustomizeError({ file: '.', message, ...more });
  const { loaded, field } = from;
  return new KustomizeError({ file: loaded.file, ...loaded.placeOf(field), message: `${field}: ${message}`, ...more });
}

export const symlinkProblem = { message: 'is a symbolic link, which is not followed', hint: 'Put the file itself here.' };

/** `apps/web.yaml:12` */
export const placeText = ({ file, line }: Origin): string => `${file}:${line}`;

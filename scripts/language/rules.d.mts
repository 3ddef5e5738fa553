import type { NamedFunction, Piece } from './scan.mjs';

export interface Finding {
  readonly line: number;
  readonly rule: string;
  readonly excerpt: string;
}

export const maxWords: number;
export function findingsIn(
  piece: Piece,
  options?: { readonly longest?: number; readonly quotations?: readonly string[] },
): readonly Finding[];
export function wideLines(source: string, options: { readonly isMarkdown: boolean }): readonly Finding[];
export function participles(functions: readonly NamedFunction[], allowed?: readonly string[]): readonly Finding[];

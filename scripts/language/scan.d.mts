export interface Piece {
  readonly kind: 'comment' | 'title' | 'text' | 'prose' | 'heading' | 'cell';
  readonly line: number;
  readonly text: string;
}

export interface NamedFunction {
  readonly name: string;
  readonly line: number;
}

export function readSource(
  source: string,
  options?: { readonly isTest?: boolean; readonly isJsx?: boolean },
): { readonly pieces: readonly Piece[]; readonly functions: readonly NamedFunction[] };
export function readMarkdown(source: string): readonly Piece[];

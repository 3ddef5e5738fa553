/**
 * Input of the renderer: a Git tree or a directory. Paths are relative to the tree's root, joined by `/`, and never
 * leave it.
 */
export interface FileTree {
  /** Entry at a path; undefined when there is none. The empty path is the root. */
  find(path: string): Promise<TreeNode | undefined>;
}

export type TreeNode = FileNode | DirectoryNode | { readonly type: 'symlink' };

export interface FileNode {
  readonly type: 'file';
  /** Equal ids mean equal content, so what was parsed is kept by it. */
  readonly id: string;
  /** @throws KustomizeError when the file is larger than is read */
  read(): Promise<Uint8Array>;
}

export interface DirectoryNode {
  readonly type: 'directory';
  /** Equal ids mean equal content, at every depth. */
  readonly id: string;
  /** Its entries by name. @throws KustomizeError for entries that are never read, such as a submodule */
  list(): Promise<ReadonlyMap<string, TreeNode>>;
}

/** An error of a kustomization that a person has to fix. `file` is a path of the tree; `message` names the field. */
export class KustomizeError extends Error {
  override readonly name = 'KustomizeError';
  readonly file: string;
  readonly line: number | undefined;
  readonly column: number | undefined;
  readonly hint: string | undefined;
  /** Another try may go better though the tree is the same. */
  readonly temporary: boolean;
  constructor({ file, line, column, message, hint, temporary = false }: KustomizeProblem) {
    super(message);
    this.file = file;
    this.line = line;
    this.column = column;
    this.hint = hint;
    this.temporary = temporary;
  }
}

export interface KustomizeProblem {
  readonly file: string;
  readonly line?: number | undefined;
  readonly column?: number | undefined;
  readonly message: string;
  readonly hint?: string | undefined;
  readonly temporary?: boolean;
}

/** `base` and a relative path as one path of the tree; undefined when it leads out of the tree. */
export function joinPath(base: string, relative: string): string | undefined {
  const segments = base === '' ? [] : base.split('/');
  for (const segment of relative.split('/')) {
    if (segment === '' || segment === '.') continue;
    if (segment !== '..') segments.push(segment);
    else if (segments.pop() === undefined) return undefined;
  }
  return segments.join('/');
}

/** True when `path` is `directory` or below it. */
export const isWithin = (path: string, directory: string): boolean =>
  directory === '' || path === directory || path.startsWith(`${directory}/`);

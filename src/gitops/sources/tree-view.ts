import { createHash } from 'node:crypto';
import { BoundedMap } from '../../base/bounded-map.ts';
import { type GitSource, SourceError, type TreeEntry } from './git-source.ts';
import { defaultIgnorePatterns, type IgnorePattern, isIgnored, parseIgnorePatterns } from './ignore-patterns.ts';

/** Another repository's tree, or a part of it, that appears as a directory. */
export interface IncludedTree {
  /** Name of its GitRepository; for messages. */
  readonly name: string;
  readonly source: GitSource;
  /** Root tree of the commit that is included. */
  readonly tree: string;
  /** Directory that is taken; empty is all. */
  readonly fromPath: string;
  /** Path in the view. */
  readonly toPath: string;
}

export interface TreeViewOptions {
  readonly source: GitSource;
  /** `spec.ignore`. */
  readonly ignore?: string | undefined;
  /** `spec.sparseCheckout`: directories that are seen; all when empty. */
  readonly sparse?: readonly string[] | undefined;
  readonly includes?: readonly IncludedTree[];
}

/** Trees and blobs of a commit as `ignore`, `include` and `sparseCheckout` leave them. */
export interface TreeView extends Pick<GitSource, 'readTree' | 'readBlob' | 'readDocuments'> {
  /** The id of the view's root for the root tree of a commit. @throws SourceError when a directory that is named is not there */
  rootOf(tree: string): Promise<string>;
}

const ignoreFile = '.sourceignore';
const maxIgnoreBytes = 64 * 1024;
const maxPatternFiles = 1_000;
/**
 * Characters of all names of one directory. They are computed in one go, about a second at most; 50,000 names and 50
 * patterns need 20 million.
 */
const maxComparisons = 200_000_000;

/** Description of a directory in the view, which its id contains: the origin of its content, and its rules. */
interface Place {
  /** 0 is the repository itself, others count its includes. */
  readonly origin: number;
  /** Tree of that origin; empty for a directory that is there only because an include lies below it. */
  readonly oid: string;
  readonly path: readonly string[];
  /** Blobs of `.sourceignore` files above, with the directories they lie in. */
  readonly ignores: readonly (readonly [oid: string, directory: string])[];
}

/**
 * Nothing is copied: a directory of the view is read on request. Its id covers all that its content depends on, so equal
 * ids mean equal content, as in Git.
 */
export function createTreeView({ source, ignore, sparse = [], includes = [] }: TreeViewOptions): TreeView {
  const ownPatterns = readPatterns(ignore ?? '', [], 'spec.ignore');
  const sparseDirectories = sparse.map(segmentsOf).filter((directory) => directory.length > 0);
  const mounts = includes.map((include, index) => ({ ...include, origin: index + 1, at: segmentsOf(include.toPath) }));
  const patternFiles = new BoundedMap<string, readonly IgnorePattern[]>(maxPatternFiles);
  const roots = new Map<number, string>();

  return {
    async rootOf(tree) {
      await Promise.all(sparse.map((directory) => requireDirectory(tree, directory)));
      for (const { origin, name, fromPath, source: included, tree: includedTree, at } of mounts) {
        if (at.length === 0) throw copyFailure(name, fromPath, '.', 'it would take the place of the whole repository');
        const found = await findTree(included, includedTree, segmentsOf(fromPath));
        if (found === undefined) throw copyFailure(name, fromPath, at.join('/'), 'there is no such directory');
        roots.set(origin, found);
      }
      return idOf({ origin: 0, oid: tree, path: [], ignores: [] });
    },
    async readTree(id) {
      const place = placeOf(id);
      if (place === undefined) return source.readTree(id);
      const entries = place.oid === '' ? [] : await originOf(place.origin).readTree(place.oid);
      const own = entries.find(({ name, type }) => name === ignoreFile && type === 'blob');
      const ignores = own === undefined ? place.ignores : [...place.ignores, [own.oid, place.path.join('/')] as const];
      const patterns = [...defaultIgnorePatterns, ...(await patternsOf(place.origin, ignores)), ...ownPatterns];
      const mayReturn = patterns.some(({ isNegated }) => isNegated);
      const comparisons = { left: maxComparisons };
      const seen: TreeEntry[] = [];
      for (const entry of withMounts(place, entries)) {
        const { origin = place.origin, ...rest } = entry;
        const path = [...place.path, entry.name];
        const isDirectory = entry.type === 'tree';
        if (!isInSparse(path, isDirectory)) continue;
        // An excluded directory may have included entries, when patterns say so.
        if (isLeftOut(patterns, { path, isDirectory }, comparisons) && !(isDirectory && mayReturn)) continue;
        const oid = isDirectory ? idOf({ origin, oid: entry.oid, path, ignores: origin === place.origin ? ignores : [] }) : entry.oid;
        seen.push({ ...rest, oid: isDirectory || origin === 0 ? oid : `${origin}:${oid}` });
      }
      return seen;
    },
    readBlob(id, maxBytes) {
      const { origin, oid } = blobOf(id);
      return originOf(origin).readBlob(oid, maxBytes);
    },
    readDocuments(id) {
      const { origin, oid } = blobOf(id);
      return originOf(origin).readDocuments(oid);
    },
  };

  function originOf(origin: number): GitSource {
    if (origin === 0) return source;
    const include = includes[origin - 1];
    if (include === undefined) throw new SourceError('CorruptObject', 'an included repository is gone', { hint: 'It is read again.' });
    return include.source;
  }

  /** The id of a directory names the rules that can still matter below it, so that a change elsewhere leaves it as it is. */
  function idOf({ origin, oid, path, ignores }: Place): string {
    const below = mounts
      .filter(({ at }) => at.length > path.length && startsWith(at, path))
      .map((mount) => [mount.at, roots.get(mount.origin)]);
    const rules = createHash('sha256')
      .update(JSON.stringify([ignore ?? '', sparseDirectories, below]))
      .digest('hex')
      .slice(0, 16);
    return JSON.stringify([rules, origin, oid, path.join('/'), ignores]);
  }

  function placeOf(id: string): Place | undefined {
    if (!id.startsWith('[')) return undefined;
    const [, origin, oid, path, ignores] = JSON.parse(id) as [string, number, string, string, Place['ignores']];
    return { origin, oid, path: segmentsOf(path), ignores };
  }

  /** Entries of a directory with those of the includes in the place of what was there. */
  function withMounts(place: Place, entries: readonly TreeEntry[]): readonly (TreeEntry & { readonly origin?: number })[] {
    const here = mounts.filter(({ at }) => at.length > place.path.length && startsWith(at, place.path));
    if (here.length === 0) return entries;
    const merged = new Map<string, TreeEntry & { readonly origin?: number }>(entries.map((entry) => [entry.name, entry]));
    for (const { at, origin } of here) {
      const name = at[place.path.length] ?? '';
      const isLast = at.length === place.path.length + 1;
      if (isLast) merged.set(name, { name, type: 'tree', oid: roots.get(origin) ?? '', origin });
      else if (merged.get(name)?.type !== 'tree') merged.set(name, { name, type: 'tree', oid: '' });
    }
    return [...merged.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async function patternsOf(origin: number, ignores: Place['ignores']): Promise<readonly IgnorePattern[]> {
    const lists: IgnorePattern[] = [];
    for (const [oid, directory] of ignores) {
      const key = `${oid}\0${directory}`;
      let patterns = patternFiles.use(key);
      if (patterns === undefined) {
        const text = Buffer.from(await originOf(origin).readBlob(oid, maxIgnoreBytes)).toString('utf8');
        patterns = readPatterns(text, segmentsOf(directory), directory === '' ? ignoreFile : `${directory}/${ignoreFile}`);
        patternFiles.set(key, patterns);
      }
      lists.push(...patterns);
    }
    return lists;
  }

  function isInSparse(path: readonly string[], isDirectory: boolean): boolean {
    if (sparseDirectories.length === 0) return true;
    return sparseDirectories.some((directory) => startsWith(path, directory) || (isDirectory && startsWith(directory, path)));
  }

  async function requireDirectory(tree: string, directory: string): Promise<void> {
    if ((await findTree(source, tree, segmentsOf(directory))) !== undefined) return;
    throw new SourceError('NotARepository', `failed to sparse checkout directories : ${directory} is not a directory of ${source.url}`, {
      hint: 'Correct spec.sparseCheckout.',
    });
  }
}

function blobOf(id: string): { readonly origin: number; readonly oid: string } {
  const [, origin, oid] = /^(\d+):(.*)$/.exec(id) ?? [];
  return origin === undefined ? { origin: 0, oid: id } : { origin: Number(origin), oid: oid ?? '' };
}

/** The tree at a path; undefined where there is none. */
export async function findTree(source: Pick<GitSource, 'readTree'>, root: string, path: readonly string[]): Promise<string | undefined> {
  let oid = root;
  for (const segment of path) {
    const entry = (await source.readTree(oid)).find(({ name, type }) => name === segment && type === 'tree');
    if (entry === undefined) return undefined;
    oid = entry.oid;
  }
  return oid;
}

/** `..` stays below the root, as in a path that is joined securely. */
function segmentsOf(path: string): readonly string[] {
  const segments: string[] = [];
  for (const segment of path.split('/')) {
    if (segment === '..') segments.pop();
    else if (segment !== '' && segment !== '.') segments.push(segment);
  }
  return segments;
}

const startsWith = (path: readonly string[], start: readonly string[]): boolean =>
  path.length >= start.length && start.every((segment, index) => path[index] === segment);

function isLeftOut(...arguments_: Required<Parameters<typeof isIgnored>>): boolean {
  try {
    return isIgnored(...arguments_);
  } catch (cause) {
    throw unusablePatterns(ignoreFile, cause);
  }
}

const unusablePatterns = (where: string, cause: unknown): SourceError =>
  new SourceError('TooLarge', `${where} cannot be used: ${(cause as Error).message}`, { hint: 'Use fewer patterns.', cause });

function readPatterns(text: string, domain: readonly string[], where: string): readonly IgnorePattern[] {
  try {
    return parseIgnorePatterns(text, domain);
  } catch (cause) {
    throw unusablePatterns(where, cause);
  }
}

const copyFailure = (name: string, from: string, to: string, why: string): SourceError =>
  new SourceError('NotARepository', `failed to copy '${name}' include from ${from || '/'} to ${to}: ${why}`, {
    hint: 'Correct spec.include.',
  });

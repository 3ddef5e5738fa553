import { createHash } from 'node:crypto';
import { BoundedMap } from '../../base/bounded-map.ts';
import { mapBounded } from '../../base/concurrency.ts';
import type { FileContent } from '../manifests/documents.ts';
import { nameHooks } from '../manifests/hook-names.ts';
import type { BuildError, BuildResult, Manifest } from '../manifests/manifest.ts';
import { type Commit, type GitSource, SourceError, type TreeEntry } from '../sources/git-source.ts';
import { kustomizationFiles } from './kustomize/phases/load.ts';
import type { Overlay } from './kustomize/phases/render-options.ts';
import { createRenderCache, type Rendering } from './render-cache.ts';
import type { BuildTools } from './tools.ts';
import { looksLikePart, whyUnread } from './unread-entries.ts';

export interface BuildOptions {
  readonly source: GitSource;
  readonly commit: Commit;
  /** Directory of the repository, as in Flux's `spec.path`: `./apps/web`; empty or `./` is the root. */
  readonly path: string;
  /**
   * Changes on the way. A plain directory is then built as if a kustomization listed its files, unless the only change
   * is a namespace.
   */
  readonly overlay?: Overlay | undefined;
  readonly signal: AbortSignal;
}

/**
 * Reads the manifests of a directory and everything below it; a directory with a kustomization file is built as
 * kustomize does. Trees, files and builds are cached by the object ids that were read, so a commit costs only its
 * changes. A known subtree is not walked, a known file is not parsed, and a kustomization without changed files is not
 * built again. The cache keeps only the newest versions of a path, so memory does not grow with the number of commits.
 */
export interface Builder {
  build(options: BuildOptions): Promise<BuildResult>;
}

const maxFiles = 100_000;
const maxDepth = 64;
/** Files of one directory that are looked at only to say that they are not read. */
const maxOthers = 100;
/** Remembered paths of subtrees and of files; the least recently used go first. */
const maxCachedTrees = 50_000;
const maxCachedFiles = 50_000;
/** Versions of one path: enough for the branches and repositories that have it, and a few earlier commits. */
const maxCachedVersions = 16;
const maxCachedDirectories = 2_000;
/** Reads of one tree under way at the same time. */
const concurrency = 16;

interface TreeContent {
  readonly digest: string;
  readonly manifests: readonly Manifest[];
  readonly errors: readonly BuildError[];
  readonly files: number;
  /** Directories with a kustomization file; what lies below them is theirs to name. */
  readonly kustomizations: readonly string[];
  readonly unread: readonly BuildError[];
}

export function createBuilder(tools: BuildTools = {}): Builder {
  const trees = new BoundedMap<string, BoundedMap<string, TreeContent>>(maxCachedTrees);
  /** Directories by tree: a thousand apps look for theirs in the same few trees of each commit. */
  const directories = new BoundedMap<string, ReadonlyMap<string, string>>(maxCachedDirectories);
  const files = new BoundedMap<string, BoundedMap<string, FileContent>>(maxCachedFiles);
  const results = new WeakMap<TreeContent, BuildResult>();
  const combined = new WeakMap<TreeContent, { readonly renderings: readonly Rendering[]; readonly result: BuildResult }>();
  const renderCache = createRenderCache(tools);

  return {
    async build({ source, commit, path, overlay, signal }) {
      try {
        const { root, prefix } = await findDirectory({ commit, path }, (tree) => directoriesOf(source, tree));
        const listing = await list({ source, oid: root, path: prefix, depth: 0, signal, left: { files: maxFiles } });
        const content = await readDirectory({ source, listing, path: prefix, signal });
        const { kustomizations } = content;
        const isKustomization = kustomizations[0] === prefix;
        if (overlay !== undefined && changesObjects(overlay) && !isKustomization && content.errors.length === 0) {
          const resources = resourcesOf(content, prefix);
          if (resources.length === 0) return plainResult(content);
          return await renderCache.render({ source, commit, path: prefix, overlay, resources, signal });
        }
        if (kustomizations.length === 0) return plainResult(content);
        const renderings: Rendering[] = [];
        for (const directory of kustomizations) {
          renderings.push(
            await renderCache.render({ source, commit, path: directory, overlay: isKustomization ? overlay : undefined, signal }),
          );
        }
        const [only] = renderings;
        return isKustomization && only !== undefined ? only : combinedResult(content, renderings);
      } catch (err) {
        if (!(err instanceof BuildFailure)) throw err;
        return { digest: '', manifests: [], errors: [err.error] };
      } finally {
        source.trim();
      }
    },
  };

  async function directoriesOf(source: GitSource, tree: string): Promise<ReadonlyMap<string, string>> {
    let known = directories.use(tree);
    if (known === undefined) {
      known = new Map((await source.readTree(tree)).filter(({ type }) => type === 'tree').map(({ name, oid }) => [name, oid]));
      directories.set(tree, known);
    }
    return known;
  }

  function plainResult(content: TreeContent): BuildResult {
    let result = results.get(content);
    if (result === undefined) {
      const { digest, errors, unread } = content;
      const manifests = nameHooks(content.manifests, digest);
      result = { digest, manifests, errors: [...errors, ...duplicatesIn(manifests)], ...withUnread(unread) };
      results.set(content, result);
    }
    return result;
  }

  /** Plain files with kustomizations among them. */
  function combinedResult(content: TreeContent, renderings: readonly Rendering[]): BuildResult {
    const known = combined.get(content);
    if (known?.renderings.every((rendering, index) => rendering === renderings[index])) return known.result;
    const hash = createHash('sha256').update(content.digest);
    for (const { digest } of renderings) hash.update(digest);
    const digest = hash.digest('hex');
    const manifests = [...nameHooks(content.manifests, digest), ...renderings.flatMap((rendering) => rendering.manifests)];
    const result: BuildResult = {
      digest,
      manifests,
      errors: [...content.errors, ...renderings.flatMap(({ errors }) => errors), ...duplicatesIn(manifests)],
      ...withUnread(content.unread),
    };
    combined.set(content, { renderings, result });
    return result;
  }

  /** Entries of a directory before its files are read; `known` when all of it was read before. */
  interface Listing {
    readonly oid: string;
    readonly known?: TreeContent;
    readonly entries: readonly { readonly entry: TreeEntry; readonly listing?: Listing }[];
    /** Entries that are not read, and may look as if they were; not all of a directory with many. */
    readonly others: readonly TreeEntry[];
    /** It has a kustomization file. */
    readonly isKustomization: boolean;
  }

  interface Directory {
    readonly source: GitSource;
    readonly oid: string;
    readonly path: string;
    readonly depth: number;
    readonly signal: AbortSignal;
    /** Files that may still be found: what is too large is refused before any of it is read. */
    readonly left: { files: number };
  }

  async function list({ source, oid, path, depth, signal, left }: Directory): Promise<Listing> {
    signal.throwIfAborted();
    const known = trees.use(path)?.use(oid);
    if (known !== undefined) {
      count(left, known.files);
      return { oid, known, entries: [], others: [], isKustomization: false };
    }
    if (depth > maxDepth) throw new BuildFailure({ file: path, message: `directories are nested more than ${maxDepth} deep` });
    const all = await source.readTree(oid);
    const entries = all.filter(isRead);
    if (entries.some(({ name, type }) => type !== 'tree' && kustomizationFiles.includes(name))) {
      return { oid, entries: [], others: [], isKustomization: true };
    }
    count(left, entries.filter(({ type }) => type !== 'tree').length);
    const children = await mapBounded(entries, concurrency, async (entry) =>
      entry.type === 'tree' && entry.problem === undefined
        ? { entry, listing: await list({ source, oid: entry.oid, path: join(path, entry.name), depth: depth + 1, signal, left }) }
        : { entry },
    );
    return { oid, entries: children, others: all.filter(looksLikePart).slice(0, maxOthers), isKustomization: false };
  }

  function count(left: { files: number }, files: number): void {
    left.files -= files;
    if (left.files >= 0) return;
    throw new BuildFailure({ file: '.', message: `holds more than ${maxFiles} manifests`, hint: 'Split it into several apps.' });
  }

  interface Contents {
    readonly source: GitSource;
    readonly listing: Listing;
    readonly path: string;
    readonly signal: AbortSignal;
  }

  async function readDirectory({ source, listing, path, signal }: Contents): Promise<TreeContent> {
    signal.throwIfAborted();
    if (listing.known !== undefined) return listing.known;
    if (listing.isKustomization) {
      const content: TreeContent = { digest: '', manifests: [], errors: [], files: 0, kustomizations: [path], unread: [] };
      remember(trees, { path, oid: listing.oid, content });
      return content;
    }
    const parts = await mapBounded(listing.entries, concurrency, ({ entry, listing: below }) => {
      const file = join(path, entry.name);
      return below === undefined
        ? readFile({ source, entry, file, signal })
        : readDirectory({ source, listing: below, path: file, signal });
    });
    const unread = await mapBounded(listing.others, concurrency, async (entry) => {
      const why = await whyUnread(source, entry);
      return why === undefined ? [] : [{ file: join(path, entry.name), ...why }];
    });

    const hash = createHash('sha256');
    for (const part of parts) hash.update(part.digest);
    const content: TreeContent = {
      digest: hash.digest('hex'),
      manifests: parts.flatMap((part) => part.manifests),
      errors: parts.flatMap((part) => part.errors),
      files: parts.reduce((sum, part) => sum + part.files, 0),
      kustomizations: parts.flatMap((part) => part.kustomizations),
      unread: [...unread.flat(), ...parts.flatMap((part) => part.unread)],
    };
    remember(trees, { path, oid: listing.oid, content });
    return content;
  }

  interface File {
    readonly source: GitSource;
    readonly entry: TreeEntry;
    readonly file: string;
    readonly signal: AbortSignal;
  }

  async function readFile({ source, entry, file, signal }: File): Promise<TreeContent> {
    const failed = (error: Omit<BuildError, 'file'>): TreeContent => ({
      digest: '',
      manifests: [],
      errors: [{ file, ...error }],
      files: 1,
      kustomizations: [],
      unread: [],
    });
    if (entry.problem !== undefined) return failed({ message: entry.problem, hint: 'Rename it.' });
    if (entry.type === 'symlink') {
      return failed({ message: 'is a symbolic link, which is not followed', hint: 'Put the file itself here.' });
    }
    let content = files.use(file)?.use(entry.oid);
    if (content === undefined) {
      signal.throwIfAborted();
      try {
        content = await source.readDocuments(entry.oid);
      } catch (err) {
        if (err instanceof SourceError && err.reason === 'TooLarge') return failed({ message: err.message, hint: err.hint });
        throw err;
      }
      remember(files, { path: file, oid: entry.oid, content });
    }
    return {
      digest: content.digest,
      manifests: content.documents.map(({ line, object }) => ({ file, line, object, blob: entry.oid })),
      errors: content.errors.map((error) => ({ file, ...error })),
      files: 1,
      kustomizations: [],
      unread: [],
    };
  }
}

const withUnread = (unread: readonly BuildError[]): Pick<BuildResult, 'unread'> => (unread.length === 0 ? {} : { unread });

function remember<V>(
  cache: BoundedMap<string, BoundedMap<string, V>>,
  { path, oid, content }: { readonly path: string; readonly oid: string; readonly content: V },
): void {
  const versions = cache.get(path) ?? new BoundedMap<string, V>(maxCachedVersions);
  versions.set(oid, content);
  cache.set(path, versions);
}

/** Ends a build at once with one error, where going on would cost too much or mean nothing. */
class BuildFailure extends Error {
  readonly error: BuildError;
  constructor(error: BuildError) {
    super(error.message);
    this.error = error;
  }
}

/** A namespace alone is set when objects are applied, with the cluster's knowledge of which kinds have one. */
const changesObjects = ({ namePrefix, nameSuffix, components = [], patches = [], images = [], buildMetadata = [] }: Overlay): boolean =>
  Boolean(namePrefix) || Boolean(nameSuffix) || components.length + patches.length + images.length + buildMetadata.length > 0;

/** Entries that a kustomization of the directory would list, relative to it. */
function resourcesOf({ manifests, kustomizations }: TreeContent, prefix: string): readonly string[] {
  const relative = (path: string): string => (prefix === '' ? path : path.slice(prefix.length + 1));
  return [...new Set(manifests.map(({ file }) => file)), ...kustomizations].map(relative);
}

const join = (path: string, name: string): string => (path === '' ? name : `${path}/${name}`);

/** Manifests and directories; hidden ones (`.github`) are not part of an app. */
const isRead = ({ name, type }: TreeEntry): boolean =>
  !name.startsWith('.') && (type === 'tree' || (type !== 'submodule' && (/\.ya?ml$/i.test(name) || name === 'Kustomization')));

async function findDirectory(
  { commit, path }: { readonly commit: Commit; readonly path: string },
  directoriesOf: (tree: string) => Promise<ReadonlyMap<string, string>>,
): Promise<{ readonly root: string; readonly prefix: string }> {
  const segments = path.split('/').filter((segment) => segment !== '' && segment !== '.');
  let root = commit.tree;
  for (const [index, segment] of segments.entries()) {
    const oid = segment === '..' ? undefined : (await directoriesOf(root)).get(segment);
    if (oid === undefined) {
      throw new BuildFailure({
        file: segments.slice(0, index + 1).join('/'),
        message: `is not a directory of the repository at ${commit.sha.slice(0, 7)}`,
        hint: 'Set spec.path to a directory that exists; nothing was pruned.',
      });
    }
    root = oid;
  }
  return { root, prefix: segments.join('/') };
}

/** Two documents that define one object: which one wins would depend on order. */
function duplicatesIn(manifests: readonly Manifest[]): readonly BuildError[] {
  const seen = new Map<string, Manifest>();
  const errors: BuildError[] = [];
  for (const manifest of manifests) {
    const { apiVersion, kind, metadata } = manifest.object;
    const group = apiVersion.includes('/') ? apiVersion.slice(0, apiVersion.indexOf('/')) : '';
    const id = `${group}/${kind}/${metadata.namespace ?? ''}/${metadata.name}`;
    const first = seen.get(id);
    if (first === undefined) seen.set(id, manifest);
    else {
      errors.push({
        file: manifest.file,
        line: manifest.line,
        message: `defines ${kind} ${metadata.namespace === undefined ? '' : `${metadata.namespace}/`}${metadata.name}, which ${first.file}:${first.line} defines too`,
        hint: 'Keep one of the two.',
      });
    }
  }
  return errors;
}

import type { FileTree } from './file-tree.ts';

/** Trees of other repositories. */
export interface RemoteBases {
  /**
   * The tree of a repository at a tag or commit, which is fetched once.
   *
   * @throws RemoteBaseError
   */
  open(address: RemoteAddress, options: { readonly signal: AbortSignal | undefined }): Promise<FileTree>;
}

/** A base in another repository. */
export interface RemoteAddress {
  /** `https://github.com/example/charts` */
  readonly repository: string;
  /** Directory in it; empty is its root. */
  readonly path: string;
  /**
   * A tag, or a commit in 40 hex digits. A branch changes without a commit of the tree that names it, so none is
   * accepted.
   */
  readonly ref: string;
}

export class RemoteBaseError extends Error {
  readonly hint: string;
  /** Another try may go better. */
  readonly temporary: boolean;
  constructor(
    message: string,
    { hint, temporary = false, cause }: { readonly hint: string; readonly temporary?: boolean; readonly cause?: unknown },
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.hint = hint;
    this.temporary = temporary;
  }
}

/** True when a resource has one of the forms that kustomize reads as addresses, and is no path of the tree. */
export const isRemote = (path: string): boolean =>
  /^[a-z][a-z0-9+.-]*:\/\/|^git::|^[\w.-]+@[\w.-]+:|\?ref=|^(github|gitlab)\.com[/:]|\.git(\/|$)/i.test(path);

/**
 * Reads `https://HOST/REPOSITORY//DIRECTORY?ref=TAG` and kustomize's other forms of it. `.git` ends the repository as
 * well. On GitHub the second name does, and the scheme may be missing.
 *
 * @see https://github.com/kubernetes-sigs/kustomize/blob/master/examples/remoteBuild.md and decisions/0013
 * @throws RemoteBaseError
 */
export function parseRemoteAddress(text: string): RemoteAddress {
  const withScheme = /^github\.com\//i.test(text) ? `https://${text}` : text;
  const url = URL.canParse(withScheme) ? new URL(withScheme) : undefined;
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw new RemoteBaseError(`not supported: remote resource ${redact(text)}`, {
      hint: 'Bases are fetched from https:// addresses of Git repositories; or copy it into the repository.',
    });
  }
  if (url.username !== '' || url.password !== '') {
    throw new RemoteBaseError(`${redact(text)} has credentials`, {
      hint: 'Bases are fetched without credentials, since everyone who reads the tree would read them.',
    });
  }
  const ref = url.searchParams.get('ref') ?? url.searchParams.get('version') ?? '';
  if (ref === '') {
    throw new RemoteBaseError(`${redact(text)} names no ref`, { hint: 'Put ?ref= with a tag or a commit behind it.' });
  }
  const place = placeIn(url);
  if (place === undefined) {
    throw new RemoteBaseError(`${redact(text)} does not say where the repository ends`, {
      hint: 'Put // between the repository and the directory.',
    });
  }
  return { ...place, ref };
}

function placeIn({ origin, host, pathname }: URL): Pick<RemoteAddress, 'repository' | 'path'> | undefined {
  const at = (end: number, rest: string) => ({
    repository: origin + pathname.slice(0, end),
    path: decodePath(rest.replace(/^\/+|\/+$/g, '')),
  });
  const double = pathname.indexOf('//');
  if (double > 0) return at(double, pathname.slice(double + 2));
  const suffix = /\.git(?=\/|$)/.exec(pathname);
  if (suffix !== null) return at(suffix.index + 4, pathname.slice(suffix.index + 4));
  const [, owner, name, ...rest] = pathname.split('/');
  if (host.toLowerCase() !== 'github.com' || !owner || !name) return undefined;
  return at(owner.length + name.length + 2, rest.join('/'));
}

function decodePath(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

const redact = (text: string): string => text.replace(/\/\/[^/@]*@/, '//');

/** Bases that are mounted into the tree that names them, each under a name of one segment that no path of a tree leads into. */
export class MountedTree implements FileTree {
  readonly #tree: FileTree;
  readonly #mounts = new Map<string, { readonly tree: FileTree; readonly address: RemoteAddress }>();

  constructor(tree: FileTree) {
    this.#tree = tree;
  }

  async find(path: string) {
    const name = mountOf(path);
    if (name === undefined) return this.#tree.find(path);
    return this.#mounts.get(name)?.tree.find(path.slice(name.length + 1));
  }

  /** Gives the path of the base in this tree. */
  mount(address: RemoteAddress, tree: FileTree): string {
    const name = `${mark}${address.repository.replaceAll('/', slash)}@${encodeURIComponent(address.ref)}`;
    this.#mounts.set(name, { tree, address });
    return address.path === '' ? name : `${name}/${address.path}`;
  }

  /** Repository of a file; undefined when it is in the tree itself. */
  origin(file: string): RemoteAddress | undefined {
    const name = mountOf(file);
    const mounted = name === undefined ? undefined : this.#mounts.get(name);
    return mounted === undefined || name === undefined ? undefined : { ...mounted.address, path: file.slice(name.length + 1) };
  }
}

/** Prefix of the names of mounts; a file of the tree with such a name is not found. */
const mark = 'remote:';
/** U+2215, which no address has as it is: two addresses never have one name. */
const slash = '\u2215';

/** The mount that a path leads into; a path that begins within one must not lead out of it, nor the other way round. */
export function mountOf(path: string): string | undefined {
  if (!path.startsWith(mark)) return undefined;
  const end = path.indexOf('/');
  return end === -1 ? path : path.slice(0, end);
}

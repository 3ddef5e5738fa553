import { timeLimit } from '../../base/time-limit.ts';
import { type GitSource, SourceError } from '../sources/git-source.ts';
import { isBelow } from './address.ts';
import { createGitTrees } from './git-tree.ts';
import type { FileTree } from './kustomize/file-tree.ts';
import { type RemoteAddress, RemoteBaseError, type RemoteBases } from './kustomize/remote-bases.ts';

export interface GitBasesOptions {
  /** Addresses of repositories, or what they begin with: `https://github.com/example`. */
  readonly allowed: readonly string[];
  openSource(url: string, options: { readonly owner: string }): Promise<GitSource>;
}

/** Repositories at one ref each that are kept: what was fetched stays, since it cannot change. */
const maxBases = 256;
const fetchTimeoutMs = 60_000;

/** Bases in other Git repositories, fetched without credentials and only from where it is allowed. */
export function createGitBases({ allowed, openSource }: GitBasesOptions): RemoteBases {
  const treeOf = createGitTrees();
  const known = new Map<string, Promise<FileTree>>();

  async function fetchTree({ repository, ref }: RemoteAddress, signal: AbortSignal): Promise<FileTree> {
    try {
      const source = await openSource(repository, { owner: `base/${ref}` });
      try {
        const { tree } = await source.resolve(/^[0-9a-f]{40}$/.test(ref) ? { commit: ref } : { tag: ref }, { signal });
        return treeOf(source, tree);
      } catch (err) {
        await source.close();
        throw err;
      }
    } catch (err) {
      if (!(err instanceof SourceError)) throw err;
      const isWrong = err.reason === 'BranchNotFound' || err.reason === 'NotARepository';
      const hint = err.reason === 'BranchNotFound' ? 'A ref is a tag or a commit in 40 hex digits; branches are not followed.' : err.hint;
      const where = err.message.includes(repository) ? '' : `${repository}: `;
      throw new RemoteBaseError(where + err.message, { hint, temporary: !isWrong, cause: err });
    }
  }

  return {
    open(address, { signal = new AbortController().signal }) {
      const { repository, ref } = address;
      if (!allowed.some((prefix) => isAllowed(repository, prefix))) {
        throw new RemoteBaseError(`bases of ${repository} are not allowed`, {
          hint: 'The operator allows them with --remote-base; or copy it into the repository.',
        });
      }
      const key = `${repository}@${ref}`;
      const before = known.get(key);
      if (before !== undefined) return before;
      if (known.size >= maxBases) {
        throw new RemoteBaseError(`more than ${maxBases} remote bases are in use`, { hint: 'Copy some of them into the repository.' });
      }
      const fetching = fetchTree(address, timeLimit(signal, fetchTimeoutMs));
      known.set(key, fetching);
      // The next build asks again for bases that could not be fetched.
      fetching.catch(() => known.delete(key));
      return fetching;
    },
  };
}

/** `https://host/a` allows `https://host/a/b` and `https://host/a.git`, and not `https://host/ab`. */
function isAllowed(repository: string, prefix: string): boolean {
  const start = prefix.replace(/\/+$/, '');
  return isBelow(repository, start) || repository === `${start}.git`;
}

import fs from 'node:fs';
import git from 'isomorphic-git';
import { type GitRef, SourceError } from './git-source.ts';

/** The full name of the ref that is asked for; `undefined` when the commit is named outright. */
export function refNameOf(ref: GitRef): string | undefined {
  if (ref.commit !== undefined) return undefined;
  if (ref.name !== undefined) return ref.name;
  if (ref.semver !== undefined) {
    throw new SourceError('NotSupported', 'not supported: spec.ref.semver', { hint: 'Name a branch, a tag or a commit.' });
  }
  if (ref.tag !== undefined) return `refs/tags/${ref.tag}`;
  return `refs/heads/${ref.branch ?? 'master'}`;
}

/** What Flux writes before `@sha1:` in a revision. */
export function shortRefName(ref: GitRef): string {
  return ref.name ?? ref.tag ?? ref.branch ?? (ref.commit === undefined ? 'master' : 'HEAD');
}

export const branchNotFound = (url: string, ref: string, known: readonly string[]): SourceError =>
  new SourceError('BranchNotFound', `${ref.replace(/^refs\/(heads|tags)\//, '')} does not exist in ${url}`, {
    hint:
      known.length === 0
        ? 'The repository has no commits yet: push one.'
        : `Branches there: ${known.slice(0, 5).join(', ')}${known.length > 5 ? ', …' : ''}. Set spec.ref.branch (or --branch) to one of them.`,
  });

/** The commit a ref of a repository on this machine points to, annotated tags followed. */
export async function resolveLocalRef({
  gitdir,
  url,
  ref,
}: {
  readonly gitdir: string;
  readonly url: string;
  readonly ref: GitRef;
}): Promise<string> {
  const name = refNameOf(ref);
  let oid = ref.commit;
  if (name !== undefined) {
    try {
      oid = await git.resolveRef({ fs, gitdir, ref: name });
    } catch {
      throw branchNotFound(url, name, await git.listBranches({ fs, gitdir }).catch(() => []));
    }
  }
  const { type, object, ...rest } = await git.readObject({ fs, gitdir, oid: oid ?? '', format: 'parsed' }).catch((cause: unknown) => {
    throw new SourceError('BranchNotFound', `commit ${oid} does not exist in ${url}`, { hint: 'Push it, or name another commit.', cause });
  });
  if (type === 'tag') return (object as { readonly object: string }).object;
  return rest.oid;
}

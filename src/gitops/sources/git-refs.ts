import fs from 'node:fs';
import git from 'isomorphic-git';
import { noCommitsText } from '../../lifecycle/git-repository.facts.ts';
import type { GitObjects } from './git-objects.ts';
import { type GitRef, SourceError } from './git-source.ts';
import { newestInRange } from './version-range.ts';

/**
 * A parsed `spec.ref`. Flux writes `shortName` before `@sha1:` in a revision; it is empty when there is only a commit.
 */
export type RefQuery =
  | { readonly type: 'commit'; readonly oid: string; readonly shortName: string }
  | { readonly type: 'ref'; readonly name: string; readonly shortName: string }
  | { readonly type: 'semver'; readonly range: string };

/** The first of commit, name, semver, tag and branch that is set. */
export function refQueryOf(ref: GitRef): RefQuery {
  const { commit, name, semver, tag, branch } = ref;
  if (commit !== undefined && commit !== '') {
    if (!/^[0-9a-f]{40}$/.test(commit)) {
      throw new SourceError('BranchNotFound', `spec.ref.commit "${commit}" is not the id of a commit`, { hint: 'Give all 40 digits.' });
    }
    return { type: 'commit', oid: commit, shortName: branch ?? '' };
  }
  if (name !== undefined && name !== '') {
    if (!name.startsWith('refs/')) {
      throw new SourceError('BranchNotFound', `spec.ref.name "${name}" is not a full name`, { hint: 'Write it as refs/heads/main.' });
    }
    return { type: 'ref', name: checkedName(name), shortName: name };
  }
  if (semver !== undefined && semver !== '') return { type: 'semver', range: semver };
  if (tag !== undefined && tag !== '') return { type: 'ref', name: checkedName(`refs/tags/${tag}`), shortName: tag };
  return { type: 'ref', name: checkedName(`refs/heads/${branch || 'master'}`), shortName: branch || 'master' };
}

/** A name is a path in the repository's directory, so what git does not allow in one is not looked up. @see git-check-ref-format(1) */
function checkedName(name: string): string {
  const isAllowed =
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
    !/[\u0000-\u0020\u007f~^:?*[\\]|\.\.|@\{|\/\/|\/\.|\.lock(\/|$)|[/.]$/.test(name) && name.length <= 1_024;
  if (isAllowed) return name;
  throw new SourceError('BranchNotFound', `${JSON.stringify(name)} is not the name of a ref`, { hint: 'Check spec.ref.' });
}

/** The tag that a range asks for, of the full names of tags. */
export function tagInRange(url: string, range: string, names: readonly string[]): string {
  const tags = names.map((name) => name.replace(/^refs\/tags\//, ''));
  const tag = newestInRange(range, tags);
  if (tag !== undefined) return tag;
  throw new SourceError('BranchNotFound', `no match found for semver: ${range}`, {
    hint: tags.length === 0 ? `${url} has no tags.` : `Tags there: ${listOf(tags)}. Pre-releases count only when the range names one.`,
  });
}

const listOf = (names: readonly string[]): string => `${names.slice(0, 5).join(', ')}${names.length > 5 ? ', …' : ''}`;

/** True when `branchNotFound` lists tags for a missing ref. */
export const isTag = (ref: string): boolean => ref.startsWith('refs/tags/');

/** @param known short names of the branches there are, or of the tags for a tag */
export function branchNotFound(url: string, ref: string, known: readonly string[]): SourceError {
  const hint = isTag(ref)
    ? known.length === 0
      ? 'The repository has no tags.'
      : `Tags there: ${listOf(known)}. Set spec.ref.tag to one of them, or push the tag.`
    : known.length === 0
      ? `${noCommitsText}: push one.`
      : `Branches there: ${listOf(known)}. Set spec.ref.branch (or --branch) to one of them.`;
  return new SourceError('BranchNotFound', `${ref.replace(/^refs\/(heads|tags)\//, '')} does not exist in ${url}`, { hint });
}

export interface ResolvedRef {
  readonly oid: string;
  readonly shortName: string;
}

/** The commit a ref of a repository on this machine points to, annotated tags followed. */
export async function resolveLocalRef({
  gitdir,
  url,
  ref,
  objects,
}: {
  readonly gitdir: string;
  readonly url: string;
  readonly ref: GitRef;
  readonly objects: GitObjects;
}): Promise<ResolvedRef> {
  const query = refQueryOf(ref);
  if (query.type === 'commit') {
    if (await objects.has(query.oid)) return query;
    throw new SourceError('BranchNotFound', `commit ${query.oid} does not exist in ${url}`, { hint: 'Push it, or name another commit.' });
  }
  const tag = query.type === 'semver' ? tagInRange(url, query.range, await git.listTags({ fs, gitdir })) : undefined;
  const { name, shortName } = query.type === 'semver' ? { name: `refs/tags/${tag}`, shortName: tag ?? '' } : query;
  let oid: string;
  try {
    oid = await git.resolveRef({ fs, gitdir, ref: name });
  } catch {
    const known = isTag(name) ? git.listTags({ fs, gitdir }) : git.listBranches({ fs, gitdir });
    throw branchNotFound(url, name, await known.catch(() => []));
  }
  // A branch names a commit; only tags have objects of their own.
  return { oid: name.startsWith('refs/heads/') ? oid : await objects.peel(oid), shortName };
}

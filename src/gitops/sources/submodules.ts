import { isolatedEnvironment, runGit } from './git-command.ts';
import type { GitObjects } from './git-objects.ts';
import { SourceError } from './git-source.ts';
import { parseTree } from './object-format.ts';
import type { SystemGit } from './system-git.ts';

export interface SubmoduleOptions {
  readonly gitdir: string;
  readonly objects: GitObjects;
  readonly system: SystemGit;
  readonly signal: AbortSignal;
}

/** Bounds for all levels together. */
const maxSubmodules = 100;
const maxDepth = 5;

/**
 * Fetches the commits that the submodules of a commit name, and theirs, into the same repository. An id identifies its
 * content, so the objects can share one store. `.gitmodules` of the commit gives the addresses; only http, https and
 * ssh are followed.
 */
export async function fetchSubmodules(options: SubmoduleOptions & { readonly url: string; readonly tree: string }): Promise<void> {
  const left = { submodules: maxSubmodules };
  await fetchLevel({ ...options, depth: 0, left });
}

interface Level extends SubmoduleOptions {
  readonly url: string;
  readonly tree: string;
  readonly depth: number;
  readonly left: { submodules: number };
}

async function fetchLevel({ url, tree, depth, left, ...options }: Level): Promise<void> {
  const { gitdir, objects, system, signal } = options;
  const modules = await submodulesOf(gitdir, objects, tree);
  if (modules.length === 0) return;
  if (depth >= maxDepth) throw unusable(url, `submodules are nested more than ${maxDepth} deep`);
  for (const { path, address, oid } of modules) {
    signal.throwIfAborted();
    left.submodules -= 1;
    if (left.submodules < 0) throw unusable(url, `there are more than ${maxSubmodules} submodules`);
    const from = addressOf(address, url, path);
    if (!(await objects.has(oid))) {
      await system.fetch({ gitdir, url: from, ref: oid, depth: 1 }, signal);
      if (!(await objects.has(oid))) throw unusable(url, `submodule ${path}: ${from} has no commit ${oid}`);
    }
    const commit = await objects.readCommit(oid, '');
    await fetchLevel({ ...options, url: from, tree: commit.tree, depth: depth + 1, left });
  }
}

interface Submodule {
  readonly path: string;
  /** As `.gitmodules` says it: an address, or a path relative to the repository's own. */
  readonly address: string;
  readonly oid: string;
}

async function submodulesOf(gitdir: string, objects: GitObjects, tree: string): Promise<readonly Submodule[]> {
  const entries = parseTree(await objects.readRawTree(tree));
  const file = entries.find(({ name, type }) => name === '.gitmodules' && type === 'blob');
  if (file === undefined) return [];
  const output = await runGit({
    args: ['config', '--blob', file.oid, '--null', '--get-regexp', String.raw`^submodule\..*\.(path|url)$`],
    env: { ...isolatedEnvironment, GIT_DIR: gitdir },
    isolated: true,
  }).catch(() => '');
  const byName = new Map<string, { path?: string; url?: string }>();
  for (const entry of output.split('\0')) {
    const [, name = '', field = '', value = ''] = /^submodule\.([\s\S]*)\.(path|url)\n([\s\S]*)$/.exec(entry) ?? [];
    if (name === '') continue;
    byName.set(name, { ...byName.get(name), [field]: value });
  }
  const found: Submodule[] = [];
  for (const { path = '', url: address = '' } of byName.values()) {
    const oid = await gitlinkAt(objects, tree, path);
    // Written down and not there: git leaves such a one out as well.
    if (oid !== undefined) found.push({ path, address, oid });
  }
  return found;
}

async function gitlinkAt(objects: GitObjects, tree: string, path: string): Promise<string | undefined> {
  let oid = tree;
  const segments = path.split('/');
  for (const [index, segment] of segments.entries()) {
    const entry = parseTree(await objects.readRawTree(oid)).find(({ name }) => name === segment);
    if (entry === undefined) return undefined;
    if (index === segments.length - 1) return entry.type === 'submodule' ? entry.oid : undefined;
    if (entry.type !== 'tree') return undefined;
    oid = entry.oid;
  }
  return undefined;
}

/** `../other.git` is beside the repository itself; `git@host:path` is ssh. */
function addressOf(address: string, base: string, path: string): string {
  const scp = /^(?:([A-Za-z0-9_][\w.-]*)@)?([A-Za-z0-9][A-Za-z0-9.-]*):(?!\/\/|:)(.+)$/.exec(address);
  const text = scp === null ? address : `ssh://${scp[1] === undefined ? '' : `${scp[1]}@`}${scp[2]}/${scp[3]}`;
  const isRelative = text.startsWith('./') || text.startsWith('../');
  const full = isRelative && URL.canParse(text, `${base}/`) ? new URL(text, `${base}/`).href : text;
  if (URL.canParse(full) && /^(https?|ssh):$/.test(new URL(full).protocol)) return full;
  throw unusable(base, `submodule ${path} is at ${JSON.stringify(address)}, which is not an http, https or ssh address`);
}

const unusable = (url: string, what: string): SourceError =>
  new SourceError('NotARepository', `${url}: ${what}`, { hint: 'Fix .gitmodules, or leave spec.recurseSubmodules out.' });

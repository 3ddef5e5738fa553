import { createHash } from 'node:crypto';
import fs, { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import git from 'isomorphic-git';
import { brokenParts } from './bare-repository.ts';
import { readGitEnvironment, runGit } from './git-command.ts';
import { createGitObjects, type GitObjects } from './git-objects.ts';
import { branchNotFound, isTag, type RefQuery, type ResolvedRef, refQueryOf, tagInRange } from './git-refs.ts';
import { type Commit, type GitRef, type GitSource, type ResolveOptions, SourceError } from './git-source.ts';
import type { GitThread } from './git-thread.ts';
import { compareHistory } from './history.ts';
import type { ServerRef } from './server-refs.ts';

export interface FetchRequest {
  readonly gitdir: string;
  /** Full name of a ref, or the id of a commit. */
  readonly ref: string;
  /** Commits of its history that are fetched; 1 is the commit alone. */
  readonly depth: number;
}

/** The two questions to a server. */
export interface RemoteTransport {
  listRefs(prefix: string, signal: AbortSignal): Promise<readonly ServerRef[]>;
  fetch(request: FetchRequest, signal: AbortSignal): Promise<void>;
  /** Fetches what the submodules of a commit name, when they are read. */
  fetchSubmodules?(gitdir: string, commit: Commit, signal: AbortSignal): Promise<void>;
}

export interface RemoteSourceOptions {
  /** `https://…`, `http://…` or `ssh://…`; without credentials. */
  readonly url: string;
  readonly transport: RemoteTransport;
  /** The requesters; each has a copy of its own. */
  readonly owner?: string;
  /** Bare repositories that keep what was fetched live below it, one for each owner and URL. */
  readonly cacheDirectory: string;
  readonly thread?: GitThread | undefined;
  /** Commits whose objects stay readable, for what looks back; at twice as many the older ones are collected. */
  readonly keptCommits?: number;
}

const isOfDamage = (err: unknown): boolean => err instanceof SourceError && err.reason === 'CorruptObject';

const defaultKeptCommits = 32;
const keptRefs = 'refs/midship/kept';

/** History that is fetched to find out whether a branch was rewritten, step by step. */
const historyDepths = [50, 500];

/** A repository of another machine: refs are listed at each poll, and only a ref that moved is fetched, without its history. */
export async function openRemoteSource(options: RemoteSourceOptions): Promise<GitSource> {
  const { url, owner = '', transport, cacheDirectory, thread, keptCommits = defaultKeptCommits } = options;
  const gitdir = join(cacheDirectory, `${createHash('sha256').update(`${owner}\0${url}`).digest('hex').slice(0, 16)}.git`);
  await init();
  const openObjects = (): GitObjects => createGitObjects({ gitdir, url, thread, submodules: transport.fetchSubmodules !== undefined });
  let objects = openObjects();
  /** Something of the copy could not be read: it is thrown away before the next look, and fetched again. */
  let isDamaged = false;
  /** The ref that was fetched last: what is deepened to look at its history. */
  let fetched: { readonly oid: string; readonly ref: string } | undefined;

  return {
    url,
    async resolve(ref, options) {
      if (isDamaged) await renew();
      try {
        return await resolve(ref, options);
      } catch (err) {
        if (options.signal.aborted || !isOfDamage(err)) throw err;
        await renew();
        return resolve(ref, options);
      }
    },
    readTree: (oid) => noting(objects.readTree(oid)),
    readBlob: (oid, maxBytes) => noting(objects.readBlob(oid, maxBytes)),
    readDocuments: (oid) => noting(objects.readDocuments(oid)),
    async compareHistory(before, after, { signal }) {
      let verdict = await compareHistory(objects, before, after);
      for (const depth of historyDepths) {
        if (verdict !== 'unknown' || fetched?.oid !== after.sha) break;
        await transport.fetch({ gitdir, ref: fetched.ref, depth }, signal);
        verdict = await compareHistory(objects, before, after);
      }
      return verdict;
    },
    trim: () => objects.trim(),
    async close() {
      objects.close();
    },
    async forget() {
      await rm(gitdir, { recursive: true, force: true });
    },
  };

  async function resolve(ref: GitRef, { signal, inForce }: ResolveOptions): Promise<Commit> {
    const query = refQueryOf(ref);
    const found = await find(query, signal);
    if (!(await objects.has(found.oid))) {
      await transport.fetch({ gitdir, ref: found.ref, depth: 1 }, signal);
      if (!(await objects.has(found.oid))) {
        // The branch moved on between the two questions, or the server gives no commits that no ref names.
        throw new SourceError('Unreachable', `${url} did not send commit ${found.oid}`, { hint: 'It is tried again.' });
      }
      // The commits of submodules are not reached from the commit that names them, and would be collected with what is old.
      if (transport.fetchSubmodules === undefined) await keep(found.oid, { signal, inForce });
    }
    fetched = found;
    const commit = await objects.readCommit(found.oid, found.shortName);
    await transport.fetchSubmodules?.(gitdir, commit, signal);
    return commit;
  }

  async function init(): Promise<void> {
    // A copy that is no repository any more, as after a power cut, holds nothing that the server does not have.
    if (existsSync(gitdir) && (await brokenParts(gitdir)).length > 0) await rm(gitdir, { recursive: true, force: true });
    await mkdir(gitdir, { recursive: true, mode: 0o700 });
    await git.init({ fs, gitdir, bare: true, defaultBranch: 'main' });
  }

  async function renew(): Promise<void> {
    objects.close();
    await rm(gitdir, { recursive: true, force: true });
    await init();
    objects = openObjects();
    fetched = undefined;
    isDamaged = false;
  }

  async function noting<T>(read: Promise<T>): Promise<T> {
    try {
      return await read;
    } catch (err) {
      isDamaged ||= isOfDamage(err);
      throw err;
    }
  }

  /** Names a commit, so that its objects are kept, and lets go of those that are long past. */
  async function keep(oid: string, { signal, inForce }: ResolveOptions): Promise<void> {
    if (inForce !== undefined && (await objects.has(inForce))) {
      await git.writeRef({ fs, gitdir, ref: 'refs/midship/in-force', value: inForce, force: true });
    }
    const names = (await git.listRefs({ fs, gitdir, filepath: keptRefs })).sort();
    const last = Number(names.at(-1) ?? 0);
    await git.writeRef({ fs, gitdir, ref: `${keptRefs}/${String(last + 1).padStart(12, '0')}`, value: oid });
    if (names.length < 2 * keptCommits) return;
    for (const name of names.slice(0, -keptCommits)) await git.deleteRef({ fs, gitdir, ref: `${keptRefs}/${name}` });
    try {
      await runGit({ args: ['gc', '--quiet', '--prune=now'], env: { ...readGitEnvironment(), GIT_DIR: gitdir }, isolated: true, signal });
    } catch (err) {
      // It reads every object that is kept, and ends at the first that is damaged.
      if (signal.aborted) throw err;
      isDamaged = true;
    }
  }

  async function find(query: RefQuery, signal: AbortSignal): Promise<ResolvedRef & { readonly ref: string }> {
    if (query.type === 'commit') return { oid: query.oid, shortName: query.shortName, ref: query.oid };
    if (query.type === 'semver') {
      const tags = await transport.listRefs('refs/tags/', signal);
      const tag = tagInRange(
        url,
        query.range,
        tags.map(({ name }) => name),
      );
      const name = `refs/tags/${tag}`;
      return { oid: tags.find((each) => each.name === name)?.oid ?? '', shortName: tag, ref: name };
    }
    const found = (await transport.listRefs(query.name, signal)).find(({ name }) => name === query.name);
    if (found !== undefined) return { oid: found.oid, shortName: query.shortName, ref: query.name };
    const prefix = isTag(query.name) ? 'refs/tags/' : 'refs/heads/';
    const known = await transport.listRefs(prefix, signal);
    throw branchNotFound(
      url,
      query.name,
      known.map(({ name }) => name.slice(prefix.length)),
    );
  }
}

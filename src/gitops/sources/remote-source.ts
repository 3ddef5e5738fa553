import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import git, { Errors } from 'isomorphic-git';
import { createGitHttpClient } from './git-http-client.ts';
import { createGitObjects } from './git-objects.ts';
import { branchNotFound, refNameOf, shortRefName } from './git-refs.ts';
import { type GitRef, type GitSource, SourceError } from './git-source.ts';

export interface RemoteCredentials {
  readonly username?: string;
  readonly password?: string;
  readonly bearerToken?: string;
  /** PEM. */
  readonly ca?: string;
}

export interface RemoteSourceOptions {
  /** `https://…` (or `http://…`); without credentials. */
  readonly url: string;
  readonly credentials?: RemoteCredentials | undefined;
  /** Bare repositories that keep what was fetched live below it, one for each URL. */
  readonly cacheDirectory: string;
}

const idleTimeoutMs = 30_000;
/** isomorphic-git holds a pack in one buffer, so the limit is also one of memory. */
const maxPackBytes = 512 * 1024 * 1024;

/** A repository behind smart HTTP: refs are listed at each poll, and only a branch that moved is fetched, without its history. */
export async function openRemoteSource({ url, credentials, cacheDirectory }: RemoteSourceOptions): Promise<GitSource> {
  const gitdir = join(cacheDirectory, `${createHash('sha256').update(url).digest('hex').slice(0, 16)}.git`);
  await mkdir(gitdir, { recursive: true });
  await git.init({ fs, gitdir, bare: true, defaultBranch: 'main' });
  // Gives the repository the refspec that the library insists on.
  await git.addRemote({ fs, gitdir, remote: 'origin', url, force: true });
  const objects = createGitObjects({ gitdir, url });

  const auth = {
    onAuth: () =>
      credentials?.bearerToken !== undefined
        ? { headers: { Authorization: `Bearer ${credentials.bearerToken}` } }
        : credentials?.username !== undefined
          ? { username: credentials.username, password: credentials.password ?? '' }
          : { cancel: true },
    // A second answer to the same question would be asked for ever.
    onAuthFailure: () => ({ cancel: true }),
  };

  const has = (oid: string): Promise<boolean> =>
    git.readObject({ fs, gitdir, oid, format: 'deflated' }).then(
      () => true,
      () => false,
    );

  return {
    url,
    async resolve(ref, { signal }) {
      const http = createGitHttpClient({
        signal,
        idleTimeoutMs,
        maxBytes: maxPackBytes,
        ...(credentials?.ca === undefined ? {} : { ca: credentials.ca }),
      });
      try {
        const sha = await findCommit(ref, http);
        if (!(await has(sha))) {
          const name = refNameOf(ref);
          await git.fetch({ fs, gitdir, http, url, ref: name ?? sha, singleBranch: true, depth: 1, tags: false, ...auth });
        }
        return await objects.readCommit(sha, shortRefName(ref));
      } catch (err) {
        throw explain(err, { url, signal, hasCredentials: credentials !== undefined });
      }
    },
    readTree: objects.readTree,
    readBlob: objects.readBlob,
    trim: objects.trim,
    async close() {},
  };

  async function findCommit(ref: GitRef, http: ReturnType<typeof createGitHttpClient>): Promise<string> {
    const name = refNameOf(ref);
    if (name === undefined) return ref.commit ?? '';
    const refs = await git.listServerRefs({ http, url, prefix: name, peelTags: true, ...auth });
    const found = refs.find((candidate) => candidate.ref === name);
    if (found !== undefined) return found.peeled ?? found.oid;
    const heads = await git.listServerRefs({ http, url, prefix: 'refs/heads/', ...auth });
    throw branchNotFound(
      url,
      name,
      heads.map((head) => head.ref.slice('refs/heads/'.length)),
    );
  }
}

interface Attempt {
  readonly url: string;
  readonly signal: AbortSignal;
  readonly hasCredentials: boolean;
}

function explain(err: unknown, { url, signal, hasCredentials }: Attempt): unknown {
  if (err instanceof SourceError) return err;
  if (signal.aborted) {
    return new SourceError('Timeout', `${url} did not answer in time`, { hint: 'Check the network, or raise spec.timeout.', cause: err });
  }
  if (err instanceof Errors.HttpError) {
    const { statusCode } = err.data;
    if (statusCode === 401 || statusCode === 403) {
      return new SourceError('AuthenticationFailed', `${url} refused the credentials (HTTP ${statusCode})`, {
        hint: 'Give spec.secretRef (or MIDSHIP_GIT_TOKEN of "midship up") a token that may read the repository.',
        cause: err,
      });
    }
    if (statusCode === 404) {
      return new SourceError('NotARepository', `${url} is not a Git repository (HTTP 404)`, {
        hint: 'Check the address; many servers also answer 404 when credentials are missing.',
        cause: err,
      });
    }
  }
  if (err instanceof Errors.UserCanceledError) {
    return new SourceError('AuthenticationFailed', `${url} ${hasCredentials ? 'refused the credentials' : 'asks for credentials'}`, {
      hint: 'Give spec.secretRef (or MIDSHIP_GIT_TOKEN of "midship up") a token that may read the repository.',
      cause: err,
    });
  }
  return new SourceError('Unreachable', `${url} cannot be reached: ${err instanceof Error ? err.message : String(err)}`, {
    hint: 'Check the address and the network; the last good revision stays in force.',
    cause: err,
  });
}

import { mkdir } from 'node:fs/promises';
import { gitRepositories } from '../../api/source/v1/git-repository.ts';
import { annotations, gitPath } from '../../api/well-known.ts';
import type { Clock } from '../../base/clock.ts';
import type { Component } from '../../base/component.ts';
import type { Log } from '../../base/log.ts';
import type { InformerSet } from '../../client/informer.ts';
import { readRefs } from '../../gitops/sources/bare-repository.ts';
import { SourceError } from '../../gitops/sources/git-source.ts';
import type { OpenSource } from '../../gitops/sources/open-source.ts';
import { createSystemGit } from '../../gitops/sources/system-git.ts';
import { digestOfRefs, type GitHome, type PeerAccess, recordRefs } from './git-home.ts';

/** A repository is looked at this often without a push: somebody may have changed it on the machine of its home. */
const pollMs = 60_000;
const retryMs = 2_000;
/** Without a Lease for so long the home counts as lost. Before that, others have waited 15 s for a crashed one. */
const awayMs = 5_000;
const fetchTimeoutMs = 120_000;

export interface GitMirrorOptions {
  readonly home: GitHome;
  /** Repository of this server: that of the home, or a copy of it. */
  readonly gitdir: string;
  readonly temporaryDirectory: string;
  /** Password of the user `midship` at the home. */
  readonly token: string;
  readonly access: PeerAccess;
  readonly clock: Clock;
  readonly log: Log;
  /** The repository is as the home has it, or the home is away. False: the home can do what this server cannot. */
  onUsable(isUsable: boolean): Promise<void>;
}

/**
 * Copies the built-in repository from its home after each push, so that GitOps goes on at this server when the home is away. A server
 * whose copy has every acknowledged push becomes the home then.
 */
export function createGitMirror({ home, gitdir, temporaryDirectory, token, access, clock, log, onUsable }: GitMirrorOptions): Component {
  const abort = new AbortController();
  let unfollow: () => void = () => undefined;
  let cancel: () => void = () => undefined;
  let copying: Promise<void> = Promise.resolve();
  let seen = '';
  let isFailing = false;
  let awaySinceMs: number | undefined;

  /** Changes with each push, and with each start of the home. */
  function stateOf(): string {
    const lease = home.lease();
    return `${home.isOwn} ${lease?.spec?.holderIdentity} ${home.address()} ${lease?.metadata.annotations?.[annotations.serverPushes]}`;
  }

  async function copyFrom(address: string): Promise<void> {
    await mkdir(temporaryDirectory, { recursive: true, mode: 0o700 });
    const url = `${address}${gitPath}cluster.git`;
    const { caCertificate: ca, clientCertificate } = access;
    const signal = AbortSignal.any([abort.signal, AbortSignal.timeout(fetchTimeoutMs)]);
    const git = createSystemGit({ access: { username: 'midship', password: token, ca, clientCertificate }, url, temporaryDirectory });
    // A home that has lost its repository makes an empty one, and the copies may be all that is left.
    if ((await git.listRefs(url, 'refs/heads/', signal)).length > 0) await git.mirror({ gitdir, url }, signal);
  }

  /** A restart takes less, and then nothing moves. */
  async function takeOver(): Promise<void> {
    awaySinceMs ??= clock.monotonicMs();
    if (clock.monotonicMs() - awaySinceMs < awayMs || home.refs === undefined) return;
    const before = home.host;
    if (digestOfRefs(await readRefs(gitdir)) !== home.refs) return;
    if (await home.takeOver()) log.info({ before }, 'Became home of Git remote');
  }

  async function lookAtHome(): Promise<void> {
    const address = home.address();
    const isAway = !home.isOwn && home.lease() === undefined;
    if (!isAway) awaySinceMs = undefined;
    if (home.isOwn) await recordRefs(home, gitdir);
    else if (isAway) await takeOver();
    else if (address !== undefined) await copyFrom(address);
  }

  async function look(): Promise<void> {
    seen = stateOf();
    try {
      if (!abort.signal.aborted) await lookAtHome();
      isFailing = false;
    } catch (err) {
      if (abort.signal.aborted) return;
      // Each try fails while the home is away, and the first says why.
      if (!isFailing) log.warn({ err, home: home.host }, 'Could not copy repository of Git remote');
      isFailing = true;
    }
    if (!abort.signal.aborted) await onUsable(!isFailing);
    if (abort.signal.aborted) return;
    // A change during this look has queued another one, which would set a second timer. A stop cancels one of them.
    cancel();
    cancel = clock.after(isFailing || awaySinceMs !== undefined ? retryMs : pollMs, next);
  }

  function next(): void {
    cancel();
    copying = copying.then(look);
  }

  return {
    name: 'git-mirror',
    async start() {
      unfollow = home.onChange(() => {
        if (stateOf() !== seen) next();
      });
      next();
    },
    async stop() {
      abort.abort(new Error('the server stops'));
      unfollow();
      cancel();
      await copying;
    },
  };
}

export interface CopyGuardOptions {
  readonly home: Pick<GitHome, 'host' | 'isOwn'>;
  readonly informers: InformerSet;
  /** Address of the page of this server; the built-in remote is below it. */
  readonly pageUrl: string;
}

/**
 * Reads a copy of the built-in repository only when it has each commit that was read from the home before. Apps would go back to an
 * older commit otherwise, because the home was lost before its last push was copied.
 */
export function guardCopy(open: OpenSource, { home, informers, pageUrl }: CopyGuardOptions): OpenSource {
  const repositories = informers.get(gitRepositories);
  return async (url, options) => {
    const source = await open(url, options);
    if (!url.startsWith(`${pageUrl}/git/`)) return source;
    return {
      ...source,
      async resolve(ref, resolveOptions) {
        for (const { spec, status } of home.isOwn ? [] : repositories.list()) {
          const sha = spec.url === url ? shaOf(status?.artifact?.revision) : undefined;
          if (sha !== undefined) await source.readCommit?.(sha).catch((cause: unknown) => refuseCopy(sha, home, cause));
        }
        return source.resolve(ref, resolveOptions);
      },
    };
  };
}

const shaOf = (revision: string | undefined): string | undefined => /sha1:([0-9a-f]{40})$/.exec(revision ?? '')?.[1];

function refuseCopy(sha: string, { host }: Pick<GitHome, 'host'>, cause: unknown): never {
  throw new SourceError('Unreachable', `the copy of the Git remote on this server lacks commit ${sha.slice(0, 7)}, which was read before`, {
    hint: `Start the server on ${host} again: it has the Git remote. When it is lost, see "Git" in the guide to three control planes.`,
    cause,
  });
}

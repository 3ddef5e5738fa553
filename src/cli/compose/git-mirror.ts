import { mkdir } from 'node:fs/promises';
import { gitRepositories } from '../../api/source/v1/git-repository.ts';
import { annotations } from '../../api/well-known.ts';
import type { Clock } from '../../base/clock.ts';
import type { Component } from '../../base/component.ts';
import type { Log } from '../../base/log.ts';
import type { InformerSet } from '../../client/informer.ts';
import { SourceError } from '../../gitops/sources/git-source.ts';
import type { OpenSource } from '../../gitops/sources/open-source.ts';
import { createSystemGit } from '../../gitops/sources/system-git.ts';
import type { HomeLookup } from './git-home.ts';

/** A repository is looked at this often without a push: somebody may have changed it on the machine of its home. */
const pollMs = 60_000;
const retryMs = 2_000;
const fetchTimeoutMs = 120_000;

export interface GitMirrorOptions {
  readonly home: HomeLookup;
  /** Repository of this server, which becomes a copy of the home's. */
  readonly gitdir: string;
  readonly temporaryDirectory: string;
  /** Password of the user `midship` at the home. */
  readonly token: string;
  /** PEM: signed the certificate of a page that speaks HTTPS. */
  readonly caCertificate: string;
  readonly clock: Clock;
  readonly log: Log;
  /** The copy is as the home has it, or the home is away. False: the home can do what this server cannot. */
  onUsable(isUsable: boolean): Promise<void>;
}

/**
 * Copies the built-in repository from its home after each push, so that GitOps goes on at this server when the home is away. The home
 * alone takes pushes.
 */
export function createGitMirror({
  home,
  gitdir,
  temporaryDirectory,
  token,
  caCertificate,
  clock,
  log,
  onUsable,
}: GitMirrorOptions): Component {
  const abort = new AbortController();
  let unfollow: () => void = () => undefined;
  let cancel: () => void = () => undefined;
  let copying: Promise<void> = Promise.resolve();
  let seen = '';
  let isFailing = false;

  /** Changes with each push, and with each start of the home. */
  function stateOf(): string {
    const lease = home.lease();
    return `${lease?.spec?.holderIdentity} ${home.page()} ${lease?.metadata.annotations?.[annotations.serverPushes]}`;
  }

  async function copyFrom(page: string): Promise<void> {
    await mkdir(temporaryDirectory, { recursive: true, mode: 0o700 });
    const url = `${page}/git/cluster.git`;
    const access = { username: 'midship', password: token, ...(page.startsWith('https:') ? { ca: caCertificate } : {}) };
    const signal = AbortSignal.any([abort.signal, AbortSignal.timeout(fetchTimeoutMs)]);
    const git = createSystemGit({ access, url, temporaryDirectory });
    // A home that has lost its repository makes an empty one, and the copies may be all that is left.
    if ((await git.listRefs(url, 'refs/heads/', signal)).length > 0) await git.mirror({ gitdir, url }, signal);
  }

  async function look(): Promise<void> {
    seen = stateOf();
    const page = home.page();
    try {
      if (page !== undefined && !abort.signal.aborted) await copyFrom(page);
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
    cancel = clock.after(isFailing ? retryMs : pollMs, next);
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
  readonly home: HomeLookup;
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
        for (const { spec, status } of repositories.list()) {
          const sha = spec.url === url ? shaOf(status?.artifact?.revision) : undefined;
          if (sha !== undefined) await source.readCommit?.(sha).catch((cause: unknown) => refuseCopy(sha, home, cause));
        }
        return source.resolve(ref, resolveOptions);
      },
    };
  };
}

const shaOf = (revision: string | undefined): string | undefined => /sha1:([0-9a-f]{40})$/.exec(revision ?? '')?.[1];

function refuseCopy(sha: string, { host }: HomeLookup, cause: unknown): never {
  throw new SourceError('Unreachable', `the copy of the Git remote on this server lacks commit ${sha.slice(0, 7)}, which was read before`, {
    hint: `Start the server on ${host} again: it has the Git remote. When it is lost, see "Git" in the guide to three control planes.`,
    cause,
  });
}

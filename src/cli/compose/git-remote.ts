import type { HttpMount } from '../../base/contracts/http-mount.ts';
import type { Redactor } from '../../base/redactor.ts';
import type { Client } from '../../client/client.ts';
import type { InformerSet } from '../../client/informer.ts';
import { createGitUsers, createPushCheck } from '../../gitops/push-check.ts';
import type { Builder } from '../../gitops/render/builder.ts';
import { createBuiltInRemote, type ServedRepository } from '../../gitops/sources/built-in-remote.ts';
import { createGitThread } from '../../gitops/sources/git-thread.ts';
import { createSourceOpener, type SourceOpener } from '../../gitops/sources/open-source.ts';
import { type CommitPush, writeHooks } from '../../gitops/sources/pre-receive.ts';
import { type Configuration, filesOf } from '../configuration.ts';
import { ensureToken } from '../data-directory.ts';
import { type Running, type Surroundings, startPart } from './part.ts';
import type { RepositoryOnDisk } from './repositories.ts';

export interface GitRemoteOptions extends Surroundings {
  readonly configuration: Configuration;
  /** By their path below `/git/`. */
  readonly repositories: ReadonlyMap<string, RepositoryOnDisk>;
  /** With the rights of the engine: a push is tried as it would be applied. */
  readonly client: Client;
  readonly informers: InformerSet;
  readonly builder: Builder;
  readonly redactor: Redactor;
  /** Called with a push to the repository of the cluster before its refs move. */
  readonly commit?: CommitPush | undefined;
  /** A push to the repository of the cluster is complete. */
  onPush(): void;
  /** Gives the address of the page, which serves `mount`. Called when a request comes. */
  pageUrl(): string;
}

/** The built-in Git remote, and the door to all sources. */
export interface GitRemote extends Running {
  readonly mount: HttpMount;
  readonly opener: SourceOpener;
  /** Password of the user `midship`. */
  readonly token: string;
}

export function startGitRemote(options: GitRemoteOptions): Promise<GitRemote> {
  const { configuration, repositories, client, informers, builder, redactor, commit, onPush, pageUrl, clock, log } = options;
  const files = filesOf(configuration.dataDirectory);
  return startPart(options, async ({ start }) => {
    const thread = createGitThread({ clock, log: log.child({ component: 'git-thread' }) });
    await start([thread]);
    const opener = createSourceOpener({
      builtInUrl: () => `${pageUrl()}/git/`,
      builtIn: new Map([...repositories].map(([path, { gitdir }]) => [path, gitdir])),
      cacheDirectory: files.gitCache,
      thread,
    });
    const token = await ensureToken(files.token);
    const served = new Map<string, ServedRepository>();
    for (const [path, { gitdir, writable }] of repositories) {
      served.set(path, {
        gitdir,
        writable,
        ...(writable ? { commit } : {}),
        onReceiving: (push) => opener.expectPush(path, push),
        onPush() {
          opener.notifyPush(path);
          onPush();
        },
      });
    }
    const checkPush = createPushCheck({ client, informers, clock, builder, redactor });
    await writeHooks(files.gitHooks);
    const mount = createBuiltInRemote({
      repositories: served,
      token,
      findUser: createGitUsers(client),
      preReceive: {
        policy: configuration.preReceive,
        hooksDirectory: files.gitHooks,
        check: (push) => checkPush(`${pageUrl()}/git/${[...repositories].find(([, { gitdir }]) => gitdir === push.gitdir)?.[0]}`, push),
      },
      log: log.child({ component: 'git-remote' }),
    });
    return { mount, opener, token };
  });
}

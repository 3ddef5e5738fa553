import { mkdir } from 'node:fs/promises';
import { createGitObjects } from './git-objects.ts';
import { type GitSource, SourceError } from './git-source.ts';
import type { GitThread } from './git-thread.ts';
import { type LocalSource, openLocalSource, type PushNotice } from './local-source.ts';
import type { RemoteAccess } from './remote-access.ts';
import { openRemoteSource, type RemoteTransport } from './remote-source.ts';
import { listRefs } from './server-refs.ts';
import { fetchSubmodules } from './submodules.ts';
import { createSystemGit } from './system-git.ts';

export interface SourceOptions {
  /**
   * The requester as `namespace/name`: a copy that one fetched with its credentials is not read by another with the
   * same address.
   */
  readonly owner?: string | undefined;
  readonly access?: RemoteAccess | undefined;
  readonly recurseSubmodules?: boolean | undefined;
}

/** Opens the repository behind a `spec.url`. The engine asks once a GitRepository and closes it with the object. */
export type OpenSource = (url: string, options?: SourceOptions) => Promise<GitSource>;

export interface SourceOpenerOptions {
  /** Address of the built-in remote, ending in `/git/`; repositories under it are read from disk. Known once its port is bound. */
  readonly builtInUrl: () => string;
  /** Repositories of the built-in remote: path below `/git/` to directory on this machine. */
  readonly builtIn: ReadonlyMap<string, string>;
  readonly cacheDirectory: string;
  /** Does what takes long of large repositories; without one this thread does all. */
  readonly thread?: GitThread;
}

export interface SourceOpener {
  readonly open: OpenSource;
  /** A push to a repository of the built-in remote comes in. */
  expectPush(path: string, push: PushNotice): void;
  /** It is complete. */
  notifyPush(path: string): void;
}

/** Chooses the driver by URL: our own remote is read from disk, others are fetched. */
export function createSourceOpener({ builtInUrl, builtIn, cacheDirectory, thread }: SourceOpenerOptions): SourceOpener {
  const local = new Map<string, Set<LocalSource>>();
  return {
    async open(address, { owner = '', access: given = {}, recurseSubmodules = false } = {}) {
      const { url, access } = withoutCredentials(address, given);
      const base = builtInUrl();
      if (url.startsWith(base)) {
        if (recurseSubmodules)
          throw notSupported('spec.recurseSubmodules of the built-in remote', 'Follow the repositories by their own address.');
        return openBuiltIn(url, url.slice(base.length));
      }
      const scheme = /^(\w+):\/\//.exec(url)?.[1];
      if (scheme !== 'http' && scheme !== 'https' && scheme !== 'ssh') {
        throw notSupported(
          `${url.split(':')[0]} addresses`,
          'Use an https:// address, or give a directory of this machine with --repo DIR.',
        );
      }
      const transport = await transportOf(url, access, recurseSubmodules);
      return openRemoteSource({ url, owner, transport, cacheDirectory, thread });
    },
    expectPush(path, push) {
      for (const source of local.get(path) ?? []) source.expect(push);
    },
    notifyPush(path) {
      for (const { notify } of local.get(path) ?? []) notify();
    },
  };

  async function openBuiltIn(url: string, path: string): Promise<GitSource> {
    const directory = builtIn.get(path);
    if (directory === undefined) {
      throw new SourceError('NotARepository', `${url} is not served by this Midship`, {
        hint: `Repositories here: ${[...builtIn.keys()].map((name) => builtInUrl() + name).join(', ') || 'none'}.`,
      });
    }
    const source = await openLocalSource({ directory, url, thread });
    const group = local.get(path) ?? new Set();
    local.set(path, group.add(source));
    return {
      ...source,
      async close() {
        group.delete(source);
        await source.close();
      },
    };
  }

  async function transportOf(url: string, access: RemoteAccess, recurseSubmodules: boolean): Promise<RemoteTransport> {
    if (url.startsWith('ssh:') && access.proxy !== undefined) {
      throw notSupported('spec.proxySecretRef with an ssh address', 'Use an https:// address.');
    }
    if (url.startsWith('ssh:') && access.ssh === undefined) {
      throw new SourceError('AuthenticationFailed', `${url} needs a key: the Secret has no "identity" and "known_hosts"`, {
        hint: 'Set spec.secretRef to a Secret with both; "ssh-keyscan HOST" prints the lines of known_hosts.',
      });
    }
    await mkdir(cacheDirectory, { recursive: true, mode: 0o700 });
    /** Present address of the repository: servers redirect for a renamed one. */
    let at = url;
    const system = createSystemGit({ access, url, temporaryDirectory: cacheDirectory });
    return {
      listRefs: (prefix, signal) =>
        url.startsWith('ssh:')
          ? system.listRefs(url, prefix, signal)
          : listRefs({
              url,
              access,
              prefix,
              signal,
              onMoved(to) {
                at = to;
              },
            }),
      fetch: (request, signal) => system.fetch({ ...request, url: at }, signal),
      ...(recurseSubmodules
        ? {
            async fetchSubmodules(gitdir, { tree }, signal) {
              const objects = createGitObjects({ gitdir, url });
              try {
                await fetchSubmodules({ gitdir, objects, system, url, tree, signal });
              } finally {
                objects.close();
              }
            },
          }
        : {}),
    };
  }
}

/**
 * An address may carry credentials, as with git. They are sent as those of a Secret are, which come first, and the address is shown
 * without them everywhere. The user of an ssh address is no secret.
 */
function withoutCredentials(address: string, access: RemoteAccess): { readonly url: string; readonly access: RemoteAccess } {
  if (!URL.canParse(address)) return { url: address, access };
  const url = new URL(address);
  if (url.protocol === 'ssh:' ? url.password === '' : url.username === '' && url.password === '') return { url: address, access };
  const [username, password] = [decode(url.username), decode(url.password)];
  url.password = '';
  if (url.protocol === 'ssh:') return { url: url.href, access };
  url.username = '';
  const isGiven = access.username !== undefined || access.bearerToken !== undefined;
  return { url: url.href, access: isGiven ? access : { ...access, username, password } };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // A stray per cent sign is literal.
    return text;
  }
}

const notSupported = (what: string, hint: string): SourceError => new SourceError('NotSupported', `not supported: ${what}`, { hint });

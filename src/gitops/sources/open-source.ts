import { type GitSource, SourceError } from './git-source.ts';
import { openLocalSource } from './local-source.ts';
import { openRemoteSource, type RemoteCredentials } from './remote-source.ts';

/** Opens the repository behind a `spec.url`. The engine asks once a GitRepository and closes it with the object. */
export type OpenSource = (url: string, credentials?: RemoteCredentials) => Promise<GitSource>;

export interface SourceOpenerOptions {
  /** Address of the built-in remote, ending in `/git/`; repositories under it are read from disk. Known once its port is bound. */
  readonly builtInUrl: () => string;
  /** Repositories of the built-in remote: path below `/git/` to directory on this machine. */
  readonly builtIn: ReadonlyMap<string, string>;
  readonly cacheDirectory: string;
}

export interface SourceOpener {
  readonly open: OpenSource;
  /** A push to a repository of the built-in remote is complete. */
  notifyPush(path: string): void;
}

/** Chooses the driver by URL: our own remote from disk, anything else over HTTP. */
export function createSourceOpener({ builtInUrl, builtIn, cacheDirectory }: SourceOpenerOptions): SourceOpener {
  const notifiers = new Map<string, Set<() => void>>();
  return {
    async open(url, credentials) {
      const base = builtInUrl();
      if (url.startsWith(base)) {
        const path = url.slice(base.length);
        const directory = builtIn.get(path);
        if (directory === undefined) {
          throw new SourceError('NotARepository', `${url} is not served by this Midship`, {
            hint: `Repositories here: ${[...builtIn.keys()].map((name) => base + name).join(', ') || 'none'}.`,
          });
        }
        const source = await openLocalSource({ directory, url });
        const group = notifiers.get(path) ?? new Set();
        notifiers.set(path, group.add(source.notify));
        return {
          ...source,
          async close() {
            group.delete(source.notify);
            await source.close();
          },
        };
      }
      if (/^https?:\/\//.test(url)) return openRemoteSource({ url, credentials, cacheDirectory });
      throw new SourceError('NotSupported', `not supported: ${url.split(':')[0]} addresses`, {
        hint: 'Use an https:// address, or give a directory of this machine with --repo DIR.',
      });
    },
    notifyPush(path) {
      for (const notify of notifiers.get(path) ?? []) notify();
    },
  };
}

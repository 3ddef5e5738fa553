import { basename, resolve } from 'node:path';
import type { Log } from '../../base/log.ts';
import { defaultBranch } from '../../gitops/root-app.ts';
import { ensureBareRepository, isEmptyRepository, seedRepository } from '../../gitops/sources/bare-repository.ts';
import { findGitDirectory, openLocalSource } from '../../gitops/sources/local-source.ts';
import { type Configuration, filesOf } from '../configuration.ts';

/** A repository that the built-in remote serves. */
export interface RepositoryOnDisk {
  readonly gitdir: string;
  readonly writable: boolean;
}

/** Repositories of the built-in remote by their path below `/git/`: the pushable one, and a directory that `--repo` names. */
export async function openRepositories(configuration: Configuration, log: Log): Promise<ReadonlyMap<string, RepositoryOnDisk>> {
  const { repository: gitdir } = filesOf(configuration.dataDirectory);
  for (const repaired of await ensureBareRepository(gitdir)) log.warn({ repository: 'cluster.git', repaired }, 'Repaired repository');
  if (configuration.seedDirectory !== undefined && (await isEmptyRepository(gitdir))) {
    await seedRepository({ gitdir, directory: configuration.seedDirectory });
    log.info({ repository: 'cluster.git' }, 'Seeded repository');
  }
  const repositories = new Map<string, RepositoryOnDisk>([['cluster.git', { gitdir, writable: true }]]);
  const local = localRepository(configuration);
  if (local !== undefined) {
    const directory = await findGitDirectory(local.directory);
    // A branch that is missing here and now is a slip of the command line: said at once, not as a condition.
    const source = await openLocalSource({ directory, url: local.directory });
    await source
      .resolve({ branch: configuration.branch ?? defaultBranch }, { signal: AbortSignal.timeout(10_000) })
      .finally(() => source.close());
    repositories.set(local.path, { gitdir: directory, writable: false });
  }
  return repositories;
}

/** The directory of `--repo DIR`, which is served as `local/NAME.git`, so that `spec.url` stays an address. */
function localRepository({ repository }: Configuration): { readonly path: string; readonly directory: string } | undefined {
  if (repository === undefined || /^[a-z][a-z0-9+.-]*:\/\//i.test(repository)) return undefined;
  const directory = resolve(repository);
  const name =
    basename(directory)
      .replace(/\.git$/, '')
      .replace(/[^A-Za-z0-9._-]/g, '-')
      .replace(/^[^A-Za-z0-9]+/, '') || 'repository';
  return { path: `local/${name}.git`, directory };
}

/** The address that the cluster follows. */
export function sourceUrl(configuration: Configuration, webUrl: string): string {
  const local = localRepository(configuration);
  if (local !== undefined) return `${webUrl}/git/${local.path}`;
  return configuration.repository ?? `${webUrl}/git/cluster.git`;
}

/** The same for people: a directory as it was named, and no credentials. */
export const redactedSource = (configuration: Configuration, webUrl: string): string =>
  localRepository(configuration)?.directory ?? sourceUrl(configuration, webUrl).replace(/\/\/[^@/]*@/, '//');

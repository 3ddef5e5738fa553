import { existsSync } from 'node:fs';
import { InvalidArgumentError } from 'commander';
import type { Configuration } from './configuration.ts';
import { Failure } from './failure.ts';

/**
 * Reads the value of `--repo`. A token may be in the address, as with git, or in the environment; it is never stored in a `spec.url`.
 *
 * @throws Failure for an address that cannot be followed, whatever answers there
 */
export function repositoryOf(
  repo: string | undefined,
  token: string | undefined,
): Pick<Configuration, 'repository' | 'repositoryCredentials'> {
  if (repo === undefined) return {};
  const [, scheme] = /^([a-z][a-z0-9+.-]*):\/\//i.exec(repo) ?? [];
  if (scheme === undefined) return directoryOf(repo);
  if (!URL.canParse(repo) || new URL(repo).pathname === '') {
    throw new Failure(`--repo ${withoutPassword(repo)} is not an address`, {
      why: 'It has no host, or no path.',
      fix: 'Give it as https://HOST/PATH.git',
    });
  }
  const url = new URL(repo);
  if (url.protocol === 'file:') {
    throw new Failure(`--repo ${repo} is not followed`, {
      why: 'A repository of this machine is named by its directory.',
      fix: `Give the directory itself: --repo ${decodeURIComponent(url.pathname)}`,
    });
  }
  if (url.protocol === 'ssh:') return { repository: repo };
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    throw new Failure(`--repo: ${url.protocol.slice(0, -1)} addresses are not followed`, {
      why: 'Repositories are read by https, http or ssh, or from a directory of this machine.',
      fix: 'Give an address with https://, or a directory: --repo DIR',
    });
  }
  const username = decodeURIComponent(url.username);
  const password = decodeURIComponent(url.password) || token;
  url.username = '';
  url.password = '';
  return { repository: url.href, ...(password === undefined ? {} : { repositoryCredentials: { username: username || 'git', password } }) };
}

/**
 * Reads the value of `--path`. The empty text and `.` are the root, as in `spec.path` of an app.
 *
 * @throws InvalidArgumentError for a path with `..`: no app reads outside of its repository
 */
export function parsePath(value: string): string {
  if (value.split('/').includes('..')) throw new InvalidArgumentError('A directory from the root of the repository, without "..".');
  return value;
}

function directoryOf(repo: string): Pick<Configuration, 'repository'> {
  const [, user, host, path] = /^([^/\s:]+@)([^/\s:]+):(.+)$/.exec(repo) ?? [];
  if (host === undefined || existsSync(repo)) return { repository: repo };
  throw new Failure(`--repo ${repo} is not a directory`, {
    why: 'An ssh address begins with ssh:// here, as in spec.url of a GitRepository.',
    fix: `Write it so: --repo ssh://${user}${host}/${path}`,
  });
}

const withoutPassword = (text: string): string => text.replace(/\/\/[^@/]*@/, '//');

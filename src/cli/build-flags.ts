import { homedir } from 'node:os';
import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { systemClock } from '../base/clock.ts';
import { tryParseAddress } from '../gitops/build/address.ts';
import { createGitBases } from '../gitops/build/git-bases.ts';
import { createHelm, type Helm } from '../gitops/build/helm.ts';
import type { BuildTools } from '../gitops/build/tools.ts';
import { createSourceOpener } from '../gitops/sources/open-source.ts';

/** Flags about what a build may use beyond its tree: the first two with the names and meanings that kustomize gives them. */
export interface BuildFlags {
  readonly enableHelm: boolean;
  readonly helmCommand: string;
  readonly helmRepository: readonly string[];
  readonly remoteBase: readonly string[];
}

export const withBuildFlags = (command: Command): Command =>
  command
    .addOption(new Option('--enable-helm', 'inflate the helmCharts of kustomizations; charts are programs').default(false))
    .addOption(new Option('--helm-command <program>', 'helm 3 or 4, by name or path').default('helm'))
    .addOption(
      new Option('--helm-repository <url>', 'where charts may be fetched from (https:// or oci://); may be repeated')
        .default([], 'nowhere: only charts of the repository')
        .argParser((value, all: readonly string[]) => [...all, parseRepository(value)]),
    )
    .addOption(
      new Option('--remote-base <url>', 'Git repositories that bases may be fetched from, or what they begin with; may be repeated')
        .default([], 'nowhere: only bases of the repository')
        .argParser((value, all: readonly string[]) => [...all, parseBase(value)]),
    );

export function toolsOf(flags: BuildFlags, environment: NodeJS.ProcessEnv): BuildTools {
  const helm = helmOf(flags, environment);
  const allowed = flags.remoteBase;
  if (allowed.length === 0) return { helm };
  const caches = environment.XDG_CACHE_HOME || join(homedir(), '.cache');
  const opener = createSourceOpener({
    // The built-in remote is none of the bases: no address begins like this.
    builtInUrl: () => '\0',
    builtIn: new Map(),
    cacheDirectory: join(caches, 'midship', 'bases'),
  });
  return { helm, remoteBases: createGitBases({ allowed, openSource: opener.open }) };
}

function helmOf({ enableHelm, helmCommand, helmRepository }: BuildFlags, environment: NodeJS.ProcessEnv): Helm | undefined {
  if (!enableHelm) return undefined;
  return createHelm({ command: helmCommand, repositories: helmRepository, environment, clock: systemClock });
}

function parseRepository(value: string): string {
  const address = tryParseAddress(value);
  if (address === undefined)
    throw new InvalidArgumentError('An address such as https://HOST/PATH or oci://HOST/PATH, without user and query.');
  return address;
}

function parseBase(value: string): string {
  const address = tryParseAddress(value);
  if (address === undefined || address.startsWith('oci:'))
    throw new InvalidArgumentError('An address such as https://HOST/PATH, without user and query.');
  return address;
}

import { type Command, InvalidArgumentError, Option } from 'commander';
import { tryParseAddress } from '../gitops/render/address.ts';

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
      new Option('--remote-base <url>', 'Git repositories that bases may be fetched from, or prefixes of them; may be repeated')
        .default([], 'nowhere: only bases of the repository')
        .argParser((value, all: readonly string[]) => [...all, parseBase(value)]),
    );

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

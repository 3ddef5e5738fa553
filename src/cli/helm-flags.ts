import { type Command, InvalidArgumentError, Option } from 'commander';
import { systemClock } from '../base/clock.ts';
import { createHelm, type Helm, tryParseAddress } from '../gitops/build/helm.ts';

/** Flags about charts: the first two with the names and meanings that kustomize gives them. */
export interface HelmFlags {
  readonly enableHelm: boolean;
  readonly helmCommand: string;
  readonly helmRepository: readonly string[];
}

export const withHelmFlags = (command: Command): Command =>
  command
    .addOption(new Option('--enable-helm', 'inflate the helmCharts of kustomizations; charts are programs').default(false))
    .addOption(new Option('--helm-command <program>', 'helm 3 or 4, by name or path').default('helm'))
    .addOption(
      new Option('--helm-repository <url>', 'where charts may be fetched from (https:// or oci://); may be repeated')
        .default([], 'nowhere: only charts of the repository')
        .argParser((value, all: readonly string[]) => [...all, parseRepository(value)]),
    );

/** What inflates charts; undefined when they are refused. */
export function helmOf({ enableHelm, helmCommand, helmRepository }: HelmFlags, environment: NodeJS.ProcessEnv): Helm | undefined {
  if (!enableHelm) return undefined;
  return createHelm({ command: helmCommand, repositories: helmRepository, environment, clock: systemClock });
}

function parseRepository(value: string): string {
  const address = tryParseAddress(value);
  if (address === undefined)
    throw new InvalidArgumentError('An address such as https://HOST/PATH or oci://HOST/PATH, without user and query.');
  return address;
}

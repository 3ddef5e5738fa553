import { resolve } from 'node:path';
import { type Command, Option } from 'commander';

/** Flags about what pods may do to this machine. */
export interface PodFlags {
  readonly allowHostPath: readonly string[];
  readonly insecurePlainPods: boolean;
  readonly resolvConf?: string;
  readonly podSecurityDefault: 'privileged' | 'baseline' | 'restricted';
}

export interface PodSettings {
  /** Absolute; pods may mount these and what is below. */
  readonly allowedHostPaths: readonly string[];
  readonly insecurePlainPods: boolean;
  /** The resolvers of this machine that cluster DNS and pods use; undefined: those that the machine uses. */
  readonly resolverFile?: string | undefined;
  readonly securityDefault: PodFlags['podSecurityDefault'];
}

export const withPodFlags = (command: Command): Command =>
  command
    .addOption(
      new Option('--allow-host-path <prefix>', 'directory of this machine that hostPath volumes may mount, with all below; may be repeated')
        .default([], 'none')
        .argParser((value, all: readonly string[]) => [...all, resolve(value)]),
    )
    .addOption(
      new Option('--pod-security-default <level>', 'Pod Security level that namespaces without a label for it enforce')
        .choices(['privileged', 'baseline', 'restricted'])
        .default('privileged'),
    )
    .addOption(
      new Option(
        '--insecure-plain-pods',
        'run pods also where this machine cannot isolate them: as processes that may do what you may',
      ).default(false),
    )
    .addOption(
      new Option('--resolv-conf <file>', 'resolvers of this machine for cluster DNS and containers; default: /etc/resolv.conf').argParser(
        (value) => resolve(value),
      ),
    );

export const podSettingsOf = ({ allowHostPath, insecurePlainPods, podSecurityDefault, resolvConf }: PodFlags): PodSettings => ({
  allowedHostPaths: allowHostPath,
  insecurePlainPods,
  resolverFile: resolvConf,
  securityDefault: podSecurityDefault,
});

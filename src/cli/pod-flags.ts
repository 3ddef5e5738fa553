import { resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';

/** Flags about what pods may do to this machine. */
export interface PodFlags extends ContainerFlags {
  readonly insecurePlainPods: boolean;
  readonly podSecurityDefault: 'privileged' | 'baseline' | 'restricted';
}

/** The flags of a machine with containers whose API server is elsewhere. */
export interface ContainerFlags {
  readonly allowHostPath: readonly string[];
  readonly resolvConf?: string;
  readonly privateRegistry?: string;
  readonly containerRuntimeEndpoint?: string;
}

export interface PodSettings {
  /** Absolute; pods may mount these and what is below. */
  readonly allowedHostPaths: readonly string[];
  readonly insecurePlainPods: boolean;
  /** The resolvers of this machine that cluster DNS and pods use; undefined: those that the machine uses. */
  readonly resolverFile?: string | undefined;
  /** Mirrors, passwords and certificates of registries; undefined: the usual file, if it is there. */
  readonly registriesFile?: string | undefined;
  /** The socket of a container runtime that somebody else runs; undefined: a containerd of our own. */
  readonly runtimeSocket?: string | undefined;
  readonly securityDefault: PodFlags['podSecurityDefault'];
}

const hostPathOption = (): Option =>
  new Option('--allow-host-path <prefix>', 'directory of this machine that hostPath volumes may mount, with all below; may be repeated')
    .default([], 'none')
    .argParser((value, all: readonly string[]) => [...all, resolve(value)]);

const resolverOption = (): Option =>
  new Option('--resolv-conf <file>', 'resolvers of this machine for cluster DNS and containers; default: /etc/resolv.conf').argParser(
    (value) => resolve(value),
  );

export const defaultRegistriesFile = '/etc/midship/registries.yaml';

const registriesOption = (): Option =>
  new Option(
    '--private-registry <file>',
    `mirrors, passwords and certificates of registries, in the format of k3s; default: ${defaultRegistriesFile}`,
  ).argParser((value) => resolve(value));

const endpointOption = (): Option =>
  new Option(
    '--container-runtime-endpoint <socket>',
    'socket of a container runtime of this machine, for --runtime containerd; default: Midship starts a containerd of its own',
  ).argParser(parseEndpoint);

/** @throws InvalidArgumentError for what is no socket of this machine */
function parseEndpoint(value: string): string {
  const path = value.replace(/^unix:\/\//, '');
  if (!path.startsWith('/')) throw new InvalidArgumentError('It is the path of a socket: /run/containerd/containerd.sock');
  return path;
}

export const withContainerFlags = (command: Command): Command =>
  command.addOption(hostPathOption()).addOption(resolverOption()).addOption(registriesOption()).addOption(endpointOption());

export const withPodFlags = (command: Command): Command =>
  command
    .addOption(hostPathOption())
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
    .addOption(resolverOption())
    .addOption(registriesOption())
    .addOption(endpointOption());

export const podSettingsOf = ({
  allowHostPath,
  insecurePlainPods,
  podSecurityDefault,
  resolvConf,
  privateRegistry,
  containerRuntimeEndpoint,
}: PodFlags): PodSettings => ({
  allowedHostPaths: allowHostPath,
  insecurePlainPods,
  resolverFile: resolvConf,
  registriesFile: privateRegistry,
  runtimeSocket: containerRuntimeEndpoint,
  securityDefault: podSecurityDefault,
});

/** The API server decides about Pod Security, and containers are isolated. */
export const containerSettingsOf = (flags: ContainerFlags): PodSettings =>
  podSettingsOf({ ...flags, insecurePlainPods: false, podSecurityDefault: 'privileged' });

import { join } from 'node:path';
import type { ContainerConfig, ContainerLimits, ContainerSecurity, PodLinux, PodSandboxConfig } from '../container-runtime.ts';
import type {
  CriContainerConfig,
  CriIdMapping,
  CriMount,
  CriNamespaces,
  CriResources,
  CriSandbox,
  CriSandboxConfig,
} from './cri-client.ts';

/** Pods and containers as messages of the Container Runtime Interface, with the labels and annotations that find them again. */

export const labels = {
  podName: 'io.kubernetes.pod.name',
  podNamespace: 'io.kubernetes.pod.namespace',
  podUid: 'io.kubernetes.pod.uid',
  containerName: 'io.kubernetes.container.name',
  /** Tells pods of this agent from those of others on a runtime that several use. */
  node: 'io.midship.node',
} as const;

export const annotations = {
  hash: 'io.kubernetes.container.hash',
  terminationMessagePath: 'io.kubernetes.container.terminationMessagePath',
  /** The directory of what the agent made for the container, below that of its pod. */
  place: 'io.midship.place',
  stdin: 'io.midship.stdin',
  gracePeriod: 'io.midship.grace-period-ms',
  hostNetwork: 'io.midship.host-network',
  hostname: 'io.midship.hostname',
  domain: 'io.midship.domain',
  hostAliases: 'io.midship.host-aliases',
  logDirectory: 'io.midship.log-directory',
  /** `CriSandboxConfig.linux`: every container of the sandbox has to be made with it. */
  linux: 'io.midship.linux',
  /** Milli-CPUs that a pod of the class Burstable requests. */
  burstableCpu: 'io.midship.burstable-cpu',
} as const;

const cpuPeriodUs = 100_000;
const minCpuShares = 2;

const noPrivileges: ContainerSecurity = {
  privileged: false,
  addCapabilities: [],
  dropCapabilities: [],
  mayGainPrivileges: false,
  seccomp: { type: 'RuntimeDefault' },
  unmaskedProc: false,
};

/** Files of the kernel that a container must not see; containerd hides them unless the container is privileged. */
const maskedPaths = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
];
const readonlyPaths = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

export const isHostNetwork = (sandbox: CriSandbox): boolean => sandbox.annotations[annotations.hostNetwork] === 'true';

const podLabels = ({ name, namespace, uid }: Pick<PodSandboxConfig, 'name' | 'namespace' | 'uid'>): Record<string, string> => ({
  [labels.podName]: name,
  [labels.podNamespace]: namespace,
  [labels.podUid]: uid,
});

/** A pod that asks for nothing. */
const plainPod: PodLinux = {
  hostPID: false,
  hostIPC: false,
  sharesProcesses: false,
  ownUsers: false,
  privileged: false,
  ports: [],
  sysctls: {},
  resources: { qosClass: 'BestEffort', cpuRequestMilli: 0 },
};

export interface SandboxOptions {
  readonly config: PodSandboxConfig;
  readonly nodeName: string;
  /** The control group of the pod, below the machine's root. */
  readonly cgroupParent: string;
  /** Present for a pod with users of its own. */
  readonly ids?: CriIdMapping | undefined;
}

export function sandboxConfig({ config, nodeName, cgroupParent, ids }: SandboxOptions): CriSandboxConfig {
  const { name, namespace, uid, attempt, hostNetwork, hostname, domain, dns, hostAliases, logDirectory, gracePeriodMs } = config;
  const pod = config.linux ?? plainPod;
  const { privileged, sysctls, resources } = pod;
  const linux: CriSandboxConfig['linux'] = {
    cgroupParent,
    securityContext: {
      namespaceOptions: {
        ...namespacesOf(hostNetwork, pod),
        ...(ids === undefined ? {} : { usernsOptions: { mode: 'POD', uids: [ids], gids: [ids] } }),
      },
      privileged,
      seccomp: { profileType: 'RuntimeDefault' },
    },
    sysctls,
  };
  return {
    metadata: { name, namespace, uid, attempt },
    // The node's own network has the node's own name.
    hostname: hostNetwork ? '' : hostname,
    logDirectory,
    ...(dns === undefined ? {} : { dnsConfig: dns }),
    labels: { ...podLabels(config), [labels.node]: nodeName },
    annotations: {
      [annotations.hostNetwork]: String(hostNetwork),
      [annotations.hostname]: hostname,
      ...(domain === undefined ? {} : { [annotations.domain]: domain }),
      [annotations.hostAliases]: JSON.stringify(hostAliases),
      [annotations.logDirectory]: logDirectory,
      [annotations.linux]: JSON.stringify(linux),
      ...(resources.qosClass === 'Burstable' ? { [annotations.burstableCpu]: String(resources.cpuRequestMilli) } : {}),
      ...(gracePeriodMs === undefined ? {} : { [annotations.gracePeriod]: String(gracePeriodMs) }),
    },
    portMappings: pod.ports.map(({ hostIP, ...port }) => ({ ...port, hostIp: hostIP })),
    linux,
  };
}

const namespacesOf = (hostNetwork: boolean, { hostPID, hostIPC, sharesProcesses }: PodLinux): CriNamespaces => ({
  network: hostNetwork ? 'NODE' : 'POD',
  pid: hostPID ? 'NODE' : sharesProcesses ? 'POD' : 'CONTAINER',
  ipc: hostIPC ? 'NODE' : 'POD',
});

/** The options that a sandbox was made with. Those of an older version have no record, and asked for nothing. */
export function linuxOf(sandbox: CriSandbox): CriSandboxConfig['linux'] {
  const stored = sandbox.annotations[annotations.linux];
  if (stored !== undefined) return JSON.parse(stored) as CriSandboxConfig['linux'];
  return {
    cgroupParent: `/midship/pods/${sandbox.metadata.uid}`,
    securityContext: {
      namespaceOptions: namespacesOf(isHostNetwork(sandbox), plainPod),
      privileged: false,
      seccomp: { profileType: 'RuntimeDefault' },
    },
    sysctls: {},
  };
}

/** The configuration that a sandbox was made with, as far as its containers need it. */
export const storedConfig = (sandbox: CriSandbox): CriSandboxConfig => {
  const hostNetwork = isHostNetwork(sandbox);
  return {
    metadata: sandbox.metadata,
    hostname: hostNetwork ? '' : (sandbox.annotations[annotations.hostname] ?? ''),
    logDirectory: sandbox.annotations[annotations.logDirectory] ?? '',
    labels: sandbox.labels,
    annotations: sandbox.annotations,
    portMappings: [],
    linux: linuxOf(sandbox),
  };
};

export const logPathOf = ({ name, attempt }: Pick<ContainerConfig, 'name' | 'attempt'>): string => join(name, `${attempt}.log`);

interface ContainerOptions {
  readonly config: ContainerConfig;
  readonly sandbox: CriSandbox;
  readonly mounts: readonly CriMount[];
  readonly place: string;
  /** Holds the seccomp profiles of type Localhost. */
  readonly seccompDirectory: string;
}

export function containerConfig({ config, sandbox, mounts, place, seccompDirectory }: ContainerOptions): CriContainerConfig {
  const { name, attempt, image, command, args, workingDir, env, identity, readOnlyRoot = false, limits, stdin } = config;
  const { security = noPrivileges, supplementalGroups = [] } = config;
  const { privileged, addCapabilities, dropCapabilities, mayGainPrivileges, seccomp, unmaskedProc } = security;
  const hidesFiles = !privileged && !unmaskedProc;
  return {
    metadata: { name, attempt },
    image: { image },
    command,
    args,
    workingDir: workingDir ?? '',
    envs: env.map(({ name: key, value }) => ({ key, value: Buffer.from(value) })),
    mounts,
    labels: { ...podLabels(sandbox.metadata), [labels.containerName]: name, [labels.node]: sandbox.labels[labels.node] ?? '' },
    annotations: {
      [annotations.hash]: config.configHash,
      [annotations.terminationMessagePath]: config.terminationMessagePath,
      [annotations.place]: place,
      [annotations.stdin]: String(stdin !== undefined),
    },
    logPath: logPathOf(config),
    stdin: stdin !== undefined,
    stdinOnce: stdin === 'once',
    tty: config.tty === true,
    linux: {
      resources: criResources(limits),
      securityContext: {
        capabilities: { addCapabilities, dropCapabilities },
        privileged,
        namespaceOptions: {
          ...linuxOf(sandbox).securityContext.namespaceOptions,
          ...(config.seesProcessesOf === undefined ? {} : { pid: 'TARGET', targetId: config.seesProcessesOf }),
        },
        ...(identity === undefined ? {} : { runAsUser: { value: identity.uid } }),
        ...(identity?.gid === undefined ? {} : { runAsGroup: { value: identity.gid } }),
        readonlyRootfs: readOnlyRoot,
        supplementalGroups,
        noNewPrivs: !mayGainPrivileges,
        maskedPaths: hidesFiles ? maskedPaths : [],
        readonlyPaths: hidesFiles ? readonlyPaths : [],
        seccomp:
          seccomp.type === 'Localhost'
            ? { profileType: seccomp.type, localhostRef: join(seccompDirectory, seccomp.path) }
            : { profileType: seccomp.type },
      },
    },
  };
}

/** Amounts that are 0 stay as they are, or are not bounded. */
export const criResources = (limits: ContainerLimits | undefined): CriResources => ({
  cpuPeriod: cpuPeriodUs,
  cpuQuota: limits?.cpuMilli === undefined ? 0 : Math.ceil((limits.cpuMilli * cpuPeriodUs) / 1_000),
  cpuShares: Math.max(minCpuShares, Math.floor(((limits?.cpuRequestMilli ?? 0) * 1_024) / 1_000)),
  memoryLimitInBytes: limits?.memoryBytes ?? 0,
  oomScoreAdj: limits?.oomScoreAdjust ?? 1_000,
});

/** /etc/hosts as the kubelet writes it. */
export function hostsText(sandbox: CriSandbox, ip: string): string {
  const aliases = JSON.parse(sandbox.annotations[annotations.hostAliases] ?? '[]') as PodSandboxConfig['hostAliases'];
  const hostname = sandbox.annotations[annotations.hostname] ?? sandbox.metadata.name;
  const domain = sandbox.annotations[annotations.domain];
  const names = domain === undefined ? hostname : `${hostname}.${domain}\t${hostname}`;
  const lines = [
    '# Kubernetes-managed hosts file.',
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::0\tip6-localnet',
    'fe00::0\tip6-mcastprefix',
    'fe00::1\tip6-allnodes',
    'fe00::2\tip6-allrouters',
    ...(ip === '' ? [] : [`${ip}\t${names}`]),
    ...(aliases.length === 0 ? [] : ['', '# Entries added by HostAliases.']),
    ...aliases.map((alias) => `${alias.ip}\t${alias.hostnames.join('\t')}`),
  ];
  return `${lines.join('\n')}\n`;
}

import { join } from 'node:path';
import type { ContainerConfig, PodSandboxConfig } from '../container-runtime.ts';
import type { CriContainerConfig, CriMount, CriNamespaces, CriSandbox, CriSandboxConfig } from './cri-client.ts';

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
} as const;

const cpuPeriodUs = 100_000;
const minCpuShares = 2;
const nodeNamespaces: CriNamespaces = { network: 'NODE', pid: 'CONTAINER', ipc: 'POD' };
const podNamespaces: CriNamespaces = { network: 'POD', pid: 'CONTAINER', ipc: 'POD' };

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

export function sandboxConfig(config: PodSandboxConfig, nodeName: string): CriSandboxConfig {
  const { name, namespace, uid, attempt, hostNetwork, hostname, domain, dns, hostAliases, logDirectory, gracePeriodMs } = config;
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
      ...(gracePeriodMs === undefined ? {} : { [annotations.gracePeriod]: String(gracePeriodMs) }),
    },
    linux: {
      cgroupParent: `/midship/pods/${uid}`,
      securityContext: { namespaceOptions: hostNetwork ? nodeNamespaces : podNamespaces, seccomp: { profileType: 'RuntimeDefault' } },
    },
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
    linux: {
      cgroupParent: `/midship/pods/${sandbox.metadata.uid}`,
      securityContext: { namespaceOptions: hostNetwork ? nodeNamespaces : podNamespaces, seccomp: { profileType: 'RuntimeDefault' } },
    },
  };
};

export const logPathOf = ({ name, attempt }: Pick<ContainerConfig, 'name' | 'attempt'>): string => join(name, `${attempt}.log`);

interface ContainerOptions {
  readonly config: ContainerConfig;
  readonly sandbox: CriSandbox;
  readonly mounts: readonly CriMount[];
  readonly place: string;
}

export function containerConfig({ config, sandbox, mounts, place }: ContainerOptions): CriContainerConfig {
  const { name, attempt, image, command, args, workingDir, env, identity, readOnlyRoot = false, limits, stdin } = config;
  const { dropCapabilities = [], supplementalGroups = [] } = config;
  const hostNetwork = isHostNetwork(sandbox);
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
    tty: false,
    linux: {
      resources: {
        cpuPeriod: cpuPeriodUs,
        cpuQuota: limits?.cpuMilli === undefined ? 0 : Math.ceil((limits.cpuMilli * cpuPeriodUs) / 1_000),
        cpuShares: Math.max(minCpuShares, Math.floor(((limits?.cpuRequestMilli ?? 0) * 1_024) / 1_000)),
        memoryLimitInBytes: limits?.memoryBytes ?? 0,
        oomScoreAdj: limits?.oomScoreAdjust ?? 1_000,
      },
      securityContext: {
        capabilities: { addCapabilities: [], dropCapabilities },
        namespaceOptions: hostNetwork ? nodeNamespaces : podNamespaces,
        ...(identity === undefined ? {} : { runAsUser: { value: identity.uid }, runAsGroup: { value: identity.gid } }),
        readonlyRootfs: readOnlyRoot,
        supplementalGroups,
        noNewPrivs: true,
        maskedPaths,
        readonlyPaths,
        seccomp: { profileType: 'RuntimeDefault' },
      },
    },
  };
}

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

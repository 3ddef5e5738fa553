import type { Container, Pod } from '../api/core/v1/pod.ts';
import { type ContainerConfig, ContainerError, type ContainerSecurity, type LocalImage, type SeccompProfile } from './container-runtime.ts';
import { allContainers } from './pod-references.ts';

/** Sysctls of namespaces of the pod's own, which cannot harm its neighbours. Others need a node that allows them, and none does. */
const safeSysctls: ReadonlySet<string> = new Set([
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.ip_unprivileged_port_start',
  'net.ipv4.ping_group_range',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_rmem',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.tcp_wmem',
]);

/** A pod that no node of this kind takes; it fails at once, with this reason. */
export interface PodRejection {
  readonly reason: string;
  readonly message: string;
}

/**
 * The rejection of a pod for its sysctls, in the words of the kubelet; undefined when it may run.
 *
 * @see Kubernetes documentation, "Using sysctls in a Kubernetes Cluster"
 */
export function rejectionOf({ spec }: Pod): PodRejection | undefined {
  for (const { name: written } of spec.securityContext?.sysctls ?? []) {
    const name = written.replaceAll('/', '.');
    const why = !safeSysctls.has(name)
      ? `forbidden sysctl: "${name}" not allowlisted`
      : spec.hostNetwork === true && name.startsWith('net.')
        ? `forbidden sysctl: "${name}" not allowed with host net enabled`
        : spec.hostIPC === true && name.startsWith('kernel.shm')
          ? `forbidden sysctl: "${name}" not allowed with host ipc enabled`
          : undefined;
    if (why !== undefined) return { reason: 'SysctlForbidden', message: why };
  }
  return undefined;
}

/**
 * Refuses to start a container whose pod asks for what this version does not give on this kind of node, and names the field.
 *
 * @param hasContainers  false for programs of this machine, which have neither capabilities nor namespaces to choose from
 * @throws ContainerError `CreateContainerConfigError`
 */
export function checkSupported(pod: Pod, container: Container, hasContainers: boolean): void {
  const refuse = (what: string): never => {
    throw new ContainerError('CreateContainerConfigError', `not supported on this node: ${what}`);
  };
  const { runtimeClassName, securityContext } = pod.spec;
  const { stopSignal } = (container.lifecycle ?? {}) as { readonly stopSignal?: string };
  if (stopSignal !== undefined && stopSignal !== 'SIGTERM') refuse(`lifecycle.stopSignal ${stopSignal}`);
  // The scheduler gave it devices, and no driver of the node is asked to prepare them.
  const claims = container.resources?.claims ?? [];
  if (claims.length > 0) refuse(`resources.claims ${claims.map(({ name }) => name).join(', ')}`);
  if (!hasContainers) {
    if (runtimeClassName !== undefined && runtimeClassName !== '') refuse(`runtimeClassName ${runtimeClassName}`);
    checkProcess(pod, container, refuse);
    return;
  }
  const { supplementalGroupsPolicy } = (securityContext ?? {}) as { readonly supplementalGroupsPolicy?: string };
  if (supplementalGroupsPolicy === 'Strict') refuse('securityContext.supplementalGroupsPolicy Strict');
}

function checkProcess(pod: Pod, container: Container, refuse: (what: string) => never): void {
  const own = container.securityContext;
  const { hostPID, hostIPC, shareProcessNamespace, securityContext } = pod.spec;
  if (hostPID === true) refuse('hostPID');
  if (hostIPC === true) refuse('hostIPC');
  if (pod.spec.hostUsers === false) refuse('hostUsers: false');
  if (shareProcessNamespace === true) refuse('shareProcessNamespace');
  if (pod.spec.hostNetwork !== true && container.ports?.some(({ hostPort }) => hostPort !== undefined)) refuse('hostPort');
  if ((securityContext?.sysctls ?? []).length > 0) refuse('securityContext.sysctls');
  if (own?.privileged === true) refuse('securityContext.privileged');
  const added = own?.capabilities?.add ?? [];
  if (added.length > 0) refuse(`securityContext.capabilities.add ${added.join(', ')} (programs have no capabilities here)`);
  // No program gains a privilege, none has a capability, and none makes a user namespace: that is the runtime's default here.
  const seccomp = own?.seccompProfile?.type ?? securityContext?.seccompProfile?.type;
  if (seccomp !== undefined && seccomp !== 'Unconfined' && seccomp !== 'RuntimeDefault')
    refuse(`securityContext.seccompProfile ${seccomp}`);
}

/** Rights of a container. A pod that names no seccomp profile gets the runtime's, as under a kubelet with `seccompDefault`. */
export function securityOf(pod: Pod, { securityContext: own }: Container): ContainerSecurity {
  const privileged = own?.privileged === true;
  const profile = own?.seccompProfile ?? pod.spec.securityContext?.seccompProfile;
  return {
    privileged,
    addCapabilities: own?.capabilities?.add ?? [],
    dropCapabilities: own?.capabilities?.drop ?? [],
    mayGainPrivileges: own?.allowPrivilegeEscalation !== false,
    seccomp: privileged ? { type: 'Unconfined' } : seccompOf(profile),
    unmaskedProc: own?.procMount === 'Unmasked',
  };
}

function seccompOf(profile: { readonly type: string; readonly localhostProfile?: string } | undefined): SeccompProfile {
  if (profile?.type === 'Unconfined') return { type: 'Unconfined' };
  if (profile?.type !== 'Localhost') return { type: 'RuntimeDefault' };
  const path = profile.localhostProfile ?? '';
  // The API checks it; a server that does not must not make the runtime read elsewhere.
  if (path === '' || path.startsWith('/') || path.split('/').includes('..'))
    throw new ContainerError('CreateContainerConfigError', 'localhostProfile must be a path below the directory of profiles');
  return { type: 'Localhost', path };
}

export const isPrivileged = (pod: Pod): boolean => allContainers(pod).some(({ securityContext }) => securityContext?.privileged === true);

/** User of a process that must not be root and does not say who it is; images for this use have this number. */
const nonRootId = 65_532;

/**
 * Gives the ids that the program sees as its own. Undefined: those of its image.
 *
 * @param image  the image of a container; undefined where programs have none
 * @throws ContainerError `CreateContainerConfigError` when the program would be root, or may be, and the pod forbids it
 */
export function identityOf(pod: Pod, container: Container, image: LocalImage | undefined): ContainerConfig['identity'] {
  const own = container.securityContext;
  const shared = pod.spec.securityContext;
  const uid = own?.runAsUser ?? shared?.runAsUser;
  const gid = own?.runAsGroup ?? shared?.runAsGroup;
  if (own?.runAsNonRoot ?? shared?.runAsNonRoot ?? false) {
    const where = `(pod: "${pod.metadata.name}_${pod.metadata.namespace}(${pod.metadata.uid})", container: ${container.name})`;
    const refuse = (why: string): never => {
      throw new ContainerError('CreateContainerConfigError', `${why} ${where}`);
    };
    if (uid === 0) refuse("container's runAsUser breaks non-root policy");
    if (uid === undefined && image?.user === undefined) return { uid: nonRootId, gid: gid ?? nonRootId };
    if (uid === undefined && image?.user !== undefined) {
      const { id, name } = image.user;
      if (id === 0) refuse('container has runAsNonRoot and image will run as root');
      if (id === undefined) refuse(`container has runAsNonRoot and image has non-numeric user (${name}), cannot verify user is non-root`);
    }
  }
  if (uid === undefined && gid === undefined) return undefined;
  if (uid === undefined && image?.user !== undefined && image.user.id === undefined) {
    const why = `runAsGroup needs runAsUser, because the image gives its user by name (${image.user.name})`;
    throw new ContainerError('CreateContainerConfigError', why);
  }
  return { uid: uid ?? image?.user?.id ?? 0, gid };
}

export function groupsOf({ spec }: Pod): readonly number[] {
  const { supplementalGroups = [], fsGroup } = spec.securityContext ?? {};
  return fsGroup === undefined ? supplementalGroups : [...supplementalGroups, fsGroup];
}

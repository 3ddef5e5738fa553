import type { Container, PodSpec, Probe } from '../../../api/core/v1/pod.ts';

/** A violation of a level by a pod. */
export interface Violation {
  /** `host namespaces` */
  readonly reason: string;
  /** The violating part and the needed change; may be empty. */
  readonly detail: string;
}

export interface PodMetadata {
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

/** One rule of the Pod Security Standards. */
export interface SecurityCheck {
  /** First minor version of Kubernetes that has it. */
  readonly since: number;
  /** @param minor  version that the namespace asks for; infinite for the latest */
  check(spec: PodSpec, metadata: PodMetadata, minor: number): Violation | undefined;
}

/** @see Kubernetes concepts, "Pod Security Standards"; the words are those of the real server */

// ---------------------------------------------------------------------------------------------------------------------------- baseline

const appArmorProfile: SecurityCheck = {
  since: 0,
  check(spec, { annotations = {} }) {
    const allowed = (profile: string): boolean => profile === '' || profile === 'runtime/default' || profile.startsWith('localhost/');
    const annotated = Object.entries(annotations)
      .filter(([key, value]) => key.startsWith('container.apparmor.security.beta.kubernetes.io/') && !allowed(value))
      .map(([key, value]) => `${key}=${quoted(value)}`)
      .sort();
    const bad = settings(spec, ({ appArmorProfile: profile }) => profile?.type).filter(
      ({ value }) => value !== 'RuntimeDefault' && value !== 'Localhost',
    );
    const values = [...sorted(bad.map(({ value }) => value)), ...annotated];
    if (values.length === 0) return undefined;
    const setters = [...(bad.length === 0 ? [] : [who(bad)]), ...(annotated.length === 0 ? [] : [plural(annotated.length, 'annotation')])];
    return {
      reason: plural(values.length, 'forbidden AppArmor profile'),
      detail: `${setters.join(' and ')} must not set AppArmor profile type to ${joined(values)}`,
    };
  },
};

const hostNamespaces: SecurityCheck = {
  since: 0,
  check(spec) {
    const used = (['hostIPC', 'hostNetwork', 'hostPID'] as const).filter((name) => spec[name] === true);
    return used.length === 0 ? undefined : { reason: 'host namespaces', detail: used.map((name) => `${name}=true`).join(', ') };
  },
};

const hostPorts: SecurityCheck = {
  since: 0,
  check(spec) {
    const ports = new Set<string>();
    const bad = containersOf(spec).filter(({ ports: given = [] }) => {
      const used = given.filter(({ hostPort = 0 }) => hostPort !== 0);
      for (const { hostPort } of used) ports.add(String(hostPort));
      return used.length > 0;
    });
    if (bad.length === 0) return undefined;
    const verb = bad.length === 1 ? 'uses' : 'use';
    return { reason: 'hostPort', detail: `${containerNames(bad)} ${verb} ${plural(ports.size, 'hostPort')} ${sorted(ports).join(', ')}` };
  },
};

const hostProbes: SecurityCheck = {
  since: 34,
  check(spec) {
    const hosts = new Set<string>();
    const bad = new Set<string>();
    for (const { name, livenessProbe, readinessProbe, startupProbe, lifecycle } of containersOf(spec)) {
      const handlers = [livenessProbe, readinessProbe, startupProbe, lifecycle?.postStart, lifecycle?.preStop];
      for (const host of handlers.flatMap(hostsOf)) {
        hosts.add(host);
        bad.add(name);
      }
    }
    if (bad.size === 0) return undefined;
    const verb = bad.size === 1 ? 'uses' : 'use';
    return {
      reason: 'probe or lifecycle host',
      detail: `${plural(bad.size, 'container')} ${joined(sorted(bad))} ${verb} ${plural(hosts.size, 'probe or lifecycle host')} ${joined(sorted(hosts))}`,
    };
  },
};

const hostsOf = (handler: Pick<Probe, 'httpGet' | 'tcpSocket'> | undefined): readonly string[] =>
  [handler?.httpGet?.host, handler?.tcpSocket?.host].filter((host) => host !== undefined && host !== '').map(String);

const privileged: SecurityCheck = {
  since: 0,
  check(spec) {
    const bad = containersOf(spec).filter(({ securityContext }) => securityContext?.privileged === true);
    if (bad.length === 0) return undefined;
    return { reason: 'privileged', detail: `${containerNames(bad)} must not set securityContext.privileged=true` };
  },
};

const procMount: SecurityCheck = {
  since: 0,
  check(spec, _metadata, minor) {
    if (minor >= userNamespacesSince && spec.hostUsers === false) return undefined;
    const values = new Set<string>();
    const bad = containersOf(spec).filter(({ securityContext }) => {
      const value = securityContext?.procMount ?? 'Default';
      if (value !== 'Default') values.add(value);
      return value !== 'Default';
    });
    if (bad.length === 0) return undefined;
    return { reason: 'procMount', detail: `${containerNames(bad)} must not set securityContext.procMount to ${joined(sorted(values))}` };
  },
};

/** From this version on, a pod in a user namespace of its own may be root in it. */
const userNamespacesSince = 35;

const seLinuxTypes: readonly string[] = ['', 'container_t', 'container_init_t', 'container_kvm_t'];

const seLinuxOptions: SecurityCheck = {
  since: 0,
  check(spec, _metadata, minor) {
    const types = minor >= 31 ? [...seLinuxTypes, 'container_engine_t'] : seLinuxTypes;
    const all = settings(spec, ({ seLinuxOptions: given }) => given ?? undefined);
    const bad = all.filter(({ value: { type = '', user = '', role = '' } }) => !types.includes(type) || user !== '' || role !== '');
    if (bad.length === 0) return undefined;
    const wrongTypes = sorted(bad.map(({ value }) => value.type ?? '').filter((type) => !types.includes(type)));
    const wrong = [
      ...(wrongTypes.length === 0 ? [] : [`${plural(wrongTypes.length, 'type')} ${joined(wrongTypes)}`]),
      ...(bad.some(({ value }) => (value.user ?? '') !== '') ? ['user may not be set'] : []),
      ...(bad.some(({ value }) => (value.role ?? '') !== '') ? ['role may not be set'] : []),
    ];
    return { reason: 'seLinuxOptions', detail: `${who(bad)} set forbidden securityContext.seLinuxOptions: ${wrong.join('; ')}` };
  },
};

const sysctlsSince: readonly (readonly [since: number, names: readonly string[]])[] = [
  [
    0,
    [
      'kernel.shm_rmid_forced',
      'net.ipv4.ip_local_port_range',
      'net.ipv4.tcp_syncookies',
      'net.ipv4.ping_group_range',
      'net.ipv4.ip_unprivileged_port_start',
    ],
  ],
  [27, ['net.ipv4.ip_local_reserved_ports']],
  [29, ['net.ipv4.tcp_keepalive_time', 'net.ipv4.tcp_fin_timeout', 'net.ipv4.tcp_keepalive_intvl', 'net.ipv4.tcp_keepalive_probes']],
  [32, ['net.ipv4.tcp_rmem', 'net.ipv4.tcp_wmem']],
];

const sysctls: SecurityCheck = {
  since: 0,
  check({ securityContext }, _metadata, minor) {
    const allowed = sysctlsSince.flatMap(([since, names]) => (minor >= since ? names : []));
    const wrong = (securityContext?.sysctls ?? []).map(({ name }) => name).filter((name) => !allowed.includes(name));
    return wrong.length === 0 ? undefined : { reason: 'forbidden sysctls', detail: wrong.join(', ') };
  },
};

const windowsHostProcess: SecurityCheck = {
  since: 0,
  check(spec) {
    const bad = settings(spec, ({ windowsOptions }) => windowsOptions?.hostProcess ?? undefined).filter(({ value }) => value);
    if (bad.length === 0) return undefined;
    return { reason: 'hostProcess', detail: `${who(bad)} must not set securityContext.windowsOptions.hostProcess=true` };
  },
};

const baselineCapabilities: ReadonlySet<string> = new Set([
  ...['AUDIT_WRITE', 'CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'FSETID', 'KILL', 'MKNOD', 'NET_BIND_SERVICE', 'SETFCAP', 'SETGID', 'SETPCAP'],
  ...['SETUID', 'SYS_CHROOT'],
]);

const capabilitiesBaseline: SecurityCheck = {
  since: 0,
  check(spec) {
    const { names, capabilities } = addedCapabilities(spec, (capability) => baselineCapabilities.has(capability));
    if (names.length === 0) return undefined;
    return {
      reason: 'non-default capabilities',
      detail: `${plural(names.length, 'container')} ${joined(names)} must not include ${joined(capabilities)} in securityContext.capabilities.add`,
    };
  },
};

const hostPathVolumes: SecurityCheck = {
  since: 0,
  check({ volumes = [] }) {
    const names = volumes.filter(({ hostPath }) => hostPath !== undefined && hostPath !== null).map(({ name }) => name);
    return names.length === 0 ? undefined : { reason: 'hostPath volumes', detail: `${plural(names.length, 'volume')} ${joined(names)}` };
  },
};

const seccompProfileBaseline: SecurityCheck = {
  since: 0,
  check(spec, { annotations = {} }, minor) {
    if (minor >= 19) return forbiddenSeccomp(spec);
    const allowed = (profile: string): boolean =>
      profile === 'runtime/default' || profile === 'docker/default' || profile.startsWith('localhost/');
    const keys = [
      'seccomp.security.alpha.kubernetes.io/pod',
      ...containersOf(spec).map(({ name }) => `container.seccomp.security.alpha.kubernetes.io/${name}`),
    ];
    const wrong = sorted(
      keys.flatMap((key) => (key in annotations && !allowed(annotations[key] ?? '') ? [`${key}=${quoted(annotations[key] ?? '')}`] : [])),
    );
    if (wrong.length === 0) return undefined;
    return { reason: 'seccompProfile', detail: `forbidden ${plural(wrong.length, 'annotation')} ${wrong.join(', ')}` };
  },
};

const isSafeSeccomp = (type: string): boolean => type === 'RuntimeDefault' || type === 'Localhost';

function forbiddenSeccomp(spec: PodSpec): Violation | undefined {
  const bad = settings(spec, ({ seccompProfile }) => seccompProfile?.type).filter(({ value }) => !isSafeSeccomp(value));
  if (bad.length === 0) return undefined;
  const values = sorted(bad.map(({ value }) => value));
  return { reason: 'seccompProfile', detail: `${who(bad)} must not set securityContext.seccompProfile.type to ${joined(values)}` };
}

// -------------------------------------------------------------------------------------------------------------------------- restricted

/** Checks that exist on Linux alone; pods for Windows are exempt from this version on. */
const windowsSince = 25;
const isForWindows = ({ os }: PodSpec, minor: number): boolean => minor >= windowsSince && os?.name === 'windows';

const allowPrivilegeEscalation: SecurityCheck = {
  since: 8,
  check(spec, _metadata, minor) {
    if (isForWindows(spec, minor)) return undefined;
    const bad = containersOf(spec).filter(({ securityContext }) => securityContext?.allowPrivilegeEscalation !== false);
    if (bad.length === 0) return undefined;
    return {
      reason: 'allowPrivilegeEscalation != false',
      detail: `${containerNames(bad)} must set securityContext.allowPrivilegeEscalation=false`,
    };
  },
};

const capabilitiesRestricted: SecurityCheck = {
  since: 22,
  check(spec, _metadata, minor) {
    if (isForWindows(spec, minor)) return undefined;
    const lacking = containersOf(spec).filter(({ securityContext }) => securityContext?.capabilities?.drop?.includes('ALL') !== true);
    const { names, capabilities } = addedCapabilities(spec, (capability) => capability === 'NET_BIND_SERVICE');
    const wrong = [
      ...(lacking.length === 0 ? [] : [`${containerNames(lacking)} must set securityContext.capabilities.drop=["ALL"]`]),
      ...(names.length === 0
        ? []
        : [
            `${plural(names.length, 'container')} ${joined(names)} must not include ${joined(capabilities)} in securityContext.capabilities.add`,
          ]),
    ];
    return wrong.length === 0 ? undefined : { reason: 'unrestricted capabilities', detail: wrong.join('; ') };
  },
};

const harmlessVolumes = [
  'configMap',
  'csi',
  'downwardAPI',
  'emptyDir',
  'ephemeral',
  'persistentVolumeClaim',
  'projected',
  'secret',
] as const;

/** Kinds of volumes in the order in which the real server looks for a name to give. */
const namedVolumes: readonly string[] = [
  ...['hostPath', 'gcePersistentDisk', 'awsElasticBlockStore', 'gitRepo', 'nfs', 'iscsi', 'glusterfs', 'rbd', 'flexVolume', 'cinder'],
  ...['cephfs', 'flocker', 'fc', 'azureFile', 'vsphereVolume', 'quobyte', 'azureDisk', 'portworxVolume', 'scaleIO', 'storageos'],
];

const restrictedVolumes: SecurityCheck = {
  since: 0,
  check({ volumes = [] }) {
    const has = (volume: object, type: string): boolean => {
      const source = (volume as Readonly<Record<string, unknown>>)[type];
      return source !== undefined && source !== null;
    };
    const bad = volumes.filter((volume) => !harmlessVolumes.some((type) => has(volume, type)));
    if (bad.length === 0) return undefined;
    const types = sorted(bad.map((volume) => namedVolumes.find((type) => has(volume, type)) ?? 'unknown'));
    const verb = bad.length === 1 ? 'uses' : 'use';
    return {
      reason: 'restricted volume types',
      detail: `${plural(bad.length, 'volume')} ${joined(bad.map(({ name }) => name))} ${verb} restricted volume ${plural(types.length, 'type')} ${joined(types)}`,
    };
  },
};

const runAsNonRoot: SecurityCheck = {
  since: 0,
  check(spec, _metadata, minor) {
    if (minor >= userNamespacesSince && spec.hostUsers === false) return undefined;
    const refused = settings(spec, ({ runAsNonRoot: given }) => given ?? undefined).filter(({ value }) => !value);
    if (refused.length > 0) {
      return { reason: 'runAsNonRoot != true', detail: `${who(refused)} must not set securityContext.runAsNonRoot=false` };
    }
    if (spec.securityContext?.runAsNonRoot === true) return undefined;
    const silent = containersOf(spec).filter(({ securityContext }) => (securityContext?.runAsNonRoot ?? undefined) === undefined);
    if (silent.length === 0) return undefined;
    return { reason: 'runAsNonRoot != true', detail: `pod or ${containerNames(silent)} must set securityContext.runAsNonRoot=true` };
  },
};

const runAsUser: SecurityCheck = {
  since: 23,
  check(spec, _metadata, minor) {
    if (minor >= userNamespacesSince && spec.hostUsers === false) return undefined;
    const bad = settings(spec, ({ runAsUser: given }) => given ?? undefined).filter(({ value }) => value === 0);
    return bad.length === 0 ? undefined : { reason: 'runAsUser=0', detail: `${who(bad)} must not set runAsUser=0` };
  },
};

const seccompProfileRestricted: SecurityCheck = {
  since: 19,
  check(spec, _metadata, minor) {
    if (isForWindows(spec, minor)) return undefined;
    const forbidden = forbiddenSeccomp(spec);
    if (forbidden !== undefined) return forbidden;
    if (spec.securityContext?.seccompProfile !== undefined && spec.securityContext.seccompProfile !== null) return undefined;
    const silent = containersOf(spec).filter(({ securityContext }) => (securityContext?.seccompProfile ?? undefined) === undefined);
    if (silent.length === 0) return undefined;
    return {
      reason: 'seccompProfile',
      detail: `pod or ${containerNames(silent)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"`,
    };
  },
};

/** Asked at both levels. */
export const baselineChecks: readonly SecurityCheck[] = [
  appArmorProfile,
  hostNamespaces,
  hostPorts,
  hostProbes,
  privileged,
  procMount,
  seLinuxOptions,
  sysctls,
  windowsHostProcess,
];

/** Asked at level baseline only: a stricter check of level restricted says the same. */
export const overlappingChecks: readonly SecurityCheck[] = [capabilitiesBaseline, hostPathVolumes, seccompProfileBaseline];

export const restrictedChecks: readonly SecurityCheck[] = [
  allowPrivilegeEscalation,
  capabilitiesRestricted,
  restrictedVolumes,
  runAsNonRoot,
  runAsUser,
  seccompProfileRestricted,
];

// ------------------------------------------------------------------------------------------------------------------------------- parts

type SecurityContext = NonNullable<PodSpec['securityContext']> & NonNullable<Container['securityContext']>;

interface Setting<T> {
  /** Undefined: the pod itself. */
  readonly container: string | undefined;
  readonly value: T;
}

/** Containers in the order in which the real server looks at them. */
export const containersOf = ({ initContainers, containers, ephemeralContainers }: PodSpec): readonly Container[] => [
  ...(initContainers ?? []),
  ...(containers ?? []),
  ...((ephemeralContainers ?? []) as readonly Container[]),
];

/** Fields that the pod and its containers set themselves. */
function settings<T>(spec: PodSpec, read: (context: Partial<SecurityContext>) => T | undefined): readonly Setting<T>[] {
  const said: Setting<T>[] = [];
  const note = (container: string | undefined, context: PodSpec['securityContext'] | Container['securityContext'] | null): void => {
    const value = context === undefined || context === null ? undefined : read(context as Partial<SecurityContext>);
    if (value !== undefined) said.push({ container, value });
  };
  note(undefined, spec.securityContext);
  for (const { name, securityContext } of containersOf(spec)) note(name, securityContext);
  return said;
}

/** `pod and containers "a", "b"` */
function who(said: readonly Setting<unknown>[]): string {
  const names = said.flatMap(({ container }) => (container === undefined ? [] : [container]));
  const parts = [
    ...(said.length > names.length ? ['pod'] : []),
    ...(names.length === 0 ? [] : [`${plural(names.length, 'container')} ${joined(names)}`]),
  ];
  return parts.join(' and ');
}

function addedCapabilities(
  spec: PodSpec,
  isAllowed: (capability: string) => boolean,
): { readonly names: readonly string[]; readonly capabilities: readonly string[] } {
  const wrong = new Set<string>();
  const names = containersOf(spec).flatMap(({ name, securityContext }) => {
    const added = (securityContext?.capabilities?.add ?? []).filter((capability) => !isAllowed(capability));
    for (const capability of added) wrong.add(capability);
    return added.length === 0 ? [] : [name];
  });
  return { names, capabilities: sorted(wrong) };
}

const quoted = (text: string): string => JSON.stringify(text);
const joined = (names: readonly string[]): string => names.map(quoted).join(', ');
const sorted = (names: Iterable<string>): readonly string[] => [...new Set(names)].sort();
const plural = (count: number, word: string): string => (count === 1 ? word : `${word}s`);
const containerNames = (containers: readonly Container[]): string =>
  `${plural(containers.length, 'container')} ${joined(containers.map(({ name }) => name))}`;

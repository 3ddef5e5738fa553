import { goQuote } from '../../../machinery/go-text.ts';
import { formatQuantity, tryQuantity } from '../../../machinery/quantity.ts';
import { isAbsent } from '../../copy-on-write.ts';
import { dnsLabelErrors, dnsSubdomainErrors } from '../../formats.ts';
import type { Affinity, Container, PodSpec } from './pod.ts';

/** Warnings for pods that are valid but hardly intended: `Warning` headers, in upstream's words and order. */

interface Described {
  readonly metadata?: { readonly annotations?: Readonly<Record<string, string>> };
  readonly spec?: PodSpec;
}

export const appArmorPrefix = 'container.apparmor.security.beta.kubernetes.io/';

/** @param place  of the pod or template within the object: empty for a pod, else with a dot at its end (`spec.template.`) */
export function podWarnings(place: string, { metadata, spec }: Described): readonly string[] {
  const warnings: string[] = [];
  if (isAbsent(spec)) return warnings;
  const field = `${place}spec`;
  const annotations = metadata?.annotations ?? {};
  const ofAnnotation = (key: string): string => `${place}metadata.annotations[${key}]`;
  checkLabelsOfNodes(warnings, field, spec);
  for (const [key, instead] of Object.entries(deadAnnotations)) {
    if (annotations[key] !== undefined) warnings.push(`${ofAnnotation(key)}: ${instead}`);
  }
  checkVolumes(warnings, field, spec);
  checkNames(warnings, `${field}.hostAliases`, 'ip', spec.hostAliases ?? []);
  checkNames(warnings, `${field}.imagePullSecrets`, 'name', spec.imagePullSecrets ?? []);
  for (const [index, { name = '' }] of (spec.imagePullSecrets ?? []).entries()) {
    if (name === '') warnings.push(`${field}.imagePullSecrets[${index}].name: invalid empty name ""`);
  }
  checkBytes(warnings, `${field}.overhead`, spec.overhead);
  const seccomp = 'non-functional in v1.27+; use the "seccompProfile" field instead';
  const podKey = 'seccomp.security.alpha.kubernetes.io/pod';
  if (isAbsent(spec.securityContext?.seccompProfile) && annotations[podKey] !== undefined) {
    warnings.push(`${ofAnnotation(podKey)}: ${seccomp}`);
  }
  for (const [at, container] of containersOf(field, spec)) {
    const key = `container.seccomp.security.alpha.kubernetes.io/${container.name}`;
    if (isAbsent(container.securityContext?.seccompProfile) && annotations[key] !== undefined) {
      warnings.push(`${ofAnnotation(key)}: ${seccomp}`);
    }
    const appArmorKey = `${appArmorPrefix}${container.name}`;
    const profile = container.securityContext?.appArmorProfile ?? spec.securityContext?.appArmorProfile;
    // A pod's annotation has become the field by now.
    if ((place === '' || isAbsent(profile)) && annotations[appArmorKey] !== undefined) {
      warnings.push(`${ofAnnotation(appArmorKey)}: deprecated since v1.30; use the "appArmorProfile" field instead`);
    }
    checkBytes(warnings, `${at}.resources.limits`, container.resources?.limits);
    checkBytes(warnings, `${at}.resources.requests`, container.resources?.requests);
    checkVariables(warnings, at, container);
  }
  checkPorts(warnings, containersOf(field, spec));
  if ((spec.terminationGracePeriodSeconds ?? 0) < 0) {
    warnings.push(`${field}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1`);
  }
  if (!isAbsent(spec.affinity)) checkPodAffinity(warnings, `${field}.affinity`, spec.affinity);
  return warnings;
}

/** The names of a workload's pods begin with its own, and end up in host names. */
export const podPrefixWarnings = (name: string): readonly string[] => nameWarnings(name, 'this is used in Pod names and hostnames');

export const podNameWarnings = (name: string): readonly string[] => nameWarnings(name, "this is used in the Pod's hostname");

function nameWarnings(name: string, use: string): readonly string[] {
  const sentences = dnsLabelErrors(name);
  // A name that is no name at all is an error, and then a warning would only repeat it.
  if (sentences.length === 0 || dnsSubdomainErrors(name).length > 0) return [];
  return [`metadata.name: ${use}, which can result in surprising behavior; a DNS label is recommended: [${sentences.join(' ')}]`];
}

const containersOf = (field: string, spec: PodSpec): readonly (readonly [at: string, container: Container])[] => [
  ...(spec.initContainers ?? []).map((container, index) => [`${field}.initContainers[${index}]`, container] as const),
  ...(spec.containers ?? []).map((container, index) => [`${field}.containers[${index}]`, container] as const),
];

const renamedNodeLabels: Readonly<Record<string, string>> = {
  'beta.kubernetes.io/arch': 'deprecated since v1.14; use "kubernetes.io/arch" instead',
  'beta.kubernetes.io/os': 'deprecated since v1.14; use "kubernetes.io/os" instead',
  'failure-domain.beta.kubernetes.io/region': 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
  'failure-domain.beta.kubernetes.io/zone': 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
  'beta.kubernetes.io/instance-type': 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
};

const deadAnnotations: Readonly<Record<string, string>> = {
  'scheduler.alpha.kubernetes.io/critical-pod': 'non-functional in v1.16+; use the "priorityClassName" field instead',
  'security.alpha.kubernetes.io/sysctls': 'non-functional in v1.11+; use the "sysctls" field instead',
  'security.alpha.kubernetes.io/unsafe-sysctls': 'non-functional in v1.11+; use the "sysctls" field instead',
};

const nullSelector = 'a null labelSelector results in matching no pod';

function checkLabelsOfNodes(warnings: string[], field: string, spec: PodSpec): void {
  for (const key of Object.keys(spec.nodeSelector ?? {})) {
    const instead = renamedNodeLabels[key];
    if (instead !== undefined) warnings.push(`${field}.nodeSelector[${key}]: ${instead}`);
  }
  const affinity = spec.affinity?.nodeAffinity;
  const at = `${field}.affinity.nodeAffinity`;
  const checkTerm = (place: string, term: NodeSelectorTerm | undefined): void => {
    for (const [index, { key }] of (term?.matchExpressions ?? []).entries()) {
      const instead = renamedNodeLabels[key];
      if (instead !== undefined) warnings.push(`${place}.matchExpressions[${index}].key: ${key} is ${instead}`);
    }
  };
  const terms = affinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [];
  for (const [index, term] of terms.entries()) {
    checkTerm(`${at}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[${index}]`, term);
  }
  for (const [index, { preference }] of (affinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []).entries()) {
    checkTerm(`${at}.preferredDuringSchedulingIgnoredDuringExecution[${index}].preference`, preference);
  }
  for (const [index, { topologyKey, labelSelector }] of (spec.topologySpreadConstraints ?? []).entries()) {
    const place = `${field}.topologySpreadConstraints[${index}]`;
    const instead = renamedNodeLabels[topologyKey];
    if (instead !== undefined) warnings.push(`${place}.topologyKey: ${topologyKey} is ${instead}`);
    if (isAbsent(labelSelector)) warnings.push(`${place}.labelSelector: ${nullSelector}`);
  }
}

type NodeAffinity = NonNullable<Affinity['nodeAffinity']>;
type NodeSelectorTerm = NonNullable<NodeAffinity['requiredDuringSchedulingIgnoredDuringExecution']>['nodeSelectorTerms'][number];

/** Sources of volumes that no longer work, as upstream spells them in what it says. */
export const deadVolumeSources: readonly (readonly [source: string, shown: string, why: string])[] = [
  ['photonPersistentDisk', 'photonPersistentDisk', 'deprecated in v1.11, non-functional in v1.16+'],
  ['gitRepo', 'gitRepo', 'deprecated in v1.11'],
  ['scaleIO', 'scaleIO', 'deprecated in v1.16, non-functional in v1.22+'],
  ['flocker', 'flocker', 'deprecated in v1.22, non-functional in v1.25+'],
  ['storageos', 'storageOS', 'deprecated in v1.22, non-functional in v1.25+'],
  ['quobyte', 'quobyte', 'deprecated in v1.22, non-functional in v1.25+'],
  ['glusterfs', 'glusterfs', 'deprecated in v1.25, non-functional in v1.26+'],
  ['cephfs', 'cephfs', 'deprecated in v1.28, non-functional in v1.31+'],
  ['rbd', 'rbd', 'deprecated in v1.28, non-functional in v1.31+'],
];

function checkVolumes(warnings: string[], field: string, { volumes = [] }: PodSpec): void {
  for (const [index, volume] of volumes.entries()) {
    for (const [source, shown, why] of deadVolumeSources) {
      if (!isAbsent((volume as Readonly<Record<string, unknown>>)[source])) warnings.push(`${field}.volumes[${index}].${shown}: ${why}`);
    }
  }
  for (const { name, configMap, secret, downwardAPI, projected } of volumes) {
    const quoted = goQuote(name ?? '');
    if (!isAbsent(configMap)) checkOverlaps(warnings, `volume ${quoted} (ConfigMap ${goQuote(configMap.name ?? '')})`, configMap.items);
    if (!isAbsent(secret)) checkOverlaps(warnings, `volume ${quoted} (Secret ${goQuote(secret.secretName ?? '')})`, secret.items);
    if (!isAbsent(downwardAPI)) checkOverlaps(warnings, `volume ${quoted} (DownwardAPI)`, downwardAPI.items);
    for (const source of projected?.sources ?? []) {
      if (Object.values(source).every(isAbsent)) warnings.push(`volume ${quoted} (Projected) has no sources provided`);
    }
  }
}

/** Two keys in one file, or one in a directory that another one is a file of. */
function checkOverlaps(warnings: string[], what: string, items: readonly { readonly path: string }[] | undefined): void {
  const paths: string[] = [];
  for (const { path = '' } of items ?? []) {
    const normal = path.replace(/\/+$/, '');
    const collision = normal === '' ? undefined : paths.find((other) => `${other}/`.startsWith(normal) || `${normal}/`.startsWith(other));
    if (collision !== undefined) warnings.push(`${what}: overlapping paths: ${goQuote(normal)} with ${goQuote(collision)}`);
    if (!paths.includes(normal)) paths.push(normal);
  }
}

function checkNames<K extends string>(warnings: string[], field: string, key: K, items: readonly { readonly [P in K]?: string }[]): void {
  const seen = new Set<string>();
  for (const [index, item] of items.entries()) {
    const name = item[key] ?? '';
    if (seen.has(name)) warnings.push(`${field}[${index}].${key}: duplicate ${key} ${goQuote(name)}`);
    seen.add(name);
  }
}

function checkBytes(warnings: string[], field: string, amounts: Readonly<Record<string, string | number>> | undefined): void {
  for (const name of ['memory', 'ephemeral-storage']) {
    const amount = tryQuantity(amounts?.[name]);
    if (amount === undefined || amount.nanos % 1_000_000_000n === 0n) continue;
    warnings.push(`${field}[${name}]: fractional byte value ${goQuote(formatQuantity(amount))} is invalid, must be an integer`);
  }
}

function checkVariables(warnings: string[], field: string, { env = [] }: Container): void {
  const names = new Set<string>();
  for (const [index, { name, value = '', valueFrom }] of env.entries()) {
    // A value that is built on the earlier one of the same name is meant.
    const reference = `$(${name})`;
    const hides = !isAbsent(valueFrom) || value === reference || !value.includes(reference);
    if (names.has(name) && hides) {
      warnings.push(`${field}.env[${index}]: hides previous definition of ${goQuote(name)}, which may be dropped when using apply`);
    }
    names.add(name);
  }
}

/** Containers of one pod share its address: of two equal ports only one can be listened on. */
function checkPorts(warnings: string[], containers: readonly (readonly [at: string, container: Container])[]): void {
  const places = new Map<string, { readonly at: string; readonly hostPort: number; readonly hostIP: string }[]>();
  const names = new Map<string, string>();
  for (const [field, { ports = [] }] of containers) {
    for (const [number, { containerPort, protocol = 'TCP', hostPort = 0, hostIP = '', name = '' }] of ports.entries()) {
      const at = `${field}.ports[${number}]`;
      const key = `${containerPort}/${protocol}`;
      const others = places.get(key) ?? [];
      for (const other of others) {
        if (hostIP === other.hostIP && hostPort === other.hostPort) warnings.push(`${at}: duplicate port definition with ${other.at}`);
        else if (hostPort === 0 || other.hostPort === 0) warnings.push(`${at}: overlapping port definition with ${other.at}`);
        else if (hostPort === other.hostPort && (hostIP === '') !== (other.hostIP === '')) {
          warnings.push(`${at}: dangerously ambiguous port definition with ${other.at}`);
        }
      }
      places.set(key, [...others, { at, hostPort, hostIP }]);
      if (name === '') continue;
      const named = names.get(name);
      if (named === undefined) names.set(name, at);
      else {
        const who = 'services and probes that select ports by name will use';
        warnings.push(`${at}: duplicate port name ${goQuote(name)} with ${named}, ${who} ${named}`);
      }
    }
  }
}

function checkPodAffinity(warnings: string[], field: string, { podAffinity, podAntiAffinity }: Affinity): void {
  for (const [name, affinity] of Object.entries({ podAffinity, podAntiAffinity })) {
    const hard = affinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
    for (const [index, { labelSelector }] of hard.entries()) {
      const at = `${field}.${name}.requiredDuringSchedulingIgnoredDuringExecution[${index}]`;
      if (isAbsent(labelSelector)) warnings.push(`${at}.labelSelector: ${nullSelector}`);
    }
    const soft = affinity?.preferredDuringSchedulingIgnoredDuringExecution ?? [];
    for (const [index, { podAffinityTerm }] of soft.entries()) {
      const at = `${field}.${name}.preferredDuringSchedulingIgnoredDuringExecution[${index}].podAffinityTerm`;
      if (isAbsent(podAffinityTerm?.labelSelector)) warnings.push(`${at}.labelSelector: ${nullSelector}`);
    }
  }
}

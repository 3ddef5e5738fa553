import type { KubeObject } from '../../../machinery/object.ts';
import {
  addQuantities,
  compareQuantities,
  formatQuantity,
  parseQuantity,
  type Quantity,
  subtractQuantities,
} from '../../../machinery/quantity.ts';
import { groupResourceOf } from '../../../machinery/resource.ts';
import { isAbsent } from '../../copy-on-write.ts';
import type { PersistentVolumeClaim } from './persistent-volume-claim.ts';
import type { Pod, PodSpec } from './pod.ts';
import { podResources, type ResourceAmounts, readAmounts } from './pod-resources.ts';
import { qosClassOf } from './qos.ts';
import type { ResourceQuota } from './resource-quota.ts';
import type { Service } from './service.ts';

/**
 * Usage of objects in the quotas of their namespace. The API server charges by it, and the controller counts again by
 * it.
 *
 * @see Kubernetes concepts, "Resource Quotas"
 */

interface KindName {
  readonly group: string;
  readonly resource: string;
}

const one = parseQuantity('1');
const zero = parseQuantity('0');

/** Kinds that have a name of their own besides `count/RESOURCE`. */
const ownNames: ReadonlySet<string> = new Set([
  ...['services', 'replicationcontrollers', 'resourcequotas', 'secrets', 'configmaps', 'persistentvolumeclaims'],
]);
/** Requests of a pod that also count without the prefix. */
const plainNames: ReadonlySet<string> = new Set(['cpu', 'memory', 'ephemeral-storage']);

/** Usage of one object, by the names that quotas use. */
export function usageOf(kind: KindName, object: KubeObject): ResourceAmounts {
  const name = groupResourceOf(kind);
  const usage = new Map<string, Quantity>([[`count/${name}`, one]]);
  if (ownNames.has(name)) usage.set(name, one);
  if (name === 'pods') addPod(usage, object as Pod);
  else if (name === 'services') addService(usage, object as Service);
  else if (name === 'persistentvolumeclaims') addClaim(usage, object as PersistentVolumeClaim);
  return usage;
}

const podNames = /^(pods|cpu|memory|ephemeral-storage|requests\..+|limits\..+|hugepages-.+)$/;

/** True when objects of the kind can count for one of the names. */
export function mayCount(hard: ResourceAmounts, kind: KindName): boolean {
  const resource = groupResourceOf(kind);
  if (hard.has(`count/${resource}`) || (ownNames.has(resource) && hard.has(resource))) return true;
  for (const name of hard.keys()) {
    if (resource === 'pods' && podNames.test(name)) return true;
    if (resource === 'services' && name.startsWith('services.')) return true;
    if (resource === 'persistentvolumeclaims' && (name === 'requests.storage' || name.includes('.storageclass.'))) return true;
  }
  return false;
}

/** A finished pod uses no resources, though it still counts as an object. */
const isFinished = ({ status }: Pod): boolean => status?.phase === 'Succeeded' || status?.phase === 'Failed';

function addPod(usage: Map<string, Quantity>, pod: Pod): void {
  if (isFinished(pod)) return;
  usage.set('pods', one);
  for (const [name, amount] of computeUsage(pod.spec)) usage.set(name, amount);
}

/** By the frozen spec: the pods of a template count for the same. */
const computed = new WeakMap<PodSpec, ResourceAmounts>();

function computeUsage(spec: PodSpec): ResourceAmounts {
  let usage = computed.get(spec);
  if (usage === undefined) {
    usage = namedUsage(podResources(spec, 'requests', { overhead: true }), podResources(spec, 'limits', { overhead: true }));
    if (Object.isFrozen(spec)) computed.set(spec, usage);
  }
  return usage;
}

function namedUsage(requests: ResourceAmounts, limits: ResourceAmounts): ResourceAmounts {
  const usage = new Map<string, Quantity>();
  for (const [name, amount] of requests) {
    if (plainNames.has(name) || name.startsWith('hugepages-')) usage.set(name, amount);
    usage.set(`requests.${name}`, amount);
  }
  for (const [name, amount] of limits) if (plainNames.has(name)) usage.set(`limits.${name}`, amount);
  return usage;
}

function addService(usage: Map<string, Quantity>, { spec }: Service): void {
  const { type, ports = [], allocateLoadBalancerNodePorts } = spec;
  if (type === 'LoadBalancer') usage.set('services.loadbalancers', one);
  const asked =
    type === 'NodePort' || (type === 'LoadBalancer' && allocateLoadBalancerNodePorts !== false)
      ? ports.length
      : ports.filter(({ nodePort = 0 }) => nodePort !== 0).length;
  if (asked > 0) usage.set('services.nodeports', parseQuantity(asked));
}

function addClaim(usage: Map<string, Quantity>, { metadata, spec, status }: PersistentVolumeClaim): void {
  const asked = readAmounts(spec.resources?.requests).get('storage');
  // An expansion that failed and was taken back has used what it was given.
  const allocated = readAmounts(status?.allocatedResources).get('storage');
  const storage = asked !== undefined && allocated !== undefined && compareQuantities(asked, allocated) < 0 ? allocated : asked;
  const storageClass = metadata.annotations?.['volume.beta.kubernetes.io/storage-class'] ?? spec.storageClassName ?? '';
  const prefix = storageClass === '' ? undefined : `${storageClass}.storageclass.storage.k8s.io/`;
  if (storage !== undefined) usage.set('requests.storage', storage);
  if (prefix === undefined) return;
  usage.set(`${prefix}persistentvolumeclaims`, one);
  if (storage !== undefined) usage.set(`${prefix}requests.storage`, storage);
}

// ------------------------------------------------------------------------------------------------------------------------------- scopes

interface ScopeTerm {
  readonly scopeName: string;
  readonly operator: string;
  readonly values?: readonly string[];
}

/** True when the quota covers the object. A quota with scopes covers only pods, or claims, that are in all of them. */
export function isInScope({ spec }: ResourceQuota, kind: KindName, object: KubeObject): boolean {
  const terms: readonly ScopeTerm[] = [
    ...(spec?.scopes ?? []).map((scopeName) => ({ scopeName, operator: 'Exists' })),
    ...((spec?.scopeSelector?.matchExpressions ?? []) as readonly ScopeTerm[]),
  ];
  if (terms.length === 0) return true;
  const name = groupResourceOf(kind);
  if (name === 'pods') return terms.every((term) => isPodIn(term, (object as Pod).spec));
  if (name === 'persistentvolumeclaims') return terms.every((term) => isClaimIn(term, object as PersistentVolumeClaim));
  return false;
}

function isPodIn({ scopeName, operator, values = [] }: ScopeTerm, spec: PodSpec): boolean {
  switch (scopeName) {
    case 'Terminating':
      return !isAbsent(spec.activeDeadlineSeconds);
    case 'NotTerminating':
      return isAbsent(spec.activeDeadlineSeconds);
    case 'BestEffort':
      return qosClassOf(spec) === 'BestEffort';
    case 'NotBestEffort':
      return qosClassOf(spec) !== 'BestEffort';
    case 'PriorityClass':
      return selects(operator, values, spec.priorityClassName);
    case 'CrossNamespacePodAffinity':
      return reachesAcross(spec);
    default:
      return false;
  }
}

const isClaimIn = ({ scopeName, operator, values = [] }: ScopeTerm, { spec }: PersistentVolumeClaim): boolean =>
  scopeName === 'VolumeAttributesClass' && selects(operator, values, spec.volumeAttributesClassName);

function selects(operator: string, values: readonly string[], value: string | undefined): boolean {
  const isSet = !isAbsent(value) && value !== '';
  switch (operator) {
    case 'In':
      return isSet && values.includes(value);
    case 'NotIn':
      return !isSet || !values.includes(value);
    case 'Exists':
      return isSet;
    case 'DoesNotExist':
      return !isSet;
    default:
      return false;
  }
}

function reachesAcross({ affinity }: PodSpec): boolean {
  const { podAffinity, podAntiAffinity } = affinity ?? {};
  const terms = [podAffinity, podAntiAffinity].flatMap((side) => [
    ...(side?.requiredDuringSchedulingIgnoredDuringExecution ?? []),
    ...(side?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map(({ podAffinityTerm }) => podAffinityTerm),
  ]);
  return terms.some((term) => (term?.namespaces ?? []).length > 0 || !isAbsent(term?.namespaceSelector));
}

// -------------------------------------------------------------------------------------------------------------------------- constraints

const demanded: readonly string[] = ['cpu', 'memory', 'requests.cpu', 'requests.memory', 'limits.cpu', 'limits.memory'];

/**
 * A quota on compute resources requires that each container states its requests or limits.
 *
 * @returns `must specify cpu for: a,b; memory for: a`, or undefined when nothing is missing
 */
export function missingAmounts(names: Iterable<string>, { spec }: Pod): string | undefined {
  const wanted = [...names].filter((name) => demanded.includes(name)).sort();
  if (wanted.length === 0) return undefined;
  const ofPod = (spec as { readonly resources?: { readonly requests?: Amounts; readonly limits?: Amounts } }).resources;
  const present = namedUsage(readAmounts(ofPod?.requests), readAmounts(ofPod?.limits));
  const containers = [...spec.containers, ...(spec.initContainers ?? [])].map(({ name, resources }) => ({
    name,
    usage: namedUsage(readAmounts(resources?.requests), readAmounts(resources?.limits)),
  }));
  const missing = wanted.flatMap((resource) => {
    if (present.has(resource)) return [];
    const names = containers.filter(({ usage }) => !usage.has(resource)).map(({ name }) => name);
    return names.length === 0 ? [] : [`${resource} for: ${[...new Set(names)].sort().join(',')}`];
  });
  return missing.length === 0 ? undefined : `must specify ${missing.join('; ')}`;
}

type Amounts = Readonly<Record<string, string>>;

// --------------------------------------------------------------------------------------------------------------------------- arithmetic

/** The amounts of `usage` that the quota limits. */
export function restrictTo(hard: ResourceAmounts, usage: ResourceAmounts): ResourceAmounts {
  const limited = new Map<string, Quantity>();
  for (const [name, amount] of usage) if (hard.has(name)) limited.set(name, amount);
  return limited;
}

export function addAmounts(a: ResourceAmounts, b: ResourceAmounts): ResourceAmounts {
  const sum = new Map(a);
  for (const [name, amount] of b) sum.set(name, addQuantities(a.get(name) ?? zero, amount));
  return sum;
}

export function subtractAmounts(a: ResourceAmounts, b: ResourceAmounts): ResourceAmounts {
  const rest = new Map(a);
  for (const [name, amount] of b) rest.set(name, subtractQuantities(a.get(name) ?? zero, amount));
  return rest;
}

/** The larger of both, amount by amount. */
export function largerAmounts(a: ResourceAmounts, b: ResourceAmounts): ResourceAmounts {
  const larger = new Map(a);
  for (const [name, amount] of b) if (compareQuantities(a.get(name) ?? zero, amount) < 0) larger.set(name, amount);
  return larger;
}

/** Those that are more than nothing. */
export function positiveAmounts(amounts: ResourceAmounts): ResourceAmounts {
  return new Map([...amounts].filter(([, { nanos }]) => nanos > 0n));
}

/** As a status holds them, in the order of `names`; what is not there is zero. */
export function writeAmounts(amounts: ResourceAmounts, names: Iterable<string>): Readonly<Record<string, string>> {
  const written: Record<string, string> = {};
  for (const name of names) written[name] = formatQuantity(amounts.get(name) ?? zero);
  return written;
}

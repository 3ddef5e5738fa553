import { type LimitRange, type LimitRangeItem, limitRanges } from '../../api/core/v1/limit-range.ts';
import { type PersistentVolumeClaim, persistentVolumeClaims } from '../../api/core/v1/persistent-volume-claim.ts';
import { type Container, type Pod, type PodSpec, pods } from '../../api/core/v1/pod.ts';
import { podResources, type ResourceAmounts, readAmounts } from '../../api/core/v1/pod-resources.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import { deepFreeze } from '../../machinery/object.ts';
import { compareQuantities, formatQuantity, milliValueOf, parseQuantity, type Quantity, wholeValueOf } from '../../machinery/quantity.ts';
import { forbidden } from '../../machinery/status-error.ts';
import type { Registry } from '../registry/registry.ts';
import type { AdmissionStep, Operation } from './admission.ts';
import { inNamespace } from './in-namespace.ts';

const annotation = 'kubernetes.io/limit-ranger';

const isPod = ({ group, resource }: KindDefinition): boolean => group === pods.group && resource === pods.resource;
const isClaim = ({ group, resource }: KindDefinition): boolean =>
  group === persistentVolumeClaims.group && resource === persistentVolumeClaims.resource;

/** Containers get the requests and limits that the LimitRanges of their namespace give those that have none. */
export function limitRangeDefaults(registry: Pick<Registry, 'stateOf'>): AdmissionStep {
  return {
    name: 'LimitRanger',
    isIdle: () => isUnused(registry),
    appliesTo: (kind, operation) => isPod(kind) && operation === 'create',
    admit({ object, namespace }) {
      let pod = object as Pod;
      for (const range of rangesIn(registry, namespace)) pod = withDefaults(pod, range);
      return pod;
    },
  };
}

/**
 * Keeps pods and claims within the bounds of their namespace. The resources of a pod's containers change by `resize`
 * alone, so other updates pass unchecked, as upstream.
 *
 * @throws StatusError `Forbidden`, with all errors
 */
export function limitRangeCheck(registry: Pick<Registry, 'stateOf'>): AdmissionStep {
  return {
    name: 'LimitRanger',
    phase: 'validating',
    subresources: ['resize'],
    isIdle: () => isUnused(registry),
    appliesTo: (kind: KindDefinition, operation: Operation, subresource: string) =>
      (isPod(kind) && (operation === 'create' || (operation === 'update' && subresource === 'resize'))) ||
      (isClaim(kind) && (operation === 'create' || operation === 'update')),
    admit({ kind, object, namespace, name }) {
      if (object.metadata.deletionTimestamp !== undefined) return object;
      for (const { spec } of rangesIn(registry, namespace)) {
        const wrong = (spec?.limits ?? []).flatMap((item) =>
          isPod(kind) ? podViolations(item, (object as Pod).spec) : claimViolations(item, object as PersistentVolumeClaim),
        );
        if (wrong.length === 0) continue;
        const [first = ''] = wrong;
        throw forbidden(kind, name, wrong.length === 1 ? first : `[${wrong.join(', ')}]`);
      }
      return object;
    },
  };
}

const isUnused = (registry: Pick<Registry, 'stateOf'>): boolean => registry.stateOf(limitRanges as KindDefinition).all.objects.size === 0;

const rangesIn = (registry: Pick<Registry, 'stateOf'>, namespace: string | undefined): readonly LimitRange[] =>
  inNamespace<LimitRange>(registry, limitRanges, namespace);

// ----------------------------------------------------------------------------------------------------------------------------- defaults

interface Completed {
  readonly spec: PodSpec;
  /** The defaults that were set, as text. */
  readonly said: readonly string[];
}

/** By the frozen range and spec, so that the pods of one template share what they get. */
const known = new WeakMap<LimitRange, WeakMap<PodSpec, Completed>>();

function withDefaults(pod: Pod, range: LimitRange): Pod {
  let bySpec = known.get(range);
  if (bySpec === undefined) {
    bySpec = new WeakMap();
    known.set(range, bySpec);
  }
  let completed = bySpec.get(pod.spec);
  if (completed === undefined) {
    completed = completedSpec(pod.spec, range);
    if (Object.isFrozen(pod.spec)) bySpec.set(pod.spec, deepFreeze(completed));
  }
  const { spec, said } = completed;
  if (said.length === 0) return pod;
  const annotations = { ...pod.metadata.annotations, [annotation]: `LimitRanger plugin set: ${said.join('; ')}` };
  return { ...pod, metadata: { ...pod.metadata, annotations }, spec };
}

function completedSpec(spec: PodSpec, range: LimitRange): Completed {
  const requests: Record<string, string> = {};
  const limits: Record<string, string> = {};
  for (const item of range.spec?.limits ?? []) {
    if (item.type !== 'Container') continue;
    Object.assign(requests, item.defaultRequest);
    Object.assign(limits, item.default);
  }
  const said: string[] = [];
  const complete = (containers: readonly Container[], what: string): readonly Container[] =>
    containers.map((container) => completedContainer(container, { requests, limits, what, said }));
  const containers = complete(spec.containers, 'container');
  const initContainers = spec.initContainers === undefined ? undefined : complete(spec.initContainers, 'init container');
  if (said.length === 0) return { spec, said };
  return { spec: { ...spec, containers, ...(initContainers === undefined ? {} : { initContainers }) }, said };
}

interface Completion {
  readonly requests: Readonly<Record<string, string>>;
  readonly limits: Readonly<Record<string, string>>;
  /** `container`, `init container` */
  readonly what: string;
  /** Receives the defaults that were set, as text. */
  readonly said: string[];
}

function completedContainer(container: Container, { requests, limits, what, said }: Completion): Container {
  const given = container.resources ?? {};
  const missing = (amounts: Readonly<Record<string, string>>, present: Readonly<Record<string, string>> | undefined): readonly string[] =>
    Object.keys(amounts)
      .filter((name) => present === undefined || !Object.hasOwn(present, name))
      .sort();
  const newRequests = missing(requests, given.requests);
  const newLimits = missing(limits, given.limits);
  if (newRequests.length === 0 && newLimits.length === 0) return container;
  if (newRequests.length > 0) said.push(`${newRequests.join(', ')} request for ${what} ${container.name}`);
  if (newLimits.length > 0) said.push(`${newLimits.join(', ')} limit for ${what} ${container.name}`);
  return {
    ...container,
    resources: {
      ...given,
      ...(newLimits.length === 0 ? {} : { limits: { ...given.limits, ...picked(limits, newLimits) } }),
      ...(newRequests.length === 0 ? {} : { requests: { ...given.requests, ...picked(requests, newRequests) } }),
    },
  };
}

const picked = (amounts: Readonly<Record<string, string>>, names: readonly string[]): Readonly<Record<string, string>> =>
  Object.fromEntries(names.map((name) => [name, amounts[name] ?? '0']));

// ------------------------------------------------------------------------------------------------------------------------------- bounds

interface Amounts {
  readonly requests: ResourceAmounts;
  readonly limits: ResourceAmounts;
}

function podViolations(item: LimitRangeItem, spec: PodSpec): readonly string[] {
  switch (item.type) {
    case 'Container':
      return [...spec.containers, ...(spec.initContainers ?? [])].flatMap(({ resources }) =>
        violations(item, { requests: readAmounts(resources?.requests), limits: readAmounts(resources?.limits) }),
      );
    case 'Pod':
      return violations(item, {
        requests: podResources(spec, 'requests', { overhead: false }),
        limits: podResources(spec, 'limits', { overhead: false }),
      });
    default:
      return [];
  }
}

function violations(item: LimitRangeItem, amounts: Amounts): readonly string[] {
  return [
    ...bounds(item.min).flatMap(([name, least]) => tooSmall({ type: item.type, name, bound: least }, amounts)),
    ...bounds(item.max).flatMap(([name, most]) => tooLarge({ type: item.type, name, bound: most }, amounts)),
    ...bounds(item.maxLimitRequestRatio).flatMap(([name, ratio]) => tooFarApart({ type: item.type, name, bound: ratio }, amounts)),
  ];
}

function claimViolations(item: LimitRangeItem, { spec }: PersistentVolumeClaim): readonly string[] {
  if (item.type !== 'PersistentVolumeClaim') return [];
  const requests = readAmounts(spec.resources?.requests);
  return [
    ...bounds(item.min).flatMap(([name, least]) => tooSmall({ type: item.type, name, bound: least }, { requests, limits: new Map() })),
    ...bounds(item.max).flatMap(([name, most]) => {
      const request = requests.get(name);
      const rule = `maximum ${name} usage per ${item.type} is ${formatQuantity(most)}`;
      if (request === undefined) return [`${rule}.  No request is specified`];
      return compareQuantities(request, most) > 0 ? [`${rule}, but request is ${formatQuantity(request)}`] : [];
    }),
  ];
}

const bounds = (amounts: Readonly<Record<string, string>> | undefined): readonly (readonly [string, Quantity])[] =>
  [...readAmounts(amounts)].sort(([a], [b]) => (a < b ? -1 : 1));

interface Bound {
  readonly type: string;
  readonly name: string;
  readonly bound: Quantity;
}

function tooSmall({ type, name, bound: least }: Bound, { requests, limits }: Amounts): readonly string[] {
  const rule = `minimum ${name} usage per ${type} is ${formatQuantity(least)}`;
  const request = requests.get(name);
  const limit = limits.get(name);
  if (request === undefined) return [`${rule}.  No request is specified`];
  if (compareQuantities(request, least) < 0) return [`${rule}, but request is ${formatQuantity(request)}`];
  if (limit !== undefined && compareQuantities(limit, least) < 0) return [`${rule}, but limit is ${formatQuantity(limit)}`];
  return [];
}

function tooLarge({ type, name, bound: most }: Bound, { requests, limits }: Amounts): readonly string[] {
  const rule = `maximum ${name} usage per ${type} is ${formatQuantity(most)}`;
  const request = requests.get(name);
  const limit = limits.get(name);
  if (limit === undefined) return [`${rule}.  No limit is specified`];
  if (compareQuantities(limit, most) > 0) return [`${rule}, but limit is ${formatQuantity(limit)}`];
  if (request !== undefined && compareQuantities(request, most) > 0) return [`${rule}, but request is ${formatQuantity(request)}`];
  return [];
}

const one = parseQuantity('1');

function tooFarApart({ type, name, bound: most }: Bound, { requests, limits }: Amounts): readonly string[] {
  const rule = `${name} max limit to request ratio per ${type} is ${formatQuantity(most)}`;
  const request = requests.get(name);
  const limit = limits.get(name);
  if (request === undefined || request.nanos === 0n) return [`${rule}, but no request is specified or request is 0`];
  if (limit === undefined || limit.nanos === 0n) return [`${rule}, but no limit is specified or limit is 0`];
  const ratio = Number(limit.nanos) / Number(request.nanos);
  // Ratios are whole numbers, except for those up to one.
  const allowed = compareQuantities(most, one) <= 0 ? milliValueOf(most) / 1000 : wholeValueOf(most);
  return ratio > allowed ? [`${rule}, but provided ratio is ${ratio.toFixed(6)}`] : [];
}

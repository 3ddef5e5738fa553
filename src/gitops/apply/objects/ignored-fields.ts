import { deployments } from '../../../api/apps/v1/deployment.ts';
import { replicaSets } from '../../../api/apps/v1/replica-set.ts';
import { statefulSets } from '../../../api/apps/v1/stateful-set.ts';
import {
  autoscalerConditions,
  type HorizontalPodAutoscalerV1,
  horizontalPodAutoscalersV1,
} from '../../../api/autoscaling/v1/horizontal-pod-autoscaler.ts';
import { replicationControllers } from '../../../api/core/v1/replication-controller.ts';
import type { Kustomization, PatchTarget } from '../../../api/kustomize/v1/kustomization.ts';
import { type ClusterRole, clusterRoles } from '../../../api/rbac/v1/cluster-role.ts';
import { untilAborted } from '../../../base/concurrency.ts';
import type { Client } from '../../../client/client.ts';
import { eachPage } from '../../../client/each-page.ts';
import type { InformerSet } from '../../../client/informer.ts';
import { conditionOf } from '../../../machinery/conditions.ts';
import { type DynamicObject, deepEqual, type KubeObject } from '../../../machinery/object.ts';
import { parseApiVersion, type Resource } from '../../../machinery/resource.ts';
import { parseLabelSelector } from '../../../machinery/selector.ts';
import { SelectorError, safePattern } from '../../render/kustomize/selector.ts';
import { type FieldPath, type FieldTree, fieldManager, owns } from './fields.ts';
import { addressOf } from './object-id.ts';

/** A JSON pointer, RFC 6901: `/spec/replicas`. */
export type Pointer = string;

/**
 * Fields of an app's objects that others may set. `spec.ignore` names some; others are the replicas of what an autoscaler is able to scale,
 * and the rules of an aggregated ClusterRole. They are set when the object is made; afterwards whoever changes one has it, and the engine
 * neither sends nor puts it back.
 */
export interface IgnoredFields {
  /** @throws SelectorError for a pattern or selector of a rule that cannot be read */
  pointersOf(app: Kustomization, object: KubeObject): readonly Pointer[];
  /**
   * The same, including autoscalers that the cache does not have yet. Asks the server when that matters.
   *
   * @param find  reads the object as it is on the server
   */
  pointersNow(app: Kustomization, object: KubeObject, find: FindLive): Promise<readonly Pointer[]>;
  /** The name of an autoscaler that decides the replicas of an object; undefined when none does. */
  autoscalerOf(object: KubeObject): string | undefined;
  /** Calls `listener` with the address of a workload when an autoscaler begins or ends to decide its replicas. */
  onScaleTarget(listener: (address: string) => void): void;
  /** Resolves when the autoscalers of the cluster are known. */
  waitForSync(signal: AbortSignal): Promise<void>;
}

export type FindLive = () => Promise<KubeObject | undefined>;

/** Autoscalers asked for in one list call. */
const byTarget = 'gitops-scale-target';
const scalableKinds: ReadonlyMap<string, Resource> = new Map(
  [deployments, replicaSets, statefulSets, replicationControllers].map((resource) => [resource.kind, resource as Resource]),
);
const replicas: readonly Pointer[] = ['/spec/replicas'];
/** The same as a path of `fieldsV1`. */
export const replicasPath: FieldPath = ['f:spec', 'f:replicas'];

export const isScalable = ({ kind }: { readonly kind: string }): boolean => scalableKinds.has(kind);

export function createIgnoredFields({ client, informers }: { readonly client: Client; readonly informers: InformerSet }): IgnoredFields {
  // The one version that every cluster serves; the fields that are read are the same in each.
  const autoscalers = informers.get(horizontalPodAutoscalersV1);
  autoscalers.addIndex(byTarget, scaleTargets);

  const autoscalerOf = (object: KubeObject): string | undefined =>
    isScalable(object) ? autoscalers.byIndex(byTarget, targetOf(object))[0]?.metadata.name : undefined;

  return {
    autoscalerOf,
    pointersOf: (app, object) => (autoscalerOf(object) === undefined ? named(app, object) : [...named(app, object), ...replicas]),
    async pointersNow(app, object, find) {
      return autoscalerOf(object) === undefined ? await askPointers(client, app, { object, find }) : [...named(app, object), ...replicas];
    },
    onScaleTarget(listener) {
      autoscalers.addHandler(({ before, after }) => {
        const [left, entered] = [before, after].map((each) => (each === undefined ? [] : scaleTargets(each)));
        for (const target of new Set([...(left ?? []), ...(entered ?? [])])) {
          if (left?.includes(target) === entered?.includes(target)) continue;
          const [namespace = '', kind = '', name = ''] = target.split('/');
          const resource = scalableKinds.get(kind);
          if (resource !== undefined) listener(addressOf(resource, { namespace, name }));
        }
      });
    },
    waitForSync: (signal) => untilAborted(autoscalers.whenSynced, signal),
  };
}

const named = (app: Kustomization, object: KubeObject): readonly Pointer[] => [
  ...(isAggregated(object) ? ['/rules'] : []),
  ...[...(app.spec.ignore ?? []), ...(app.spec.driftIgnoreRules ?? [])].flatMap(({ paths, target }) =>
    target === undefined || matches(target, object) ? paths : [],
  ),
];

/**
 * The controller manager overwrites the rules of such a role, so those of a manifest (mostly `rules: []`) never hold.
 *
 * @see https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles
 */
const isAggregated = (object: KubeObject): boolean =>
  object.kind === clusterRoles.kind &&
  parseApiVersion(object.apiVersion).group === clusterRoles.group &&
  ((object as Partial<ClusterRole>).aggregationRule ?? undefined) !== undefined;

/** Fields of an app's object that others may set, by what the server knows now; the autoscalers are asked for where they matter. */
export async function askPointers(
  client: Client,
  app: Kustomization,
  { object, find }: { readonly object: KubeObject; readonly find: FindLive },
): Promise<readonly Pointer[]> {
  const asksForReplicas = isScalable(object) && (object as Scalable).spec?.replicas !== undefined;
  return asksForReplicas && (await isScaledNow(client, object, find)) ? [...named(app, object), ...replicas] : named(app, object);
}

async function isScaledNow(client: Client, object: KubeObject, find: FindLive): Promise<boolean> {
  const { namespace } = object.metadata;
  const target = targetOf(object);
  let hasSilent = false;
  for await (const { items } of eachPage(client, horizontalPodAutoscalersV1, { namespace })) {
    if (items.some((each) => scaleTargets(each).includes(target))) return true;
    hasSilent ||= items.some((each) => isSilent(each) && wishedTargets(each).includes(target));
  }
  // Upstream's controller writes the number before its first status, and has no other way to say that it did.
  return hasSilent && isScaledByControllers(await find());
}

/** True when the controllers of the cluster set the replicas by `scale`, which only the one of autoscalers does. */
const isScaledByControllers = (live: KubeObject | undefined): boolean =>
  live?.metadata.managedFields?.some(
    ({ manager, subresource, fieldsV1 }) =>
      manager === 'kube-controller-manager' && subresource === 'scale' && owns(fieldsV1, replicasPath),
  ) === true;

interface Scalable extends KubeObject {
  readonly spec?: { readonly replicas?: unknown };
}

const targetOf = ({ kind, metadata }: KubeObject): string => `${metadata.namespace}/${kind}/${metadata.name}`;

/** `namespace/Kind/name` of what an autoscaler decides the replicas of; nothing while it cannot. */
const scaleTargets = (autoscaler: HorizontalPodAutoscalerV1): readonly string[] => (decides(autoscaler) ? wishedTargets(autoscaler) : []);

/** True before the first status of an autoscaler. Later its conditions alone count. */
const isSilent = (autoscaler: HorizontalPodAutoscalerV1): boolean =>
  conditionOf(autoscalerConditions(autoscaler), 'ScalingActive') === undefined;

/** The same, whether the autoscaler can decide or not. */
function wishedTargets({ metadata, spec }: HorizontalPodAutoscalerV1): readonly string[] {
  const { kind, name } = spec?.scaleTargetRef ?? {};
  return kind === undefined ? [] : [`${metadata.namespace}/${kind}/${name}`];
}

/**
 * True when an autoscaler can act, by the conditions that its controller sets. Without a controller it has none, and
 * Git's number counts. One that has scaled keeps its number while its metrics are away: an outage must not shrink a
 * workload to Git's number.
 *
 * @see https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale-walkthrough/, "Appendix: status conditions"
 */
function decides(autoscaler: HorizontalPodAutoscalerV1): boolean {
  const conditions = autoscalerConditions(autoscaler);
  const [able, active] = ['AbleToScale', 'ScalingActive'].map((type) => conditionOf(conditions, type));
  // Someone set the replicas to 0, which switches it off.
  if (able === undefined || active === undefined || active.reason === 'ScalingDisabled') return false;
  return (able.status === 'True' && active.status === 'True') || (autoscaler.status?.lastScaleTime ?? undefined) !== undefined;
}

function matches(target: PatchTarget, { apiVersion, kind, metadata }: KubeObject): boolean {
  const { group, version } = parseApiVersion(apiVersion);
  const fits = (pattern: string | undefined, text = ''): boolean => !pattern || safePattern(`^(?:${pattern})$`).test(text);
  const selects = (selector: string | undefined, values: Readonly<Record<string, string>> | undefined): boolean => {
    if (!selector) return true;
    try {
      return parseLabelSelector(selector).matches(values);
    } catch (cause) {
      throw new SelectorError(`selector ${selector} cannot be read`, { cause });
    }
  };
  return (
    fits(target.group, group) &&
    fits(target.version, version) &&
    fits(target.kind, kind) &&
    fits(target.namespace, metadata.namespace) &&
    fits(target.name, metadata.name) &&
    selects(target.labelSelector, metadata.labels) &&
    selects(target.annotationSelector, metadata.annotations)
  );
}

/** The object without the fields that someone else has of the live one. The same reference when there are none. */
export function withoutForeign(object: DynamicObject, live: DynamicObject | undefined, pointers: readonly Pointer[]): DynamicObject {
  if (live === undefined) return object;
  let result = object;
  for (const pointer of pointers) {
    const segments = segmentsOf(pointer);
    if (segments === undefined || !isForeign(live, object, segments)) continue;
    result = without(result, segments) as DynamicObject;
  }
  return result;
}

/** True when a field, as `fieldsV1` names it, is one of `pointers` or below one. */
export function isIgnored(object: DynamicObject, path: FieldPath, pointers: readonly Pointer[]): boolean {
  if (pointers.length === 0) return false;
  const pointer = pointerOf(object, path);
  return pointers.some((each) => pointer === each || pointer.startsWith(`${each}/`));
}

function segmentsOf(pointer: Pointer): readonly string[] | undefined {
  if (!pointer.startsWith('/')) return undefined;
  return pointer
    .slice(1)
    .split('/')
    .map((segment) => segment.replaceAll('~1', '/').replaceAll('~0', '~'));
}

const escapeSegment = (segment: string): string => segment.replaceAll('~', '~0').replaceAll('/', '~1');

function pointerOf(object: DynamicObject, path: FieldPath): Pointer {
  let value: unknown = object;
  let pointer = '';
  for (const segment of path) {
    const rest = segment.slice(2);
    if (segment.startsWith('f:')) {
      pointer += `/${escapeSegment(rest)}`;
      value = (value as Readonly<Record<string, unknown>> | undefined)?.[rest];
      continue;
    }
    const index = Array.isArray(value) ? indexOf(value, segment) : -1;
    pointer += `/${index}`;
    value = Array.isArray(value) ? value[index] : undefined;
  }
  return pointer;
}

/** Place of the list item that a segment of `fieldsV1` names; -1 when it is not there. */
function indexOf(items: readonly unknown[], segment: string): number {
  const key: unknown = JSON.parse(segment.slice(2));
  switch (segment.slice(0, 2)) {
    case 'k:':
      return items.findIndex((item) =>
        Object.entries(key as object).every(([name, value]) =>
          deepEqual((item as Readonly<Record<string, unknown>> | null)?.[name], value),
        ),
      );
    case 'v:':
      return items.findIndex((item) => deepEqual(item, key));
    default:
      return Number(key);
  }
}

/** True when a manager other than ours has something at or below a place. */
function isForeign(live: DynamicObject, object: DynamicObject, segments: readonly string[]): boolean {
  return (live.metadata.managedFields ?? []).some(
    ({ manager, fieldsV1 }) => manager !== fieldManager && fieldsV1 !== undefined && hasPlace(fieldsV1, object, segments),
  );
}

function hasPlace(tree: FieldTree, object: DynamicObject, segments: readonly string[]): boolean {
  let node: FieldTree | undefined = tree;
  let value: unknown = object;
  for (const segment of segments) {
    if (node === undefined) return false;
    const items: readonly unknown[] | undefined = Array.isArray(value) ? value : undefined;
    const key: string | undefined =
      items === undefined
        ? `f:${segment}`
        : Object.keys(node).find((each) => each !== '.' && !each.startsWith('f:') && indexOf(items, each) === Number(segment));
    node = key === undefined ? undefined : (node[key] as FieldTree | undefined);
    value = (value as Readonly<Record<string, unknown>> | undefined)?.[segment];
  }
  return node !== undefined;
}

function without(value: unknown, segments: readonly string[]): unknown {
  const [first, ...rest] = segments;
  if (first === undefined || typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) {
    const index = Number(first);
    if (rest.length === 0) return value.filter((_, each) => each !== index);
    return value.map((item, each) => (each === index ? without(item, rest) : item));
  }
  const record = value as Readonly<Record<string, unknown>>;
  if (!Object.hasOwn(record, first)) return value;
  if (rest.length > 0) return { ...record, [first]: without(record[first], rest) };
  const { [first]: _, ...kept } = record;
  return kept;
}

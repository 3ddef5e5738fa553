import type { ReplicaSet } from '../../api/apps/v1/replica-set.ts';
import { events } from '../../api/core/v1/event.ts';
import type { Pod } from '../../api/core/v1/pod.ts';
import { kustomizations } from '../../api/kustomize/v1/kustomization.ts';
import type { WhyOverview } from '../../base/contracts/overview.ts';
import type { Client, DiscoveredResource } from '../../client/client.ts';
import { type Health, sentenceOf } from '../../lifecycle/reasons.ts';
import { type DynamicObject, type KubeObject, keyOf, type ObjectRef } from '../../machinery/object.ts';
import type { Resource } from '../../machinery/resource.ts';
import { describeObject, tryParseId } from '../apply/objects/object-id.ts';
import { healthOf } from '../apply/observe/health.ts';
import { type PodGenerations, type PodsView, podGenerations, servingText } from '../apply/observe/pod-generations.ts';
import { withCause } from '../apply/records/object-healths.ts';
import { timeOfEvent } from './events.ts';
import type { ObjectContext } from './object-context.ts';
import { type Trace, traceObject } from './trace.ts';
import { explainApp } from './why-app.ts';

/** Reasons for the state of one object. */
export interface ObjectWhy {
  readonly object: string;
  readonly health: Health;
  /** Those that are not as they should be. */
  readonly conditions: readonly { readonly type: string; readonly status: string; readonly reason: string; readonly message: string }[];
  /** Newest first; `at` is RFC 3339. */
  readonly events: readonly { readonly at: string; readonly reason: string; readonly message: string; readonly count: number }[];
  readonly trace: Trace;
  readonly app: WhyOverview | undefined;
}

const maxEvents = 5;

export interface ObjectQuestion {
  readonly kind: string;
  readonly name: string;
  /** Undefined: the namespaces in which apps have objects. */
  readonly namespace: string | undefined;
  /** Only objects of this app are meant. */
  readonly appRef: ObjectRef | undefined;
}

/** Undefined when there is no such object. */
export async function explainObject(context: ObjectContext, question: ObjectQuestion): Promise<ObjectWhy | 'unknown-kind' | undefined> {
  const { client, lookup, redactor } = context;
  const resource = await lookup.kind(question.kind);
  if (resource === undefined) return 'unknown-kind';
  const object = await findObject(context, resource, question);
  if (object === undefined) return undefined;
  const view = { ...(await context.healthView()), ...(await podsBelow(context, object)) };
  const health = await explainHealth(context, object, healthOf(object, view), podGenerations(object, view));
  const trace = await traceObject(client, lookup, object);
  const app = trace.app === undefined ? undefined : await client.get(kustomizations, trace.app);
  if (app !== undefined) await context.learn(app);
  const redact = (text: string): string => redactor.text(text, app === undefined ? undefined : keyOf(app));
  const withoutSecrets = <T extends { readonly message: string }>(each: T): T => ({ ...each, message: redact(each.message) });
  return {
    object: redact(describeObject(object)),
    health: { ...health, reason: redact(health.reason) },
    conditions: conditionsOf(object).map(withoutSecrets),
    events: (await eventsOf(client, object)).map(withoutSecrets),
    trace,
    app: app === undefined ? undefined : await explainApp(client, app),
  };
}

async function explainHealth({ causeOf }: ObjectContext, object: DynamicObject, health: Health, pods: PodGenerations): Promise<Health> {
  if (health.status !== 'Progressing' && health.status !== 'Degraded') return health;
  const own = object.kind === 'Pod' && object.apiVersion === 'v1' ? [object as unknown as Pod] : pods.judged;
  const cause = own.length === 0 ? undefined : await causeOf(own);
  const serving = servingText(pods);
  return {
    ...health,
    reason: sentenceOf({
      status: health.status,
      reason: cause === undefined ? health.reason : withCause(health.reason, cause),
      ...(serving === undefined ? {} : { serving }),
    }),
    ...(cause?.fix === undefined ? {} : { fix: cause.fix }),
  };
}

/** The object that a question names; undefined when there is none. */
export async function findObject(
  { client, lookup }: Pick<ObjectContext, 'client' | 'lookup'>,
  resource: DiscoveredResource,
  { name, namespace, appRef }: Omit<ObjectQuestion, 'kind'>,
): Promise<DynamicObject | undefined> {
  if (!resource.namespaced) return lookup.get(resource, { name });
  for (const place of namespace === undefined ? await namespacesOfApps(client, appRef) : [namespace]) {
    const found = await lookup.get(resource, { namespace: place, name });
    if (found !== undefined) return found;
  }
  return undefined;
}

async function namespacesOfApps(client: Client, appRef: ObjectRef | undefined): Promise<readonly string[]> {
  const apps = appRef === undefined ? (await client.list(kustomizations)).items : [await client.get(kustomizations, appRef)];
  const found = new Set(
    apps.flatMap(({ status }) => (status?.inventory?.entries ?? []).flatMap(({ id }) => tryParseId(id)?.ref.namespace ?? [])),
  );
  return [...found, 'default'].sort();
}

/** Pods of the object or of what it owns, and its ReplicaSets that have pods; read once, for the rules of health. */
async function podsBelow({ client, lookup }: ObjectContext, object: KubeObject): Promise<PodsView> {
  const { namespace } = object.metadata;
  const none: PodsView = { podsOf: () => [], replicaSetsOf: () => [] };
  if (namespace === undefined || object.kind === 'Pod') return none;
  // Its definition would bring the validation of pods along.
  const pods = (await lookup.kindOf('', 'Pod')) as unknown as Resource<KubeObject & Pod> | undefined;
  if (pods === undefined) return none;
  const { items } = await client.list(pods, { namespace, resourceVersion: '0' });
  const owned: Pod[] = [];
  const sets = new Map<string, ReplicaSet>();
  for (const pod of items) {
    if ((pod.metadata.ownerReferences ?? []).length === 0) continue;
    const [owner, ...above] = await lookup.ownersOf(pod);
    if (owner === undefined || ![owner, ...above].some(({ metadata }) => metadata.uid === object.metadata.uid)) continue;
    owned.push(pod);
    if (owner.kind === 'ReplicaSet') sets.set(owner.metadata.uid ?? '', owner as ReplicaSet);
  }
  const isObject = (of: KubeObject): boolean => of.metadata.uid === object.metadata.uid;
  return { podsOf: (of) => (isObject(of) ? owned : []), replicaSetsOf: (of) => (isObject(of) ? [...sets.values()] : []) };
}

/** Conditions of which False is good news. */
const negativeTypes: readonly string[] = [
  'Stalled',
  'Reconciling',
  'Failed',
  'ReplicaFailure',
  'MemoryPressure',
  'DiskPressure',
  'PIDPressure',
];

function conditionsOf(object: DynamicObject): ObjectWhy['conditions'] {
  const conditions = (object.status as { readonly conditions?: unknown } | undefined)?.conditions;
  if (!Array.isArray(conditions)) return [];
  return conditions.flatMap((condition: Readonly<Record<string, unknown>>) => {
    const type = String(condition.type);
    if (condition.status === (negativeTypes.includes(type) ? 'False' : 'True')) return [];
    return [{ type, status: String(condition.status), reason: String(condition.reason ?? ''), message: String(condition.message ?? '') }];
  });
}

async function eventsOf(client: Client, { kind, metadata }: KubeObject): Promise<ObjectWhy['events']> {
  const { items } = await client.list(events, {
    namespace: metadata.namespace ?? 'default',
    fieldSelector: `involvedObject.kind=${kind},involvedObject.name=${metadata.name}`,
  });
  return [...items]
    .filter(({ type, involvedObject }) => type === 'Warning' && (involvedObject.uid === undefined || involvedObject.uid === metadata.uid))
    .sort((a, b) => timeOfEvent(b) - timeOfEvent(a))
    .slice(0, maxEvents)
    .map((event) => ({
      at: new Date(timeOfEvent(event)).toISOString(),
      reason: event.reason ?? '',
      message: event.message ?? '',
      count: event.series?.count ?? event.count ?? 1,
    }));
}

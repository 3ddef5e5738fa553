import type { ReplicaSet } from '../../api/apps/v1/replica-set.ts';
import type { Pod } from '../../api/core/v1/pod.ts';
import type { Kustomization } from '../../api/kustomize/v1/kustomization.ts';
import { mapBounded } from '../../base/concurrency.ts';
import type { Client, DiscoveredResource } from '../../client/client.ts';
import { eachPage } from '../../client/each-page.ts';
import type { Health } from '../../lifecycle/reasons.ts';
import { type DynamicObject, type KubeObject, keyOf, type ObjectRef } from '../../machinery/object.ts';
import type { Resource } from '../../machinery/resource.ts';
import { isForbidden } from '../../machinery/status-error.ts';
import { describe, type ParsedId, tryParseId } from '../apply/objects/object-id.ts';
import { type HealthView, healthOf } from '../apply/observe/health.ts';
import type { Lookup } from './lookup.ts';
import type { ObjectContext } from './object-context.ts';

/** An object of an app, or one that came of it, with how it does. */
export interface TreeNode {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly health: Health;
  readonly children: readonly TreeNode[];
}

/** Each further connection costs a handshake, which takes as long as ten requests. */
const concurrency = 4;
/** Objects of one kind that are looked through for children. */
const maxObjects = 20_000;
const maxDepth = 10;
/** Kinds that others write about objects, or that are computed; nobody looks for them in a tree. */
const passingKinds: readonly string[] = ['Event', 'Lease', 'PodMetrics'];

/** The app's inventory, and below each object what names it as its owner; without what the app has from Secrets. */
export async function treeOf(
  { client, lookup, redactor, learn, healthView }: ObjectContext,
  app: Kustomization,
): Promise<readonly TreeNode[]> {
  await learn(app);
  const redact = (text: string): string => redactor.text(text, keyOf(app));
  const shown = (node: TreeNode): TreeNode => ({
    ...node,
    name: redact(node.name),
    health: { ...node.health, reason: redact(node.health.reason) },
    children: node.children.map(shown),
  });
  const entries = (app.status?.inventory?.entries ?? []).flatMap(({ id }) => tryParseId(id) ?? []);
  const { children, roots } = await objectsOf(entries, client, lookup);
  const view: HealthView = {
    ...(await healthView()),
    podsOf: (object: KubeObject): readonly Pod[] =>
      below(children, object).filter((each): each is KubeObject & Pod => each.kind === 'Pod' && each.apiVersion === 'v1'),
    replicaSetsOf: ({ metadata: { uid = '' } }) =>
      (children.get(uid) ?? []).filter((each): each is KubeObject & ReplicaSet => each.kind === 'ReplicaSet'),
  };
  const nodeOf = (object: KubeObject, depth: number): TreeNode => ({
    kind: object.kind,
    namespace: object.metadata.namespace ?? '',
    name: object.metadata.name,
    health: healthOf(object, view),
    children:
      depth === maxDepth
        ? []
        : (children.get(object.metadata.uid ?? '') ?? []).map((child) => nodeOf(child, depth + 1)).sort(byKindAndName),
  });
  const nodes = await mapBounded(entries, concurrency, async ({ group, kind, ref }): Promise<TreeNode> => {
    const resource = await lookup.kindOf(group, kind);
    const live = resource === undefined ? undefined : (roots.get(placeOf(group, kind, ref)) ?? (await lookup.get(resource, ref)));
    if (live !== undefined) return nodeOf(live, 0);
    const health: Health = { status: 'Missing', reason: `${describe(kind, ref)} does not exist` };
    return { kind, namespace: ref.namespace ?? '', name: ref.name, health, children: [] };
  });
  return nodes.map(shown);
}

const byKindAndName = (a: TreeNode, b: TreeNode): number => compare(a.kind, b.kind) || compare(a.name, b.name);
const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Everything that has the object above it, at any depth. */
function below(children: ReadonlyMap<string, readonly KubeObject[]>, object: KubeObject, depth = 0): readonly KubeObject[] {
  if (depth === maxDepth) return [];
  return (children.get(object.metadata.uid ?? '') ?? []).flatMap((child) => [child, ...below(children, child, depth + 1)]);
}

interface Listed {
  /** By the uid of their owner. */
  readonly children: ReadonlyMap<string, readonly KubeObject[]>;
  /** The app's own objects by their place; they take no request each. */
  readonly roots: ReadonlyMap<string, KubeObject>;
}

const placeOf = (group: string, kind: string, { namespace = '', name }: ObjectRef): string => [group, kind, namespace, name].join('/');

/** Objects in the namespaces of the app that belong to it or have an owner. */
async function objectsOf(entries: readonly ParsedId[], client: Client, lookup: Lookup): Promise<Listed> {
  const children = new Map<string, KubeObject[]>();
  const roots = new Map<string, KubeObject>();
  const own = new Set(entries.map(({ group, kind, ref }) => placeOf(group, kind, ref)));
  const namespaces = new Set(entries.flatMap(({ ref }) => ref.namespace ?? []));
  const resources = (await lookup.all()).filter(
    ({ namespaced, verbs, kind }) => namespaced && verbs.includes('list') && !passingKinds.includes(kind),
  );
  const places = [...namespaces].flatMap((namespace) => resources.map((resource) => ({ namespace, resource })));
  await mapBounded(places, concurrency, async ({ namespace, resource }) => {
    for (const object of await listAll(client, resource, namespace)) {
      const owner = object.metadata.ownerReferences?.find(({ controller }) => controller === true) ?? object.metadata.ownerReferences?.[0];
      const place = placeOf(resource.group, resource.kind, object.metadata);
      if (own.has(place)) roots.set(place, object);
      if (owner === undefined) continue;
      const siblings = children.get(owner.uid);
      // Two versions or groups of one kind list the same object twice.
      if (siblings === undefined) children.set(owner.uid, [object]);
      else if (siblings.every(({ metadata }) => metadata.uid !== object.metadata.uid)) siblings.push(object);
    }
  });
  return { children, roots };
}

async function listAll(client: Client, resource: DiscoveredResource, namespace: string): Promise<readonly KubeObject[]> {
  const found: KubeObject[] = [];
  try {
    for await (const { items } of eachPage(client, resource as unknown as Resource<DynamicObject>, { namespace })) {
      found.push(...items);
      if (found.length >= maxObjects) break;
    }
  } catch (err) {
    // A user who may see an app may not see everything in its namespaces; the tree shows the visible objects.
    if (!isForbidden(err)) throw err;
  }
  return found;
}

import { namespaces } from '../../../api/core/v1/namespace.ts';
import { type Kustomization, kustomizations } from '../../../api/kustomize/v1/kustomization.ts';
import { labels, rootCaConfigMap } from '../../../api/well-known.ts';
import { type Client, type DiscoveredResource, inPreferredVersion } from '../../../client/client.ts';
import { type DynamicObject, deepEqual, type KubeObject, type ObjectRef } from '../../../machinery/object.ts';
import type { Resource } from '../../../machinery/resource.ts';
import { isNotFound, isUnknownResource } from '../../../machinery/status-error.ts';
import { describe, describeId, type ObjectId, ownerOf, tryParseId } from '../objects/object-id.ts';
import { policyOf } from '../objects/object-policy.ts';
import type { ResourceMapper } from '../objects/resource-mapper.ts';
import { deletesObjects } from '../plan/app-spec.ts';
import type { Claims } from '../plan/claims.ts';
import { definitionKind } from '../plan/plan.ts';

/** An object that is about to be deleted. */
export interface Going {
  readonly id: ObjectId;
  readonly live: DynamicObject;
}

/** Losses that the deletion of objects would bring. */
export interface Losses {
  /** Objects whose deletion loses what Git did not make, each with what that is; a sentence without its subject's article or full stop. */
  readonly reasons: ReadonlyMap<ObjectId, string>;
  /** By id of an app's own object that goes: the objects that this app would delete then. */
  readonly along: ReadonlyMap<ObjectId, readonly ObjectId[]>;
}

export interface LossFinder {
  /**
   * Looks at the server, not at caches. A Namespace loses its content, a definition its objects, a volume or claim its data. An app's
   * Kustomization takes the app's objects along, and what those hold. Objects that the apps of the newest revision let go of are no loss.
   */
  lossesOf(app: Kustomization, going: readonly Going[], signal: AbortSignal): Promise<Losses>;
  /** The same for a single object, whatever the apps name. */
  lossOf(live: DynamicObject): Promise<string | undefined>;
}

export interface LossFinderOptions {
  readonly client: Client;
  readonly mapper: ResourceMapper;
  readonly claims: Claims;
}

/** Kinds whose deletion takes data or other people's objects with it. */
const protectedKinds: readonly string[] = ['Namespace', definitionKind, 'PersistentVolume', 'PersistentVolumeClaim'];
/** Kinds that others write about objects and that nobody would miss. */
const passingKinds: readonly string[] = ['Event', 'Lease', 'EndpointSlice', 'Endpoints'];
/** Put into each Namespace by Kubernetes, OpenShift and Istio, also where there are too few Namespaces to see that. */
const knownCopies: readonly string[] = [rootCaConfigMap, 'openshift-service-ca.crt', 'istio-ca-root-cert'];
/** Kinds that controllers copy from Namespace to Namespace. */
const copiedKinds: readonly string[] = [
  'ConfigMap',
  'Secret',
  'ServiceAccount',
  'Role',
  'RoleBinding',
  'NetworkPolicy',
  'ResourceQuota',
  'LimitRange',
];
/** Other Namespaces that must be there before an object counts as a copy. */
const minOthers = 2;
const pageSize = 500;
/** Objects of one kind that are looked at; with more that pass, the next one counts as a loss. */
const maxPages = 20;
/** Different names that are looked for in other Namespaces, for each Namespace that goes. */
const maxNames = 50;
/** Apps below apps below the one that goes. */
const maxDepth = 8;

export function createLossFinder({ client, mapper, claims }: LossFinderOptions): LossFinder {
  /** Facts gathered for one prune. */
  interface Search {
    readonly doomed: ReadonlySet<ObjectId>;
    /** Doomed objects that are held back nevertheless. */
    readonly kept: Set<ObjectId>;
    /** True when the app that has an object lets it go. */
    letsGo(owner: string, id: ObjectId): boolean;
    others?: Promise<readonly string[]>;
    readonly copies: Map<string, Promise<boolean>>;
  }

  return {
    async lossesOf(app, going, signal) {
      const along = new Map<ObjectId, readonly ObjectId[]>();
      const below = new Map<ObjectId, readonly Going[]>();
      const reasons = new Map<ObjectId, string>();
      const claimants = await claims.claimants(app, signal);
      for (const { id, live } of going) {
        if (!isApp(live)) continue;
        const found = await contentOf(live as unknown as Kustomization, { claimants, seen: new Set([id]), depth: 0 });
        if (found.ids.length === 0) continue;
        along.set(id, found.ids);
        below.set(id, found.going);
        if (found.elsewhere !== undefined) reasons.set(id, `would delete ${found.elsewhere} on another cluster`);
      }
      const search: Search = {
        doomed: new Set([...going.map(({ id }) => id), ...[...along.values()].flat()]),
        kept: new Set(),
        letsGo: await claims.lettingGo(app, signal),
        copies: new Map(),
      };
      const all = [
        ...going.map((each) => ({ ...each, holder: each.id })),
        ...[...below].flatMap(([holder, objects]) => objects.map((each) => ({ ...each, holder }))),
      ].filter(({ live }) => protectedKinds.includes(live.kind));
      // An object that is kept keeps its Namespace.
      const inOrder = [...all.filter(({ live }) => live.kind !== 'Namespace'), ...all.filter(({ live }) => live.kind === 'Namespace')];
      for (const { id, live, holder } of inOrder) {
        signal.throwIfAborted();
        const loss = await lossOf(live, search);
        if (loss === undefined) continue;
        search.kept.add(id);
        if (!reasons.has(holder)) reasons.set(holder, holder === id ? loss : `would delete ${describeId(id)}, which ${loss}`);
      }
      return { reasons, along };
    },
    lossOf: (live) => lossOf(live, { doomed: new Set(), kept: new Set(), letsGo: () => false, copies: new Map() }),
  };

  /** Collects what an app's finalizer deletes: its inventory, less what other apps name, with that of the apps in it. */
  async function contentOf(
    app: Kustomization,
    at: {
      readonly claimants: (id: ObjectId) => readonly string[];
      readonly seen: Set<ObjectId>;
      readonly depth: number;
    },
  ): Promise<{ readonly ids: readonly ObjectId[]; readonly going: readonly Going[]; readonly elsewhere: string | undefined }> {
    if (!deletesObjects(app) || at.depth > maxDepth) return { ids: [], going: [], elsewhere: undefined };
    const key = `${app.metadata.namespace}/${app.metadata.name}`;
    const ids: ObjectId[] = [];
    const going: Going[] = [];
    let elsewhere: string | undefined;
    for (const { id, v } of app.status?.inventory?.entries ?? []) {
      if (at.seen.has(id) || at.claimants(id).some((claimant) => claimant !== key)) continue;
      at.seen.add(id);
      ids.push(id);
      const parsed = tryParseId(id);
      if (parsed === undefined || !(protectedKinds.includes(parsed.kind) || isAppKind(parsed))) continue;
      if (app.spec.kubeConfig !== undefined) {
        elsewhere ??= describeId(id);
        continue;
      }
      const resource = (await mapper.find(parsed.group, v, parsed.kind)) ?? (await mapper.findPreferred(parsed.group, parsed.kind));
      const live = resource === undefined ? undefined : await find(resource as unknown as Resource<DynamicObject>, parsed.ref);
      if (live === undefined || ownerOf(live) !== key || policyOf(live).prune === 'never') continue;
      going.push({ id, live });
      if (!isApp(live)) continue;
      const found = await contentOf(live as unknown as Kustomization, { ...at, depth: at.depth + 1 });
      ids.push(...found.ids);
      going.push(...found.going);
      elsewhere ??= found.elsewhere;
    }
    return { ids, going, elsewhere };
  }

  /** Names the loss that comes with a protected object, as a text that follows its name; undefined when nothing is lost. */
  async function lossOf(live: DynamicObject, search: Search): Promise<string | undefined> {
    switch (live.kind) {
      case 'PersistentVolumeClaim': {
        const { spec, status } = live as Claim;
        // A claim that no volume was bound to has no data yet.
        if (!spec?.volumeName && status?.phase !== 'Bound') return undefined;
        return `may hold data: it is bound to volume ${spec?.volumeName ?? ''}`.trimEnd();
      }
      case 'PersistentVolume': {
        const { claimRef } = (live as Volume).spec ?? {};
        return claimRef === undefined ? undefined : `may hold data of ${describe('PersistentVolumeClaim', claimRef)}`;
      }
      case definitionKind: {
        const first = await firstOf(live as unknown as Definition, search);
        return first === undefined ? undefined : `still has ${first}`;
      }
      default: {
        const first = await firstIn(live.metadata.name, search);
        return first === undefined ? undefined : `still holds ${first}`;
      }
    }
  }

  async function firstOf({ spec }: Definition, search: Search): Promise<string | undefined> {
    const version = spec.versions.find(({ served }) => served)?.name;
    // Objects that are stored and not served cannot be looked at.
    if (version === undefined) return `objects of ${spec.names.plural}.${spec.group} that no version serves`;
    const resource = {
      group: spec.group,
      version,
      resource: spec.names.plural,
      kind: spec.names.kind,
      namespaced: spec.scope === 'Namespaced',
    };
    const first = await firstThat(resource, {}, async (id, item) => !isDoomed(id, item, search));
    return first === undefined ? undefined : describeId(first);
  }

  async function firstIn(namespace: string, search: Search): Promise<string | undefined> {
    for (const resource of inPreferredVersion(await mapper.all())) {
      if (!resource.namespaced || !isDeletable(resource) || passingKinds.includes(resource.kind)) continue;
      const first = await firstThat(resource, { namespace }, async (id, item) => {
        if (isDoomed(id, item, search) || (item.metadata.ownerReferences ?? []).length > 0) return false;
        return !(await comesWithNamespace(resource, item, search));
      });
      if (first !== undefined) return describeId(first);
    }
    return undefined;
  }

  /** Goes in this prune or, by another app of the newest revision, in another one. */
  function isDoomed(id: ObjectId, item: KubeObject, { doomed, kept, letsGo }: Search): boolean {
    if (item.metadata.deletionTimestamp !== undefined) return true;
    if (policyOf(item).prune === 'never') return false;
    if (doomed.has(id)) return !kept.has(id);
    // A claim of another app is that one's to keep.
    return tryParseId(id)?.kind !== 'PersistentVolumeClaim' && letsGo(ownerOf(item), id);
  }

  /** True when Kubernetes or a controller puts such an object into every Namespace. */
  function comesWithNamespace(resource: DiscoveredResource, item: KubeObject, search: Search): boolean | Promise<boolean> {
    const { name, namespace, labels: all } = item.metadata;
    if (!copiedKinds.includes(resource.kind) || all?.[labels.fluxKustomizeName] !== undefined) return false;
    if (resource.kind === 'ConfigMap' && knownCopies.includes(name)) return true;
    if (resource.kind === 'ServiceAccount' && name === 'default') return true;
    // It goes with its account.
    if (resource.kind === 'Secret' && (item as Secret).type === 'kubernetes.io/service-account-token') return true;
    const key = `${resource.kind} ${namespace}/${name}`;
    let answer = search.copies.get(key);
    if (answer === undefined) {
      if (search.copies.size >= maxNames) return false;
      answer = isCopy(resource, item, search);
      search.copies.set(key, answer);
    }
    return answer;
  }

  /**
   * Most other Namespaces have an object of the same kind, name and content. A controller copies it, so deleting one copy loses
   * nothing. Those of Kubernetes itself are left out, as copiers leave them out.
   */
  async function isCopy(resource: DiscoveredResource, item: KubeObject, search: Search): Promise<boolean> {
    const { name, namespace } = item.metadata;
    search.others ??= activeNamespaces();
    const others = (await search.others).filter((other) => other !== namespace);
    if (others.length < minOthers) return false;
    const { items } = await client.list(resource, { fieldSelector: `metadata.name=${name}`, limit: pageSize });
    const content = contentOfCopy(item);
    const same = new Set(items.filter((twin) => deepEqual(contentOfCopy(twin), content)).map((twin) => twin.metadata.namespace));
    return others.filter((other) => same.has(other)).length * 2 > others.length;
  }

  async function activeNamespaces(): Promise<readonly string[]> {
    const { items } = await client.list(namespaces, { limit: pageSize });
    return items
      .filter(({ metadata }) => metadata.deletionTimestamp === undefined && !metadata.name.startsWith('kube-'))
      .map(({ metadata }) => metadata.name);
  }

  async function firstThat(
    resource: Resource,
    { namespace }: { readonly namespace?: string },
    counts: (id: ObjectId, item: KubeObject) => Promise<boolean>,
  ): Promise<ObjectId | undefined> {
    const where = namespace === undefined ? {} : { namespace };
    try {
      let page = await client.list(resource, { ...where, limit: pageSize });
      for (let pages = 1; ; pages += 1) {
        for (const item of page.items) {
          const id = idIn(resource, item.metadata);
          if (await counts(id, item)) return id;
        }
        const next = page.metadata.continue;
        if (next === undefined || next === '') return undefined;
        if (pages === maxPages) return idIn(resource, { ...where, name: '…' });
        page = await client.list(resource, { ...where, limit: pageSize, continue: next });
      }
    } catch (err) {
      if (!isUnknownResource(err)) throw err;
      // The kind went meanwhile, with all of its objects.
      mapper.forget();
      return undefined;
    }
  }

  async function find(resource: Resource<DynamicObject>, ref: ObjectRef): Promise<DynamicObject | undefined> {
    try {
      return await client.get(resource, ref);
    } catch (err) {
      if (isNotFound(err)) return undefined;
      throw err;
    }
  }
}

interface Claim extends KubeObject {
  readonly spec?: { readonly volumeName?: string };
  readonly status?: { readonly phase?: string };
}

interface Volume extends KubeObject {
  readonly spec?: { readonly claimRef?: { readonly namespace: string; readonly name: string } };
}

interface Secret extends KubeObject {
  readonly type?: string;
}

interface Definition {
  readonly spec: {
    readonly group: string;
    readonly scope: string;
    readonly names: { readonly plural: string; readonly kind: string };
    readonly versions: readonly { readonly name: string; readonly served: boolean }[];
  };
}

const isDeletable = ({ verbs }: DiscoveredResource): boolean => verbs.includes('list') && verbs.includes('delete');

const isAppKind = ({ kind, group }: { readonly kind: string; readonly group: string }): boolean =>
  kind === kustomizations.kind && group === kustomizations.group;

const isApp = ({ kind, apiVersion }: KubeObject): boolean => isAppKind({ kind, group: apiVersion.split('/')[0] ?? '' });

/** Items of a list do not say of which kind they are. */
const idIn = ({ group, kind }: Resource, { namespace = '', name }: ObjectRef): ObjectId =>
  [namespace, name.replaceAll(':', '__'), group, kind].join('_');

/** Without what differs from copy to copy: who and when, and the Secrets that were made for an account. */
function contentOfCopy(object: KubeObject): unknown {
  const {
    apiVersion: _,
    kind: __,
    metadata: ___,
    status: ____,
    secrets: _____,
    imagePullSecrets: ______,
    ...content
  } = object as DynamicObject;
  return content;
}

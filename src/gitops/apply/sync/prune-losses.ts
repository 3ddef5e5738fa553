import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { type Client, type DiscoveredResource, inPreferredVersion } from '../../../client/client.ts';
import type { DynamicObject, KubeObject } from '../../../machinery/object.ts';
import { describe, describeId, type ObjectId, ownerOf, tryParseId } from '../objects/object-id.ts';
import { policyOf } from '../objects/object-policy.ts';
import type { ResourceMapper } from '../objects/resource-mapper.ts';
import type { Claims } from '../plan/claims.ts';
import { definitionKind } from '../plan/plan.ts';
import { type AppContents, type Going, isApp, readAppContents } from './app-contents.ts';
import { createNamespaceCopies, type NamespaceCopies } from './namespace-copies.ts';
import { findFirst } from './object-scan.ts';

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

/** Facts gathered for one prune. */
interface Search {
  /** True for an object that goes as well: what holds only such objects loses nothing. */
  goes(id: ObjectId, item: KubeObject): boolean;
  readonly copies: NamespaceCopies;
}

export function createLossFinder({ client, mapper, claims }: LossFinderOptions): LossFinder {
  return {
    async lossesOf(app, going, signal) {
      const claimants = await claims.claimants(app, signal);
      const contents = new Map<ObjectId, AppContents>();
      for (const each of going) {
        if (!isApp(each.live)) continue;
        const found = await readAppContents({ client, mapper, isProtected, claimants }, each);
        if (found.ids.length > 0) contents.set(each.id, found);
      }
      const doomed = new Set([...going.map(({ id }) => id), ...[...contents.values()].flatMap(({ ids }) => ids)]);
      const letsGo = await claims.lettingGo(app, signal);
      const reasons = new Map<ObjectId, string>();
      for (const [id, { elsewhere }] of contents) {
        if (elsewhere !== undefined) reasons.set(id, `would delete ${elsewhere} on another cluster`);
      }
      /** Doomed objects that are held back nevertheless. */
      const kept = new Set<ObjectId>();
      const search: Search = {
        goes(id, item) {
          if (item.metadata.deletionTimestamp !== undefined) return true;
          if (policyOf(item).prune === 'never') return false;
          if (doomed.has(id)) return !kept.has(id);
          // A claim of another app is that one's to keep.
          return tryParseId(id)?.kind !== 'PersistentVolumeClaim' && letsGo(ownerOf(item), id);
        },
        copies: createNamespaceCopies({ client }),
      };
      for (const { id, live, holder } of inOrderOfLoss(going, contents)) {
        signal.throwIfAborted();
        const loss = await lossOf(live, search);
        if (loss === undefined) continue;
        kept.add(id);
        if (!reasons.has(holder)) reasons.set(holder, holder === id ? loss : `would delete ${describeId(id)}, which ${loss}`);
      }
      return { reasons, along: new Map([...contents].map(([id, { ids }]) => [id, ids])) };
    },
    lossOf(live) {
      const goes = (_: ObjectId, item: KubeObject): boolean => item.metadata.deletionTimestamp !== undefined;
      return lossOf(live, { goes, copies: createNamespaceCopies({ client }) });
    },
  };

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

  async function firstOf({ spec }: Definition, { goes }: Search): Promise<string | undefined> {
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
    const first = await findFirst({ client, mapper }, { resource }, (id, item) => !goes(id, item));
    return first === undefined ? undefined : describeId(first);
  }

  async function firstIn(namespace: string, { goes, copies }: Search): Promise<string | undefined> {
    for (const resource of inPreferredVersion(await mapper.all())) {
      if (!resource.namespaced || !isDeletable(resource) || passingKinds.includes(resource.kind)) continue;
      const first = await findFirst({ client, mapper }, { resource, namespace }, async (id, item) => {
        if (goes(id, item) || (item.metadata.ownerReferences ?? []).length > 0) return false;
        return !(await copies.has(resource, item));
      });
      if (first !== undefined) return describeId(first);
    }
    return undefined;
  }
}

/**
 * Protected objects that go, each with the object that takes it along: itself, or an app. Namespaces come last, since an object that is
 * kept keeps its Namespace.
 */
function inOrderOfLoss(
  going: readonly Going[],
  contents: ReadonlyMap<ObjectId, AppContents>,
): readonly (Going & { readonly holder: ObjectId })[] {
  const all = [
    ...going.map((each) => ({ ...each, holder: each.id })),
    ...[...contents].flatMap(([holder, below]) => below.going.map((each) => ({ ...each, holder }))),
  ].filter(({ live }) => isProtected(live.kind));
  return [...all.filter(({ live }) => live.kind !== 'Namespace'), ...all.filter(({ live }) => live.kind === 'Namespace')];
}

const isProtected = (kind: string): boolean => protectedKinds.includes(kind);

interface Claim extends KubeObject {
  readonly spec?: { readonly volumeName?: string };
  readonly status?: { readonly phase?: string };
}

interface Volume extends KubeObject {
  readonly spec?: { readonly claimRef?: { readonly namespace: string; readonly name: string } };
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

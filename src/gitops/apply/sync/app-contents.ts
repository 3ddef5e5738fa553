import { type Kustomization, kustomizations } from '../../../api/kustomize/v1/kustomization.ts';
import type { Client } from '../../../client/client.ts';
import { tryGet } from '../../../client/try-get.ts';
import { type DynamicObject, type KubeObject, keyOf } from '../../../machinery/object.ts';
import type { Resource } from '../../../machinery/resource.ts';
import { describeId, type ObjectId, ownerOf, tryParseId } from '../objects/object-id.ts';
import { policyOf } from '../objects/object-policy.ts';
import type { ResourceMapper } from '../objects/resource-mapper.ts';
import { deletesObjects } from '../plan/app-spec.ts';

/** Apps below apps below the one that goes. */
const maxDepth = 8;

/** An object that is about to be deleted. */
export interface Going {
  readonly id: ObjectId;
  readonly live: DynamicObject;
}

/** Objects that go with an app. */
export interface AppContents {
  readonly ids: readonly ObjectId[];
  /** The objects whose deletion may lose something. */
  readonly going: readonly Going[];
  /** An object on another cluster, which nobody looks at here. */
  readonly elsewhere: string | undefined;
}

export interface AppContentsOptions {
  readonly client: Client;
  readonly mapper: Pick<ResourceMapper, 'find' | 'findPreferred'>;
  /** True for a kind whose deletion may lose something. */
  isProtected(kind: string): boolean;
  /** Apps of the same cluster that name an object. */
  claimants(id: ObjectId): readonly string[];
}

const nothing: AppContents = { ids: [], going: [], elsewhere: undefined };

/** Collects what the finalizer of the app `id` deletes: its inventory, less what other apps name, with that of the apps in it. */
export function readAppContents(options: AppContentsOptions, { id, live }: Going): Promise<AppContents> {
  const { client, mapper, isProtected, claimants } = options;
  /** An object that several apps list goes once. */
  const seen = new Set([id]);
  return contentsOf(live as unknown as Kustomization, 0);

  async function contentsOf(app: Kustomization, depth: number): Promise<AppContents> {
    if (!deletesObjects(app) || depth > maxDepth) return nothing;
    const key = keyOf(app);
    const ids: ObjectId[] = [];
    const going: Going[] = [];
    let elsewhere: string | undefined;
    for (const { id: each, v } of app.status?.inventory?.entries ?? []) {
      if (seen.has(each) || claimants(each).some((claimant) => claimant !== key)) continue;
      seen.add(each);
      ids.push(each);
      const parsed = tryParseId(each);
      if (parsed === undefined || !(isProtected(parsed.kind) || isAppKind(parsed))) continue;
      if (app.spec.kubeConfig !== undefined) {
        elsewhere ??= describeId(each);
        continue;
      }
      const resource = (await mapper.find(parsed.group, v, parsed.kind)) ?? (await mapper.findPreferred(parsed.group, parsed.kind));
      const found = resource === undefined ? undefined : await tryGet(client, resource as unknown as Resource<DynamicObject>, parsed.ref);
      if (found === undefined || ownerOf(found) !== key || policyOf(found).prune === 'never') continue;
      going.push({ id: each, live: found });
      if (!isApp(found)) continue;
      const below = await contentsOf(found as unknown as Kustomization, depth + 1);
      ids.push(...below.ids);
      going.push(...below.going);
      elsewhere ??= below.elsewhere;
    }
    return { ids, going, elsewhere };
  }
}

const isAppKind = ({ kind, group }: { readonly kind: string; readonly group: string }): boolean =>
  kind === kustomizations.kind && group === kustomizations.group;

export const isApp = ({ kind, apiVersion }: KubeObject): boolean => isAppKind({ kind, group: apiVersion.split('/')[0] ?? '' });

import { defaultAppNamespace, rootAppName } from '../api/kustomize/v1/app-name.ts';
import { type Kustomization, kustomizations } from '../api/kustomize/v1/kustomization.ts';
import { receivers } from '../api/notification/v1/receiver.ts';
import { gitRepositories } from '../api/source/v1/git-repository.ts';
import { annotations, finalizers, labels } from '../api/well-known.ts';
import { mapBounded } from '../base/concurrency.ts';
import type { Client, DiscoveredResource } from '../client/client.ts';
import { inPreferredVersion } from '../client/client.ts';
import { tryGet } from '../client/try-get.ts';
import type { KubeObject, ObjectRef } from '../machinery/object.ts';
import { isStatusError } from '../machinery/status-error.ts';
import { fieldManager } from './apply/objects/fields.ts';
import { describe, idOf, tryParseId } from './apply/objects/object-id.ts';
import { readRecord, writeRecord } from './apply/objects/secret-record.ts';
import { sourceKeyOf } from './apply/plan/app-spec.ts';
import { historyRef } from './apply/records/history.ts';
import { inventoryRef } from './apply/sync/inventory.ts';

/** The field manager of what the flags of `up` say. */
export const upFieldManager = 'midship-up';

/** The name of the GitRepository and the Kustomization of `up` in earlier versions. */
export const formerRootName = 'cluster';

/** Requests under way at the same time. */
const concurrency = 16;

/** True when `up` created the object. */
export const isOfUp = ({ metadata }: KubeObject): boolean =>
  metadata.managedFields?.some(({ manager }) => manager === upFieldManager) === true;

/**
 * Gives the app of `up` the name `flux-system` when an earlier version made it as `cluster`. Its status, inventory,
 * history, hold, suspension and the owner labels of its objects move with it. Nothing is pruned, restarted or applied
 * again.
 *
 * Nothing else may work on apps meanwhile. The old app is deleted last, so the next start finishes one that was cut off.
 *
 * @returns the name of the app of `up`: `cluster` still where somebody made a `flux-system`, or where the tree itself holds the old app
 */
export async function renameRootApp(client: Client): Promise<{ readonly name: string; readonly notes: readonly string[] }> {
  const namespace = defaultAppNamespace;
  const [from, to] = [formerRootName, rootAppName].map((name) => ({ namespace, name })) as [Ref, Ref];
  const former = await tryGet(client, kustomizations, from);
  if (former === undefined || !isOfUp(former)) return { name: rootAppName, notes: [] };
  const present = await tryGet(client, kustomizations, to);
  const isForeign = present !== undefined && present.metadata.annotations?.[annotations.renamedFrom] !== formerRootName;
  const holdsItself = former.status?.inventory?.entries.some(({ id }) => id === idOf(former)) === true;
  // An app that is being deleted must not come back under another name.
  const isLeaving = former.metadata.deletionTimestamp !== undefined && present === undefined;
  if (isForeign || holdsItself || isLeaving) return { name: formerRootName, notes: [] };

  await copyRepository(client, from, to);
  const app = await copyApp(client, former, to);
  await copyRecord(client, inventoryRef(former), { ref: inventoryRef(app), owner: app });
  await copyRecord(client, historyRef(former), { ref: historyRef(app), owner: app });
  // Objects on another cluster get the label with the next apply.
  if (former.spec.kubeConfig === undefined) await relabel(client, former, app);
  await client.patch(
    kustomizations,
    from,
    { type: 'merge', body: { metadata: { finalizers: former.metadata.finalizers?.filter((name) => name !== finalizers.flux) ?? null } } },
    { fieldManager },
  );
  await client.delete(kustomizations, from, former.metadata.uid === undefined ? {} : { preconditions: { uid: former.metadata.uid } });
  return {
    name: rootAppName,
    notes: [`app ${formerRootName} is named ${rootAppName} from this start on, with its objects, history and pods as they were`],
  };
}

type Ref = ObjectRef & { readonly namespace: string };

/** Metadata of an object as it is under another name: what people wrote of it. */
const copiedMetadata = ({ metadata }: KubeObject, { namespace, name }: Ref) => {
  const { [annotations.lastAppliedConfiguration]: _, ...notes } = metadata.annotations ?? {};
  return {
    name,
    namespace,
    annotations: { ...notes, [annotations.renamedFrom]: formerRootName },
    ...(metadata.labels === undefined ? {} : { labels: metadata.labels }),
  };
};

async function copyRepository(client: Client, from: Ref, to: Ref): Promise<void> {
  const former = await tryGet(client, gitRepositories, from);
  if (former === undefined || (await tryGet(client, gitRepositories, to)) !== undefined) return;
  const { apiVersion, kind, spec, status } = former;
  const made = await client.create(gitRepositories, { apiVersion, kind, metadata: copiedMetadata(former, to), spec }, { fieldManager });
  if (status === undefined) return;
  const body = { status: { ...status, observedGeneration: made.metadata.generation } };
  await client.patch(gitRepositories, to, { type: 'merge', body }, { subresource: 'status', fieldManager });
}

async function copyApp(client: Client, former: Kustomization, to: Ref): Promise<Kustomization> {
  const { apiVersion, kind, status, metadata } = former;
  const isOfRoot = sourceKeyOf(former) === `${defaultAppNamespace}/${formerRootName}`;
  const spec = isOfRoot ? { ...former.spec, sourceRef: { ...former.spec.sourceRef, name: rootAppName } } : former.spec;
  const made =
    (await tryGet(client, kustomizations, to)) ??
    (await client.create(
      kustomizations,
      { apiVersion, kind, metadata: { ...copiedMetadata(former, to), finalizers: metadata.finalizers ?? [] }, spec },
      { fieldManager },
    ));
  if (status === undefined) return made;
  const isSettled = status.observedGeneration === metadata.generation;
  const body = { status: isSettled ? { ...status, observedGeneration: made.metadata.generation } : status };
  return client.patch(kustomizations, to, { type: 'merge', body }, { subresource: 'status', fieldManager });
}

async function copyRecord(client: Client, from: ObjectRef, to: { readonly ref: ObjectRef; readonly owner: Kustomization }): Promise<void> {
  const value = await readRecord<unknown>(client, from);
  if (value !== undefined) await writeRecord(client, { ...to, value });
}

/** Writes the owner label of everything that the inventory lists; what cannot be reached now gets it with the next apply. */
async function relabel(client: Client, former: Kustomization, app: Kustomization): Promise<void> {
  const record = await readRecord<{ readonly entries: readonly { readonly id: string }[] }>(client, inventoryRef(app));
  const ids = [...new Set([...(record?.entries ?? []), ...(former.status?.inventory?.entries ?? [])].map(({ id }) => id))];
  if (ids.length === 0) return;
  const resources = new Map<string, DiscoveredResource>();
  for (const resource of inPreferredVersion(await client.discover())) resources.set(`${resource.group}/${resource.kind}`, resource);
  await mapBounded(ids, concurrency, async (id) => {
    const parsed = tryParseId(id);
    const resource = parsed === undefined ? undefined : resources.get(`${parsed.group}/${parsed.kind}`);
    if (parsed === undefined || resource === undefined) return;
    try {
      const live = await client.get(resource, parsed.ref);
      const owner = live.metadata.labels ?? {};
      if (owner[labels.fluxKustomizeName] !== former.metadata.name || owner[labels.fluxKustomizeNamespace] !== former.metadata.namespace)
        return;
      const body = { metadata: { uid: live.metadata.uid, labels: { [labels.fluxKustomizeName]: app.metadata.name } } };
      await client.patch(resource, parsed.ref, { type: 'merge', body }, { fieldManager });
    } catch (err) {
      // Gone meanwhile, or of an extension server that is not up yet.
      if (!isStatusError(err)) throw err;
    }
  });
}

/** `Kustomization flux-system/web` of everything that names a GitRepository. */
export async function sourceReferrers(client: Client, ref: Ref): Promise<readonly string[]> {
  const { namespace, name } = ref;
  const apps = await client.list(kustomizations);
  const repositories = await client.list(gitRepositories, { namespace });
  const hooks = await client.list(receivers);
  return [
    ...apps.items.filter((app) => sourceKeyOf(app) === `${namespace}/${name}`),
    ...repositories.items.filter(({ spec }) => spec.include?.some(({ repository }) => repository.name === name)),
    ...hooks.items.filter(({ metadata, spec }) =>
      spec?.resources.some(
        (each) => each.kind === gitRepositories.kind && each.name === name && (each.namespace ?? metadata.namespace) === namespace,
      ),
    ),
  ].map((object) => describe(object.kind, { namespace: object.metadata.namespace, name: object.metadata.name }));
}

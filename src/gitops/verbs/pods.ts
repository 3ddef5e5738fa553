import type { Pod } from '../../api/core/v1/pod.ts';
import type { Kustomization } from '../../api/kustomize/v1/kustomization.ts';
import type { Client } from '../../client/client.ts';
import { controllerOf, type KubeObject } from '../../machinery/object.ts';
import type { Resource } from '../../machinery/resource.ts';
import { idOf, tryParseId } from '../apply/objects/object-id.ts';
import type { Lookup } from './lookup.ts';

export type LivePod = Pod & KubeObject;

interface PodQuery {
  readonly client: Client;
  readonly lookup: Lookup;
}

/** The pods of an app: those of its inventory, and those that came of an object of it; by namespace and name. */
export async function podsOfApp(query: PodQuery, app: Kustomization): Promise<readonly LivePod[]> {
  const entries = app.status?.inventory?.entries ?? [];
  const ids = new Set(entries.map(({ id }) => id));
  const namespaces = new Set(entries.flatMap(({ id }) => tryParseId(id)?.ref.namespace ?? []));
  const found: LivePod[] = [];
  for (const namespace of [...namespaces].sort()) found.push(...(await podsBelow(query, namespace, (object) => ids.has(idOf(object)))));
  return found;
}

/** The pods that came of an object; a pod comes of itself. */
export function podsOfObject(query: PodQuery, { metadata: { namespace = '', uid } }: KubeObject): Promise<readonly LivePod[]> {
  return podsBelow(query, namespace, (object) => object.metadata.uid === uid);
}

async function podsBelow({ client, lookup }: PodQuery, namespace: string, isMeant: (object: KubeObject) => boolean): Promise<LivePod[]> {
  const pods = (await lookup.kindOf('', 'Pod')) as unknown as Resource<LivePod> | undefined;
  if (pods === undefined) return [];
  const { items } = await client.list(pods, { namespace });
  /** By the controller of pods, which many of them share. */
  const answers = new Map<string, boolean>();
  const comesOf = async (pod: LivePod): Promise<boolean> => {
    if (isMeant(pod)) return true;
    const owner = controllerOf(pod)?.uid;
    if (owner === undefined) return false;
    const known = answers.get(owner) ?? (await lookup.ownersOf(pod)).some(isMeant);
    answers.set(owner, known);
    return known;
  };
  const found: LivePod[] = [];
  for (const pod of items) if (await comesOf(pod)) found.push(pod);
  return found.sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
}

import type { Client, DiscoveredResource } from '../../client/client.ts';
import { tryGet } from '../../client/try-get.ts';
import { controllerOf, type DynamicObject, type KubeObject, type ObjectRef, type OwnerReference } from '../../machinery/object.ts';
import { parseApiVersion, type Resource } from '../../machinery/resource.ts';

/** Finds kinds and objects as people name them. Reads the server's discovery once. */
export interface Lookup {
  /** `pod`, `po`, `pods`, `Deployment`, `deployments.apps`; undefined when the server has no such kind. */
  kind(text: string): Promise<DiscoveredResource | undefined>;
  /** The kind that a reference of an object or of an inventory names, in the version that the server prefers. */
  kindOf(group: string, kind: string): Promise<DiscoveredResource | undefined>;
  all(): Promise<readonly DiscoveredResource[]>;
  /** Undefined when it does not exist. */
  get(resource: DiscoveredResource, ref: ObjectRef): Promise<DynamicObject | undefined>;
  /** Owners from the object's own up to the one that nothing controls; those that are gone end the list. */
  ownersOf(object: KubeObject): Promise<readonly KubeObject[]>;
}

/** Deeper chains of owners are taken for a circle. */
const maxOwners = 10;

export function createLookup(client: Client): Lookup {
  let known: Promise<readonly DiscoveredResource[]> | undefined;
  const all = (): Promise<readonly DiscoveredResource[]> => {
    known ??= client.discover();
    return known;
  };
  const kindOf = async (group: string, kind: string): Promise<DiscoveredResource | undefined> =>
    (await all()).find((resource) => resource.group === group && resource.kind === kind);
  const get = (resource: DiscoveredResource, { namespace, name }: ObjectRef): Promise<DynamicObject | undefined> =>
    tryGet(client, resource as unknown as Resource<DynamicObject>, resource.namespaced ? { namespace, name } : { name });
  const ownerOf = async (object: KubeObject): Promise<KubeObject | undefined> => {
    const owner: OwnerReference | undefined = controllerOf(object) ?? object.metadata.ownerReferences?.[0];
    if (owner === undefined) return undefined;
    const resource = await kindOf(parseApiVersion(owner.apiVersion).group, owner.kind);
    const found = resource === undefined ? undefined : await get(resource, { namespace: object.metadata.namespace, name: owner.name });
    return found?.metadata.uid === owner.uid ? found : undefined;
  };
  return {
    all,
    kindOf,
    get,
    async kind(text) {
      const wanted = text.toLowerCase();
      const names = ({ kind, resource, group, shortNames }: DiscoveredResource): readonly string[] => [
        kind.toLowerCase(),
        resource,
        `${resource}.${group}`,
        `${kind.toLowerCase()}.${group}`,
        ...shortNames,
      ];
      return (await all()).find((resource) => names(resource).includes(wanted));
    },
    async ownersOf(object) {
      const owners: KubeObject[] = [];
      for (let next = await ownerOf(object); next !== undefined && owners.length < maxOwners; next = await ownerOf(next)) owners.push(next);
      return owners;
    },
  };
}

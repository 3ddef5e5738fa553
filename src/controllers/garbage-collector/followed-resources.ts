import { events } from '../../api/core/v1/event.ts';
import { type DiscoveredResource, inPreferredVersion } from '../../client/client.ts';
import type { Informer, InformerSet } from '../../client/informer.ts';
import type { KubeObject, OwnerReference } from '../../machinery/object.ts';
import { groupResourceOf, parseApiVersion } from '../../machinery/resource.ts';

/** An object with the resource that it is one of. */
export interface FoundObject {
  readonly resource: DiscoveredResource;
  readonly object: KubeObject;
}

/** The resources whose objects the collector sees, each with its cache. */
export interface FollowedResources {
  /** Follows what is new in an answer of discovery; true when something was new. */
  update(found: readonly DiscoveredResource[]): boolean;
  /** The object as the cache has it. `resource` is the name that `groupResourceOf` gives. */
  find(resource: string, key: string): FoundObject | undefined;
  /** The owner as the cache has it; undefined when it is not there, or is another object of that name. */
  findOwner(owner: OwnerReference, dependent: KubeObject): FoundObject | undefined;
  /** Resources whose objects may name this one as owner: those of a namespace have none outside of it. */
  thatMayDependOn(owner: FoundObject): readonly DiscoveredResource[];
  /** The resource of the kind that the reference names, in whatever version it is followed. */
  resourceOf(owner: OwnerReference): DiscoveredResource | undefined;
}

export interface FollowedResourcesOptions {
  readonly informers: InformerSet;
  onChange(resource: string, change: { readonly before?: KubeObject; readonly after?: KubeObject }): void;
}

interface Followed {
  readonly resource: DiscoveredResource;
  readonly informer: Informer<KubeObject>;
}

export function createFollowedResources({ informers, onChange }: FollowedResourcesOptions): FollowedResources {
  const byName = new Map<string, Followed>();
  /** By group and kind: any version of an owner reference finds the resource. */
  const byKind = new Map<string, Followed>();

  function follow(resource: DiscoveredResource): void {
    const name = groupResourceOf(resource);
    const entry: Followed = { resource, informer: informers.get(resource) };
    byName.set(name, entry);
    byKind.set(kindId(resource), entry);
    entry.informer.addHandler((change) => {
      // In a version that is not served any more there is nothing to see, and nothing to conclude from that.
      if (byName.get(name) === entry) onChange(name, change);
    });
  }

  const ofKind = ({ apiVersion, kind }: OwnerReference): Followed | undefined =>
    byKind.get(kindId({ group: parseApiVersion(apiVersion).group, kind }));

  return {
    update(found) {
      const added = resourcesToFollow(found, (name) => byName.get(name)?.resource);
      added.forEach(follow);
      return added.length > 0;
    },
    find(name, key) {
      const entry = byName.get(name);
      const object = entry?.informer.getByKey(key);
      return entry === undefined || object === undefined ? undefined : { resource: entry.resource, object };
    },
    findOwner(owner, dependent) {
      const entry = ofKind(owner);
      const key = entry === undefined ? undefined : ownerKeyOf(entry.resource, owner, dependent);
      const object = key === undefined ? undefined : entry?.informer.getByKey(key);
      return entry === undefined || object?.metadata.uid !== owner.uid ? undefined : { resource: entry.resource, object };
    },
    thatMayDependOn: ({ resource: { namespaced } }) =>
      [...byName.values()].map(({ resource }) => resource).filter((resource) => resource.namespaced || !namespaced),
    resourceOf: (owner) => ofKind(owner)?.resource,
  };
}

/**
 * Resources of a discovery that have to be followed from now on: all that can be watched and deleted, in the preferred version. A
 * resource keeps the version in which it is followed for as long as that one is served.
 */
export function resourcesToFollow(
  found: readonly DiscoveredResource[],
  followedAs: (name: string) => DiscoveredResource | undefined,
): readonly DiscoveredResource[] {
  return inPreferredVersion(found).filter((resource) => {
    const { verbs } = resource;
    if (!verbs.includes('list') || !verbs.includes('watch') || !verbs.includes('delete')) return false;
    // Events expire by themselves, and there are too many to follow for this purpose.
    if (resource.resource === events.resource) return false;
    const name = groupResourceOf(resource);
    const known = followedAs(name);
    if (known === undefined) return true;
    return !found.some((other) => other.version === known.version && other.kind === known.kind && groupResourceOf(other) === name);
  });
}

/** Key of the owner; undefined when a cluster-scoped object names an owner in a namespace, which is invalid. */
export function ownerKeyOf(resource: DiscoveredResource, owner: OwnerReference, { metadata }: KubeObject): string | undefined {
  if (!resource.namespaced) return owner.name;
  return metadata.namespace === undefined ? undefined : `${metadata.namespace}/${owner.name}`;
}

const kindId = ({ group, kind }: { readonly group: string; readonly kind: string }): string => `${group}/${kind}`;

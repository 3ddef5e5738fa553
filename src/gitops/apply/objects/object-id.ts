import type { InventoryEntry } from '../../../api/kustomize/v1/kustomization.ts';
import { labels } from '../../../api/well-known.ts';
import type { KubeObject, ObjectRef } from '../../../machinery/object.ts';
import { parseApiVersion, type Resource } from '../../../machinery/resource.ts';

/**
 * Names one object of an inventory: `namespace_name_group_Kind`, as Flux and cli-utils write it; a colon in a name (RBAC) is `__`.
 *
 * The version is not part of it: an object that moves to a newer API version stays the same object.
 */
export type ObjectId = string;

/** Joined, not written as a template: many maps keep ids, and the engine would keep each as the tree of its pieces. */

export function idOf(object: KubeObject): ObjectId {
  const { namespace = '', name } = object.metadata;
  return [namespace, name.replaceAll(':', '__'), parseApiVersion(object.apiVersion).group, object.kind].join('_');
}

export interface ParsedId {
  readonly group: string;
  readonly kind: string;
  readonly ref: ObjectRef;
}

/** The inverse of `idOf`; undefined for what is none. */
export function tryParseId(id: ObjectId): ParsedId | undefined {
  const first = id.indexOf('_');
  const last = id.lastIndexOf('_');
  const beforeLast = id.lastIndexOf('_', last - 1);
  if (first === -1 || beforeLast <= first) return undefined;
  const namespace = id.slice(0, first);
  const name = id.slice(first + 1, beforeLast).replaceAll('__', ':');
  return { group: id.slice(beforeLast + 1, last), kind: id.slice(last + 1), ref: namespace === '' ? { name } : { namespace, name } };
}

/** `Deployment web/storefront`, for people. */
export function describe(kind: string, { namespace, name }: ObjectRef): string {
  return `${kind} ${namespace === undefined ? '' : `${namespace}/`}${name}`;
}

export const describeObject = (object: KubeObject): string => describe(object.kind, object.metadata);

export function describeId(id: ObjectId): string {
  const parsed = tryParseId(id);
  return parsed === undefined ? id : describe(parsed.kind, parsed.ref);
}

/** Key of the app that the object's labels name as its owner. */
export const ownerOf = ({ metadata: { labels: all } }: KubeObject): string =>
  `${all?.[labels.fluxKustomizeNamespace]}/${all?.[labels.fluxKustomizeName]}`;

/** `metadata.resourceVersion`, which grows with each write. */
export const versionOf = ({ metadata }: KubeObject): number => Number(metadata.resourceVersion ?? 0);

/** Location of an object in the API; informers and the index of owned objects use it. */
export function addressOf(resource: Resource, { namespace = '', name }: ObjectRef): string {
  return [resource.group, resource.resource, namespace, name].join('/');
}

export function inventoryEntriesOf(entries: ReadonlyMap<ObjectId, { readonly version: string }>): readonly InventoryEntry[] {
  return [...entries].map(([id, { version }]) => ({ id, v: version })).sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));
}

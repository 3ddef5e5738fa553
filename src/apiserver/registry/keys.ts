import type { KindDefinition } from '../../machinery/kind.ts';

/**
 * Keys of the store: `core/pods/NAMESPACE/NAME`, `apps/deployments/NAMESPACE/NAME`, `core/nodes/NAME`. They do not name a version: the
 * stored text does, and all versions of a resource are the same objects.
 */

const prefixes = new WeakMap<KindDefinition, string>();

export function resourcePrefixOf(kind: KindDefinition): string {
  let prefix = prefixes.get(kind);
  if (prefix === undefined) {
    const { group, resource } = kind.storedAs?.kind ?? kind;
    prefix = `${group === '' ? 'core' : group}/${resource}`;
    prefixes.set(kind, prefix);
  }
  return prefix;
}

/** `key` is `namespace/name` or `name`. */
export const storeKeyOf = (kind: KindDefinition, key: string): string => `${resourcePrefixOf(kind)}/${key}`;

export function splitStoreKey(storeKey: string): { readonly prefix: string; readonly key: string } {
  const end = storeKey.indexOf('/', storeKey.indexOf('/') + 1);
  return { prefix: storeKey.slice(0, end), key: storeKey.slice(end + 1) };
}

import type { KubeObject } from '../../machinery/object.ts';

/**
 * Encodes stored objects, and caches the texts of recently read ones: reads of the same objects by several clients then
 * cost one `JSON.stringify`.
 *
 * Each object has one cached text, that of the version read last. Otherwise a client that lists frequently changing
 * objects would fill the memory with texts that no client reads again. The cache is bounded by the sum of text lengths:
 * two generations, of which the older is dropped when the younger is half full.
 */
export interface ObjectEncoder {
  /** The whole object. */
  json(object: KubeObject): string;
  /** As an item of a typed list, which names kind and version only once, in the list. */
  itemJson(object: KubeObject): string;
}

interface Encoded {
  readonly object: KubeObject;
  readonly text: string;
}

export function createObjectEncoder({ maxCachedLength }: { readonly maxCachedLength: number }): ObjectEncoder {
  /** By uid. Frozen objects do not change, so a text stays valid for its object. */
  let young = new Map<string, Encoded>();
  let old = new Map<string, Encoded>();
  let youngLength = 0;

  const remember = (uid: string, encoded: Encoded): void => {
    youngLength += encoded.text.length - (young.get(uid)?.text.length ?? 0);
    young.set(uid, encoded);
    old.delete(uid);
    if (youngLength > maxCachedLength / 2) {
      old = young;
      young = new Map();
      youngLength = 0;
    }
  };

  const itemJson = (object: KubeObject): string => {
    const { uid } = object.metadata;
    // Mutable and unstored objects must not be cached.
    if (uid === undefined || !Object.isFrozen(object)) return encodeItem(object);
    const known = young.get(uid);
    if (known?.object === object) return known.text;
    const aged = old.get(uid);
    const text = aged?.object === object ? aged.text : encodeItem(object);
    remember(uid, { object, text });
    return text;
  };

  return {
    itemJson,
    json(object) {
      const item = itemJson(object);
      const head = `{"kind":${JSON.stringify(object.kind)},"apiVersion":${JSON.stringify(object.apiVersion)}`;
      return item === '{}' ? `${head}}` : `${head},${item.slice(1)}`;
    },
  };
}

function encodeItem(object: KubeObject): string {
  const { kind: _kind, apiVersion: _apiVersion, ...rest } = object;
  return JSON.stringify(rest);
}

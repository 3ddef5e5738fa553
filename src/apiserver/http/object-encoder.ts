import type { KubeObject } from '../../machinery/object.ts';

/**
 * Encodes stored objects, and remembers the texts of those asked for lately: reads of the same objects by several clients then cost one
 * `JSON.stringify`. Objects are frozen, so a text is good for as long as its object lives.
 *
 * The memory is bounded by the sum of text lengths: two generations, of which the older is dropped when the younger is half full.
 */
export interface ObjectEncoder {
  /** The whole object. */
  json(object: KubeObject): string;
  /** As an item of a typed list, which names kind and version only once, in the list. */
  itemJson(object: KubeObject): string;
}

export function createObjectEncoder({ maxCachedLength }: { readonly maxCachedLength: number }): ObjectEncoder {
  let young = new Map<KubeObject, string>();
  let old = new Map<KubeObject, string>();
  let youngLength = 0;

  const remember = (object: KubeObject, text: string): void => {
    young.set(object, text);
    youngLength += text.length;
    if (youngLength > maxCachedLength / 2) {
      old = young;
      young = new Map();
      youngLength = 0;
    }
  };

  const itemJson = (object: KubeObject): string => {
    const known = young.get(object);
    if (known !== undefined) return known;
    const aged = old.get(object);
    const text = aged ?? encodeItem(object);
    // What may still change must not be remembered.
    if (Object.isFrozen(object)) remember(object, text);
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

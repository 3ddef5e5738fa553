import { keyElement, valueElement } from './field-set.ts';
import type { ListType } from './type.ts';

export type JsonMap = Readonly<Record<string, unknown>>;

export const isMap = (value: unknown): value is JsonMap => typeof value === 'object' && value !== null && !Array.isArray(value);

/** An item of a list cannot be named; the message is upstream's. */
export class ItemError extends Error {}

/**
 * The path element of an item of a set or keyed list.
 *
 * @throws ItemError when the item has no value for a key, or is none that a set can hold
 */
export function elementOfItem(list: ListType, item: unknown): string {
  if (list.relation === 'set') {
    if (isMap(item)) throw new ItemError("associative list without keys has an element that's a map type");
    if (Array.isArray(item)) throw new ItemError('not supported: associative list with lists as elements');
    if (item === null || item === undefined) throw new ItemError("associative list without keys has an element that's an explicit null");
    return valueElement(item);
  }
  if (item === null || item === undefined) throw new ItemError('associative list with keys may not have a null element');
  if (!isMap(item)) throw new ItemError('associative list with keys may not have non-map elements');
  const [only] = list.keys;
  if (list.keys.length === 1 && only !== undefined) return elementOfKey(list, only, keyOf(list, item, only));
  return keyElement(list.keys.map((key) => [key, keyOf(list, item, key)] as const));
}

function elementOfKey({ textElements }: ListType, key: string, value: unknown): string {
  if (typeof value !== 'string') return keyElement([[key, value]]);
  let element = textElements.get(value);
  if (element === undefined) {
    element = keyElement([[key, value]]);
    textElements.set(value, element);
  }
  return element;
}

function keyOf({ keyDefaults }: ListType, item: JsonMap, key: string): unknown {
  if (Object.hasOwn(item, key)) return item[key];
  if (Object.hasOwn(keyDefaults, key)) return keyDefaults[key];
  throw new ItemError(
    `associative list with keys has an element that omits key field ${JSON.stringify(key)} (and doesn't have default value)`,
  );
}

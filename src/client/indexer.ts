import type { KubeObject, ObjectRef } from '../machinery/object.ts';

/**
 * Objects by key, by namespace and by the indexes that its readers define. Holds what it is given, so readers see frozen objects.
 *
 * A change costs one pass over the indexes; reading a bucket costs nothing until it changes.
 */
export interface Indexer<T extends KubeObject> {
  readonly size: number;
  get(key: string): T | undefined;
  keys(): Iterable<string>;
  values(): Iterable<T>;
  inNamespace(namespace: string): readonly T[];
  byIndex(name: string, value: string): readonly T[];
  /** @throws when `name` is taken by another function: two readers would mean different things by it */
  addIndex(name: string, valuesOf: (object: T) => readonly string[]): void;
  /** Stores the object under its key and gives the one it replaced. */
  put(key: string, object: T): T | undefined;
  /** Removes the object and gives it. */
  remove(key: string): T | undefined;
}

export const keyOfRef = ({ namespace, name }: ObjectRef): string => (namespace === undefined ? name : `${namespace}/${name}`);

/**
 * @param onSkipped  gets each object that the function of an index could not read: that index leaves it out, and all others have it
 */
export function createIndexer<T extends KubeObject>(
  onSkipped: (object: T, index: string, err: unknown) => void = () => undefined,
): Indexer<T> {
  const objects = new Map<string, T>();
  const namespaces = createIndex<T>(namespaceOf, () => undefined);
  const indexes = new Map<string, Index<T>>();

  return {
    get size() {
      return objects.size;
    },
    get: (key) => objects.get(key),
    keys: () => objects.keys(),
    values: () => objects.values(),
    inNamespace: (namespace) => namespaces.read(namespace),
    byIndex(name, value) {
      const index = indexes.get(name);
      if (index === undefined) throw new Error(`index ${name} is not defined`);
      return index.read(value);
    },
    addIndex(name, valuesOf) {
      const defined = indexes.get(name);
      if (defined !== undefined) {
        if (defined.valuesOf === valuesOf) return;
        throw new Error(`index ${name} is defined by another function`);
      }
      const index = createIndex(valuesOf, (object, err) => onSkipped(object, name, err));
      for (const [key, object] of objects) index.change(key, undefined, object);
      indexes.set(name, index);
    },
    put(key, object) {
      const before = objects.get(key);
      objects.set(key, object);
      namespaces.change(key, before, object);
      for (const index of indexes.values()) index.change(key, before, object);
      return before;
    },
    remove(key) {
      const before = objects.get(key);
      if (before === undefined) return undefined;
      objects.delete(key);
      namespaces.change(key, before, undefined);
      for (const index of indexes.values()) index.change(key, before, undefined);
      return before;
    },
  };
}

/** True when both are the same object over time; a name that was deleted and used again gives two. */
export const sameIdentity = (a: KubeObject, b: KubeObject): boolean => a.metadata.uid === b.metadata.uid;

interface Index<T> {
  readonly valuesOf: (object: T) => readonly string[];
  change(key: string, before: T | undefined, after: T | undefined): void;
  read(value: string): readonly T[];
}

interface Bucket<T> {
  /** The key of its first object. */
  readonly key: string;
  /** Absent while that is its only one: an index by owner has a bucket for each object, and a map takes 200 bytes. */
  items: Map<string, T> | undefined;
  /** The items as an array, made when first read after a change. */
  array: readonly T[] | undefined;
}

const none: readonly string[] = [];

function createIndex<T>(valuesOf: (object: T) => readonly string[], onSkipped: (object: T, err: unknown) => void): Index<T> {
  const buckets = new Map<string, Bucket<T>>();

  function enteredBy(object: T): readonly string[] {
    try {
      return valuesOf(object);
    } catch (err) {
      onSkipped(object, err);
      return none;
    }
  }

  /** The function is pure: where it throws now it threw when the object came in, and the object is in no bucket. */
  function leftBy(object: T): readonly string[] {
    try {
      return valuesOf(object);
    } catch {
      return none;
    }
  }

  return {
    valuesOf,
    change(key, before, after) {
      const left = before === undefined ? none : leftBy(before);
      const entered = after === undefined ? none : enteredBy(after);
      for (const value of left) {
        if (entered.includes(value)) continue;
        const bucket = buckets.get(value);
        if (bucket === undefined) continue;
        bucket.items?.delete(key);
        bucket.array = undefined;
        if (bucket.items === undefined || bucket.items.size === 0) buckets.delete(value);
      }
      if (after === undefined) return;
      for (const value of entered) {
        const bucket = buckets.get(value);
        if (bucket === undefined) buckets.set(value, { key, items: undefined, array: [after] });
        else if (bucket.items === undefined && bucket.key === key) bucket.array = [after];
        else {
          bucket.items ??= new Map((bucket.array ?? []).map((first) => [bucket.key, first]));
          bucket.items.set(key, after);
          bucket.array = undefined;
        }
      }
    },
    read(value) {
      const bucket = buckets.get(value);
      if (bucket === undefined) return [];
      bucket.array ??= [...(bucket.items?.values() ?? [])];
      return bucket.array;
    },
  };
}

const namespaceOf = (object: KubeObject): readonly string[] =>
  object.metadata.namespace === undefined ? none : [object.metadata.namespace];

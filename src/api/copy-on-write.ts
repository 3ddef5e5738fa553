/** Changes to frozen objects that share what they do not change, and give the same object back when they change nothing. */

/** JSON `null` counts as absent, as it does for the real server. */
export const isAbsent = (value: unknown): value is undefined | null => value === undefined || value === null;

/** `object` with those of `defaults` that it lacks. */
export function withDefaults<T extends object>(object: T, defaults: Partial<T>): T {
  let copy: T | undefined;
  for (const key in defaults) {
    if (!isAbsent(object[key])) continue;
    copy ??= { ...object };
    Object.assign(copy, { [key]: defaults[key] });
  }
  return copy ?? object;
}

/** `object` with one field set; setting `undefined` removes it. */
export function withField<T extends object, K extends keyof T>(object: T, key: K, value: T[K] | undefined): T {
  if (object[key] === value) return object;
  const copy = { ...object };
  if (value === undefined) delete copy[key];
  else copy[key] = value;
  return copy;
}

/** `change` applied to each item; the same array when no item changes. */
export function mapShared<T>(items: readonly T[], change: (item: T) => T): readonly T[] {
  let copy: T[] | undefined;
  for (const [index, item] of items.entries()) {
    const next = change(item);
    if (next === item) continue;
    copy ??= [...items];
    copy[index] = next;
  }
  return copy ?? items;
}

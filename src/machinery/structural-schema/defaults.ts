import { setOwn } from '../json.ts';
import type { Structure } from './structure.ts';

type JsonObject = Readonly<Record<string, unknown>>;

/**
 * `value` with the defaults of its schema where fields are absent, copy on write. Null counts as absent where it is not allowed and there
 * is a default.
 *
 * @param before  the stored object that `value` was made from: parts with the same reference are complete already
 */
export function withStructuralDefaults<T extends object>(node: Structure, value: T, before?: T): T {
  return filled(node, value, before) as T;
}

function filled(node: Structure, value: unknown, before: unknown): unknown {
  if (!node.hasDefaults || typeof value !== 'object' || value === null || value === before) return value;
  if (Array.isArray(value)) return filledList(node, value, before);
  return filledObject(node, value as JsonObject, before as JsonObject | undefined);
}

function filledList({ items }: Structure, value: readonly unknown[], before: unknown): unknown {
  if (items === undefined) return value;
  const previous = Array.isArray(before) ? before : undefined;
  let changed: unknown[] | undefined;
  for (let index = 0; index < value.length; index += 1) {
    const given = value[index] === null && !items.nullable && items.fallback !== undefined ? items.fallback : value[index];
    const item = filled(items, given, previous?.[index]);
    if (item === value[index]) continue;
    changed ??= [...value];
    changed[index] = item;
  }
  return changed ?? value;
}

function filledObject({ properties, values }: Structure, value: JsonObject, before: JsonObject | undefined): unknown {
  let changed: Record<string, unknown> | undefined;
  const previous = typeof before === 'object' && before !== null ? before : undefined;
  const visit = (key: string, child: Structure): void => {
    if (!child.hasDefaults) return;
    const present = Object.hasOwn(value, key) ? value[key] : undefined;
    const isAbsent = present === undefined || (present === null && !child.nullable);
    const given = isAbsent && child.fallback !== undefined ? child.fallback : present;
    const kept = filled(child, given, previous !== undefined && Object.hasOwn(previous, key) ? previous[key] : undefined);
    if (kept === present) return;
    changed ??= { ...value };
    setOwn(changed, key, kept);
  };
  for (const [key, child] of properties) visit(key, child);
  if (values?.hasDefaults === true) for (const key of Object.keys(value)) if (!properties.has(key)) visit(key, values);
  return changed ?? value;
}

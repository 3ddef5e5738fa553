import { deepEqual } from '../object.ts';
import { elementOfItem, isMap, type JsonMap } from './item.ts';
import { type ListType, type MapType, memberType, type Type } from './type.ts';

/**
 * `live` with what `applied` says: its leaves win, maps and keyed lists are merged, and nothing is removed. Lists keep the order of
 * `live` unless `applied` orders the items they share differently. Parts that stay equal keep their reference, so an object that
 * already is as applied comes back itself.
 *
 * `applied` must have no type errors.
 */
export function mergeApplied(live: unknown, applied: unknown, type: Type): unknown {
  if (applied === undefined) return live;
  if (live === undefined) return applied;
  if (Array.isArray(applied) || (applied === null && Array.isArray(live))) {
    const items = Array.isArray(applied) ? applied : [];
    const before = Array.isArray(live) ? live : [];
    if (type.list === undefined || type.list.relation === 'atomic' || items.length + before.length === 0) return leafOf(live, applied);
    return mergeLists(before, items, type.list, live);
  }
  if (isMap(applied) || (applied === null && isMap(live))) {
    const members = isMap(applied) ? applied : {};
    const before = isMap(live) ? live : {};
    const isNothing = Object.keys(members).length + Object.keys(before).length === 0;
    if (type.map === undefined || type.map.isAtomic || isNothing) return leafOf(live, applied);
    return mergeMaps(before, members, type.map, live);
  }
  return leafOf(live, applied);
}

/** Null is a value like any other: reading the object as its kind makes of it what the field has then. */
const leafOf = (live: unknown, applied: unknown): unknown => (live !== undefined && deepEqual(live, applied) ? live : applied);

function mergeMaps(before: JsonMap, applied: JsonMap, map: MapType, live: unknown): unknown {
  let result: Record<string, unknown> | undefined;
  for (const [name, value] of Object.entries(applied)) {
    const type = memberType(map, name);
    const old = Object.hasOwn(before, name) ? before[name] : undefined;
    const merged = type === undefined ? value : mergeApplied(old, value, type);
    if (merged === old) continue;
    result ??= { ...before };
    // A computed member is an own one even for the name `__proto__`, which an assignment would not make.
    if (name === '__proto__') result = { ...result, [name]: merged };
    else result[name] = merged;
  }
  return result ?? (isMap(live) ? live : before);
}

function mergeLists(before: readonly unknown[], applied: readonly unknown[], list: ListType, live: unknown): unknown {
  const old = before.map((item) => elementOfItem(list, item));
  const now = applied.map((item) => elementOfItem(list, item));
  const oldItems = uniqueItems(old, before);
  const newItems = new Map(now.map((element, index) => [element, applied[index]]));
  const merged = (element: string): unknown => mergeApplied(oldItems.get(element), newItems.get(element), list.element);

  // Common items have the order of `applied`; the other live items keep their places between those.
  const shared = now.filter((element) => oldItems.has(element));
  const done = new Set<string>();
  const result: unknown[] = [];
  let next = 0;
  let left = 0;
  let right = 0;
  const take = (element: string): void => {
    result.push(merged(element));
    done.add(element);
    if (element === shared[next]) next += 1;
  };
  while (left < old.length || right < now.length) {
    const mine = old[left];
    const theirs = now[right];
    if (mine !== undefined && mine === theirs) {
      result.push(merged(mine));
      done.add(mine);
      left += 1;
      right += 1;
      next += 1;
      continue;
    }
    if (mine !== undefined && theirs !== undefined && newItems.has(mine) && shared[next] !== undefined && shared[next] !== mine) {
      left += 1;
      continue;
    }
    if (mine !== undefined && !newItems.has(mine)) {
      result.push(before[left]);
      left += 1;
      continue;
    }
    if (mine !== undefined && done.has(mine)) left += 1;
    if (theirs !== undefined) {
      take(theirs);
      right += 1;
    }
  }
  if (Array.isArray(live) && result.length === live.length && result.every((item, index) => item === live[index])) return live;
  return result;
}

/** Items by element; those with a duplicate are not merged with, so they are undefined. */
function uniqueItems(elements: readonly string[], items: readonly unknown[]): ReadonlyMap<string, unknown> {
  const result = new Map<string, unknown>();
  elements.forEach((element, index) => {
    result.set(element, result.has(element) ? undefined : items[index]);
  });
  return result;
}

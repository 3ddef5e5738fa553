import { splitPath } from './field-spec.ts';
import type { FieldOptions, ObjectSelector, ReplacementRule } from './kustomization.ts';
import {
  assignMember,
  cloneJson,
  currentId,
  effectiveNamespace,
  isMap,
  isSelected,
  type JsonMap,
  previousIds,
  type Resource,
  type ResourceId,
  setOwn,
} from './resource.ts';
import { resolveScalar, textOfScalar } from './scalar.ts';
import { metadataMatcher, safePattern } from './selector.ts';
import { spend, spendText } from './work.ts';

export class ReplacementError extends Error {}

/** Copies a value from one object's field to fields of others. @throws ReplacementError */
export function applyReplacement(resources: readonly Resource[], { source, targets }: ReplacementRule): void {
  const value = refine(readSource(resources, source), source.options);
  for (const { select, reject, fieldPaths, options } of targets) {
    const matches = metadataMatcher(select);
    const rejects = reject.map((selector) => ({
      selector,
      byId: !isEmptySelector(selector),
      matches: selector.labelSelector || selector.annotationSelector ? metadataMatcher(selector) : () => false,
    }));
    spend(resources.length * (1 + rejects.length));
    for (const resource of resources) {
      const ids = [currentId(resource), ...previousIds(resource)];
      if (!matches(resource) || rejects.some((rejected) => rejected.matches(resource))) continue;
      if (!ids.some((id) => isMeant(id, select))) continue;
      if (rejects.some(({ selector, byId }) => byId && ids.some((id) => isMeant(id, selector)))) continue;
      for (const path of fieldPaths) write(resource, { path, value, options });
    }
  }
}

const isEmptySelector = ({ group, version, kind, name, namespace }: ObjectSelector): boolean =>
  [group, version, kind, name, namespace].every((part) => part === '');

function isMeant(id: ResourceId, selector: ObjectSelector): boolean {
  return (
    (selector.name === '' || selector.name === id.name) &&
    (selector.namespace === '' || effectiveNamespace({ ...id, namespace: selector.namespace }) === effectiveNamespace(id)) &&
    isSelected(id, selector)
  );
}

const describe = ({ group, version, kind, name, namespace }: ObjectSelector): string =>
  [kind, [group, version].filter(Boolean).join('/'), namespace, name].filter(Boolean).join(' ') || 'anything';

function readSource(resources: readonly Resource[], source: ReplacementRule['source']): unknown {
  spend(resources.length);
  const matches = resources.filter((resource) => [currentId(resource), ...previousIds(resource)].some((id) => isMeant(id, source)));
  const [only, second] = matches;
  if (second !== undefined) throw new ReplacementError(`multiple matches for selector ${describe(source)}`);
  if (only === undefined) throw new ReplacementError(`nothing selected by ${describe(source)}`);
  const value = readPath(only.object, splitFieldPath(source.fieldPath));
  if (value === undefined || value === null || (typeof value === 'object' && Object.keys(value).length === 0)) {
    throw new ReplacementError(`fieldPath \`${source.fieldPath}\` is missing for replacement source ${describe(source)}`);
  }
  return value;
}

function readPath(value: unknown, path: readonly string[]): unknown {
  let current = value;
  for (const part of path) {
    if (Array.isArray(current)) current = itemOf(current, part);
    else current = isMap(current) && Object.hasOwn(current, part) ? current[part] : undefined;
  }
  return current;
}

/** `0`, `-` for the last one, `[name=web]`. */
function itemOf(list: readonly unknown[], part: string): unknown {
  if (/^[0-9]+$/.test(part)) return list[Number(part)];
  if (part === '-') return list.at(-1);
  const match = /^\[([^=]*)=(.*)\]$/s.exec(part);
  if (match === null) return undefined;
  const [, key = '', wanted = ''] = match;
  return list.find((item) => (key === '' ? textOfScalar(item) === wanted : isMap(item) && textOfScalar(item[key]) === wanted));
}

function refine(value: unknown, { delimiter, index }: FieldOptions): unknown {
  if (delimiter === '') return value;
  if (typeof value === 'object') throw new ReplacementError('delimiter option can only be used with scalar nodes');
  const part = textOfScalar(value).split(delimiter)[index];
  if (index < 0 || part === undefined) {
    throw new ReplacementError(`options.index ${index} is out of bounds for value ${textOfScalar(value)}`);
  }
  // The part of a number is a number still.
  return typeof value === 'string' ? part : resolveScalar(part);
}

interface Write {
  readonly path: string;
  readonly value: unknown;
  readonly options: FieldOptions;
}

function write(resource: Resource, { path, value, options }: Write): void {
  const places = findPlaces(resource.object, splitFieldPath(path), options.create ? value : undefined);
  if (places.length === 0) {
    throw new ReplacementError(`unable to find ${options.create ? 'or create ' : ''}field "${path}" in replacement target`);
  }
  for (const place of places) place.replace(valueFor(place, value, options));
}

/** Value for a field. A scalar keeps the type of the field, as kustomize only exchanges its text. */
function valueFor(place: Place, value: unknown, { delimiter, index }: FieldOptions): unknown {
  let next = value;
  if (delimiter !== '') {
    if (typeof place.value === 'object' && place.value !== null) {
      throw new ReplacementError('delimiter option can only be used with scalar nodes');
    }
    const parts = textOfScalar(place.value).split(delimiter);
    if (index < 0) parts.unshift(textOfScalar(value));
    else if (index >= parts.length) parts.push(textOfScalar(value));
    else parts[index] = textOfScalar(value);
    // Before it is made: a value that holds the delimiter doubles each time that it is put into its own field.
    spendText(parts.reduce((sum, part) => sum + part.length + delimiter.length, 0));
    next = parts.join(delimiter);
  }
  if (typeof place.value === 'object' && place.value !== null) return cloneJson(next);
  if (typeof next === 'object' && place.created) return cloneJson(next);
  // A null has only its text exchanged, too, and must remain null.
  if (place.value === null && typeof next === 'object') return null;
  const text = typeof next === 'object' ? '' : textOfScalar(next);
  if (typeof place.value === 'string' && !place.created) return text;
  if (place.isText) return text;
  const resolved = resolveScalar(text);
  if (!place.created && !isOfType(resolved, place.value)) {
    throw new ReplacementError(`cannot put "${text}" in place of the ${typeof place.value} ${String(place.value)}`);
  }
  return resolved;
}

/** A whole number is not replaced by another kind of number. */
function isOfType(value: unknown, other: unknown): boolean {
  if (other === null || value === null) return other === value;
  return typeof value === typeof other && (!Number.isInteger(other) || Number.isInteger(value));
}

interface Place {
  readonly value: unknown;
  readonly created: boolean;
  /** Annotations are texts. */
  readonly isText?: boolean;
  replace(value: unknown): void;
}

/** The fields a path leads to; with `leaf` given, what is missing on the way is made. */
export function findPlaces(root: unknown, path: readonly string[], leaf: unknown): readonly Place[] {
  const places: Place[] = [];
  const step = (place: Place, depth: number): void => {
    spend(1);
    const part = path[depth];
    const { value } = place;
    if (part === undefined) places.push({ ...place, isText: path[0] === 'metadata' && path[1] === 'annotations' && path.length === 3 });
    else if (/^[0-9]+$/.test(part)) {
      const list = listOf(value, part);
      const index = Number(part);
      const created = index === list.length && leaf !== undefined;
      if (created) list.push(madeFor(path[depth + 1], leaf));
      if (index >= list.length) throw new ReplacementError(`index ${index} specified but only ${list.length} elements found`);
      step(placeIn(list, index, created), depth + 1);
    } else if (part.startsWith('[') && part.endsWith(']')) {
      const list = listOf(value, part);
      const match = /^\[([^=]*)=(.*)\]$/s.exec(part);
      if (match === null) throw new ReplacementError(`${part} must contain fieldName=fieldValue for an element to match`);
      const [, key = '', pattern = ''] = match;
      const matching = matchingItems(list, key, pattern);
      if (matching.length === 0 && leaf !== undefined) {
        list.push(key === '' ? resolveScalar(pattern) : { [key]: resolveScalar(pattern) });
        matching.push(list.length - 1);
      }
      for (const index of matching) step(placeIn(list, index, false), key === '' ? path.length : depth + 1);
    } else if (part === '*') {
      for (const index of listOf(value, part).keys()) step(placeIn(value as unknown[], index, false), depth + 1);
    } else if (value !== null && value !== undefined) {
      if (part === '' && leaf !== undefined) throw new ReplacementError(`field path "${path.join('.')}" has an empty part`);
      if (!isMap(value)) throw new ReplacementError(`expected a map at ${path.slice(0, depth).join('.')}`);
      const created = !Object.hasOwn(value, part);
      if (created && leaf === undefined) return;
      if (created) setOwn(value, part, madeFor(path[depth + 1], leaf));
      step({ value: value[part], created, replace: (next) => assignMember(value, part, next) }, depth + 1);
    }
  };
  step({ value: root, created: false, replace: () => undefined }, 0);
  return places;
}

function placeIn(list: unknown[], index: number, created: boolean): Place {
  return {
    value: list[index],
    created,
    replace(next) {
      list[index] = next;
    },
  };
}

function listOf(value: unknown, part: string): unknown[] {
  if (Array.isArray(value)) return value;
  throw new ReplacementError(`expected a list for ${part}`);
}

function matchingItems(list: readonly unknown[], key: string, pattern: string): number[] {
  const regex = safePattern(pattern);
  spend(list.length);
  return [...list.keys()].filter((index) => {
    const item = list[index];
    const value = key === '' ? item : isMap(item) ? item[key] : undefined;
    return value !== undefined && value !== null && regex.test(textOfScalar(value));
  });
}

/** The container that the next part of a path needs; at its end, one like the value that goes there. */
function madeFor(next: string | undefined, leaf: unknown): unknown {
  if (next === undefined) return Array.isArray(leaf) ? [] : isMap(leaf) ? {} : '';
  return /^[0-9]+$/.test(next) || (next.startsWith('[') && next.endsWith(']')) ? [] : ({} satisfies JsonMap);
}

/** Splits `spec.containers.[name=a.b].image`: brackets keep their content together. */
export function splitFieldPath(path: string): readonly string[] {
  const pieces = splitPath(path, '.');
  const parts: string[] = [];
  for (let index = 0; index < pieces.length; index += 1) {
    let piece = pieces[index] ?? '';
    if (piece.startsWith('[') && !piece.endsWith(']')) {
      while (index < pieces.length - 1 && !piece.endsWith(']')) {
        index += 1;
        piece += `.${pieces[index]}`;
      }
      parts.push(piece.includes('=') ? piece : piece.replace(/^\[+|\]+$/g, ''));
    } else parts.push(piece);
  }
  return parts;
}

import type { DynamicObject, ManagedFieldsEntry } from '../../../machinery/object.ts';
import { deepEqual } from '../../../machinery/object.ts';

/** Fields that one manager owns of an object: the tree of `fieldsV1`. */
export type FieldTree = Readonly<Record<string, unknown>>;

/** The engine's field manager. */
export const fieldManager = 'midship';

interface Managed {
  readonly metadata: { readonly managedFields?: readonly ManagedFieldsEntry[] };
}

/** The engine's own entry; undefined when it has not applied the object. */
export function ownEntryOf({ metadata }: Managed): ManagedFieldsEntry | undefined {
  return metadata.managedFields?.find(
    ({ manager, operation, subresource }) => manager === fieldManager && operation === 'Apply' && (subresource ?? '') === '',
  );
}

/** Fields that we own by server-side apply; undefined when there are none. */
export const ownFieldsOf = (object: Managed): FieldTree | undefined => ownEntryOf(object)?.fieldsV1;

/** True when a manager owns the field. */
export const isOwned = ({ metadata }: Managed, path: FieldPath): boolean =>
  metadata.managedFields?.some(({ fieldsV1 }) => owns(fieldsV1, path)) === true;

/** Paths of an object's fields, lists as wholes, without what the server keeps for itself: its metadata but annotations, and the status. */
export function fieldsOf({ apiVersion: _, kind: __, metadata, status: ___, ...rest }: DynamicObject): readonly FieldPath[] {
  const paths: FieldPath[] = [];
  const visit = (value: unknown, path: FieldPath): void => {
    if (!isObject(value)) paths.push(path);
    else for (const [name, below] of Object.entries(value)) visit(below, [...path, `f:${name}`]);
  };
  for (const [name, value] of Object.entries(rest)) visit(value, [`f:${name}`]);
  visit(metadata.annotations ?? {}, ['f:metadata', 'f:annotations']);
  return paths;
}

/** Path of a field in `fieldsV1` segments: `['f:spec', 'f:replicas']`. */
export type FieldPath = readonly string[];

/** Leaves of `before` that are not in `after`, at most `limit`. */
export function lostFields(before: FieldTree, after: FieldTree | undefined, limit = 5): readonly FieldPath[] {
  const lost: FieldPath[] = [];
  const visit = (left: FieldTree, right: FieldTree | undefined, path: FieldPath): void => {
    for (const [segment, below] of Object.entries(left)) {
      if (lost.length >= limit) return;
      const other = right?.[segment] as FieldTree | undefined;
      const children = below as FieldTree;
      if (isLeaf(children)) {
        if (other === undefined && segment !== '.') lost.push([...path, segment]);
      } else visit(children, other, [...path, segment]);
    }
  };
  visit(before, after, []);
  return lost;
}

const maxChangedFields = 5;

/** Leaves of `tree` whose values differ between two versions of an object; at most 5. */
export function changedFields(tree: FieldTree, before: unknown, after: unknown): readonly FieldPath[] {
  const changed: FieldPath[] = [];
  const visit = (node: FieldTree, [left, right]: readonly [unknown, unknown], path: FieldPath): void => {
    // Equal parts, which are nearly all, need not be taken apart: the keys of list items are JSON.
    if (deepEqual(left, right)) return;
    for (const [segment, below] of Object.entries(node)) {
      if (changed.length >= maxChangedFields) return;
      if (segment === '.') continue;
      const values = [valueAt(left, [segment]), valueAt(right, [segment])] as const;
      if (!isLeaf(below as FieldTree)) visit(below as FieldTree, values, [...path, segment]);
      else if (!deepEqual(...values)) changed.push([...path, segment]);
    }
  };
  visit(tree, [before, after], []);
  return changed;
}

const isLeaf = (node: FieldTree): boolean => Object.keys(node).every((key) => key === '.');

/** The manager that owns `path` now, the newest when there are several. */
export function managerOf(object: DynamicObject, path: FieldPath): string | undefined {
  const owners = (object.metadata.managedFields ?? []).filter((entry) => entry.manager !== fieldManager && owns(entry.fieldsV1, path));
  return owners.sort((a, b) => ((a.time ?? '') < (b.time ?? '') ? 1 : -1))[0]?.manager;
}

/** True when a field is in a tree. */
export function owns(tree: FieldTree | undefined, path: FieldPath): boolean {
  let node: FieldTree | undefined = tree;
  for (const segment of path) node = node?.[segment] as FieldTree | undefined;
  return node !== undefined;
}

/** The value at a path; list items are found by their key. */
export function valueAt(object: unknown, path: FieldPath): unknown {
  let value = object;
  for (const segment of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    const kind = segment.slice(0, 2);
    const rest = segment.slice(2);
    if (kind === 'f:') value = (value as Readonly<Record<string, unknown>>)[rest];
    else if (Array.isArray(value)) {
      const key: unknown = JSON.parse(rest);
      value =
        kind === 'k:'
          ? value.find((item) =>
              Object.entries(key as object).every(([name, expected]) => deepEqual((item as Record<string, unknown>)[name], expected)),
            )
          : kind === 'v:'
            ? value.find((item) => deepEqual(item, key))
            : value[Number(rest)];
    } else return undefined;
  }
  return value;
}

/** `spec.template.spec.containers[web].image` */
export function formatPath(path: FieldPath): string {
  let text = '';
  for (const segment of path) {
    const rest = segment.slice(2);
    if (segment.startsWith('f:')) text += text === '' ? rest : rest.includes('.') || rest.includes('/') ? `[${rest}]` : `.${rest}`;
    else if (segment.startsWith('k:')) text += `[${Object.values(JSON.parse(rest) as object).join(',')}]`;
    else text += `[${rest}]`;
  }
  return text;
}

const longestValue = 40;
/** Changes that are named of one object. */
const maxChanges = 4;

/** Takes values of Secrets out of a text that repeats values. */
export type Redact = (text: string) => string;

/** A field of an object of this kind, for a line of text. */
interface FormattedField {
  readonly kind: string;
  readonly path: FieldPath;
  readonly redact: Redact;
}

/** A value in a line of text, without line breaks of its own; Secrets' values are never shown. */
export function formatValue({ kind, path, redact }: FormattedField, value: unknown): string {
  if (value === undefined) return 'absent';
  // An annotation may hold the whole Secret, as `kubectl apply` leaves it.
  const isHidden = path[0] === 'f:data' || path[0] === 'f:stringData' || path[1] === 'f:annotations';
  if (kind === 'Secret' && isHidden) return '***';
  // Before it is cut: half of a value would not be known as one.
  const text = redact(typeof value === 'string' ? value : JSON.stringify(value)).replace(/\s+/g, ' ');
  return text.length > longestValue ? `${text.slice(0, longestValue - 1)}…` : text;
}

/**
 * Fields of `desired` whose value in `before` is another one, as `spec.replicas 3 → 5`: what an apply changes. At most 4; lists are
 * compared item by item when their items have a name, else as a whole.
 */
export function changesBetween(before: DynamicObject, desired: DynamicObject, redact: Redact): readonly string[] {
  const changes: string[] = [];
  const visit = (left: unknown, right: unknown, path: FieldPath): void => {
    if (changes.length >= maxChanges || left === right) return;
    if (isObject(right) && (isObject(left) || left === undefined)) {
      const known = (left ?? {}) as Readonly<Record<string, unknown>>;
      for (const [name, value] of Object.entries(right)) visit(known[name], value, [...path, `f:${name}`]);
      return;
    }
    if (Array.isArray(right) && Array.isArray(left) && right.every((item) => isObject(item) && typeof item.name === 'string')) {
      for (const item of right as { readonly name: string }[]) {
        visit(
          (left as readonly { readonly name?: unknown }[]).find(({ name }) => name === item.name),
          item,
          [...path, `k:${JSON.stringify({ name: item.name })}`],
        );
      }
      return;
    }
    if (deepEqual(left, right)) return;
    changes.push(`${redact(formatPath(path))} ${formatChange({ kind: desired.kind, path, redact }, [left, right])}`);
  };
  for (const [name, value] of Object.entries(desired)) {
    if (name === 'apiVersion' || name === 'kind' || name === 'status') continue;
    if (name !== 'metadata') visit(before[name], value, [`f:${name}`]);
    else {
      visit(before.metadata.labels, desired.metadata.labels ?? before.metadata.labels, ['f:metadata', 'f:labels']);
      visit(before.metadata.annotations, desired.metadata.annotations ?? before.metadata.annotations, ['f:metadata', 'f:annotations']);
    }
  }
  return changes;
}

/** `3 → 5`. If one side is from a Secret, the other one was or will be: the value before a rotation is still one. */
export function formatChange(field: FormattedField, values: readonly [unknown, unknown]): string {
  const plain = values.map((value) => formatValue({ ...field, redact: (text) => text }, value));
  const texts = values.map((value) => formatValue(field, value));
  const isSecret = texts.some((text, index) => text !== plain[index]);
  return texts.map((text, index) => (isSecret && text === plain[index] && text !== 'absent' ? '***' : text)).join(' → ');
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

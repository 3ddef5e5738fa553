import type { DynamicObject } from '../../machinery/object.ts';
import { unifiedDiff } from '../../machinery/text-diff.ts';
import { formatYaml } from '../../machinery/yaml.ts';

/** Objects as people read and compare them: without what the server writes by itself, and never with a Secret's values. */

const serverFields: readonly string[] = ['managedFields', 'resourceVersion', 'generation', 'creationTimestamp', 'uid', 'selfLink'];

/**
 * The lines that differ, as a unified diff; empty when nothing does. Either side may be absent.
 *
 * @param redact  takes what variables from Secrets brought out of a text
 */
export function diffOf(
  before: DynamicObject | undefined,
  after: DynamicObject | undefined,
  redact = (text: string): string => text,
): string {
  const [left, right] = maskBoth(...maskSecrets(before && shown(before), after && shown(after)), redact) as readonly (
    | DynamicObject
    | undefined
  )[];
  const [a, b] = [textOf(left), textOf(right)];
  if (a === b) return '';
  if (a === '' || b === '') return wholeOf(a, b);
  // A text that is too long for a comparison by line is shown whole.
  return unifiedDiff(a, b) || `-${a.split('\n').length} lines\n+${b.split('\n').length} lines\n`;
}

/** The object as a text to read. `redact` as in `diffOf`. */
export function textToRead(object: DynamicObject, redact: (text: string) => string): string {
  const [, masked] = maskBoth(...maskSecrets(undefined, withStatus(object)), redact) as readonly [undefined, DynamicObject];
  return formatYaml(masked).trimEnd();
}

function withStatus(object: DynamicObject): DynamicObject {
  const { status } = object;
  return status === undefined ? shown(object) : { ...shown(object), status };
}

/** A line on one side only, without a partner on the other. */
function wholeOf(before: string, after: string): string {
  const lines = (before || after).split('\n');
  const sign = before === '' ? '+' : '-';
  if (lines.length > maxWholeLines) return `${sign}${lines.length} lines\n`;
  const range = `1,${lines.length}`;
  return `@@ -${before === '' ? '0,0' : range} +${before === '' ? range : '0,0'} @@\n${lines.map((line) => `${sign}${line}\n`).join('')}`;
}

const maxWholeLines = 2_000;

const textOf = (object: DynamicObject | undefined): string => (object === undefined ? '' : formatYaml(sortKeys(object)).trimEnd());

function shown(object: DynamicObject): DynamicObject {
  const { status: _, ...rest } = object;
  const metadata = Object.fromEntries(Object.entries(object.metadata).filter(([name]) => !serverFields.includes(name)));
  return { ...rest, metadata } as DynamicObject;
}

/** Values of a Secret become stars; a value that changes shows that it does, and nothing else. */
function maskSecrets(
  before: DynamicObject | undefined,
  after: DynamicObject | undefined,
): readonly [DynamicObject | undefined, DynamicObject | undefined] {
  if ((after ?? before)?.kind !== 'Secret') return [before, after];
  const mask = (object: DynamicObject | undefined, other: DynamicObject | undefined, word: string): DynamicObject | undefined => {
    if (object === undefined) return undefined;
    const fields = (['data', 'stringData'] as const).flatMap((field) => {
      const values = object[field];
      if (typeof values !== 'object' || values === null) return values === undefined ? [] : [[field, '***'] as const];
      const others = (other?.[field] ?? {}) as Readonly<Record<string, unknown>>;
      const stars = Object.entries(values).map(([key, value]) => [
        key,
        other === undefined || others[key] === value || !Object.hasOwn(others, key) ? '***' : `*** (${word})`,
      ]);
      return [[field, Object.fromEntries(stars)] as const];
    });
    return { ...withoutLastApplied(object), ...Object.fromEntries(fields) };
  };
  return [mask(before, after, 'before'), mask(after, before, 'after')];
}

/**
 * Both sides without values from Secrets. A value on one side hides both, since the value before a rotation is not known
 * any more.
 */
function maskBoth(left: unknown, right: unknown, redact: (text: string) => string): readonly [unknown, unknown] {
  if (isMap(left) || isMap(right)) {
    const [a, b] = [isMap(left) ? left : {}, isMap(right) ? right : {}];
    const names = [...new Set([...Object.keys(a), ...Object.keys(b)])];
    const pairs = names.map((name) => [name, ...maskBoth(a[name], b[name], redact)] as const);
    const side = (own: Readonly<Record<string, unknown>>, index: 1 | 2): unknown =>
      Object.fromEntries(pairs.flatMap((pair) => (Object.hasOwn(own, pair[0]) ? [[redact(pair[0]), pair[index]]] : [])));
    return [isMap(left) ? side(a, 1) : left, isMap(right) ? side(b, 2) : right];
  }
  if (Array.isArray(left) || Array.isArray(right)) {
    const [a, b] = [Array.isArray(left) ? left : [], Array.isArray(right) ? right : []];
    const pairs = Array.from({ length: Math.max(a.length, b.length) }, (_, index) => maskBoth(a[index], b[index], redact));
    return [
      Array.isArray(left) ? pairs.slice(0, a.length).map(([value]) => value) : left,
      Array.isArray(right) ? pairs.slice(0, b.length).map(([, value]) => value) : right,
    ];
  }
  const [a, b] = [left, right].map((value) => (isScalar(value) ? redact(String(value)) : undefined));
  const isSecret = (isScalar(left) && a !== String(left)) || (isScalar(right) && b !== String(right));
  if (!isSecret) return [left, right];
  const shownLeft = a === String(left) ? '***' : a;
  const shownRight = b === String(right) ? '***' : b;
  if (!isScalar(left) || !isScalar(right)) return [isScalar(left) ? shownLeft : left, isScalar(right) ? shownRight : right];
  if (left === right || shownLeft !== shownRight) return [shownLeft, shownRight];
  return [`${shownLeft} (before)`, `${shownRight} (after)`];
}

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isScalar = (value: unknown): value is string | number => typeof value === 'string' || typeof value === 'number';

const lastApplied = 'kubectl.kubernetes.io/last-applied-configuration';

/** `kubectl apply` keeps the whole Secret in an annotation. */
function withoutLastApplied(object: DynamicObject): DynamicObject {
  const { annotations } = object.metadata;
  if (annotations?.[lastApplied] === undefined) return object;
  return { ...object, metadata: { ...object.metadata, annotations: { ...annotations, [lastApplied]: '***' } } };
}

/** Members in the order of their names, so that equal objects are equal texts. */
function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([key, child]) => [key, sortKeys(child)]),
  );
}

import type { DynamicObject } from '../../machinery/object.ts';
import { unifiedDiff } from '../../machinery/text-diff.ts';
import { formatYaml } from '../../machinery/yaml.ts';

/** Objects as people read and compare them: without what the server writes by itself, and never with a Secret's values. */

const serverFields: readonly string[] = ['managedFields', 'resourceVersion', 'generation', 'creationTimestamp', 'uid', 'selfLink'];

/** The lines that differ, as a unified diff; empty when nothing does. Either side may be absent. */
export function diffOf(before: DynamicObject | undefined, after: DynamicObject | undefined): string {
  const [left, right] = maskSecrets(before && shown(before), after && shown(after));
  const [a, b] = [textOf(left), textOf(right)];
  if (a === b) return '';
  if (a === '' || b === '') return wholeOf(a, b);
  // What is too long to compare line by line is told as a whole.
  return unifiedDiff(a, b) || `-${a.split('\n').length} lines\n+${b.split('\n').length} lines\n`;
}

/** What is there on one side only: no line of the other stands against it. */
function wholeOf(before: string, after: string): string {
  const lines = (before || after).split('\n');
  const sign = before === '' ? '+' : '-';
  if (lines.length > maxWholeLines) return `${sign}${lines.length} lines\n`;
  const range = `1,${lines.length}`;
  return `@@ -${before === '' ? '0,0' : range} +${before === '' ? range : '0,0'} @@\n${lines.map((line) => `${sign}${line}\n`).join('')}`;
}

const maxWholeLines = 2_000;

const textOf = (object: DynamicObject | undefined): string => (object === undefined ? '' : formatYaml(sorted(object)).trimEnd());

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

const lastApplied = 'kubectl.kubernetes.io/last-applied-configuration';

/** `kubectl apply` keeps the whole Secret in an annotation. */
function withoutLastApplied(object: DynamicObject): DynamicObject {
  const { annotations } = object.metadata;
  if (annotations?.[lastApplied] === undefined) return object;
  return { ...object, metadata: { ...object.metadata, annotations: { ...annotations, [lastApplied]: '***' } } };
}

/** Members in the order of their names, so that equal objects are equal texts. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([key, child]) => [key, sorted(child)]),
  );
}

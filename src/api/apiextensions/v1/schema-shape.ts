import { setOwn } from '../../../machinery/json.ts';
import type { Schema } from '../../../machinery/schema.ts';
import type { FieldError } from '../../../machinery/status-error.ts';

/**
 * The keys of a schema and the form of their values. Upstream decodes schemas into structures of its own. Here they are
 * the JSON that the user sent, so the parts below `items` and `additionalProperties` are checked by hand.
 */
type Form =
  | 'string'
  | 'number'
  | 'boolean'
  | 'strings'
  | 'list'
  | 'any'
  | 'schema'
  | 'schemas'
  | 'schemas by name'
  | 'schema or boolean'
  | 'schema or list'
  | 'rules';

const forms: ReadonlyMap<string, Form> = new Map<string, Form>([
  ...['id', '$schema', '$ref', 'description', 'type', 'format', 'title', 'pattern'].map((key) => [key, 'string'] as const),
  ...['x-kubernetes-list-type', 'x-kubernetes-map-type'].map((key) => [key, 'string'] as const),
  ...['maximum', 'minimum', 'maxLength', 'minLength', 'maxItems', 'minItems', 'multipleOf', 'maxProperties', 'minProperties'].map(
    (key) => [key, 'number'] as const,
  ),
  ...['exclusiveMaximum', 'exclusiveMinimum', 'uniqueItems', 'nullable'].map((key) => [key, 'boolean'] as const),
  ...['preserve-unknown-fields', 'embedded-resource', 'int-or-string'].map((key) => [`x-kubernetes-${key}`, 'boolean'] as const),
  ...['required', 'x-kubernetes-list-map-keys'].map((key) => [key, 'strings'] as const),
  ['enum', 'list'],
  ...['default', 'example', 'externalDocs', 'dependencies'].map((key) => [key, 'any'] as const),
  ['not', 'schema'],
  ...['allOf', 'anyOf', 'oneOf'].map((key) => [key, 'schemas'] as const),
  ...['properties', 'patternProperties', 'definitions'].map((key) => [key, 'schemas by name'] as const),
  ...['additionalProperties', 'additionalItems'].map((key) => [key, 'schema or boolean'] as const),
  ['items', 'schema or list'],
  ['x-kubernetes-validations', 'rules'],
]);

type JsonObject = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Errors that are reported; the check ends after them. */
const maxErrors = 20;

/** The places where `schema` is no schema. */
export function shapeErrors(schema: unknown, path: string): readonly FieldError[] {
  const errors: FieldError[] = [];
  check('schema', schema, path, errors);
  return errors;
}

function check(form: Form, value: unknown, path: string, errors: FieldError[]): void {
  if (errors.length >= maxErrors || form === 'any') return;
  const fails = (wanted: string): void => {
    errors.push({ type: 'FieldValueTypeInvalid', field: path, message: `Invalid value: ${shown(value)}: must be ${wanted}` });
  };
  switch (form) {
    case 'string':
    case 'number':
    case 'boolean':
      if (typeof value !== form) fails(`a ${form}`);
      return;
    case 'list':
      if (!Array.isArray(value)) fails('a list');
      return;
    case 'strings':
      if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) fails('a list of strings');
      return;
    case 'schemas':
      if (!Array.isArray(value)) fails('a list of schemas');
      else for (const [index, item] of value.entries()) check('schema', item, `${path}[${index}]`, errors);
      return;
    case 'schemas by name':
      if (!isObject(value)) fails('schemas by name');
      else for (const [name, item] of Object.entries(value)) check('schema', item, `${path}[${name}]`, errors);
      return;
    case 'schema or boolean':
      if (typeof value !== 'boolean') check('schema', value, path, errors);
      return;
    case 'schema or list':
      // That it must not be a list is said elsewhere.
      check(Array.isArray(value) ? 'schemas' : 'schema', value, path, errors);
      return;
    case 'rules':
      if (!Array.isArray(value) || !value.every(isRule)) fails('a list of rules');
      return;
    case 'schema':
      if (!isObject(value)) fails('a schema');
      else for (const [key, item] of Object.entries(value)) check(forms.get(key) ?? 'any', item, `${path}.${key}`, errors);
      return;
    default:
      form satisfies never;
  }
}

const isRule = (value: unknown): boolean =>
  isObject(value) &&
  typeof value.rule === 'string' &&
  ['message', 'messageExpression', 'reason', 'fieldPath'].every((key) => value[key] === undefined || typeof value[key] === 'string') &&
  (value.optionalOldSelf === undefined || typeof value.optionalOldSelf === 'boolean');

const shown = (value: unknown): string => (JSON.stringify(value) ?? 'null').slice(0, 100);

/** `schema` without keys that no schema has and without those that are null, at every level; the same object when there are none. */
export function normalizedSchema(schema: Schema): Schema {
  return normalized('schema', schema) as Schema;
}

function normalized(form: Form, value: unknown): unknown {
  switch (form) {
    case 'schemas':
      return Array.isArray(value) ? mapped(value, (item) => normalized('schema', item)) : value;
    case 'schemas by name':
      return isObject(value) ? withSchemas(value) : value;
    case 'schema or list':
      return normalized(Array.isArray(value) ? 'schemas' : 'schema', value);
    case 'schema or boolean':
    case 'schema':
      return isObject(value) ? withMembers(value, (key) => forms.get(key)) : value;
    case 'rules':
      return Array.isArray(value)
        ? mapped(value, (rule) => (isObject(rule) ? withMembers(rule, (key) => ruleForms.get(key)) : rule))
        : value;
    default:
      return value;
  }
}

const ruleForms: ReadonlyMap<string, Form> = new Map<string, Form>([
  ...['rule', 'message', 'messageExpression', 'reason', 'fieldPath'].map((key) => [key, 'string'] as const),
  ['optionalOldSelf', 'boolean'],
]);

function withMembers(value: JsonObject, formOf: (key: string) => Form | undefined): JsonObject {
  let isSame = true;
  const kept: Record<string, unknown> = {};
  for (const key of Object.keys(value)) {
    const form = formOf(key);
    if (form === undefined || (value[key] === null && form !== 'any')) {
      isSame = false;
      continue;
    }
    const member = normalized(form, value[key]);
    isSame &&= member === value[key];
    setOwn(kept, key, member);
  }
  return isSame ? value : kept;
}

/** A name without a schema has one that says nothing. */
function withSchemas(value: JsonObject): JsonObject {
  let isSame = true;
  const kept: Record<string, unknown> = {};
  for (const key of Object.keys(value)) {
    const member = normalized('schema', value[key] ?? {});
    isSame &&= member === value[key];
    setOwn(kept, key, member);
  }
  return isSame ? value : kept;
}

function mapped(items: readonly unknown[], change: (item: unknown) => unknown): readonly unknown[] {
  const changed = items.map(change);
  return changed.every((item, index) => item === items[index]) ? items : changed;
}

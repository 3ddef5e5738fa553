import { deepEqual } from '../object.ts';
import type { FieldError } from '../status-error.ts';
import type { Structure } from './structure.ts';
import { isOfFormat } from './value-formats.ts';

type JsonObject = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Largest number of reported errors of one object. */
const maxErrors = 100;

/**
 * Validates `value` by its schema, with the texts of upstream's OpenAPI validator.
 *
 * @param before  the stored value: unchanged parts yield no errors, so that a once valid object can be changed after
 * its schema became stricter
 * @param path  location of the value
 */
export function schemaErrors(root: Structure, value: unknown, before?: unknown, path = ''): readonly FieldError[] {
  const errors: FieldError[] = [];
  new Validator(errors).check(root, value, before, path);
  return errors;
}

const child = (path: string, name: string): string => (path === '' ? name : `${path}.${name}`);

class Validator {
  readonly #errors: FieldError[];

  constructor(errors: FieldError[]) {
    this.#errors = errors;
  }

  #add(type: FieldError['type'], field: string, message: string): void {
    if (this.#errors.length < maxErrors) this.#errors.push({ type, field, message });
  }

  /** @param why  comes behind `spec.size in body` */
  #invalid(path: string, value: unknown, why: string): void {
    this.#add('FieldValueInvalid', path, `Invalid value: ${JSON.stringify(value)}: ${path} in body ${why}`);
  }

  check(node: Structure, value: unknown, before: unknown, path: string): void {
    if (before !== undefined && deepEqual(value, before)) return;
    if (value === null && node.nullable) return;
    const type = typeNameOf(value);
    if (!isOfType(node, type)) {
      const wanted = node.intOrString ? 'integer,string' : (node.type ?? '');
      this.#typeError(path, wanted, type);
      return;
    }
    this.#checkAlternatives(node, value, path);
    switch (type) {
      case 'string':
        this.#checkText(node, value as string, path);
        break;
      case 'integer':
      case 'number':
        this.#checkNumber(node, value as number, path);
        break;
      case 'array':
        this.#checkList(node, value as readonly unknown[], before, path);
        break;
      case 'object':
        this.#checkObject(node, value as JsonObject, before, path);
        break;
      default:
    }
    const { enum: choices } = node.schema;
    if (choices !== undefined && !choices.some((choice) => deepEqual(choice, value))) {
      const supported = choices.map((choice) => JSON.stringify(typeof choice === 'string' ? choice : JSON.stringify(choice)));
      this.#add('FieldValueNotSupported', path, `Unsupported value: ${JSON.stringify(value)}: supported values: ${supported.join(', ')}`);
    }
  }

  #typeError(path: string, wanted: string, given: string): void {
    const what = path === '' ? '' : `${path} `;
    this.#add(
      'FieldValueTypeInvalid',
      path === '' ? '<nil>' : path,
      `Invalid value: ${JSON.stringify(given)}: ${what}in body must be of type ${wanted}: ${JSON.stringify(given)}`,
    );
  }

  #checkText({ schema, pattern }: Structure, value: string, path: string): void {
    const { minLength, maxLength, format } = schema;
    const length = maxLength === undefined && minLength === undefined ? 0 : [...value].length;
    if (maxLength !== undefined && length > maxLength) {
      this.#add('FieldValueTooLong', path, `Too long: may not be more than ${maxLength} bytes`);
    }
    if (minLength !== undefined && length < minLength) this.#invalid(path, value, `should be at least ${minLength} chars long`);
    if (pattern !== undefined && !pattern.test(value)) this.#invalid(path, value, `should match '${schema.pattern}'`);
    if (format !== undefined && !isOfFormat(format, value)) {
      const shown = JSON.stringify(value);
      this.#add('FieldValueInvalid', path, `Invalid value: ${shown}: ${path} in body must be of type ${format}: ${shown}`);
    }
  }

  #checkNumber({ schema }: Structure, value: number, path: string): void {
    const { minimum, maximum, exclusiveMinimum = false, exclusiveMaximum = false, multipleOf, format } = schema;
    if (maximum !== undefined && (exclusiveMaximum ? value >= maximum : value > maximum)) {
      this.#invalid(path, value, `should be less than ${exclusiveMaximum ? '' : 'or equal to '}${maximum}`);
    }
    if (minimum !== undefined && (exclusiveMinimum ? value <= minimum : value < minimum)) {
      this.#invalid(path, value, `should be greater than ${exclusiveMinimum ? '' : 'or equal to '}${minimum}`);
    }
    if (multipleOf !== undefined && multipleOf > 0 && !isMultipleOf(value, multipleOf)) {
      this.#invalid(path, value, `should be a multiple of ${multipleOf}`);
    }
    if (format === 'int32' && (value > 2147483647 || value < -2147483648)) {
      const why = `Checked value must be of type integer with format int32 in ${path}`;
      this.#add('FieldValueInvalid', '<nil>', `Invalid value: "": ${why}`);
    }
  }

  #checkList(node: Structure, value: readonly unknown[], before: unknown, path: string): void {
    const { minItems, maxItems, uniqueItems } = node.schema;
    if (maxItems !== undefined && value.length > maxItems) {
      this.#add('FieldValueTooMany', path, `Too many: ${value.length}: must have at most ${maxItems} items`);
    }
    if (minItems !== undefined && value.length < minItems) this.#invalid(path, value.length, `should have at least ${minItems} items`);
    if (uniqueItems === true && new Set(value.map((item) => JSON.stringify(item))).size < value.length) {
      this.#add('FieldValueInvalid', path, `Invalid value: "": ${path} in body shouldn't contain duplicates`);
    }
    const { items } = node;
    if (items === undefined) return;
    const previous = Array.isArray(before) ? previousItems(node, before) : undefined;
    for (const [index, item] of value.entries()) this.check(items, item, previous?.(item, index), `${path}[${index}]`);
  }

  #checkObject(node: Structure, value: JsonObject, before: unknown, path: string): void {
    const { minProperties, maxProperties } = node.schema;
    const keys = Object.keys(value);
    if (maxProperties !== undefined && keys.length > maxProperties) {
      this.#add('FieldValueTooMany', path, `Too many: ${keys.length}: must have at most ${maxProperties} items`);
    }
    if (minProperties !== undefined && keys.length < minProperties) {
      this.#invalid(path, keys.length, `should have at least ${minProperties} properties`);
    }
    for (const name of node.required) {
      if (!Object.hasOwn(value, name)) this.#add('FieldValueRequired', child(path, name), 'Required value');
    }
    const previous = isObject(before) ? before : undefined;
    if (node.isResource && path !== '') this.#checkResource(value, path);
    for (const key of keys) {
      const found = node.properties.get(key) ?? node.values;
      // Metadata has rules of its own.
      if (found === undefined || (node.isResource && path === '' && key === 'metadata' && found.properties.size === 0)) continue;
      const old = previous !== undefined && Object.hasOwn(previous, key) ? previous[key] : undefined;
      this.check(found, value[key], old, child(path, key));
    }
  }

  /** An object within an object is one by kind and version. */
  #checkResource(value: JsonObject, path: string): void {
    for (const name of ['apiVersion', 'kind']) {
      const field = child(path, name);
      if (value[name] === undefined || value[name] === '') this.#add('FieldValueRequired', field, 'Required value: must not be empty');
    }
  }

  #checkAlternatives({ allOf, anyOf, oneOf, not }: Structure, value: unknown, path: string): void {
    const failing = (message: string): void => this.#add('FieldValueInvalid', '<nil>', `Invalid value: "": ${message}`);
    const errorsOf = (node: Structure): readonly FieldError[] => {
      const errors: FieldError[] = [];
      new Validator(errors).check(node, value, undefined, path);
      return errors;
    };
    const shown = JSON.stringify(path);
    if (anyOf.length > 0) {
      const results = anyOf.map(errorsOf);
      if (results.every(({ length }) => length > 0)) {
        this.#addAll(bestOf(results));
        failing(`${shown} must validate at least one schema (anyOf)`);
      }
    }
    if (oneOf.length > 0) {
      const results = oneOf.map(errorsOf);
      const valid = results.filter(({ length }) => length === 0).length;
      if (valid === 0) this.#addAll(bestOf(results));
      if (valid !== 1) {
        const found = valid === 0 ? 'Found none valid' : `Found ${valid} valid alternatives`;
        failing(`${shown} must validate one and only one schema (oneOf). ${found}`);
      }
    }
    if (allOf.length > 0) {
      const results = allOf.map(errorsOf);
      const valid = results.filter(({ length }) => length === 0).length;
      for (const errors of results) this.#addAll(errors);
      if (valid < allOf.length) failing(`${shown} must validate all the schemas (allOf)${valid === 0 ? '. None validated' : ''}`);
    }
    if (not !== undefined && errorsOf(not).length === 0) failing(`${shown} must not validate the schema (not)`);
  }

  #addAll(errors: readonly FieldError[]): void {
    for (const { type, field, message } of errors) this.#add(type, field, message);
  }
}

/** The alternative that came closest. */
const bestOf = (results: readonly (readonly FieldError[])[]): readonly FieldError[] =>
  results.reduce((best, errors) => (errors.length < best.length ? errors : best));

/** Matches items with their old values: by keys in lists that have keys, not at all in others. */
export function previousItems(node: Structure, before: readonly unknown[]): ((item: unknown, index: number) => unknown) | undefined {
  if (node.listType !== 'map') return undefined;
  const known = new Map(before.map((item) => [keyOfItem(node.listMapKeys, item), item]));
  return (item) => known.get(keyOfItem(node.listMapKeys, item));
}

const keyOfItem = (keys: readonly string[], item: unknown): string =>
  JSON.stringify(keys.map((key) => (isObject(item) && Object.hasOwn(item, key) ? item[key] : null)));

function isMultipleOf(value: number, factor: number): boolean {
  const quotient = value / factor;
  return Math.abs(quotient - Math.round(quotient)) < 1e-9;
}

export function typeNameOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'number';
  return typeof value;
}

function isOfType({ type, intOrString }: Structure, given: string): boolean {
  if (intOrString) return given === 'integer' || given === 'string';
  if (type === undefined) return true;
  return type === given || (type === 'number' && given === 'integer');
}

/** Duplicate items in lists of type set and map. */
export function listErrors(root: Structure, value: unknown): readonly FieldError[] {
  const errors: FieldError[] = [];
  checkLists(root, value, '', errors);
  return errors;
}

function checkLists(node: Structure, value: unknown, path: string, errors: FieldError[]): void {
  if (!node.hasKeyedLists || typeof value !== 'object' || value === null) return;
  if (Array.isArray(value)) {
    if (node.listType !== 'atomic') checkDuplicates(node, value, path, errors);
    const { items } = node;
    if (items !== undefined) for (const [index, item] of value.entries()) checkLists(items, item, `${path}[${index}]`, errors);
    return;
  }
  for (const [key, item] of Object.entries(value)) {
    const found = node.properties.get(key);
    if (found !== undefined) checkLists(found, item, child(path, key), errors);
    else if (node.values !== undefined) checkLists(node.values, item, `${path}[${key}]`, errors);
  }
}

function checkDuplicates({ listType, listMapKeys }: Structure, value: readonly unknown[], path: string, errors: FieldError[]): void {
  const seen = new Set<string>();
  for (const [index, item] of value.entries()) {
    // An item without its keys is complained about as such.
    if (listType === 'map' && !isObject(item)) continue;
    const shown =
      listType === 'map'
        ? Object.fromEntries(
            listMapKeys.filter((key) => Object.hasOwn(item as JsonObject, key)).map((key) => [key, (item as JsonObject)[key]]),
          )
        : item;
    const key = listType === 'map' ? keyOfItem(listMapKeys, item) : JSON.stringify(sortedKeys(item));
    if (seen.has(key) && errors.length < maxErrors) {
      errors.push({ type: 'FieldValueDuplicate', field: `${path}[${index}]`, message: `Duplicate value: ${JSON.stringify(shown)}` });
    }
    seen.add(key);
  }
}

/** The same text for objects that are equal. */
function sortedKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortedKeys);
  if (!isObject(value)) return value;
  return Object.entries(value)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, item]) => [key, sortedKeys(item)]);
}

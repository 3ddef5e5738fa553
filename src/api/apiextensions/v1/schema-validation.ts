import { compilePattern, PatternError } from '../../../machinery/pattern.ts';
import type { Schema, ValidationRule } from '../../../machinery/schema.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { pruneFields } from '../../../machinery/structural-schema/prune.ts';
import { costComplaints } from '../../../machinery/structural-schema/rule-cost.ts';
import { compiledStructureOf, type Structure } from '../../../machinery/structural-schema/structure.ts';
import { schemaErrors } from '../../../machinery/structural-schema/validate.ts';
import { forbidden, invalidValue, notSupported, required } from '../../field-errors.ts';
import { shapeErrors } from './schema-shape.ts';

/**
 * Validates that a schema of a custom resource is structural: every field outside of the logical operators has a type.
 * Pruning, defaulting and expressions depend on these types.
 *
 * @see Kubernetes documentation, "Specifying a structural schema"
 */
export function validateSchema(
  errors: FieldError[],
  schema: Schema,
  { path, hasStatus }: { readonly path: string; readonly hasStatus: boolean },
): void {
  const misshapen = shapeErrors(schema, path);
  if (misshapen.length > 0) {
    errors.push(...misshapen);
    return;
  }
  const checker = new SchemaChecker(errors);
  if (hasStatus) checker.checkRoot(schema, path);
  if (schema.nullable === true) errors.push(forbidden(`${path}.nullable`, 'nullable cannot be true at the root'));
  checker.checkStructure(schema, path, 'root');
  checker.checkForm(schema, path, { isRoot: true, inMetadata: false, uncorrelatable: undefined });
  // Defaults and rules of a schema that is no schema would only confuse.
  if (errors.some(({ field }) => field.startsWith(path))) return;
  const { root, complaints } = compiledStructureOf(schema);
  checkDefaults(errors, root, path);
  for (const { schema: at, index, part, message } of complaints) {
    const rules = checker.pathOf(at) ?? path;
    errors.push(
      invalidValue(`${rules}.x-kubernetes-validations[${index}].${part}`, shownRule(at['x-kubernetes-validations']?.[index]), message),
    );
  }
  for (const { schema: at, index, part, message } of costComplaints(schema)) {
    const field = at === undefined ? '' : `.x-kubernetes-validations[${index}].${part}`;
    errors.push(forbidden(`${at === undefined ? path : (checker.pathOf(at) ?? path)}${field}`, message));
  }
  checkOldSelf(errors, root, checker);
}

/** Largest number of errors that are reported for one schema. */
const maxErrors = 100;

// Upstream has no such bounds: there a definition that takes a minute to compile stops nobody else.
/** Rules of one schema. */
const maxRules = 2_000;
/** Instructions of all patterns of one schema together; an ordinary one has fifty. */
const maxPatternSize = 50_000;

type Level = 'root' | 'item' | 'field';

interface Form {
  readonly isRoot: boolean;
  readonly inMetadata: boolean;
  /** Path of the list above whose items cannot be matched with those of the old value. */
  readonly uncorrelatable: string | undefined;
}

const types = ['array', 'boolean', 'integer', 'number', 'object', 'string'];
const metadataFields = new Set(['metadata', 'kind', 'apiVersion']);
const rootFields = new Set(
  'description type format title maximum exclusiveMaximum minimum exclusiveMinimum maxLength minLength pattern maxItems minItems uniqueItems multipleOf required items properties externalDocs example x-kubernetes-preserve-unknown-fields x-kubernetes-validations'.split(
    ' ',
  ),
);
const allowedAtRoot =
  '[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations]';
const reasons = ['FieldValueDuplicate', 'FieldValueForbidden', 'FieldValueInvalid', 'FieldValueRequired'];

/** Keys that no structural schema may have. */
const unsupported = ['additionalItems', 'patternProperties', 'definitions', 'dependencies', '$ref', 'id'] as const;

class SchemaChecker {
  readonly #errors: FieldError[];
  readonly #paths = new Map<Schema, string>();
  readonly #uncorrelatable = new Map<Schema, string>();
  #patternSize = 0;
  #ruleCount = 0;

  constructor(errors: FieldError[]) {
    this.#errors = errors;
  }

  pathOf(schema: Schema): string | undefined {
    return this.#paths.get(schema);
  }

  uncorrelatablePathOf(schema: Schema): string | undefined {
    return this.#uncorrelatable.get(schema);
  }

  #add(error: FieldError): void {
    if (this.#errors.length < maxErrors) this.#errors.push(error);
  }

  /** With a status subresource the root must be an object with known fields: the status is validated by its own property. */
  checkRoot(schema: Schema, path: string): void {
    if (schema.type !== undefined && schema.type !== 'object') {
      const why = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled';
      this.#add(invalidValue(`${path}.type`, schema.type, why));
    } else if (Object.keys(schema).some((key) => !rootFields.has(key))) {
      const why = `only ${allowedAtRoot} fields are allowed at the root of the schema if the status subresource is enabled`;
      this.#add(invalidValue(path, schema, why));
    }
  }

  // ---------------------------------------------------------------------------------------------------------------- structure

  checkStructure(schema: Schema, path: string, level: Level): void {
    this.#paths.set(schema, path);
    const { type, properties = {}, items, additionalProperties } = schema;
    const isEmbedded = schema['x-kubernetes-embedded-resource'] === true;
    const isOpen = schema['x-kubernetes-preserve-unknown-fields'] === true;
    const isIntOrString = schema['x-kubernetes-int-or-string'] === true;
    if (type === 'array' && items === undefined) this.#add(required(`${path}.items`, 'must be specified'));
    if (items !== undefined && !Array.isArray(items)) this.checkStructure(items, `${path}.items`, 'item');
    for (const [name, property] of Object.entries(properties)) this.checkStructure(property, `${path}.properties[${name}]`, 'field');
    if (additionalProperties !== undefined) {
      if (level === 'root') this.#add(forbidden(`${path}.additionalProperties`, 'must not be used at the root'));
      if (typeof additionalProperties === 'object') this.checkStructure(additionalProperties, `${path}.additionalProperties`, 'field');
    }
    if (isIntOrString && isOpen) {
      const why = 'must be false if x-kubernetes-int-or-string is true';
      this.#add(invalidValue(`${path}.x-kubernetes-preserve-unknown-fields`, true, why));
    }
    if (isIntOrString && isEmbedded) {
      const why = 'must be false if x-kubernetes-int-or-string is true';
      this.#add(invalidValue(`${path}.x-kubernetes-embedded-resource`, true, why));
    }
    this.#checkValueValidation(schema, path, { skipsTypes: isIntOrString && isIntOrStringPair(schema.anyOf), first: isIntOrString });
    if (isEmbedded && type !== 'object') {
      const why = 'must be object if x-kubernetes-embedded-resource is true';
      this.#add(type === undefined ? required(`${path}.type`, why) : invalidValue(`${path}.type`, type, why));
    } else if ((type === undefined || (type as string) === '') && !isIntOrString && !isOpen) {
      const where = { root: 'at the root', item: 'for specified array items', field: 'for specified object fields' }[level];
      this.#add(required(`${path}.type`, `must not be empty ${where}`));
    }
    if (isEmbedded && additionalProperties !== undefined) {
      this.#add(forbidden(`${path}.additionalProperties`, 'must not be used if x-kubernetes-embedded-resource is set'));
    }
    if (level === 'root' && type !== undefined && type !== 'object') {
      this.#add(invalidValue(`${path}.type`, type, 'must be object at the root'));
    }
    if (level === 'root' || isEmbedded) this.#checkMetadata(properties, path, level);
    if (isEmbedded && !isOpen && Object.keys(properties).length === 0) {
      const why = 'must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields';
      this.#add(required(`${path}.properties`, why));
    }
  }

  #checkMetadata(properties: Readonly<Record<string, Schema>>, path: string, level: Level): void {
    for (const [name, type] of [
      ['kind', 'string'],
      ['apiVersion', 'string'],
      ['metadata', 'object'],
    ] as const) {
      if (!Object.hasOwn(properties, name)) continue;
      const given = properties[name]?.type;
      if (given !== type) this.#add(invalidValue(`${path}.properties[${name}].type`, given ?? '', `must be ${type}`));
    }
    if (level !== 'root' || !Object.hasOwn(properties, 'metadata')) return;
    const { type: _, description: __, properties: named = {}, ...rest } = properties.metadata ?? {};
    const isPlain = Object.keys(named).every((name) => name === 'name' || name === 'generateName');
    if (!isPlain || Object.keys(rest).length > 0) {
      const why = 'must not specify anything other than name and generateName, but metadata is implicitly specified';
      this.#add(forbidden(`${path}.properties[metadata]`, why));
    }
  }

  #checkValueValidation(
    schema: Schema,
    path: string,
    { skipsTypes, first }: { readonly skipsTypes: boolean; readonly first: boolean },
  ): void {
    if (!skipsTypes)
      for (const [index, nested] of (schema.anyOf ?? []).entries()) this.#checkNested(nested, `${path}.anyOf[${index}]`, false);
    for (const [index, nested] of (schema.allOf ?? []).entries()) {
      this.#checkNested(nested, `${path}.allOf[${index}]`, first && index === 0 && isIntOrStringPair(nested.anyOf));
    }
    for (const [index, nested] of (schema.oneOf ?? []).entries()) this.#checkNested(nested, `${path}.oneOf[${index}]`, false);
    if (schema.not !== undefined) this.#checkNested(schema.not, `${path}.not`, false);
    const { pattern } = schema;
    if (pattern === undefined || pattern === '' || this.#patternSize > maxPatternSize) return;
    try {
      this.#patternSize += compilePattern(pattern).size;
      if (this.#patternSize > maxPatternSize) this.#add(forbidden(`${path}.pattern`, 'the patterns of the schema are too large together'));
    } catch (err) {
      if (!(err instanceof PatternError)) throw err;
      this.#add(invalidValue(`${path}.pattern`, pattern, `must be a valid regular expression, but isn't: ${err.message}`));
    }
  }

  /** Logical operators may only narrow what is said outside of them. */
  #checkNested(schema: Schema, path: string, skipsTypes: boolean): void {
    this.#paths.set(schema, path);
    this.#checkValueValidation(schema, path, { skipsTypes, first: false });
    if (schema.items !== undefined) this.#checkNested(schema.items, `${path}.items`, false);
    for (const [name, property] of Object.entries(schema.properties ?? {})) {
      this.#checkNested(property, `${path}.properties[${name}]`, false);
    }
    const forbid = (key: keyof Schema, how: string): void => this.#add(forbidden(`${path}.${key}`, `must be ${how} to be structural`));
    if (schema.type !== undefined) forbid('type', 'empty');
    if (schema.additionalProperties !== undefined) forbid('additionalProperties', 'undefined');
    if (schema.default !== undefined) forbid('default', 'undefined');
    if (schema.title !== undefined) forbid('title', 'empty');
    if (schema.description !== undefined) forbid('description', 'empty');
    if (schema.nullable === true) forbid('nullable', 'false');
    if (schema['x-kubernetes-preserve-unknown-fields'] === true) forbid('x-kubernetes-preserve-unknown-fields', 'false');
    if (schema['x-kubernetes-embedded-resource'] === true) forbid('x-kubernetes-embedded-resource', 'false');
    if (schema['x-kubernetes-int-or-string'] === true) forbid('x-kubernetes-int-or-string', 'false');
    if ((schema['x-kubernetes-list-map-keys'] ?? []).length > 0) forbid('x-kubernetes-list-map-keys', 'empty');
    if (schema['x-kubernetes-list-type'] !== undefined) forbid('x-kubernetes-list-type', 'undefined');
    if (Object.hasOwn(schema.properties ?? {}, 'metadata')) {
      this.#add(forbidden(`${path}.properties[metadata]`, 'must not be specified in a nested context'));
    }
  }

  // --------------------------------------------------------------------------------------------------------------------- form

  checkForm(schema: Schema, path: string, form: Form): void {
    const { isRoot, inMetadata, uncorrelatable } = form;
    if (uncorrelatable !== undefined) this.#uncorrelatable.set(schema, uncorrelatable);
    const { type, properties = {}, items, additionalProperties } = schema;
    if ((type as string | undefined) === 'null') {
      this.#add(forbidden(`${path}.type`, 'type cannot be set to null, use nullable as an alternative'));
    }
    if (type !== undefined && (type as string) !== '' && !types.includes(type)) this.#add(notSupported(`${path}.type`, type, types));
    for (const key of unsupported) {
      if (Object.hasOwn(schema, key)) this.#add(forbidden(`${path}.${key}`, `${key} is not supported`));
    }
    if (Array.isArray(items)) this.#add(forbidden(`${path}.items`, 'items must be a schema object and not an array'));
    if (inMetadata && schema.default !== undefined) this.#add(forbidden(`${path}.default`, 'must not be set in top-level metadata'));
    if (schema.uniqueItems === true) {
      this.#add(forbidden(`${path}.uniqueItems`, 'uniqueItems cannot be set to true since the runtime complexity becomes quadratic'));
    }
    if (additionalProperties !== undefined && Object.keys(properties).length > 0 && (additionalProperties as unknown) !== true) {
      this.#add(forbidden(`${path}.additionalProperties`, 'additionalProperties and properties are mutual exclusive'));
    }
    if (schema['x-kubernetes-preserve-unknown-fields'] === false) {
      this.#add(invalidValue(`${path}.x-kubernetes-preserve-unknown-fields`, false, 'must be true or undefined'));
    }
    this.#checkMapType(schema, path);
    this.#checkListType(schema, path);
    this.#checkRules(schema, path);
    const isAtomic = schema['x-kubernetes-map-type'] === 'atomic';
    for (const [name, property] of Object.entries(properties)) {
      this.checkForm(property, `${path}.properties[${name}]`, {
        isRoot: false,
        inMetadata: inMetadata || (isRoot && metadataFields.has(name)),
        uncorrelatable: uncorrelatable ?? (isAtomic ? path : undefined),
      });
    }
    if (typeof additionalProperties === 'object') {
      this.checkForm(additionalProperties, `${path}.additionalProperties`, { ...form, isRoot: false });
    }
    if (items !== undefined && !Array.isArray(items)) {
      const isKeyed = schema['x-kubernetes-list-type'] === 'map';
      this.checkForm(items, `${path}.items`, { isRoot: false, inMetadata, uncorrelatable: uncorrelatable ?? (isKeyed ? undefined : path) });
    }
  }

  #checkMapType(schema: Schema, path: string): void {
    const mapType = schema['x-kubernetes-map-type'];
    if (mapType === undefined) return;
    if (schema.type !== 'object') {
      const why = 'must be object if x-kubernetes-map-type is specified';
      this.#add(schema.type === undefined ? required(`${path}.type`, why) : invalidValue(`${path}.type`, schema.type, why));
    }
    if (mapType !== 'atomic' && mapType !== 'granular') {
      this.#add(notSupported(`${path}.x-kubernetes-map-type`, mapType, ['atomic', 'granular']));
    }
  }

  #checkListType(schema: Schema, path: string): void {
    const listType = schema['x-kubernetes-list-type'];
    const keys = schema['x-kubernetes-list-map-keys'] ?? [];
    const items = schema.items;
    if (listType !== undefined && schema.type !== 'array') {
      const why = 'must be array if x-kubernetes-list-type is specified';
      this.#add(schema.type === undefined ? required(`${path}.type`, why) : invalidValue(`${path}.type`, schema.type, why));
    } else if (listType === 'set' && items !== undefined) {
      const why = 'must be atomic as item of a list with x-kubernetes-list-type=set';
      if (items.type === 'array' && (items['x-kubernetes-list-type'] ?? 'atomic') !== 'atomic') {
        this.#add(invalidValue(`${path}.items.x-kubernetes-list-type`, items['x-kubernetes-list-type'], why));
      }
      if (items.type === 'object' && items['x-kubernetes-map-type'] !== 'atomic') {
        this.#add(invalidValue(`${path}.items.x-kubernetes-map-type`, items['x-kubernetes-map-type'] ?? null, why));
      }
    }
    if (listType !== undefined && !['atomic', 'set', 'map'].includes(listType)) {
      this.#add(notSupported(`${path}.x-kubernetes-list-type`, listType, ['atomic', 'set', 'map']));
    }
    if (keys.length > 0 && listType !== 'map') {
      const why = 'must be map if x-kubernetes-list-map-keys is non-empty';
      const at = `${path}.x-kubernetes-list-type`;
      this.#add(listType === undefined ? required(at, why) : invalidValue(at, listType, why));
    }
    if ((listType === 'set' || listType === 'map') && items?.nullable === true) {
      this.#add(forbidden(`${path}.items.nullable`, `cannot be nullable when x-kubernetes-list-type is ${listType}`));
    }
    if (listType === 'map') this.#checkMapKeys(keys, items, path);
  }

  #checkMapKeys(keys: readonly string[], items: Schema | undefined, path: string): void {
    const at = `${path}.x-kubernetes-list-map-keys`;
    if (keys.length === 0) this.#add(required(at, 'must not be empty if x-kubernetes-list-type is map'));
    if (items === undefined) {
      this.#add(required(`${path}.items`, 'must have a schema if x-kubernetes-list-type is map'));
      return;
    }
    if (items.type !== 'object') {
      this.#add(invalidValue(`${path}.items.type`, items.type ?? '', "must be object if parent array's x-kubernetes-list-type is map"));
      return;
    }
    const properties = items.properties ?? {};
    for (const [index, key] of keys.entries()) {
      const property = Object.hasOwn(properties, key) ? properties[key] : undefined;
      if (property === undefined) this.#add(invalidValue(at, keys, 'entries must all be names of item properties'));
      else {
        const field = `${path}.items.properties[${key}]`;
        if (property.type === 'array' || property.type === 'object') {
          this.#add(invalidValue(`${field}.type`, items.type, "must be a scalar type if parent array's x-kubernetes-list-type is map"));
        }
        if (!(items.required ?? []).includes(key) && property.default === undefined) {
          const why = 'this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property';
          this.#add(required(`${field}.default`, why));
        }
        if (property.nullable === true) {
          this.#add(forbidden(`${field}.nullable`, 'this property is in x-kubernetes-list-map-keys, so it cannot be nullable'));
        }
      }
      if (keys.indexOf(key) < index) this.#add(invalidValue(at, keys, 'must not contain duplicate entries'));
    }
  }

  #checkRules(schema: Schema, path: string): void {
    const rules = schema['x-kubernetes-validations'] ?? [];
    const before = this.#ruleCount;
    this.#ruleCount += rules.length;
    if (before <= maxRules && this.#ruleCount > maxRules) {
      this.#add(forbidden(`${path}.x-kubernetes-validations`, `a schema must have at most ${maxRules} rules`));
    }
    for (const [index, rule] of rules.entries()) {
      const at = `${path}.x-kubernetes-validations[${index}]`;
      const { rule: expression = '', message = '', messageExpression = '', reason, fieldPath = '' } = rule;
      const hasBreaks = (text: string): boolean => /[\n\r]/.test(text.trim());
      if (expression.trim() === '') this.#add(required(`${at}.rule`, 'rule is not specified'));
      else if (message !== '' && message.trim() === '') {
        this.#add(invalidValue(`${at}.message`, message, 'message must be non-empty if specified'));
      } else if (hasBreaks(message)) this.#add(invalidValue(`${at}.message`, message, 'message must not contain line breaks'));
      else if (hasBreaks(expression) && message.trim() === '') {
        this.#add(required(`${at}.message`, 'message must be specified if rule contains line breaks'));
      }
      if (messageExpression !== '' && messageExpression.trim() === '') {
        this.#add(required(`${at}.messageExpression`, 'messageExpression must be non-empty if specified'));
      }
      if (reason !== undefined && reason !== null && !reasons.includes(reason)) this.#add(notSupported(`${at}.reason`, reason, reasons));
      if (fieldPath === '') continue;
      if (fieldPath.trim() === '') this.#add(invalidValue(`${at}.fieldPath`, fieldPath, 'fieldPath must be non-empty if specified'));
      if (/[\n\r]/.test(fieldPath)) this.#add(invalidValue(`${at}.fieldPath`, fieldPath, 'fieldPath must not contain line breaks'));
      if (typeof schemaAt(schema, fieldPath) === 'string') {
        this.#add(invalidValue(`${at}.fieldPath`, fieldPath, 'fieldPath must be a valid path'));
      }
    }
  }
}

const isIntOrStringPair = (alternatives: readonly Schema[] | undefined): boolean =>
  alternatives?.length === 2 && JSON.stringify(alternatives) === '[{"type":"integer"},{"type":"string"}]';

/** A default is what the server would write itself: without unknown fields, and right. */
function checkDefaults(errors: FieldError[], node: Structure, path: string): void {
  if (!node.hasDefaults) return;
  if (node.fallback !== undefined) {
    const at = `${path}.default`;
    const { unknownFields } =
      typeof node.fallback === 'object' && node.fallback !== null && !Array.isArray(node.fallback)
        ? pruneFields(node, node.fallback as Readonly<Record<string, unknown>>)
        : { unknownFields: [] };
    if (unknownFields.length > 0) errors.push(invalidValue(at, node.fallback, `must not have unknown fields: ${unknownFields.join(', ')}`));
    errors.push(...schemaErrors(node, node.fallback, undefined, at));
  }
  for (const [name, child] of node.properties) checkDefaults(errors, child, `${path}.properties[${name}]`);
  if (node.values !== undefined) checkDefaults(errors, node.values, `${path}.additionalProperties`);
  if (node.items !== undefined) checkDefaults(errors, node.items, `${path}.items`);
}

/**
 * `oldSelf` needs a value that can be matched with its old one; a rule that does not name it has nothing to make
 * optional.
 */
function checkOldSelf(errors: FieldError[], node: Structure, checker: SchemaChecker): void {
  if (!node.hasRules) return;
  const path = checker.pathOf(node.schema) ?? '';
  for (const { source, usesOldSelf } of node.rules) {
    const index = (node.schema['x-kubernetes-validations'] ?? []).indexOf(source);
    const at = `${path}.x-kubernetes-validations[${index}]`;
    const uncorrelatable = checker.uncorrelatablePathOf(node.schema);
    if (usesOldSelf && uncorrelatable !== undefined) {
      const why = `oldSelf cannot be used on the uncorrelatable portion of the schema within ${uncorrelatable}`;
      errors.push(invalidValue(`${at}.rule`, source.rule, why));
    } else if (!usesOldSelf && source.optionalOldSelf !== undefined) {
      errors.push(invalidValue(`${at}.optionalOldSelf`, source.optionalOldSelf, 'may not be set if oldSelf is not used in rule'));
    }
  }
  for (const child of [...node.properties.values(), node.values, node.items, ...node.allOf]) {
    if (child !== undefined) checkOldSelf(errors, child, checker);
  }
}

/** As the real server shows a rule. */
const shownRule = (rule: ValidationRule | undefined): unknown => ({
  Rule: rule?.rule ?? '',
  Message: rule?.message ?? '',
  MessageExpression: rule?.messageExpression ?? '',
  Reason: rule?.reason ?? null,
  FieldPath: rule?.fieldPath ?? '',
  OptionalOldSelf: rule?.optionalOldSelf ?? null,
});

/** The schema of what a path of fields leads to, or what is wrong with the path. */
export function schemaAt(schema: Schema | undefined, path: string): Schema | string {
  let at = schema;
  let rest = path.trim();
  while (rest !== '') {
    const [whole, dotted, quoted] = /^(?:\.([^.[\]]+)|\['((?:[^'\\]|\\.)*)'\])/.exec(rest) ?? [];
    if (whole === undefined) return rest.startsWith('.') ? 'unexpected end of JSON path' : `expected [ or . but got: ${rest}`;
    const name = dotted ?? (quoted ?? '').replace(/\\(.)/g, '$1');
    const { properties, additionalProperties } = at ?? {};
    if (properties !== undefined && Object.hasOwn(properties, name)) at = properties[name];
    else if (properties === undefined && typeof additionalProperties === 'object') at = additionalProperties;
    else return 'does not refer to a valid field';
    rest = rest.slice(whole.length);
  }
  return at ?? 'does not refer to a valid field';
}

/**
 * Schemas of the API's types, in the form OpenAPI v3 documents and CustomResourceDefinitions use. So built-in kinds and custom
 * ones go through the same validation, pruning, defaulting, strategic merge and server-side apply.
 *
 * @see https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/ "Specifying a structural schema"
 */
export interface Schema {
  readonly type?: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean';
  /** `int32`, `int64`, `double`, `byte`, `date-time`, `quantity` (string or number), … */
  readonly format?: string;
  readonly description?: string;
  /** `#/components/schemas/NAME`; `default`, `description` and the `x-kubernetes-*` keys beside it belong to the field, not to the type. */
  readonly $ref?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  /** Schema of a map's values. */
  readonly additionalProperties?: Schema;
  readonly items?: Schema;
  /** `null` on a generated field: absence is written as null, as upstream's encoder does for some lists, maps and times; not published. */
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly nullable?: boolean;
  readonly 'x-kubernetes-list-type'?: 'atomic' | 'set' | 'map';
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
  readonly 'x-kubernetes-map-type'?: 'atomic' | 'granular';
  /** Comma-separated: `merge`, `replace`, `retainKeys`. */
  readonly 'x-kubernetes-patch-strategy'?: string;
  readonly 'x-kubernetes-patch-merge-key'?: string;
  readonly 'x-kubernetes-int-or-string'?: boolean;
  readonly 'x-kubernetes-preserve-unknown-fields'?: boolean;
  readonly 'x-kubernetes-embedded-resource'?: boolean;
  readonly 'x-kubernetes-validations'?: readonly ValidationRule[];
  // For custom resources only: validation beyond the type.
  readonly title?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: boolean;
  readonly exclusiveMaximum?: boolean;
  readonly multipleOf?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  /** RE2. */
  readonly pattern?: string;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly uniqueItems?: boolean;
  readonly minProperties?: number;
  readonly maxProperties?: number;
  readonly allOf?: readonly Schema[];
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly not?: Schema;
  readonly 'x-kubernetes-selectable-fields'?: readonly { readonly fieldPath: string }[];
  /** On the types of top-level kinds and of the bodies that go with every group (`DeleteOptions`, `Status`, `WatchEvent`). */
  readonly 'x-kubernetes-group-version-kind'?: readonly GroupVersionKind[];
  /**
   * The field's zero value (`""`, `0`, `false`) means the same as its absence, and is written as that. Fields without it, lists and maps
   * apart, tell the two apart. Used inside only, never published.
   */
  readonly 'x-omit-zero'?: boolean;
}

/** A rule in CEL about the value of a schema, `self`, and, on updates, the one before, `oldSelf`. */
export interface ValidationRule {
  readonly rule: string;
  readonly message?: string;
  /** An expression for the message; `message` is used when it fails. */
  readonly messageExpression?: string;
  readonly reason?: string;
  /** Below the schema: `.spec.name`. */
  readonly fieldPath?: string;
  /** `oldSelf` is an optional, and the rule holds for creation, too. */
  readonly optionalOldSelf?: boolean;
}

export interface GroupVersionKind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
}

/** Types by full name, for example `io.k8s.api.core.v1.Pod`. */
export type SchemaSet = Readonly<Record<string, Schema>>;

const refPrefix = '#/components/schemas/';

/** `io.k8s.api.core.v1.Pod` of a `$ref`. */
export const nameOfRef = (ref: string): string => ref.slice(refPrefix.length);

/** The type of a schema: itself, or the target of its `$ref` in `set`. */
export function resolveSchema(set: SchemaSet, schema: Schema): Schema {
  if (schema.$ref === undefined) return schema;
  const target = set[nameOfRef(schema.$ref)];
  if (target === undefined) throw new Error(`schema ${schema.$ref} is not in the set`);
  return target;
}

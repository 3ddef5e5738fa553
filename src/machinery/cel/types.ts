/** Types of the Common Expression Language, as the checker knows them. */
export type CelType =
  | { readonly kind: Primitive }
  | { readonly kind: 'list'; readonly items: CelType }
  | { readonly kind: 'map'; readonly keys: CelType; readonly values: CelType }
  | { readonly kind: 'optional'; readonly value: CelType }
  | CelObjectType
  /** Any one type in the signature of a function. */
  | { readonly kind: 'parameter'; readonly name: string };

type Primitive =
  | 'dyn'
  | 'null'
  | 'bool'
  | 'int'
  | 'uint'
  | 'double'
  | 'string'
  | 'bytes'
  | 'timestamp'
  | 'duration'
  | 'type'
  | 'quantity'
  | 'url'
  | 'ip'
  | 'cidr'
  | 'semver'
  | 'format';

/** An object whose fields are known; others cannot be named. */
export interface CelObjectType {
  readonly kind: 'object';
  readonly name: string;
  /** By the name that expressions use; see `escapeFieldName`. */
  readonly fields: ReadonlyMap<string, CelField>;
}

export interface CelField {
  /** As the object has it. */
  readonly property: string;
  readonly type: CelType;
}

export const dynType: CelType = { kind: 'dyn' };
export const boolType: CelType = { kind: 'bool' };
export const intType: CelType = { kind: 'int' };
export const stringType: CelType = { kind: 'string' };
export const listOf = (items: CelType): CelType => ({ kind: 'list', items });
export const mapOf = (keys: CelType, values: CelType): CelType => ({ kind: 'map', keys, values });
export const optionalOf = (value: CelType): CelType => ({ kind: 'optional', value });

/** `fields` by property name; names that an expression cannot say are left out. */
export function objectOf(name: string, fields: Readonly<Record<string, CelType>>): CelObjectType {
  const known = new Map<string, CelField>();
  for (const [property, type] of Object.entries(fields)) {
    const escaped = escapeFieldName(property);
    if (escaped !== undefined) known.set(escaped, { property, type });
  }
  return { kind: 'object', name, fields: known };
}

/** An object of Kubernetes' own making, whose fields keep their names: `request.namespace`. */
export const recordOf = (name: string, fields: Readonly<Record<string, CelType>>): CelObjectType => ({
  kind: 'object',
  name,
  fields: new Map(Object.entries(fields).map(([property, type]) => [property, { property, type }])),
});

/** Words of the language that cannot be identifiers. */
const reservedWords = new Set(
  'true false null in as break const continue else for function if import let loop package namespace return var void while'.split(' '),
);

/**
 * The name of a property in an expression: `spec` is unchanged, `my-field` becomes `my__dash__field`, `namespace`
 * becomes `__namespace__`. Undefined when expressions cannot name it.
 *
 * @see Kubernetes reference, "Common Expression Language in Kubernetes", escaping
 */
export function escapeFieldName(property: string): string | undefined {
  if (reservedWords.has(property)) return `__${property}__`;
  if (!/^[A-Za-z_][A-Za-z0-9_./-]*$/.test(property)) return undefined;
  return property.replace(/__|[./-]/g, (part) => escapes[part] ?? part);
}

const escapes: Readonly<Record<string, string>> = { __: '__underscores__', '.': '__dot__', '-': '__dash__', '/': '__slash__' };

/** `list(int)`, `map(string, dyn)`: as errors show a type. */
export function typeName(type: CelType): string {
  switch (type.kind) {
    case 'list':
      return `list(${typeName(type.items)})`;
    case 'map':
      return `map(${typeName(type.keys)}, ${typeName(type.values)})`;
    case 'optional':
      return `optional_type(${typeName(type.value)})`;
    case 'object':
    case 'parameter':
      return type.name;
    default:
      return publicNames[type.kind] ?? type.kind;
  }
}

const publicNames: Readonly<Partial<Record<Primitive, string>>> = {
  timestamp: 'timestamp',
  duration: 'duration',
  quantity: 'kubernetes.Quantity',
  url: 'kubernetes.URL',
  ip: 'net.IP',
  cidr: 'net.CIDR',
  semver: 'kubernetes.Semver',
  format: 'kubernetes.NamedFormat',
};

/** Types that the parameters of a signature are bound to so far. */
export type Bindings = Map<string, CelType>;

/** True when a value of type `given` is allowed for `wanted`; adds to `bindings`. */
export function isAssignable(wanted: CelType, given: CelType, bindings?: Bindings): boolean {
  if (wanted.kind === 'parameter') {
    const bound = bindings?.get(wanted.name);
    if (bound === undefined) {
      bindings?.set(wanted.name, given);
      return true;
    }
    if (isAssignable(bound, given)) {
      // The most that is known: dyn gives way to a type.
      if (bound.kind === 'dyn') bindings?.set(wanted.name, given);
      return true;
    }
    return isAssignable(given, bound);
  }
  if (wanted.kind === 'dyn' || given.kind === 'dyn' || given.kind === 'parameter') return true;
  // Nullable types are not distinguished from others.
  if (wanted.kind === 'null' || given.kind === 'null') return true;
  switch (wanted.kind) {
    case 'list':
      return given.kind === 'list' && isAssignable(wanted.items, given.items, bindings);
    case 'map':
      if (given.kind === 'object') return isAssignable(wanted.keys, stringType, bindings);
      return given.kind === 'map' && isAssignable(wanted.keys, given.keys, bindings) && isAssignable(wanted.values, given.values, bindings);
    case 'optional':
      return given.kind === 'optional' && isAssignable(wanted.value, given.value, bindings);
    case 'object':
      return given.kind === 'map' || (given.kind === 'object' && given.name === wanted.name);
    default:
      return wanted.kind === given.kind;
  }
}

/** `type` with its parameters replaced; what was not bound is dyn. */
export function substitute(type: CelType, bindings: Bindings): CelType {
  switch (type.kind) {
    case 'parameter':
      return bindings.get(type.name) ?? dynType;
    case 'list':
      return listOf(substitute(type.items, bindings));
    case 'map':
      return mapOf(substitute(type.keys, bindings), substitute(type.values, bindings));
    case 'optional':
      return optionalOf(substitute(type.value, bindings));
    default:
      return type;
  }
}

/** The type that both are, or dyn. */
export function joinTypes(a: CelType, b: CelType): CelType {
  if (a === b) return a;
  if (a.kind === 'null') return b;
  if (b.kind === 'null') return a;
  return typeName(a) === typeName(b) ? a : dynType;
}

/** Reads the notation of signatures: `list(A)`, `map(string, dyn)`, `optional(A)`, `int`; capital letters are parameters. */
export function parseType(text: string): CelType {
  const trimmed = text.trim();
  const [, head, inner] = /^(list|map|optional)\((.*)\)$/.exec(trimmed) ?? [];
  if (head === undefined || inner === undefined) {
    return /^[A-Z]$/.test(trimmed) ? { kind: 'parameter', name: trimmed } : { kind: trimmed as Primitive };
  }
  if (head === 'list') return listOf(parseType(inner));
  if (head === 'optional') return optionalOf(parseType(inner));
  const comma = inner.indexOf(',');
  return mapOf(parseType(inner.slice(0, comma)), parseType(inner.slice(comma + 1)));
}

import { type CelProgram, compileCel } from '../cel/cel.ts';
import { CelCompileError } from '../cel/errors.ts';
import { openValues, type SchemaPlace, SchemaTypes } from '../cel/schema-types.ts';
import { dynType, optionalOf } from '../cel/types.ts';
import { deepFreeze } from '../object.ts';
import { compilePattern, type Pattern, PatternError } from '../pattern.ts';
import type { Schema, ValidationRule } from '../schema.ts';

/**
 * The schema of a custom resource, compiled: what pruning, defaulting and validation look at for each value. Everything a user can write
 * is looked up in maps, so that no name is taken for something else.
 */
export interface Structure {
  readonly schema: Schema;
  readonly type: Schema['type'] | undefined;
  readonly intOrString: boolean;
  readonly nullable: boolean;
  readonly properties: ReadonlyMap<string, Structure>;
  /** Schema of members that are no properties. */
  readonly values: Structure | undefined;
  readonly items: Structure | undefined;
  readonly required: readonly string[];
  /** Frozen; undefined when there is none. */
  readonly fallback: unknown;
  /** There is a default here or below. */
  readonly hasDefaults: boolean;
  readonly preservesUnknown: boolean;
  /** Also the root: has kind, apiVersion and metadata of its own. */
  readonly isResource: boolean;
  readonly listType: 'atomic' | 'set' | 'map';
  readonly listMapKeys: readonly string[];
  readonly isAtomicMap: boolean;
  readonly pattern: Pick<Pattern, 'test'> | undefined;
  readonly allOf: readonly Structure[];
  readonly anyOf: readonly Structure[];
  readonly oneOf: readonly Structure[];
  readonly not: Structure | undefined;
  readonly rules: readonly CompiledRule[];
  /** There is a rule here or below. */
  readonly hasRules: boolean;
  /** There is a list of type set or map here or below. */
  readonly hasKeyedLists: boolean;
}

export interface CompiledRule {
  readonly source: ValidationRule;
  readonly program: CelProgram;
  readonly message: CelProgram | undefined;
  readonly usesOldSelf: boolean;
}

/** A rule that does not compile; `part` says which of its expressions. */
export interface RuleComplaint {
  readonly schema: Schema;
  readonly index: number;
  readonly part: 'rule' | 'messageExpression';
  readonly message: string;
}

export interface CompiledStructure {
  readonly root: Structure;
  readonly complaints: readonly RuleComplaint[];
}

const compiled = new WeakMap<Schema, CompiledStructure>();

/**
 * Compiles the schema of a whole object, once. It has been checked before, but for its rules, whose complaints are returned; a rule that
 * does not compile is left out.
 */
export function compiledStructureOf(schema: Schema): CompiledStructure {
  let structure = compiled.get(schema);
  if (structure === undefined) {
    const compiler = new Compiler();
    structure = { root: compiler.structure(schema, { isRoot: true, path: 'self' }), complaints: compiler.complaints };
    compiled.set(schema, structure);
  }
  return structure;
}

const none: ReadonlyMap<string, Structure> = new Map();

class Compiler {
  readonly complaints: RuleComplaint[] = [];
  readonly #types = new SchemaTypes();

  structure(schema: Schema, { isRoot = false, path }: { readonly isRoot?: boolean; readonly path: string }): Structure {
    const below = (child: Schema, name: string): Structure => this.structure(child, { path: `${path}.${name}` });
    const { type, properties, additionalProperties, items, required = [], nullable = false, pattern } = schema;
    const children =
      properties === undefined ? none : new Map(Object.entries(properties).map(([name, child]) => [name, below(child, name)] as const));
    const isResource = isRoot || schema['x-kubernetes-embedded-resource'] === true;
    const values = openValues(additionalProperties);
    const compiledValues = values === undefined ? undefined : below(values, '@values');
    const compiledItems = items === undefined ? undefined : below(items, '@items');
    const rules = this.#rules(schema, { isResource, path });
    const nested = [...children.values(), compiledValues, compiledItems].filter((child) => child !== undefined);
    const junctors = {
      allOf: (schema.allOf ?? []).map((child, index) => below(child, `@allOf${index}`)),
      anyOf: (schema.anyOf ?? []).map((child, index) => below(child, `@anyOf${index}`)),
      oneOf: (schema.oneOf ?? []).map((child, index) => below(child, `@oneOf${index}`)),
      not: schema.not === undefined ? undefined : below(schema.not, '@not'),
    };
    const listType = schema['x-kubernetes-list-type'] ?? 'atomic';
    return {
      schema,
      type,
      intOrString: schema['x-kubernetes-int-or-string'] === true,
      nullable,
      properties: children,
      values: compiledValues,
      items: compiledItems,
      required,
      fallback: schema.default === undefined ? undefined : deepFreeze(structuredClone(schema.default)),
      hasDefaults: schema.default !== undefined || nested.some(({ hasDefaults }) => hasDefaults),
      preservesUnknown: schema['x-kubernetes-preserve-unknown-fields'] === true,
      isResource,
      listType,
      listMapKeys: schema['x-kubernetes-list-map-keys'] ?? [],
      isAtomicMap: schema['x-kubernetes-map-type'] === 'atomic',
      pattern: pattern === undefined || pattern === '' ? undefined : lazyPattern(pattern),
      ...junctors,
      rules,
      hasRules: rules.length > 0 || [...nested, ...junctors.allOf].some(({ hasRules }) => hasRules),
      hasKeyedLists: listType !== 'atomic' || nested.some(({ hasKeyedLists }) => hasKeyedLists),
    };
  }

  #rules(schema: Schema, place: SchemaPlace): readonly CompiledRule[] {
    const sources = schema['x-kubernetes-validations'] ?? [];
    if (sources.length === 0) return [];
    const compiled: CompiledRule[] = [];
    const type = this.#types.typeOf(schema, place) ?? dynType;
    for (const [index, source] of sources.entries()) {
      const variables = { self: type, oldSelf: source.optionalOldSelf === true ? optionalOf(type) : type };
      const compile = (part: RuleComplaint['part'], expression: string, result: 'bool' | 'string'): CelProgram | undefined => {
        try {
          return compileCel(expression, { variables, result });
        } catch (err) {
          if (!(err instanceof CelCompileError)) throw err;
          const isType = err.message.startsWith('must evaluate to');
          const message = isType
            ? part === 'rule'
              ? 'cel expression must evaluate to a bool'
              : 'messageExpression must evaluate to a string'
            : `${part === 'rule' ? 'compilation failed' : 'messageExpression compilation failed'}: ${err.message}`;
          this.complaints.push({ schema, index, part, message });
          return undefined;
        }
      };
      const program = source.rule.trim() === '' ? undefined : compile('rule', source.rule, 'bool');
      const wanted = (source.messageExpression ?? '').trim();
      const message = wanted === '' ? undefined : compile('messageExpression', wanted, 'string');
      if (program !== undefined) compiled.push({ source, program, message, usesOldSelf: program.variables.has('oldSelf') });
    }
    return compiled;
  }
}

/** A pattern that is compiled when a value is first held against it. */
function lazyPattern(source: string): Pick<Pattern, 'test'> {
  let pattern: Pick<Pattern, 'test'> | undefined;
  return {
    test(text) {
      pattern ??= tryPattern(source);
      return pattern.test(text);
    },
  };
}

function tryPattern(source: string): Pick<Pattern, 'test'> {
  try {
    return compilePattern(source);
  } catch (err) {
    // Refused when the definition was made; one that an earlier version of the program took matches nothing rather than everything.
    if (err instanceof PatternError) return { test: () => false };
    throw err;
  }
}

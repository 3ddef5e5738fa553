import { FieldError, type FieldSpec, visitField } from './field-spec.ts';
import type { VariableRule } from './kustomization.ts';
import { splitFieldPath } from './replacements.ts';
import { currentId, idKey, isClusterScoped, isMap, previousIds, type Resource, type ResourceId } from './resource.ts';
import { spend, spendText } from './work.ts';

export class VariableError extends Error {}

/** Notes on the object that a variable means that it gives it its value, which is read when all names are final. */
export function assignVariable(resources: readonly Resource[], rule: VariableRule): void {
  const wanted: ResourceId = rule.objref;
  const anyNamespace = wanted.namespace === '' && !isClusterScoped(wanted);
  const fits = (id: ResourceId): boolean =>
    anyNamespace
      ? id.name === wanted.name && id.kind === wanted.kind && id.group === wanted.group && id.version === wanted.version
      : idKey(id) === idKey(wanted);
  spend(resources.length);
  const matches = resources.filter((resource) => [...previousIds(resource), currentId(resource)].some(fits));
  if (matches.length > 1) {
    throw new VariableError(`found ${matches.length} resId matches for var ${rule.name} (unable to disambiguate)`);
  }
  matches[0]?.variables.push(rule.name);
}

/** Adds variables of another kustomization; a name may have one definition only. */
export function addVariables(variables: Map<string, VariableRule>, rules: Iterable<VariableRule>): void {
  for (const rule of rules) {
    if (variables.has(rule.name)) throw new VariableError(`var '${rule.name}' already encountered`);
    variables.set(rule.name, rule);
  }
}

/** Puts the values in place of `$(NAME)`. */
export function resolveVariables(
  resources: readonly Resource[],
  variables: ReadonlyMap<string, VariableRule>,
  fields: readonly FieldSpec[],
): void {
  if (variables.size === 0) return;
  const values = new Map<string, unknown>();
  for (const [name, rule] of variables) values.set(name, valueFor(resources, rule));
  const expand = (text: string): unknown => expandText(text, values);
  for (const resource of resources) {
    for (const field of fields) {
      visitField(resource, field, {
        visit(value, replace) {
          if (typeof value === 'string') replace(expand(value));
          else if (Array.isArray(value)) replace(value.map(expandItem));
          else if (isMap(value)) {
            for (const [key, entry] of Object.entries(value)) if (typeof entry === 'string') value[key] = expand(entry);
          }
        },
      });
    }
  }
  function expandItem(item: unknown): unknown {
    if (typeof item !== 'string') throw new FieldError('invalid value type expect a string');
    return expand(item);
  }
}

function valueFor(resources: readonly Resource[], { name, fieldPath }: VariableRule): unknown {
  spend(resources.length);
  const resource = resources.find(({ variables }) => variables.includes(name));
  if (resource === undefined) throw new VariableError(`var '${name}' cannot be mapped to a field in the set of known resources`);
  let value: unknown = resource.object;
  for (const part of splitFieldPath(fieldPath)) {
    const index = /^(.*)\[([0-9]+)\]$/.exec(part);
    const key = index?.[1] ?? part;
    value = Array.isArray(value) ? value[Number(key)] : isMap(value) && Object.hasOwn(value, key) ? value[key] : undefined;
    if (index !== null) value = Array.isArray(value) ? value[Number(index[2])] : undefined;
  }
  if (value === undefined) throw new VariableError(`field specified in var '${name}' not found in corresponding resource`);
  return value;
}

/** `$$` is a dollar sign; a name that is not known stays as it is. The value keeps its type when it is all there is. */
function expandText(text: string, values: ReadonlyMap<string, unknown>): unknown {
  const whole = /^\$\(([^)]*)\)$/.exec(text)?.[1];
  if (whole !== undefined && isPlain(values.get(whole))) return values.get(whole);
  return text.replace(/\$(?:\$|\(([^)]*)\))/g, (match, name: string | undefined) => {
    if (name === undefined) return '$';
    const value = values.get(name);
    if (!isPlain(value)) return match;
    const expanded = String(value);
    spendText(expanded.length);
    return expanded;
  });
}

const isPlain = (value: unknown): boolean => typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';

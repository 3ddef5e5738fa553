import { loadSchemas } from '../../../api/schemas.ts';
import { nearest } from '../../../base/nearest.ts';
import type { DynamicObject } from '../../../machinery/object.ts';
import { parseQuantity } from '../../../machinery/quantity.ts';
import { parseApiVersion } from '../../../machinery/resource.ts';
import { resolveSchema, type Schema } from '../../../machinery/schema.ts';

const schemas = loadSchemas();
let byKind: ReadonlyMap<string, Schema> | undefined;

function schemaOf({ apiVersion, kind }: Pick<DynamicObject, 'apiVersion' | 'kind'>): Schema | undefined {
  byKind ??= new Map(
    Object.values(schemas).flatMap((schema) => (schema['x-kubernetes-group-version-kind'] ?? []).map((each) => [keyOf(each), schema])),
  );
  return byKind.get(keyOf({ ...parseApiVersion(apiVersion), kind }));
}

/**
 * The field that an unknown one was meant to be: `resources` for `spec.template.spec.containers[0].resorces`. Knows Kubernetes' built-in
 * kinds; undefined for every other kind, and when no field of the same place is spelled alike.
 */
export function nearestField(object: Pick<DynamicObject, 'apiVersion' | 'kind'>, path: string): string | undefined {
  let schema = schemaOf(object);
  // A key of a map may hold dots: such a path leads nowhere, and there is no hint.
  const names = path.replace(/\[[^\]]*\]/g, '.[]').split('.');
  const last = names.pop() ?? '';
  for (const name of names) {
    const type: Schema = schema === undefined ? {} : resolveSchema(schemas, schema);
    schema = name === '[]' ? type.items : (type.properties?.[name] ?? type.additionalProperties);
  }
  const { properties = {} } = schema === undefined ? {} : resolveSchema(schemas, schema);
  return nearest(last, Object.keys(properties));
}

/** Deeper than every built-in kind. */
const maxDepth = 40;

/** Fields of a built-in kind whose value is no quantity, as `32MiB` for `32Mi`. The server refuses it and does not name the field. */
export function wrongQuantities(object: DynamicObject): readonly string[] {
  const found: string[] = [];
  const visit = (value: unknown, of: Schema | undefined, path: string): void => {
    if (of === undefined || value === null || value === undefined || path.split(/[.[]/).length > maxDepth) return;
    const schema = resolveSchema(schemas, of);
    if (schema.format === 'quantity') {
      if ((typeof value === 'string' || typeof value === 'number') && !isQuantity(value)) found.push(path);
    } else if (Array.isArray(value)) {
      for (const [index, item] of value.entries()) visit(item, schema.items, `${path}[${index}]`);
    } else if (typeof value === 'object') {
      for (const [name, child] of Object.entries(value))
        visit(child, schema.properties?.[name] ?? schema.additionalProperties, path === '' ? name : `${path}.${name}`);
    }
  };
  visit(object, schemaOf(object), '');
  return found;
}

function isQuantity(value: string | number): boolean {
  try {
    parseQuantity(value);
    return true;
  } catch {
    return false;
  }
}

/** The next step for a kind that the cluster does not have: another spelling, another version, or its definition. */
export function hintOfKind(
  { apiVersion, kind }: Pick<DynamicObject, 'apiVersion' | 'kind'>,
  served: readonly { readonly group: string; readonly version: string; readonly kind: string }[],
): string {
  const { group, version } = parseApiVersion(apiVersion);
  const beside = served.filter((each) => each.group === group && each.version === version).map((each) => each.kind);
  const meant = nearest(kind, beside);
  if (meant !== undefined) return `Did you mean ${meant}?`;
  // A group was left out, or is the one that Kubernetes gave up. The same kind of any other group is another thing.
  const isOld = group === '' || group === 'extensions';
  const elsewhere = served.find((each) => each.kind === kind && (isOld || each.group === group));
  return elsewhere === undefined
    ? 'Check apiVersion and kind, or apply the CustomResourceDefinition first.'
    : `${kind} is in ${elsewhere.group === '' ? '' : `${elsewhere.group}/`}${elsewhere.version}.`;
}

const keyOf = ({ group, version, kind }: { readonly group: string; readonly version: string; readonly kind: string }): string =>
  `${group}/${version}/${kind}`;

import { loadSchemas } from '../../../api/schemas.ts';
import { nearest } from '../../../base/nearest.ts';
import type { DynamicObject } from '../../../machinery/object.ts';
import { parseApiVersion } from '../../../machinery/resource.ts';
import { resolveSchema, type Schema } from '../../../machinery/schema.ts';

const schemas = loadSchemas();
let byKind: ReadonlyMap<string, Schema> | undefined;

/**
 * The field that an unknown one was meant to be: `resources` for `spec.template.spec.containers[0].resorces`. Knows Kubernetes' built-in
 * kinds; undefined for every other kind, and when no field of the same place is spelled alike.
 */
export function nearestField({ apiVersion, kind }: Pick<DynamicObject, 'apiVersion' | 'kind'>, path: string): string | undefined {
  byKind ??= new Map(
    Object.values(schemas).flatMap((schema) => (schema['x-kubernetes-group-version-kind'] ?? []).map((each) => [keyOf(each), schema])),
  );
  let schema = byKind.get(keyOf({ ...parseApiVersion(apiVersion), kind }));
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

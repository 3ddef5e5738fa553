import { readFileSync } from 'node:fs';
import type { Schema, SchemaSet } from '../machinery/schema.ts';

let generated: SchemaSet | undefined;

/** The generated schemas of Kubernetes' built-in types, read once; `scripts/gen-schemas.mjs` writes them. */
function generatedSchemas(): SchemaSet {
  generated ??= JSON.parse(readFileSync(new URL('./schemas.json', import.meta.url), 'utf8')) as SchemaSet;
  return generated;
}

/**
 * The schemas of all built-in types, with those that kind files write by hand (`KindDefinition.schemas`) added.
 *
 * @param extra  by full name; a name that is already taken is an error, so that no kind changes another's type by accident
 */
export function loadSchemas(extra: readonly (Readonly<Record<string, Schema>> | undefined)[] = []): SchemaSet {
  const set: Record<string, Schema> = { ...generatedSchemas() };
  for (const [name, schema] of extra.flatMap((types) => Object.entries(types ?? {}))) {
    if (Object.hasOwn(set, name) && set[name] !== schema) throw new Error(`schema ${name} is defined twice`);
    set[name] = schema;
  }
  return set;
}

import { describe, expect, it } from 'vitest';
import { builtInGroups } from '../../../src/api/built-in-groups.ts';
import { builtInKinds } from '../../../src/api/kinds.ts';
import { loadSchemas } from '../../../src/api/schemas.ts';
import type { KubeObject } from '../../../src/machinery/object.ts';
import { apiVersionOf } from '../../../src/machinery/resource.ts';
import { resolveSchema } from '../../../src/machinery/schema.ts';
import { writeContext } from '../../support/write-context.ts';

describe('every kind', () => {
  const set = loadSchemas(builtInKinds.map((kind) => kind.schemas ?? {}));

  it.each(builtInKinds.map((kind) => [kind.kind, kind] as const))(
    '%s has a schema, and each of its references leads somewhere',
    (_, kind) => {
      const seen = new Set<string>();
      const visit = (schema: object): void => {
        for (const [key, value] of Object.entries(schema)) {
          // A field may have this name, too.
          if (key === '$ref' && typeof value === 'string') {
            if (seen.has(value)) continue;
            seen.add(value);
            visit(resolveSchema(set, { $ref: value }));
          } else if (typeof value === 'object' && value !== null) visit(value);
        }
      };
      expect(set[kind.schemaName]).toBeDefined();
      visit(set[kind.schemaName] ?? {});
    },
  );

  it('is found by one name only', () => {
    const names = builtInKinds.map((kind) => `${apiVersionOf(kind)}/${kind.resource}`);
    expect(new Set(names).size).toBe(names.length);
    // Versions of one stored kind share their names.
    const short = builtInKinds.filter((kind) => kind.storedAs === undefined).flatMap((kind) => kind.shortNames);
    expect(new Set(short).size).toBe(short.length);
  });

  it.each(builtInKinds.map((kind) => [kind.kind, kind] as const))('%s is refused, not a crash, when it is empty', (_, kind) => {
    const empty = { apiVersion: apiVersionOf(kind), kind: kind.kind, metadata: { name: 'x', uid: 'u' } } as KubeObject;
    const object = kind.defaults?.(empty) ?? empty;
    const prepared = kind.prepareForCreate?.(object, writeContext) ?? object;
    expect(Array.isArray(kind.validate?.(prepared) ?? [])).toBe(true);
    // Selectors and columns read the stored form.
    if ((kind.validate?.(prepared) ?? []).length > 0) return;
    for (const field of Object.values(kind.selectableFields)) expect(typeof field(prepared)).toBe('string');
    for (const column of kind.columns) expect(column.cell(prepared, { now: 0 })).toBeDefined();
  });
});

it('the list of built-in groups is that of the kinds, without those of Flux and our own', () => {
  const groups = new Set(builtInKinds.map(({ group }) => group).filter((group) => !/toolkit\.fluxcd\.io$|midship\.dev$/.test(group)));
  expect([...builtInGroups].sort()).toEqual([...groups].sort());
});

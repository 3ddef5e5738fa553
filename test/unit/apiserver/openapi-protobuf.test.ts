import { describe, expect, it } from 'vitest';
import { builtInKinds } from '../../../src/api/kinds.ts';
import { loadSchemas } from '../../../src/api/schemas.ts';
import { createOpenApi } from '../../../src/apiserver/openapi.ts';
import { encodeOpenApiV2, encodeOpenApiV3 } from '../../../src/apiserver/openapi-protobuf.ts';

/** Fields of a message in their order: numbers, and text or bytes by number. */
function fieldsOf(bytes: Buffer): readonly (readonly [field: number, value: number | Buffer])[] {
  const fields: [number, number | Buffer][] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error('cut short');
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const [field, wireType] = [Math.floor(tag / 8), tag % 8];
    if (wireType === 0) fields.push([field, varint()]);
    else if (wireType === 1) {
      fields.push([field, bytes.readDoubleLE(at)]);
      at += 8;
    } else if (wireType === 2) {
      const length = varint();
      if (at + length > bytes.length) throw new Error('longer than the message');
      fields.push([field, bytes.subarray(at, at + length)]);
      at += length;
    } else throw new Error(`wire type ${wireType}`);
  }
  return fields;
}

/** The one value at a path of field numbers. */
function at(bytes: Buffer, ...path: number[]): number | Buffer | undefined {
  let value: number | Buffer | undefined = bytes;
  for (const wanted of path) value = Buffer.isBuffer(value) ? fieldsOf(value).find(([field]) => field === wanted)?.[1] : undefined;
  return value;
}

/** The value of an entry of a list of names with values, whose entries are field `entries`. */
function entry(bytes: number | Buffer | undefined, name: string, entries = 1): Buffer {
  const list = fieldsOf(bytes as Buffer).filter(([field]) => field === entries);
  const found = list.find(([, value]) => String(at(value as Buffer, 1)) === name);
  return at(found?.[1] as Buffer, 2) as Buffer;
}

const text = (value: number | Buffer | undefined): string => String(value);

describe('version 2', () => {
  const schema = {
    type: 'object',
    required: ['a', 'b'],
    properties: {
      a: { $ref: '#/definitions/other', description: 'ä', default: {} },
      b: { type: 'array', items: { type: 'integer', maximum: 2.5, minLength: 300 }, 'x-kubernetes-list-type': 'map' },
      c: { type: 'object', additionalProperties: { type: 'string' } },
      d: { type: 'object', additionalProperties: false, enum: ['x', 1] },
    },
    'x-kubernetes-group-version-kind': [{ group: '', version: 'v1', kind: 'Thing' }],
  };
  const bytes = encodeOpenApiV2({ swagger: '2.0', info: { title: 'T', version: '1' }, paths: {}, definitions: { Thing: schema } });
  const thing = entry(at(bytes, 9), 'Thing');
  const property = (name: string): Buffer => entry(at(thing, 25), name);

  it('has what schemas say under the numbers of gnostic', () => {
    expect(text(at(bytes, 1))).toBe('2.0');
    expect(text(at(bytes, 2, 1))).toBe('T');
    expect(text(at(thing, 22, 1))).toBe('object');
    expect(fieldsOf(thing).filter(([field]) => field === 19)).toHaveLength(2);
    expect(text(at(property('a'), 1))).toBe('#/definitions/other');
    expect(text(at(property('a'), 4))).toBe('ä');
    expect(text(at(property('a'), 5, 2))).toBe('{}\n');
    expect(at(property('b'), 23, 1, 7)).toBe(2.5);
    expect(at(property('b'), 23, 1, 12)).toBe(300);
    expect(text(at(property('c'), 21, 1, 22, 1))).toBe('string');
    expect(at(property('d'), 21, 2)).toBe(0);
    expect(text(at(property('d'), 20, 2))).toBe('"x"\n');
  });

  it('carries extensions as YAML', () => {
    expect(text(at(property('b'), 31, 1))).toBe('x-kubernetes-list-type');
    expect(text(at(property('b'), 31, 2, 2))).toBe('"map"\n');
    expect(JSON.parse(text(at(thing, 31, 2, 2)))).toEqual([{ group: '', version: 'v1', kind: 'Thing' }]);
  });

  it('passes over values of the wrong type', () => {
    const odd = encodeOpenApiV2({ definitions: { X: { required: 'a', maxLength: -1, maximum: 'many', description: 3, properties: [] } } });
    expect(fieldsOf(entry(at(odd, 9), 'X'))).toEqual([]);
  });

  it('has every operation and type of the built-in kinds', () => {
    const schemas = loadSchemas(builtInKinds.map((kind) => kind.schemas));
    const table = { revision: 1, all: () => builtInKinds, find: () => undefined, findByKind: () => undefined };
    const { json, protobuf } = createOpenApi(table, () => schemas).v2();
    const { paths, definitions } = JSON.parse(json);
    expect(fieldsOf(at(protobuf, 8) as Buffer).map(([, item]) => text(at(item as Buffer, 1)))).toEqual(Object.keys(paths));
    expect(fieldsOf(at(protobuf, 9) as Buffer).map(([, item]) => text(at(item as Buffer, 1)))).toEqual(Object.keys(definitions));
    const patch = at(entry(at(protobuf, 8), '/api/v1/namespaces/{namespace}/pods/{name}', 2), 8) as Buffer;
    expect(text(at(patch, 5))).toBe('patchCoreV1NamespacedPod');
    // Body, then parameters in the query.
    const parameters = fieldsOf(patch).filter(([field]) => field === 8);
    expect(text(at(parameters[0]?.[1] as Buffer, 1, 1, 5, 1))).toBe('#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.Patch');
    expect(parameters.slice(1).map(([, one]) => text(at(one as Buffer, 1, 2, 3, 4)))).toContain('fieldValidation');
  });
});

describe('version 3', () => {
  it('tells references from types, and says of a default that is no scalar only that it is there', () => {
    const bytes = encodeOpenApiV3({
      openapi: '3.0.0',
      components: {
        schemas: {
          Thing: {
            type: 'object',
            properties: {
              a: { default: {}, allOf: [{ $ref: '#/components/schemas/Other' }] },
              b: { $ref: '#/components/schemas/Other' },
              c: { type: 'integer', default: 0 },
            },
          },
        },
      },
    });
    const properties = at(entry(at(bytes, 5, 1), 'Thing'), 1, 31) as Buffer;
    expect(text(at(entry(properties, 'a'), 1, 26, 2, 1))).toBe('#/components/schemas/Other');
    expect(at(entry(properties, 'a'), 1, 33)).toEqual(Buffer.alloc(0));
    expect(text(at(entry(properties, 'b'), 2, 1))).toBe('#/components/schemas/Other');
    expect(at(entry(properties, 'c'), 1, 33, 1)).toBe(0);
  });
});

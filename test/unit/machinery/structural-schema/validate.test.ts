import { describe, expect, it } from 'vitest';
import type { Schema } from '../../../../src/machinery/schema.ts';
import { compiledStructureOf } from '../../../../src/machinery/structural-schema/structure.ts';
import { listErrors, schemaErrors } from '../../../../src/machinery/structural-schema/validate.ts';

const specOf = (schema: unknown): Schema => ({ type: 'object', properties: { v: schema as Schema } });
const complaints = (schema: unknown, v: unknown, before?: unknown): readonly string[] => {
  const { root } = compiledStructureOf(specOf(schema));
  return schemaErrors(root, { v }, before === undefined ? undefined : { v: before }).map(({ field, message }) => `${field}: ${message}`);
};

describe('values', () => {
  it.each<[string, unknown, unknown, readonly string[]]>([
    ['fit', { type: 'string' }, 'a', []],
    ['of another type', { type: 'string' }, 1, ['v: Invalid value: "integer": v in body must be of type string: "integer"']],
    ['that are whole numbers', { type: 'integer' }, 1.5, ['v: Invalid value: "number": v in body must be of type integer: "number"']],
    ['that are numbers', { type: 'number' }, 1, []],
    ['that are null', { type: 'string' }, null, ['v: Invalid value: "null": v in body must be of type string: "null"']],
    ['that may be null', { type: 'string', nullable: true }, null, []],
    ['of two types', { 'x-kubernetes-int-or-string': true }, 'a', []],
    [
      'of none of two types',
      { 'x-kubernetes-int-or-string': true },
      {},
      ['v: Invalid value: "object": v in body must be of type integer,string: "object"'],
    ],
    ['out of an enum', { type: 'string', enum: ['a', 'b'] }, 'c', ['v: Unsupported value: "c": supported values: "a", "b"']],
    ['too small', { type: 'integer', minimum: 1 }, 0, ['v: Invalid value: 0: v in body should be greater than or equal to 1']],
    ['not above', { type: 'integer', minimum: 1, exclusiveMinimum: true }, 1, ['v: Invalid value: 1: v in body should be greater than 1']],
    ['too large', { type: 'number', maximum: 2 }, 2.5, ['v: Invalid value: 2.5: v in body should be less than or equal to 2']],
    ['not a multiple', { type: 'integer', multipleOf: 3 }, 4, ['v: Invalid value: 4: v in body should be a multiple of 3']],
    ['too long', { type: 'string', maxLength: 2 }, 'abc', ['v: Too long: may not be more than 2 bytes']],
    ['too short', { type: 'string', minLength: 2 }, 'a', ['v: Invalid value: "a": v in body should be at least 2 chars long']],
    ['of another pattern', { type: 'string', pattern: '^a+$' }, 'ab', ['v: Invalid value: "ab": v in body should match \'^a+$\'']],
    [
      'of another format',
      { type: 'string', format: 'date-time' },
      'x',
      ['v: Invalid value: "x": v in body must be of type date-time: "x"'],
    ],
    ['of an unknown format', { type: 'string', format: 'whatever' }, 'x', []],
    [
      'with too many items',
      { type: 'array', maxItems: 1, items: { type: 'integer' } },
      [1, 2],
      ['v: Too many: 2: must have at most 1 items'],
    ],
    [
      'with too few items',
      { type: 'array', minItems: 1, items: { type: 'integer' } },
      [],
      ['v: Invalid value: 0: v in body should have at least 1 items'],
    ],
    [
      'with an item that is wrong',
      { type: 'array', items: { type: 'integer' } },
      [1, 'x'],
      ['v[1]: Invalid value: "string": v[1] in body must be of type integer: "string"'],
    ],
    [
      'with a member that is wrong',
      { type: 'object', additionalProperties: { type: 'integer' } },
      { a: 'x' },
      ['v.a: Invalid value: "string": v.a in body must be of type integer: "string"'],
    ],
    ['that lack a field', { type: 'object', required: ['a'], properties: { a: { type: 'string' } } }, {}, ['v.a: Required value']],
    [
      'with too many members',
      { type: 'object', maxProperties: 1, additionalProperties: { type: 'string' } },
      { a: '', b: '' },
      ['v: Too many: 2: must have at most 1 items'],
    ],
    [
      'that fit one alternative',
      { type: 'object', properties: { a: { type: 'string' }, b: { type: 'string' } }, oneOf: [{ required: ['a'] }, { required: ['b'] }] },
      { a: '' },
      [],
    ],
    [
      'that fit two alternatives where one is allowed',
      { type: 'object', properties: { a: { type: 'string' }, b: { type: 'string' } }, oneOf: [{ required: ['a'] }, { required: ['b'] }] },
      { a: '', b: '' },
      ['<nil>: Invalid value: "": "v" must validate one and only one schema (oneOf). Found 2 valid alternatives'],
    ],
    [
      'that fit no alternative',
      { type: 'object', properties: { a: { type: 'string' } }, anyOf: [{ required: ['a'] }] },
      {},
      ['v.a: Required value', '<nil>: Invalid value: "": "v" must validate at least one schema (anyOf)'],
    ],
    [
      'that fit what is excluded',
      { type: 'string', not: { enum: ['x'] } },
      'x',
      ['<nil>: Invalid value: "": "v" must not validate the schema (not)'],
    ],
    [
      'that must fit everything',
      { type: 'string', allOf: [{ minLength: 2 }, { pattern: '^a' }] },
      'b',
      [
        'v: Invalid value: "b": v in body should be at least 2 chars long',
        'v: Invalid value: "b": v in body should match \'^a\'',
        '<nil>: Invalid value: "": "v" must validate all the schemas (allOf). None validated',
      ],
    ],
  ])('%s', (_, schema, value, expected) => {
    expect(complaints(schema, value)).toEqual(expected);
  });

  it('that did not change are not complained about, in lists with keys each item for itself', () => {
    expect(complaints({ type: 'integer', minimum: 1 }, 0, 0)).toEqual([]);
    const list = {
      type: 'array',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['k'],
      items: { type: 'object', properties: { k: { type: 'string' }, n: { type: 'integer', minimum: 1 } } },
    };
    const before = [{ k: 'a', n: 0 }];
    expect(
      complaints(
        list,
        [
          { k: 'b', n: 0 },
          { k: 'a', n: 0 },
        ],
        before,
      ),
    ).toEqual(['v[0].n: Invalid value: 0: v[0].n in body should be greater than or equal to 1']);
  });

  it('with endless faults are complained about so often', () => {
    expect(complaints({ type: 'array', items: { type: 'integer' } }, new Array(10_000).fill('x'))).toHaveLength(100);
  });

  it('are matched in linear time, whatever the pattern', () => {
    expect(complaints({ type: 'string', pattern: '^(a+)+$' }, `${'a'.repeat(20_000)}!`)).toHaveLength(1);
  });

  it('with fields that are named like properties of objects are looked up like others', () => {
    const schema = JSON.parse('{"type": "object", "properties": {"constructor": {"type": "integer"}, "__proto__": {"type": "integer"}}}');
    const value = JSON.parse('{"constructor": "x", "__proto__": "y", "toString": "z"}');
    expect(complaints(schema, value).map((text) => text.slice(0, text.indexOf(':')))).toEqual(['v.constructor', 'v.__proto__']);
    expect(complaints({ type: 'object', required: ['toString'] }, {})).toEqual(['v.toString: Required value']);
  });
});

describe('lists', () => {
  it.each<[string, unknown, readonly unknown[], readonly string[]]>([
    ['set', { type: 'array', 'x-kubernetes-list-type': 'set', items: { type: 'string' } }, ['a', 'b', 'a'], ['v[2]: Duplicate value: "a"']],
    [
      'map',
      {
        type: 'array',
        'x-kubernetes-list-type': 'map',
        'x-kubernetes-list-map-keys': ['k'],
        items: { type: 'object', properties: { k: { type: 'string' } } },
      },
      [{ k: 'a' }, { k: 'b' }, { k: 'a', other: 1 }],
      ['v[2]: Duplicate value: {"k":"a"}'],
    ],
    ['atomic', { type: 'array', items: { type: 'string' } }, ['a', 'a'], []],
  ])('of type %s', (_, schema, value, expected) => {
    const { root } = compiledStructureOf(specOf(schema));
    expect(listErrors(root, { v: value }).map(({ field, message }) => `${field}: ${message}`)).toEqual(expected);
  });
});

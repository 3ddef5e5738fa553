import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Schema } from '../../../../src/machinery/schema.ts';
import { withStructuralDefaults } from '../../../../src/machinery/structural-schema/defaults.ts';
import { pruneFields } from '../../../../src/machinery/structural-schema/prune.ts';
import { compiledStructureOf } from '../../../../src/machinery/structural-schema/structure.ts';

const schema: Schema = {
  type: 'object',
  properties: {
    spec: {
      type: 'object',
      properties: {
        a: { type: 'string', default: 'one' },
        inner: { type: 'object', default: {}, properties: { b: { type: 'integer', default: 2 }, c: { type: 'string' } } },
        list: { type: 'array', items: { type: 'object', properties: { n: { type: 'integer', default: 0 } } } },
        map: { type: 'object', additionalProperties: { type: 'object', properties: { n: { type: 'integer', default: 0 } } } },
        open: {
          type: 'object',
          'x-kubernetes-preserve-unknown-fields': true,
          properties: { known: { type: 'object', properties: { x: { type: 'string' } } } },
        },
        embedded: {
          type: 'object',
          'x-kubernetes-embedded-resource': true,
          properties: { spec: { type: 'object', properties: { x: { type: 'string' } } } },
        },
        nothing: { type: 'string', nullable: true, default: 'd' },
      },
    },
  },
};
const { root } = compiledStructureOf(schema);
const prune = (spec: unknown) => {
  const { value, unknownFields } = pruneFields(root, { apiVersion: 'v1', kind: 'K', metadata: { name: 'n', odd: 1 }, spec });
  return { spec: value.spec, unknownFields };
};

describe('unknown fields', () => {
  it.each<[string, unknown, unknown, readonly string[]]>([
    ['of objects go', { a: 'x', junk: 1 }, { a: 'x' }, ['spec.junk']],
    ['of items go', { list: [{ n: 1, junk: 1 }] }, { list: [{ n: 1 }] }, ['spec.list[0].junk']],
    ['of members go', { map: { m: { n: 1, junk: 1 } } }, { map: { m: { n: 1 } } }, ['spec.map.m.junk']],
    [
      'stay where they are preserved, but not below what is known',
      { open: { any: { thing: 1 }, known: { x: '', y: 1 } } },
      { open: { any: { thing: 1 }, known: { x: '' } } },
      ['spec.open.known.y'],
    ],
    [
      'of an object within are none where every object has them',
      { embedded: { apiVersion: 'v1', kind: 'K', metadata: { name: 'x' }, spec: { x: '', y: 1 } } },
      { embedded: { apiVersion: 'v1', kind: 'K', metadata: { name: 'x' }, spec: { x: '' } } },
      ['spec.embedded.spec.y'],
    ],
  ])('%s', (_, given, expected, unknownFields) => {
    expect(prune(given)).toEqual({ spec: expected, unknownFields });
  });

  it('are reported a hundred times at most, and all dropped', () => {
    const { spec, unknownFields } = prune(Object.fromEntries(Array.from({ length: 1_000 }, (_, index) => [`junk${index}`, 1])));
    expect(spec).toEqual({});
    expect(unknownFields).toHaveLength(100);
  });

  it('are not searched in unchanged parts', () => {
    const spec = { junk: 1 };
    const object = { metadata: {}, spec };
    expect(pruneFields(root, object, { metadata: {}, spec })).toEqual({ value: object, unknownFields: [] });
  });

  it('leave the very object when there are none', () => {
    const object = { metadata: {}, spec: { a: 'x', list: [{ n: 1 }] } };
    expect(pruneFields(root, object).value).toBe(object);
  });
});

describe('defaults', () => {
  const complete = (spec: object) => (withStructuralDefaults(root, { spec }) as { spec: unknown }).spec;

  it('fill in what is absent, within defaults, items and members, too', () => {
    expect(complete({ list: [{}, { n: 3 }], map: { m: {} } })).toEqual({
      a: 'one',
      inner: { b: 2 },
      list: [{ n: 0 }, { n: 3 }],
      map: { m: { n: 0 } },
      nothing: 'd',
    });
  });

  it('replace null where it is not allowed', () => {
    expect(complete({ a: null, nothing: null })).toMatchObject({ a: 'one', nothing: null });
  });

  it('are not made up where their object is absent', () => {
    expect(withStructuralDefaults(root, {})).toEqual({});
  });

  it('leave the very object when nothing is absent, and never change what is given', () => {
    const done = Object.freeze({ spec: complete({}) });
    expect(withStructuralDefaults(root, done)).toBe(done);
  });

  it('and pruning settle: doing either again changes nothing', () => {
    fc.assert(
      fc.property(
        fc.object({
          key: fc.constantFrom('a', 'inner', 'list', 'map', 'open', 'b', 'n', 'junk', '__proto__'),
          maxDepth: 4,
          // Objects come from JSON, which has no NaN.
          values: [fc.boolean(), fc.integer(), fc.double({ noNaN: true, noDefaultInfinity: true }), fc.string(), fc.constant(null)],
        }),
        (spec) => {
          const once = withStructuralDefaults(root, pruneFields(root, { metadata: {}, spec }).value);
          const again = pruneFields(root, once);
          expect(again.unknownFields).toEqual([]);
          expect(withStructuralDefaults(root, again.value)).toBe(once);
        },
      ),
      { numRuns: 300 },
    );
  });
});

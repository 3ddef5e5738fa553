import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { applyJsonPatch } from '../../../src/machinery/json-patch.ts';
import { deepFreeze } from '../../../src/machinery/object.ts';

const object = deepFreeze({ a: { b: 1, 'x/y': 2, 'm~n': 3 }, list: [1, 2, 3], other: { deep: { same: true } }, none: null });
const apply = (...patch: object[]): unknown => applyJsonPatch(object, patch);

describe('JSON patch', () => {
  it.each([
    [
      { op: 'add', path: '/a/c', value: 4 },
      { ...object, a: { ...object.a, c: 4 } },
    ],
    [
      { op: 'add', path: '/a/b', value: 4 },
      { ...object, a: { ...object.a, b: 4 } },
    ],
    [
      { op: 'add', path: '/list/1', value: 9 },
      { ...object, list: [1, 9, 2, 3] },
    ],
    [
      { op: 'add', path: '/list/-', value: 9 },
      { ...object, list: [1, 2, 3, 9] },
    ],
    [
      { op: 'add', path: '/list/3', value: 9 },
      { ...object, list: [1, 2, 3, 9] },
    ],
    [
      { op: 'add', path: '/list/-1', value: 9 },
      { ...object, list: [1, 2, 3, 9] },
    ],
    [
      { op: 'remove', path: '/list/-1' },
      { ...object, list: [1, 2] },
    ],
    [
      { op: 'remove', path: '/a/x~1y' },
      { ...object, a: { b: 1, 'm~n': 3 } },
    ],
    [
      { op: 'replace', path: '/a/m~0n', value: [] },
      { ...object, a: { ...object.a, 'm~n': [] } },
    ],
    [
      { op: 'replace', path: '/a/missing', value: 1 },
      { ...object, a: { ...object.a, missing: 1 } },
    ],
    [{ op: 'replace', path: '', value: { z: 1 } }, { z: 1 }],
    [
      { op: 'move', from: '/a/b', path: '/list/0' },
      { ...object, a: { 'x/y': 2, 'm~n': 3 }, list: [1, 1, 2, 3] },
    ],
    [
      { op: 'copy', from: '/other', path: '/a/b' },
      { ...object, a: { ...object.a, b: object.other } },
    ],
    [{ op: 'test', path: '/a', value: { 'm~n': 3, 'x/y': 2, b: 1 } }, object],
    [{ op: 'test', path: '/a/missing' }, object],
    [{ op: 'test', path: '/none', value: null }, object],
  ])('%j', (operation, expected) => {
    expect(apply(operation)).toEqual(expected);
  });

  it('shares what it leaves alone and changes nothing given', () => {
    const before = JSON.stringify(object);
    const result = apply({ op: 'add', path: '/a/c', value: 4 }, { op: 'remove', path: '/list/0' }) as typeof object;
    expect(result.other).toBe(object.other);
    expect(JSON.stringify(object)).toBe(before);
  });

  it('does not change a copy together with its source', () => {
    expect(
      apply(
        { op: 'add', path: '/other/deep/new', value: 1 },
        { op: 'copy', from: '/other', path: '/a/copy' },
        { op: 'add', path: '/other/deep/new', value: 2 },
      ),
    ).toMatchObject({ a: { copy: { deep: { new: 1 } } }, other: { deep: { new: 2 } } });
  });

  it('does not change the values of the patch', () => {
    const patch = [
      { op: 'add', path: '/x', value: { y: 1 } },
      { op: 'add', path: '/x/z', value: 2 },
    ];
    expect(applyJsonPatch(object, patch)).toMatchObject({ x: { y: 1, z: 2 } });
    expect(patch[0]).toEqual({ op: 'add', path: '/x', value: { y: 1 } });
  });

  it.each([
    { op: 'test', path: '/a/b', value: 9 },
    { op: 'test', path: '/no/such', value: 9 },
    { op: 'remove', path: '/a/missing' },
    { op: 'remove', path: '/list/3' },
    { op: 'add', path: '/list/5', value: 1 },
    { op: 'add', path: '/no/such', value: 1 },
    { op: 'add', path: '/list/one', value: 1 },
    { op: 'add', path: '/a/b/c', value: 1 },
    { op: 'add', path: '', value: {} },
    { op: 'replace', path: '/list/3', value: 1 },
    { op: 'replace', path: '', value: 1 },
    { op: 'move', from: '/a/missing', path: '/x' },
    { op: 'copy', path: '/x' },
    { op: 'frobnicate', path: '/x' },
    { op: 'add', value: 1 },
  ])('refuses %j with 422', (operation) => {
    expect(() => apply(operation)).toThrow(
      expect.objectContaining({
        code: 422,
        reason: 'Invalid',
        message: 'the server rejected our request due to an error in our request',
        details: {},
        cause: expect.objectContaining({ message: expect.stringContaining('operation 0: ') }),
      }),
    );
  });

  it('refuses what is no list of operations', () => {
    expect(() => applyJsonPatch(object, { a: 1 })).toThrow(
      'error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp',
    );
    expect(() => applyJsonPatch(object, ['x'])).toThrow(
      expect.objectContaining({ code: 400, message: expect.stringContaining('cannot unmarshal string into Go value') }),
    );
    expect(applyJsonPatch(object, null)).toBe(object);
    expect(() => applyJsonPatch(object, new Array(10_001).fill({ op: 'test', path: '/a/b', value: 1 }))).toThrow(
      expect.objectContaining({ code: 413, reason: 'RequestEntityTooLarge' }),
    );
  });

  it('applies ten thousand operations on one list without copying it each time', () => {
    const patch = Array.from({ length: 10_000 }, (_, value) => ({ op: 'add', path: '/list/-', value }));
    expect((applyJsonPatch(object, patch) as typeof object).list).toHaveLength(10_003);
  });

  it('refuses copies that double the document again and again', () => {
    const patch = Array.from({ length: 40 }, (_, step) => ({ op: 'copy', from: '/other', path: `/other/c${step}` }));
    expect(() => applyJsonPatch(object, patch)).toThrow(expect.objectContaining({ code: 422 }));
  });

  it('treats __proto__ and constructor as plain names', () => {
    const result = apply(
      { op: 'add', path: '/__proto__', value: { polluted: true } },
      { op: 'add', path: '/__proto__/x', value: 1 },
    ) as object;
    expect(Object.getPrototypeOf(result)).toBe(Object.prototype);
    expect(JSON.stringify(result)).toContain('"__proto__":{"polluted":true,"x":1}');
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    expect(() => apply({ op: 'add', path: '/constructor/prototype/x', value: 1 })).toThrow(expect.objectContaining({ code: 422 }));
  });

  it('replaces nothing that is missing where that is asked for', () => {
    const patch = [{ op: 'replace', path: '/a', value: 1 }];
    expect(applyJsonPatch({ a: 0 }, patch, { replaces: 'what is there' })).toEqual({ a: 1 });
    expect(() => applyJsonPatch({}, patch, { replaces: 'what is there' })).toThrow(expect.objectContaining({ code: 422 }));
  });

  it('undoes an addition by a removal', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.string(), fc.jsonValue(), (map, key, value) => {
        fc.pre(!Object.hasOwn(map, key));
        const path = `/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
        const result = applyJsonPatch(deepFreeze(map), [
          { op: 'add', path, value },
          { op: 'test', path, value },
          { op: 'remove', path },
        ]);
        expect(result).toEqual(map);
      }),
    );
  });
});

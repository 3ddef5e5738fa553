import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { applyMergePatch } from '../../../src/machinery/merge-patch.ts';
import { deepFreeze } from '../../../src/machinery/object.ts';

describe('JSON merge patch', () => {
  // Appendix A of RFC 7386.
  it.each([
    [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
    [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
    [{ a: 'b' }, { a: null }, {}],
    [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
    [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
    [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
    [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
    [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
    [
      ['a', 'b'],
      ['c', 'd'],
      ['c', 'd'],
    ],
    [{ a: 'b' }, ['c'], ['c']],
    [{ a: 'foo' }, null, null],
    [{ a: 'foo' }, 'bar', 'bar'],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: 'b', c: null }, { a: 'b' }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ])('%j with %j', (target, patch, expected) => {
    expect(applyMergePatch(deepFreeze(target), patch)).toEqual(expected);
  });

  it('returns the same object when nothing changes, and shares the rest when something does', () => {
    const object = deepFreeze({ a: { b: 1 }, c: { d: [1] } });
    expect(applyMergePatch(object, {})).toBe(object);
    expect(applyMergePatch(object, { a: { b: 1 }, x: null })).toBe(object);
    expect((applyMergePatch(object, { a: { b: 2 } }) as typeof object).c).toBe(object.c);
  });

  it('treats __proto__ as a plain name', () => {
    const patch: unknown = JSON.parse('{"__proto__": {"polluted": true}, "constructor": {"prototype": {"polluted": true}}}');
    const result = applyMergePatch({}, patch);
    expect(Object.getPrototypeOf(result)).toBe(Object.prototype);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    expect(JSON.stringify(result)).toBe(JSON.stringify(patch));
    expect(JSON.stringify(applyMergePatch(result, JSON.parse('{"__proto__": {"polluted": null}}')))).toContain('"__proto__":{}');
  });

  it('applied twice gives what it gives once', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 3 }), fc.jsonValue({ maxDepth: 3 }), (target, patch) => {
        const once = applyMergePatch(deepFreeze(target), patch);
        expect(applyMergePatch(deepFreeze(once), patch)).toEqual(once);
      }),
    );
  });
});

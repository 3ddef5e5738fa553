import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  cut,
  difference,
  type FieldSet,
  fieldSetFrom,
  intersection,
  keyElement,
  leaf,
  type MaybeFieldSet,
  nodeOf,
  pathsOf,
  union,
  valueElement,
} from '../../../../src/machinery/structured-merge/field-set.ts';

const name = fc.constantFrom('f:a', 'f:b', 'k:{"id":"x"}', 'v:1', 'i:0');
const tree: fc.Arbitrary<object> = fc.letrec<{ node: object }>((tie) => ({
  node: fc.oneof({ depthSize: 'small' }, fc.constant({}), fc.dictionary(fc.oneof(name, fc.constant('.')), tie('node'), { maxKeys: 4 })),
})).node;
const set = tree.map(fieldSetFrom);
const members = (of: MaybeFieldSet): ReadonlySet<string> => new Set(pathsOf(of));

describe('field sets', () => {
  it('are one object when they have the same members, in whatever order these came', () => {
    const a = fieldSetFrom(JSON.parse('{"f:spec":{"f:b":{},"f:a":{".":{},"f:c":{}}}}'));
    const b = fieldSetFrom(JSON.parse('{"f:spec":{"f:a":{"f:c":{},".":{}},"f:b":{}}}'));
    expect(a).toBe(b);
    expect(Object.keys(a?.['f:spec'] as FieldSet)).toEqual(['f:a', 'f:b']);
    expect(
      nodeOf(false, [
        [
          'f:spec',
          nodeOf(false, [
            ['f:b', leaf],
            ['f:a', nodeOf(true, [['f:c', leaf]]) ?? leaf],
          ]) ?? leaf,
        ],
      ]),
    ).toBe(a);
  });

  it('are in the order of upstream: fields, keyed items by value, values, indexes', () => {
    const keys = ['i:2', 'v:10', 'v:9', 'v:"a"', 'k:{"p":443}', 'k:{"p":80}', 'k:{"n":"z"}', 'f:z', 'f:a'];
    const ordered = fieldSetFrom(Object.fromEntries(keys.map((key) => [key, {}])));
    expect(Object.keys(ordered ?? {})).toEqual(['f:a', 'f:z', 'k:{"n":"z"}', 'k:{"p":80}', 'k:{"p":443}', 'v:9', 'v:10', 'v:"a"', 'i:2']);
  });

  it('write elements in one form and drop those that cannot be read', () => {
    const read = fieldSetFrom({ 'k:{"b": 1, "a": "<x>"}': {}, 'v: "y" ': {}, 'x:1': {}, 'k:[': {}, 'i:x': {}, f: {} });
    expect(Object.keys(read ?? {})).toEqual(['k:{"a":"\\u003cx\\u003e","b":1}', 'v:"y"']);
    expect(
      keyElement([
        ['b', 1],
        ['a', 'x'],
      ]),
    ).toBe('k:{"a":"x","b":1}');
    expect(valueElement('&')).toBe('v:"\\u0026"');
  });

  it('are empty when they have no members', () => {
    expect(fieldSetFrom(undefined)).toBeUndefined();
    expect(fieldSetFrom({})).toBeUndefined();
    expect(fieldSetFrom({ '.': {} })).toBeUndefined();
    expect(pathsOf(undefined)).toEqual([]);
  });

  it('tell their paths as conflicts do, members of a level before what lies below', () => {
    const read = fieldSetFrom({
      'f:spec': { 'f:a': { 'f:b': {} }, 'f:z': {}, 'f:l': { '.': {}, 'k:{"n":"c","p":1}': { 'f:i': {} }, 'v:"s"': {} } },
    });
    expect(pathsOf(read)).toEqual(['.spec.l', '.spec.z', '.spec.a.b', '.spec.l[="s"]', '.spec.l[n="c",p=1].i']);
  });

  it('combine as sets of paths do', () => {
    fc.assert(
      fc.property(set, set, (a, b) => {
        const [left, right] = [members(a), members(b)];
        expect(members(union(a, b))).toEqual(new Set([...left, ...right]));
        expect(members(intersection(a, b))).toEqual(new Set([...left].filter((path) => right.has(path))));
        expect(members(difference(a, b))).toEqual(new Set([...left].filter((path) => !right.has(path))));
        const isCut = (path: string): boolean =>
          [...right].some((other) => path === other || path.startsWith(`${other}.`) || path.startsWith(`${other}[`));
        expect(members(cut(a, b))).toEqual(new Set([...left].filter((path) => !isCut(path))));
      }),
    );
  });

  it('obey the laws of sets by identity', () => {
    fc.assert(
      fc.property(set, set, (a, b) => {
        expect(union(a, b)).toBe(union(b, a));
        expect(union(a, a)).toBe(a);
        expect(intersection(a, b)).toBe(intersection(b, a));
        expect(union(difference(a, b), intersection(a, b))).toBe(a);
        expect(difference(union(a, b), b)).toBe(difference(a, b));
        expect(fieldSetFrom(a === undefined ? undefined : JSON.parse(JSON.stringify(a)))).toBe(a);
      }),
    );
  });
});

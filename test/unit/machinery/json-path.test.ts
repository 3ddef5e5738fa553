import { describe, expect, it } from 'vitest';
import { JsonPathError, parseJsonPath } from '../../../src/machinery/json-path.ts';

const object = {
  spec: {
    a: 1,
    'x.y': 2,
    list: [
      { k: 'a', v: 1 },
      { k: 'b', v: 2 },
    ],
  },
  status: {
    conditions: [
      { type: 'Ready', status: 'True' },
      { type: 'Other', status: 'False' },
    ],
  },
};

describe('paths', () => {
  it.each<[string, readonly unknown[]]>([
    ['.spec.a', [1]],
    ['{.spec.a}', [1]],
    ['$.spec.a', [1]],
    [".spec['x.y']", [2]],
    ['.spec["x.y"]', [2]],
    ['.spec.x\\.y', []],
    ['.spec.list[1].k', ['b']],
    ['.spec.list[-1].k', ['b']],
    ['.spec.list[0:1].k', ['a']],
    ['.spec.list[*].v', [1, 2]],
    ['.spec.list.*.v', [1, 2]],
    ['.status.conditions[?(@.type=="Ready")].status', ['True']],
    [".status.conditions[?(@.type != 'Ready')].status", ['False']],
    ['.spec.list[?(@.v>1)].k', ['b']],
    ['.spec.nothing.at.all', []],
    ['.spec.constructor', []],
    ['.spec.__proto__', []],
    ['.spec.list.length', []],
  ])('%s', (path, expected) => {
    expect(parseJsonPath(path).find(object)).toEqual(expected);
  });

  it.each(['.spec..a', '.spec[', '.spec[?(@.a=~"x")]', '.spec]', '.a b', 'x'.repeat(5_000), '.spec[?(@.a==`x`)]'])(
    '%s is refused',
    (path) => {
      expect(() => parseJsonPath(path)).toThrow(JsonPathError);
    },
  );

  it('lead to a thousand values at most', () => {
    const wide = { a: Array.from({ length: 100 }, () => Array.from({ length: 100 }, () => Array.from({ length: 100 }, () => 1))) };
    expect(parseJsonPath('.a[*][*][*]').find(wide)).toHaveLength(1_000);
  });
});

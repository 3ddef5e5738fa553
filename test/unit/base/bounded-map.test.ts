import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BoundedMap } from '../../../src/base/bounded-map.ts';

describe('a bounded map', () => {
  it('forgets the entry that was written longest ago', () => {
    const map = new BoundedMap<string, number>(2);
    map.set('a', 1).set('b', 2).set('a', 3).set('c', 4);
    expect([...map]).toEqual([
      ['a', 3],
      ['c', 4],
    ]);
  });

  it('keeps what is used, and not what is only read', () => {
    const map = new BoundedMap<string, number>(2);
    map.set('a', 1).set('b', 2);
    expect(map.get('a')).toBe(1);
    expect(map.use('b')).toBe(2);
    map.set('c', 3);
    expect(map.use('b')).toBe(2);
    map.set('d', 4);
    expect([...map.keys()]).toEqual(['b', 'd']);
    expect(map.use('nothing')).toBeUndefined();
  });

  it('does what a list of pairs does that is searched from its start', () => {
    const step = fc.oneof(
      fc.record({ act: fc.constant('set' as const), key: fc.nat(8) }),
      fc.record({ act: fc.constant('use' as const), key: fc.nat(8) }),
      fc.record({ act: fc.constant('delete' as const), key: fc.nat(8) }),
      fc.record({ act: fc.constant('clear' as const), key: fc.constant(0) }),
    );
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), fc.array(step, { maxLength: 60 }), (max, steps) => {
        const map = new BoundedMap<number, number>(max);
        let list: (readonly [number, number])[] = [];
        for (const [index, { act, key }] of steps.entries()) {
          const found = list.find(([each]) => each === key);
          const others = list.filter((pair) => pair !== found);
          if (act === 'set') {
            map.set(key, index);
            list = [...others, [key, index] as const].slice(-max);
          } else if (act === 'use') {
            expect(map.use(key)).toBe(found?.[1]);
            if (found !== undefined) list = [...others, found];
          } else if (act === 'delete') {
            expect(map.delete(key)).toBe(found !== undefined);
            list = others;
          } else {
            map.clear();
            list = [];
          }
          expect([...map]).toEqual(list);
        }
      }),
    );
  });
});

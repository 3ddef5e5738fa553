import { setFlagsFromString } from 'node:v8';
import { parseAst } from 'rolldown/parseAst';
import { describe, expect, it } from 'vitest';
import { shareClassesOfCopies } from '../../../scripts/object-spreads.mjs';

const shared = (code: string): string => shareClassesOfCopies(code, parseAst);

describe('copies of objects in the bundle', () => {
  it('begins a copy that gains fields with nothing', () => {
    expect(shared('f({ ...a, b: 1 });')).toBe('f({ ...null, ...a, b: 1 });');
    expect(shared('x = { ...a, ...{ ...b, c } };')).toBe('x = { ...null, ...a, ...{ ...null, ...b, c } };');
    expect(shared("y = 'é' + f({...a, 'b': 2});")).toBe("y = 'é' + f({...null, ...a, 'b': 2});");
  });

  it('leaves plain copies, fields that come first, patterns, arrays and calls', () => {
    const code = 'f({ ...a }, { b: 1, ...a }, [...a, b], ...a); const { c, ...rest } = a;';
    expect(shared(code)).toBe(code);
  });

  it('lets copies share a hidden class', () => {
    const code = "(n) => { const from = { type: 't', list: [n], text: String(n) }; return { ...from, more: n }; }";
    const copyOf = new Function(`return ${shared(code)}`)() as (n: number) => object;
    const copies = Array.from({ length: 200 }, (_, n) => copyOf(n));
    expect(copies.at(-1)).toEqual({ type: 't', list: [199], text: '199', more: 199 });
    setFlagsFromString('--allow-natives-syntax');
    const haveSameClass = new Function('a', 'b', 'return %HaveSameMap(a, b)') as (a: unknown, b: unknown) => boolean;
    setFlagsFromString('--no-allow-natives-syntax');
    expect(haveSameClass(copies.at(-2), copies.at(-1))).toBe(true);
  });
});

// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the syntax under test
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SubstitutionError, substitute, UnsetVariableError } from '../../../../../src/gitops/apply/plan/substitution.ts';

const variables: Readonly<Record<string, string>> = {
  name: 'abcABC123ABCabc',
  file: '/path/to/file.tar.gz',
  empty: '',
  slash: 'foo/bar/baz',
  other: 'foo',
};
const expand = (text: string): string => substitute(text, (name) => variables[name]);

describe('substitute', () => {
  it.each([
    ['plain', 'plain'],
    ['${name}', 'abcABC123ABCabc'],
    ['a${other}b${absent}c', 'afoobc'],
    ['$name', '$name'],
    ['$(name) $', '$(name) $'],
    ['$${name}', '${name}'],
    ['$$(name)', '$(name)'],
    ['$${a=${other}}', '${a=foo}'],
    ['${absent:=default}', 'default'],
    ['${absent:-default}', 'default'],
    ['${absent=default}', 'default'],
    ['${empty:=default}', 'default'],
    ['${other:=default}', 'foo'],
    ['${absent:=}', ''],
    ['${absent:=a:b-c}', 'a:b-c'],
    ['${absent=pre${other}-post}', 'prefoo-post'],
    ['${absent:=${absent:=deep}}', 'deep'],
    ['${name:3}', 'ABC123ABCabc'],
    ['${name:3:3}', 'ABC'],
    ['${name:100}', ''],
    ['${name:-3}', 'abcABC123ABCabc'],
    ['${name:1:-1}', 'bcABC123ABCab'],
    ['${name/abc/X}', 'XABC123ABCabc'],
    ['${name//abc/X}', 'XABC123ABCX'],
    ['${name/#abc/X}', 'XABC123ABCabc'],
    ['${name/%abc/X}', 'abcABC123ABCX'],
    ['${name/#/pre-}', 'pre-abcABC123ABCabc'],
    ['${name/abc/}', 'ABC123ABCabc'],
    ['${slash//\\//-}', 'foo-bar-baz'],
    ['${file#*/}', 'path/to/file.tar.gz'],
    ['${file##*/}', 'file.tar.gz'],
    ['${file%.*}', '/path/to/file.tar'],
    ['${file%%.*}', '/path/to/file'],
    ['${other^} ${other^^} ${name,,}', 'Foo FOO abcabc123abcabc'],
    ['${#name}', '15'],
  ])('%s is %s', (text, result) => {
    expect(expand(text)).toBe(result);
  });

  it.each(['${', '${}', '${name', '${name!}', '${ name }', '${name/a}', '${absent:=x', '${name:1'])('refuses %s', (text) => {
    expect(() => expand(text)).toThrow(SubstitutionError);
  });

  const strict = { isSecret: () => false, onSecret: () => undefined, isStrict: true };
  const expandStrictly = (text: string): string => substitute(text, (name) => variables[name], strict);

  it.each([
    '${absent}',
    '${#absent}',
    '${absent^}',
    '${absent,,}',
    '${absent:0}',
    '${absent:0:10}',
    '${absent/a/b}',
    '${absent//a/b}',
    '${absent#a}',
    '${absent%%a}',
    '${other:=${absent}}',
  ])('refuses %s, a variable that is not set, where it is strict', (text) => {
    expect(() => expandStrictly(text)).toThrow(new UnsetVariableError('variable "absent" is not set and has no default'));
    expect(() => expand(text)).not.toThrow();
  });

  it.each([
    ['${absent:-a}', 'a'],
    ['${absent:=}', ''],
    ['${absent=a}', 'a'],
    ['${empty}', ''],
    ['$${absent}', '${absent}'],
  ])('takes %s as %s also where it is strict', (text, result) => {
    expect(expandStrictly(text)).toBe(result);
  });

  it('leaves a text without dollar signs alone and never fails but with its own error', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('$', '{', '}', ':', '=', '/', '#', '%', '*', 'a', 'name', '\\', '^') }), (text) => {
        try {
          const result = expand(text);
          if (!text.includes('$')) expect(result).toBe(text);
        } catch (err) {
          expect(err).toBeInstanceOf(SubstitutionError);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('bounds nesting and patterns', () => {
    expect(() => expand('${absent:='.repeat(100) + '}'.repeat(100))).toThrow(SubstitutionError);
    expect(() => substitute('${long#*a*b}', () => 'x'.repeat(10_000))).toThrow(SubstitutionError);
  });

  it('bounds the values of the variables in a text', () => {
    const tooLong = 'variables expand to more than';
    expect(() => substitute('${a}'.repeat(20_000), () => 'x'.repeat(10_000))).toThrow(tooLong);
    // Each level puts the whole value in place of each of its characters.
    let nested = '${a}';
    for (let level = 0; level < 6; level += 1) nested = `\${a//a/${nested}}`;
    expect(() => substitute(nested, () => 'a'.repeat(100))).toThrow(tooLong);
    expect(substitute('${a//a/bb}', () => 'a'.repeat(100))).toBe('b'.repeat(200));
  });
});

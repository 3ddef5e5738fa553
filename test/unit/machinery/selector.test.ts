import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  compileLabelSelector,
  describeLabelSelector,
  escapeFieldValue,
  parseFieldSelector,
  parseLabelSelector,
  selectorOfLabels,
} from '../../../src/machinery/selector.ts';

const matching = (text: string, labels: Record<string, string> | undefined): boolean => parseLabelSelector(text).matches(labels);

describe('label selectors', () => {
  it.each([
    ['', {}, true],
    ['', undefined, true],
    ['a=b', { a: 'b' }, true],
    ['a==b', { a: 'b' }, true],
    ['a=b', { a: 'c' }, false],
    ['a=b', undefined, false],
    ['a=', { a: '' }, true],
    ['a=,b=c', { a: '', b: 'c' }, true],
    ['a!=b', {}, true],
    ['a!=b', { a: 'b' }, false],
    ['a in (x,y)', { a: 'y' }, true],
    ['a in (x,y)', {}, false],
    ['a in (,x)', { a: '' }, true],
    ['a in ()', { a: '' }, true],
    ['a notin (x,y)', {}, true],
    ['a notin (x,y)', { a: 'x' }, false],
    ['a', { a: '' }, true],
    ['a', {}, false],
    ['!a', {}, true],
    ['! a', { a: '1' }, false],
    ['a>1', { a: '2' }, true],
    ['a>1', { a: '1' }, false],
    ['a<10', { a: '9' }, true],
    ['a<10', { a: 'x' }, false],
    ['a<9223372036854775807', { a: '9223372036854775808' }, false],
    ['x.io/a = b , c , !d', { 'x.io/a': 'b', c: '' }, true],
    ['a in (in,notin)', { a: 'notin' }, true],
    ['constructor', {}, false],
    ['!constructor', {}, true],
    ['constructor notin (x)', {}, true],
  ] as const)('%j on %j is %j', (text, labels, expected) => {
    expect(matching(text, labels)).toBe(expected);
  });

  it('writes the canonical form, sorted by key', () => {
    expect(parseLabelSelector('z==1,c in ( y , x ,y),b!=2,!a,e>3,f<4,d notin (q),g').toString()).toBe(
      '!a,b!=2,c in (x,y),d notin (q),e>3,f<4,g,z==1',
    );
  });

  it.each([
    ['foo in', "unable to parse requirement: found '' expected: '('"],
    ['a=b=c', "found '=', expected: ',' or 'end of string'"],
    ['a,', "found '', expected: identifier after ','"],
    ['=a', "found '=', expected: !, identifier, or 'end of string'"],
    ['a b', "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"],
    ['!', "unable to parse requirement: found '', expected: identifier"],
    ['a in (b', "unable to parse requirement: found '', expected: ',' or ')'"],
    ['a in (b c)', "unable to parse requirement: found 'c', expected: ',' or ')'"],
    ['a=(', "unable to parse requirement: found '(', expected: identifier"],
  ])('refuses %j', (text, message) => {
    expect(() => parseLabelSelector(text)).toThrow(expect.objectContaining({ message, code: 400, reason: 'BadRequest' }));
  });

  it('refuses keys and values that cannot be labels', () => {
    expect(() => parseLabelSelector('a/b/c=d')).toThrow('unable to parse requirement: <nil>: Invalid value: "a/b/c": a qualified name');
    expect(() => parseLabelSelector('a=-')).toThrow(
      'unable to parse requirement: values[0][a]: Invalid value: "-": a valid label must be an empty string or consist of',
    );
    expect(() => parseLabelSelector('a>x')).toThrow(
      "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
    );
  });

  it('compiles the object form once', () => {
    const object = Object.freeze({
      matchLabels: { app: 'web' },
      matchExpressions: [
        { key: 'tier', operator: 'In', values: ['b', 'a'] },
        { key: 'old', operator: 'DoesNotExist' },
        { key: 'new', operator: 'Exists' },
        { key: 'env', operator: 'NotIn', values: ['dev'] },
      ],
    });
    const selector = compileLabelSelector(object);
    expect(selector.toString()).toBe('app=web,env notin (dev),new,!old,tier in (a,b)');
    expect(selector.matches({ app: 'web', tier: 'a', new: '' })).toBe(true);
    expect(selector.matches({ app: 'web', tier: 'a', new: '', env: 'dev' })).toBe(false);
    expect(compileLabelSelector(object)).toBe(selector);
  });

  it('selects nothing for an absent object and everything for an empty one', () => {
    expect(compileLabelSelector(undefined).matches({ a: 'b' })).toBe(false);
    expect(compileLabelSelector({}).matches(undefined)).toBe(true);
    expect(describeLabelSelector({})).toBe('<none>');
    expect(describeLabelSelector({ matchLabels: { a: 'b' } })).toBe('a=b');
    expect(describeLabelSelector({ matchExpressions: [{ key: 'a', operator: 'Near' }] })).toBe('<error>');
    expect(() => compileLabelSelector({ matchExpressions: [{ key: 'a', operator: 'Near' }] })).toThrow(
      '"Near" is not a valid label selector operator',
    );
  });

  it('selects by a plain map', () => {
    expect(selectorOfLabels({ b: '2', a: '1' }).toString()).toBe('a=1,b=2');
    expect(selectorOfLabels(undefined).matches({})).toBe(true);
  });

  it('reads what it writes', () => {
    const key = fc.constantFrom('a', 'b.c', 'x.io/d', 'in', 'notin');
    const value = fc.stringMatching(/^([A-Za-z0-9]([-A-Za-z0-9_.]{0,3}[A-Za-z0-9])?)?$/);
    const requirement = fc.oneof(
      fc.tuple(key, value).map(([k, v]) => `${k}=${v}`),
      fc.tuple(key, value).map(([k, v]) => `${k}!=${v}`),
      fc.tuple(key, fc.array(value, { minLength: 1, maxLength: 4 })).map(([k, v]) => `${k} in (${v.join(',')})`),
      fc.tuple(key, fc.array(value, { minLength: 1, maxLength: 4 })).map(([k, v]) => `${k} notin (${v.join(',')})`),
      key,
      key.map((k) => `!${k}`),
    );
    const labels = fc.dictionary(key, value);
    fc.assert(
      fc.property(fc.array(requirement, { maxLength: 5 }), labels, (requirements, present) => {
        const selector = parseLabelSelector(requirements.join(','));
        const again = parseLabelSelector(selector.toString());
        expect(again.toString()).toBe(selector.toString());
        expect(again.matches(present)).toBe(selector.matches(present));
      }),
    );
  });
});

describe('field selectors', () => {
  const pod: Record<string, string> = { 'metadata.name': 'a,b', 'status.phase': 'Running', 'spec.nodeName': '' };
  const fieldValue = (field: string): string => pod[field] ?? '';

  it.each([
    ['', true],
    ['status.phase=Running', true],
    ['status.phase==Running', true],
    ['status.phase!=Running', false],
    ['spec.nodeName=', true],
    ['metadata.name=a\\,b,status.phase=Running', true],
    ['metadata.name!=a\\,b', false],
    [',status.phase=Running,', true],
  ])('%j is %j', (text, expected) => {
    expect(parseFieldSelector(text).matches(fieldValue)).toBe(expected);
  });

  it('tells the exact value of a field', () => {
    const selector = parseFieldSelector('spec.nodeName=n1,metadata.name!=x');
    expect(selector.exactValueOf('spec.nodeName')).toBe('n1');
    expect(selector.exactValueOf('metadata.name')).toBeUndefined();
    expect(selector.toString()).toBe('metadata.name!=x,spec.nodeName=n1');
  });

  it.each([
    ['foo', "invalid selector: 'foo'; can't understand 'foo'"],
    ['a=b=c', 'invalid field selector: unescaped character in value: 61'],
    ['a=b\\x', 'invalid field selector: invalid escape sequence: \\x'],
    ['a=b\\', 'invalid field selector: invalid escape sequence: \\'],
  ])('refuses %j', (text, message) => {
    expect(() => parseFieldSelector(text)).toThrow(expect.objectContaining({ message, code: 400 }));
  });

  it('reads what it writes', () => {
    fc.assert(
      fc.property(fc.string(), (value) => {
        const selector = parseFieldSelector(`a=${escapeFieldValue(value)}`);
        expect(selector.exactValueOf('a')).toBe(value);
        expect(parseFieldSelector(selector.toString()).exactValueOf('a')).toBe(value);
      }),
    );
  });
});

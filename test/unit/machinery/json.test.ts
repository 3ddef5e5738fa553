import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JsonError, maxJsonDepth, parseJson } from '../../../src/machinery/json.ts';

const messageOf = (text: string): string => {
  try {
    parseJson(text);
  } catch (err) {
    if (err instanceof JsonError) return err.message;
    throw err;
  }
  throw new Error(`no error for ${text}`);
};

describe('parseJson', () => {
  it('reads what JSON.parse reads, without duplicates', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 6 }), (text) => {
        fc.pre(!/\d{16}/.test(text));
        expect(parseJson(text)).toEqual({ value: JSON.parse(text), duplicateFields: [] });
      }),
    );
  });

  it('is not misled by colons, braces and escaped quotes in strings', () => {
    const value = { 'a:b': '{":["', c: '\\', d: '\\"', e: 'x\\\\":' };
    expect(parseJson(JSON.stringify(value))).toEqual({ value, duplicateFields: [] });
  });

  it('reports duplicate keys by path and merges objects under them', () => {
    const { value, duplicateFields } = parseJson('{"metadata":{"name":"fv"},"data":{"a":"1","a":"2"},"data":{"b":"1"}}');
    expect(duplicateFields).toEqual(['data.a', 'data']);
    expect(value).toEqual({ metadata: { name: 'fv' }, data: { a: '2', b: '1' } });
  });

  it('reports duplicates in array items with their index', () => {
    expect(parseJson('{"spec":{"containers":[{},{"name":"a","name":"b"}]}}').duplicateFields).toEqual(['spec.containers[1].name']);
  });

  it('keeps __proto__ and constructor as ordinary keys', () => {
    for (const text of ['{"__proto__":{"x":1},"constructor":1}', '{"__proto__":{"y":1},"__proto__":{"x":1},"constructor":1}']) {
      const { value } = parseJson(text);
      expect(Object.keys(value as object)).toEqual(['__proto__', 'constructor']);
      expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    }
    expect(({} as { x?: unknown }).x).toBeUndefined();
  });

  it('refuses integers that would be changed, and numbers that overflow', () => {
    expect(parseJson('[9007199254740991,-9007199254740991,1e3,0.1,1234567890.123456]').value).toEqual([
      9007199254740991, -9007199254740991, 1000, 0.1, 1234567890.123456,
    ]);
    for (const number of ['9007199254740993', '-9007199254740993', '123456789012345678901', '1e400', '-1E999']) {
      expect(messageOf(`{"a":${number}}`)).toContain('a number cannot be held exactly');
    }
  });

  it('bounds nesting', () => {
    const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
    expect(parseJson(nested(maxJsonDepth)).duplicateFields).toEqual([]);
    expect(messageOf(nested(maxJsonDepth + 1))).toBe('exceeded max depth');
    expect(messageOf(`{"a":1,"a":${nested(maxJsonDepth)}}`)).toBe('exceeded max depth');
    expect(messageOf('['.repeat(100_000))).toBe('exceeded max depth');
  });

  it.each([
    ['', 'unexpected end of JSON input'],
    ['{"apiVersion":"v1",', 'unexpected end of JSON input'],
    ['{"a"', 'unexpected end of JSON input'],
    ['"abc', 'unexpected end of JSON input'],
    ['nojson', `invalid character 'o' in literal null (expecting 'u')`],
    ['{a:1}', `invalid character 'a' looking for beginning of object key string`],
    ['{"a":1,}', `invalid character '}' looking for beginning of object key string`],
    ['{"a" 1}', `invalid character '1' after object key`],
    ['{"a":1 "b":2}', `invalid character '"' after object key:value pair`],
    ['[1 2]', `invalid character '2' after array element`],
    ['[1,]', `invalid character ']' looking for beginning of value`],
    ['Ïx', `invalid character 'Ï' looking for beginning of value`],
    [`{'a':1}`, `invalid character '\\'' looking for beginning of object key string`],
    ['"a\nb"', `invalid character '\\n' in string literal`],
    ['"\\q"', `invalid character 'q' in string escape code`],
    ['"\\u12g4"', `invalid character 'g' in \\u hexadecimal character escape`],
    ['-x', `invalid character 'x' in numeric literal`],
    ['1.x', `invalid character 'x' after decimal point in numeric literal`],
    ['1ex', `invalid character 'x' in exponent of numeric literal`],
    ['01', `invalid character '1' after top-level value`],
    ['{} x', `invalid character 'x' after top-level value`],
  ])('words the error of %s as Go does', (text, message) => {
    expect(messageOf(text)).toBe(message);
  });
});

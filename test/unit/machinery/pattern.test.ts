import { describe, expect, it } from 'vitest';
import { compilePattern, PatternError } from '../../../src/machinery/pattern.ts';

describe('patterns', () => {
  it('are found anywhere in a text unless they are anchored', () => {
    expect(compilePattern('b+').test('abbc')).toBe(true);
    expect(compilePattern('^b+$').test('abbc')).toBe(false);
    expect(compilePattern('[0-9]+').find('a12b3')).toBe('12');
    expect(compilePattern('[0-9]+').findAll('a12b3', 10)).toEqual(['12', '3']);
    expect(compilePattern('x').find('abc')).toBeUndefined();
  });

  it('are compiled once', () => {
    expect(compilePattern('^once$')).toBe(compilePattern('^once$'));
  });

  it('cannot stall: nested repetition takes time linear to the text', () => {
    // A backtracking matcher would need longer than the universe is old.
    expect(compilePattern('^(([a-z])+.)+[A-Z]([a-z])+$').test('a'.repeat(50_000))).toBe(false);
  });

  it.each(['(', '[z-a]', '(?<=a)b', '\\1', 'a{2,1}', 'a{1001}', '('.repeat(20_000), 'x'.repeat(20_000), '((a{1,200}){1,200})'])(
    'that RE2 does not take, or that are too large, are refused',
    (source) => {
      expect(() => compilePattern(source)).toThrow(PatternError);
    },
  );
});

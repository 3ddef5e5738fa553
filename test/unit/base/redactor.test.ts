import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRedactor } from '../../../src/base/redactor.ts';
import { processorMs } from '../../support/processor-time.ts';

describe('a redactor', () => {
  it('takes values out of texts of everybody from eight characters, and of their owner from four', () => {
    const redactor = createRedactor();
    redactor.add('apps/a', ['hunter2secret', 'pass', 'ab']);
    expect(redactor.text('x hunter2secret y pass ab')).toBe('x *** y pass ab');
    expect(redactor.text('x hunter2secret y pass ab', 'apps/a')).toBe('x *** y *** ab');
    expect(redactor.text('pass', 'apps/b')).toBe('pass');
    expect(redactor.text('hunter2secret', 'apps/b')).toBe('***');
  });

  it('takes short values where nothing is beside them, out of texts of the owner that repeat fields', () => {
    const redactor = createRedactor();
    redactor.add('apps/a', ['7', 'ab']);
    expect(redactor.quoted('Invalid value: 7: must be 7, not 77 or a7', 'apps/a')).toBe('Invalid value: ***: must be ***, not 77 or a7');
    expect(redactor.quoted('"ab" → ab abc', 'apps/a')).toBe('"***" → *** abc');
    expect(redactor.quoted('Invalid value: 7', 'apps/b')).toBe('Invalid value: 7');
    expect(redactor.text('put back 7 times', 'apps/a')).toBe('put back 7 times');
  });

  it('takes any character for a short value', () => {
    for (let code = 33; code < 127; code += 1) {
      const redactor = createRedactor();
      const value = String.fromCharCode(code);
      redactor.add('apps/a', [value]);
      expect(redactor.quoted(`is ${value}`, 'apps/a'), value).toBe('is ***');
    }
  });

  it('stays fast with thousands of values that begin alike', () => {
    const redactor = createRedactor();
    const before = processorMs();
    redactor.add(
      'apps/a',
      Array.from({ length: 10_000 }, (_, index) => `aaaaaaaa${String(index).padStart(index % 100, 'a')}`),
    );
    redactor.text('a'.repeat(10_000));
    expect(processorMs() - before).toBeLessThan(2_000);
  });

  it('keeps what Git holds in a Secret out of repeated fields alone', () => {
    const redactor = createRedactor();
    redactor.addQuoted('apps/a', ['storefront']);
    expect(redactor.text('Deployment web/storefront', 'apps/a')).toBe('Deployment web/storefront');
    expect(redactor.quoted('Invalid value: "storefront"', 'apps/a')).toBe('Invalid value: "***"');
  });

  it('knows a long value that was cut, and takes the longer of two that begin alike', () => {
    const redactor = createRedactor();
    const long = Array.from({ length: 100 }, (_, index) => String.fromCharCode(97 + (index % 26))).join('');
    redactor.add('apps/a', [long, 'abcdefghij', 'abcdefghijklm-other']);
    expect(redactor.text(`image ${long.slice(0, 50)}…`)).toBe('image ***…');
    expect(redactor.text('abcdefghijklm-other')).toBe('***');
    expect(redactor.text('abcdefghij!')).toBe('***!');
  });

  it('leaves no value in any text around it', () => {
    const value = fc.string({ minLength: 8, maxLength: 60 });
    fc.assert(
      fc.property(fc.array(value, { minLength: 1, maxLength: 5 }), fc.string(), fc.string(), (values, left, right) => {
        const redactor = createRedactor();
        redactor.add('apps/a', values);
        for (const each of values) {
          const text = redactor.text(left + each + right);
          // The mask and its neighbours may make a value together that was in no text.
          if (!each.includes('*')) expect(text.split('***').some((part) => part.includes(each))).toBe(false);
        }
      }),
    );
  });

  it('forgets the oldest of very many', () => {
    const redactor = createRedactor();
    redactor.add('apps/a', ['first-value-of-all']);
    redactor.add(
      'apps/b',
      Array.from({ length: 20_000 }, (_, index) => `value-number-${index}`),
    );
    expect(redactor.text('first-value-of-all value-number-19999')).toBe('first-value-of-all ***');
  });
});

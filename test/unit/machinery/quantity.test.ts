import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addQuantities,
  compareQuantities,
  formatQuantity,
  milliValueOf,
  parseQuantity,
  QuantityError,
  subtractQuantities,
  tryQuantity,
  wholeValueOf,
} from '../../../src/machinery/quantity.ts';

const canonical = (text: string | number): string => formatQuantity(parseQuantity(text));

describe('quantities', () => {
  // Output of the resource package of Kubernetes 1.32 for the same texts.
  it.each([
    ['0', '0'],
    ['00', '0'],
    ['100m', '100m'],
    ['0.1', '100m'],
    ['0.5', '500m'],
    ['1.5', '1500m'],
    ['1000m', '1'],
    ['1000', '1k'],
    ['1024', '1024'],
    ['1024Ki', '1Mi'],
    ['1023Ki', '1023Ki'],
    ['1.5Gi', '1536Mi'],
    ['0.5Ki', '512'],
    ['0.1Ki', '102400m'],
    ['1000k', '1M'],
    ['12e6', '12e6'],
    ['12000e3', '12e6'],
    ['1e3', '1e3'],
    ['1E3', '1E3'],
    ['0.0000000001', '1n'],
    ['-0.0000000001', '-1n'],
    ['9223372036854775807Ki', '9223372036854775807'],
    ['.5', '500m'],
    ['+5', '+5'],
    ['1000E', '1000E'],
  ])('writes %s as %s', (text, expected) => {
    expect(canonical(text)).toBe(expected);
  });

  it('reads numbers as JSON has them', () => {
    expect(canonical(0.5)).toBe('500m');
    expect(canonical(2)).toBe('2');
    expect(wholeValueOf(parseQuantity(1e21))).toBe(1e21);
  });

  it.each([
    ['', /regular expression/],
    ['1..2', /regular expression/],
    ['a', /regular expression/],
    ['1 Gi', /regular expression/],
    ['1K', /unable to parse quantity's suffix/],
    ['1Kii', /unable to parse quantity's suffix/],
    ['Gi', /unable to parse numeric part/],
    ['1e1000000000', /unable to parse quantity's suffix/],
    ['9'.repeat(100_000), /regular expression/],
  ])('refuses %.10s', (text, message) => {
    expect(() => parseQuantity(text)).toThrow(message);
    expect(() => parseQuantity(text)).toThrow(QuantityError);
    expect(tryQuantity(text)).toBeUndefined();
  });

  it('rounds to units and thousandths away from zero', () => {
    expect(wholeValueOf('100m')).toBe(1);
    expect(wholeValueOf('1.5Gi')).toBe(1610612736);
    expect(milliValueOf('1.5')).toBe(1500);
    expect(milliValueOf('1u')).toBe(1);
    expect(milliValueOf('-1u')).toBe(-1);
  });

  it('keeps the format of the first of two unless it is zero', () => {
    expect(formatQuantity(addQuantities(parseQuantity('1Gi'), parseQuantity('500M')))).toBe('1573741824');
    expect(formatQuantity(addQuantities(parseQuantity('0'), parseQuantity('1Gi')))).toBe('1Gi');
    expect(formatQuantity(subtractQuantities(parseQuantity('1'), parseQuantity('300m')))).toBe('700m');
  });

  const texts = fc
    .tuple(
      fc.bigInt({ min: -(10n ** 12n), max: 10n ** 12n }),
      fc.constantFrom('', 'n', 'u', 'm', 'k', 'M', 'G', 'Ki', 'Mi', 'Gi', 'e3', 'e-3'),
    )
    .map(([number, suffix]) => `${number}${suffix}`);

  it('reads what it writes, and writes the same again', () => {
    fc.assert(
      fc.property(texts, (text) => {
        const quantity = parseQuantity(text);
        const again = parseQuantity(formatQuantity(quantity));
        expect(again.nanos).toBe(quantity.nanos);
        expect(formatQuantity({ nanos: again.nanos, format: again.format })).toBe(
          formatQuantity({ nanos: quantity.nanos, format: quantity.format }),
        );
      }),
    );
  });

  it('adds, subtracts and compares as numbers do', () => {
    fc.assert(
      fc.property(texts, texts, (left, right) => {
        const a = parseQuantity(left);
        const b = parseQuantity(right);
        expect(compareQuantities(subtractQuantities(addQuantities(a, b), b), a)).toBe(0);
        expect(Math.sign(compareQuantities(a, b))).toBe(-Math.sign(compareQuantities(b, a)) + 0);
      }),
    );
  });
});

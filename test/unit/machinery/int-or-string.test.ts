import { expect, it } from 'vitest';
import { scaledValueOf, tryPercent } from '../../../src/machinery/int-or-string.ts';

it('takes a number as it is and a percentage of the total, rounded as said', () => {
  expect(scaledValueOf(3, { total: 10, round: 'up' })).toBe(3);
  expect(scaledValueOf('25%', { total: 10, round: 'up' })).toBe(3);
  expect(scaledValueOf('25%', { total: 10, round: 'down' })).toBe(2);
  expect(scaledValueOf('100%', { total: 7, round: 'down' })).toBe(7);
  expect(scaledValueOf('0%', { total: 7, round: 'up' })).toBe(0);
});

it('refuses a string that is no percentage', () => {
  expect(() => scaledValueOf('3', { total: 10, round: 'up' })).toThrow('string is not a percentage');
  expect(tryPercent('3')).toBeUndefined();
  expect(tryPercent('1e2%')).toBeUndefined();
  expect(tryPercent('30%')).toBe(30);
});

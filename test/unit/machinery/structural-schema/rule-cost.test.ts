import { describe, expect, it } from 'vitest';
import type { Schema } from '../../../../src/machinery/schema.ts';
import { costComplaints } from '../../../../src/machinery/structural-schema/rule-cost.ts';

/** Rules that a real server refuses for their possible cost, and rules that it takes: examples of its documentation and its answers. */

const text = (more: object = {}) => ({ type: 'string', ...more });
const list = (items: object, more: object = {}) => ({ type: 'array', items, ...more });
const ruled = (rule: string, more: object = {}) => ({ 'x-kubernetes-validations': [{ rule, ...more }] });
const withSpec = (foo: object): Schema =>
  ({ type: 'object', properties: { spec: { type: 'object', properties: { foo } } } }) as unknown as Schema;

const messagesOf = (foo: object): readonly string[] => costComplaints(withSpec(foo)).map(({ message }) => message.split(' (')[0] ?? '');

describe('the cost of a rule', () => {
  it('is too high for texts without a bound in a list without a bound, and not with bounds', () => {
    const rule = ruled("self.all(x, x.contains('a string'))");
    expect(messagesOf(list(text(), rule))).toEqual([
      'estimated rule cost exceeds budget by factor of more than 100x',
      'x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x',
    ]);
    expect(messagesOf(list(text({ maxLength: 10 }), { ...rule, maxItems: 25 }))).toEqual([]);
  });

  it.each([
    ['three loops within each other', list(list(list(text())), ruled('self.all(a, a.all(b, b.all(c, c != "")))'))],
    ['two loops over one list', list({ type: 'integer' }, ruled('self.all(x, self.exists_one(y, y == x))'))],
    ['a pattern for each text', list(text(), ruled("self.all(x, x.matches('^[a-z]*$'))"))],
    ['texts put together', list(text(), ruled("self.join(',').size() < 10"))],
    ['texts in order', list(text(), ruled('self.isSorted()'))],
    ['a rule for each item of lists within lists', list(list(text(ruled("self.matches('^[a-z]*$')"))))],
    ['a message of a text without a bound', text(ruled('self != ""', { messageExpression: '"%s is wrong".format([self])' }))],
  ])('is too high for %s', (_, schema) => {
    expect(messagesOf(schema)[0]).toMatch(/^estimated (rule|messageExpression) cost exceeds budget by factor of/);
  });

  it.each([
    ['one loop', list(text(), ruled('self.all(x, x != "")'))],
    ['a beginning', list(text(), ruled("self.all(x, x.startsWith('a'))"))],
    ['one pattern', text(ruled("self.matches('^[a-z]*$')"))],
    ['numbers in order', list({ type: 'integer' }, ruled('self.isSorted()'))],
    ['two loops over a short list', list(text({ maxLength: 63 }), { maxItems: 100, ...ruled('self.all(x, self.exists_one(y, y == x))') })],
    ['a change', text(ruled('self == oldSelf'))],
    [
      'members of an object',
      { type: 'object', properties: { a: { type: 'integer' }, b: { type: 'integer' } }, ...ruled('self.a <= self.b') },
    ],
    ['keys of a map', { type: 'object', additionalProperties: text(), ...ruled("self.all(k, k.startsWith('a'))") }],
    ['a message of a short text', text({ maxLength: 64, ...ruled('self != ""', { messageExpression: '"%s is wrong".format([self])' }) })],
    ['a choice', text({ enum: ['a', 'b'], ...ruled("self in ['a', 'b'] || self.matches('x')") })],
  ])('is not too high for %s', (_, schema) => {
    expect(messagesOf(schema)).toEqual([]);
  });

  it('is too high for all rules together, though each of them is not', () => {
    const each = list(text({ maxLength: 300 }), {
      maxItems: 1_000,
      ...ruled("self.all(x, x.matches('[a-z]{1,63}(\\\\.[a-z]{1,63})*-----'))"),
    });
    const fields = Object.fromEntries(Array.from({ length: 120 }, (_, index) => [`f${index}`, each]));
    expect(messagesOf({ type: 'object', properties: { f0: each } })).toEqual([]);
    expect(messagesOf({ type: 'object', properties: fields })).toEqual([
      expect.stringMatching(/^x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget/),
    ]);
  });
});

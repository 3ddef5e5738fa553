import { describe, expect, it } from 'vitest';
import type { Schema, ValidationRule } from '../../../../src/machinery/schema.ts';
import { ruleErrors } from '../../../../src/machinery/structural-schema/rules.ts';
import { compiledStructureOf } from '../../../../src/machinery/structural-schema/structure.ts';

const structureOf = (spec: unknown) => compiledStructureOf({ type: 'object', properties: { spec: spec as Schema } });
const complaints = (spec: unknown, value: unknown, before?: unknown): readonly string[] => {
  const { root, complaints: found } = structureOf(spec);
  expect(found).toEqual([]);
  const object = (of: unknown) => ({ apiVersion: 'example.com/v1', kind: 'K', metadata: { name: 'n' }, spec: of });
  return ruleErrors(root, object(value), [], before === undefined ? undefined : object(before)).map(
    ({ type, field, message }) => `${type} ${field}: ${message}`,
  );
};
const rules = (...list: readonly (string | ValidationRule)[]) => list.map((rule) => (typeof rule === 'string' ? { rule } : rule));

const numbers = (...list: readonly (string | ValidationRule)[]) => ({
  type: 'object',
  properties: { min: { type: 'integer' }, max: { type: 'integer' }, name: { type: 'string' } },
  'x-kubernetes-validations': rules(...list),
});

describe('rules', () => {
  it('that hold say nothing', () => {
    expect(complaints(numbers('self.min <= self.max'), { min: 1, max: 2 })).toEqual([]);
  });

  it.each<[string, ValidationRule, readonly string[]]>([
    ['say themselves', { rule: 'self.min <= self.max' }, ['FieldValueInvalid spec: Invalid value: failed rule: self.min <= self.max']],
    [
      'say their message',
      { rule: 'self.min <= self.max', message: 'min above max' },
      ['FieldValueInvalid spec: Invalid value: min above max'],
    ],
    [
      'say what their expression makes',
      { rule: 'self.min <= self.max', messageExpression: '"%d is above %d".format([self.min, self.max])', message: 'no' },
      ['FieldValueInvalid spec: Invalid value: 3 is above 2'],
    ],
    [
      'say their message when the expression fails',
      { rule: 'self.min <= self.max', messageExpression: 'self.name', message: 'plain' },
      ['FieldValueInvalid spec: Invalid value: plain'],
    ],
    [
      'have a reason',
      { rule: 'self.min <= self.max', message: 'no', reason: 'FieldValueForbidden' },
      ['FieldValueForbidden spec: Forbidden: no'],
    ],
    ['point below', { rule: 'self.min <= self.max', message: 'no', fieldPath: '.min' }, ['FieldValueInvalid spec.min: Invalid value: no']],
  ])('that are broken %s', (_, rule, expected) => {
    expect(complaints(numbers(rule), { min: 3, max: 2 })).toEqual(expected);
  });

  it('that cannot be evaluated say why', () => {
    expect(complaints(numbers('self.name.size() > 1'), {})).toEqual([
      'FieldValueInvalid spec: Invalid value: "object": no such key: name evaluating rule: self.name.size() > 1',
    ]);
  });

  it('show the value of scalars, and the place of items and members', () => {
    const scalar = { type: 'string', 'x-kubernetes-validations': rules({ rule: "self != 'x'", message: 'no x' }) };
    expect(complaints(scalar, 'x')).toEqual(['FieldValueInvalid spec: Invalid value: "x": no x']);
    expect(complaints({ type: 'array', items: scalar }, ['a', 'x'])).toEqual(['FieldValueInvalid spec[1]: Invalid value: "x": no x']);
    expect(complaints({ type: 'object', additionalProperties: scalar }, { k: 'x' })).toEqual([
      'FieldValueInvalid spec[k]: Invalid value: "x": no x',
    ]);
  });

  it('about a change hold only where there was something before', () => {
    const fixed = { type: 'string', 'x-kubernetes-validations': rules({ rule: 'self == oldSelf', message: 'fixed' }) };
    expect(complaints(fixed, 'a')).toEqual([]);
    expect(complaints(fixed, 'a', 'a')).toEqual([]);
    expect(complaints(fixed, 'b', 'a')).toEqual(['FieldValueInvalid spec: Invalid value: "b": fixed']);
    const list = {
      type: 'array',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['k'],
      items: { type: 'object', properties: { k: { type: 'string' }, v: fixed } },
    };
    expect(
      complaints(
        list,
        [
          { k: 'b', v: '2' },
          { k: 'a', v: '3' },
        ],
        [{ k: 'a', v: '1' }],
      ),
    ).toEqual(['FieldValueInvalid spec[1].v: Invalid value: "3": fixed']);
  });

  it('with an optional old value hold for creation, too', () => {
    const once = {
      type: 'string',
      'x-kubernetes-validations': rules({ rule: "oldSelf.hasValue() || self == 'new'", message: 'start as new', optionalOldSelf: true }),
    };
    expect(complaints(once, 'other')).toEqual(['FieldValueInvalid spec: Invalid value: "other": start as new']);
    expect(complaints(once, 'other', 'new')).toEqual([]);
  });

  it('are not asked again about what did not change, so that a stricter rule does not lock an object', () => {
    expect(complaints(numbers('self.min <= self.max'), { min: 3, max: 2 }, { min: 3, max: 2 })).toEqual([]);
  });

  it('at the root see who the object is', () => {
    const schema = {
      type: 'object',
      'x-kubernetes-validations': rules({ rule: "self.metadata.name == 'n' && self.kind == 'K' && has(self.metadata.name)" }),
    } as Schema;
    const { root, complaints: found } = compiledStructureOf(schema);
    expect(found).toEqual([]);
    expect(ruleErrors(root, { apiVersion: 'a/v1', kind: 'K', metadata: { name: 'n' } }, [])).toEqual([]);
  });

  it('say that they were not checked when the schema was broken', () => {
    const { root } = structureOf(numbers('self.min <= self.max'));
    const found = [{ type: 'FieldValueRequired', field: 'spec.min', message: 'Required value' }] as const;
    expect(ruleErrors(root, { spec: {} }, found).map(({ message }) => message)).toEqual([
      'Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation',
    ]);
  });

  it('see quantities, formats and either-or values by their kind', () => {
    const spec = {
      type: 'object',
      properties: {
        port: { 'x-kubernetes-int-or-string': true },
        memory: { type: 'string' },
        at: { type: 'string', format: 'date-time' },
        'my-key': { type: 'string' },
      },
      'x-kubernetes-validations': rules(
        'type(self.port) == int ? self.port < 100 : self.port == "http"',
        "quantity(self.memory).isLessThan(quantity('1Gi'))",
        "self.at < timestamp('2030-01-01T00:00:00Z')",
        "self.my__dash__key == 'v'",
      ),
    };
    expect(complaints(spec, { port: 80, memory: '512Mi', at: '2024-01-01T00:00:00Z', 'my-key': 'v' })).toEqual([]);
    expect(complaints(spec, { port: 'x', memory: '2Gi', at: '2031-01-01T00:00:00Z', 'my-key': 'w' })).toHaveLength(4);
  });

  it('that do not compile are reported with their position', () => {
    const { complaints: found } = structureOf(numbers('self.nothing > 1', 'self.min', 'self.min >'));
    expect(found.map(({ index, message }) => `${index} ${message.split('\n', 1)[0]}`)).toEqual([
      "0 compilation failed: ERROR: <input>:1:5: undefined field 'nothing'",
      '1 cel expression must evaluate to a bool',
      expect.stringMatching(/^2 compilation failed: ERROR: <input>:1:\d+: Syntax error: /),
    ]);
  });

  it('together cannot take longer than a while: the rest is not looked at', () => {
    const slow = 'self.items.all(a, self.items.all(b, self.items.all(c, a + b + c >= 0)))';
    const spec = {
      type: 'object',
      properties: { items: { type: 'array', items: { type: 'integer' } } },
      'x-kubernetes-validations': rules(...new Array<string>(50).fill(slow)),
    };
    const found = complaints(spec, { items: Array.from({ length: 300 }, (_, index) => index) });
    expect(found).toHaveLength(1);
    expect(found[0]).toContain('no further validation rules will be run');
  });
});

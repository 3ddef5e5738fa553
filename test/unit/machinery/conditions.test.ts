import { describe, expect, it } from 'vitest';
import { conditionOf, isConditionTrue, setCondition } from '../../../src/machinery/conditions.ts';
import { deepFreeze } from '../../../src/machinery/object.ts';

const early = '2026-01-01T00:00:00Z';
const late = '2026-01-01T00:01:00Z';
const ready = deepFreeze({ type: 'Ready', status: 'True', reason: 'Up', message: 'runs', lastTransitionTime: early });
const other = deepFreeze({ type: 'Other', status: 'False', reason: 'No', message: '', lastTransitionTime: early });
const conditions = deepFreeze([ready, other]);

describe('setCondition', () => {
  it('adds a condition at the end with the time', () => {
    const next = { type: 'New', status: 'Unknown', reason: 'R', message: 'm' };
    expect(setCondition(conditions, next, late)).toEqual([ready, other, { ...next, lastTransitionTime: late }]);
    expect(setCondition(undefined, next, late)).toEqual([{ ...next, lastTransitionTime: late }]);
  });

  it('moves the time only when the status changes', () => {
    const [same] = setCondition(conditions, { type: 'Ready', status: 'True', reason: 'Still', message: 'runs' }, late);
    expect(same).toEqual({ ...ready, reason: 'Still' });
    const [changed] = setCondition(conditions, { type: 'Ready', status: 'False', reason: 'Down', message: 'x' }, late);
    expect(changed).toEqual({ type: 'Ready', status: 'False', reason: 'Down', message: 'x', lastTransitionTime: late });
  });

  it('returns the same list when nothing changes', () => {
    expect(setCondition(conditions, { type: 'Ready', status: 'True', reason: 'Up', message: 'runs' }, late)).toBe(conditions);
  });

  it('keeps the others and their place', () => {
    const result = setCondition(conditions, { type: 'Ready', status: 'False', reason: 'Down', message: '' }, late);
    expect(result[1]).toBe(other);
  });
});

it('finds and tests conditions by type', () => {
  expect(conditionOf(conditions, 'Other')).toBe(other);
  expect(conditionOf(undefined, 'Other')).toBeUndefined();
  expect(isConditionTrue(conditions, 'Ready')).toBe(true);
  expect(isConditionTrue(conditions, 'Other')).toBe(false);
});

import { expect, it } from 'vitest';
import type { ObjectId } from '../../../../../src/gitops/apply/objects/object-id.ts';
import { type HookRecord, hooksOf, noHooks, withoutCleaning, withSuccess } from '../../../../../src/gitops/apply/records/hook-record.ts';

const id = 'web_migrate_batch_Job' as ObjectId;
const clean = { hook: {}, live: {} } as unknown as NonNullable<Parameters<typeof withSuccess>[1]['clean']>;

it('keeps the results of hooks for one digest only', () => {
  const first = withSuccess(hooksOf(noHooks, 'one'), { id, name: 'PreSync migrate', clean: undefined });
  expect(hooksOf(first, 'one')).toBe(first);
  expect(hooksOf(first, 'two')).toEqual({ ...noHooks, digest: 'two' });
});

it('names a hook that is to be deleted until it was, and counts it as run from the start', () => {
  const before: HookRecord = hooksOf(noHooks, 'one');
  const after = withSuccess(before, { id, name: 'PreSync migrate', clean });
  expect([[...after.succeeded], [...after.cleaning.keys()]]).toEqual([['PreSync migrate'], [id]]);
  expect(before.succeeded.size).toBe(0);
  const cleaned = withoutCleaning(after, id);
  expect([[...cleaned.succeeded], cleaned.cleaning.size]).toEqual([['PreSync migrate'], 0]);
});

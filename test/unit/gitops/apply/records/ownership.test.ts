import { describe, expect, it } from 'vitest';
import { configMaps } from '../../../../../src/api/core/v1/config-map.ts';
import { idOf } from '../../../../../src/gitops/apply/objects/object-id.ts';
import type { DesiredObject } from '../../../../../src/gitops/apply/plan/plan.ts';
import { createDrifts } from '../../../../../src/gitops/apply/records/drifts.ts';
import type { AppliedObject } from '../../../../../src/gitops/apply/records/object-sets.ts';
import { createOwnership } from '../../../../../src/gitops/apply/records/ownership.ts';

function desiredOf(name: string): DesiredObject {
  const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: 'web', name } };
  return { id: idOf(object), object, resource: configMaps, ref: { namespace: 'web', name } } as unknown as DesiredObject;
}
const appliedOf = (desired: DesiredObject): AppliedObject => ({
  desired,
  ownFields: undefined,
  uid: `uid-${desired.id}`,
  resourceVersion: 1,
});
const planOf = (...objects: readonly DesiredObject[]) => ({ objects: new Map(objects.map((each) => [each.id, each])), hooks: new Map() });

describe('ownership', () => {
  const [a, b] = [desiredOf('a'), desiredOf('b')];

  it('keeps an object without an answer until the server has it', () => {
    const ownership = createOwnership();
    ownership.intend(planOf(a, b));
    ownership.apply(a.id, appliedOf(a));
    expect([...ownership.pending.keys()]).toEqual([b.id]);
    expect(ownership.entriesFor(undefined).map(({ id }) => id)).toEqual([a.id, b.id].sort());
  });

  it('dooms objects that a plan does not name, sent ones included, and spares them when it names them again', () => {
    const ownership = createOwnership();
    ownership.intend(planOf(a, b));
    ownership.apply(a.id, appliedOf(a));
    ownership.compare(planOf());
    expect(new Map(ownership.doomed)).toEqual(
      new Map([
        [b.id, expect.objectContaining({ uid: undefined })],
        [a.id, expect.objectContaining({ uid: `uid-${a.id}` })],
      ]),
    );
    ownership.compare(planOf(a, b));
    // Nobody has seen b applied: until it is intended again, the doom is the only note of it.
    expect([...ownership.doomed.keys()]).toEqual([b.id]);
    ownership.intend(planOf(a, b));
    expect(ownership.doomed.size).toBe(0);
  });

  it('counts doomed objects as owned, and not as applied, once a plan is in force', () => {
    const ownership = createOwnership();
    for (const each of [a, b]) ownership.apply(each.id, appliedOf(each));
    ownership.compare(planOf(a));
    ownership.complete(planOf(a));
    expect([...ownership.applied.keys()]).toEqual([a.id]);
    expect(ownership.entriesFor(undefined)).toHaveLength(2);
    ownership.forget(b.id);
    expect(ownership.entriesFor(undefined).map(({ id }) => id)).toEqual([a.id]);
  });

  it('dooms all objects of an app that goes, but for the app itself', () => {
    const ownership = createOwnership();
    ownership.apply(a.id, appliedOf(a));
    ownership.intend(planOf(b));
    ownership.doomAll({ except: b.id });
    expect([...ownership.doomed.keys()]).toEqual([a.id]);
    expect(ownership.applied.size + ownership.pending.size).toBe(0);
  });

  it('gives back the entries of the status while both say the same', () => {
    const ownership = createOwnership();
    ownership.apply(a.id, appliedOf(a));
    const written = [{ id: a.id, v: 'v1' }];
    expect(ownership.entriesFor(written)).toBe(written);
    ownership.touch();
    expect(ownership.entriesFor([])).not.toBe(written);
  });

  it('runs a hook once for each digest', () => {
    const ownership = createOwnership();
    ownership.beginHooks('1');
    ownership.succeed({ id: a.id, name: 'PreSync a', clean: { hook: a, live: a.object } });
    ownership.beginHooks('1');
    expect([...ownership.hooks.succeeded]).toEqual(['PreSync a']);
    ownership.cleaned(a.id);
    expect(ownership.hooks.cleaning.size).toBe(0);
    ownership.completeHooks('1');
    expect(ownership.hooks).toMatchObject({ digest: '1', complete: true });
    ownership.beginHooks('2');
    expect(ownership.hooks).toMatchObject({ digest: '2', complete: false, succeeded: new Set() });
  });
});

describe('drifts', () => {
  const { id } = desiredOf('a');

  it('counts the tries of an object that cannot be put back, until it is', () => {
    const drifts = createDrifts();
    drifts.find({ id, change: 'deleted', by: '', detectedAt: 0 });
    drifts.fail(id, 'refused', 1_000);
    drifts.fail(id, 'refused', 2_000);
    expect(drifts.unhealed.get(id)).toEqual({ reason: 'refused', tries: 2, triedAt: 2_000 });
    drifts.heal(id);
    expect(drifts.found.size + drifts.unhealed.size).toBe(0);
  });

  it('remembers since when a namespace is blocked, and forgets one that is not', () => {
    const drifts = createDrifts();
    drifts.block(new Map([['web', 'gone']]), 1);
    drifts.block(new Map([['web', 'gone']]), 5);
    expect(drifts.blockedNamespaces.get('web')).toEqual({ reason: 'gone', since: 1, triedAt: 5 });
    drifts.block(new Map(), 6);
    expect(drifts.blockedNamespaces.size).toBe(0);
  });

  it('counts corrections of one field within the window alone', () => {
    const drifts = createDrifts();
    const field = { id, change: 'spec.replicas 1 → 2' };
    drifts.correct(field, { now: 0, windowMs: 10 });
    drifts.correct({ ...field, change: 'spec.replicas 1 → 3' }, { now: 8, windowMs: 10 });
    expect(drifts.recentCorrections(field, { now: 9, windowMs: 10 })).toEqual([0, 8]);
    expect(drifts.recentCorrections(field, { now: 12, windowMs: 10 })).toEqual([8]);
    expect(drifts.recentCorrections({ ...field, change: 'spec.paused' }, { now: 9, windowMs: 10 })).toEqual([]);
  });
});

import { describe, expect, it } from 'vitest';
import { configMaps } from '../../../../../src/api/core/v1/config-map.ts';
import type { Kustomization } from '../../../../../src/api/kustomize/v1/kustomization.ts';
import { annotations, labels } from '../../../../../src/api/well-known.ts';
import { createRedactor } from '../../../../../src/base/redactor.ts';
import { ownFieldsOf } from '../../../../../src/gitops/apply/objects/fields.ts';
import { idOf } from '../../../../../src/gitops/apply/objects/object-id.ts';
import { policyOf } from '../../../../../src/gitops/apply/objects/object-policy.ts';
import { createDriftWatch } from '../../../../../src/gitops/apply/observe/drift.ts';
import { overriddenBy } from '../../../../../src/gitops/apply/observe/takeover.ts';
import type { DesiredObject } from '../../../../../src/gitops/apply/plan/plan.ts';
import { newAppRecords } from '../../../../../src/gitops/apply/records/app-records.ts';
import type { AppliedObject } from '../../../../../src/gitops/apply/records/object-sets.ts';
import type { DynamicObject, ManagedFieldsEntry } from '../../../../../src/machinery/object.ts';
import { createManualClock } from '../../../../support/manual-clock.ts';

const ours = { [labels.fluxKustomizeName]: 'shop', [labels.fluxKustomizeNamespace]: 'flux-system' };
const labelFields = { 'f:metadata': { 'f:labels': { [`f:${labels.fluxKustomizeName}`]: {} } } };
const app = { metadata: { name: 'shop', namespace: 'flux-system' }, spec: {} } as Kustomization;

interface Live {
  readonly data: Readonly<Record<string, string>>;
  /** Keys of the data by their manager. */
  readonly owners: Readonly<Record<string, readonly string[]>>;
  readonly version: number;
  readonly metadata?: Partial<DynamicObject['metadata']>;
}
const liveOf = ({ data, owners, version, metadata = {} }: Live): DynamicObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: {
    namespace: 'web',
    name: 'a',
    uid: 'uid-a',
    resourceVersion: String(version),
    labels: ours,
    managedFields: Object.entries(owners).map(
      ([manager, keys]): ManagedFieldsEntry => ({
        manager,
        operation: manager === 'midship' ? 'Apply' : 'Update',
        apiVersion: 'v1',
        time: '2026-01-01T00:00:00Z',
        fieldsType: 'FieldsV1',
        fieldsV1: {
          ...(manager === 'midship' ? labelFields : {}),
          'f:data': Object.fromEntries(keys.map((key) => [`f:${key}`, {}])),
        } as never,
      }),
    ),
    ...metadata,
  },
  data,
});

/** A watch over one object that the app applied as version 5 with `a: 1`, `b: 2`. */
function startWatch({ pointers = [] as readonly string[], cacheVersion = 100, applied: more = {} as Partial<AppliedObject> } = {}) {
  const clock = createManualClock();
  const state = newAppRecords('flux-system/shop');
  const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: 'web', name: 'a', labels: ours }, data: { a: '1', b: '2' } };
  const id = idOf(object);
  const desired = {
    id,
    object,
    resource: configMaps,
    ref: { namespace: 'web', name: 'a' },
    policy: policyOf(object),
  } as unknown as DesiredObject;
  const asApplied = liveOf({ data: object.data, owners: { midship: ['a', 'b'] }, version: 5 });
  state.ownership.apply(id, { desired, ownFields: ownFieldsOf(asApplied), uid: 'uid-a', resourceVersion: 5, ...more });
  const events: string[] = [];
  const reports: string[] = [];
  let cached: DynamicObject | undefined = asApplied;
  const watch = createDriftWatch({
    clock,
    recorder: { record: (_, { reason, message }) => void events.push(`${reason}: ${message}`) },
    redactor: createRedactor(),
    owned: { live: () => cached, isGoneSince: (_resource, _ref, version) => cached === undefined && cacheVersion >= version },
    isOverridden: overriddenBy(),
    autoscalerOf: () => undefined,
    rulesOf: () => ({ object: desired.object, pointers, isTaken: overriddenBy() }),
    onDrift: (key) => void reports.push(key),
  });
  return {
    clock,
    state,
    id,
    asApplied,
    events,
    reports,
    watch,
    see(live: DynamicObject | undefined, before?: DynamicObject) {
      cached = live;
      watch.observe(state, { id, object: live, before });
    },
    found: () => state.drifts.found.get(id),
  };
}

describe('a change of an applied object', () => {
  it('is named with the field, both values and the manager, and reported once', () => {
    const seen = startWatch();
    const changed = liveOf({ data: { a: '9', b: '2' }, owners: { midship: ['b'], 'kubectl-edit': ['a'] }, version: 6 });
    seen.see(changed);
    seen.see(changed);
    expect(seen.found()).toMatchObject({ change: 'data.a 1 → 9', by: 'kubectl-edit', detectedAt: seen.clock.now() });
    expect(seen.reports).toEqual(['flux-system/shop']);
  });

  it('counts the other fields that differ', () => {
    const seen = startWatch();
    seen.see(liveOf({ data: { a: '9', b: '8' }, owners: { midship: [], 'kubectl-edit': ['a', 'b'] }, version: 6 }));
    expect(seen.found()).toMatchObject({ change: 'data.a 1 → 9 and 1 more' });
  });

  it('under our own name is one as well, compared with the version before', () => {
    const seen = startWatch();
    seen.see(liveOf({ data: { a: '9', b: '2' }, owners: { midship: ['a', 'b'] }, version: 6 }), seen.asApplied);
    expect(seen.found()).toMatchObject({ change: 'data.a 1 → 9', by: 'midship' });
  });

  it('is none when the object is deleted already, is another app’s, or is older than our own write', () => {
    const seen = startWatch();
    const theirs = { midship: ['b'], 'kubectl-edit': ['a'] };
    seen.see(liveOf({ data: { a: '0', b: '2' }, owners: theirs, version: 4 }));
    seen.see(liveOf({ data: { a: '9', b: '2' }, owners: theirs, version: 6, metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } }));
    seen.see(
      liveOf({
        data: { a: '9', b: '2' },
        owners: theirs,
        version: 7,
        metadata: { labels: { ...ours, [labels.fluxKustomizeName]: 'web' } },
      }),
    );
    expect(seen.found()).toBeUndefined();
    expect(seen.reports).toEqual([]);
  });

  it('is none where others may have the field, which is theirs from then on', () => {
    const seen = startWatch({ pointers: ['/data/a'] });
    seen.see(liveOf({ data: { a: '9', b: '2' }, owners: { midship: ['b'], operator: ['a'] }, version: 6 }));
    expect(seen.found()).toBeUndefined();
    expect(seen.state.ownership.applied.get(seen.id)?.ownFields).toMatchObject({ 'f:data': { 'f:b': {} } });
    expect(seen.state.ownership.applied.get(seen.id)?.ownFields).not.toHaveProperty(['f:data', 'f:a']);
  });
});

describe('an addition', () => {
  const withAddition = (manager: string) =>
    liveOf({ data: { a: '1', b: '2', c: '3' }, owners: { midship: ['a', 'b'], [manager]: ['c'] }, version: 6 });

  it('is drift when a person made it, until it is gone again', () => {
    const seen = startWatch();
    seen.see(withAddition('kubectl-edit'));
    expect(seen.found()).toMatchObject({ change: 'data.c absent → 3', by: 'kubectl-edit', isAddition: true });
    seen.see(liveOf({ data: { a: '1', b: '2' }, owners: { midship: ['a', 'b'] }, version: 7 }));
    expect(seen.found()).toBeUndefined();
  });

  it('stays when another program made it, and is noted', () => {
    const seen = startWatch();
    seen.see(withAddition('istiod'));
    expect(seen.found()).toBeUndefined();
    expect(seen.state.drifts.notes.get(seen.id)).toMatchObject({ additions: ['data.c by istiod'] });
  });
});

describe('a deletion', () => {
  it('is drift once the cache is as new as our write, and not before', () => {
    const late = startWatch({ cacheVersion: 4 });
    late.see(undefined);
    expect(late.found()).toBeUndefined();
    const seen = startWatch();
    seen.see(undefined);
    expect(seen.found()).toMatchObject({ change: 'deleted', by: '' });
  });
});

describe('an object that was left alone', () => {
  const disabled = { annotations: { [annotations.fluxReconcile]: 'disabled' } };

  it('is to be applied when nothing holds it back any more', () => {
    const seen = startWatch({ applied: { skipped: 'suspended' } });
    const still = liveOf({ data: { a: '9', b: '2' }, owners: { midship: ['a', 'b'] }, version: 6, metadata: disabled });
    seen.see(still);
    expect(seen.found()).toBeUndefined();
    seen.see(liveOf({ data: { a: '9', b: '2' }, owners: { midship: ['a', 'b'] }, version: 7 }));
    expect(seen.found()).toMatchObject({ change: 'resumed' });
  });
});

describe('our own write', () => {
  const changed = liveOf({ data: { a: '9', b: '2' }, owners: { midship: ['b'], 'kubectl-edit': ['a'] }, version: 6 });

  it('hides changes while it is under way, and they are found when it has ended', () => {
    const seen = startWatch();
    seen.state.ownership.beginWrite(seen.id);
    seen.see(changed);
    expect(seen.found()).toBeUndefined();
    seen.state.ownership.endWrite(seen.id);
    seen.watch.recheck(seen.state, seen.id, seen.asApplied);
    expect(seen.found()).toMatchObject({ change: 'data.a 1 → 9' });
  });

  it('is no drift when the cache does not have it yet', () => {
    const seen = startWatch();
    seen.state.ownership.amend(seen.id, { resourceVersion: 7 });
    seen.see(changed);
    seen.watch.recheck(seen.state, seen.id, seen.asApplied);
    expect(seen.found()).toBeUndefined();
  });
});

describe('a fight over a field', () => {
  it('is left to the other side for the rest of a minute after three corrections, and named', () => {
    const { watch, state, id, clock, events } = startWatch();
    const drift = { id, change: 'data.a 1 → 9', by: 'operator', detectedAt: 0 };
    state.drifts.find(drift);
    for (let times = 0; times < 3; times += 1) {
      expect(watch.heldForMs(app, state, drift)).toBeUndefined();
      watch.countCorrection(state, drift);
      clock.advance(1_000);
    }
    // The values may be others each time: the field is what is fought over.
    expect(watch.heldForMs(app, state, { ...drift, change: 'data.a 1 → 7' })).toBe(57_000);
    expect(watch.heldForMs(app, state, { ...drift, change: 'data.b 1 → 7' })).toBeUndefined();
    expect(events).toEqual([expect.stringContaining('put back 3 times within a minute; operator changes it again each time')]);
    expect(watch.retryAfterMs(state)).toBe(57_000);
    clock.advance(57_000);
    expect(watch.heldForMs(app, state, drift)).toBeUndefined();
  });
});

describe('the next try to put an object back', () => {
  it('comes later after each refusal, and at most a minute later', () => {
    const { watch, state, id, clock } = startWatch();
    expect(watch.retryAfterMs(state)).toBeUndefined();
    state.drifts.find({ id, change: 'data.a 1 → 9', by: '', detectedAt: 0 });
    const waits = Array.from({ length: 8 }, () => {
      state.drifts.fail(id, 'no', clock.monotonicMs());
      return watch.retryAfterMs(state);
    });
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    clock.advance(120_000);
    expect(watch.retryAfterMs(state)).toBe(100);
    state.drifts.heal(id);
    expect(watch.retryAfterMs(state)).toBeUndefined();
  });

  it('in a namespace that stays blocked is asked for more and more seldom', () => {
    const { watch, state, id, clock } = startWatch();
    state.drifts.find({ id, change: 'deleted', by: '', detectedAt: 0 });
    const block = () => state.drifts.block(new Map([['web', 'it is being deleted']]), clock.monotonicMs());
    block();
    expect(watch.retryAfterMs(state)).toBe(1_000);
    clock.advance(40_000);
    block();
    expect(watch.retryAfterMs(state)).toBe(10_000);
    clock.advance(400_000);
    block();
    expect(watch.retryAfterMs(state)).toBe(30_000);
  });
});

describe('an object that another app applied', () => {
  it('is to be put back by this one, whoever has its fields', () => {
    const seen = startWatch();
    seen.watch.noteTakeover(seen.state, seen.id, 'flux-system/web');
    expect(seen.found()).toMatchObject({ change: 'applied by app flux-system/web' });
  });
});

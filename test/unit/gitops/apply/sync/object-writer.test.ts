import { describe, expect, it } from 'vitest';
import { configMaps } from '../../../../../src/api/core/v1/config-map.ts';
import { annotations, labels } from '../../../../../src/api/well-known.ts';
import { createRedactor } from '../../../../../src/base/redactor.ts';
import { overriddenBy } from '../../../../../src/gitops/apply/observe/takeover.ts';
import { FixedFieldError } from '../../../../../src/gitops/apply/plan/object-errors.ts';
import type { ApplyMode } from '../../../../../src/gitops/apply/records/attempt.ts';
import { createObjectWriter } from '../../../../../src/gitops/apply/sync/object-writer.ts';
import type { DynamicObject, KubeObject } from '../../../../../src/machinery/object.ts';
import { isConflict, isInvalid } from '../../../../../src/machinery/status-error.ts';
import {
  type ApplyTarget,
  type ApplyTargetOptions,
  dataOf,
  namespace,
  objectOf,
  startApplyTarget,
} from '../../../../support/apply-target.ts';

const ref = { namespace, name: 'a' };
const configMap = (data: Readonly<Record<string, string>>, notes: Readonly<Record<string, string>> = {}, more: object = {}): KubeObject =>
  objectOf('ConfigMap', 'a', { data, ...more }, notes);

/** The writer on a cluster in memory, and the times at which it had drift looked for again. */
async function startWriter(options: ApplyTargetOptions = {}) {
  const cluster = await startApplyTarget(options);
  const { app, client, clock, people, recorder, state, target } = cluster;
  const answers: (DynamicObject | undefined)[] = [];
  const writer = createObjectWriter({
    client,
    clock,
    recorder,
    owned: target.owned,
    ignored: { pointersOf: () => [], pointersNow: async () => [] },
    isOverridden: overriddenBy(),
    redactor: createRedactor(),
    recheck: (_state, _id, answer) => void answers.push(answer),
  });
  const writeOf = async (object: KubeObject) => {
    const desired = await cluster.plan(object);
    target.owned.own(state.key, desired.id, desired);
    await cluster.catchUp(desired.resource);
    return { app, state, desired, signal: new AbortController().signal };
  };
  return {
    ...cluster,
    answers,
    tryOut: async (object: KubeObject) => writer.tryOut(await writeOf(object)),
    apply: async (object: KubeObject, mode: ApplyMode = 'apply') => writer.apply({ ...(await writeOf(object)), mode }),
    survey: async (object: KubeObject) => writer.survey(await writeOf(object)),
    live: () => people.get(configMaps, ref),
    applied: () => [...state.ownership.applied.values()][0],
  };
}
const edit = ({ people }: Pick<ApplyTarget, 'people'>, body: object, fieldManager = 'kubectl-edit') =>
  people.patch(configMaps, ref, { type: 'merge', body }, { fieldManager });

describe('an apply', () => {
  it('says what it changed of the object, and nothing when nothing changed', async () => {
    const writer = await startWriter();
    expect(await writer.apply(configMap({ a: '1' }))).toEqual({ action: 'created', object: `ConfigMap ${namespace}/a`, fields: [] });
    expect(await writer.apply(configMap({ a: '1' }))).toBeUndefined();
    expect(await writer.apply(configMap({ a: '2' }))).toMatchObject({ action: 'configured', fields: ['data.a 1 → 2'] });
    expect(writer.applied()).toMatchObject({ uid: (await writer.live()).metadata.uid, ownFields: { 'f:data': { 'f:a': {} } } });
    expect(writer.answers).toHaveLength(3);
  });

  it('that is not answered leaves the object in doubt, and ends the write', async () => {
    const writer = await startWriter({
      onWrite({ text, isDryRun }) {
        if (!isDryRun && text === 'apply ConfigMap a' && writer.applied() !== undefined) throw new Error('the connection broke');
      },
    });
    await writer.apply(configMap({ a: '1' }));
    await expect(writer.apply(configMap({ a: '2' }))).rejects.toThrow('the connection broke');
    expect(writer.applied()).toMatchObject({ inDoubt: true });
    expect(writer.state.ownership.isWriting(writer.applied()?.desired.id ?? '')).toBe(false);
    expect(writer.answers.at(-1)).toBeUndefined();
  });
});

describe('fields of others', () => {
  it('go when a person added them, and stay when another program did', async () => {
    const writer = await startWriter();
    await writer.apply(configMap({ a: '1' }));
    await edit(writer, { data: { person: 'x' } });
    await edit(writer, { data: { program: 'y' } }, 'operator');
    expect(await writer.apply(configMap({ a: '1' }))).toMatchObject({ action: 'configured', fields: ['data.person x → absent'] });
    expect(dataOf(await writer.live())).toEqual({ a: '1', program: 'y' });
    // Taking over from a person is the rule, and needs no Event.
    expect(writer.events).toEqual([]);
  });

  it('are named in an Event when they are taken from a program that had applied the object before', async () => {
    const writer = await startWriter();
    await writer.apply(configMap({ a: '1' }));
    await edit(writer, { data: { left: 'x' } }, 'helm');
    await writer.apply(configMap({ a: '1' }));
    expect(dataOf(await writer.live())).toEqual({ a: '1' });
    expect(writer.events).toEqual([`FieldsTakenOver: ConfigMap ${namespace}/a: took over the fields of helm`]);
  });

  it('that Git has as well are taken by force, with a warning, unless conflicts are to fail', async () => {
    const writer = await startWriter();
    await writer.people.create(configMaps, { ...configMap({ a: 'theirs' }), kind: 'ConfigMap' } as never, { fieldManager: 'operator' });
    const careful = configMap({ a: '1' }, { [annotations.onConflict]: 'fail' });
    await expect(writer.tryOut(careful)).rejects.toSatisfy(isConflict);
    expect(await writer.tryOut(configMap({ a: '1' }))).toBe('force');
    expect(writer.events).toEqual([expect.stringMatching(/^FieldConflict: .* took \.data\.a from operator$/)]);
    expect(dataOf(await writer.live())).toEqual({ a: 'theirs' });
    await writer.apply(configMap({ a: '1' }), 'force');
    expect(dataOf(await writer.live())).toEqual({ a: '1' });
  });
});

describe('an object that cannot be changed', () => {
  const fixed = (value: string, notes = {}) => configMap({ a: value }, notes, { immutable: true });
  const force = { [annotations.fluxForce]: 'enabled' };

  it('is refused without force, and stays as it is', async () => {
    const writer = await startWriter();
    await writer.apply(fixed('1'));
    await expect(writer.tryOut(fixed('2'))).rejects.toBeInstanceOf(FixedFieldError);
    expect(dataOf(await writer.live())).toEqual({ a: '1' });
  });

  it('is deleted and made again with force', async () => {
    const writer = await startWriter();
    await writer.apply(fixed('1', force));
    const { uid } = (await writer.live()).metadata;
    expect(await writer.tryOut(fixed('2', force))).toBe('recreate');
    expect(await writer.apply(fixed('2', force), 'recreate')).toMatchObject({ action: 'created' });
    const live = await writer.live();
    expect(dataOf(live)).toEqual({ a: '2' });
    expect(live.metadata.uid).not.toBe(uid);
  });

  it('is not deleted for content that the server would not take as a new object either', async () => {
    const writer = await startWriter({ spec: { force: true } });
    await writer.apply(fixed('1'));
    const wrong = configMap({ 'not a key': '2' }, {}, { immutable: true });
    await expect(writer.tryOut(wrong)).rejects.toSatisfy(isInvalid);
    expect(writer.writes.filter((text) => text.startsWith('delete'))).toEqual([]);
    expect(dataOf(await writer.live())).toEqual({ a: '1' });
  });
});

describe('an object that is left alone', () => {
  it('keeps the content it has when it is to be made once, and changes its app by its labels alone', async () => {
    const writer = await startWriter();
    const once = (value: string) => configMap({ a: value }, { [annotations.fluxSsa]: 'IfNotPresent' });
    await writer.apply(once('1'));
    await edit(writer, { metadata: { labels: { [labels.fluxKustomizeName]: 'before' } } });
    expect(await writer.apply(once('2'), 'force')).toBeUndefined();
    const live = await writer.live();
    expect(dataOf(live)).toEqual({ a: '1' });
    expect(live.metadata.labels).toMatchObject({ [labels.fluxKustomizeName]: 'shop' });
    expect(writer.applied()).toMatchObject({ skipped: 'exists' });
  });

  it('is not written for as long as its live annotation says so', async () => {
    const writer = await startWriter();
    await writer.apply(configMap({ a: '1' }));
    await edit(writer, { metadata: { annotations: { [annotations.fluxReconcile]: 'disabled' } } });
    expect(await writer.tryOut(configMap({ a: '2' }))).toBe('apply');
    expect(await writer.apply(configMap({ a: '2' }))).toBeUndefined();
    expect(dataOf(await writer.live())).toEqual({ a: '1' });
    expect(writer.applied()).toMatchObject({ skipped: 'suspended' });
  });
});

describe('a survey', () => {
  it('notes what differs as drift, and writes nothing', async () => {
    const writer = await startWriter();
    await writer.survey(configMap({ a: '1' }));
    expect([...writer.state.drifts.found.values()]).toMatchObject([{ change: 'deleted' }]);

    await writer.apply(configMap({ a: '1' }));
    await edit(writer, { data: { b: 'x' } });
    const before = writer.writes.length;
    await writer.survey(configMap({ a: '1' }));
    expect([...writer.state.drifts.found.values()]).toMatchObject([{ change: 'data.b absent → x' }]);
    expect(writer.writes).toHaveLength(before);
    expect(dataOf(await writer.live())).toEqual({ a: '1', b: 'x' });
  });
});

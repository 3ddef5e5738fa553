import { describe, expect, it } from 'vitest';
import { configMaps } from '../../../../../src/api/core/v1/config-map.ts';
import { annotations, labels } from '../../../../../src/api/well-known.ts';
import { forbidden } from '../../../../../src/machinery/status-error.ts';
import {
  type ApplyTarget,
  type ApplyTargetOptions,
  home,
  namespace,
  objectOf,
  startApplyTarget,
} from '../../../../support/apply-target.ts';

const configMap = (name: string, notes: Readonly<Record<string, string>> = {}) => objectOf('ConfigMap', name, { data: { a: '1' } }, notes);
const waveOf = (wave: number) => ({ 'argocd.argoproj.io/sync-wave': String(wave) });
const many = (prefix: string, count: number) => Array.from({ length: count }, (_, index) => configMap(`${prefix}${index}`));

/** Applies both lists, then a revision with the first one only; `writes` begins after that. */
async function startWithDoomed(
  {
    kept = [configMap('keep')],
    left,
  }: { readonly kept?: readonly ReturnType<typeof configMap>[]; readonly left: readonly ReturnType<typeof configMap>[] },
  options: ApplyTargetOptions = {},
) {
  const cluster = await startApplyTarget(options);
  await cluster.sync([...kept, ...left]);
  await cluster.sync(kept);
  return { ...cluster, deletions: () => cluster.writes.filter((text) => text.startsWith('delete')) };
}
const namesIn = async ({ people }: ApplyTarget): Promise<readonly string[]> =>
  (await people.list(configMaps, { namespace })).items.map(({ metadata }) => metadata.name).sort();

describe('objects that left Git', () => {
  it('go in reverse order: later waves first, and kinds that others need last', async () => {
    const left = [objectOf('ServiceAccount', 'robot'), configMap('early'), configMap('late', waveOf(1))];
    const cluster = await startWithDoomed({ left });
    const { changes, remaining } = await cluster.prune();
    expect(cluster.deletions()).toEqual(['delete ConfigMap late', 'delete ConfigMap early', 'delete ServiceAccount robot']);
    expect(changes.map(({ action, object }) => `${action} ${object}`)).toContain(`pruned ConfigMap ${namespace}/late`);
    expect(remaining).toBe(0);
    expect(cluster.state.ownership.doomed.size).toBe(0);
  });

  it('stay when they carry the label of another app, or are others of the same name', async () => {
    const cluster = await startWithDoomed({ left: [configMap('relabelled'), configMap('replaced')] });
    const body = { metadata: { labels: { [labels.fluxKustomizeName]: 'web' } } };
    await cluster.people.patch(configMaps, { namespace, name: 'relabelled' }, { type: 'merge', body }, {});
    const { metadata } = await cluster.people.get(configMaps, { namespace, name: 'replaced' });
    await cluster.people.delete(configMaps, { namespace, name: 'replaced' });
    const copy = { namespace, name: 'replaced', labels: metadata.labels ?? {} };
    await cluster.people.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: copy }, { fieldManager: 'kubectl-create' });
    expect(await cluster.prune()).toMatchObject({ changes: [], remaining: 0 });
    expect(await namesIn(cluster)).toEqual(['keep', 'relabelled', 'replaced']);
    expect(cluster.state.ownership.doomed.size).toBe(0);
  });

  it('are forgotten when someone has deleted them already', async () => {
    const cluster = await startWithDoomed({ left: [configMap('a')] });
    await cluster.people.delete(configMaps, { namespace, name: 'a' });
    expect(await cluster.prune()).toMatchObject({ changes: [], remaining: 0 });
    expect(cluster.deletions()).toEqual([]);
    expect(cluster.state.ownership.doomed.size).toBe(0);
  });

  it('stay doomed while they change between each look and its deletion', async () => {
    let changes = 0;
    const cluster = await startWithDoomed(
      { left: [configMap('busy')] },
      {
        async onWrite({ text }) {
          if (text !== 'delete ConfigMap busy') return;
          changes += 1;
          const body = { data: { changes: String(changes) } };
          await cluster.people.patch(configMaps, { namespace, name: 'busy' }, { type: 'merge', body }, {});
        },
      },
    );
    expect(await cluster.prune()).toMatchObject({ changes: [], remaining: 1 });
    expect(changes).toBe(5);
    expect(await namesIn(cluster)).toEqual(['busy', 'keep']);
  });

  it('stay when their live annotation says so, and are not the app’s any more', async () => {
    const cluster = await startWithDoomed({ left: [configMap('a')] });
    const body = { metadata: { annotations: { [annotations.fluxPrune]: 'disabled' } } };
    await cluster.people.patch(configMaps, { namespace, name: 'a' }, { type: 'merge', body }, { fieldManager: 'kubectl-edit' });
    await cluster.catchUp(configMaps);
    expect(await cluster.prune()).toMatchObject({ changes: [], remaining: 0 });
    expect(await namesIn(cluster)).toEqual(['a', 'keep']);
    expect(cluster.state.ownership.doomed.size).toBe(0);
  });

  it('wait for their finalizers, and are asked for once', async () => {
    const cluster = await startWithDoomed({ left: [configMap('a')] });
    const finalize = (finalizers: readonly string[]) =>
      cluster.people.patch(configMaps, { namespace, name: 'a' }, { type: 'merge', body: { metadata: { finalizers } } }, {});
    await finalize(['example.com/hold']);
    expect(await cluster.prune()).toMatchObject({ remaining: 1 });
    expect(await cluster.prune()).toMatchObject({ changes: [], remaining: 1 });
    expect(cluster.deletions()).toHaveLength(1);
    await finalize([]);
    expect(await cluster.prune()).toMatchObject({ remaining: 0 });
    expect(cluster.state.ownership.doomed.size).toBe(0);
  });

  it('are only those that make room when others are still to come', async () => {
    const cluster = await startWithDoomed({ left: [configMap('room', { [annotations.prune]: 'before' }), configMap('other')] });
    // The sync had made room itself; another object asks for it now.
    expect(cluster.deletions()).toEqual(['delete ConfigMap room']);
    expect(await cluster.prune({ before: true })).toMatchObject({ changes: [], remaining: 0 });
    expect(await namesIn(cluster)).toEqual(['keep', 'other']);
  });
});

describe('a prune of most of a large app', () => {
  it('waits for an approval of just these objects', async () => {
    const options = { annotations: {} as Record<string, string> };
    const cluster = await startWithDoomed({ left: many('a', 21) }, options);
    const held = await cluster.prune();
    expect(held).toMatchObject({ changes: [], remaining: 0, blocked: expect.stringContaining('21 of 22 objects would be deleted') });
    expect(cluster.deletions()).toEqual([]);
    const approval = held.blocked.slice(held.blocked.lastIndexOf('=') + 1);
    const approve = (value: string) => Object.assign(cluster.app.metadata.annotations ?? {}, { [annotations.approvePrune]: value });

    approve('another');
    expect((await cluster.prune()).blocked).toBe(held.blocked);
    approve(approval);
    // The approval counts for the revision that was shown.
    expect((await cluster.prune({ revision: 'main@sha1:2' })).blocked).not.toBe('');
    expect(await cluster.prune()).toMatchObject({ blocked: '', remaining: 0 });
    expect(await namesIn(cluster)).toEqual(['keep']);
  });

  it('goes on when the commit takes an earlier one back, and for an app that is deleted', async () => {
    const reverted = await startWithDoomed({ left: many('a', 21) });
    expect(await reverted.prune({ isRevert: true })).toMatchObject({ blocked: '', remaining: 0 });
    const deleted = await startWithDoomed({ left: many('a', 21) });
    expect(await deleted.prune({ guarded: false })).toMatchObject({ blocked: '', remaining: 0 });
  });
});

describe('an object that another app names', () => {
  it('is handed over, and stays in the inventory until that app has it', async () => {
    let claimed = false;
    const claimantOf = (name: string) => (claimed && name === 'a' ? `${home}/other` : undefined);
    const cluster = await startWithDoomed({ left: [configMap('a'), configMap('b')] }, { claimantOf });
    claimed = true;
    await cluster.prune();
    expect(cluster.handovers).toEqual([`${home}/other`]);
    expect([...cluster.state.ownership.doomed.keys()]).toEqual([`${namespace}_a__ConfigMap`]);
    const body = { metadata: { labels: { [labels.fluxKustomizeName]: 'other' } } };
    await cluster.people.patch(configMaps, { namespace, name: 'a' }, { type: 'merge', body }, {});
    await cluster.prune();
    expect(cluster.state.ownership.doomed.size).toBe(0);
    expect(await namesIn(cluster)).toEqual(['a', 'keep']);
  });
});

describe('a prune that comes half way', () => {
  it('forgets what is gone, and keeps the object whose deletion was refused', async () => {
    let refuses = true;
    const cluster = await startWithDoomed(
      { left: [configMap('late', waveOf(1)), configMap('refused')] },
      {
        onWrite({ text }) {
          if (refuses && text === 'delete ConfigMap refused') throw forbidden(configMaps, 'refused', 'a webhook says no');
        },
      },
    );
    await expect(cluster.prune()).rejects.toThrow('a webhook says no');
    expect([...cluster.state.ownership.doomed.keys()]).toEqual([`${namespace}_refused__ConfigMap`]);
    refuses = false;
    expect(await cluster.prune()).toMatchObject({ remaining: 0 });
    expect(await namesIn(cluster)).toEqual(['keep']);
  });

  it('ends between two stages when the pass is given up', async () => {
    const abort = new AbortController();
    const cluster = await startWithDoomed(
      { left: [configMap('late', waveOf(1)), configMap('early')] },
      { onWrite: ({ text }) => void (text === 'delete ConfigMap late' && abort.abort(new Error('given up'))) },
    );
    await expect(cluster.prune({ signal: abort.signal })).rejects.toThrow('given up');
    expect(await namesIn(cluster)).toEqual(['early', 'keep']);
    expect([...cluster.state.ownership.doomed.keys()]).toEqual([`${namespace}_early__ConfigMap`]);
  });
});

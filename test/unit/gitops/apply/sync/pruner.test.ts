import { describe, expect, it } from 'vitest';
import { configMaps } from '../../../../../src/api/core/v1/config-map.ts';
import type { Kustomization } from '../../../../../src/api/kustomize/v1/kustomization.ts';
import { labels } from '../../../../../src/api/well-known.ts';
import type { Client } from '../../../../../src/client/client.ts';
import { idOf } from '../../../../../src/gitops/apply/objects/object-id.ts';
import { newAppRecords } from '../../../../../src/gitops/apply/records/app-records.ts';
import { createPruner, type PrunerOptions } from '../../../../../src/gitops/apply/sync/pruner.ts';
import type { DynamicObject, ObjectRef } from '../../../../../src/machinery/object.ts';
import { conflict, notFound } from '../../../../../src/machinery/status-error.ts';

const app: Kustomization = {
  apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
  kind: 'Kustomization',
  metadata: { name: 'shop', namespace: 'flux-system' },
  spec: { interval: '1m', prune: true, sourceRef: { kind: 'GitRepository', name: 'cluster' } },
};
const ours = { [labels.fluxKustomizeName]: 'shop', [labels.fluxKustomizeNamespace]: 'flux-system' };
const objectOf = (name: string, metadata: Partial<DynamicObject['metadata']> = {}): DynamicObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { namespace: 'web', name, uid: `uid-${name}`, resourceVersion: '1', labels: ours, ...metadata },
});

/** Prunes objects of an app; `answer` is what the server says to the deletion of the object. */
async function prune(live: DynamicObject | undefined, { claimant, answer }: { readonly claimant?: string; readonly answer?: Error } = {}) {
  const state = newAppRecords('flux-system/shop');
  const handed: string[] = [];
  let there = live;
  const id = idOf(objectOf('a'));
  const ref = { namespace: 'web', name: 'a' };
  state.ownership.load({}, [[id, { version: 'v1', uid: 'uid-a', resource: configMaps as never, ref }]]);
  const client = {
    async get(_: unknown, { name }: ObjectRef) {
      if (there === undefined) throw notFound(configMaps, name);
      return there;
    },
    async delete() {
      if (answer !== undefined) throw answer;
      there = undefined;
    },
  } as unknown as Client;
  const pruner = createPruner({
    client,
    mapper: { forget: () => undefined } as unknown as PrunerOptions['mapper'],
    owned: { own: () => undefined, disown: () => undefined, live: () => there } as unknown as PrunerOptions['owned'],
    claims: {
      othersThan: async () => () => (claimant === undefined ? undefined : { app: claimant, file: '', source: '', target: '' }),
    } as unknown as PrunerOptions['claims'],
    losses: { lossesOf: async () => ({ reasons: new Map(), along: new Map() }) } as unknown as PrunerOptions['losses'],
    onHandover: (_, to) => void handed.push(to),
  });
  const outcome = await pruner.prune(app, state, { revision: 'main@sha1:1', guarded: true, signal: new AbortController().signal });
  return { ...outcome, handed, isDoomed: state.ownership.doomed.has(id), isThere: there !== undefined };
}

describe('a prune', () => {
  it('deletes an object of the app, and forgets it once it is gone', async () => {
    expect(await prune(objectOf('a'))).toMatchObject({ changes: [{ action: 'pruned' }], isDoomed: false, isThere: false });
  });

  it('leaves an object that carries the label of another app, and forgets it', async () => {
    expect(await prune(objectOf('a', { labels: {} }))).toMatchObject({ changes: [], isDoomed: false, isThere: true });
  });

  it('leaves an object with another UID that the app did not apply', async () => {
    expect(await prune(objectOf('a', { uid: 'other' }))).toMatchObject({ changes: [], isDoomed: false, isThere: true });
  });

  it('forgets an object that is gone', async () => {
    expect(await prune(undefined)).toMatchObject({ changes: [], isDoomed: false });
  });

  it('hands an object over to the app that names it now, and keeps it in the inventory until then', async () => {
    expect(await prune(objectOf('a'), { claimant: 'flux-system/web' })).toMatchObject({
      handed: ['flux-system/web'],
      isDoomed: true,
      isThere: true,
    });
  });

  it('keeps an object in the inventory that changes between each look and its deletion', async () => {
    expect(await prune(objectOf('a'), { answer: conflict(configMaps, 'a') })).toMatchObject({ changes: [], isDoomed: true, remaining: 1 });
  });
});

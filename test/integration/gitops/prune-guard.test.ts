import { describe, expect, it, onTestFinished } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { type PersistentVolume, persistentVolumes } from '../../../src/api/core/v1/persistent-volume.ts';
import { persistentVolumeClaims } from '../../../src/api/core/v1/persistent-volume-claim.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import type { Client, New } from '../../../src/client/client.ts';
import {
  createClaimProtectionController,
  createVolumeProtectionController,
} from '../../../src/controllers/protection/protection-controller.ts';
import { createClaimBindingController } from '../../../src/controllers/volume-binding/claim-controller.ts';
import { createVolumeBindingController } from '../../../src/controllers/volume-binding/volume-controller.ts';
import type { DynamicObject, ObjectRef } from '../../../src/machinery/object.ts';
import type { Resource } from '../../../src/machinery/resource.ts';
import { isNotFound } from '../../../src/machinery/status-error.ts';
import { startControllers } from '../../support/control-plane.ts';
import { home, namespace, startNamespaces } from '../../support/engine.ts';
import { configMap } from '../../support/gitops-project.ts';
import { type MemoryProject, startMemoryProject } from '../../support/memory-project.ts';
import { until } from '../../support/until.ts';

const claim =
  'apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n';
const namespaceNamed = (name: string): string => `apiVersion: v1\nkind: Namespace\nmetadata: {name: ${name}}\n`;
const definition = JSON.stringify({
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'gears.prune.example.com' },
  spec: {
    group: 'prune.example.com',
    scope: 'Namespaced',
    names: { plural: 'gears', kind: 'Gear' },
    versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: { type: 'object' } } }],
  },
});
const gears = { group: 'prune.example.com', version: 'v1', resource: 'gears', kind: 'Gear', namespaced: true } as Resource<DynamicObject>;
const gear = (name: string) => ({ apiVersion: 'prune.example.com/v1', kind: 'Gear', metadata: { name, namespace } });
const app = (name: string): string => `apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: ${name}, namespace: ${home}}
spec: {interval: 1m, prune: true, path: ./${name}, sourceRef: {kind: GitRepository, name: cluster}}
`;

const read = (people: Client, resource: Resource, ref: ObjectRef): Promise<unknown> =>
  people.get(resource, ref).catch((err: unknown) => {
    if (isNotFound(err)) return undefined;
    throw err;
  });

async function blockedOf({ people }: MemoryProject, name = 'web'): Promise<string> {
  const { status } = await people.get(kustomizations, { namespace: home, name });
  return status?.conditions?.find(({ type }) => type === 'PruneBlocked')?.message ?? '';
}

const isClaimGone = async ({ people }: MemoryProject): Promise<boolean> =>
  (await read(people, persistentVolumeClaims, { namespace, name: 'data' })) === undefined;

/** The controllers that bind claims, and that let claims and volumes go which nobody uses. */
async function withVolumes(people: Client): Promise<void> {
  const { stop } = await startControllers(people, [
    ...[createClaimBindingController, createVolumeBindingController],
    ...[createClaimProtectionController, createVolumeProtectionController],
  ]);
  onTestFinished(stop);
}

const disk = {
  apiVersion: 'v1',
  kind: 'PersistentVolume',
  metadata: { name: 'disk' },
  spec: {
    accessModes: ['ReadWriteOnce'],
    capacity: { storage: '1Gi' },
    hostPath: { path: '/srv/disk' },
    persistentVolumeReclaimPolicy: 'Retain',
  },
};

const withNamespaces = async (people: Client): Promise<void> => onTestFinished(await startNamespaces(people));

describe('an object that a prune holds back', () => {
  it('is no claim without a volume and no definition without objects', async () => {
    const files = { 'web/a.yaml': configMap('a') };
    const p = await startMemoryProject({ files, prepare: withVolumes });
    p.commit({ ...files, 'web/claim.yaml': claim, 'web/definition.yaml': definition });
    await p.applied('web');
    p.commit(files);
    await p.applied('web');
    await until(() => isClaimGone(p), { what: 'the claim is gone' });
    await until(() => p.people.list(gears).then(() => false, isNotFound), { what: 'the kind is gone' });
    expect(await blockedOf(p)).toBe('');
  });

  it('is a claim with a volume and a definition with objects, and those alone', async () => {
    const files = { 'web/a.yaml': configMap('a') };
    const p = await startMemoryProject({ files, prepare: withVolumes });
    const more = {
      'web/claim.yaml': claim,
      'web/definition.yaml': definition,
      'web/b.yaml': configMap('b'),
      'web/gear.yaml': JSON.stringify(gear('own')),
    };
    p.commit({ ...files, ...more });
    await p.applied('web');
    await p.people.create(gears, gear('by-hand'));
    await p.people.create(persistentVolumes, disk as New<PersistentVolume>);
    await until(async () => (await p.people.get(persistentVolumeClaims, { namespace, name: 'data' })).status?.phase === 'Bound', {
      what: 'the claim is bound',
    });
    p.commit(files);
    await until(async () => (await blockedOf(p)) !== '', { what: 'a deletion is held back' });
    const message = await blockedOf(p);
    expect(message).toContain('PersistentVolumeClaim web/data may hold data: it is bound to volume disk');
    expect(message).toContain('CustomResourceDefinition gears.prune.example.com still has Gear web/by-hand');
    expect(await read(p.people, configMaps, { namespace, name: 'b' })).toBeUndefined();
    expect(await read(p.people, gears, { namespace, name: 'own' })).toBeUndefined();
    await p.people.delete(gears, { namespace, name: 'by-hand' });
    await until(
      async () => (await blockedOf(p)).startsWith('PersistentVolumeClaim web/data may hold data: it is bound to volume disk. To go on: '),
      {
        what: 'the definition is gone by itself, the claim is not',
      },
    );
    const approval = /approve-prune=(\w+)/.exec(await blockedOf(p))?.[1];
    const body = { metadata: { annotations: { 'midship.dev/approve-prune': approval } } };
    await p.people.patch(kustomizations, { namespace: home, name: 'web' }, { type: 'merge', body });
    await until(() => isClaimGone(p), { what: 'the claim is gone' });
    await until(async () => (await p.people.get(persistentVolumes, { name: 'disk' })).status?.phase === 'Released', {
      what: 'the volume has its files and is released',
    });
  });

  it('is no Namespace with copies of what most others have, but one with something of its own', async () => {
    const files = { 'web/a.yaml': configMap('a') };
    const p = await startMemoryProject({ files, prepare: withNamespaces });
    const map = (where: string, name: string, a: string) =>
      p.people.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: where }, data: { a } });
    p.commit({ ...files, 'web/ns.yaml': namespaceNamed('copied'), 'web/own.yaml': namespaceNamed('own') });
    await p.applied('web');
    for (const where of [home, namespace, 'copied', 'own']) await map(where, 'trust', 'bundle');
    for (const where of [home, namespace, 'own']) await map(where, 'settings', where);
    p.commit(files);
    await until(async () => (await read(p.people, namespaces, { name: 'copied' })) === undefined, {
      what: 'the Namespace with copies is gone',
    });
    expect(await blockedOf(p)).toMatch(/^Namespace own still holds ConfigMap own\/settings\. To go on/);
    expect(await read(p.people, namespaces, { name: 'own' })).toBeDefined();
  });

  it('is an app with many objects whose Kustomization left Git, until someone approves it', async () => {
    const many = Object.fromEntries(
      Array.from({ length: 25 }, (_, i) => [
        `shop/c${i}.yaml`,
        configMap(`c${i}`).replace('metadata:', `metadata:\n  namespace: ${namespace}`),
      ]),
    );
    const files = { 'web/a.yaml': app('other'), 'other/o.yaml': namespaceNamed('other'), ...many };
    const p = await startMemoryProject({
      files: { ...files, 'web/shop.yaml': app('shop') },
      apps: { web: { ...({ targetNamespace: undefined } as object) } },
    });
    await p.applied('web');
    await p.applied('shop');
    const { people } = p;
    const count = async (): Promise<number> => (await people.list(configMaps, { namespace })).items.length;
    expect(await count()).toBe(25);
    p.commit({ ...files, 'other/o.yaml': namespaceNamed('another') });
    await until(async () => (await blockedOf(p)) !== '', { what: 'the deletion is held back' });
    expect(await blockedOf(p)).toMatch(
      /^Kustomization flux-system\/shop would delete its 25 objects\. To go on: kubectl -n flux-system annotate --overwrite kustomization web /,
    );
    expect(await count()).toBe(25);
    const approval = /approve-prune=(\w+)/.exec(await blockedOf(p))?.[1];
    const body = { metadata: { annotations: { 'midship.dev/approve-prune': approval } } };
    await people.patch(kustomizations, { namespace: home, name: 'web' }, { type: 'merge', body });
    await until(async () => (await count()) === 0, { what: 'the objects are gone with their app' });
  });

  it('is an app whose Namespace holds what someone else made there', async () => {
    const files = { 'web/a.yaml': app('other'), 'other/o.yaml': namespaceNamed('other'), 'shop/ns.yaml': namespaceNamed('shop') };
    const p = await startMemoryProject({
      files: { ...files, 'web/shop.yaml': app('shop') },
      apps: { web: { ...({ targetNamespace: undefined } as object) } },
      prepare: withNamespaces,
    });
    await p.applied('web');
    await p.applied('shop');
    await p.people.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'mine', namespace: 'shop' } });
    p.commit(files);
    await until(async () => (await blockedOf(p)) !== '', { what: 'the deletion is held back' });
    expect(await blockedOf(p)).toMatch(
      /^Kustomization flux-system\/shop would delete Namespace shop, which still holds ConfigMap shop\/mine\. /,
    );
    await p.people.delete(configMaps, { namespace: 'shop', name: 'mine' });
    await until(async () => (await read(p.people, namespaces, { name: 'shop' })) === undefined, {
      what: 'the Namespace is gone with its app',
    });
  });
});

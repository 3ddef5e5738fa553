import { expect, it } from 'vitest';
import { customResourceDefinitions } from '../../../src/api/apiextensions/v1/custom-resource-definition.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { tryGet } from '../../../src/client/try-get.ts';
import type { DynamicObject } from '../../../src/machinery/object.ts';
import type { Resource } from '../../../src/machinery/resource.ts';
import { isNotFound } from '../../../src/machinery/status-error.ts';
import { describeOnTargets } from '../../support/gitops-project.ts';
import { until } from '../../support/until.ts';

const definition = (plural: string, kind: string): string =>
  JSON.stringify({
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.gitops.example.com` },
    spec: {
      group: 'gitops.example.com',
      scope: 'Namespaced',
      names: { plural, kind },
      versions: [
        {
          name: 'v1',
          served: true,
          storage: true,
          schema: {
            openAPIV3Schema: {
              type: 'object',
              properties: {
                spec: { type: 'object', properties: { size: { type: 'integer', minimum: 1 }, color: { type: 'string', default: 'red' } } },
              },
            },
          },
        },
      ],
    },
  });

const instance = (kind: string, name: string, size: unknown): string =>
  JSON.stringify({ apiVersion: 'gitops.example.com/v1', kind, metadata: { name }, spec: { size } });

const resourceOf = (resource: string, kind: string): Resource<DynamicObject> => ({
  group: 'gitops.example.com',
  version: 'v1',
  resource,
  kind,
  namespaced: true,
});

const isGone = (read: Promise<unknown>): Promise<boolean> =>
  read.then(
    () => false,
    (err: unknown) => isNotFound(err),
  );

describeOnTargets('custom resources from Git', ({ project }) => {
  it('come with their definition in one commit, change with the next, and go with the last', async () => {
    const p = await project({ 'web/definition.yaml': definition('gears', 'Gear'), 'web/one.yaml': instance('Gear', 'one', 1) });
    const gears = resourceOf('gears', 'Gear');
    const at = { namespace: p.namespace, name: 'one' };
    await p.app('web');
    await p.applied('web');
    expect((await p.client.get(gears, at)).spec).toEqual({ size: 1, color: 'red' });

    await p.repository.commit('larger', { 'web/one.yaml': instance('Gear', 'one', 2) });
    await p.applied('web');
    expect((await p.client.get(gears, at)).spec).toEqual({ size: 2, color: 'red' });

    await p.repository.commit('one less', { 'web/one.yaml': null });
    await p.applied('web');
    await until(() => isGone(p.client.get(gears, at)), { what: 'the instance is pruned' });
    // Definitions are not pruned by the way: their instances would go with them.
    await p.client.delete(customResourceDefinitions, { name: 'gears.gitops.example.com' });
  });

  it('come back with their definition after the app was away, without a new engine', async () => {
    const p = await project({ 'web/definition.yaml': definition('zetas', 'Zeta'), 'web/one.yaml': instance('Zeta', 'one', 1) });
    const zetas = resourceOf('zetas', 'Zeta');
    const at = { namespace: p.namespace, name: 'one' };
    for (const size of [1, 2]) {
      await p.app('web');
      await p.applied('web');
      expect((await p.client.get(zetas, at)).spec).toMatchObject({ size });
      await p.client.delete(kustomizations, { namespace: p.home, name: 'web' });
      await until(() => isGone(p.client.get(customResourceDefinitions, { name: 'zetas.gitops.example.com' })), {
        what: 'the definition goes with the app',
      });
      await until(() => isGone(p.client.get(kustomizations, { namespace: p.home, name: 'web' })), { what: 'the app is gone' });
      if (size === 1) await p.repository.commit('larger', { 'web/one.yaml': instance('Zeta', 'one', 2) });
    }
  });

  it('come back when Git brings the definition that someone had made by hand and deleted', async () => {
    const p = await project({ 'web/one.yaml': instance('Spring', 'one', 1) });
    const springs = resourceOf('springs', 'Spring');
    await p.client.create(customResourceDefinitions, JSON.parse(definition('springs', 'Spring')));
    await p.app('web');
    await p.applied('web');
    await p.client.delete(customResourceDefinitions, { name: 'springs.gitops.example.com' });
    await until(() => isGone(p.client.get(customResourceDefinitions, { name: 'springs.gitops.example.com' })), {
      what: 'the definition is gone',
    });
    await p.repository.commit('definition', { 'web/definition.yaml': definition('springs', 'Spring') });
    await p.applied('web');
    const one = await until(() => tryGet(p.client, springs, { namespace: p.namespace, name: 'one' }), { what: 'the object is back' });
    expect(one.spec).toMatchObject({ size: 1 });
  });

  it('that break their schema are refused with their place', async () => {
    const p = await project({ 'web/definition.yaml': definition('cogs', 'Cog') });
    await p.app('web');
    await p.applied('web');
    await p.repository.commit('wrong', { 'web/one.yaml': instance('Cog', 'one', 0) });
    const ready = await p.conditionIs('web', 'Ready', ({ status }) => status === 'False');
    expect(ready.message).toContain('web/one.yaml:1');
    expect(ready.message).toContain('spec.size in body should be greater than or equal to 1');
    await p.repository.commit('right', { 'web/one.yaml': instance('Cog', 'one', 3) });
    await p.applied('web');
    await p.client.delete(customResourceDefinitions, { name: 'cogs.gitops.example.com' });
  });
});

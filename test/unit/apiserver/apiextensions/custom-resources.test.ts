import { afterEach, describe, expect, it } from 'vitest';
import { customResourceDefinitions } from '../../../../src/api/apiextensions/v1/custom-resource-definition.ts';
import type { CustomResourceDefinition } from '../../../../src/api/apiextensions/v1/definition.ts';
import { isEstablished } from '../../../../src/api/apiextensions/v1/definition.ts';
import { apiServices } from '../../../../src/api/apiregistration/v1/api-service.ts';
import { configMaps } from '../../../../src/api/core/v1/config-map.ts';
import type { Client } from '../../../../src/client/client.ts';
import type { DynamicObject } from '../../../../src/machinery/object.ts';
import type { Resource } from '../../../../src/machinery/resource.ts';
import { isNotFound, isStatusError } from '../../../../src/machinery/status-error.ts';
import { startSeededApi, startTestApi, type TestApi } from '../../../support/api.ts';
import { until } from '../../../support/until.ts';

const running: TestApi[] = [];
afterEach(async () => {
  for (const api of running.splice(0)) await api.stop();
});

async function start(): Promise<{ api: TestApi; client: Client }> {
  const api = await startSeededApi(['default', 'other']);
  running.push(api);
  return { api, client: api.clientFor() };
}

type Spec = CustomResourceDefinition['spec'];

const schema = {
  type: 'object',
  properties: {
    spec: {
      type: 'object',
      required: ['size'],
      properties: {
        size: { type: 'integer', minimum: 1 },
        color: { type: 'string', default: 'red', enum: ['red', 'blue'] },
        replicas: { type: 'integer', default: 1 },
        free: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
        fixed: { type: 'string', 'x-kubernetes-validations': [{ rule: 'self == oldSelf', message: 'fixed is fixed' }] },
      },
    },
    status: { type: 'object', properties: { replicas: { type: 'integer' } } },
  },
};

function definition(
  plural: string,
  kind: string,
  change: Partial<Spec> = {},
  names: Partial<Spec['names']> = {},
): CustomResourceDefinition {
  const version = {
    name: 'v1',
    served: true,
    storage: true,
    schema: { openAPIV3Schema: schema },
    subresources: { status: {}, scale: { specReplicasPath: '.spec.replicas', statusReplicasPath: '.status.replicas' } },
    selectableFields: [{ jsonPath: '.spec.color' }],
  } as Spec['versions'][number];
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.example.com` },
    spec: { group: 'example.com', scope: 'Namespaced', names: { plural, kind, ...names }, versions: [version], ...change },
  };
}

const widgets: Resource<DynamicObject> = { group: 'example.com', version: 'v1', resource: 'widgets', kind: 'Widget', namespaced: true };

const widget = (name: string, spec: unknown, more: object = {}): DynamicObject =>
  ({ apiVersion: 'example.com/v1', kind: 'Widget', metadata: { name, namespace: 'default' }, spec, ...more }) as DynamicObject;

const established = (client: Client, name: string): Promise<CustomResourceDefinition> =>
  until(
    async () => {
      const found = await client.get(customResourceDefinitions, { name });
      return isEstablished(found) ? found : undefined;
    },
    { what: `${name} established`, intervalMs: 2 },
  );

async function define(client: Client, wanted: CustomResourceDefinition): Promise<CustomResourceDefinition> {
  await client.create(customResourceDefinitions, wanted);
  return established(client, wanted.metadata.name);
}

const refusal = async (made: Promise<unknown>): Promise<string> => {
  try {
    await made;
    return '';
  } catch (err) {
    if (isStatusError(err)) return err.message;
    throw err;
  }
};

describe('a definition', () => {
  it('reads the metadata of an object within an object as that of every object', async () => {
    const { client } = await start();
    const held = { type: 'object', 'x-kubernetes-embedded-resource': true, 'x-kubernetes-preserve-unknown-fields': true };
    const openAPIV3Schema = { type: 'object', properties: { spec: { type: 'object' }, held } };
    await client.create(
      customResourceDefinitions,
      definition('widgets', 'Widget', { versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema } }] as never }),
    );
    await established(client, 'widgets.example.com');
    const warnings: string[] = [];
    const within = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', labels: { a: 'b' }, other: 1 }, spec: { any: 1 } };
    const made = await client.create(widgets, widget('a', {}, { held: within }), { onWarning: (text) => warnings.push(text) });
    expect(made.held).toEqual({ ...within, metadata: { name: 'p', labels: { a: 'b' } } });
    expect(warnings).toEqual(['unknown field "held.metadata.other"']);
    const wrong = { ...within, metadata: { labels: 5 } };
    await expect(client.create(widgets, widget('b', {}, { held: wrong }))).rejects.toMatchObject({ code: 400 });
  });

  it('is served once its names are accepted, with conditions that say so', async () => {
    const { client } = await start();
    const made = await define(client, definition('widgets', 'Widget'));
    expect(made.status?.acceptedNames).toEqual({ plural: 'widgets', singular: 'widget', kind: 'Widget', listKind: 'WidgetList' });
    expect(made.status?.conditions?.map(({ type, status, reason }) => [type, status, reason])).toEqual([
      ['NamesAccepted', 'True', 'NoConflicts'],
      ['Established', 'True', 'InitialNamesAccepted'],
    ]);
    const created = await client.create(widgets, widget('a', { size: 1 }));
    expect(created.spec).toEqual({ size: 1, color: 'red', replicas: 1 });
    expect(created.metadata.generation).toBe(1);
    const list = await client.list(widgets, { namespace: 'default' });
    expect([list.kind, list.items.length]).toEqual(['WidgetList', 1]);
    expect((await client.discover()).find(({ resource }) => resource === 'widgets')).toMatchObject({
      group: 'example.com',
      kind: 'Widget',
    });
  });

  it('says in a condition whether a group of Kubernetes was approved', async () => {
    const { client } = await start();
    const approved = 'https://github.com/kubernetes/enhancements/pull/1';
    for (const [plural, annotation] of [
      ['gateways', approved],
      ['drafts', 'unapproved, a test'],
    ] as const) {
      const { metadata, ...rest } = definition(plural, plural, { group: 'wire.k8s.io' });
      const annotations = { 'api-approved.kubernetes.io': annotation };
      await client.create(customResourceDefinitions, { ...rest, metadata: { ...metadata, name: `${plural}.wire.k8s.io`, annotations } });
    }
    const conditionOf = async (name: string) =>
      (await established(client, name)).status?.conditions?.find(({ type }) => type === 'KubernetesAPIApprovalPolicyConformant');
    expect(await conditionOf('gateways.wire.k8s.io')).toMatchObject({
      status: 'True',
      reason: 'ApprovedAnnotation',
      message: `approved in ${approved}`,
    });
    expect(await conditionOf('drafts.wire.k8s.io')).toMatchObject({
      status: 'False',
      reason: 'UnapprovedAnnotation',
      message: 'not approved: "unapproved, a test"',
    });
  });

  it('has an APIService for each of its group versions, as long as it is served', async () => {
    const { client } = await start();
    await define(client, definition('widgets', 'Widget'));
    const { spec } = await client.get(apiServices, { name: 'v1.example.com' });
    expect(spec).toEqual({ group: 'example.com', version: 'v1', groupPriorityMinimum: 1000, versionPriority: 100 });
    await client.delete(customResourceDefinitions, { name: 'widgets.example.com' });
    await until(async () => (await client.list(apiServices)).items.length === 0, { what: 'APIService gone', intervalMs: 2 });
  });

  it('can be applied, with the schemas within its schemas', async () => {
    const { client } = await start();
    const body = definition('widgets', 'Widget');
    const apply = () =>
      client.patch(customResourceDefinitions, { name: body.metadata.name }, { type: 'apply', body }, { fieldManager: 'me' });
    const made = await apply();
    expect(made.spec.versions[0]?.schema?.openAPIV3Schema).toEqual(schema);
    await established(client, body.metadata.name);
    expect((await apply()).metadata.generation).toBe(1);
  });

  it('waits while another one of its group has one of its names, and gets it when that is gone', async () => {
    const { client } = await start();
    await define(client, definition('widgets', 'Widget', {}, { shortNames: ['wd'] }));
    await client.create(customResourceDefinitions, definition('gadgets', 'Widget', {}, { shortNames: ['wd'], singular: 'gadget' }));
    const refused = await until(
      async () => {
        const { status } = await client.get(customResourceDefinitions, { name: 'gadgets.example.com' });
        return status?.conditions?.find(({ type }) => type === 'NamesAccepted');
      },
      { what: 'names of gadgets looked at', intervalMs: 2 },
    );
    expect(refused).toMatchObject({
      status: 'False',
      reason: 'ListKindConflict',
      message: '"WidgetList" is already in use',
    });
    const gadgets = { ...widgets, resource: 'gadgets' };
    expect(await refusal(client.list(gadgets))).toBe('the server could not find the requested resource');
    await client.delete(customResourceDefinitions, { name: 'widgets.example.com' });
    await established(client, 'gadgets.example.com');
    expect((await client.list(gadgets)).items).toEqual([]);
  });

  it('takes its instances with it when it is deleted, and lets nothing new be made meanwhile', async () => {
    const { client } = await start();
    await define(client, definition('widgets', 'Widget'));
    await client.create(widgets, widget('a', { size: 1 }));
    const held = widget('held', { size: 1 });
    await client.create(widgets, { ...held, metadata: { ...held.metadata, finalizers: ['example.com/hold'] } });
    await client.delete(customResourceDefinitions, { name: 'widgets.example.com' });
    const going = await until(
      async () => {
        const found = await client.get(customResourceDefinitions, { name: 'widgets.example.com' });
        return found.status?.conditions?.some(({ type }) => type === 'Terminating') === true ? found : undefined;
      },
      { what: 'terminating', intervalMs: 2 },
    );
    expect(going.metadata.finalizers).toEqual(['customresourcecleanup.apiextensions.k8s.io']);
    expect(await refusal(client.create(widgets, widget('late', { size: 1 })))).toBe(
      'create not allowed while custom resource definition is terminating',
    );
    await until(async () => (await client.list(widgets)).items.length === 1, { what: 'only the held one left', intervalMs: 2 });
    const release = { type: 'merge', body: { metadata: { finalizers: null } } } as const;
    await client.patch(widgets, { name: 'held', namespace: 'default' }, release);
    await until(
      async () => {
        try {
          await client.get(customResourceDefinitions, { name: 'widgets.example.com' });
          return false;
        } catch (err) {
          return isNotFound(err);
        }
      },
      { what: 'definition gone', intervalMs: 10 },
    );
    await until(async () => (await refusal(client.list(widgets))) !== '', { what: 'no longer served', intervalMs: 2 });
  });

  it('is served by every server over the store, also by one that starts later', async () => {
    const { api, client } = await start();
    const second = await startTestApi({ storage: api.storage });
    await define(client, definition('widgets', 'Widget'));
    const other = second.clientFor();
    await until(async () => (await refusal(other.list(widgets))) === '', { what: 'served by the second server', intervalMs: 2 });
    await client.create(widgets, widget('a', { size: 1 }));
    await until(async () => (await other.list(widgets)).items.length === 1, { what: 'object seen by the second server', intervalMs: 2 });
    const third = await startTestApi({ storage: api.storage });
    expect((await third.clientFor().list(widgets)).items.map(({ metadata }) => metadata.name)).toEqual(['a']);
    third.kubeApi.stop();
    second.kubeApi.stop();
  });

  it('shows a new default on stored objects', async () => {
    const { client } = await start();
    await define(client, definition('widgets', 'Widget'));
    const before = await client.create(widgets, widget('a', { size: 1 }));
    const body = [
      {
        op: 'add',
        path: '/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/flavour',
        value: { type: 'string', default: 'plain' },
      },
    ];
    await client.patch(customResourceDefinitions, { name: 'widgets.example.com' }, { type: 'json', body });
    const after = await until(
      async () => {
        const found = await client.get(widgets, { name: 'a', namespace: 'default' });
        return (found.spec as { flavour?: string }).flavour === undefined ? undefined : found;
      },
      { what: 'the new default', intervalMs: 2 },
    );
    expect(after.metadata.resourceVersion).toBe(before.metadata.resourceVersion);
    expect(after.spec).toMatchObject({ flavour: 'plain' });
  });

  it('shows its objects in each of its versions', async () => {
    const { client } = await start();
    const wanted = definition('widgets', 'Widget');
    const [v1] = wanted.spec.versions;
    if (v1 === undefined) throw new Error('no version');
    const beta = { ...v1, name: 'v1beta1', storage: false, deprecated: true };
    await define(client, { ...wanted, spec: { ...wanted.spec, versions: [beta, v1] } });
    const old = { ...widgets, version: 'v1beta1' };
    const created = await client.create(old, { ...widget('a', { size: 1 }), apiVersion: 'example.com/v1beta1' });
    expect(created.apiVersion).toBe('example.com/v1beta1');
    expect((await client.get(widgets, { name: 'a', namespace: 'default' })).apiVersion).toBe('example.com/v1');
    const patched = await client.patch(old, { name: 'a', namespace: 'default' }, { type: 'merge', body: { spec: { size: 2 } } });
    expect([patched.apiVersion, patched.metadata.generation]).toEqual(['example.com/v1beta1', 2]);
    expect((await client.discover()).filter(({ group }) => group === 'example.com').map(({ version }) => version)).toEqual([
      'v1',
      'v1beta1',
    ]);
    const stored = await client.get(customResourceDefinitions, { name: 'widgets.example.com' });
    expect(stored.status?.storedVersions).toEqual(['v1']);
  });

  it('reads with the fields of the version asked for, and the defaults of the one that is stored', async () => {
    const { client } = await start();
    const version = (name: string, fields: object) => ({
      name,
      served: true,
      storage: name === 'v1',
      schema: { openAPIV3Schema: { type: 'object', properties: { spec: { type: 'object', properties: fields } } } },
    });
    const text = { type: 'string' };
    const versions = [
      version('v1', { a: text, n: { type: 'integer', default: 3 } }),
      version('v2', { a: text, n: { type: 'integer' }, b: { ...text, default: 'z' } }),
    ];
    await define(client, definition('widgets', 'Widget', { versions: versions as never }));
    const newer = { ...widgets, version: 'v2' };
    const made = await client.create(newer, { ...widget('a', { a: '1', b: '2' }), apiVersion: 'example.com/v2' });
    expect(made.spec).toEqual({ a: '1', n: 3 });
    expect((await client.get(newer, { name: 'a', namespace: 'default' })).spec).toEqual({ a: '1', n: 3 });
    expect((await client.get(widgets, { name: 'a', namespace: 'default' })).spec).toEqual({ a: '1', n: 3 });
  });

  it('stores in another version from then on, and can drop the old one once nothing is stored in it', async () => {
    const { api, client } = await start();
    const wanted = definition('widgets', 'Widget');
    const [v1] = wanted.spec.versions;
    if (v1 === undefined) throw new Error('no version');
    const name = 'widgets.example.com';
    const versionsOf = (storage: string) => ['v1', 'v1beta1'].map((each) => ({ ...v1, name: each, storage: each === storage }));
    const define2 = (versions: Spec['versions']) =>
      client.patch(customResourceDefinitions, { name }, { type: 'merge', body: { spec: { versions } } });
    await define(client, { ...wanted, spec: { ...wanted.spec, versions: versionsOf('v1beta1') } });
    const old = await client.create(widgets, widget('a', { size: 1 }));
    const switched = await define2(versionsOf('v1'));
    expect(switched.status?.storedVersions).toEqual(['v1beta1', 'v1']);
    await client.create(widgets, widget('b', { size: 2 }));
    const patched = await client.patch(widgets, { name: 'a', namespace: 'default' }, { type: 'merge', body: { spec: { size: 3 } } });
    expect([patched.apiVersion, patched.metadata.uid]).toEqual(['example.com/v1', old.metadata.uid]);
    const watched: (string | undefined)[] = [];
    const abort = new AbortController();
    const watching = client.watch(widgets, {
      resourceVersion: old.metadata.resourceVersion ?? '0',
      signal: abort.signal,
      onEvents: (events) => watched.push(...events.map(({ type, object }) => `${type} ${object.apiVersion} ${object.metadata.name}`)),
    });
    await until(() => watched.length === 2, { what: 'both changes', intervalMs: 2 });
    expect(watched).toEqual(['ADDED example.com/v1 b', 'MODIFIED example.com/v1 a']);
    abort.abort();
    await watching.catch(() => undefined);

    expect(await refusal(define2([{ ...v1, storage: true }]))).toContain('must remain in spec.versions until a storage migration');
    await client.patch(
      customResourceDefinitions,
      { name },
      { type: 'merge', body: { status: { storedVersions: ['v1'] } } },
      { subresource: 'status' },
    );
    await define2([{ ...v1, storage: true }]);
    await until(async () => (await client.discover()).filter(({ group }) => group === 'example.com').length === 1, {
      what: 'one version',
      intervalMs: 2,
    });
    const again = await startTestApi({ storage: api.storage });
    running.push(again);
    const found = (await again.clientFor().list(widgets)).items.map(({ apiVersion, metadata, spec }) => [
      apiVersion,
      metadata.name,
      (spec as { size: number }).size,
    ]);
    expect(found).toEqual([
      ['example.com/v1', 'a', 3],
      ['example.com/v1', 'b', 2],
    ]);
  });

  it('that asks for a webhook to convert says that there is none, for the versions that need one', async () => {
    const { client } = await start();
    const wanted = definition('widgets', 'Widget');
    const [v1] = wanted.spec.versions;
    if (v1 === undefined) throw new Error('no version');
    const conversion = {
      strategy: 'Webhook',
      webhook: { clientConfig: { url: 'https://example.com/convert' }, conversionReviewVersions: ['v1'] },
    };
    await define(client, { ...wanted, spec: { ...wanted.spec, conversion, versions: [{ ...v1, name: 'v2', storage: false }, v1] } });
    await client.create(widgets, widget('a', { size: 1 }));
    expect(await refusal(client.get({ ...widgets, version: 'v2' }, { name: 'a', namespace: 'default' }))).toBe(
      'not supported: conversion of widgets.example.com by webhook',
    );
  });

  it('changes nothing about a built-in kind', async () => {
    const { client } = await start();
    const flux = definition('gitrepositories', 'GitRepository', { group: 'source.toolkit.fluxcd.io' });
    await define(client, { ...flux, metadata: { name: 'gitrepositories.source.toolkit.fluxcd.io' } });
    const repositories = { ...widgets, group: 'source.toolkit.fluxcd.io', resource: 'gitrepositories', kind: 'GitRepository' };
    expect((await client.list(repositories)).items).toEqual([]);
    await client.delete(customResourceDefinitions, { name: 'gitrepositories.source.toolkit.fluxcd.io' });
    await until(async () => (await client.list(customResourceDefinitions)).items.length === 0, { what: 'definition gone', intervalMs: 2 });
    expect((await client.list(repositories)).items).toEqual([]);
  });
});

describe('custom resources', () => {
  it('lose fields that their schema does not name, and tell', async () => {
    const { client } = await start();
    await define(client, definition('widgets', 'Widget'));
    const warnings: string[] = [];
    const given = widget('a', { size: 1, junk: 1, free: { any: { thing: 1 } } }, { extra: true });
    const created = await client.create(widgets, given, { onWarning: (text) => warnings.push(text) });
    expect(created.spec).toEqual({ size: 1, color: 'red', replicas: 1, free: { any: { thing: 1 } } });
    expect(created).not.toHaveProperty('extra');
    expect(warnings).toEqual(['unknown field "spec.junk"', 'unknown field "extra"']);
    expect(await refusal(client.create(widgets, widget('b', { size: 1, junk: 1 }), { fieldValidation: 'Strict' }))).toContain(
      'strict decoding error: unknown field "spec.junk"',
    );
  });

  it('are checked by their schema and its rules', async () => {
    const { client } = await start();
    await define(client, definition('widgets', 'Widget'));
    expect(await refusal(client.create(widgets, widget('a', { size: 0, color: 'green' })))).toBe(
      'Widget.example.com "a" is invalid: [spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1, spec.color: Unsupported value: "green": supported values: "red", "blue", <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation]',
    );
    await client.create(widgets, widget('a', { size: 1, fixed: 'x' }));
    const change = client.patch(widgets, { name: 'a', namespace: 'default' }, { type: 'merge', body: { spec: { fixed: 'y' } } });
    expect(await refusal(change)).toBe('Widget.example.com "a" is invalid: spec.fixed: Invalid value: "y": fixed is fixed');
  });

  it('keep status apart from the rest, and count changes of what is wanted', async () => {
    const { client } = await start();
    await define(client, definition('widgets', 'Widget'));
    const at = { name: 'a', namespace: 'default' };
    expect(await client.create(widgets, widget('a', { size: 1 }, { status: { replicas: 5 } }))).not.toHaveProperty('status');
    const body = { status: { replicas: 2 }, spec: { size: 9 } };
    const status = await client.patch(widgets, at, { type: 'merge', body }, { subresource: 'status' });
    expect([status.status, (status.spec as { size: number }).size, status.metadata.generation]).toEqual([{ replicas: 2 }, 1, 1]);
    const scaled = await client.patch(widgets, at, { type: 'merge', body: { spec: { replicas: 4 } } }, { subresource: 'scale' });
    expect(scaled).toMatchObject({ kind: 'Scale', spec: { replicas: 4 }, status: { replicas: 2 } });
    expect((await client.get(widgets, at)).metadata.generation).toBe(2);
  });

  it('are replaced by those alone who say which version they saw', async () => {
    const { client } = await start();
    await define(client, definition('widgets', 'Widget'));
    const made = await client.create(widgets, widget('a', { size: 1 }));
    expect(await refusal(client.update(widgets, widget('a', { size: 2 })))).toBe(
      'Widget.example.com "a" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update',
    );
    expect((await client.update(widgets, { ...made, spec: { size: 2 } })).spec).toEqual({ size: 2, color: 'red', replicas: 1 });
  });

  it('are selected by the fields that their definition names', async () => {
    const { client } = await start();
    await define(client, definition('widgets', 'Widget'));
    await client.create(widgets, widget('a', { size: 1 }));
    await client.create(widgets, widget('b', { size: 1, color: 'blue' }));
    const blue = await client.list(widgets, { fieldSelector: 'spec.color=blue' });
    expect(blue.items.map(({ metadata }) => metadata.name)).toEqual(['b']);
    expect(await refusal(client.list(widgets, { fieldSelector: 'spec.size=1' }))).toBe('field label not supported: spec.size');
  });

  it('are watched', async () => {
    const { client } = await start();
    await define(client, definition('widgets', 'Widget'));
    const seen: string[] = [];
    const abort = new AbortController();
    const watch = client.watch(widgets, {
      resourceVersion: '0',
      signal: abort.signal,
      onEvents: (events) =>
        void seen.push(...events.filter(({ type }) => type !== 'BOOKMARK').map(({ type, object }) => `${type} ${object.metadata.name}`)),
    });
    await client.create(widgets, widget('a', { size: 1 }));
    await client.delete(widgets, { name: 'a', namespace: 'default' });
    await until(() => seen.length === 2, { what: 'two events', intervalMs: 2 });
    abort.abort();
    await watch;
    expect(seen).toEqual(['ADDED a', 'DELETED a']);
  });

  it('are owned field by field, as their schema divides them', async () => {
    const { client } = await start();
    const list = {
      type: 'array',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['k'],
      items: { type: 'object', required: ['k'], properties: { k: { type: 'string' }, v: { type: 'string' } } },
    };
    const openAPIV3Schema = { type: 'object', properties: { spec: { type: 'object', properties: { list } } } };
    const version = { name: 'v1', served: true, storage: true, schema: { openAPIV3Schema } } as Spec['versions'][number];
    await define(client, definition('widgets', 'Widget', { versions: [version] }));
    const at = { name: 'a', namespace: 'default' };
    const apply = (manager: string, k: string) =>
      client.patch(widgets, at, { type: 'apply', body: widget('a', { list: [{ k, v: manager }] }) }, { fieldManager: manager });
    await apply('one', 'x');
    const both = await apply('two', 'y');
    expect(both.spec).toEqual({
      list: [
        { k: 'x', v: 'one' },
        { k: 'y', v: 'two' },
      ],
    });
    expect(await refusal(apply('two', 'x'))).toContain('conflict');
    expect(both.metadata.managedFields?.map(({ manager }) => manager)).toEqual(['one', 'two']);
  });

  describe('applied in a served version that is not the stored one', () => {
    const version = (name: string, spec: object) => ({
      name,
      served: true,
      storage: name === 'v1',
      schema: { openAPIV3Schema: { type: 'object', properties: { spec: { type: 'object', ...spec } } } },
    });
    const text = { type: 'string' };
    const versions = [
      version('v1', { properties: { a: text, n: { type: 'integer' } } }),
      version('v2', {
        required: ['n'],
        properties: { a: { ...text, default: 'red' }, n: { type: 'integer', minimum: 5 }, newer: { type: 'integer' } },
      }),
    ];
    const at = { name: 'a', namespace: 'default' };
    const newer = { ...widgets, version: 'v2' };

    async function startVersions() {
      const { client } = await start();
      await define(client, definition('widgets', 'Widget', { versions: versions as never }));
      const apply = (kind: typeof widgets, manager: string, spec: object) =>
        client.patch(
          kind,
          at,
          { type: 'apply', body: { ...widget('a', spec), apiVersion: `example.com/${kind.version}` } },
          { fieldManager: manager },
        );
      return { client, apply };
    }

    it('are checked and completed by the schema of that version', async () => {
      const { apply } = await startVersions();
      expect(await refusal(apply(newer, 'm', { n: 1 }))).toContain('spec.n in body should be greater than or equal to 5');
      expect(await refusal(apply(newer, 'm', { a: 'x' }))).toContain('spec.n: Required value');
      const made = await apply(newer, 'm', { n: 5, newer: 1 });
      expect(made.apiVersion).toBe('example.com/v2');
      expect(made.spec).toEqual({ n: 5, a: 'red' });
      expect(await refusal(apply(widgets, 'm', { newer: 1 }))).toContain('.spec.newer: field not declared in schema');
    });

    it('are owned in it, and lose what their manager leaves out in another one', async () => {
      const { client, apply } = await startVersions();
      await apply(newer, 'm', { n: 5, a: 'x' });
      expect(await refusal(apply(widgets, 'other', { n: 6 }))).toContain('conflict with "m": .spec.n');
      const patched = await client.patch(newer, at, { type: 'merge', body: { spec: { n: 7 } } }, { fieldManager: 'p' });
      expect(patched.metadata.managedFields?.map(({ manager, apiVersion, fieldsV1 }) => ({ manager, apiVersion, fieldsV1 }))).toEqual([
        { manager: 'm', apiVersion: 'example.com/v2', fieldsV1: { 'f:spec': { 'f:a': {} } } },
        { manager: 'p', apiVersion: 'example.com/v2', fieldsV1: { 'f:spec': { 'f:n': {} } } },
      ]);
      const left = await apply(widgets, 'm', { n: 7 });
      expect(left.spec).toEqual({ n: 7 });
      expect(left.metadata.managedFields?.map(({ manager, apiVersion }) => `${manager} ${apiVersion}`)).toEqual([
        'm example.com/v1',
        'p example.com/v2',
      ]);
    });
  });

  it('keep the null of a field that may be null, however they are written', async () => {
    const { client } = await start();
    const nullable = { type: 'string', nullable: true };
    const openAPIV3Schema = {
      type: 'object',
      properties: { spec: { type: 'object', properties: { nul: nullable, map: { type: 'object', additionalProperties: nullable } } } },
    };
    const version = { name: 'v1', served: true, storage: true, schema: { openAPIV3Schema } } as Spec['versions'][number];
    await define(client, definition('widgets', 'Widget', { versions: [version] }));
    const spec = { nul: null, map: { x: null } };
    const applied = await client.patch(
      widgets,
      { name: 'a', namespace: 'default' },
      { type: 'apply', body: widget('a', spec) },
      { fieldManager: 'm' },
    );
    expect(applied.spec).toEqual(spec);
    const again = await client.patch(
      widgets,
      { name: 'a', namespace: 'default' },
      { type: 'apply', body: widget('a', spec) },
      { fieldManager: 'm' },
    );
    expect(again.metadata.resourceVersion).toBe(applied.metadata.resourceVersion);
  });

  it('with hostile names of fields are data like any other', async () => {
    const { client } = await start();
    const open = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
    const version = { name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: open } } as Spec['versions'][number];
    await define(client, definition('widgets', 'Widget', { versions: [version] }));
    const spec = JSON.parse('{"__proto__": {"polluted": true}, "constructor": {"prototype": {"polluted": true}}, "toString": 1}');
    const created = await client.create(widgets, widget('a', spec));
    expect(JSON.stringify(created.spec)).toBe(JSON.stringify(spec));
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
    const closed = await refusal(
      define(client, definition('gadgets', 'Gadget', {}, {})).then(() =>
        client.create(
          { ...widgets, resource: 'gadgets', kind: 'Gadget' },
          {
            ...widget('a', JSON.parse('{"size": 1, "__proto__": {"polluted": true}, "constructor": 1}')),
            kind: 'Gadget',
          },
        ),
      ),
    );
    expect(closed).toBe('');
    const stored = await client.get({ ...widgets, resource: 'gadgets' }, { name: 'a', namespace: 'default' });
    expect(stored.spec).toEqual({ size: 1, color: 'red', replicas: 1 });
  });

  it('do not block other requests', async () => {
    const { client } = await start();
    await define(client, definition('configmaps', 'ConfigMap'));
    const made = await client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'x', namespace: 'default' } });
    expect(made.apiVersion).toBe('v1');
  });
});

import { setMaxListeners } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Deployment, deployments } from '../../src/api/apps/v1/deployment.ts';
import { type ConfigMap, configMaps } from '../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../src/api/core/v1/namespace.ts';
import { type Pod, pods } from '../../src/api/core/v1/pod.ts';
import type { Client, New, WatchEvent } from '../../src/client/client.ts';
import type { KubeObject } from '../../src/machinery/object.ts';
import type { Resource } from '../../src/machinery/resource.ts';
import {
  isAlreadyExists,
  isConflict,
  isExpired,
  isForbidden,
  isInvalid,
  isNotFound,
  isStatusError,
  type StatusError,
} from '../../src/machinery/status-error.ts';
import { startSeededApi } from '../support/api.ts';
import { serveTestApi } from '../support/api-server.ts';
import { until } from '../support/until.ts';

/** Promises of every implementation of the Client contract to components. */
interface Target {
  readonly name: string;
  /** A cluster that an earlier server put the namespaces `shop` and `other` in, and an administrator's client of it. */
  start(): Promise<{ readonly client: Client; stop(): Promise<void> }>;
}

const targets: readonly Target[] = [
  {
    name: 'local',
    async start() {
      const api = await startSeededApi(['shop', 'other']);
      return { client: api.clientFor(), stop: api.stop };
    },
  },
  {
    name: 'http',
    async start() {
      const { client, stop } = await serveTestApi(await startSeededApi(['shop', 'other']));
      return { client, stop };
    },
  },
];

const configMapOf = (
  name: string,
  data: Readonly<Record<string, string>> = {},
  labels?: Readonly<Record<string, string>>,
): New<ConfigMap> => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace: 'shop', ...(labels === undefined ? {} : { labels }) },
  data,
});

const podOf = (name: string, labels: Readonly<Record<string, string>> = {}): New<Pod> => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'shop', labels },
  spec: { containers: [{ name: 'main', image: 'host/sh' }] },
});

const deploymentOf = (name: string, replicas = 1): New<Deployment> => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name, namespace: 'shop' },
  spec: {
    replicas,
    selector: { matchLabels: { app: name } },
    template: { metadata: { labels: { app: name } }, spec: { containers: [{ name: 'main', image: 'host/sh' }] } },
  },
});

describe.each(targets)('client $name', ({ start }) => {
  let client: Client;
  let stop: () => Promise<void>;
  let abort: AbortController;

  beforeEach(async () => {
    ({ client, stop } = await start());
    abort = new AbortController();
    setMaxListeners(0, abort.signal);
  });

  afterEach(async () => {
    abort.abort();
    await stop();
  });

  const failureOf = async (call: Promise<unknown>): Promise<StatusError> => {
    const err = await call.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (!isStatusError(err)) throw new Error('expected a StatusError', { cause: err });
    return err;
  };

  /** Starts a watch from `resourceVersion`, default now, and waits until it is established. */
  async function watch<T extends KubeObject>(
    resource: Resource<T>,
    options: {
      readonly namespace?: string;
      readonly labelSelector?: string;
      readonly fieldSelector?: string;
      readonly resourceVersion?: string;
    } = {},
  ) {
    const events: WatchEvent<T>[] = [];
    const { resourceVersion = (await client.list(resource)).metadata.resourceVersion ?? '', ...scope } = options;
    const ended = client.watch(resource, {
      ...scope,
      resourceVersion,
      signal: abort.signal,
      onEvents: (batch) => events.push(...batch),
    });
    const changes = () => events.filter(({ type }) => type !== 'BOOKMARK');
    return {
      events,
      ended,
      changes,
      async see(count: number): Promise<string[]> {
        await until(() => changes().length >= count, {
          what: () => `${count} events, saw ${changes().length}`,
          timeoutMs: 10_000,
          intervalMs: 2,
        });
        return changes().map(({ type, object }) => `${type} ${object.metadata.name}`);
      },
    };
  }

  describe('objects', () => {
    test('creates with what the server owns', async () => {
      const created = await client.create(configMaps, configMapOf('a', { x: '1' }));
      expect(created).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a', namespace: 'shop' }, data: { x: '1' } });
      expect(created.metadata.uid).toMatch(/^[0-9a-f-]{36}$/);
      expect(created.metadata.resourceVersion).toMatch(/^[0-9]+$/);
      expect(created.metadata.creationTimestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
      expect(await client.get(configMaps, { namespace: 'shop', name: 'a' })).toEqual(created);
    });

    test('gives frozen objects', async () => {
      const created = await client.create(configMaps, configMapOf('a', { x: '1' }));
      const [listed] = (await client.list(configMaps, { namespace: 'shop' })).items;
      for (const object of [created, listed, await client.get(configMaps, created.metadata)]) {
        expect(Object.isFrozen(object) && Object.isFrozen(object?.metadata) && Object.isFrozen(object?.data)).toBe(true);
      }
    });

    test('draws a name from generateName', async () => {
      const { name: _, ...metadata } = configMapOf('a').metadata;
      const created = await client.create(configMaps, { ...configMapOf('a'), metadata: { ...metadata, generateName: 'gen-' } });
      expect(created.metadata.name).toMatch(/^gen-[bcdfghjklmnpqrstvwxz2456789]{5}$/);
      expect(created.metadata.generateName).toBe('gen-');
    });

    test('refuses a second object of a name', async () => {
      await client.create(configMaps, configMapOf('a'));
      const err = await failureOf(client.create(configMaps, configMapOf('a')));
      expect(isAlreadyExists(err)).toBe(true);
      expect(err.message).toBe('configmaps "a" already exists');
    });

    test('says what is not there', async () => {
      const ref = { namespace: 'shop', name: 'nope' };
      const failures = [
        client.get(configMaps, ref),
        client.delete(configMaps, ref),
        client.patch(configMaps, ref, { type: 'merge', body: {} }),
        client.update(configMaps, { ...configMapOf('nope'), metadata: ref } as ConfigMap),
      ];
      for (const failure of failures) {
        const err = await failureOf(failure);
        expect(isNotFound(err)).toBe(true);
        expect(err.toStatus()).toMatchObject({
          message: 'configmaps "nope" not found',
          details: { name: 'nope', kind: 'configmaps' },
          code: 404,
        });
      }
    });

    test('refuses to create in a namespace that is not there', async () => {
      const err = await failureOf(client.create(configMaps, { ...configMapOf('a'), metadata: { name: 'a', namespace: 'missing' } }));
      expect(err.toStatus()).toMatchObject({ message: 'namespaces "missing" not found', reason: 'NotFound', code: 404 });
    });

    test('refuses an invalid name with its reason', async () => {
      const err = await failureOf(client.create(configMaps, configMapOf('Bad_Name')));
      expect(isInvalid(err)).toBe(true);
      expect(err.message).toMatch(
        /^ConfigMap "Bad_Name" is invalid: metadata\.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain/,
      );
    });

    test('updates, and refuses a stale version', async () => {
      const created = await client.create(configMaps, configMapOf('a', { x: '1' }));
      const updated = await client.update(configMaps, { ...created, data: { x: '2' } });
      expect(updated.data).toEqual({ x: '2' });
      expect(Number(updated.metadata.resourceVersion)).toBeGreaterThan(Number(created.metadata.resourceVersion));
      const err = await failureOf(client.update(configMaps, { ...created, data: { x: '3' } }));
      expect(isConflict(err)).toBe(true);
      expect(err.message).toBe(
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again',
      );
    });

    test('accepts exactly one of many updates of one version', async () => {
      const created = await client.create(configMaps, configMapOf('a', { x: '0' }));
      const outcomes = await Promise.allSettled(
        Array.from({ length: 20 }, (_, n) => client.update(configMaps, { ...created, data: { x: `${n + 1}` } })),
      );
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      expect(outcomes.every((outcome) => outcome.status === 'fulfilled' || isConflict(outcome.reason))).toBe(true);
    });

    test('a write that changes nothing has no new version and no event', async () => {
      const created = await client.create(configMaps, configMapOf('a', { x: '1' }));
      const seen = await watch(configMaps);
      const same = await client.update(configMaps, { ...created, data: { x: '1' } });
      expect(same.metadata.resourceVersion).toBe(created.metadata.resourceVersion);
      await client.patch(configMaps, created.metadata, { type: 'merge', body: { data: { x: '1' } } });
      await client.create(configMaps, configMapOf('marker'));
      expect(await seen.see(1)).toEqual(['ADDED marker']);
    });

    test('a dry run goes through everything and stores nothing', async () => {
      const dry = await client.create(configMaps, configMapOf('a', { x: '1' }), { dryRun: true });
      expect(dry.metadata.uid).toBeDefined();
      expect(dry.metadata.resourceVersion).toBeUndefined();
      expect(isNotFound(await failureOf(client.get(configMaps, dry.metadata)))).toBe(true);
      const created = await client.create(configMaps, configMapOf('a', { x: '1' }));
      expect((await client.update(configMaps, { ...created, data: { x: '2' } }, { dryRun: true })).data).toEqual({ x: '2' });
      await client.delete(configMaps, created.metadata, { dryRun: true });
      expect(await client.get(configMaps, created.metadata)).toEqual(created);
    });

    test('warns of unknown fields, or refuses them', async () => {
      const typo = { ...configMapOf('a', { x: '1' }), datas: { y: '1' } } as New<ConfigMap>;
      const warnings: string[] = [];
      const created = await client.create(configMaps, typo, { onWarning: (text) => warnings.push(text) });
      expect(created).not.toHaveProperty('datas');
      expect(warnings).toEqual(['unknown field "datas"']);
      const err = await failureOf(
        client.create(configMaps, { ...typo, metadata: { name: 'b', namespace: 'shop' } }, { fieldValidation: 'Strict' }),
      );
      expect(err.toStatus()).toMatchObject({
        code: 400,
        message: 'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "datas"',
      });
    });

    test('asks many things at once under one signal, of which nobody has to be warned', async () => {
      const warnings: string[] = [];
      const note = ({ message }: Error): void => void warnings.push(message);
      process.on('warning', note);
      const { signal } = new AbortController();
      await Promise.all(Array.from({ length: 20 }, () => client.list(configMaps, { signal })));
      await new Promise((resolve) => setImmediate(resolve));
      process.off('warning', note);
      expect(warnings).toEqual([]);
    });

    test('refuses a call whose signal is aborted', async () => {
      const signal = AbortSignal.abort();
      await expect(client.list(configMaps, { signal })).rejects.toThrow();
    });
  });

  describe('status and generation', () => {
    test('an update of the object leaves status alone, one of status everything else', async () => {
      const created = await client.create(deployments, deploymentOf('web'));
      expect(created.metadata.generation).toBe(1);
      const status = await client.update(
        deployments,
        { ...created, spec: { ...created.spec, replicas: 9 }, status: { replicas: 1 } },
        { subresource: 'status' },
      );
      expect(status.status).toMatchObject({ replicas: 1 });
      expect(status.spec.replicas).toBe(1);
      expect(status.metadata.generation).toBe(1);
      const updated = await client.update(deployments, { ...status, spec: { ...status.spec, replicas: 3 }, status: { replicas: 7 } });
      expect(updated.spec.replicas).toBe(3);
      expect(updated.status).toEqual(status.status);
      expect(updated.metadata.generation).toBe(2);
    });

    test('labels do not raise the generation', async () => {
      const created = await client.create(deployments, deploymentOf('web'));
      const patched = await client.patch(deployments, created.metadata, { type: 'merge', body: { metadata: { labels: { a: 'b' } } } });
      expect(patched.metadata.generation).toBe(1);
      expect(patched.metadata.labels).toEqual({ a: 'b' });
    });

    test('scales through the scale subresource', async () => {
      const created = await client.create(deployments, deploymentOf('web'));
      await client.patch(deployments, created.metadata, { type: 'merge', body: { spec: { replicas: 4 } } }, { subresource: 'scale' });
      const scaled = await client.get(deployments, created.metadata);
      expect(scaled.spec.replicas).toBe(4);
      expect(scaled.metadata.generation).toBe(2);
    });
  });

  describe('patches', () => {
    test('merge: null removes', async () => {
      const { metadata } = await client.create(configMaps, configMapOf('a', { x: '1', y: '1' }));
      const patched = await client.patch(configMaps, metadata, { type: 'merge', body: { data: { x: null, z: '2' } } });
      expect(patched.data).toEqual({ y: '1', z: '2' });
    });

    test('json: applies all operations or none', async () => {
      const { metadata } = await client.create(configMaps, configMapOf('a', { x: '1' }));
      const body = [
        { op: 'test', path: '/data/x', value: '1' },
        { op: 'add', path: '/data/y', value: '2' },
      ];
      expect((await client.patch(configMaps, metadata, { type: 'json', body })).data).toEqual({ x: '1', y: '2' });
      const err = await failureOf(
        client.patch(configMaps, metadata, { type: 'json', body: [{ op: 'test', path: '/data/x', value: '9' }] }),
      );
      expect(err.code).toBe(422);
    });

    test('strategic: merges lists by key', async () => {
      const { metadata } = await client.create(deployments, deploymentOf('web'));
      const body = {
        spec: {
          template: {
            spec: {
              containers: [
                { name: 'main', image: 'host/other' },
                { name: 'side', image: 'host/side' },
              ],
            },
          },
        },
      };
      const patched = await client.patch(deployments, metadata, { type: 'strategic', body });
      expect(patched.spec.template.spec?.containers.map(({ name, image }) => `${name} ${image}`).sort()).toEqual([
        'main host/other',
        'side host/side',
      ]);
    });

    test('concurrent patches without a version all go through', async () => {
      const { metadata } = await client.create(configMaps, configMapOf('a'));
      await Promise.all(
        Array.from({ length: 20 }, (_, n) => client.patch(configMaps, metadata, { type: 'merge', body: { data: { [`k${n}`]: 'x' } } })),
      );
      expect(Object.keys((await client.get(configMaps, metadata)).data ?? {})).toHaveLength(20);
    });

    test('a patch that names a stale version conflicts', async () => {
      const { metadata } = await client.create(configMaps, configMapOf('a'));
      await client.patch(configMaps, metadata, { type: 'merge', body: { data: { x: '1' } } });
      const body = { metadata: { resourceVersion: metadata.resourceVersion }, data: { x: '2' } };
      expect(isConflict(await failureOf(client.patch(configMaps, metadata, { type: 'merge', body })))).toBe(true);
    });

    test('may not change the name', async () => {
      const { metadata } = await client.create(configMaps, configMapOf('a'));
      const err = await failureOf(client.patch(configMaps, metadata, { type: 'merge', body: { metadata: { name: 'b' } } }));
      expect(err.code).toBe(400);
    });
  });

  describe('owners of fields', () => {
    const ownersOf = ({ metadata }: KubeObject) =>
      (metadata.managedFields ?? []).map(({ manager, operation, subresource, fieldsV1 }) => ({
        manager,
        operation,
        ...(subresource === undefined ? {} : { subresource }),
        fieldsV1,
      }));
    const data = (...keys: string[]) => ({ 'f:data': { '.': {}, ...Object.fromEntries(keys.map((key) => [`f:${key}`, {}])) } });

    test('are recorded for every write', async () => {
      const created = await client.create(configMaps, configMapOf('a', { x: '1' }), { fieldManager: 'maker' });
      expect(ownersOf(created)).toEqual([{ manager: 'maker', operation: 'Update', fieldsV1: data('x') }]);
      const patch = { type: 'merge', body: { data: { y: '2' } } } as const;
      const patched = await client.patch(configMaps, created.metadata, patch, { fieldManager: 'changer' });
      expect(ownersOf(patched)).toEqual(
        expect.arrayContaining([
          { manager: 'maker', operation: 'Update', fieldsV1: data('x') },
          { manager: 'changer', operation: 'Update', fieldsV1: { 'f:data': { 'f:y': {} } } },
        ]),
      );
    });

    test('record changes of status with the subresource', async () => {
      const created = await client.create(deployments, deploymentOf('web'), { fieldManager: 'maker' });
      const next = { ...created, status: { replicas: 1, observedGeneration: 1 } };
      const updated = await client.update(deployments, next, { subresource: 'status', fieldManager: 'controller' });
      expect(ownersOf(updated).find(({ manager }) => manager === 'controller')).toEqual({
        manager: 'controller',
        operation: 'Update',
        subresource: 'status',
        fieldsV1: { 'f:status': { 'f:observedGeneration': {}, 'f:replicas': {} } },
      });
    });

    test('stay as they are when a write changes nothing', async () => {
      const created = await client.create(configMaps, configMapOf('a', { x: '1' }), { fieldManager: 'maker' });
      const { managedFields: _, ...metadata } = created.metadata;
      const same = await client.update(configMaps, { ...created, metadata }, { fieldManager: 'other' });
      expect(same).toEqual(created);
    });

    test('are given up with [{}]', async () => {
      const { metadata } = await client.create(configMaps, configMapOf('a', { x: '1' }), { fieldManager: 'maker' });
      const patched = await client.patch(configMaps, metadata, { type: 'merge', body: { metadata: { managedFields: [{}] } } });
      expect(patched.metadata.managedFields).toBeUndefined();
    });
  });

  describe('apply', () => {
    const ref = { namespace: 'shop', name: 'a' };
    const apply = (data: Record<string, string>, fieldManager: string, options: { force?: boolean; dryRun?: boolean } = {}) =>
      client.patch(
        configMaps,
        ref,
        { type: 'apply', body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: ref, data } },
        { fieldManager, ...options },
      );

    test('makes the object, then changes it, and does nothing the third time', async () => {
      const created = await apply({ x: '1' }, 'm1');
      expect(created).toMatchObject({ data: { x: '1' }, metadata: { managedFields: [{ manager: 'm1', operation: 'Apply' }] } });
      expect(created.metadata.uid).toBeDefined();
      const changed = await apply({ x: '2', y: '1' }, 'm1');
      expect(changed.data).toEqual({ x: '2', y: '1' });
      expect(await apply({ x: '2', y: '1' }, 'm1')).toEqual(changed);
    });

    test('removes what its manager no longer names and nobody else owns', async () => {
      await apply({ x: '1', y: '1' }, 'm1');
      await apply({ y: '1' }, 'm2');
      expect((await apply({}, 'm1')).data).toEqual({ y: '1' });
    });

    test('conflicts with another manager, unless forced', async () => {
      await apply({ x: '1' }, 'm1');
      const err = await failureOf(apply({ x: '2' }, 'm2'));
      expect(err.toStatus()).toMatchObject({
        code: 409,
        message: 'Apply failed with 1 conflict: conflict with "m1": .data.x',
        details: { causes: [{ reason: 'FieldManagerConflict', message: 'conflict with "m1"', field: '.data.x' }] },
      });
      const forced = await apply({ x: '2' }, 'm2', { force: true });
      expect(forced.data).toEqual({ x: '2' });
      expect(forced.metadata.managedFields?.map(({ manager }) => manager)).toEqual(['m2']);
    });

    test('conflicts with what an update owns', async () => {
      await apply({ x: '1' }, 'm1');
      await client.patch(configMaps, ref, { type: 'merge', body: { data: { x: '9' } } }, { fieldManager: 'mytool' });
      const err = await failureOf(apply({ x: '1' }, 'm1'));
      expect(err.message).toBe('Apply failed with 1 conflict: conflict with "mytool" using v1: .data.x');
    });

    test('does nothing the second time for values in another spelling', async () => {
      const body = (cpu: string) => ({
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 'web', namespace: 'shop' },
        spec: {
          selector: { matchLabels: { app: 'web' } },
          template: {
            metadata: { labels: { app: 'web' } },
            spec: { containers: [{ name: 'main', image: 'host/sh', resources: { requests: { cpu } } }] },
          },
        },
      });
      const web = { namespace: 'shop', name: 'web' };
      const first = await client.patch(deployments, web, { type: 'apply', body: body('1000m') }, { fieldManager: 'm1' });
      expect(first.spec.template.spec?.containers[0]?.resources?.requests).toEqual({ cpu: '1' });
      const second = await client.patch(deployments, web, { type: 'apply', body: body('1000m') }, { fieldManager: 'm1' });
      expect(second.metadata.resourceVersion).toBe(first.metadata.resourceVersion);
      expect(second.metadata.generation).toBe(1);
    });

    test('to status owns status alone', async () => {
      const { metadata } = await client.create(deployments, deploymentOf('web'), { fieldManager: 'maker' });
      const body = {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 'web' },
        spec: { replicas: 9 },
        status: { conditions: [{ type: 'X', status: 'True' }] },
      };
      const applied = await client.patch(deployments, metadata, { type: 'apply', body }, { fieldManager: 'ctl', subresource: 'status' });
      expect(applied.spec.replicas).toBe(1);
      expect(applied.status?.conditions).toMatchObject([{ type: 'X', status: 'True' }]);
      const owner = applied.metadata.managedFields?.find(({ manager }) => manager === 'ctl');
      expect(owner).toMatchObject({ operation: 'Apply', subresource: 'status' });
      expect(owner?.fieldsV1).toEqual({
        'f:status': { 'f:conditions': { 'k:{"type":"X"}': { '.': {}, 'f:status': {}, 'f:type': {} } } },
      });
    });

    test('stores nothing in a dry run', async () => {
      await apply({ x: '1' }, 'm1', { dryRun: true });
      expect(isNotFound(await failureOf(client.get(configMaps, ref)))).toBe(true);
      await apply({ x: '1' }, 'm1');
      expect((await apply({ x: '2' }, 'm1', { dryRun: true })).data).toEqual({ x: '2' });
      expect((await client.get(configMaps, ref)).data).toEqual({ x: '1' });
    });

    test('creates an object once when many clients apply it', async () => {
      const applied = await Promise.all(Array.from({ length: 10 }, (_, n) => apply({ [`k${n}`]: '1' }, `m${n}`)));
      expect(new Set(applied.map(({ metadata }) => metadata.uid)).size).toBe(1);
      expect(Object.keys((await client.get(configMaps, ref)).data ?? {})).toHaveLength(10);
    });

    test('refuses what it cannot mean', async () => {
      const body = { apiVersion: 'v1', kind: 'ConfigMap', metadata: ref };
      const unnamed = await failureOf(
        client.patch(configMaps, ref, { type: 'apply', body: { ...body, metadata: { name: 'b' } } }, { fieldManager: 'm' }),
      );
      expect(unnamed).toMatchObject({ code: 400, message: 'the name of the object (b) does not match the name on the URL (a)' });
      const kindless = await failureOf(client.patch(configMaps, ref, { type: 'apply', body: { data: {} } }, { fieldManager: 'm' }));
      expect(kindless).toMatchObject({ code: 400, message: 'invalid object type: /, Kind=' });
      const unknown = await failureOf(client.patch(configMaps, ref, { type: 'apply', body: { ...body, foo: 1 } }, { fieldManager: 'm' }));
      expect(unknown.code).toBe(500);
      expect(unknown.message).toContain('.foo: field not declared in schema');
      const anonymous = await failureOf(client.patch(configMaps, ref, { type: 'apply', body }));
      expect(anonymous).toMatchObject({
        code: 422,
        message: 'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
      });
    });
  });

  describe('lists', () => {
    beforeEach(async () => {
      for (const [name, labels] of [
        ['b', { app: 'web' }],
        ['a', { app: 'web', tier: 'front' }],
        ['c', { app: 'db' }],
      ] as const) {
        await client.create(configMaps, configMapOf(name, {}, labels));
      }
      await client.create(configMaps, { ...configMapOf('a'), metadata: { name: 'a', namespace: 'other' } });
    });

    const names = async (options: Parameters<Client['list']>[1]): Promise<string[]> =>
      (await client.list(configMaps, options)).items.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);

    test('in key order, of all namespaces or one', async () => {
      expect(await names({})).toEqual(['other/a', 'shop/a', 'shop/b', 'shop/c']);
      expect(await names({ namespace: 'shop' })).toEqual(['shop/a', 'shop/b', 'shop/c']);
      expect(await names({ namespace: 'missing' })).toEqual([]);
    });

    test('have kind, version and items', async () => {
      const list = await client.list(configMaps, { namespace: 'shop' });
      expect(list).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMapList' });
      expect(list.metadata.resourceVersion).toMatch(/^[0-9]+$/);
      expect(list.items[0]).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap' });
    });

    test('by label and field selector', async () => {
      expect(await names({ labelSelector: 'app=web' })).toEqual(['shop/a', 'shop/b']);
      expect(await names({ labelSelector: 'app in (web,db),!tier' })).toEqual(['shop/b', 'shop/c']);
      expect(await names({ fieldSelector: 'metadata.name=a' })).toEqual(['other/a', 'shop/a']);
      expect(await names({ fieldSelector: 'metadata.name!=a,metadata.namespace=shop' })).toEqual(['shop/b', 'shop/c']);
      expect(await names({ namespace: 'shop', fieldSelector: 'metadata.name=b', labelSelector: 'app=db' })).toEqual([]);
    });

    test('refuse selectors they do not know', async () => {
      const field = await failureOf(client.list(configMaps, { fieldSelector: 'spec.x=1' }));
      expect(field.message).toBe('"spec.x" is not a known field selector: only "metadata.name", "metadata.namespace"');
      expect((await failureOf(client.list(configMaps, { labelSelector: 'a in' }))).code).toBe(400);
    });

    test('in pages that are one snapshot', async () => {
      const first = await client.list(configMaps, { limit: 2 });
      expect(first.items.map(({ metadata }) => metadata.name)).toEqual(['a', 'a']);
      expect(first.metadata.remainingItemCount).toBe(2);
      await client.delete(configMaps, { namespace: 'shop', name: 'b' });
      await client.create(configMaps, configMapOf('bb'));
      const second = await client.list(configMaps, { limit: 2, continue: first.metadata.continue ?? '' });
      expect(second.items.map(({ metadata }) => metadata.name)).toEqual(['b', 'c']);
      expect(second.metadata).toEqual({ resourceVersion: first.metadata.resourceVersion });
    });
  });

  describe('watches', () => {
    test('see creation, change and deletion in order', async () => {
      const seen = await watch(configMaps);
      const created = await client.create(configMaps, configMapOf('a', { x: '1' }));
      const updated = await client.update(configMaps, { ...created, data: { x: '2' } });
      await client.delete(configMaps, created.metadata);
      expect(await seen.see(3)).toEqual(['ADDED a', 'MODIFIED a', 'DELETED a']);
      const [added, modified, deleted] = seen.changes().map(({ object }) => object);
      expect(added).toEqual(created);
      expect(modified).toEqual(updated);
      expect(deleted?.data).toEqual({ x: '2' });
      expect(Number(deleted?.metadata.resourceVersion)).toBeGreaterThan(Number(updated.metadata.resourceVersion));
    });

    test('resume from a version', async () => {
      const { metadata } = await client.create(configMaps, configMapOf('a'));
      await client.create(configMaps, configMapOf('b'));
      await client.delete(configMaps, metadata);
      const seen = await watch(configMaps, { resourceVersion: metadata.resourceVersion ?? '' });
      expect(await seen.see(2)).toEqual(['ADDED b', 'DELETED a']);
      await client.create(configMaps, configMapOf('c'));
      expect(await seen.see(3)).toEqual(['ADDED b', 'DELETED a', 'ADDED c']);
    });

    test('are scoped to a namespace', async () => {
      const seen = await watch(configMaps, { namespace: 'shop' });
      await client.create(configMaps, { ...configMapOf('x'), metadata: { name: 'x', namespace: 'other' } });
      await client.create(configMaps, configMapOf('y'));
      expect(await seen.see(1)).toEqual(['ADDED y']);
    });

    test('by label: leaving the set is DELETED, entering ADDED', async () => {
      const { metadata } = await client.create(configMaps, configMapOf('a', {}, { s: '1' }));
      const seen = await watch(configMaps, { labelSelector: 's=1' });
      const label = (s: string) => client.patch(configMaps, metadata, { type: 'merge', body: { metadata: { labels: { s } } } });
      const left = await label('2');
      const entered = await label('1');
      expect(await seen.see(2)).toEqual(['DELETED a', 'ADDED a']);
      const [deleted, added] = seen.changes().map(({ object }) => object);
      expect(deleted?.metadata).toMatchObject({ labels: { s: '1' }, resourceVersion: left.metadata.resourceVersion });
      expect(added).toEqual(entered);
    });

    test('by node: a pod is ADDED when it is bound', async () => {
      const seen = await watch(pods, { fieldSelector: 'spec.nodeName=n1' });
      const unbound = await watch(pods, { fieldSelector: 'spec.nodeName=' });
      const { metadata } = await client.create(pods, podOf('a'));
      await client.create(pods, podOf('b'));
      await client.createSubresource(pods, metadata, 'binding', { metadata: { name: 'a' }, target: { kind: 'Node', name: 'n1' } });
      expect(await seen.see(1)).toEqual(['ADDED a']);
      expect(await unbound.see(3)).toEqual(['ADDED a', 'ADDED b', 'DELETED a']);
    });

    test('by name see one object', async () => {
      const seen = await watch(configMaps, { namespace: 'shop', fieldSelector: 'metadata.name=a' });
      await client.create(configMaps, configMapOf('b'));
      await client.create(configMaps, configMapOf('a'));
      expect(await seen.see(1)).toEqual(['ADDED a']);
    });

    test('a list and a watch from its version add up to the state', async () => {
      const writers = Array.from({ length: 5 }, async (_, writer) => {
        for (let n = 0; n < 40; n += 1) {
          const name = `k${(n * 7 + writer) % 10}`;
          await client
            .create(configMaps, configMapOf(name, { n: `${n}` }))
            .catch(() => client.delete(configMaps, { namespace: 'shop', name }))
            .catch((err: unknown) => {
              if (!isNotFound(err)) throw err;
            });
        }
      });
      await Promise.race(writers);
      const list = await client.list(configMaps);
      const seen = await watch(configMaps, { resourceVersion: list.metadata.resourceVersion ?? '' });
      await Promise.all(writers);
      await client.create(configMaps, configMapOf('last'));
      await until(() => seen.changes().some(({ object }) => object.metadata.name === 'last'), { what: 'the last event', intervalMs: 2 });
      const state = new Map(list.items.map((item) => [item.metadata.name, item]));
      for (const { type, object } of seen.changes()) {
        expect(state.has(object.metadata.name)).toBe(type !== 'ADDED');
        if (type === 'DELETED') state.delete(object.metadata.name);
        else state.set(object.metadata.name, object);
      }
      const truth = (await client.list(configMaps)).items;
      expect([...state.values()].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))).toEqual(truth);
    });

    test('resolve when their signal is aborted', async () => {
      const seen = await watch(configMaps);
      abort.abort();
      await seen.ended;
    });

    test('refuse a version from before the server can know with Expired', async () => {
      const err = await failureOf(client.watch(configMaps, { resourceVersion: '1', signal: abort.signal, onEvents: () => {} }));
      expect(isExpired(err)).toBe(true);
      expect(err.message).toMatch(/^too old resource version: 1 \([0-9]+\)$/);
    });
  });

  describe('deletion', () => {
    test('waits for finalizers', async () => {
      const created = await client.create(configMaps, {
        ...configMapOf('a'),
        metadata: { name: 'a', namespace: 'shop', finalizers: ['example.com/hold'] },
      });
      await client.delete(configMaps, created.metadata);
      const held = await client.get(configMaps, created.metadata);
      expect(held.metadata.deletionTimestamp).toBeDefined();
      const err = await failureOf(
        client.patch(configMaps, held.metadata, {
          type: 'merge',
          body: { metadata: { finalizers: ['example.com/hold', 'example.com/more'] } },
        }),
      );
      expect(err.message).toContain('no new finalizers can be added if the object is being deleted');
      await client.patch(configMaps, held.metadata, { type: 'merge', body: { metadata: { finalizers: null } } });
      expect(isNotFound(await failureOf(client.get(configMaps, held.metadata)))).toBe(true);
    });

    test('checks preconditions', async () => {
      const { metadata } = await client.create(configMaps, configMapOf('a'));
      const wrongUid = { preconditions: { uid: '00000000-0000-0000-0000-000000000000' } };
      const wrongVersion = { preconditions: { resourceVersion: '1' } };
      for (const options of [wrongUid, wrongVersion]) {
        expect(isConflict(await failureOf(client.delete(configMaps, metadata, options)))).toBe(true);
      }
      await client.delete(configMaps, metadata, { preconditions: { uid: metadata.uid ?? '' } });
    });

    test('policies become finalizers', async () => {
      for (const [propagationPolicy, finalizer] of [
        ['Foreground', 'foregroundDeletion'],
        ['Orphan', 'orphan'],
      ] as const) {
        const { metadata } = await client.create(deployments, deploymentOf(finalizer.toLowerCase()));
        await client.delete(deployments, metadata, { propagationPolicy });
        expect((await client.get(deployments, metadata)).metadata.finalizers).toEqual([finalizer]);
      }
      const { metadata } = await client.create(deployments, deploymentOf('background'));
      await client.delete(deployments, metadata, { propagationPolicy: 'Background' });
      expect(isNotFound(await failureOf(client.get(deployments, metadata)))).toBe(true);
    });

    test('waits for the agent of a pod on a node', async () => {
      const { metadata } = await client.create(pods, podOf('a'));
      await client.createSubresource(pods, metadata, 'binding', { target: { kind: 'Node', name: 'n1' } });
      await client.delete(pods, metadata);
      const marked = await client.get(pods, metadata);
      expect(marked.metadata).toMatchObject({ deletionGracePeriodSeconds: 30, generation: 2 });
      await client.delete(pods, metadata, { gracePeriodSeconds: 60 });
      expect(await client.get(pods, metadata)).toEqual(marked);
      await client.delete(pods, metadata, { gracePeriodSeconds: 5 });
      expect((await client.get(pods, metadata)).metadata.deletionGracePeriodSeconds).toBe(5);
      await client.delete(pods, metadata, { gracePeriodSeconds: 0 });
      expect(isNotFound(await failureOf(client.get(pods, metadata)))).toBe(true);
    });

    test('removes a pod without a node at once', async () => {
      const { metadata } = await client.create(pods, podOf('a'));
      await client.delete(pods, metadata);
      expect(isNotFound(await failureOf(client.get(pods, metadata)))).toBe(true);
    });

    test('removes the objects of a collection that the selector matches', async () => {
      await client.create(configMaps, configMapOf('a', {}, { s: '1' }));
      await client.create(configMaps, configMapOf('b', {}, { s: '2' }));
      await client.deleteCollection(configMaps, { namespace: 'shop', labelSelector: 's=1' });
      expect((await client.list(configMaps, { namespace: 'shop' })).items.map(({ metadata }) => metadata.name)).toEqual(['b']);
    });

    test('marks a namespace, stops new content, and ends with finalize', async () => {
      await client.delete(namespaces, { name: 'shop' });
      const marked = await client.get(namespaces, { name: 'shop' });
      expect(marked.status?.phase).toBe('Terminating');
      expect(marked.metadata.deletionTimestamp).toBeDefined();
      const refused = await failureOf(client.create(configMaps, configMapOf('late')));
      expect(isForbidden(refused)).toBe(true);
      expect(refused.message).toBe(
        'configmaps "late" is forbidden: unable to create new content in namespace shop because it is being terminated',
      );
      expect(refused.details?.causes?.[0]?.reason).toBe('NamespaceTerminating');
      await client.update(namespaces, { ...marked, spec: { finalizers: [] } }, { subresource: 'finalize' });
      expect(isNotFound(await failureOf(client.get(namespaces, { name: 'shop' })))).toBe(true);
    });
  });

  describe('pods', () => {
    test('are bound once', async () => {
      const { metadata } = await client.create(pods, podOf('a'));
      await client.createSubresource(pods, metadata, 'binding', { target: { kind: 'Node', name: 'n1' } });
      const bound = await client.get(pods, metadata);
      expect(bound.spec.nodeName).toBe('n1');
      expect(bound.metadata.generation).toBe(1);
      expect(bound.status?.conditions).toMatchObject([{ type: 'PodScheduled', status: 'True' }]);
      const err = await failureOf(client.createSubresource(pods, metadata, 'binding', { target: { kind: 'Node', name: 'n2' } }));
      expect(err.message).toBe('Operation cannot be fulfilled on pods/binding "a": pod a is already assigned to node "n1"');
    });

    test('are evicted', async () => {
      const { metadata } = await client.create(pods, podOf('a'));
      await client.createSubresource(pods, metadata, 'eviction', { metadata: { name: 'a' } });
      expect(isNotFound(await failureOf(client.get(pods, metadata)))).toBe(true);
    });

    test('need the service account they name', async () => {
      const pod = podOf('a');
      const err = await failureOf(client.create(pods, { ...pod, spec: { ...pod.spec, serviceAccountName: 'builder' } }));
      expect(err.message).toBe('pods "a" is forbidden: error looking up service account shop/builder: serviceaccount "builder" not found');
    });
  });

  test('discovers what is served', async () => {
    const found = await client.discover();
    const deployment = found.find(({ resource }) => resource === 'deployments');
    expect(deployment).toMatchObject({ group: 'apps', version: 'v1', kind: 'Deployment', namespaced: true });
    expect(deployment?.subresources).toEqual(expect.arrayContaining(['scale', 'status']));
    expect(deployment?.verbs).toContain('list');
  });
});

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { customResourceDefinitions } from '../../../src/api/apiextensions/v1/custom-resource-definition.ts';
import { type CustomResourceDefinition, isEstablished } from '../../../src/api/apiextensions/v1/definition.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { parseEncryptionConfiguration } from '../../../src/apiserver/encryption/configuration.ts';
import type { RequestInfo } from '../../../src/apiserver/kube-api.ts';
import type { KindDefinition } from '../../../src/machinery/kind.ts';
import type { DynamicObject, KubeObject } from '../../../src/machinery/object.ts';
import type { Resource } from '../../../src/machinery/resource.ts';
import { isExpired } from '../../../src/machinery/status-error.ts';
import { openSqliteStorage } from '../../../src/storage/sqlite/storage.ts';
import { admin, startSeededApi, startTestApi, type TestApi } from '../../support/api.ts';
import { createRandom } from '../../support/random.ts';
import { until } from '../../support/until.ts';

const request: Omit<RequestInfo, 'kind'> = { user: admin, userAgent: 'test' };
const widgets: Resource<DynamicObject> = { group: 'example.com', version: 'v1', resource: 'widgets', kind: 'Widget', namespaced: true };
const definition: CustomResourceDefinition = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'widgets.example.com' },
  spec: {
    group: 'example.com',
    scope: 'Namespaced',
    names: { plural: 'widgets', kind: 'Widget' },
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      } as CustomResourceDefinition['spec']['versions'][number],
    ],
  },
};

const encryption = {
  configuration: parseEncryptionConfiguration(
    JSON.stringify({
      apiVersion: 'apiserver.config.k8s.io/v1',
      kind: 'EncryptionConfiguration',
      resources: [
        {
          resources: ['secrets'],
          providers: [{ aesgcm: { keys: [{ name: 'k', secret: Buffer.alloc(32, 7).toString('base64') }] } }],
        },
      ],
    }),
  ),
};

let directory: string;
let api: TestApi;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'midship-resume-'));
  const storage = await openSqliteStorage({ path: join(directory, 'state.db') });
  api = await startSeededApi(['shop', 'other'], { storage, encryption });
  await api.clientFor().create(customResourceDefinitions, definition);
  await established();
});

afterEach(async () => {
  await api.stop();
  await rm(directory, { recursive: true });
});

const established = (): Promise<unknown> =>
  until(async () => isEstablished(await api.clientFor().get(customResourceDefinitions, { name: 'widgets.example.com' })), {
    what: 'the definition in force',
    intervalMs: 2,
  });

async function restart(): Promise<void> {
  await api.stop();
  api = await startTestApi({ storage: await openSqliteStorage({ path: join(directory, 'state.db') }), encryption });
  await established();
}

const kindOf = (resource: Resource<KubeObject>): KindDefinition =>
  until(() => api.kubeApi.kinds.findByKind(resource.group, resource.version, resource.kind), {
    what: resource.kind,
    intervalMs: 2,
  }) as never;

/** Some hundred creations, updates and deletions, after which the revisions at which they happened are known. */
async function live(seed: number): Promise<readonly number[]> {
  const random = createRandom(seed);
  const client = api.clientFor();
  const revisions: number[] = [];
  for (let n = 0; n < 300; n += 1) {
    const [resource, kind, apiVersion] = (
      [
        [configMaps, 'ConfigMap', 'v1'],
        [secrets, 'Secret', 'v1'],
        [widgets, 'Widget', 'example.com/v1'],
      ] as const
    )[Math.floor(random() * 3)] ?? [configMaps, 'ConfigMap', 'v1'];
    const ref = { namespace: random() < 0.5 ? 'shop' : 'other', name: `n${Math.floor(random() * 12)}` };
    const labels = { tier: random() < 0.5 ? 'web' : 'db' };
    const draw = random();
    if (draw < 0.2) await client.delete(resource as Resource<KubeObject>, ref).catch(() => undefined);
    else {
      const body = { apiVersion, kind, metadata: { ...ref, labels, annotations: { n: `${n}` } } } as never;
      await client.create(resource as never, body).catch(() => client.patch(resource as never, ref, { type: 'merge', body }));
    }
    revisions.push(api.kubeApi.revision);
  }
  return revisions;
}

type Seen = readonly (readonly [string, string, string])[];

/** Gives what a watch from `revision` gets at once; the text of the error when it is refused. */
async function resumed(resource: Resource<KubeObject>, revision: number, labelSelector?: string): Promise<Seen | string> {
  const seen: [string, string, string][] = [];
  const abort = new AbortController();
  try {
    await api.kubeApi.watch(
      { ...request, kind: await kindOf(resource) },
      {
        resourceVersion: `${revision}`,
        ...(labelSelector === undefined ? {} : { labelSelector }),
        signal: abort.signal,
        onEvents(records) {
          for (const { type, object, json } of records)
            seen.push([type, `${object.metadata.namespace}/${object.metadata.name}@${object.metadata.resourceVersion}`, json()]);
        },
        onEnd: () => undefined,
      },
    );
  } catch (err) {
    return isExpired(err) ? err.message : Promise.reject(err);
  } finally {
    abort.abort();
  }
  return seen;
}

test('81 watches of 81 go on where they broke off, with the events that the earlier process would have sent', async () => {
  const revisions = await live(1);
  const watches = Array.from({ length: 81 }, (_, n) => ({
    resource: ([configMaps, secrets, widgets] as const)[n % 3] ?? configMaps,
    revision: revisions[Math.floor((n * revisions.length) / 81)] ?? 0,
    selector: n % 4 === 0 ? 'tier=web' : undefined,
  }));
  const before: (Seen | string)[] = [];
  for (const { resource, revision, selector } of watches) before.push(await resumed(resource, revision, selector));
  expect(before.filter((seen) => seen.length > 0).length).toBeGreaterThan(70);
  await restart();
  const after: (Seen | string)[] = [];
  for (const { resource, revision, selector } of watches) after.push(await resumed(resource, revision, selector));
  const sorted = (seen: Seen | string): unknown =>
    typeof seen === 'string' ? seen : seen.map(([type, name, json]) => [type, name, JSON.parse(json) as unknown]);
  expect(after.map(sorted)).toEqual(before.map(sorted));
});

test('a list as of an earlier revision is the same after a restart', async () => {
  const revisions = await live(2);
  const list = async (): Promise<unknown[]> => {
    const pages: unknown[] = [];
    for (const resource of [configMaps, secrets, widgets]) {
      for (let n = 20; n < 300; n += 40) {
        const options = { resourceVersion: `${revisions[n]}`, resourceVersionMatch: 'Exact' } as const;
        const { items, resourceVersion } = await api.kubeApi.list({ ...request, kind: await kindOf(resource) }, options);
        pages.push([resourceVersion, items]);
      }
    }
    return pages;
  };
  const before = await list();
  await restart();
  expect(await list()).toEqual(before);
});

test('a watch goes on over several restarts, and is refused from before what the log keeps', async () => {
  const [first = 0] = await live(3);
  const expected = await resumed(configMaps, first);
  await restart();
  await live(4);
  const both = await resumed(configMaps, first);
  expect(both.slice(0, expected.length)).toEqual(expected);
  await restart();
  expect(await resumed(configMaps, first)).toEqual(both);
  await api.storage.compact(first + 1);
  await restart();
  expect(await resumed(configMaps, first)).toContain('too old resource version');
  expect(await resumed(widgets, first + 1)).not.toBeTypeOf('string');
});

test('a kind that is taken away and comes back promises nothing of the time between', async () => {
  const revisions = await live(5);
  await restart();
  const client = api.clientFor();
  await client.delete(widgets, { namespace: 'shop', name: 'n1' }).catch(() => undefined);
  await client.delete(customResourceDefinitions, { name: 'widgets.example.com' });
  await until(() => api.kubeApi.kinds.findByKind('example.com', 'v1', 'Widget') === undefined, { what: 'the kind gone', intervalMs: 2 });
  await client.create(customResourceDefinitions, definition);
  await established();
  expect(await resumed(widgets, revisions[250] ?? 0)).toContain('too old resource version');
});

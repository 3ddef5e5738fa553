import { setMaxListeners } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type ConfigMap, configMaps } from '../../../../src/api/core/v1/config-map.ts';
import { pods } from '../../../../src/api/core/v1/pod.ts';
import type { ListRequest, RequestInfo, WatchRecord, WatchRequest } from '../../../../src/apiserver/kube-api.ts';
import { createMetrics, type Metrics } from '../../../../src/base/metrics.ts';
import type { Client } from '../../../../src/client/client.ts';
import type { KubeObject } from '../../../../src/machinery/object.ts';
import { isStatusError, type StatusError } from '../../../../src/machinery/status-error.ts';
import { admin, startSeededApi, type TestApi } from '../../../support/api.ts';
import { createManualClock, type ManualClock } from '../../../support/manual-clock.ts';

/** Parameters of lists and watches; texts are those of a real server's answers (`api/errors`, `api/list-paging`, `api/watch`). */

const request: Omit<RequestInfo, 'kind'> = { user: admin, userAgent: 'test' };

let api: TestApi;
let client: Client;
let clock: ManualClock;
let metrics: Metrics;
let abort: AbortController;

beforeEach(async () => {
  clock = createManualClock();
  metrics = createMetrics();
  api = await startSeededApi(['raw', 'other'], { clock, metrics });
  client = api.clientFor();
  abort = new AbortController();
  setMaxListeners(0, abort.signal);
});

afterEach(async () => {
  abort.abort();
  await api.stop();
});

const make = (name: string, data: Record<string, string> = {}, namespace = 'raw'): Promise<ConfigMap> =>
  client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace }, data });

const list = (options: ListRequest = {}) => api.kubeApi.list({ ...request, kind: configMaps }, { namespace: 'raw', ...options });

/** Metrics of the running server; the server that seeded the store wrote its own lines before. */
const metricsText = async (): Promise<string> => (await metrics.text()).split('# HELP encodes_total').at(-1) ?? '';

async function failureOf(call: Promise<unknown>): Promise<StatusError> {
  const err = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!isStatusError(err)) throw new Error('expected a StatusError', { cause: err });
  return err;
}

async function watch(options: Partial<WatchRequest> = {}) {
  const seen = { records: [] as WatchRecord[], ends: [] as (Error | undefined)[] };
  await api.kubeApi.watch(
    { ...request, kind: configMaps },
    {
      namespace: 'raw',
      signal: abort.signal,
      onEvents: (records) => seen.records.push(...records),
      onEnd: (err) => seen.ends.push(err),
      ...options,
    },
  );
  return seen;
}

const summary = (records: readonly WatchRecord[]): string[] =>
  records.map(({ type, object }) => {
    const { name, annotations } = object.metadata;
    return type === 'BOOKMARK'
      ? `BOOKMARK${annotations?.['k8s.io/initial-events-end'] === 'true' ? ' initial-events-end' : ''}`
      : `${type} ${name}`;
  });

const invalidListOptions = (message: string, field: string, reason: string) => ({
  message: `ListOptions.meta.k8s.io "" is invalid: ${field}: ${message}`,
  reason: 'Invalid',
  details: { group: 'meta.k8s.io', kind: 'ListOptions', causes: [{ reason, message, field }] },
  code: 422,
});

describe('list', () => {
  test('pages are a snapshot at the first page, whatever happens meanwhile', async () => {
    for (let n = 0; n < 8; n += 1) await make(`pg${n}`);
    const first = await list({ limit: 3 });
    expect(first.remainingItemCount).toBe(5);
    await client.delete(configMaps, { namespace: 'raw', name: 'pg5' });
    await make('pg10');
    await make('pg4x', {}, 'other');
    await client.patch(configMaps, { namespace: 'raw', name: 'pg6' }, { type: 'merge', body: { data: { new: 'x' } } });
    const second = await list({ limit: 3, continue: first.continue });
    const third = await list({ limit: 3, continue: second.continue });
    expect([first, second, third].map(({ items }) => items.map(({ metadata }) => metadata.name))).toEqual([
      ['pg0', 'pg1', 'pg2'],
      ['pg3', 'pg4', 'pg5'],
      ['pg6', 'pg7'],
    ]);
    expect(second).toMatchObject({ resourceVersion: first.resourceVersion, remainingItemCount: 2 });
    expect(third.continue).toBeUndefined();
    expect((third.items[0] as ConfigMap).data).toBeUndefined();
  });

  test('pages with a selector do not count what is left', async () => {
    for (let n = 0; n < 4; n += 1) await make(`pg${n}`);
    const page = await list({ limit: 1, fieldSelector: 'metadata.name!=pg0' });
    expect(page.items.map(({ metadata }) => metadata.name)).toEqual(['pg1']);
    expect(page.continue).toBeDefined();
    expect(page.remainingItemCount).toBeUndefined();
  });

  test('resourceVersion=0 ignores the limit, a negative limit is none', async () => {
    for (let n = 0; n < 3; n += 1) await make(`pg${n}`);
    expect((await list({ limit: 2, resourceVersion: '0' })).items).toHaveLength(3);
    expect((await list({ limit: -1 })).items).toHaveLength(3);
  });

  test('Exact gives the state of a revision, NotOlderThan the newest', async () => {
    const { metadata } = await make('a', { x: '1' });
    const at = (await list()).resourceVersion;
    await client.patch(configMaps, metadata, { type: 'merge', body: { data: { x: '2' } } });
    await make('b');
    const exact = await list({ resourceVersion: at, resourceVersionMatch: 'Exact' });
    expect(exact).toMatchObject({ resourceVersion: at, items: [{ metadata: { name: 'a' }, data: { x: '1' } }] });
    expect((await list({ resourceVersion: at, resourceVersionMatch: 'NotOlderThan' })).items).toHaveLength(2);
    expect((await list({ resourceVersion: at })).items).toHaveLength(2);
  });

  test('Exact of a revision that is forgotten is Expired', async () => {
    const err = await failureOf(list({ resourceVersion: '1', resourceVersionMatch: 'Exact', limit: 1 }));
    expect(err.toStatus()).toMatchObject({
      code: 410,
      reason: 'Expired',
      message: 'The resourceVersion for the provided list is too old.',
    });
  });

  test('waits for a revision that is to come', async () => {
    const next = String(api.kubeApi.revision + 1);
    const listed = list({ resourceVersion: next });
    await make('a');
    expect((await listed).items).toHaveLength(1);
  });

  test('gives up after three seconds on a revision that does not come', async () => {
    const listed = failureOf(list({ resourceVersion: '99999999', resourceVersionMatch: 'NotOlderThan' }));
    await Promise.resolve();
    clock.advance(3000);
    expect((await listed).toStatus()).toMatchObject({
      message: `Timeout: Too large resource version: 99999999, current: ${api.kubeApi.revision}`,
      reason: 'Timeout',
      details: { causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }], retryAfterSeconds: 1 },
      code: 504,
    });
  });

  test('an expired continue token comes with one for an inconsistent rest', async () => {
    await make('pg1');
    await make('pg2');
    const token = Buffer.from(JSON.stringify({ v: 'meta.k8s.io/v1', rv: 2, start: 'raw/pg1\u0000' })).toString('base64url');
    const err = await failureOf(list({ limit: 3, continue: token }));
    expect(err).toMatchObject({ code: 410, reason: 'Expired' });
    expect(err.message).toMatch(/^The provided continue parameter is too old to display a consistent list result\./);
    const rest = await list({ limit: 3, continue: err.continueToken });
    expect(rest.items.map(({ metadata }) => metadata.name)).toEqual(['pg2']);
    expect(rest.resourceVersion).toBe(String(api.kubeApi.revision));
  });

  test.each([
    ['a token that is none', { continue: 'zzz' }, 400, /^invalid continue token: continue key is not valid: /],
    [
      'a token of another version',
      { continue: Buffer.from('{"v":"x","rv":1,"start":"a"}').toString('base64url') },
      400,
      /does not recognize this encoded version/,
    ],
    [
      'a version with a token',
      { continue: Buffer.from('{"v":"meta.k8s.io/v1","rv":1,"start":"a"}').toString('base64url'), resourceVersion: '7' },
      400,
      /^specifying resource version is not allowed when using continue$/,
    ],
    [
      'a version that is no number',
      { resourceVersion: 'abc' },
      400,
      /^invalid resource version: resourceVersion: Invalid value: "abc": strconv\.ParseUint: parsing "abc": invalid syntax$/,
    ],
    ['a malformed field selector', { fieldSelector: 'foo' }, 400, /^invalid selector: 'foo'; can't understand 'foo'$/],
    ['a malformed label selector', { labelSelector: 'a in' }, 400, /^unable to parse requirement: found '' expected: '\('$/],
  ])('refuses %s', async (_, options, code, message) => {
    const err = await failureOf(list(options));
    expect(err.code).toBe(code);
    expect(err.message).toMatch(message);
  });

  test('refuses matches that make no sense', async () => {
    expect((await failureOf(list({ resourceVersion: '1', resourceVersionMatch: 'Foo' }))).toStatus()).toMatchObject(
      invalidListOptions(
        'Unsupported value: "Foo": supported values: "Exact", "NotOlderThan", ""',
        'resourceVersionMatch',
        'FieldValueNotSupported',
      ),
    );
    expect((await failureOf(list({ resourceVersionMatch: 'NotOlderThan' }))).toStatus()).toMatchObject(
      invalidListOptions(
        'Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided',
        'resourceVersionMatch',
        'FieldValueForbidden',
      ),
    );
    expect((await failureOf(list({ resourceVersion: '0', resourceVersionMatch: 'Exact' }))).toStatus()).toMatchObject(
      invalidListOptions(
        'Forbidden: resourceVersionMatch "Exact" is forbidden for resourceVersion "0"',
        'resourceVersionMatch',
        'FieldValueForbidden',
      ),
    );
  });

  test('kinds with fields of their own say so when a field is unknown', async () => {
    const err = await failureOf(api.kubeApi.list({ ...request, kind: pods }, { fieldSelector: 'spec.foo=1' }));
    expect(err.message).toBe('field label not supported: spec.foo');
  });

  test('finds the pods of a node by index', async () => {
    const pod = { apiVersion: 'v1', kind: 'Pod', spec: { containers: [{ name: 'c', image: 'host/x' }] } };
    for (const name of ['a', 'b', 'c']) await client.create(pods, { ...pod, metadata: { name, namespace: 'raw' } });
    for (const name of ['a', 'c']) {
      await client.createSubresource(pods, { namespace: 'raw', name }, 'binding', { target: { kind: 'Node', name: 'n1' } });
    }
    const names = async (options: ListRequest) =>
      (await api.kubeApi.list({ ...request, kind: pods }, options)).items.map(({ metadata }) => metadata.name);
    expect(await names({ fieldSelector: 'spec.nodeName=n1' })).toEqual(['a', 'c']);
    expect(await names({ fieldSelector: 'spec.nodeName=n1,metadata.name=c' })).toEqual(['c']);
    expect(await names({ namespace: 'other', fieldSelector: 'spec.nodeName=n1' })).toEqual([]);
    expect(await names({ fieldSelector: 'spec.nodeName=' })).toEqual(['b']);
  });
});

describe('watch', () => {
  test('without a version sends the state first, then what happens', async () => {
    await make('b');
    await make('a');
    const seen = await watch();
    await make('c');
    expect(summary(seen.records)).toEqual(['ADDED a', 'ADDED b', 'ADDED c']);
  });

  test('without a version but with bookmarks marks the end of the state', async () => {
    await make('a');
    for (const resourceVersion of [undefined, '0']) {
      const seen = await watch({ resourceVersion, allowBookmarks: true });
      expect(summary(seen.records)).toEqual(['ADDED a', 'BOOKMARK initial-events-end']);
      expect(seen.records.at(-1)?.object.metadata.resourceVersion).toBe(String(api.kubeApi.revision));
    }
  });

  test('sendInitialEvents closes with a bookmark only when bookmarks are allowed', async () => {
    await make('a');
    const options = { sendInitialEvents: true, resourceVersionMatch: 'NotOlderThan' };
    expect(summary((await watch({ ...options, allowBookmarks: true })).records)).toEqual(['ADDED a', 'BOOKMARK initial-events-end']);
    expect(summary((await watch(options)).records)).toEqual(['ADDED a']);
  });

  test('sendInitialEvents=false starts at the version', async () => {
    const { metadata } = await make('a');
    await make('b');
    const seen = await watch({ sendInitialEvents: false, resourceVersionMatch: 'NotOlderThan', resourceVersion: metadata.resourceVersion });
    expect(summary(seen.records)).toEqual(['ADDED b']);
  });

  test('refuses matches that make no sense', async () => {
    expect((await failureOf(watch({ sendInitialEvents: true }))).toStatus()).toMatchObject(
      invalidListOptions(
        'Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan',
        'resourceVersionMatch',
        'FieldValueForbidden',
      ),
    );
    expect((await failureOf(watch({ resourceVersion: '0', resourceVersionMatch: 'NotOlderThan' }))).toStatus()).toMatchObject(
      invalidListOptions(
        'Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided',
        'resourceVersionMatch',
        'FieldValueForbidden',
      ),
    );
    expect((await failureOf(watch({ resourceVersion: 'abc' }))).toStatus()).toMatchObject({
      message: 'resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax',
      code: 500,
    });
  });

  test('from the future stays open and silent until then', async () => {
    const seen = await watch({ resourceVersion: String(api.kubeApi.revision + 1) });
    await make('a');
    expect(seen.records).toEqual([]);
    await make('b');
    expect(summary(seen.records)).toEqual(['ADDED b']);
  });

  test('from before the window is Expired', async () => {
    const err = await failureOf(watch({ resourceVersion: '1' }));
    expect(err).toMatchObject({ code: 410, reason: 'Expired', message: 'too old resource version: 1 (4)' });
  });

  test('gets a bookmark about once a minute, if it wants them', async () => {
    const start = String(api.kubeApi.revision);
    const marked = await watch({ resourceVersion: start, allowBookmarks: true });
    const plain = await watch({ resourceVersion: start });
    await make('x', {}, 'other');
    clock.advance(60_000);
    expect(summary(marked.records)).toEqual(['BOOKMARK']);
    expect(marked.records[0]?.object.metadata.resourceVersion).toBe(String(api.kubeApi.revision));
    expect(JSON.parse(marked.records[0]?.json() ?? '')).toEqual({
      kind: 'ConfigMap',
      apiVersion: 'v1',
      metadata: { resourceVersion: String(api.kubeApi.revision) },
    });
    expect(plain.records).toEqual([]);
  });

  test('a commit is one batch', async () => {
    const batches: number[] = [];
    await watch({ resourceVersion: String(api.kubeApi.revision), onEvents: (records) => batches.push(records.length) });
    await Promise.all([make('a'), make('b'), make('c')]);
    expect(batches).toEqual([3]);
  });

  test('the JSON of a record is its object, encoded once for the store and not again', async () => {
    const encodes = async (): Promise<number> => Number(/^encodes_total (\d+)$/m.exec(await metricsText())?.[1]);
    const first = await watch({ resourceVersion: String(api.kubeApi.revision) });
    const second = await watch({ resourceVersion: String(api.kubeApi.revision) });
    const before = await encodes();
    const created = await make('a', { metadata: '{"metadata":{' });
    expect(JSON.parse(first.records[0]?.json() ?? '')).toEqual(created);
    expect(second.records[0]).toBe(first.records[0]);
    expect(first.records[0]?.json()).toBe(second.records[0]?.json());
    expect((await encodes()) - before).toBe(1);
  });

  test('a watcher that throws is ended, the others are not', async () => {
    const broken = await watch({
      resourceVersion: String(api.kubeApi.revision),
      onEvents() {
        throw new Error('broken consumer');
      },
    });
    const seen = await watch({ resourceVersion: String(api.kubeApi.revision) });
    await make('a');
    await make('b');
    expect(broken.ends).toMatchObject([{ message: 'broken consumer' }]);
    expect(summary(seen.records)).toEqual(['ADDED a', 'ADDED b']);
  });

  test('ends when the service stops', async () => {
    const seen = await watch();
    api.kubeApi.stop();
    expect(seen.ends).toEqual([undefined]);
  });

  test('thousands of watchers by node cost no predicate', async () => {
    const counted: KubeObject[] = [];
    for (let n = 0; n < 1000; n += 1) {
      await api.kubeApi.watch(
        { ...request, kind: pods },
        {
          fieldSelector: `spec.nodeName=n${n}`,
          resourceVersion: String(api.kubeApi.revision),
          signal: abort.signal,
          onEvents: (records) => counted.push(...records.map(({ object }) => object)),
          onEnd: () => {},
        },
      );
    }
    await client.create(pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'a', namespace: 'raw' },
      spec: { nodeName: 'n7', containers: [{ name: 'c', image: 'host/x' }] },
    });
    expect(counted).toHaveLength(1);
    expect(await metricsText()).toContain('watch_predicate_calls_total 0');
  });
});

test('the number of objects of each resource is a metric', async () => {
  await client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'one', namespace: 'raw' } });
  const text = await metrics.text();
  expect(text).toContain('apiserver_storage_objects{resource="configmaps"} 1\n');
  expect(text).toContain('apiserver_storage_objects{resource="deployments.apps"} 0\n');
});

import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { namespaces } from '../../src/api/core/v1/namespace.ts';
import { openMemoryStorage } from '../../src/storage/memory/storage.ts';
import { startTestApi } from '../support/api.ts';
import { adminToken, startTestApiServer, type TestApiServer } from '../support/api-server.ts';
import { until } from '../support/until.ts';

const configMaps = '/api/v1/namespaces/default/configmaps';
const table = 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json';

// biome-ignore lint/suspicious/noExplicitAny: events carry objects of every shape
type Event = { readonly type: string; readonly object: any };

interface OpenWatch {
  readonly status: number;
  readonly contentType: string | undefined;
  readonly events: readonly Event[];
  readonly ended: Promise<void>;
  /** Waits for so many events. */
  take(count: number): Promise<readonly Event[]>;
  close(): void;
}

describe('watches over HTTP', () => {
  let cluster: TestApiServer;

  beforeAll(async () => {
    cluster = await startTestApiServer();
  });
  afterAll(() => cluster.stop());

  const open = (path: string, accept = 'application/json'): Promise<OpenWatch> => {
    const { hostname, port } = new URL(cluster.server.url);
    return new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${adminToken}`, accept };
      const request = httpsRequest({ hostname, port, path, ca: cluster.pki.caCertificate, agent: false, headers }, (response) => {
        const events: Event[] = [];
        let rest = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          const lines = (rest + chunk).split('\n');
          rest = lines.pop() ?? '';
          for (const line of lines) events.push(JSON.parse(line) as Event);
        });
        const ended = new Promise<void>((done) => response.once('close', () => done()));
        resolve({
          status: response.statusCode ?? 0,
          contentType: response.headers['content-type'],
          events,
          ended,
          take: (count) =>
            until(() => events.length >= count && events.slice(0, count), { what: () => `${count} events: ${JSON.stringify(events)}` }),
          close: () => request.destroy(),
        });
      });
      request.once('error', reject);
      request.end();
    });
  };
  const create = async (name: string, labels = {}): Promise<string> => {
    const { json } = await cluster.fetch(configMaps, { method: 'POST', body: { metadata: { name, labels } } });
    return json.metadata.resourceVersion;
  };
  const patch = (name: string, body: unknown) =>
    cluster.fetch(`${configMaps}/${name}`, { method: 'PATCH', headers: { 'content-type': 'application/merge-patch+json' }, body });
  const remove = (name: string) => cluster.fetch(`${configMaps}/${name}`, { method: 'DELETE' });
  const summary = (events: readonly Event[]) => events.map(({ type, object }) => `${type} ${object.metadata.name ?? ''}`.trim());

  it('sends the head at once and then every change in order', async () => {
    const version = await create('start');
    const watch = await open(`${configMaps}?watch=true&resourceVersion=${version}`);
    expect(watch).toMatchObject({ status: 200, contentType: 'application/json', events: [] });
    await create('w3');
    await patch('w3', { data: { z: '1' } });
    await remove('w3');
    const events = await watch.take(3);
    expect(summary(events)).toEqual(['ADDED w3', 'MODIFIED w3', 'DELETED w3']);
    expect(events[1]?.object).toMatchObject({ kind: 'ConfigMap', apiVersion: 'v1', data: { z: '1' } });
    const versions = events.map(({ object }) => Number(object.metadata.resourceVersion));
    expect(versions).toEqual([...versions].sort((a, b) => a - b));
    watch.close();
    const replay = await open(`${configMaps}?watch=1&resourceVersion=${version}`);
    expect(await replay.take(3)).toEqual(events);
    replay.close();
  });

  it('begins with the state when no version is given, and marks its end for WatchList', async () => {
    await create('s1', { state: 'yes' });
    const query = 'watch=true&labelSelector=state%3Dyes';
    const plain = await open(`${configMaps}?${query}`);
    expect(summary(await plain.take(1))).toEqual(['ADDED s1']);
    plain.close();
    const list = await open(`${configMaps}?${query}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true`);
    const [added, bookmark] = await list.take(2);
    expect(added?.type).toBe('ADDED');
    expect(bookmark).toMatchObject({
      type: 'BOOKMARK',
      object: { kind: 'ConfigMap', apiVersion: 'v1', metadata: { annotations: { 'k8s.io/initial-events-end': 'true' } } },
    });
    list.close();
  });

  it('gives DELETED to a selector whose set an object leaves', async () => {
    const version = await create('sel', { s: '1' });
    const watch = await open(`${configMaps}?watch=true&labelSelector=s%3D1&resourceVersion=${version}`);
    await patch('sel', { metadata: { labels: { s: '2' } } });
    await patch('sel', { metadata: { labels: { s: '1' } } });
    const events = await watch.take(2);
    expect(summary(events)).toEqual(['DELETED sel', 'ADDED sel']);
    expect(events[0]?.object.metadata.labels).toEqual({ s: '1' });
    watch.close();
  });

  it('ends cleanly after timeoutSeconds', async () => {
    const watch = await open(`${configMaps}?watch=true&resourceVersion=999999&timeoutSeconds=1`);
    await watch.ended;
    expect(watch.events).toEqual([]);
  });

  it('tells in the stream that a version is too old', async () => {
    const storage = await openMemoryStorage();
    const before = await startTestApi({ storage });
    for (const name of ['first', 'second']) {
      await before.clientFor().create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
    }
    before.kubeApi.stop();
    await storage.compact(storage.currentRevision);
    const restarted = await startTestApiServer({ storage });
    try {
      const { status, json } = await restarted.fetch('/api/v1/namespaces?watch=true&resourceVersion=1');
      expect(status).toBe(200);
      expect(json).toMatchObject({
        type: 'ERROR',
        object: {
          kind: 'Status',
          status: 'Failure',
          reason: 'Expired',
          code: 410,
          message: expect.stringContaining('too old resource version: 1 ('),
        },
      });
    } finally {
      await restarted.stop();
    }
  });

  it('refuses before the first event what a watch cannot be', async () => {
    expect((await cluster.fetch(`${configMaps}?watch=true&sendInitialEvents=true`)).json.message).toContain(
      'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan',
    );
    expect((await cluster.fetch(`${configMaps}?watch=true`, { headers: { accept: 'text/plain' } })).status).toBe(406);
    expect((await cluster.fetch(`${configMaps}?watch=true&fieldSelector=spec.x%3D1`)).status).toBe(400);
    expect((await cluster.fetch(`${configMaps}?watch=true&resourceVersion=abc`)).status).toBe(500);
  });

  it('watches one object by the old path and by field selector', async () => {
    await create('one');
    for (const path of [
      '/api/v1/watch/namespaces/default/configmaps/one?',
      `${configMaps}?watch=true&fieldSelector=metadata.name%3Done&`,
    ]) {
      const watch = await open(`${path}timeoutSeconds=1`);
      await watch.ended;
      expect(summary(watch.events)).toEqual(['ADDED one']);
    }
    const named = await cluster.fetch(`${configMaps}/one?watch=true`);
    expect(named.json.kind).toBe('ConfigMap');
  });

  it('describes the columns of a table in the first event only', async () => {
    await create('ta', { tab: 'yes' });
    await create('tb', { tab: 'yes' });
    const query = 'watch=true&labelSelector=tab%3Dyes&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true';
    const watch = await open(`${configMaps}?${query}`, table);
    const [first, second, bookmark] = await watch.take(3);
    expect(first?.object.columnDefinitions).toHaveLength(3);
    expect(first?.object.rows[0]).toMatchObject({ cells: ['ta', 0, expect.any(String)], object: { kind: 'PartialObjectMetadata' } });
    expect(second?.object.columnDefinitions).toBeNull();
    expect(bookmark).toMatchObject({
      type: 'BOOKMARK',
      object: { kind: 'Table', rows: [{ object: { metadata: { annotations: { 'k8s.io/initial-events-end': 'true' } } } }] },
    });
    watch.close();
  });

  it('reduces objects to metadata', async () => {
    await create('meta', { m: 'yes' });
    const watch = await open(`${configMaps}?watch=true&labelSelector=m`, 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1');
    const [event] = await watch.take(1);
    expect(Object.keys(event?.object ?? {})).toEqual(['kind', 'apiVersion', 'metadata']);
    watch.close();
  });

  it('ends a watcher that does not read with Expired, and serves the others', async () => {
    const version = await create('flood');
    const path = `${configMaps}?watch=true&resourceVersion=${version}`;
    const fast = await open(path);
    const { hostname, port } = new URL(cluster.server.url);
    let slowText = '';
    const slow = await new Promise<IncomingMessage>((resolve, reject) => {
      const headers = { authorization: `Bearer ${adminToken}` };
      const request = httpsRequest({ hostname, port, path, ca: cluster.pki.caCertificate, agent: false, headers }, resolve);
      request.once('error', reject);
      request.end();
    });
    slow.pause();
    // The sockets in between hold some megabytes; then events wait in the server.
    const data = 'x'.repeat(10_000);
    const client = cluster.api.clientFor();
    const resource = { group: '', version: 'v1', resource: 'configmaps', kind: 'ConfigMap', namespaced: true };
    for (let round = 0; round < 130; round += 1) {
      await Promise.all(
        Array.from({ length: 50 }, (_, index) =>
          client.patch(
            resource,
            { namespace: 'default', name: 'flood' },
            { type: 'merge', body: { data: { k: `${round}-${index}-${data}` } } },
          ),
        ),
      );
      // At the pace of the reader that keeps up: on a busy machine the writer alone would leave it behind, too.
      await until(() => fast.events.length >= (round + 1) * 50, { what: `the events of round ${round}`, intervalMs: 1 });
    }
    slow.setEncoding('utf8');
    slow.on('data', (chunk: string) => {
      slowText = (slowText + chunk).slice(-2_000);
    });
    slow.resume();
    await until(() => slow.readableEnded || slow.destroyed, { what: 'the slow watch is ended', timeoutMs: 20_000 });
    expect(slowText).toMatch(/"type":"ERROR".*"reason":"Expired","code":410/);
    fast.close();
  }, 60_000);
});

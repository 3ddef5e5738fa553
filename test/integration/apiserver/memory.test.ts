import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { shareMemory } from '../../../src/base/memory-budget.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import { adminToken, startTestApiServer, type TestApiServer } from '../../support/api-server.ts';

/** A server with room for few large objects, events and answers; the heap is the one of the tests. */
const memory = { ...shareMemory({ totalBytes: 192 * 1024 ** 2 }), heapBytes: shareMemory().heapBytes };
const large = 'x'.repeat(900_000);
const namespace = 'large';
const collection = `/api/v1/namespaces/${namespace}/configmaps`;
const metrics = createMetrics();
let cluster: TestApiServer;
beforeAll(async () => {
  cluster = await startTestApiServer({ memory, metrics }, { memory });
  await cluster.client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
  await cluster.client.create(configMaps, configMap('busy', '0'));
});
afterAll(() => cluster.stop());

const configMap = (name: string, text: string) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace }, data: { text } });

/** An answer of which the client reads nothing. */
function openUnread(path: string): Promise<IncomingMessage> {
  const { hostname, port } = new URL(cluster.server.url);
  const headers = { authorization: `Bearer ${adminToken}` };
  return new Promise((resolve, reject) => {
    const request = httpsRequest({ hostname, port, path, headers, ca: cluster.pki.caCertificate, agent: false });
    request.once('response', (response) => resolve(response.pause()));
    request.once('error', reject);
    request.end();
  });
}

const linesOf = async (
  response: IncomingMessage,
): Promise<readonly { readonly type: string; readonly object: { readonly code?: number } }[]> => {
  let text = '';
  response.setEncoding('utf8');
  for await (const chunk of response) text += chunk;
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
};

describe('a watch whose client does not read', () => {
  it('is ended as Expired when too many bytes wait for it, and a watch that reads misses nothing', async () => {
    const version = (await cluster.client.list(configMaps, { namespace })).metadata.resourceVersion ?? '';
    const unread = await openUnread(`${collection}?watch=1&resourceVersion=${version}`);
    const seen: string[] = [];
    const reading = new AbortController();
    const watched = cluster.client.watch(configMaps, {
      namespace,
      resourceVersion: version,
      signal: reading.signal,
      onEvents: (events) => seen.push(...events.map(({ object }) => object.metadata.resourceVersion ?? '')),
    });
    const updates = 16;
    const written: string[] = [];
    for (let update = 0; update < updates; update += 1) {
      const { metadata } = await cluster.client.update(configMaps, configMap('busy', `${large}${update}`));
      written.push(metadata.resourceVersion ?? '');
    }
    const lines = await linesOf(unread);
    expect(lines.at(-1)).toMatchObject({ type: 'ERROR', object: { code: 410, reason: 'Expired' } });
    expect(lines.length).toBeLessThan(updates);
    await expect.poll(() => seen, { timeout: 10_000 }).toEqual(written);
    reading.abort();
    await watched;
  });

  it('leaves the history of large updates within its memory: an old revision is Expired, the newest is not', async () => {
    const first = (await cluster.client.update(configMaps, configMap('busy', `${large}first`))).metadata.resourceVersion;
    let last: string | undefined;
    for (let update = 0; update < 20; update += 1) {
      last = (await cluster.client.update(configMaps, configMap('busy', `${large}${update}`))).metadata.resourceVersion;
    }
    const [old] = await linesOf(await openUnread(`${collection}?watch=1&timeoutSeconds=1&resourceVersion=${first}`));
    expect(old).toMatchObject({ type: 'ERROR', object: { code: 410 } });
    const before = String(Number(last) - 1);
    const [event] = await linesOf(await openUnread(`${collection}?watch=1&timeoutSeconds=1&resourceVersion=${before}`));
    expect(event).toMatchObject({ type: 'MODIFIED' });
  });
});

it('ends a watch of a negative time at once, as upstream does', async () => {
  expect(await linesOf(await openUnread(`${collection}?watch=1&labelSelector=none&timeoutSeconds=-1`))).toEqual([]);
});

describe('answers that nobody reads', () => {
  it('keep no more memory than there is for them, and other users get theirs', async () => {
    const metric = async (): Promise<number> => Number(/^answer_memory_bytes (\d+)$/m.exec(await metrics.text())?.[1]);
    for (let index = 0; index < 8; index += 1) await cluster.client.create(configMaps, configMap(`c${index}`, large));
    const unread = Array.from({ length: 20 }, () => openUnread(`${collection}/c0`));
    // The server resets them when it stops after a failure below, which is then the one to be reported.
    for (const response of unread) response.catch(() => undefined);
    await expect.poll(metric).toBeGreaterThan(memory.answerBytes / 4);
    expect(await metric()).toBeLessThanOrEqual(memory.answerBytes);
    const other = await cluster.fetch(`${collection}/c1`, {
      headers: { 'impersonate-user': 'other', 'impersonate-group': 'system:masters' },
    });
    expect(other.status).toBe(200);
    for (const response of unread) void response.then((answer) => answer.destroy());
    await Promise.all(unread);
    await expect.poll(metric).toBe(0);
  });
});

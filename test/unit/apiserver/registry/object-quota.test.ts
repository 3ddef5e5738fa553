import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { deployments } from '../../../../src/api/apps/v1/deployment.ts';
import { configMaps } from '../../../../src/api/core/v1/config-map.ts';
import { memoryOf } from '../../../../src/apiserver/registry/encoding.ts';
import { ObjectQuota } from '../../../../src/apiserver/registry/object-quota.ts';
import type { MemoryBudget } from '../../../../src/base/memory-budget.ts';
import { shareMemory } from '../../../../src/base/memory-budget.ts';
import { createMetrics, type Metrics } from '../../../../src/base/metrics.ts';
import { openMemoryStorage } from '../../../../src/storage/memory/storage.ts';
import { startSeededApi, startTestApi, type TestApi } from '../../../support/api.ts';

const mebi = 1024 ** 2;
const memory: MemoryBudget = { ...shareMemory(), objectBytes: 4 * mebi };
let metrics: Metrics;
let api: TestApi;
beforeEach(async () => {
  metrics = createMetrics();
  api = await startSeededApi(['default'], { memory, metrics });
});
afterEach(() => api.stop());

const apiVersion = 'v1';
const kind = 'ConfigMap';
/** Not a part of the process: one that comes over HTTP. */
const user = { name: 'alice', groups: ['system:masters'] };
const namespace = 'default';
const configMap = (name: string, text: string) => ({ apiVersion, kind, metadata: { name, namespace }, data: { text } });
const create = (name: string, text: string) =>
  api.kubeApi.create({ kind: configMaps, user, userAgent: 'test' }, namespace, configMap(name, text) as never);
const update = (name: string, text: string) =>
  api.kubeApi.update({ kind: configMaps, user, userAgent: 'test' }, { namespace, name }, configMap(name, text) as never);
const remove = (name: string) => api.kubeApi.delete({ kind: configMaps, user, userAgent: 'test' }, { namespace, name }, {});
/** Four of it fit into the quota. */
const large = 'x'.repeat(1_000_000);
const half = 'x'.repeat(500_000);
const bytes = async (): Promise<number> => Number([...(await metrics.text()).matchAll(/^stored_object_bytes (\d+)$/gm)].at(-1)?.[1]);
const noRoom = { code: 507, reason: 'InsufficientStorage' };

describe('an object', () => {
  const deployment = (text: string) => ({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'a', namespace },
    spec: {
      selector: { matchLabels: { app: 'a' } },
      template: {
        metadata: { labels: { app: 'a' } },
        spec: { containers: [{ name: 'a', image: 'host/a', env: [{ name: 'TEXT', value: text }] }] },
      },
    },
  });
  const request = { user, userAgent: 'test' };
  const deploy = (text: string) => api.kubeApi.create({ ...request, kind: deployments }, namespace, deployment(text) as never);

  it('is refused with 413 above 1.5 MiB, in the words of the real server', async () => {
    const message = 'Request entity too large: limit is 1572864';
    await expect(deploy('x'.repeat(1.6 * mebi))).rejects.toMatchObject({ code: 413, reason: 'RequestEntityTooLarge', message });
    await deploy('x'.repeat(1.4 * mebi));
    await expect(
      api.kubeApi.update({ ...request, kind: deployments }, { namespace, name: 'a' }, deployment('x'.repeat(1.6 * mebi)) as never),
    ).rejects.toMatchObject({ code: 413 });
  });

  it('counts by its bytes as it is stored, not by its letters', async () => {
    await expect(deploy('ü'.repeat(0.8 * mebi))).rejects.toMatchObject({ code: 413 });
    await deploy('ü'.repeat(0.7 * mebi));
  });
});

describe('the memory of an object', () => {
  const textOf = (fields: number, value = '') =>
    JSON.stringify({ data: Object.fromEntries(Array.from({ length: fields }, (_, index) => [`key-${index}`, value])) });

  it('is several times the text when it has many short fields, and the text when it has few', () => {
    const many = textOf(10_000);
    expect(memoryOf(many)).toBeGreaterThan(5 * many.length);
    const few = JSON.stringify({ data: { text: 'x'.repeat(200_000) } });
    expect(memoryOf(few)).toBeLessThan(1.01 * few.length);
  });

  it('does not count what looks like fields within a value', () => {
    const text = JSON.stringify({ data: { dashboard: textOf(10_000) } });
    expect(memoryOf(text)).toBeLessThan(1.01 * text.length);
  });
});

describe('a heap that is full', () => {
  it('refuses growth although the quota has room, and lets pass what shrinks and what the process itself needs', () => {
    let isFull = false;
    const quota = new ObjectQuota(10 * mebi, () => isFull);
    expect(quota.hold('x'.repeat(1_000), 0, false)).toBeGreaterThan(0);
    isFull = true;
    expect(() => quota.hold('x'.repeat(1_000), 0, false)).toThrow(expect.objectContaining(noRoom));
    expect(quota.hold('x'.repeat(1_000), 5_000, false)).toBe(0);
    expect(quota.hold('x'.repeat(1_000), 0, true)).toBeGreaterThan(0);
  });
});

describe('all objects together', () => {
  it('take what the quota allows: creates and growth beyond are refused, deletions and what shrinks are not', async () => {
    for (const name of ['a', 'b', 'c']) await create(name, large);
    await create('d', half);
    await expect(create('e', large)).rejects.toMatchObject({ ...noRoom, message: expect.stringContaining('--storage-quota') });
    await expect(update('d', `${large}`)).resolves.toBeDefined();
    await expect(update('d', `${large}${'x'.repeat(40_000)}`)).resolves.toBeDefined();
    await expect(create('e', half)).rejects.toMatchObject(noRoom);
    await update('c', 'small');
    await expect(update('c', half)).resolves.toBeDefined();
    await remove('a');
    await create('e', large);
  });

  it('are not passed by writes that are under way at the same time', async () => {
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, (_, index) => create(`c${index}`, large)));
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(4);
    expect(await bytes()).toBeLessThanOrEqual(memory.objectBytes);
    await remove(`c${outcomes.findIndex(({ status }) => status === 'fulfilled')}`);
    await create('again', large);
  });

  it('leave some room to the parts of the process, so that a full cluster goes on working', async () => {
    const client = api.clientFor();
    for (let index = 0; index < 4; index += 1) await create(`c${index}`, large);
    await expect(create('more', half)).rejects.toMatchObject(noRoom);
    await client.create(configMaps, configMap('own', half));
    await expect(client.create(configMaps, configMap('too-much', half))).rejects.toMatchObject(noRoom);
  });

  it('are counted after a restart, too', async () => {
    const storage = await openMemoryStorage();
    const first = await startSeededApi([namespace], { storage, memory });
    for (let index = 0; index < 4; index += 1) await first.clientFor().create(configMaps, configMap(`c${index}`, large));
    first.kubeApi.stop();
    const second = await startTestApi({ storage, memory });
    const client = second.clientFor();
    await expect(client.create(configMaps, configMap('d', large))).rejects.toMatchObject(noRoom);
    await client.delete(configMaps, { namespace, name: 'c0' });
    await client.create(configMaps, configMap('d', large));
    await second.stop();
  });

  it('weigh nothing any more once they are deleted', async () => {
    const before = await bytes();
    await create('a', half);
    await update('a', large);
    await remove('a');
    expect(await bytes()).toBe(before);
  });
});

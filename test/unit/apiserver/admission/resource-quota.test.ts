import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { configMaps } from '../../../../src/api/core/v1/config-map.ts';
import { type Pod, type PodSpec, pods } from '../../../../src/api/core/v1/pod.ts';
import { type ResourceQuota, resourceQuotas } from '../../../../src/api/core/v1/resource-quota.ts';
import type { Client } from '../../../../src/client/client.ts';
import { isForbidden, isStatusError } from '../../../../src/machinery/status-error.ts';
import { startSeededApi, type TestApi } from '../../../support/api.ts';

let api: TestApi;
let client: Client;

beforeEach(async () => {
  api = await startSeededApi(['shop', 'other']);
  client = api.clientFor();
});

afterEach(() => api.stop());

const makeQuota = (
  hard: Record<string, string>,
  spec: Partial<NonNullable<ResourceQuota['spec']>> = {},
  name = 'q',
): Promise<ResourceQuota> =>
  client.create(resourceQuotas, {
    apiVersion: 'v1',
    kind: 'ResourceQuota',
    metadata: { name, namespace: 'shop' },
    spec: { hard, ...spec },
  });

const makePod = (name: string, cpu?: string, spec: Partial<PodSpec> = {}, namespace = 'shop'): Promise<Pod> =>
  client.create(pods, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    spec: { containers: [{ name: 'c', image: 'i', ...(cpu === undefined ? {} : { resources: { requests: { cpu } } }) }], ...spec },
  });

const makeMap = (name: string) => client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: 'shop' } });

const usedOf = async (name = 'q') => (await client.get(resourceQuotas, { namespace: 'shop', name })).status?.used;

async function refusalOf(write: Promise<unknown>): Promise<string> {
  const err = await write.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!isStatusError(err)) throw new Error('expected a refusal', { cause: err });
  expect(isForbidden(err)).toBe(true);
  return err.message;
}

describe('a quota', () => {
  test('counts a pod before it is answered, and refuses the one that is too many', async () => {
    await makeQuota({ pods: '2', 'requests.cpu': '1' });
    await makePod('a', '300m');
    expect(await usedOf()).toEqual({ pods: '1', 'requests.cpu': '300m' });
    expect(await refusalOf(makePod('b', '800m'))).toBe(
      'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=800m, used: requests.cpu=300m, limited: requests.cpu=1',
    );
    await makePod('b', '700m');
    expect(await refusalOf(makePod('c', '1'))).toBe(
      'pods "c" is forbidden: exceeded quota: q, requested: pods=1,requests.cpu=1, used: pods=2,requests.cpu=1, limited: pods=2,requests.cpu=1',
    );
    expect(await usedOf()).toEqual({ pods: '2', 'requests.cpu': '1' });
    await makePod('c', '1', {}, 'other');
  });

  test('asks every container for what it counts', async () => {
    await makeQuota({ 'requests.cpu': '1', 'limits.memory': '1Gi' });
    expect(await refusalOf(makePod('a'))).toBe(
      'pods "a" is forbidden: failed quota: q: must specify limits.memory for: c; requests.cpu for: c',
    );
  });

  test('counts objects of any kind', async () => {
    await makeQuota({ 'count/configmaps': '1', secrets: '5' });
    await makeMap('a');
    expect(await usedOf()).toEqual({ 'count/configmaps': '1', secrets: '0' });
    expect(await refusalOf(makeMap('b'))).toContain(
      'exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=1, limited: count/configmaps=1',
    );
  });

  test('counts what was there before it', async () => {
    await makePod('a', '1');
    await makeQuota({ pods: '1' });
    expect(await refusalOf(makePod('b', '1'))).toContain('used: pods=1, limited: pods=1');
  });

  test('counts what a pod is resized to', async () => {
    await makeQuota({ 'requests.cpu': '1' });
    await makePod('a', '300m');
    const resize = (cpu: string) =>
      client.patch(
        pods,
        { namespace: 'shop', name: 'a' },
        { type: 'strategic', body: { spec: { containers: [{ name: 'c', resources: { requests: { cpu } } }] } } },
        { subresource: 'resize' },
      );
    expect(await refusalOf(resize('1100m'))).toBe(
      'pods "a" is forbidden: exceeded quota: q, requested: requests.cpu=800m, used: requests.cpu=300m, limited: requests.cpu=1',
    );
    await resize('900m');
    expect(await usedOf()).toEqual({ 'requests.cpu': '900m' });
  });

  test('with a scope is about the pods in it', async () => {
    await makeQuota({ pods: '1' }, { scopes: ['BestEffort'] });
    await makePod('a', '1');
    await makePod('b');
    expect(await refusalOf(makePod('c'))).toContain('exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1');
    await makePod('d', '1');
  });

  test('gives back what a dry run and a refused write took', async () => {
    await makeQuota({ 'count/configmaps': '2' });
    const map = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a', namespace: 'shop' } } as const;
    await client.create(configMaps, map, { dryRun: true });
    expect(await usedOf()).toBeUndefined();
    await client.create(configMaps, map);
    await expect(client.create(configMaps, map)).rejects.toThrow('already exists');
    await makeMap('b');
  });

  test('lets others in when an object goes, once its status says so', async () => {
    await makeQuota({ pods: '1' });
    await makePod('a');
    await client.delete(pods, { namespace: 'shop', name: 'a' });
    // Nobody counts again here: the status is what a controller would write.
    await client.patch(
      resourceQuotas,
      { namespace: 'shop', name: 'q' },
      { type: 'merge', body: { status: { used: { pods: '0' } } } },
      { subresource: 'status' },
    );
    await makePod('b');
  });

  test('holds whatever its status claims', async () => {
    await makeQuota({ pods: '1' });
    await makePod('a');
    await client.patch(
      resourceQuotas,
      { namespace: 'shop', name: 'q' },
      { type: 'merge', body: { status: { used: { pods: '0' } } } },
      { subresource: 'status' },
    );
    expect(await refusalOf(makePod('b'))).toContain('used: pods=1, limited: pods=1');
  });
});

test('is never exceeded and never leaves room unused, however many write at once', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        cpus: fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 30 }),
        limit: fc.integer({ min: 1, max: 40 }),
        pauses: fc.array(fc.boolean(), { minLength: 30, maxLength: 30 }),
      }),
      async ({ cpus, limit, pauses }) => {
        const own = await startSeededApi(['shop']);
        try {
          const admin = own.clientFor();
          await admin.create(resourceQuotas, {
            apiVersion: 'v1',
            kind: 'ResourceQuota',
            metadata: { name: 'q', namespace: 'shop' },
            spec: { hard: { 'requests.cpu': String(limit), pods: '20' } },
          });
          const writes: Promise<number>[] = [];
          for (const [index, cpu] of cpus.entries()) {
            if (pauses[index] === true) await new Promise((resolve) => setImmediate(resolve));
            const spec = { containers: [{ name: 'c', image: 'i', resources: { requests: { cpu: String(cpu) } } }] };
            const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { generateName: 'p-', namespace: 'shop' }, spec };
            writes.push(
              admin.create(pods, pod).then(
                () => cpu,
                (err: unknown) => {
                  if (!isForbidden(err)) throw err;
                  return 0;
                },
              ),
            );
          }
          const granted = (await Promise.all(writes)).filter((cpu) => cpu > 0);
          const sum = granted.reduce((total, cpu) => total + cpu, 0);
          expect(sum).toBeLessThanOrEqual(limit);
          // Decided in the order they came: who was refused would not have fitted then.
          const expected: number[] = [];
          for (const cpu of cpus) {
            const before = expected.reduce((total, other) => total + other, 0);
            if (before + cpu <= limit && expected.length < 20) expected.push(cpu);
          }
          expect(granted).toEqual(expected);
          const { status } = await admin.get(resourceQuotas, { namespace: 'shop', name: 'q' });
          if (granted.length > 0) expect(status?.used).toEqual({ 'requests.cpu': String(sum), pods: String(granted.length) });
        } finally {
          await own.stop();
        }
      },
    ),
    { numRuns: 15 },
  );
}, 60_000);

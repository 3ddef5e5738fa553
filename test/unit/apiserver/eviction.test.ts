import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Pod, pods } from '../../../src/api/core/v1/pod.ts';
import { type PodDisruptionBudget, podDisruptionBudgets } from '../../../src/api/policy/v1/pod-disruption-budget.ts';
import type { Client } from '../../../src/client/client.ts';
import { isConflict, isStatusError, type StatusError } from '../../../src/machinery/status-error.ts';
import { startSeededApi, type TestApi } from '../../support/api.ts';

const namespace = 'shop';
let api: TestApi;
let client: Client;

beforeEach(async () => {
  api = await startSeededApi([namespace]);
  client = api.clientFor();
  await client.create(pods, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace, labels: { app: 'web' } },
    spec: { nodeName: 'n', containers: [{ name: 'c', image: 'i' }] },
  });
  const conditions = [{ type: 'Ready', status: 'True' }];
  await client.patch(
    pods,
    { namespace, name: 'web' },
    { type: 'merge', body: { status: { phase: 'Running', conditions } } },
    { subresource: 'status' },
  );
  await client.create(podDisruptionBudgets, {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: { name: 'b', namespace },
    spec: { minAvailable: 1, selector: {} },
  });
});

afterEach(() => api.stop());

const setStatus = (status: Partial<NonNullable<PodDisruptionBudget['status']>>): Promise<unknown> =>
  client.patch(podDisruptionBudgets, { namespace, name: 'b' }, { type: 'merge', body: { status } }, { subresource: 'status' });

const evict = (deleteOptions?: object): Promise<unknown> =>
  client.createSubresource(pods, { namespace, name: 'web' }, 'eviction', {
    apiVersion: 'policy/v1',
    kind: 'Eviction',
    metadata: { name: 'web', namespace },
    ...(deleteOptions === undefined ? {} : { deleteOptions }),
  });

async function refusalOf(write: Promise<unknown>): Promise<StatusError> {
  const err = await write.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!isStatusError(err)) throw new Error('expected a refusal', { cause: err });
  return err;
}

const find = (): Promise<Pod> => client.get(pods, { namespace, name: 'web' });

test('waits for a budget that nobody has counted yet', async () => {
  const err = await refusalOf(evict());
  expect(err.code).toBe(429);
  expect(err.details).toEqual({
    causes: [{ reason: 'DisruptionBudget', message: 'The disruption budget b is still being processed by the server.' }],
    retryAfterSeconds: 10,
  });
  expect((await find()).metadata.deletionTimestamp).toBeUndefined();
});

test('takes a disruption from the budget before the pod goes', async () => {
  await setStatus({ observedGeneration: 1, disruptionsAllowed: 1, currentHealthy: 2, desiredHealthy: 1, expectedPods: 2 });
  await evict();
  const { status } = await client.get(podDisruptionBudgets, { namespace, name: 'b' });
  expect(status).toMatchObject({
    disruptionsAllowed: 0,
    conditions: [{ type: 'DisruptionAllowed', status: 'False', reason: 'InsufficientPods' }],
  });
  expect(Object.keys(status?.disruptedPods ?? {})).toEqual(['web']);
  expect((await find()).metadata.deletionTimestamp).toBeDefined();
});

test('changes nothing in a dry run, which is refused like a real one', async () => {
  await setStatus({ observedGeneration: 1, disruptionsAllowed: 1, currentHealthy: 2, desiredHealthy: 1 });
  const before = await client.get(podDisruptionBudgets, { namespace, name: 'b' });
  await evict({ dryRun: ['All'] });
  expect(await client.get(podDisruptionBudgets, { namespace, name: 'b' })).toBe(before);
  expect((await find()).metadata.deletionTimestamp).toBeUndefined();
  await setStatus({ disruptionsAllowed: 0 });
  expect((await refusalOf(evict({ dryRun: ['All'] }))).details?.causes?.[0]?.message).toBe(
    'The disruption budget b needs 1 healthy pods and has 2 currently',
  );
});

test('is refused while too many evictions are unconfirmed', async () => {
  const disruptedPods = Object.fromEntries(Array.from({ length: 2_001 }, (_, n) => [`p${n}`, '2026-01-01T00:00:00Z']));
  await setStatus({ observedGeneration: 1, disruptionsAllowed: 5, disruptedPods } as never);
  expect((await refusalOf(evict())).message).toContain('DisruptedPods map too big');
});

test('keeps to the version that its client names', async () => {
  await client.delete(podDisruptionBudgets, { namespace, name: 'b' });
  await expect(evict({ preconditions: { resourceVersion: '1' } })).rejects.toSatisfy(isConflict);
  expect((await find()).metadata.deletionTimestamp).toBeUndefined();
});

test('names the pod of its path', async () => {
  const eviction = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name: 'other', namespace } };
  const err = await refusalOf(client.createSubresource(pods, { namespace, name: 'web' }, 'eviction', eviction));
  expect(err.message).toBe('name in URL does not match name in Eviction object');
});

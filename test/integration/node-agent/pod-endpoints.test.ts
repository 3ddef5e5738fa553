import { afterAll, beforeAll, expect, it } from 'vitest';
import { type EndpointSlice, endpointSlices } from '../../../src/api/discovery/v1/endpoint-slice.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import type { Client } from '../../../src/client/client.ts';
import { createInformerSet } from '../../../src/client/informer-set.ts';
import { createPodEndpoints, type PodEndpoints } from '../../../src/node-agent/pod-endpoints.ts';
import { startSeededApi, type TestApi } from '../../support/api.ts';
import { until } from '../../support/until.ts';

let api: TestApi;
let client: Client;
let endpoints: PodEndpoints;
let seen: () => number;
const abort = new AbortController();

beforeAll(async () => {
  api = await startSeededApi(['default']);
  client = api.clientFor();
  const informers = createInformerSet({ client, clock: systemClock, log: createLog({ level: 'silent' }) });
  endpoints = createPodEndpoints(informers, systemClock);
  informers.start({ signal: abort.signal });
  await informers.waitForSync({ signal: abort.signal });
  seen = () => informers.get(endpointSlices).size;
});
afterAll(async () => {
  abort.abort(new Error('test ends'));
  await api.stop();
});

const sliceOf = (name: string, uids: readonly string[], managedBy = 'endpointslice-controller.k8s.io'): EndpointSlice => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { name, namespace: 'default', labels: { 'endpointslice.kubernetes.io/managed-by': managedBy } },
  addressType: 'IPv4',
  endpoints: uids.map((uid, index) => ({
    addresses: [`10.0.0.${index + 1}`],
    conditions: { ready: true },
    targetRef: { kind: 'Pod', namespace: 'default', name: uid, uid },
  })),
  ports: [],
});

async function create(...slices: readonly EndpointSlice[]): Promise<void> {
  const before = seen();
  for (const slice of slices) await client.create(endpointSlices, slice);
  await until(() => seen() === before + slices.length, { what: 'the slices in the cache' });
}

/** Milliseconds until the pod is unused. */
async function waitFor(uid: string, maxMs: number): Promise<number> {
  const startedAt = performance.now();
  await endpoints.untilUnused(uid, maxMs);
  return performance.now() - startedAt;
}

it('a pod is unused when the last slice with it as ready has changed, and the proxies have followed', async () => {
  await create(sliceOf('one', ['both', 'other']), sliceOf('two', ['both']));
  let isUnused = false;
  const unused = endpoints.untilUnused('both', 60_000).then(() => {
    isUnused = true;
  });
  await client.delete(endpointSlices, { namespace: 'default', name: 'one' });
  await until(() => seen() === 1, { what: 'one slice less' });
  expect(isUnused).toBe(false);
  const [endpoint] = sliceOf('two', ['both']).endpoints;
  const draining = [{ ...endpoint, conditions: { ready: false, serving: true, terminating: true } }];
  const changedAt = performance.now();
  await client.patch(endpointSlices, { namespace: 'default', name: 'two' }, { type: 'merge', body: { endpoints: draining } });
  await unused;
  expect(performance.now() - changedAt).toBeGreaterThanOrEqual(295);
  // Asked for only now, the proxies of other machines may still be behind.
  expect(await waitFor('other', 60_000)).toBeLessThan(295);
  await client.delete(endpointSlices, { namespace: 'default', name: 'two' });
});

it('a pod of no Service is unused at once, and one of a slice that people keep, too', async () => {
  await create(sliceOf('by-hand', ['manual'], 'a-person'));
  expect(await waitFor('nowhere', 60_000)).toBeLessThan(100);
  expect(await waitFor('manual', 60_000)).toBeLessThan(100);
});

it('the wait ends with the grace period, whatever the slices say', async () => {
  await create(sliceOf('stuck', ['stuck']));
  expect(await waitFor('stuck', 50)).toBeGreaterThanOrEqual(45);
});

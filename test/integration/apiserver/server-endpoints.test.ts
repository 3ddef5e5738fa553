import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { leases } from '../../../src/api/coordination/v1/lease.ts';
import { endpoints } from '../../../src/api/core/v1/endpoints.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { endpointSlices } from '../../../src/api/discovery/v1/endpoint-slice.ts';
import { createIdentityLease } from '../../../src/apiserver/identity-lease.ts';
import { createServerEndpointsKeeper } from '../../../src/apiserver/server-endpoints.ts';
import type { Clock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import type { Client } from '../../../src/client/client.ts';
import { createInformerSet } from '../../../src/client/informer-set.ts';
import { StatusError } from '../../../src/machinery/status-error.ts';
import { startTestApi, type TestApi } from '../../support/api.ts';
import { createManualClock, type ManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';

const log = createLog({ level: 'silent' });
const { signal } = new AbortController();

describe('the endpoints of several API servers', () => {
  let api: TestApi;
  let client: Client;
  let clock: ManualClock;
  beforeEach(async () => {
    api = await startTestApi();
    client = api.clientFor();
    clock = createManualClock();
    for (const name of ['kube-system', 'default']) {
      await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } }).catch(() => undefined);
    }
  });
  afterEach(async () => {
    await api.stop();
  });

  const server = (serverId: string, address: string, port = 6443, own: Clock = clock, by = client) =>
    createIdentityLease({
      client: by,
      hostname: 'vm',
      uid: serverId,
      shared: {
        serverId,
        address,
        port,
        version: '1',
        pageUrl: () => undefined,
        pushes: () => 0,
        keys: () => ({ revision: 1, encryption: { writes: [], reads: [] } }),
      },
      clock: own,
      log,
    });

  async function addresses(): Promise<readonly string[]> {
    const { items } = await client.list(endpointSlices, { namespace: 'default' });
    const slices = items.flatMap(({ metadata, ports, endpoints: own }) =>
      own.map(({ addresses: [address] }) => `${metadata.name} ${address}:${ports?.[0]?.port}`),
    );
    const { subsets = [] } = await client.get(endpoints, { namespace: 'default', name: 'kubernetes' });
    const old = subsets.flatMap(({ addresses: all = [], ports = [] }) => all.map(({ ip }) => `${ip}:${ports[0]?.port}`));
    expect(old.toSorted()).toEqual(slices.map((text) => text.split(' ')[1]).toSorted());
    return slices.toSorted();
  }

  it('have each from its start to its stop, and a slice for each port', async () => {
    const servers = [server('a', '10.0.0.1'), server('b', '10.0.0.2'), server('c', '10.0.0.1', 7443)];
    await Promise.all(servers.map((each) => each.start({ signal })));
    expect(await addresses()).toHaveLength(3);
    expect((await client.list(leases, { namespace: 'kube-system' })).items).toHaveLength(3);
    await servers[0]?.stop();
    expect((await addresses()).map((text) => text.split(' ')[1])).toEqual(expect.arrayContaining(['10.0.0.2:6443', '10.0.0.1:7443']));
    await servers[2]?.stop();
    expect((await addresses()).map((text) => text.split(' ')[1])).toEqual(['10.0.0.2:6443']);
    // The last one stays.
    await servers[1]?.stop();
    expect((await addresses()).map((text) => text.split(' ')[1])).toEqual(['10.0.0.2:6443']);
  });

  /** Lets time pass in steps of a second, each with what follows from it. */
  async function pass(seconds: number): Promise<void> {
    for (let second = 0; second < seconds; second += 1) {
      clock.advance(1_000);
      // The server writes renewals, and the cache shows them.
      await new Promise((resolve) => setTimeout(resolve, 15));
    }
  }

  async function startKeeper(): Promise<void> {
    const informers = createInformerSet({ client, clock, log });
    const caches = new AbortController();
    informers.start({ signal: caches.signal });
    const keeper = createServerEndpointsKeeper({ client, leases: informers.get(leases), clock, log });
    await keeper.start({ signal });
    onTestFinished(async () => {
      await keeper.stop();
      caches.abort();
    });
  }

  it('lose one that gives no sign of life for 15 seconds, and get it back when it does', async () => {
    // A process that is halted sees no time pass.
    const haltedClock = createManualClock();
    await server('a', '10.0.0.1').start({ signal });
    await server('b', '10.0.0.2', 6443, haltedClock).start({ signal });
    await startKeeper();
    const both = ['kubernetes 10.0.0.1:6443', 'kubernetes 10.0.0.2:6443'];
    await pass(14);
    expect(await addresses()).toEqual(both);
    await pass(6);
    expect(await addresses()).toEqual(['kubernetes 10.0.0.1:6443']);
    expect((await client.list(leases, { namespace: 'kube-system' })).items).toHaveLength(1);
    haltedClock.advance(5_000);
    await until(async () => (await addresses()).length === 2, { what: 'the server is back' });
    expect(await addresses()).toEqual(both);
  });

  it('do not keep a server from its stop when the store is away', async () => {
    const away = new StatusError({ code: 504, reason: 'Timeout', message: 'etcd gave no answer' });
    let isAway = false;
    const broken: Client = { ...client, list: (...args) => (isAway ? Promise.reject(away) : client.list(...args)) };
    const one = server('a', '10.0.0.1', 6443, clock, broken);
    await one.start({ signal });
    isAway = true;
    await one.stop();
  });

  it('keep the last one although nothing renews its Lease', async () => {
    await server('a', '10.0.0.1', 6443, createManualClock()).start({ signal });
    await startKeeper();
    await pass(40);
    expect(await addresses()).toEqual(['kubernetes 10.0.0.1:6443']);
  });
});

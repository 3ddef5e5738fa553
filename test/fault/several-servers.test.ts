import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { deployments } from '../../src/api/apps/v1/deployment.ts';
import { type ConfigMap, configMaps } from '../../src/api/core/v1/config-map.ts';
import { systemClock } from '../../src/base/clock.ts';
import type { Overview } from '../../src/base/contracts/overview.ts';
import { createLog } from '../../src/base/log.ts';
import type { HttpClient } from '../../src/client/http-client.ts';
import { createInformerSet } from '../../src/client/informer-set.ts';
import { tryGet } from '../../src/client/try-get.ts';
import { isStatusError } from '../../src/machinery/status-error.ts';
import type { EtcdEndpoint } from '../../src/storage/etcd/client.ts';
import { startBreakingProxy } from '../support/breaking-proxy.ts';
import { program, run } from '../support/cluster.ts';
import { hasEtcd } from '../support/etcd.ts';
import { cloneRepository, temporaryDirectory } from '../support/git.ts';
import { hasKubectl } from '../support/kubectl.ts';
import { firstToken, type Servers, startServer, startServers } from '../support/servers.ts';
import { until } from '../support/until.ts';

const name = { namespace: 'default', name: 'counter' };
const watchers = 40;

/** A client that counts up as users of client-go do: it repeats a write that was not answered. */
async function countUp(
  client: HttpClient,
  name: { readonly namespace: string; readonly name: string },
  { until, errors }: { readonly until: () => boolean; readonly errors: string[] },
): Promise<number> {
  let written = 0;
  while (!until()) {
    try {
      const stored = await client.get(configMaps, name);
      // A write whose answer was lost may have been done.
      if (Number(stored.data?.n) > written) written = Number(stored.data?.n);
      await client.update(configMaps, { ...stored, data: { n: String(written + 1) } });
      written += 1;
    } catch (err) {
      if (!isStatusError(err) || ![409, 429, 503].includes(err.code)) errors.push(String(err));
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  return written;
}

describe.skipIf(!hasEtcd || !hasKubectl)('three servers on one etcd, behind a balancer (needs etcd and kubectl)', () => {
  let servers: Servers;
  let client: HttpClient;
  beforeAll(async () => {
    servers = await startServers(3);
    client = await servers.client();
  }, 120_000);
  afterAll(async () => await servers?.stop());

  const kubectl = (...args: string[]) =>
    run('kubectl', ['--kubeconfig', servers.all[0]?.endpoints.kubeconfig ?? '', '--server', servers.url, ...args]);
  const textOf = (at: number, file: string): Promise<string> => readFile(join(servers.all[at]?.dataDirectory ?? '', file), 'utf8');
  /** The server whose process is named in the log as the one that took the Lease last. */
  async function leaderOf(lease: string): Promise<number> {
    const { spec } = await servers.holderOf(client, lease);
    const logs = await Promise.all(servers.all.map((_, at) => textOf(at, 'logs/midship.log')));
    return logs.findIndex((text) => text.includes(`"identity":"${spec?.holderIdentity}"`) && text.includes('Acquired lease'));
  }

  it('have one authority, although they started at the same moment', async () => {
    const [first, ...others] = await Promise.all(servers.all.map((_, at) => textOf(at, 'pki/ca.crt')));
    for (const other of others) expect(other).toBe(first);
    expect(await textOf(1, 'token')).toBe(await textOf(0, 'token'));
    const { stdout } = await kubectl('get', 'endpointslices', '-l', 'kubernetes.io/service-name=kubernetes', '-o', 'json');
    const { items } = JSON.parse(stdout) as { items: { endpoints: unknown[] | null }[] };
    expect(items.flatMap(({ endpoints }) => endpoints ?? [])).toHaveLength(3);
  });

  it('take a push at any of them, and apply it once', async () => {
    // Two of them pass it on.
    for (const at of [0, 1, 2]) {
      const clone = await cloneRepository(servers.all[at]?.endpoints.git ?? '', `clone-${at}`);
      await clone.commit(`Add push ${at}`, {
        [`push-${at}.yaml`]: `apiVersion: v1\nkind: ConfigMap\nmetadata: { name: push-${at}, namespace: default }\ndata: { a: b }\n`,
      });
      await clone.git('push', '--quiet', 'origin', 'HEAD:main');
    }
    for (const at of [0, 1, 2]) {
      const found = await until(async () => await tryGet(client, configMaps, { namespace: 'default', name: `push-${at}` }), {
        timeoutMs: 20_000,
        what: `the push to server ${at} is applied`,
      });
      expect(found.metadata.managedFields?.filter(({ operation }) => operation === 'Apply')).toHaveLength(1);
    }
    // The page of each says whose page has the commits.
    const said = await Promise.all(
      servers.all.map(async ({ endpoints: { git } }) => {
        const http = new URL(git).origin;
        return { http, ...((await (await fetch(`${http}/status.json`)).json()) as Overview).gitops };
      }),
    );
    const leading = said.filter(({ here }) => here);
    expect(leading).toHaveLength(1);
    for (const { page } of said) expect(page).toBe(leading[0]?.http);
  });

  it('take other keys while they run, and serve without an error while each is started again in turn', { timeout: 180_000 }, async () => {
    const midship = (at: number, ...args: string[]) =>
      run(process.execPath, [program, ...args, '--data-dir', servers.all[at]?.dataDirectory ?? ''], { ...process.env, NO_COLOR: '1' });
    const done = { code: 0 };
    const apiOf = (at: number): string => servers.all[at]?.endpoints.api ?? '';
    const given = async () => (await kubectl('create', 'token', 'default')).stdout.trim();
    const bearerAt = async (at: number, token: string): Promise<number> =>
      (
        await run('kubectl', [
          '--kubeconfig',
          '/dev/null',
          '--server',
          apiOf(at),
          '--token',
          token,
          '--insecure-skip-tls-verify',
          'auth',
          'whoami',
        ])
      ).code;
    await kubectl('create', 'secret', 'generic', 'kept', '--from-literal=a=canary');
    const before = await given();

    // The token: those that run have the new one, and the former one starts no server.
    expect(await midship(0, 'token', 'rotate')).toMatchObject(done);
    const token = await textOf(0, 'server-token');
    for (const at of [1, 2]) expect(await textOf(at, 'server-token')).toBe(token);
    const stranger = await temporaryDirectory('server');
    const flags = ['--token', firstToken, '--data-dir', stranger, '--api-port', '0', '--http-port', '0', '--disable', 'node'];
    const refused = await run(process.execPath, [program, 'server', '--store', servers.store, ...flags], { ...process.env, NO_COLOR: '1' });
    expect(refused).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('the token does not open the keys in the store\n  The token was rotated at'),
    });

    // The signing key: each server knows both at once.
    expect(await midship(1, 'certs', 'rotate-signing-key')).toMatchObject(done);
    const after = await given();
    for (const at of [0, 1, 2]) for (const each of [before, after]) expect(await bearerAt(at, each)).toBe(0);
    expect(await midship(2, 'certs', 'rotate-signing-key', '--overlap', '0')).toMatchObject(done);
    for (const at of [0, 1, 2]) expect(await bearerAt(at, after)).not.toBe(0);

    // The key of the store: nothing is left under the former one.
    const keyOf = async (at: number) =>
      (
        JSON.parse((await midship(at, 'secrets-encrypt', 'status', '-o', 'json')).stdout) as {
          encryption: { keys: string[]; stale: number };
        }
      ).encryption;
    const first = await keyOf(0);
    expect(await midship(2, 'secrets-encrypt', 'rotate-keys')).toMatchObject(done);
    const second = await keyOf(1);
    expect(second).toMatchObject({ stale: 0, keys: [expect.not.stringContaining(first.keys[0] ?? '')] });

    // The authorities: each server uses new ones from its next start, and clients with certificates of both go on.
    const authority = await textOf(0, 'pki/ca.crt');
    expect(await midship(0, 'certs', 'rotate-ca')).toMatchObject(done);
    const counter = { ...name, name: 'rolled' };
    await client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: counter, data: { n: '0' } });
    let isOver = false;
    const errors: string[] = [];
    const counting = countUp(client, counter, { until: () => isOver, errors });
    for (const at of [0, 1, 2]) {
      const running = servers.all[at];
      running?.signal('SIGTERM');
      await running?.ended;
      await servers.restart(at);
      // Each kubeconfig is good at the server that has started, and the one of that server at all.
      for (const [of, to] of [0, 1, 2].flatMap((other) => [[other, at] as const, [at, other] as const])) {
        const flags = ['--kubeconfig', servers.all[of]?.endpoints.kubeconfig ?? '', '--server', apiOf(to)];
        const answer = await run('kubectl', [...flags, 'get', 'secret', 'kept', '-o', 'jsonpath={.data.a}']);
        expect(answer, `kubeconfig of ${of} at ${to}`).toMatchObject({ code: 0, stdout: 'Y2FuYXJ5' });
      }
    }
    isOver = true;
    expect(await counting).toBeGreaterThan(10);
    expect(errors).toEqual([]);
    expect(await textOf(0, 'pki/ca.crt')).not.toBe(authority);
    for (const at of [1, 2]) expect(await textOf(at, 'pki/ca.crt')).toBe(await textOf(0, 'pki/ca.crt'));
  });

  it('go on when the leader is killed, and when another one stops: nothing is missed or doubled', async () => {
    await client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: name, data: { n: '0' } });
    const log = createLog({ level: 'silent' });
    const caches = new AbortController();
    const seen: (readonly string[])[] = [];
    const followed = await Promise.all(
      Array.from({ length: watchers }, async () => {
        const events: string[] = [];
        seen.push(events);
        const informers = createInformerSet({ client, clock: systemClock, log });
        const informer = informers.get(configMaps, { namespace: 'default' });
        informer.addHandler(({ after }: { readonly after?: ConfigMap }) => {
          if (after?.metadata.name === name.name) events.push(after.metadata.resourceVersion ?? '');
        });
        informers.start({ signal: caches.signal });
        await informer.whenSynced;
        return informer;
      }),
    );
    let isOver = false;
    const errors: string[] = [];
    const counting = countUp(client, name, { until: () => isOver, errors });

    const leader = await leaderOf('kube-controller-manager');
    const before = (await servers.holderOf(client, 'kube-controller-manager')).spec?.holderIdentity;
    const killedAt = performance.now();
    servers.all[leader]?.signal('SIGKILL');
    // The rollout waits for the controllers of the next leader.
    await until(
      () =>
        client
          .create(deployments, {
            apiVersion: 'apps/v1',
            kind: 'Deployment',
            metadata: { name: 'web', namespace: 'default' },
            spec: {
              replicas: 3,
              selector: { matchLabels: { app: 'web' } },
              template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'web', image: 'none' }] } },
            },
          })
          .then(
            () => true,
            (err: { code?: number }) => err.code === 409,
          ),
      { what: 'the Deployment is made' },
    );
    const rest = { timeoutMs: 20_000 };
    await until(
      async () => {
        const holder = (await servers.holderOf(client, 'kube-controller-manager').catch(() => undefined))?.spec?.holderIdentity ?? '';
        return holder !== '' && holder !== before;
      },
      { ...rest, what: 'another server leads' },
    );
    const crashMs = performance.now() - killedAt;
    expect(crashMs).toBeGreaterThan(7_000);
    expect(crashMs).toBeLessThan(12_500);

    const next = await leaderOf('kube-controller-manager');
    const second = (await servers.holderOf(client, 'kube-controller-manager')).spec?.holderIdentity;
    const stoppedAt = Date.now();
    servers.all[next]?.signal('SIGTERM');
    const taken = await until(
      async () => {
        const lease = await servers.holderOf(client, 'kube-controller-manager').catch(() => undefined);
        const holder = lease?.spec?.holderIdentity ?? '';
        return holder === '' || holder === second ? undefined : lease;
      },
      { ...rest, what: 'the third server leads' },
    );
    const stopMs = Date.parse(taken.spec?.acquireTime ?? '') - stoppedAt;
    process.stdout.write(`leader killed: next one after ${Math.round(crashMs)} ms; stopped: after ${stopMs} ms\n`);
    expect(stopMs).toBeLessThan(2_000);
    await until(
      async () => (await tryGet(client, deployments, { namespace: 'default', name: 'web' }).catch(() => undefined))?.status?.replicas === 3,
      {
        ...rest,
        what: 'the rollout is made',
      },
    );

    isOver = true;
    const count = await counting;
    expect(errors).toEqual([]);
    const last = await until(() => client.get(configMaps, name).catch(() => undefined), { what: 'the last server answers' });
    expect(Number(last.data?.n)).toBeGreaterThanOrEqual(count);
    const version = last.metadata.resourceVersion ?? '';
    await until(() => seen.every((events) => events.at(-1) === version), { ...rest, what: 'every watch has the last version' });
    for (const events of seen) {
      expect(new Set(events).size).toBe(events.length);
      expect(events.map(Number)).toEqual(events.map(Number).toSorted((a, b) => a - b));
      // Every version that one saw, all saw: there was no list that left some out.
      expect(events).toEqual(seen[0]);
    }
    expect(followed.every(({ synced }) => synced)).toBe(true);
    caches.abort();
  }, 90_000);

  it('start although etcd hangs when the objects of every cluster are made', async () => {
    const [endpoint] = servers.etcd.endpoints as [EtcdEndpoint];
    const proxy = await startBreakingProxy(endpoint);
    onTestFinished(() => proxy.stop());
    const dataDirectory = await temporaryDirectory('server');
    const logged = (): Promise<string> => readFile(join(dataDirectory, 'logs/midship.log'), 'utf8').catch(() => '');
    // The first of them are there, and the next read finds no etcd.
    proxy.holdAfter('/core/namespaces/kube-system', '/meta/format');
    const released = until(async () => (await logged()).includes('The store did not answer'), {
      timeoutMs: 15_000,
      what: 'the start waits',
    })
      .catch((err: unknown) => err as Error)
      .finally(() => proxy.release());
    const args = ['--store', `etcd://${proxy.host}:${proxy.port}/hangs`, '--token', firstToken, '--disable', 'node,ingress,servicelb'];
    const server = await startServer({ dataDirectory, args });
    expect(await released).not.toBeInstanceOf(Error);
    server.signal('SIGKILL');
    await server.ended;
  });
});

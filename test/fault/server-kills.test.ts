import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deployments } from '../../src/api/apps/v1/deployment.ts';
import { type ConfigMap, configMaps } from '../../src/api/core/v1/config-map.ts';
import { systemClock } from '../../src/base/clock.ts';
import { createLog } from '../../src/base/log.ts';
import type { HttpClient } from '../../src/client/http-client.ts';
import { createInformerSet } from '../../src/client/informer-set.ts';
import { tryGet } from '../../src/client/try-get.ts';
import { isNotFound, isStatusError } from '../../src/machinery/status-error.ts';
import { run } from '../support/cluster.ts';
import { hasEtcd } from '../support/etcd.ts';
import { cloneRepository, type WorkTree } from '../support/git.ts';
import { type Servers, startServers } from '../support/servers.ts';
import { until } from '../support/until.ts';

const watches = 200;
const replicas = 12;
const counter = { namespace: 'default', name: 'counter' };
const simulated = [{ key: 'midship.dev/simulated', operator: 'Exists' }];
const leadership = 'kube-controller-manager';
/** A Lease lasts 10 s, and candidates look at it every 1.5 s. A loaded machine adds some. */
const takeoverMs = 14_000;
const patience = { timeoutMs: 60_000 };

/** Gives what `ask` does as soon as it does not fail in a way that a client of client-go tries again. */
async function retried<T>(ask: () => Promise<T>, errors: string[]): Promise<T> {
  for (;;) {
    try {
      return await ask();
    } catch (err) {
      if (!isStatusError(err) || ![409, 429, 503].includes(err.code)) {
        errors.push(String(err));
        throw err;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** Counts up, and gives the version of each write that was acknowledged. */
async function countUp(client: HttpClient, isOver: () => boolean, errors: string[]): Promise<readonly string[]> {
  const versions: string[] = [];
  while (!isOver()) {
    const written = await retried(async () => {
      const stored = await client.get(configMaps, counter);
      return client.update(configMaps, { ...stored, data: { n: String(Number(stored.data?.n) + 1) } });
    }, errors);
    versions.push(written.metadata.resourceVersion ?? '');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return versions;
}

/** The server that has the built-in Git remote. */
async function homeOf({ all, store }: Servers): Promise<number> {
  const { stdout } = await run('etcdctl', [
    '--endpoints',
    store.replace('etcd://', ''),
    'get',
    '--print-value-only',
    '/midship/meta/git-home',
  ]);
  const { serverId } = JSON.parse(stdout) as { readonly serverId: string };
  const ids = await Promise.all(all.map(({ dataDirectory }) => readFile(join(dataDirectory, 'server-id'), 'utf8')));
  return ids.findIndex((id) => id.trim() === serverId);
}

describe.skipIf(!hasEtcd)('three servers behind a balancer, each killed in turn (needs etcd)', () => {
  let servers: Servers;
  let client: HttpClient;
  beforeAll(async () => {
    servers = await startServers(3);
    client = await servers.client();
    await client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: counter, data: { n: '0' } });
  }, 180_000);
  afterAll(async () => await servers?.stop());

  /** The versions of each ConfigMap that one informer has seen. */
  async function follow(signal: AbortSignal): Promise<ReadonlyMap<string, string[]>> {
    const seen = new Map<string, string[]>();
    const informers = createInformerSet({ client, clock: systemClock, log: createLog({ level: 'silent' }) });
    const informer = informers.get(configMaps, { namespace: 'default' });
    informer.addHandler(({ after }: { readonly after?: ConfigMap }) => {
      if (after === undefined) return;
      const versions = seen.get(after.metadata.name) ?? [];
      seen.set(after.metadata.name, versions);
      versions.push(after.metadata.resourceVersion ?? '');
    });
    informers.start({ signal });
    await informer.whenSynced;
    return seen;
  }

  /** Pushes to whichever server takes it. The remote lives on one of them. */
  const push = (clone: WorkTree, dead: number): Promise<true> =>
    until(
      async () => {
        for (const [at, { endpoints }] of servers.all.entries()) {
          if (at === dead) continue;
          const pushed = await clone.git('push', '--quiet', endpoints.git, 'HEAD:main').then(
            () => true,
            () => false,
          );
          if (pushed) return true;
        }
        return undefined;
      },
      { ...patience, what: 'a server takes the push' },
    );

  const rollOut = (name: string, errors: string[]) =>
    retried(
      () =>
        client
          .create(deployments, {
            apiVersion: 'apps/v1',
            kind: 'Deployment',
            metadata: { name, namespace: 'default' },
            spec: {
              replicas,
              selector: { matchLabels: { app: name } },
              template: {
                metadata: { labels: { app: name } },
                spec: { tolerations: simulated, containers: [{ name: 'web', image: 'none' }] },
              },
            },
          })
          // A try without an answer may have made it.
          .catch((err: unknown) => (isStatusError(err) && err.reason === 'AlreadyExists' ? undefined : Promise.reject(err))),
      errors,
    );

  it('follow Git while the server that has the remote is gone, and take pushes at another', { timeout: 180_000 }, async () => {
    const clone = await cloneRepository(servers.all[0]?.endpoints.git ?? '', 'healed');
    const pushed = (value: string) =>
      clone.commit(`Set ${value}`, {
        'healed.yaml': `apiVersion: v1\nkind: ConfigMap\nmetadata: { name: healed, namespace: default }\ndata: { value: ${value} }\n`,
      });
    const healed = { namespace: 'default', name: 'healed' };
    /** The ConfigMap with this value, when it is another object than `gone`. */
    const applied = (value: string, gone?: ConfigMap) =>
      until(
        async () => {
          const found = await tryGet(client, configMaps, healed).catch(() => undefined);
          return found?.data?.value === value && found.metadata.uid !== gone?.metadata.uid ? found : undefined;
        },
        { ...patience, what: `the value is ${value}` },
      );
    await pushed('first');
    await clone.git('push', '--quiet', 'origin', 'HEAD:main');
    const gone = await applied('first');
    const home = await homeOf(servers);
    const sha = await clone.git('rev-parse', 'HEAD');
    for (const { dataDirectory } of servers.all) {
      const copied = () =>
        run('git', ['--git-dir', join(dataDirectory, 'git/cluster.git'), 'rev-parse', 'main']).then(
          ({ stdout }) => stdout.trim() === sha.trim(),
        );
      await until(copied, { ...patience, what: 'each server has the commit' });
    }
    servers.all[home]?.signal('SIGKILL');
    await servers.all[home]?.ended;
    await retried(() => client.delete(configMaps, healed).catch((err: unknown) => (isNotFound(err) ? undefined : Promise.reject(err))), []);
    await applied('first', gone);
    const other = servers.all[(home + 1) % 3]?.endpoints.git ?? '';
    await pushed('second');
    await until(
      () =>
        clone.git('push', '--quiet', other, 'HEAD:main').then(
          () => true,
          () => undefined,
        ),
      { ...patience, what: 'the push is taken' },
    );
    await applied('second');
    expect(await homeOf(servers)).not.toBe(home);
    // The former home has what was pushed without it, and passes pushes on.
    await servers.restart(home);
    const former = servers.all[home]?.endpoints.git ?? '';
    await pushed('third');
    await clone.git('push', '--quiet', former, 'HEAD:main');
    await applied('third');
  });

  it('show no error that a retry does not hide, and miss and double nothing', { timeout: 300_000 }, async () => {
    const end = new AbortController();
    const errors: string[] = [];
    const followed = await Promise.all(Array.from({ length: watches }, () => follow(end.signal)));
    let isOver = false;
    const counting = countUp(client, () => isOver, errors);
    for (const at of [0, 1, 2]) {
      const name = `push-${at}`;
      const clone = await cloneRepository(servers.all[(at + 1) % 3]?.endpoints.git ?? '', name);
      await clone.commit(`Add ${name}`, {
        [`${name}.yaml`]: `apiVersion: v1\nkind: ConfigMap\nmetadata: { name: ${name}, namespace: default }\ndata: { a: b }\n`,
      });
      const before = (await servers.holderOf(client, leadership)).spec?.holderIdentity;
      const rolling = rollOut(`web-${at}`, errors);
      const pushing = push(clone, at);
      const killedAt = performance.now();
      servers.all[at]?.signal('SIGKILL');
      await servers.all[at]?.ended;
      // Another one leads, or this one did not and the leader goes on renewing.
      const killedLease = await retried(() => servers.holderOf(client, leadership), errors);
      await until(
        async () => {
          const { spec } = await retried(() => servers.holderOf(client, leadership), errors);
          return spec?.holderIdentity !== '' && (spec?.holderIdentity !== before || spec?.renewTime !== killedLease.spec?.renewTime);
        },
        { ...patience, what: 'a server leads' },
      );
      const ledMs = performance.now() - killedAt;
      expect(ledMs).toBeLessThan(takeoverMs);
      await servers.restart(at);
      await Promise.all([rolling, pushing]);
      await until(
        async () =>
          (await tryGet(client, deployments, { namespace: 'default', name: `web-${at}` }).catch(() => undefined))?.status?.readyReplicas ===
          replicas,
        { ...patience, what: `web-${at} is ready` },
      );
      await until(async () => await tryGet(client, configMaps, { namespace: 'default', name }).catch(() => undefined), {
        ...patience,
        what: `${name} is applied`,
      });
      process.stdout.write(`server ${at} killed: controllers are led after ${Math.round(ledMs)} ms\n`);
    }
    isOver = true;
    const acknowledged = await counting;
    expect(errors).toEqual([]);
    const last = (await client.get(configMaps, counter)).metadata.resourceVersion;
    await until(() => followed.every((seen) => seen.get(counter.name)?.at(-1) === last), {
      ...patience,
      what: 'every watch has the last version',
    });
    for (const seen of followed) {
      const versions = seen.get(counter.name) ?? [];
      expect(versions.map(Number)).toEqual([...new Set(versions)].map(Number).toSorted((a, b) => a - b));
      expect(acknowledged.filter((version) => !versions.includes(version))).toEqual([]);
      // The server that applied a push wrote its object once.
      for (const at of [0, 1, 2]) expect(seen.get(`push-${at}`)).toHaveLength(1);
    }
    expect(acknowledged.length).toBeGreaterThan(50);
    end.abort();
  });
});

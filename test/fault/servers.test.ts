import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { configMaps } from '../../src/api/core/v1/config-map.ts';
import { createHttpClient, type HttpClient } from '../../src/client/http-client.ts';
import { loadKubeconfig } from '../../src/client/kubeconfig.ts';
import { isConflict } from '../../src/machinery/status-error.ts';
import { hasEtcd } from '../support/etcd.ts';
import { type Servers, startServers } from '../support/servers.ts';
import { until } from '../support/until.ts';

/** A halted server loses its Leases after 10 s. */
const haltMs = 13_000;
const name = { namespace: 'default', name: 'counter' };
const leadership = 'kube-controller-manager';

describe.skipIf(!hasEtcd)('three servers of which each is halted and killed in turn (needs etcd)', () => {
  let servers: Servers;
  const clients: HttpClient[] = [];
  beforeAll(async () => {
    servers = await startServers(3);
    await (await clientOf(0)).create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: name, data: { n: '0' } });
  }, 120_000);
  afterAll(async () => {
    for (const client of clients) client.close();
    await servers?.stop();
  });

  async function clientOf(at: number): Promise<HttpClient> {
    const { namespace: _, ...connection } = await loadKubeconfig(servers.all[at]?.endpoints.kubeconfig ?? '', undefined);
    const client = createHttpClient({ ...connection, userAgent: 'test' });
    clients.push(client);
    return client;
  }

  const readCounter = async (client: HttpClient): Promise<number> => Number((await client.get(configMaps, name)).data?.n);

  /** Counts up by one server until `isOver`, and gives what was acknowledged last. */
  async function countUp(client: HttpClient, isOver: () => boolean): Promise<number> {
    let written = 0;
    while (!isOver()) {
      const stored = await client.get(configMaps, name);
      try {
        written = Number(stored.data?.n) + 1;
        await client.update(configMaps, { ...stored, data: { n: String(written) } });
      } catch (err) {
        if (!isConflict(err)) throw err;
      }
    }
    return written;
  }

  it('write on, lead on, and never read what was overwritten meanwhile', { timeout: 180_000 }, async () => {
    let takeovers = 0;
    for (const at of [0, 1, 2]) {
      const victim = servers.all[at];
      const other = await clientOf((at + 1) % 3);
      const halted = await clientOf(at);
      const before = (await servers.holderOf(other, leadership)).spec?.holderIdentity;
      let isOver = false;
      const counting = countUp(other, () => isOver);
      victim?.signal('SIGSTOP');
      await sleep(haltMs);
      const during = (await servers.holderOf(other, leadership)).spec?.holderIdentity;
      expect(during).not.toBe('');
      if (during !== before) takeovers += 1;
      isOver = true;
      const last = await counting;
      victim?.signal('SIGCONT');
      // Its memory is 13 s old when it wakes up.
      const seen = await until(() => readCounter(halted).catch(() => undefined), { what: 'the server that was halted answers' });
      expect(seen, `server ${at} after a halt`).toBe(last);
      expect((await servers.holderOf(other, leadership)).spec?.holderIdentity, 'a leader that wakes up leads no more').toBe(during);

      victim?.signal('SIGKILL');
      await victim?.ended;
      const [after] = await Promise.all([countUp(other, once()), servers.restart(at)]);
      expect(await readCounter(await clientOf(at)), `server ${at} after a start`).toBe(after);
      // The next one to be halted must not lead because this one was killed.
      await until(async () => ((await servers.holderOf(other, leadership)).spec?.holderIdentity ?? '') !== '', { what: 'a server leads' });
    }
    expect(takeovers).toBeGreaterThan(0);
  });
});

/** False for the first time that it is asked. */
function once(): () => boolean {
  let asked = false;
  return () => {
    const answer = asked;
    asked = true;
    return answer;
  };
}

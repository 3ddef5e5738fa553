// Durable writes through the in-process client: on SQLite with synchronous=FULL, and on a real etcd with one and three members where it is
// installed.
import { join } from 'node:path';
import { configMaps } from '../../dist/api/core/v1/config-map.js';
import { namespaces } from '../../dist/api/core/v1/namespace.js';
import { builtInKinds } from '../../dist/api/kinds.js';
import { loadSchemas } from '../../dist/api/schemas.js';
import { createKubeApi } from '../../dist/apiserver/create-kube-api.js';
import { createLocalClient } from '../../dist/apiserver/local-client.js';
import { createLog } from '../../dist/base/log.js';
import { openEtcdStorage } from '../../dist/storage/etcd/storage.js';
import { openSqliteStorage } from '../../dist/storage/sqlite/storage.js';
import { temporary } from './cluster.mjs';
import { hasEtcd, startEtcd } from './etcd.mjs';

const writes = 10_000;
const inFlight = 512;

export async function store() {
  const results = await measure('', await openSqliteStorage({ path: join(temporary('store'), 'state.db') }));
  if (hasEtcd) for (const members of [1, 3]) results.push(...(await measureEtcd(members)));
  return results;
}

async function measureEtcd(members) {
  const etcd = await startEtcd(members);
  try {
    const storage = await openEtcdStorage({
      endpoints: etcd.endpoints,
      prefix: '/midship',
      serverId: 'bench',
      log: createLog({ level: 'silent' }),
    });
    return await measure(`, etcd x${members}`, storage);
  } finally {
    await etcd.end();
  }
}

async function measure(suffix, storage) {
  const kubeApi = await createKubeApi({
    storage,
    kinds: builtInKinds,
    schemas: loadSchemas(builtInKinds.map(({ schemas }) => schemas)),
    serviceCidr: '127.250.0.0/20',
    log: createLog({ level: 'silent' }),
  });
  const client = createLocalClient({ kubeApi, user: { name: 'admin', groups: ['system:masters'] }, userAgent: 'bench' });
  await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'bench' } });
  const value = 'x'.repeat(1_024);
  const creates = [];
  const serial = [];
  for (let round = 0; round < 5; round += 1) {
    const startedAt = performance.now();
    let next = 0;
    const worker = async () => {
      while (next < writes) {
        const name = `c${round}-${next}`;
        next += 1;
        await client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: 'bench' }, data: { value } });
      }
    };
    await Promise.all(Array.from({ length: inFlight }, worker));
    const seconds = (performance.now() - startedAt) / 1_000;
    // The first round is the compiler's.
    if (round > 0) creates.push(writes / seconds);
  }
  for (let index = 0; index < 200; index += 1) {
    const startedAt = performance.now();
    await client.create(configMaps, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: `s${index}`, namespace: 'bench' },
      data: { value },
    });
    serial.push(performance.now() - startedAt);
  }
  kubeApi.stop();
  await storage.close();
  return [
    { name: `durable creates of 1 KiB ConfigMaps, ${inFlight} in flight, warm${suffix}`, unit: '1/s', samples: creates },
    { name: `one durable create at a time${suffix}`, unit: 'ms', samples: serial },
  ];
}

import { readFileSync } from 'node:fs';
import { Agent, request as httpsRequest } from 'node:https';
import { afterEach, describe, expect, it } from 'vitest';
import { loadKubeconfig } from '../../src/client/kubeconfig.ts';
import { type RunningCluster, startCluster } from '../support/cluster.ts';

const namespace = 'tenant';
const collection = `/api/v1/namespaces/${namespace}/configmaps`;
/** Beside the heap and what is on its way: the text of the program, which is shared with every other Node. */
const programMiB = 64;
let clusters: RunningCluster[] = [];
afterEach(async () => {
  await Promise.all(clusters.map((cluster) => cluster.stop()));
  clusters = [];
});

interface Answer {
  readonly status: number;
  readonly bytes: number;
}

async function prepare(cluster: RunningCluster): Promise<void> {
  for (const command of [
    ['create', 'namespace', namespace],
    ['create', 'serviceaccount', 'editor', '-n', namespace],
    ['create', 'rolebinding', 'editor', '-n', namespace, '--clusterrole=edit', `--serviceaccount=${namespace}:editor`],
  ]) {
    expect(await cluster.kubectl(...command)).toMatchObject({ code: 0 });
  }
}

/** A service account with the role `edit` in one namespace, over HTTP. */
async function openTenant(cluster: RunningCluster) {
  const { server, caCertificate } = await loadKubeconfig(cluster.endpoints.kubeconfig);
  const { stdout: token, code, stderr } = await cluster.kubectl('create', 'token', 'editor', '-n', namespace);
  expect(code, `${stderr}\n${cluster.output().slice(-4_000)}`).toBe(0);
  const { hostname, port } = new URL(server);
  const agent = new Agent({ keepAlive: true, maxSockets: 20 });
  const send = (method: string, path: string, body?: unknown): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
      const headers = {
        authorization: `Bearer ${token.trim()}`,
        // The name of a written object is enough.
        accept: method === 'GET' ? 'application/json' : 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1',
        ...(bytes === undefined ? {} : { 'content-type': 'application/json', 'content-length': bytes.length }),
      };
      const request = httpsRequest({ hostname, port, ca: caCertificate, agent, method, path, headers }, (response) => {
        let size = 0;
        response.on('data', (chunk: Buffer) => (size += chunk.length));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, bytes: size }));
        response.on('error', reject);
      });
      // The program may have ended; its output says why.
      request.on('error', (err) =>
        reject(new Error(`${method} ${path}: ${err.message}\n${cluster.output().slice(-4_000)}`, { cause: err })),
      );
      request.end(bytes);
    });
  return {
    create: (name: string, data: Data) => send('POST', collection, configMap(name, data)),
    update: (name: string, data: Data) => send('PUT', `${collection}/${name}`, configMap(name, data)),
    remove: (name: string) => send('DELETE', `${collection}/${name}`),
    list: () => send('GET', collection),
    /** Never reads what comes. */
    watchUnread: (query: string): Promise<void> =>
      new Promise((resolve, reject) => {
        const request = httpsRequest({
          hostname,
          port,
          ca: caCertificate,
          agent: false,
          path: `${collection}?watch=1${query}`,
          headers: { authorization: `Bearer ${token.trim()}` },
        });
        request.once('response', (response) => {
          response.pause().on('error', () => undefined);
          resolve();
        });
        request.once('error', reject);
        request.end();
      }),
    close: () => agent.destroy(),
  };
}

type Data = Readonly<Record<string, string>>;
const configMap = (name: string, data: Data) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace }, data });
const textOf = (index: number): Data => ({ text: `${index}-`.padEnd(1_000_000, 'x') });
/** The most that the process ever took. */
const peakMiB = ({ endpoints }: RunningCluster): number =>
  Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${endpoints.pid}/status`, 'utf8'))?.[1]) / 1024;

/**
 * In MiB; `npm run fault -- --budgets M,M` sets them. Below 256 MiB the heap is what 64 MiB of other memory leave, above it a
 * share.
 */
const budgets = (process.env.MIDSHIP_MEMORY_BUDGETS ?? '192').split(',').map(Number);

describe.each(budgets)('a memory budget of %d MiB', (budgetMiB) => {
  // Former versions of a megabyte each would not fit.
  const updates = 180 + Math.ceil(budgetMiB / 5);

  it('holds against an account with role edit in one namespace, and a restart with a full quota works', async () => {
    const args = ['--runtime', 'simulated', '--memory-budget', `${budgetMiB}Mi`];
    let cluster = await startCluster({ command: 'up', args });
    clusters = [cluster];
    await prepare(cluster);
    let tenant = await openTenant(cluster);
    await tenant.watchUnread('');

    // Objects, until there is no room for more.
    let objects = 0;
    let answer = await tenant.create('c0', textOf(0));
    for (; answer.status === 201; answer = await tenant.create(`c${objects}`, textOf(objects))) objects += 1;
    expect(answer.status).toBe(507);
    expect(objects).toBeGreaterThan(budgetMiB / 10);
    expect(objects).toBeLessThan(budgetMiB / 2);

    // Former versions of one object, and a watch that waits for all of them.
    await tenant.watchUnread('&resourceVersion=0');
    for (let update = 0; update < updates; update += 1) {
      const { status } = await tenant.update('c1', textOf(update));
      expect(status).toBe(200);
    }

    // Everything, ten times at once.
    const lists = await Promise.all(Array.from({ length: 10 }, () => tenant.list()));
    for (const { status, bytes } of lists) {
      expect([200, 429]).toContain(status);
      if (status === 200) expect(bytes).toBeGreaterThan(objects * 1_000_000);
    }
    expect(lists.some(({ status }) => status === 200)).toBe(true);

    // Room is made by deleting, and is there at once.
    expect((await tenant.create('more', textOf(0))).status).toBe(507);
    expect((await tenant.remove('c0')).status).toBe(200);
    expect((await tenant.create('c0', textOf(0))).status).toBe(201);
    expect(peakMiB(cluster)).toBeLessThan(budgetMiB + programMiB);
    tenant.close();
    expect(await cluster.stop()).toBe(130);

    cluster = await startCluster({ command: 'up', args, dataDirectory: cluster.dataDirectory });
    clusters = [cluster];
    tenant = await openTenant(cluster);
    expect((await tenant.create('more', textOf(0))).status).toBe(507);
    expect((await tenant.list()).bytes).toBeGreaterThan(objects * 1_000_000);
    expect((await tenant.remove('c0')).status).toBe(200);
    expect((await tenant.create('more', textOf(0))).status).toBe(201);
    expect(peakMiB(cluster)).toBeLessThan(budgetMiB + programMiB);
    tenant.close();
  }, 600_000);
});

describe('objects that take more memory than they have text', () => {
  it('end neither the process nor its next start', async () => {
    // The smallest budget, since each of the objects costs a request.
    const args = ['--runtime', 'simulated', '--memory-budget', '160Mi'];
    let cluster = await startCluster({ command: 'up', args });
    clusters = [cluster];
    await prepare(cluster);
    let tenant = await openTenant(cluster);
    // Short of the size from which fields are counted.
    const fields = (index: number) => Object.fromEntries(Array.from({ length: 150 }, (_, field) => [`f${index}-${field}`, '']));
    let status = 201;
    for (let index = 0; status === 201; index += 1) ({ status } = await tenant.create(`c${index}`, fields(index)));
    expect(status).toBe(507);
    expect((await tenant.remove('c0')).status).toBe(200);
    tenant.close();
    await cluster.stop();

    cluster = await startCluster({ command: 'up', args, dataDirectory: cluster.dataDirectory });
    clusters = [cluster];
    tenant = await openTenant(cluster);
    expect((await tenant.remove('c1')).status).toBe(200);
    expect((await tenant.list()).status).toBe(200);
    tenant.close();
  }, 300_000);
});

import type { ClientRequest, IncomingMessage } from 'node:http';
import { Agent, request as httpsRequest } from 'node:https';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { flowSchemas } from '../../../src/api/flowcontrol/v1/flow-schema.ts';
import { priorityLevelConfigurations } from '../../../src/api/flowcontrol/v1/priority-level-configuration.ts';
import { clusterRoleBindings } from '../../../src/api/rbac/v1/cluster-role-binding.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import { adminToken, startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { until } from '../../support/until.ts';

const metrics = createMetrics();
let cluster: TestApiServer;
let agent: Agent;
beforeAll(async () => {
  cluster = await startTestApiServer({ metrics });
  agent = new Agent({ ca: cluster.pki.caCertificate, keepAlive: true, maxSockets: 300 });
  const client = cluster.api.clientFor();
  await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } });
  await client.create(clusterRoleBindings, {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRoleBinding',
    metadata: { name: 'devs' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: 'devs' }],
  });
  await Promise.all(
    Array.from({ length: 400 }, (_, index) =>
      client.create(configMaps, {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: `c${index}`, namespace: 'shop' },
        data: { key: 'v'.repeat(500) },
      }),
    ),
  );
});
afterAll(async () => {
  agent.destroy();
  await cluster.stop();
});

const headersOf = (user: string) => ({ authorization: `Bearer ${adminToken}`, 'impersonate-user': user, 'impersonate-group': 'devs' });
const open = (
  user: string,
  path: string,
  options: { readonly method?: string; readonly headers?: Readonly<Record<string, string>> } = {},
): ClientRequest => {
  const { hostname, port } = new URL(cluster.server.url);
  const { method = 'GET', headers = {} } = options;
  const request = httpsRequest({ hostname, port, path, agent, method, headers: { ...headersOf(user), ...headers } });
  request.on('error', () => undefined);
  return request;
};
const statusOf = (user: string, path: string): Promise<number> =>
  new Promise((resolve, reject) => {
    const request = open(user, path);
    request.on('error', reject);
    request.on('response', (response) => response.resume().on('end', () => resolve(response.statusCode ?? 0)));
    request.end();
  });
/** A request whose body never comes: it is worked on until it is given up. */
const hold = (user: string): ClientRequest => {
  const request = open(user, '/api/v1/namespaces/shop/configmaps', {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'content-length': '10' },
  });
  request.flushHeaders();
  return request;
};
/** 200 lists at once, all the time, on a thread of its own. The other client must not be held up by this one's own work. */
function startGreedyClient(path: string) {
  const counts = new Int32Array(new SharedArrayBuffer(12));
  const { hostname, port } = new URL(cluster.server.url);
  const options = { hostname, port, path, headers: headersOf('greedy') };
  const worker = new Worker(
    `
    const { Agent, request } = require('node:https');
    const { counts, ca, options } = require('node:worker_threads').workerData;
    const agent = new Agent({ ca, keepAlive: true, maxSockets: 200 });
    const next = () => {
      if (Atomics.load(counts, 2) !== 0) return agent.destroy();
      const sent = request({ ...options, agent }, (response) => {
        response.resume().on('end', () => {
          Atomics.add(counts, response.statusCode === 200 ? 0 : 1, 1);
          next();
        });
      });
      sent.on('error', () => Atomics.add(counts, 1, 1));
      sent.end();
    };
    for (let list = 0; list < 200; list += 1) next();
    `,
    { eval: true, workerData: { counts, ca: cluster.pki.caCertificate, options } },
  );
  const ended = new Promise((resolve) => worker.once('exit', resolve));
  return {
    served: () => Atomics.load(counts, 0),
    refused: () => Atomics.load(counts, 1),
    async stop() {
      Atomics.store(counts, 2, 1);
      await until(async () => (await gauge('current_inqueue_requests', 'global-default')) === 0, { what: 'the greedy client is done' });
      await worker.terminate();
      await ended;
    },
  };
}
const gauge = async (name: string, level: string): Promise<number> =>
  Number(new RegExp(`apiserver_flowcontrol_${name}\\{priority_level="${level}"[^}]*\\} (\\d+)`).exec(await metrics.text())?.[1] ?? 0);
const becomes = (name: string, level: string, value: number) =>
  until(async () => (await gauge(name, level)) === value, { what: `${name} of ${level} is ${value}` });

/** A level with three seats, for the user of its name and one more; two seats at most are one user's. */
async function makeLevel(name: string, queueLengthLimit?: number): Promise<void> {
  const apiVersion = 'flowcontrol.apiserver.k8s.io/v1';
  await cluster.client.create(priorityLevelConfigurations, {
    apiVersion,
    kind: 'PriorityLevelConfiguration',
    metadata: { name },
    spec: {
      type: 'Limited',
      limited: {
        nominalConcurrencyShares: 1,
        limitResponse:
          queueLengthLimit === undefined ? { type: 'Reject' } : { type: 'Queue', queuing: { queues: 1, handSize: 1, queueLengthLimit } },
      },
    },
  });
  await cluster.client.create(flowSchemas, {
    apiVersion,
    kind: 'FlowSchema',
    metadata: { name },
    spec: {
      priorityLevelConfiguration: { name },
      matchingPrecedence: 50,
      distinguisherMethod: { type: 'ByUser' },
      rules: [
        {
          subjects: [name, `${name}-too`].map((user) => ({ kind: 'User', user: { name: user } })),
          resourceRules: [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'], namespaces: ['*'], clusterScope: true }],
        },
      ],
    },
  });
}

describe('a greedy client', () => {
  it('with 200 lists at once leaves turns to another', async () => {
    const path = '/api/v1/namespaces/shop/configmaps';
    const greedy = startGreedyClient(path);
    await until(() => greedy.served() > 200, { what: 'the greedy client is at full speed' });
    const before = greedy.served();
    const lists = 10;
    for (let list = 0; list < lists; list += 1) expect(await statusOf('modest', path)).toBe(200);
    const meanwhile = greedy.served() - before;
    const refused = greedy.refused();
    await greedy.stop();
    expect(refused).toBe(0);
    // In the order in which connections are looked at it would be 200 for each.
    expect(meanwhile / lists).toBeLessThan(100);
  }, 60_000);
});

describe('a level that is full', () => {
  it('refuses what may not wait, and says when to come back', async () => {
    await makeLevel('rejected');
    const held = [hold('rejected'), hold('rejected'), hold('rejected-too')];
    await becomes('current_executing_requests', 'rejected', 3);
    const answer = await cluster.fetch('/api/v1/namespaces/shop/configmaps/c0', {
      headers: { 'impersonate-user': 'rejected', 'impersonate-group': 'devs' },
    });
    expect(answer.status).toBe(429);
    expect(answer.headers['retry-after']).toBe('1');
    expect(answer.json).toMatchObject({ kind: 'Status', reason: 'TooManyRequests', code: 429 });
    expect(await gauge('rejected_requests_total', 'rejected')).toBe(1);
    // Others have their own room, and so have those who wait for nobody.
    expect(await statusOf('somebody', '/api/v1/namespaces/shop/configmaps/c0')).toBe(200);
    expect((await cluster.fetch('/api/v1/namespaces/shop/configmaps/c0')).status).toBe(200);
    for (const request of held) request.destroy();
    await becomes('current_executing_requests', 'rejected', 0);
    expect(await statusOf('rejected', '/api/v1/namespaces/shop/configmaps/c0')).toBe(200);
  });

  it('queues as many as it allows, forgets those that leave, and admits the rest', async () => {
    await makeLevel('queued', 2);
    const held = [hold('queued'), hold('queued'), hold('queued-too')];
    await becomes('current_executing_requests', 'queued', 3);
    const gone = hold('queued');
    const waiting = statusOf('queued', '/api/v1/namespaces/shop/configmaps/c0');
    await becomes('current_inqueue_requests', 'queued', 2);
    expect(await statusOf('queued', '/api/v1/namespaces/shop/configmaps/c0')).toBe(429);
    gone.destroy();
    await becomes('current_inqueue_requests', 'queued', 1);
    held[0]?.destroy();
    expect(await waiting).toBe(200);
    for (const request of held) request.destroy();
    await becomes('current_executing_requests', 'queued', 0);
  });

  it('does not hold up watches, however many', async () => {
    await makeLevel('watching');
    const watches = await Promise.all(
      Array.from({ length: 6 }, () => {
        const request = open('watching', '/api/v1/namespaces/shop/configmaps?watch=1&resourceVersion=0');
        request.end();
        return new Promise<ClientRequest>((resolve, reject) => {
          request.on('error', reject);
          request.on('response', (response) => {
            expect(response.statusCode).toBe(200);
            resolve(request);
          });
        });
      }),
    );
    expect(await gauge('current_executing_requests', 'watching')).toBe(0);
    for (const watch of watches) watch.destroy();
  });
});

describe('a list that nobody reads', () => {
  /** Asks, and never takes a byte of the answer out of the connection. */
  const leaveUnread = (user: string, path: string): Promise<IncomingMessage> =>
    new Promise((resolve) => {
      const request = open(user, path);
      request.once('response', (response) => resolve(response.pause()));
      request.end();
    });

  it('gives its seats back to others while it waits for its client', async () => {
    await makeLevel('unread', 50);
    const large = 'v'.repeat(200_000);
    const client = cluster.api.clientFor();
    await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'large' } });
    for (let index = 0; index < 40; index += 1) {
      const metadata = { name: `c${index}`, namespace: 'large' };
      await client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { large } });
    }
    const lists = await Promise.all(Array.from({ length: 12 }, () => leaveUnread('unread', '/api/v1/namespaces/large/configmaps')));
    await becomes('current_executing_seats', 'unread', 0);
    expect(await statusOf('unread', '/api/v1/namespaces/shop/configmaps/c0')).toBe(200);
    expect(await statusOf('unread-too', '/api/v1/namespaces/shop/configmaps')).toBe(200);
    // A client that reads after all gets all of it.
    const [first, ...rest] = lists;
    for (const list of rest) list.destroy();
    let text = '';
    for await (const chunk of first ?? []) text += chunk;
    expect(JSON.parse(text).items).toHaveLength(40);
  });
});

describe('flow schemas and priority levels', () => {
  it('are there from the start, and every answer names its own', async () => {
    const [schemas, levels] = await Promise.all([cluster.client.list(flowSchemas), cluster.client.list(priorityLevelConfigurations)]);
    const uids = new Map([...schemas.items, ...levels.items].map(({ kind, metadata }) => [metadata.uid, `${kind ?? ''}${metadata.name}`]));
    const { headers } = await cluster.fetch('/api/v1/namespaces/shop/configmaps/c0', {
      headers: { 'impersonate-user': 'somebody', 'impersonate-group': 'devs' },
    });
    expect(uids.get(String(headers['x-kubernetes-pf-flowschema-uid']))).toContain('global-default');
    expect(uids.get(String(headers['x-kubernetes-pf-prioritylevel-uid']))).toContain('global-default');
    expect(schemas.items.map(({ metadata }) => metadata.name)).toEqual(
      expect.arrayContaining(['exempt', 'probes', 'catch-all', 'service-accounts']),
    );
    expect(levels.items).toHaveLength(8 + 4);
  });

  it('count as soon as they are written, and go back to the rest when they are deleted', async () => {
    await makeLevel('fleeting');
    const levelOf = async () =>
      (
        await cluster.fetch('/api/v1/namespaces/shop/configmaps/c0', {
          headers: { 'impersonate-user': 'fleeting', 'impersonate-group': 'devs' },
        })
      ).headers['x-kubernetes-pf-prioritylevel-uid'];
    const { uid } = (await cluster.client.get(priorityLevelConfigurations, { name: 'fleeting' })).metadata;
    expect(await levelOf()).toBe(uid);
    await cluster.client.delete(priorityLevelConfigurations, { name: 'fleeting' });
    const rest = (await cluster.client.get(priorityLevelConfigurations, { name: 'global-default' })).metadata.uid;
    expect(await levelOf()).toBe(rest);
  });
});

import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import type { KeyPair } from '../../../src/base/pki/key-pair.ts';
import { openPki, type Pki } from '../../../src/base/pki.ts';
import { createKubeletApi, type KubeletApi } from '../../../src/node-agent/kubelet-api.ts';
import { startTestNode, type TestNode } from '../../support/node-agent.ts';
import { until } from '../../support/until.ts';

let node: TestNode;
let api: KubeletApi;
let pki: Pki;
let caller: KeyPair;
let directory: string;

/** In the container's own /tmp, or in the machine's where containers have none. */
const endFile = `/tmp/midship-end-${process.pid}`;

beforeAll(async () => {
  node = await startTestNode();
  directory = await mkdtemp(join(tmpdir(), 'midship-pki-'));
  pki = await openPki({ directory, clock: systemClock });
  caller = await pki.clientCertificate({ name: 'caller', commonName: 'kube-apiserver-kubelet-client', organizations: ['system:masters'] });
  api = createKubeletApi({
    agent: node.agent,
    runtime: node.runtime,
    address: '127.64.16.1',
    port: 0,
    tls: await pki.serverCertificate({ name: 'node-a', commonName: 'system:node:node-a', hosts: ['127.64.16.1'] }),
    caCertificate: pki.caCertificate,
    clock: systemClock,
    log: createLog({ level: 'silent' }),
  });
  await api.start({ signal: new AbortController().signal });
  const script = `echo one; echo two; while [ ! -e ${endFile} ]; do sleep 0.05; done; echo last; exit 3`;
  await node.run({ name: 'talker', containers: [{ name: 'main', image: 'host/sh', command: ['sh', '-c', script] }] });
  await node.pod('talker', 'ready', (pod) => pod.status?.phase === 'Running');
  await until(async () => (await get('/containerLogs/default/talker/main')).body === 'one\ntwo\n', { what: 'output' });
});
afterAll(async () => {
  await node.client.delete(pods, { namespace: 'default', name: 'talker' }, { gracePeriodSeconds: 0 });
  await api.stop();
  await node.stop();
  await rm(directory, { recursive: true, force: true });
  await rm(endFile, { force: true });
});

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly type: string;
}

function get(path: string, identity: KeyPair | undefined = caller, onData?: (text: string) => void): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(`${api.url}${path}`, {
      ca: pki.caCertificate,
      agent: false,
      ...(identity === undefined ? {} : { cert: identity.certificate, key: identity.key }),
    });
    sent.on('response', (response) => {
      let body = '';
      response.on('data', (chunk) => {
        body += String(chunk);
        onData?.(body);
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body, type: response.headers['content-type'] ?? '' }));
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end();
  });
}

describe('the kubelet API', () => {
  it('is closed to callers without a certificate of the cluster, and to those that are not the control plane', async () => {
    await expect(
      new Promise((resolve, reject) => {
        const sent = request(`${api.url}/healthz`, { ca: pki.caCertificate, agent: false });
        sent.on('response', resolve);
        sent.on('error', reject);
        sent.end();
      }),
    ).rejects.toThrow();
    const user = await pki.clientCertificate({ name: 'user', commonName: 'alice', organizations: ['developers'] });
    expect(await get('/pods', user)).toMatchObject({
      status: 403,
      body: 'Forbidden (user=alice, verb=get, resource=nodes, subresource(s)=[proxy])',
    });
  });

  it('answers for its health, its pods and what it does not do', async () => {
    expect(await get('/healthz')).toMatchObject({ status: 200, body: 'ok' });
    const { body } = await get('/pods');
    expect(JSON.parse(body)).toMatchObject({ kind: 'PodList', items: [{ metadata: { name: 'talker' } }] });
    expect(await get('/exec/default/talker/main?command=ls')).toMatchObject({ status: 400, body: 'Upgrade request required' });
    expect((await get('/run/default/talker/main')).status).toBe(501);
    expect(await get('/nothing')).toMatchObject({ status: 404, body: '404 page not found' });
  });

  it('gives a container’s output', async () => {
    expect(await get('/containerLogs/default/talker/main?tailLines=1')).toMatchObject({ status: 200, body: 'two\n' });
    expect((await get('/containerLogs/default/talker/main?timestamps=true&tailLines=1')).body).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z two\n$/);
    expect(await get('/containerLogs/default/talker/nope')).toMatchObject({
      status: 404,
      body: 'container "nope" not found in pod "talker"',
    });
    expect(await get('/containerLogs/default/none/main')).toMatchObject({ status: 404, body: 'pod "none" not found' });
    expect(await get('/containerLogs/default/talker/main?previous=true')).toMatchObject({
      status: 400,
      body: 'previous terminated container "main" in pod "talker" not found',
    });
  });

  it('measures its containers', async () => {
    const cadvisor = await get('/metrics/cadvisor');
    expect(cadvisor.type).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(cadvisor.body).toMatch(
      /^container_memory_rss\{container="main",id="[^"]+",image="host\/sh",name="[0-9a-f]{64}",namespace="default",node="node-a",pod="talker"\} [1-9]\d+ \d+$/m,
    );
    expect((await get('/metrics/resource')).body).toMatch(/^pod_cpu_usage_seconds_total\{namespace="default",pod="talker"\} [\d.]+ \d+$/m);
    const main = { name: 'main', cpu: { usageCoreNanoSeconds: expect.any(Number) }, memory: { rssBytes: expect.any(Number) } };
    expect(JSON.parse((await get('/stats/summary')).body)).toMatchObject({
      node: { nodeName: 'node-a' },
      pods: [{ podRef: { name: 'talker', namespace: 'default' }, containers: [main], memory: { workingSetBytes: expect.any(Number) } }],
    });
    expect((await get('/metrics')).body).toContain('kubelet_running_pods{node="node-a"} 1\n');
  });

  it('follows a log to the end of its container, and has the log of the run before', async () => {
    let seen = '';
    const following = get('/containerLogs/default/talker/main?follow=true', caller, (body) => {
      seen = body;
    });
    await until(() => seen === 'one\ntwo\n', { what: 'start of the log', intervalMs: 5 });
    const container = node.agent.podNamed('default', 'talker')?.sandbox?.containers[0]?.id ?? '';
    await node.runtime.exec(container, ['touch', endFile], { timeoutMs: 5_000, limitBytes: 100 });
    expect(await following).toMatchObject({ status: 200, body: 'one\ntwo\nlast\n' });
    await node.pod('talker', 'restart', (pod) => pod.status?.containerStatuses?.[0]?.restartCount === 1);
    expect((await get('/containerLogs/default/talker/main?previous=true')).body).toBe('one\ntwo\nlast\n');
  });
});

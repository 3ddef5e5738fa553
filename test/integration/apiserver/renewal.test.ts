import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import type { Node } from '../../../src/api/core/v1/node.ts';
import { createKubeletClient, type KubeletClient } from '../../../src/apiserver/http/kubelet-client.ts';
import { type Clock, systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import { createCertificateKeeper } from '../../../src/base/pki/certificate-keeper.ts';
import { type LiveKeyPair, openPki, type Pki } from '../../../src/base/pki.ts';
import { createHttpClient } from '../../../src/client/http-client.ts';
import { createKubeletApi, type KubeletApi } from '../../../src/node-agent/kubelet-api.ts';
import { startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { createManualClock } from '../../support/manual-clock.ts';
import { startTestNode, type TestNode } from '../../support/node-agent.ts';
import { until } from '../../support/until.ts';

/** The servers start 366 days ago by their own clock, so that TLS, which has the real time, sees what a year of uptime leaves. */
describe('servers that run longer than a certificate lives', () => {
  const log = createLog({ level: 'silent' });
  const manual = createManualClock();
  let behindMs = 366 * 86_400_000;
  const clock: Clock = { ...manual, now: () => Date.now() - behindMs };
  const signal = new AbortController().signal;
  const address = '127.64.16.1';
  let directory: string;
  let pki: Pki;
  let admin: LiveKeyPair;
  let cluster: TestApiServer;
  let node: TestNode;
  let kubelet: KubeletApi;
  let kubeletClient: KubeletClient;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'pki-'));
    pki = await openPki({ directory, clock });
    admin = await pki.clientCertificate({ name: 'admin', commonName: 'admin', organizations: ['system:masters'] });
    const certificate = await pki.serverCertificate({ name: 'apiserver', commonName: 'kube-apiserver', hosts: ['127.0.0.1'] });
    cluster = await startTestApiServer({}, { tls: { caCertificate: pki.caCertificate, certificate } });
    node = await startTestNode();
    kubelet = createKubeletApi({
      agent: node.agent,
      runtime: node.runtime,
      address,
      port: 0,
      tls: await pki.serverCertificate({ name: 'kubelet', commonName: 'system:node:node-a', hosts: [address] }),
      caCertificate: pki.caCertificate,
      clock: systemClock,
      log,
    });
    await kubelet.start({ signal });
    kubeletClient = createKubeletClient({
      caCertificate: pki.caCertificate,
      clientCertificate: await pki.clientCertificate({ name: 'kubelet-client', commonName: 'api', organizations: ['system:masters'] }),
    });
  });
  afterAll(async () => {
    kubeletClient?.close();
    await kubelet?.stop();
    await node?.stop();
    await cluster?.stop();
    await rm(directory, { recursive: true, force: true });
  });

  const listNamespaces = async (): Promise<number> => {
    const client = createHttpClient({
      server: cluster.server.url,
      caCertificate: pki.caCertificate,
      clientCertificate: { certificate: admin.certificate, key: admin.key },
      userAgent: 'test/1',
    });
    try {
      return (await client.list(namespaces)).items.length;
    } finally {
      client.close();
    }
  };
  const askKubelet = async (): Promise<number | undefined> => {
    const status = {
      addresses: [{ type: 'InternalIP', address }],
      daemonEndpoints: { kubeletEndpoint: { Port: Number(new URL(kubelet.url).port) } },
    };
    const about = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-a' }, status } as unknown as Node;
    const answer = await kubeletClient.request(about, { path: '/healthz', signal });
    answer.resume();
    return answer.statusCode;
  };

  it('are reached with renewed certificates, in the connections of the API server to nodes, too', async () => {
    await expect(listNamespaces()).rejects.toThrow('certificate has expired');
    await expect(askKubelet()).rejects.toThrow('certificate has expired');

    const keeper = createCertificateKeeper({ authorities: { cluster: pki }, onTrouble: () => undefined, clock, log });
    await keeper.start({ signal });
    behindMs = 0;
    manual.advance(10_000);
    await until(() => manual.pending === 1, { what: 'the look is over' });

    expect(await listNamespaces()).toBeGreaterThan(0);
    expect(await askKubelet()).toBe(200);
    await keeper.stop();
  });
});

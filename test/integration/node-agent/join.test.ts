import { X509Certificate } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { certificateSigningRequests } from '../../../src/api/certificates/v1/certificate-signing-request.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { type Node, nodes } from '../../../src/api/core/v1/node.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { serviceAccounts } from '../../../src/api/core/v1/service-account.ts';
import { bootstrapSecretOf } from '../../../src/api/join-token.ts';
import { authorityHashOf } from '../../../src/api/join-token-secrets.ts';
import { bootstrapAccess } from '../../../src/apiserver/bootstrap.ts';
import { apiServerUser } from '../../../src/apiserver/user.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import { createCertificateRequest } from '../../../src/base/pki/certificate-request.ts';
import { createHttpClient, type HttpClient } from '../../../src/client/http-client.ts';
import { createInformerSet } from '../../../src/client/informer-set.ts';
import { createCertificateApprovingController } from '../../../src/controllers/certificates/approving-controller.ts';
import { createCertificateSigningController } from '../../../src/controllers/certificates/signing-controller.ts';
import { fetchClusterAuthority } from '../../../src/node-agent/join/cluster-authority.ts';
import { openNodeCertificates } from '../../../src/node-agent/join/node-certificates.ts';
import { referencesOf } from '../../../src/node-agent/pod-references.ts';
import { createWatchedConfigSource } from '../../../src/node-agent/watched-config-source.ts';
import { admin } from '../../support/api.ts';
import { startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { podOf } from '../../support/cluster-objects.ts';
import { startControllers } from '../../support/control-plane.ts';
import { temporaryDirectory } from '../../support/git.ts';
import { until } from '../../support/until.ts';

const token = 'abcdef.0123456789abcdef';
const { signal } = new AbortController();
const clock = systemClock;

let cluster: TestApiServer;
let controllers: Awaited<ReturnType<typeof startControllers>>;
const clients: HttpClient[] = [];
beforeAll(async () => {
  cluster = await startTestApiServer({}, { admitsMachines: true });
  await bootstrapAccess(cluster.api.clientFor(apiServerUser), { admitsMachines: true });
  await cluster.client.create(secrets, bootstrapSecretOf(token, { description: '' }));
  const metadata = { name: 'default', namespace: 'default' };
  await cluster.client.create(serviceAccounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata });
  controllers = await startControllers(cluster.api.clientFor({ name: 'system:kube-controller-manager', groups: [] }), [
    (dependencies) => createCertificateApprovingController({ ...dependencies, admitsMachines: true }),
    (dependencies) => createCertificateSigningController({ ...dependencies, pki: cluster.pki }),
  ]);
});
afterAll(async () => {
  for (const client of clients) client.close();
  await controllers.stop();
  await cluster.stop();
});

const clientWith = (credentials: Pick<Parameters<typeof createHttpClient>[0], 'token' | 'clientCertificate'>): HttpClient => {
  const client = createHttpClient({
    server: cluster.server.url,
    caCertificate: cluster.pki.caCertificate,
    ...credentials,
    userAgent: 'test/1',
  });
  clients.push(client);
  return client;
};
const join = async (nodeName: string, directory?: string) =>
  openNodeCertificates({
    directory: directory ?? (await temporaryDirectory('join')),
    nodeName,
    joiningClient: async () => clientWith({ token }),
    clock,
    signal,
  });
const nodeAt = (name: string, address: string): Node => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name },
  status: {
    addresses: [
      { type: 'InternalIP', address },
      { type: 'Hostname', address: name },
    ],
  },
});

describe('the authority of the cluster', () => {
  const authorityHash = () => authorityHashOf(cluster.pki.caCertificate);
  const fetch = (change: Partial<Parameters<typeof fetchClusterAuthority>[0]> = {}) =>
    fetchClusterAuthority({ server: cluster.server.url, authorityHash: authorityHash(), now: Date.now, signal, ...change });

  it('is shown to everybody, and taken when the token knows it', async () => {
    expect(await fetch()).toBe(cluster.pki.caCertificate);
  });

  it('is refused when the token names another one', async () => {
    await expect(fetch({ authorityHash: authorityHashOf('other') })).rejects.toMatchObject({
      name: 'JoinError',
      message: `${cluster.server.url} is not the cluster of this token`,
    });
  });

  it('is not taken by a machine whose clock differs by an hour', async () => {
    await expect(fetch({ now: () => Date.now() + 3_600_000 })).rejects.toThrow('the clock of this machine is 60 minutes ahead of');
    await expect(fetch({ now: () => Date.now() - 3_600_000 })).rejects.toThrow('the clock of this machine is 60 minutes behind that of');
  });

  it('is waited for where no server listens', async () => {
    await expect(fetch({ server: 'https://127.0.0.1:1' })).rejects.toMatchObject({ name: 'ServerUnreachable' });
  });

  it('is not shown by a server that admits no machines', async () => {
    const other = await startTestApiServer();
    const answer = await other.fetch('/cacerts', { anonymous: true });
    await other.stop();
    expect(answer.status).toBe(403);
  });
});

describe('a machine', () => {
  it('gets a certificate by a token, and reads it again at the next start', async () => {
    const directory = await temporaryDirectory('join');
    const first = await join('m1', directory);
    const certificate = new X509Certificate(first.client.certificate);
    expect(certificate.subject).toBe('O=system:nodes\nCN=system:node:m1');
    expect(certificate.verify(new X509Certificate(cluster.pki.caCertificate).publicKey)).toBe(true);
    const again = await openNodeCertificates({
      directory,
      nodeName: 'm1',
      joiningClient: () => Promise.reject(new Error('there is a certificate already')),
      clock,
      signal,
    });
    expect(again.client.certificate).toBe(first.client.certificate);
  });

  it('does not take the name of a Node that is there', async () => {
    await cluster.client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'taken' } });
    await expect(join('taken')).rejects.toMatchObject({
      message: 'the cluster refuses the certificate of system:node:taken',
      why: 'There is a Node taken already, and a token does not replace it.',
    });
  });

  it('gets a serving certificate for the addresses of its Node alone', async () => {
    const certificates = await join('m2');
    const client = clientWith({ clientCertificate: certificates.client });
    const manager = cluster.api.clientFor(admin);
    for (const { status, ...node } of [nodeAt('m2', '192.0.2.2'), nodeAt('m3', '192.0.2.3')]) {
      const created = await manager.create(nodes, node);
      await manager.update(nodes, { ...created, ...(status === undefined ? {} : { status }) }, { subresource: 'status' });
    }
    const pair = await certificates.server(['m2', '192.0.2.2'], client);
    expect(new X509Certificate(pair.certificate).checkIP('192.0.2.2')).toBe('192.0.2.2');

    // An address that another Node has is not given away, whatever the Node says of itself.
    const own = await client.get(nodes, { name: 'm2' });
    await client.update(
      nodes,
      {
        ...own,
        status: {
          ...own.status,
          addresses: [
            { type: 'InternalIP', address: '192.0.2.3' },
            { type: 'Hostname', address: 'm2' },
          ],
        },
      },
      { subresource: 'status' },
    );
    const { request } = await createCertificateRequest({
      commonName: 'system:node:m2',
      organizations: ['system:nodes'],
      ipAddresses: ['192.0.2.3'],
    });
    await client.create(certificateSigningRequests, {
      apiVersion: 'certificates.k8s.io/v1',
      kind: 'CertificateSigningRequest',
      metadata: { name: 'greedy' },
      spec: {
        request: Buffer.from(request).toString('base64'),
        signerName: 'kubernetes.io/kubelet-serving',
        usages: ['digital signature', 'server auth'],
      },
    });
    // A later request that is approved shows that this one was looked at.
    await join('m2-later');
    expect((await cluster.client.get(certificateSigningRequests, { name: 'greedy' })).status?.conditions ?? []).toEqual([]);
  });

  it('reads the Secrets of its own pods, follows them, and reads no other', async () => {
    const certificates = await join('m4');
    const client = clientWith({ clientCertificate: certificates.client });
    for (const name of ['used', 'other']) {
      await cluster.client.create(secrets, {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name, namespace: 'default' },
        stringData: { key: 'first' },
      });
    }
    await cluster.client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'page', namespace: 'default' } });
    const { metadata, spec } = podOf('web', { nodeName: 'm4' }, { namespace: 'default' });
    const { uid: _, ...named } = metadata;
    const [container] = spec.containers;
    if (container === undefined) throw new Error('the pod has no container');
    const envFrom = [{ secretRef: { name: 'used' } }, { configMapRef: { name: 'page' } }];
    const pod = await cluster.client.create(pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: named,
      spec: { ...spec, containers: [{ ...container, envFrom }] },
    });
    const abort = new AbortController();
    const log = createLog({ level: 'silent' });
    const informers = createInformerSet({ client, clock, log });
    informers.start({ signal: abort.signal });
    const config = createWatchedConfigSource({ client, informers, clock, log, random: Math.random });
    const changed: string[] = [];
    config.onChange((reference) => changed.push(reference));
    try {
      await config.ready(referencesOf(pod), signal);
      const keyOf = () => Buffer.from(config.secret('default', 'used')?.data?.key ?? '', 'base64').toString();
      expect(keyOf()).toBe('first');
      expect(config.configMap('default', 'page')).toBeDefined();
      await cluster.client.patch(
        secrets,
        { namespace: 'default', name: 'used' },
        { type: 'merge', body: { stringData: { key: 'second' } } },
      );
      await until(() => keyOf() === 'second', { what: 'the change arrives' });
      expect(changed.at(-1)).toBe('Secret/default/used');

      for (const attack of [
        client.get(secrets, { namespace: 'default', name: 'other' }),
        client.list(secrets, { namespace: 'default' }),
        client.list(secrets, { namespace: 'default', fieldSelector: 'metadata.name=other' }),
        client.get(secrets, { namespace: 'kube-system', name: 'bootstrap-token-abcdef' }),
      ])
        await expect(attack).rejects.toMatchObject({ code: 403 });

      config.releaseUnused((reference) => reference.startsWith('ConfigMap/'));
      expect(config.secret('default', 'used')).toBeUndefined();
      expect(config.configMap('default', 'page')).toBeDefined();
    } finally {
      config.stop();
      abort.abort();
    }
  });
});

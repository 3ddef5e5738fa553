import { once } from 'node:events';
import { createServer, type Server as NetServer } from 'node:net';
import { connect as connectTls, type SecureVersion } from 'node:tls';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { events } from '../../../src/api/core/v1/event.ts';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { services } from '../../../src/api/core/v1/service.ts';
import { type IngressSpec, ingresses } from '../../../src/api/networking/v1/ingress.ts';
import { ingressClasses } from '../../../src/api/networking/v1/ingress-class.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import { makeSelfSigned, rsaSigning } from '../../../src/base/pki/self-signed.ts';
import { cachedSecrets, keepIngressClass } from '../../../src/cli/compose/ingress.ts';
import { createIngressController } from '../../../src/ingress/ingress-controller.ts';
import { createIngressProxy, type IngressProxy, type PortTrouble } from '../../../src/ingress/ingress-proxy.ts';
import { defaultLimits } from '../../../src/ingress/limits.ts';
import { conditionOf } from '../../../src/machinery/conditions.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { exchangeBytes, hostRule } from '../../support/ingress.ts';
import { until } from '../../support/until.ts';

const namespace = 'default';
const troubles: PortTrouble[] = [];
let plane: ControlPlane;
let proxy: IngressProxy;
let blocker: NetServer;
let blockedPort: number;
/** Read at each start of the controllers. */
let areServed = true;

/** A second proxy of the same node whose port another program has. */
const createBlocked = (dependencies: Parameters<typeof createIngressController>[0]) =>
  createIngressProxy({
    ...dependencies,
    secrets: cachedSecrets(dependencies.informers),
    addresses: ['127.0.0.1'],
    httpPort: blockedPort,
    httpsPort: undefined,
    nodes: [{ name: 'blocked', client: dependencies.client }],
    onTrouble: (trouble) => troubles.push(trouble),
    metrics: createMetrics(),
  });

beforeAll(async () => {
  blocker = createServer().listen(0, '127.0.0.1');
  await once(blocker, 'listening');
  blockedPort = (blocker.address() as { port: number }).port;
  plane = await startControlPlane({
    controllers: [
      (dependencies) => createIngressController({ ...dependencies, isServed: areServed }),
      (dependencies) => {
        proxy = createIngressProxy({
          ...dependencies,
          secrets: cachedSecrets(dependencies.informers),
          addresses: ['127.0.0.1'],
          httpPort: 0,
          httpsPort: 0,
          nodes: [{ name: 'serving', client: dependencies.client }],
          onTrouble: (trouble) => troubles.push(trouble),
          metrics: createMetrics(),
          limits: { ...defaultLimits, drainMs: 200 },
        });
        return proxy;
      },
      createBlocked,
    ],
  });
  const { client } = plane;
  for (const [name, address] of [
    ['serving', '192.0.2.10'],
    ['blocked', '192.0.2.11'],
    ['lost', '192.0.2.12'],
  ] as const) {
    await client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name } });
    const status = name === 'lost' ? 'Unknown' : 'True';
    const conditions = [{ type: 'Ready', status }, ...(name === 'lost' ? [{ type: 'midship.dev/Ingress', status: 'True' }] : [])];
    const addresses = [{ type: 'InternalIP', address }, ...(name === 'serving' ? [{ type: 'ExternalIP', address: '203.0.113.5' }] : [])];
    await client.patch(nodes, { name }, { type: 'merge', body: { status: { conditions, addresses } } }, { subresource: 'status' });
  }
  await client.create(services, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace },
    spec: { ports: [{ name: 'http', port: 80 }] },
  });
  await keepIngressClass(client, true);
});
afterAll(async () => {
  await plane.stop();
  blocker.close();
});

const create = (name: string, spec: IngressSpec) =>
  plane.client.create(ingresses, { apiVersion: 'networking.k8s.io/v1', kind: 'Ingress', metadata: { name, namespace }, spec });
const addressesOf = async (name: string) => (await plane.client.get(ingresses, { namespace, name })).status?.loadBalancer?.ingress;
const eventsOf = async (name: string) =>
  (await plane.client.list(events, { fieldSelector: `involvedObject.name=${name}` })).items.map(
    ({ type, reason, message }) => `${type} ${reason} ${message}`,
  );
const hasEvents = (name: string, wanted: readonly string[]) =>
  until(async () => (await eventsOf(name)).sort().join('\n') === [...wanted].sort().join('\n'), {
    what: async () => `Events of ${name}: ${(await eventsOf(name)).join('; ')}`,
  });
const conditionOn = async (name: string) =>
  conditionOf((await plane.client.get(nodes, { name })).status?.conditions, 'midship.dev/Ingress');
const answerTo = (host: string) => exchangeBytes(proxy.ports.web ?? 0, `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);

it('gives Ingresses the addresses of the nodes that serve, external ones first', async () => {
  await create('plain', { ingressClassName: 'midship', rules: [hostRule('plain.example', 'web')] });
  expect(await until(() => addressesOf('plain'), { what: 'an address' })).toEqual([{ ip: '203.0.113.5' }]);
  await hasEvents('plain', ['Normal Sync Scheduled for sync']);
  expect(await conditionOn('serving')).toMatchObject({
    status: 'True',
    reason: 'Serving',
    message: expect.stringContaining(`port ${proxy.ports.web}`),
  });
  await until(async () => (await answerTo('plain.example')).startsWith('HTTP/1.1 503'), { what: 'the route' });
  expect(await answerTo('other.example')).toMatch(/^HTTP\/1\.1 404/);
});

it('goes on without Ingresses on a node whose port is taken, and says so three times', async () => {
  expect(await until(() => troubles[0], { what: 'the trouble' })).toEqual({
    what: `this node serves no Ingresses: port ${blockedPort} cannot be opened`,
    why: 'Another program of this machine has it.',
    fix: expect.stringContaining('--ingress-http-port'),
  });
  expect(await until(() => conditionOn('blocked'), { what: 'the condition' })).toMatchObject({
    status: 'False',
    reason: 'PortNotBindable',
  });
  await until(async () => (await eventsOf('blocked')).some((text) => text.startsWith('Warning PortNotBindable')), { what: 'the Event' });
});

/** Shows the common name of the certificate that a client gets. */
async function certificateOf(servername: string, maxVersion: SecureVersion = 'TLSv1.3'): Promise<string> {
  const socket = connectTls({ host: '127.0.0.1', port: proxy.ports.websecure ?? 0, servername, maxVersion, rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const { subject, serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return `${subject.CN} ${serialNumber}`;
}
const tlsData = async (name: string, algorithm?: typeof rsaSigning) => {
  const { certificate, key } = await makeSelfSigned(name, Date.now(), algorithm);
  return { 'tls.crt': Buffer.from(certificate).toString('base64'), 'tls.key': Buffer.from(key).toString('base64') };
};
const createSecret = (name: string, data: Record<string, string>, type = 'kubernetes.io/tls') =>
  plane.client.create(secrets, { apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace }, type, data });

it('shows the certificate of the host, its renewal at once, and its own where there is none', async () => {
  await createSecret('s', await tlsData('s.example'));
  await create('tls', {
    ingressClassName: 'midship',
    tls: [{ hosts: ['s.example'], secretName: 's' }],
    rules: [hostRule('s.example', 'web')],
  });
  await until(async () => (await certificateOf('s.example')).startsWith('s.example '), { what: 'the certificate' });
  const before = await certificateOf('S.example');
  await plane.client.patch(secrets, { namespace, name: 's' }, { type: 'merge', body: { data: await tlsData('s.example') } });
  await until(async () => (await certificateOf('s.example')) !== before, { what: 'the renewed certificate' });
  expect(await certificateOf('s.example', 'TLSv1.2')).toBe(await certificateOf('s.example'));
  const renewed = await certificateOf('s.example');
  await plane.client.patch(secrets, { namespace, name: 's' }, { type: 'merge', body: { data: await tlsData('s.example', rsaSigning) } });
  await until(async () => (await certificateOf('s.example')) !== renewed, { what: 'the certificate with a key of RSA' });
  expect(await certificateOf('s.example')).toMatch(/^s\.example /);
  expect(await certificateOf('s.example', 'TLSv1.2')).toBe(await certificateOf('s.example'));
  expect(await certificateOf('other.example')).toMatch(/^Midship Ingress Default Certificate /);
  expect(await answerTo('s.example')).toContain(`\r\nLocation: https://s.example:${proxy.ports.websecure}/\r\n`);
});

it('tells of Secrets that are no certificates of the host, and serves the other hosts as before', async () => {
  await createSecret('opaque', await tlsData('a.example'), 'Opaque');
  await createSecret('broken', { 'tls.crt': 'eA==', 'tls.key': 'eA==' });
  const [one, two] = [await tlsData('m.example'), await tlsData('m.example')];
  await createSecret('mixed', { ...one, 'tls.key': two['tls.key'] });
  const names = ['opaque', 'broken', 'mixed', 's', 'absent'];
  await create('bad', {
    ingressClassName: 'midship',
    tls: names.map((secretName) => ({ hosts: [`${secretName}.bad.example`], secretName })),
    rules: [hostRule('a.bad.example', 'web')],
  });
  const reasons = async () => (await eventsOf('bad')).filter((text) => text.startsWith('Warning'));
  const found = await until(async () => ((await reasons()).length === 5 ? reasons() : undefined), { what: 'five Events' });
  expect([...found].sort()).toEqual([
    expect.stringMatching(/^Warning BadCertificate Secret default\/broken has no usable certificate: /),
    'Warning BadCertificate Secret default/mixed has a key that is not that of its certificate',
    'Warning BadCertificate Secret default/opaque is of type Opaque, not kubernetes.io/tls',
    'Warning BadCertificate the certificate of Secret default/s is not for s.bad.example',
    'Warning SecretNotFound Secret default/absent does not exist',
  ]);
  expect(await certificateOf('s.bad.example')).toMatch(/^Midship/);
  expect(await certificateOf('s.example')).toMatch(/^s\.example /);
});

it('tells of backends that are not there, once', async () => {
  const backendOf = (name: string, port: { number?: number; name?: string }) => ({
    path: `/${name}`,
    pathType: 'Prefix',
    backend: { service: { name, port } },
  });
  await create('lost', {
    ingressClassName: 'midship',
    defaultBackend: { resource: { kind: 'Bucket', name: 'b' } },
    rules: [
      {
        http: {
          paths: [
            backendOf('nobody', { number: 80 }),
            backendOf('web', { name: 'admin' }),
            { ...backendOf('web', { name: 'http' }), path: '/ok' },
          ],
        },
      },
    ],
  });
  await hasEvents('lost', [
    'Normal Sync Scheduled for sync',
    'Warning ResourceBackendNotSupported resource backends are not supported: Bucket b gets no requests',
    'Warning ServiceNotFound Service default/nobody does not exist',
    'Warning PortNotFound Service default/web has no port admin',
  ]);
  const [first] = (await plane.client.list(events, { fieldSelector: 'involvedObject.name=lost,reason=ServiceNotFound' })).items;
  expect(first?.count).toBe(1);
});

it('leaves Ingresses of other classes alone', async () => {
  await plane.client.create(ingressClasses, {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'IngressClass',
    metadata: { name: 'nginx' },
    spec: { controller: 'k8s.io/ingress-nginx' },
  });
  await create('foreign', { ingressClassName: 'nginx', rules: [hostRule('foreign.example', 'nobody')] });
  // The default class is that of a later Ingress, which shows that the pass is over.
  await create('after', { rules: [hostRule('after.example', 'web')] });
  await until(() => addressesOf('after'), { what: 'the address of the later Ingress' });
  expect(await addressesOf('foreign')).toBeUndefined();
  expect(await eventsOf('foreign')).toEqual([]);
  expect(await answerTo('foreign.example')).toMatch(/^HTTP\/1\.1 404/);
});

it('closes the ports when the class goes, and opens them when it comes back', async () => {
  await keepIngressClass(plane.client, false);
  await until(() => proxy.ports.web === undefined, { what: 'closed ports' });
  await until(async () => (await conditionOn('serving'))?.reason === 'NoIngressClass', { what: 'the condition' });
  await keepIngressClass(plane.client, true);
  await until(async () => (await conditionOn('serving'))?.status === 'True', { what: 'the condition of a node that serves' });
});

it('takes the addresses away when no machine serves Ingresses any more, and leaves those of other classes', async () => {
  const foreign = [{ ip: '198.51.100.9' }];
  const body = { status: { loadBalancer: { ingress: foreign } } };
  await plane.client.patch(ingresses, { namespace, name: 'foreign' }, { type: 'merge', body }, { subresource: 'status' });
  await until(async () => ((await addressesOf('plain')) ?? []).length > 0, { what: 'an address before' });
  await keepIngressClass(plane.client, false);
  areServed = false;
  await plane.restart();
  await until(async () => ((await addressesOf('plain')) ?? []).length === 0, { what: 'the address goes' });
  expect(await addressesOf('foreign')).toEqual(foreign);
});

import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { apiServices } from '../../../src/api/apiregistration/v1/api-service.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { services } from '../../../src/api/core/v1/service.ts';
import { clusterRoles } from '../../../src/api/rbac/v1/cluster-role.ts';
import { clusterRoleBindings } from '../../../src/api/rbac/v1/cluster-role-binding.ts';
import { conditionOf } from '../../../src/machinery/conditions.ts';
import { adminToken, startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { type ExtensionServer, publish, type ReceivedRequest, register, startExtensionServer } from '../../support/extension-server.ts';
import { hasKubectl } from '../../support/kubectl.ts';
import { until } from '../../support/until.ts';

const address = '127.64.40.1';
const group = 'shop.example';
const base = `/apis/${group}/v1`;
const resources = {
  kind: 'APIResourceList',
  apiVersion: 'v1',
  groupVersion: `${group}/v1`,
  resources: [
    { name: 'orders', singularName: 'order', namespaced: true, kind: 'Order', verbs: ['get', 'list', 'watch'], shortNames: ['ord'] },
    { name: 'orders/status', singularName: '', namespaced: true, kind: 'Order', verbs: ['get'] },
    { name: '../secrets', singularName: '', namespaced: true, kind: 'Order', verbs: ['get'] },
    'nonsense',
  ],
};

const document = {
  openapi: '3.0.0',
  info: { title: 'shop', version: '1' },
  paths: {
    [`${base}/namespaces/{namespace}/orders`]: {
      get: { 'x-kubernetes-action': 'list', 'x-kubernetes-group-version-kind': { group, version: 'v1', kind: 'Order' } },
    },
  },
  components: {
    schemas: {
      Order: {
        type: 'object',
        description: 'What somebody wants to have.',
        properties: { spec: { type: 'object', properties: { amount: { type: 'integer', description: 'How many.' } } } },
        'x-kubernetes-group-version-kind': [{ group, version: 'v1', kind: 'Order' }],
      },
    },
  },
};

const sendJson = (response: ServerResponse, value: unknown): true => {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  return true;
};

describe('a group version that another server serves', { shuffle: false }, () => {
  let cluster: TestApiServer;
  let extension: ExtensionServer;
  const streams = new Set<ServerResponse>();
  const webSockets = new WebSocketServer({ noServer: true });

  const condition = async (name = `v1.${group}`) => {
    const { status } = await cluster.client.get(apiServices, { name });
    return conditionOf(status?.conditions, 'Available');
  };
  const available = (status: string, reason: string, name = `v1.${group}`) =>
    until(
      async () => {
        const now = await condition(name);
        return now?.status === status && now.reason === reason ? now : undefined;
      },
      { what: `${name} is ${status}, ${reason}` },
    );
  const lastRequest = (): ReceivedRequest => {
    const request = extension.received.filter(({ headers }) => headers['x-remote-user'] !== 'system:kube-aggregator').at(-1);
    if (request === undefined) throw new Error('nothing was passed on');
    return request;
  };
  const passedOn = (): number => extension.received.filter(({ headers }) => headers['x-remote-user'] !== 'system:kube-aggregator').length;

  beforeAll(async () => {
    cluster = await startTestApiServer();
    extension = await startExtensionServer({
      address,
      hosts: ['shop.default.svc'],
      frontProxyCa: cluster.frontProxyCa,
      answer({ url }, response) {
        if (url === base) return sendJson(response, resources);
        if (url === '/openapi/v3') {
          // It speaks for itself only.
          const own = { serverRelativeURL: `/openapi/v3${base}?hash=ABC` };
          return sendJson(response, { paths: { [base.slice(1)]: own, 'api/v1': { serverRelativeURL: '/openapi/v3/api/v1?hash=EVIL' } } });
        }
        if (url.startsWith(`/openapi/v3${base}`)) return sendJson(response, document);
        if (url.startsWith(`${base}/namespaces/default/orders?watch=true`)) {
          response.writeHead(200, { 'content-type': 'application/json' });
          response.write('{"type":"ADDED"}\n');
          streams.add(response);
          response.once('close', () => streams.delete(response));
          return true;
        }
        if (url.startsWith(`${base}/redirect`)) {
          response.writeHead(302, { location: 'https://elsewhere.example/' }).end();
          return true;
        }
        if (!url.startsWith(base)) return false;
        return sendJson(response, { kind: 'OrderList', apiVersion: `${group}/v1`, metadata: {}, items: [] });
      },
      upgrade: (request, socket, head) =>
        webSockets.handleUpgrade(request, socket, head, (webSocket) => {
          webSocket.on('message', (data) => webSocket.send(`${String(request.headers['x-remote-user'])}: ${String(data)}`));
        }),
    });
  });
  afterAll(async () => {
    await cluster?.stop();
    await extension?.stop();
  });

  it('is not found before it is registered, and not available before its server is', async () => {
    expect(await cluster.fetch(`${base}/namespaces/default/orders`)).toMatchObject({ status: 404, text: '404 page not found\n' });
    await register(cluster.client, group, 'v1', { service: { namespace: 'default', name: 'shop' }, caBundle: extension.caBundle });
    for (const path of [base, `${base}/namespaces/default/orders`]) {
      expect(await cluster.fetch(path)).toMatchObject({ status: 503, text: 'service unavailable\n' });
    }
    expect(await available('False', 'ServiceNotFound')).toMatchObject({ message: 'service/shop in "default" is not present' });
    const { items } = (
      await cluster.fetch('/apis', { headers: { accept: 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList' } })
    ).json;
    expect(items.at(-1)).toEqual({ metadata: { name: group }, versions: [{ version: 'v1', freshness: 'Stale' }] });
  });

  it('is served as soon as its Service leads to a server that answers', async () => {
    await publish(cluster.client, 'shop', { address, port: extension.port });
    expect(await available('True', 'Passed')).toMatchObject({ message: 'all checks passed' });
    expect(extension.received[0]).toMatchObject({
      url: base,
      certifiedAs: 'front-proxy-client',
      headers: { 'x-remote-user': 'system:kube-aggregator', 'x-remote-group': 'system:masters' },
    });
    const answer = await cluster.fetch(`${base}/namespaces/default/orders?limit=5`);
    expect(answer).toMatchObject({ status: 200, headers: { 'content-type': 'application/json' } });
    expect(answer.json.kind).toBe('OrderList');
    expect(lastRequest()).toMatchObject({
      method: 'GET',
      url: `${base}/namespaces/default/orders?limit=5`,
      certifiedAs: 'front-proxy-client',
      headers: { 'x-remote-user': 'root', 'x-remote-group': 'system:masters, system:authenticated', 'x-forwarded-proto': 'https' },
    });
  });

  it('is in discovery as its server describes it, without malformed entries', async () => {
    const accept = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';
    const { items } = (await cluster.fetch('/apis', { headers: { accept } })).json;
    expect(items.at(-1)).toEqual({
      metadata: { name: group },
      versions: [
        {
          version: 'v1',
          freshness: 'Current',
          resources: [
            {
              resource: 'orders',
              responseKind: { group, version: 'v1', kind: 'Order' },
              scope: 'Namespaced',
              singularResource: 'order',
              verbs: ['get', 'list', 'watch'],
              shortNames: ['ord'],
              subresources: [{ subresource: 'status', responseKind: { group, version: 'v1', kind: 'Order' }, verbs: ['get'] }],
            },
          ],
        },
      ],
    });
    const served = { groupVersion: `${group}/v1`, version: 'v1' };
    expect((await cluster.fetch(`/apis/${group}`)).json).toMatchObject({ name: group, versions: [served], preferredVersion: served });
    expect((await cluster.fetch('/apis')).json.groups.at(-1).name).toBe(group);
    expect((await cluster.fetch('/')).json.paths).toContain(base);
    // Its own list is the server's to give.
    expect((await cluster.fetch(base)).json).toEqual(resources);
  });

  it('is in the index of OpenAPI, for its own types alone', async () => {
    const { paths } = (await cluster.fetch('/openapi/v3')).json;
    expect(paths[base.slice(1)]).toEqual({ serverRelativeURL: `/openapi/v3${base}?hash=ABC` });
    expect(paths['api/v1'].serverRelativeURL).not.toContain('EVIL');
    expect((await cluster.fetch(`/openapi/v3${base}?hash=ABC`)).json).toEqual(document);
    expect(lastRequest()).toMatchObject({ url: `/openapi/v3${base}?hash=ABC`, headers: { 'x-remote-user': 'root' } });
    expect((await cluster.fetch(`/openapi/v3${base}`, { anonymous: true })).status).toBe(403);
  });

  it.skipIf(!hasKubectl)('is used by kubectl as any other (needs kubectl)', async () => {
    const { stdout } = await cluster.kubectl('api-resources', `--api-group=${group}`, '--no-headers');
    expect(stdout.split(/\s+/).slice(0, 5)).toEqual(['orders', 'ord', `${group}/v1`, 'true', 'Order']);
    expect(await cluster.kubectl('get', 'ord')).toMatchObject({ code: 0, stderr: 'No resources found in default namespace.\n' });
    expect(await cluster.kubectl('explain', 'orders.spec')).toMatchObject({ code: 0, stdout: expect.stringContaining('How many.') });
    const services = await cluster.kubectl('get', 'apiservice', `v1.${group}`, '--no-headers');
    expect(services.stdout.split(/\s+/).slice(0, 3)).toEqual([`v1.${group}`, 'default/shop', 'True']);
  });

  it('passes bodies and methods on', async () => {
    await cluster.fetch(`${base}/namespaces/default/orders`, { method: 'POST', body: { kind: 'Order' } });
    expect(lastRequest()).toMatchObject({ method: 'POST', body: '{"kind":"Order"}', headers: { 'content-type': 'application/json' } });
  });

  it('is asked only by those who may, as themselves', async () => {
    const asAlice = { authorization: `Bearer ${cluster.aliceToken}` };
    const before = passedOn();
    expect(await cluster.fetch(`${base}/namespaces/default/orders`, { headers: asAlice })).toMatchObject({ status: 403 });
    expect(await cluster.fetch(`${base}/namespaces/default/orders`, { anonymous: true })).toMatchObject({ status: 403 });
    expect(passedOn()).toBe(before);
    await cluster.client.create(clusterRoles, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: { name: 'orders' },
      rules: [{ apiGroups: [group], resources: ['orders'], verbs: ['list'] }],
    });
    await cluster.client.create(clusterRoleBindings, {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: 'orders' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'orders' },
      subjects: [{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: 'alice' }],
    });
    const smuggled = {
      ...asAlice,
      'X-Remote-User': 'root',
      'X-Remote-Group': 'system:masters',
      'X-Remote-Uid': '0',
      'X-Remote-Extra-Scopes': 'all',
      X_Remote_User: 'root',
      'X-Forwarded-For': '10.0.0.1',
      Connection: 'close, x-hop',
      'x-hop': 'mine',
      'x-kept': 'yes',
    };
    expect((await cluster.fetch(`${base}/namespaces/default/orders`, { headers: smuggled })).status).toBe(200);
    const { headers } = lastRequest();
    expect(headers).toMatchObject({ 'x-remote-user': 'alice', 'x-remote-group': 'devs, system:authenticated', 'x-kept': 'yes' });
    expect(headers['x-forwarded-for']).toBe('127.0.0.1');
    for (const name of ['authorization', 'x-remote-uid', 'x-remote-extra-scopes', 'x_remote_user', 'x-hop']) {
      expect(headers).not.toHaveProperty(name);
    }
  });

  it('gets the impersonated user, and not the headers that ask for it', async () => {
    const headers = { 'Impersonate-User': 'bob', 'Impersonate-Group': 'system:masters', 'Impersonate-Extra-acme.example%2Fscope': 'a' };
    expect((await cluster.fetch(`${base}/namespaces/default/orders`, { headers })).status).toBe(200);
    const received = lastRequest().headers;
    expect(received).toMatchObject({ 'x-remote-user': 'bob', 'x-remote-extra-acme.example%2fscope': 'a' });
    expect(Object.keys(received).filter((name) => name.startsWith('impersonate'))).toEqual([]);
  });

  it('gets the path that was authorized, whatever tricks the client tries', async () => {
    const before = passedOn();
    for (const path of [
      `${base}/../../../api/v1/secrets`,
      `${base}/orders/%2e%2e/%2E%2E/x`,
      `${base}/./orders`,
      `${base}/namespaces/default/orders/..`,
    ]) {
      expect({ path, status: (await cluster.fetch(path)).status }).toEqual({ path, status: 400 });
    }
    for (const path of [`/${base}/orders`, `/apis//${group}/v1/orders`, `/apis/${group}/v1beta1/orders`]) {
      expect({ path, status: (await cluster.fetch(path)).status }).toEqual({ path, status: 404 });
    }
    expect(passedOn()).toBe(before);
    expect((await cluster.fetch(`${base}/namespaces/default/orders/a%2F..%2Fb%3Fwatch=1`)).status).toBe(200);
    expect(lastRequest().url).toBe(`${base}/namespaces/default/orders/a%2F..%2Fb%3Fwatch%3D1`);
  });

  it('may not send clients elsewhere', async () => {
    expect(await cluster.fetch(`${base}/redirect`)).toMatchObject({
      status: 502,
      text: 'the backend attempted to redirect this request, which is not permitted',
    });
  });

  it('streams, until the client goes', async () => {
    const { hostname, port } = new URL(cluster.server.url);
    const client = httpsRequest({
      hostname,
      port,
      path: `${base}/namespaces/default/orders?watch=true`,
      ca: cluster.pki.caCertificate,
      headers: { authorization: `Bearer ${adminToken}` },
      agent: false,
    });
    client.on('error', () => undefined);
    client.end();
    const [answer] = await once(client, 'response');
    const chunks = answer[Symbol.asyncIterator]();
    expect(String((await chunks.next()).value)).toBe('{"type":"ADDED"}\n');
    for (const stream of streams) stream.write('{"type":"MODIFIED"}\n');
    expect(String((await chunks.next()).value)).toBe('{"type":"MODIFIED"}\n');
    answer.on('error', () => undefined);
    client.destroy();
    await until(() => streams.size === 0, { what: 'the server hears that nobody listens' });
  });

  it('takes over connections that change their protocol', async () => {
    const url = `${cluster.server.url.replace('https', 'wss')}${base}/namespaces/default/orders/a/talk`;
    const socket = new WebSocket(url, {
      ca: cluster.pki.caCertificate,
      headers: { authorization: `Bearer ${adminToken}`, 'x-remote-user': 'mallory' },
    });
    await once(socket, 'open');
    socket.send('hello');
    const [message] = await once(socket, 'message');
    expect(String(message)).toBe('root: hello');
    socket.close();
    await once(socket, 'close');
    // The receiver of the answer is authorized before it is sent.
    const refused = new WebSocket(url, { ca: cluster.pki.caCertificate });
    const [, response] = await once(refused, 'unexpected-response');
    expect(response.statusCode).toBe(403);
    refused.on('error', () => undefined);
    refused.terminate();
  });

  it('never takes the place of what is served here', async () => {
    await cluster.client.patch(
      apiServices,
      { name: 'v1.apps' },
      {
        type: 'merge',
        body: { spec: { service: { namespace: 'default', name: 'shop', port: 443 }, insecureSkipTLSVerify: true } },
      },
    );
    const before = passedOn();
    expect((await cluster.fetch('/apis/apps/v1/deployments')).json.kind).toBe('DeploymentList');
    expect(passedOn()).toBe(before);
    await available('False', 'FailedDiscoveryCheck', 'v1.apps');
    await cluster.client.patch(
      apiServices,
      { name: 'v1.apps' },
      {
        type: 'json',
        body: [
          { op: 'remove', path: '/spec/service' },
          { op: 'remove', path: '/spec/insecureSkipTLSVerify' },
        ],
      },
    );
    await available('True', 'Local', 'v1.apps');
  });

  it('is trusted by its certificate only, unless the APIService says otherwise', async () => {
    const body = (spec: object) => ({ type: 'merge', body: { spec } }) as const;
    const foreign = Buffer.from(cluster.pki.caCertificate).toString('base64');
    await cluster.client.patch(apiServices, { name: `v1.${group}` }, body({ caBundle: foreign }));
    const { message } = await available('False', 'FailedDiscoveryCheck');
    const url = `https://${address}:${extension.port}${base}`;
    expect(message).toBe(
      `failing or missing response from ${url}: Get "${url}": tls: failed to verify certificate: x509: certificate signed by unknown authority`,
    );
    expect(await cluster.fetch(`${base}/namespaces/default/orders`)).toMatchObject({ status: 503, text: 'service unavailable\n' });
    await cluster.client.patch(apiServices, { name: `v1.${group}` }, body({ caBundle: null, insecureSkipTLSVerify: true }));
    await available('True', 'Passed');
    // Another name is in the certificate.
    await publish(cluster.client, 'other', { address, port: extension.port });
    await cluster.client.patch(
      apiServices,
      { name: `v1.${group}` },
      body({ caBundle: extension.caBundle, insecureSkipTLSVerify: null, service: { name: 'other' } }),
    );
    const { message: named } = await available('False', 'FailedDiscoveryCheck');
    expect(named).toContain('x509: certificate is valid for shop.default.svc, not other.default.svc');
    await cluster.client.patch(apiServices, { name: `v1.${group}` }, body({ service: { name: 'shop' } }));
    await available('True', 'Passed');
  });

  it('is reported when its Service does not lead to it', async () => {
    const ref = { namespace: 'default', name: 'shop' };
    await cluster.client.patch(services, ref, { type: 'merge', body: { spec: { ports: [{ name: 'https', port: 8443 }] } } });
    expect(await available('False', 'ServicePortError')).toMatchObject({
      message: 'service/shop in "default" is not listening on port 443',
    });
    await cluster.client.patch(services, ref, { type: 'merge', body: { spec: { ports: [{ name: 'web', port: 443 }] } } });
    expect(await available('False', 'MissingEndpoints')).toMatchObject({
      message: 'endpointslices for service/shop in "default" have no addresses with port name "web"',
    });
    await cluster.client.patch(services, ref, { type: 'merge', body: { spec: { ports: [{ name: 'https', port: 443 }] } } });
    await available('True', 'Passed');
  });

  it('is counted when it cannot be reached, under the names that alerts know', async () => {
    const { text } = await cluster.fetch('/metrics');
    expect(text).toContain(`aggregator_unavailable_apiservice{name="v1.${group}"} 0\n`);
    expect(text).toContain('aggregator_unavailable_apiservice{name="v1."} 0\n');
    expect(text).toMatch(/aggregator_unavailable_apiservice_total\{name="v1\.shop\.example",reason="ServiceNotFound"\} [1-9]/);
  });

  it('is gone with its APIService', async () => {
    await cluster.client.delete(apiServices, { name: `v1.${group}` });
    await until(async () => (await cluster.fetch(base)).status === 404, { what: 'page not found' });
    expect((await cluster.fetch('/apis')).json.groups.map(({ name }: { name: string }) => name)).not.toContain(group);
  });

  it('can learn how to know who asks', async () => {
    const { data } = await cluster.client.get(configMaps, { namespace: 'kube-system', name: 'extension-apiserver-authentication' });
    expect(data).toEqual({
      'client-ca-file': cluster.pki.caCertificate,
      'requestheader-allowed-names': '["front-proxy-client"]',
      'requestheader-client-ca-file': cluster.frontProxyCa,
      'requestheader-extra-headers-prefix': '["X-Remote-Extra-"]',
      'requestheader-group-headers': '["X-Remote-Group"]',
      'requestheader-uid-headers': '["X-Remote-Uid"]',
      'requestheader-username-headers': '["X-Remote-User"]',
    });
  });
});

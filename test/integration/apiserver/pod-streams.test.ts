import type { IncomingMessage } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { services } from '../../../src/api/core/v1/service.ts';
import { serviceAccounts } from '../../../src/api/core/v1/service-account.ts';
import { endpointSlices } from '../../../src/api/discovery/v1/endpoint-slice.ts';
import { adminToken, startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { until } from '../../support/until.ts';

/** The agent's side is a TLS server that answers as a kubelet does; what is tested is the relay. */
let cluster: TestApiServer;
let agent: Server;
const seen: string[] = [];
let onSocket: (socket: WebSocket, request: IncomingMessage) => void;

beforeAll(async () => {
  cluster = await startTestApiServer();
  const { certificate, key } = await cluster.pki.serverCertificate({ name: 'kubelet', commonName: 'n1', hosts: ['127.0.0.1'] });
  agent = createServer({ cert: certificate, key, ca: cluster.pki.caCertificate, requestCert: true }, (request, response) => {
    seen.push(`${request.method} ${request.url}`);
    let body = '';
    request.on('data', (chunk) => (body += String(chunk)));
    request.on('end', () => {
      response.writeHead(request.url === '/missing' ? 404 : request.url?.includes('refuse') ? 500 : 200, {
        'content-type': 'text/plain',
        connection: 'close',
      });
      response.end(`${JSON.stringify(request.headers)}\n${body}`);
    });
  });
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: ([first]) => first ?? false });
  agent.on('upgrade', (request, socket, head) => {
    seen.push(`${request.method} ${request.url}`);
    if (request.url?.includes('refuse')) {
      socket.end('HTTP/1.1 500 Internal Server Error\r\ncontent-length: 26\r\n\r\ncontainer not found ("main")');
      return;
    }
    sockets.handleUpgrade(request, socket, head, (opened) => onSocket(opened, request));
  });
  await new Promise<void>((resolve) => agent.listen(0, '127.0.0.1', resolve));
  const { port } = agent.address() as AddressInfo;
  const node = await cluster.client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } });
  const status = { addresses: [{ type: 'InternalIP', address: '127.0.0.1' }], daemonEndpoints: { kubeletEndpoint: { Port: port } } };
  await cluster.client.update(nodes, { ...node, status }, { subresource: 'status' });
  await cluster.client.create(serviceAccounts, {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name: 'default', namespace: 'default' },
  });
  for (const [name, bound, containers] of [
    ['one', true, ['main']],
    ['two', true, ['main', 'side']],
    ['refuse', true, ['main']],
    ['unscheduled', false, ['main']],
  ] as const) {
    await cluster.client.create(pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'default' },
      spec: { containers: containers.map((container) => ({ name: container, image: 'host/x' })) },
    });
    if (bound)
      await cluster.client.createSubresource(pods, { namespace: 'default', name }, 'binding', { target: { kind: 'Node', name: 'n1' } });
  }
});
afterEach(() => {
  seen.length = 0;
});
afterAll(async () => {
  agent.closeAllConnections();
  await cluster.stop();
  await new Promise((resolve) => agent.close(resolve));
});

interface Refused {
  readonly code: number;
  readonly message: string;
}

/** The open socket, or the Status that came instead. */
function open(path: string, protocol = 'v5.channel.k8s.io', token: string = adminToken): Promise<WebSocket | Refused> {
  const url = `${cluster.server.url.replace('https', 'wss')}/api/v1/namespaces/default/pods/${path}`;
  const socket = new WebSocket(url, protocol, { ca: cluster.pki.caCertificate, headers: { authorization: `Bearer ${token}` } });
  return new Promise((resolve, reject) => {
    socket.once('open', () => resolve(socket));
    socket.on('error', reject);
    socket.once('unexpected-response', (_request, response) => {
      let text = '';
      response.on('data', (chunk) => (text += String(chunk)));
      response.on('end', () => resolve(JSON.parse(text) as Refused));
    });
  });
}

async function opened(...args: Parameters<typeof open>): Promise<WebSocket> {
  const answer = await open(...args);
  if (!(answer instanceof WebSocket)) throw new Error(JSON.stringify(answer));
  return answer;
}

const closeCode = (socket: WebSocket): Promise<number> => new Promise((resolve) => socket.once('close', resolve));

describe('exec through the API server', () => {
  it('relays messages both ways and the end, with parameters by the agent’s names', async () => {
    onSocket = (socket) => {
      socket.send(Buffer.of(1));
      socket.on('message', (data: Buffer) => {
        socket.send(Buffer.concat([Buffer.of(1), data.subarray(1)]));
        socket.send(Buffer.from('\x03{"status":"Success"}'));
        socket.close(1000);
      });
    };
    const socket = await opened('one/exec?command=ls&command=-l+a&stdin=true&stdout=true&stderr=true&tty=false');
    const messages: string[] = [];
    socket.on('message', (data: Buffer) => messages.push(data.toString()));
    const closed = closeCode(socket);
    socket.send(Buffer.from('\0hello'));
    expect(await closed).toBe(1000);
    expect(messages).toEqual(['\x01', '\x01hello', '\x03{"status":"Success"}']);
    expect(seen).toEqual(['GET /exec/default/one/main?command=ls&command=-l+a&input=1&output=1&error=1']);
  });

  it('refuses before the upgrade what cannot be', async () => {
    const query = 'exec?command=ls&stdout=true';
    expect(await open(`two/${query}`)).toMatchObject({
      code: 400,
      message: 'a container name must be specified for pod two, choose one of: [main side]',
    });
    expect(await open(`two/${query}&container=nope`)).toMatchObject({ code: 400, message: 'container nope is not valid for pod two' });
    expect(await open(`unscheduled/${query}`)).toMatchObject({ code: 400, message: 'pod unscheduled does not have a host assigned' });
    expect(await open(`nope/${query}`)).toMatchObject({ code: 404, message: 'pods "nope" not found' });
    expect(await open('one/exec?stdout=true')).toMatchObject({ code: 400 });
    expect(await open('one/exec?command=ls')).toMatchObject({ code: 400, message: 'you must specify at least 1 of stdin, stdout, stderr' });
    expect(await open(`one/${query}`, 'v1.unknown')).toMatchObject({ code: 400 });
    expect(await open(`one/${query}`, 'v5.channel.k8s.io', 'wrong')).toMatchObject({ code: 401 });
    expect(await open(`one/${query}`, 'v5.channel.k8s.io', cluster.aliceToken)).toMatchObject({
      code: 403,
      message: 'pods "one" is forbidden: User "alice" cannot get resource "pods/exec" in API group "" in the namespace "default"',
    });
    expect(seen).toEqual([]);
    expect((await cluster.fetch(`/api/v1/namespaces/default/pods/one/${query}`)).json).toMatchObject({
      code: 400,
      message: 'Upgrade request required',
    });
    expect(await open(`refuse/${query}`)).toMatchObject({ code: 500, message: expect.stringContaining('container not found') });
    // The second try of clients gets the reason, too, since they show that one.
    const spdy = { method: 'POST', headers: { connection: 'Upgrade', upgrade: 'SPDY/3.1' } };
    expect((await cluster.fetch(`/api/v1/namespaces/default/pods/refuse/${query}`, spdy)).json).toMatchObject({ code: 500 });
    expect((await cluster.fetch(`/api/v1/namespaces/default/pods/two/${query}`, spdy)).json).toMatchObject({
      code: 400,
      message: expect.stringContaining('a container name must be specified'),
    });
  });

  it('lets go of the agent when the client goes away, and of the client when the agent does', async () => {
    let agentSocket: WebSocket | undefined;
    onSocket = (socket) => {
      agentSocket = socket;
    };
    const first = await opened('one/exec?command=cat&stdin=true');
    const agentClosed = closeCode(agentSocket as unknown as WebSocket);
    first.terminate();
    await agentClosed;
    const second = await opened('one/exec?command=cat&stdin=true');
    const clientClosed = closeCode(second);
    (agentSocket as unknown as WebSocket).terminate();
    expect(await clientClosed).toBe(1006);
  });

  it('reads no more from a client than the agent takes, and loses nothing', async () => {
    let agentSocket: WebSocket | undefined;
    let received = 0;
    onSocket = (socket) => {
      agentSocket = socket;
      socket.pause();
      socket.on('message', (data: Buffer) => {
        received += data.length - 1;
      });
    };
    const socket = await opened('one/exec?command=cat&stdin=true');
    const piece = Buffer.alloc(64 * 1024);
    for (let sent = 0; sent < 512; sent += 1) socket.send(piece);
    // 32 MB: the kernel's buffers and ours hold a part, the rest stays with the client.
    await until(() => socket.bufferedAmount > 0, { what: 'the client waits' });
    expect(socket.bufferedAmount).toBeGreaterThan(8 * 1024 * 1024);
    agentSocket?.resume();
    await until(() => received === 512 * (64 * 1024 - 1), { what: () => `${received} bytes` });
    socket.close();
    await closeCode(socket);
  });

  it('hangs up on a message without bound', async () => {
    onSocket = () => undefined;
    const socket = await opened('one/exec?command=cat&stdin=true');
    const closed = closeCode(socket);
    socket.send(Buffer.alloc(2 * 1024 * 1024));
    expect(await closed).toBe(1009);
  });
});

describe('port-forward through the API server', () => {
  it('carries channels by port', async () => {
    onSocket = (socket) => socket.close(1000);
    const socket = await opened('one/portforward?ports=80&ports=81', 'v4.channel.k8s.io');
    expect(await closeCode(socket)).toBe(1000);
    expect(seen).toEqual(['GET /portForward/default/one?port=80&port=81']);
  });
});

describe('proxy', () => {
  it('reaches the kubelet of a node, without the caller’s credentials', async () => {
    const answer = await cluster.fetch('/api/v1/nodes/n1/proxy/metrics/a%2Fb?x=1&y=a%20b', { headers: { 'x-mine': 'yes' } });
    expect(answer.status).toBe(200);
    expect(seen).toEqual(['GET /metrics/a%2Fb?x=1&y=a%20b']);
    expect(answer.text).toContain('"x-mine":"yes"');
    expect(answer.text).not.toContain(adminToken);
    expect((await cluster.fetch('/api/v1/nodes/n1/proxy/missing')).status).toBe(404);
    expect((await cluster.fetch('/api/v1/nodes/n1:81/proxy/')).json).toMatchObject({ code: 400 });
    expect((await cluster.fetch('/api/v1/nodes/nope/proxy/')).json).toMatchObject({ code: 404 });
    const alice = { headers: { authorization: `Bearer ${cluster.aliceToken}` } };
    expect((await cluster.fetch('/api/v1/nodes/n1/proxy/metrics', alice)).json).toMatchObject({ code: 403 });
  });

  it('reaches ports of pods and Services through the agent', async () => {
    const asked: string[] = [];
    onSocket = (socket, { url = '' }) => {
      const port = Number(new URL(url, 'https://agent').searchParams.get('port'));
      const opening = Buffer.of(port & 255, port >> 8);
      socket.send(Buffer.concat([Buffer.of(0), opening]));
      socket.send(Buffer.concat([Buffer.of(1), opening]));
      socket.on('message', (data: Buffer) => {
        asked.push(data.subarray(1).toString());
        if (port === 81) socket.send(Buffer.from('\x01connection refused'));
        else socket.send(Buffer.from('\0HTTP/1.1 201 Created\r\ncontent-length: 2\r\nx-pod: yes\r\n\r\nok'));
      });
    };
    const answer = await cluster.fetch('/api/v1/namespaces/default/pods/one:8080/proxy/a/b/?q=1', {
      method: 'POST',
      headers: { 'content-type': 'text/plain' },
      body: 'data',
    });
    expect(answer).toMatchObject({ status: 201, text: 'ok', headers: { 'x-pod': 'yes' } });
    expect(asked.join('')).toMatch(/^POST \/a\/b\/\?q=1 HTTP\/1.1\r\n/);
    expect(asked.join('')).toMatch(/\r\n\r\ndata$/);
    expect(asked.join('')).not.toContain(adminToken);
    expect((await cluster.fetch('/api/v1/namespaces/default/pods/one:81/proxy/')).json).toMatchObject({
      code: 503,
      message: 'error trying to reach service: connection refused',
    });

    const at = '/api/v1/namespaces/default/services';
    expect((await cluster.fetch(`${at}/web/proxy/`)).json).toMatchObject({ code: 404 });
    await cluster.client.create(services, {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'web', namespace: 'default' },
      spec: { ports: [{ name: 'http', port: 80, protocol: 'TCP' }] },
    });
    expect((await cluster.fetch(`${at}/web/proxy/`)).json).toMatchObject({
      code: 503,
      message: 'no endpoints available for service "web"',
    });
    await cluster.client.create(endpointSlices, {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: 'web-1', namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } },
      addressType: 'IPv4',
      ports: [{ name: 'http', port: 8080 }],
      endpoints: [{ addresses: ['10.0.0.1'], targetRef: { kind: 'Pod', name: 'one', namespace: 'default' } }],
    });
    for (const name of ['web', 'web:80', 'web:http', 'http:web:http']) {
      expect(await cluster.fetch(`${at}/${name}/proxy/`)).toMatchObject({ status: 201, text: 'ok' });
    }
    expect(seen.at(-1)).toBe('GET /portForward/default/one?port=8080');
    expect((await cluster.fetch(`${at}/web:other/proxy/`)).json).toMatchObject({ code: 503 });
  });
});

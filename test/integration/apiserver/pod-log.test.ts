import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, request as httpsRequest, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { serviceAccounts } from '../../../src/api/core/v1/service-account.ts';
import { adminToken, startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { hasKubectl } from '../../support/kubectl.ts';
import { until } from '../../support/until.ts';

/** The agent's side is a TLS server that answers as a kubelet does; what is tested is the relay. */
describe('logs of pods', () => {
  let cluster: TestApiServer;
  let agent: Server;
  let answer: (request: IncomingMessage, response: ServerResponse) => void;
  const seen: string[] = [];
  let clientOf = '';

  const logOf = (pod: string, query = '') => cluster.fetch(`/api/v1/namespaces/default/pods/${pod}/log${query}`);

  beforeAll(async () => {
    cluster = await startTestApiServer();
    const { certificate, key } = await cluster.pki.serverCertificate({ name: 'kubelet', commonName: 'n1', hosts: ['127.0.0.1'] });
    agent = createServer({ cert: certificate, key, ca: cluster.pki.caCertificate, requestCert: true }, (request, response) => {
      seen.push(request.url ?? '');
      clientOf = String((request.socket as TLSSocket).getPeerCertificate().subject.CN);
      answer(request, response);
    });
    await new Promise<void>((resolve) => agent.listen(0, '127.0.0.1', resolve));
    const { port } = agent.address() as AddressInfo;
    const node = await cluster.client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } });
    const status = { addresses: [{ type: 'InternalIP', address: '127.0.0.1' }], daemonEndpoints: { kubeletEndpoint: { Port: port } } };
    await cluster.client.update(nodes, { ...node, status }, { subresource: 'status' });
    await cluster.client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'silent' } });
    await cluster.client.create(serviceAccounts, {
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: 'default', namespace: 'default' },
    });
    const bind = async (name: string, node: string, containers: readonly string[]): Promise<void> => {
      await cluster.client.create(pods, {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace: 'default' },
        spec: { containers: containers.map((container) => ({ name: container, image: 'host/x' })) },
      });
      if (node === '') return;
      await cluster.client.createSubresource(pods, { namespace: 'default', name }, 'binding', { target: { kind: 'Node', name: node } });
    };
    await bind('one', 'n1', ['main']);
    await bind('two', 'n1', ['main', 'side']);
    await bind('unscheduled', '', ['main']);
    await bind('lost', 'silent', ['main']);
  });
  afterEach(() => {
    seen.length = 0;
  });
  afterAll(async () => {
    agent.closeAllConnections();
    await new Promise((resolve) => agent.close(resolve));
    await cluster.stop();
  });

  it('relays what the agent has, asked with the options and a client certificate', async () => {
    answer = (_request, response) => response.writeHead(200, { 'content-type': 'text/plain' }).end('line 1\nline 2\n');
    const { status, headers, text } = await logOf('one', '?tailLines=2&timestamps=true&sinceSeconds=60&container=main&pretty=true');
    expect({ status, type: headers['content-type'], text }).toEqual({ status: 200, type: 'text/plain', text: 'line 1\nline 2\n' });
    expect(seen).toEqual(['/containerLogs/default/one/main?timestamps=true&tailLines=2&sinceSeconds=60']);
    expect(clientOf).toBe('kube-apiserver-kubelet-client');
  });

  it('has nothing of a pod without a node', async () => {
    expect(await logOf('unscheduled')).toMatchObject({ status: 204, text: '' });
  });

  it('asks for the container when there are several', async () => {
    expect((await logOf('two')).json).toMatchObject({
      code: 400,
      message: 'a container name must be specified for pod two, choose one of: [main side]',
    });
    expect((await logOf('two', '?container=nope')).json).toMatchObject({ code: 400, message: 'container nope is not valid for pod two' });
    expect((await logOf('nope')).json).toMatchObject({ code: 404, message: 'pods "nope" not found' });
    expect((await logOf('one', '?tailLines=-1')).json.message).toBe(
      'PodLogOptions "one" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0',
    );
    expect(seen).toEqual([]);
  });

  it('passes on what the agent refuses', async () => {
    answer = (_request, response) => response.writeHead(400).end('previous terminated container "main" in pod "one" not found');
    expect((await logOf('one', '?previous=true')).json).toMatchObject({
      code: 400,
      reason: 'BadRequest',
      message: 'previous terminated container "main" in pod "one" not found',
    });
  });

  it('says when a node cannot be reached', async () => {
    expect((await logOf('lost')).json).toMatchObject({ code: 500, message: expect.stringContaining('no preferred addresses') });
  });

  it('is refused to who may not read it', async () => {
    const path = '/api/v1/namespaces/default/pods/one/log';
    const { json } = await cluster.fetch(path, { headers: { authorization: `Bearer ${cluster.aliceToken}` } });
    expect(json.message).toBe(
      'pods "one" is forbidden: User "alice" cannot get resource "pods/log" in API group "" in the namespace "default"',
    );
  });

  it('streams a followed log, and lets go of the agent when the client goes away', async () => {
    let agentSaw: ServerResponse | undefined;
    answer = (_request, response) => {
      response.writeHead(200);
      response.write('first\n');
      agentSaw = response;
    };
    const { hostname, port } = new URL(cluster.server.url);
    let text = '';
    const request = httpsRequest({
      hostname,
      port,
      path: '/api/v1/namespaces/default/pods/one/log?follow=true',
      ca: cluster.pki.caCertificate,
      agent: false,
      headers: { authorization: `Bearer ${adminToken}` },
    });
    request.on('error', () => undefined);
    request.on('response', (response) => {
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('error', () => undefined);
    });
    request.end();
    await until(() => text === 'first\n', { what: 'the first line' });
    agentSaw?.write('second\n');
    await until(() => text === 'first\nsecond\n', { what: 'the second line' });
    expect(seen).toEqual(['/containerLogs/default/one/main?follow=true']);
    request.destroy();
    await until(() => agentSaw?.closed, { what: 'the agent is let go' });
  });

  it.skipIf(!hasKubectl)('is what kubectl logs shows (needs kubectl)', async () => {
    answer = (_request, response) => response.writeHead(200).end('hello\n');
    expect(await cluster.kubectl('logs', 'one', '--tail=1')).toMatchObject({ code: 0, stdout: 'hello\n' });
    expect((await cluster.kubectl('logs', 'two', '-c', 'side')).stdout).toBe('hello\n');
    expect(await cluster.kubectl('logs', 'two', '--all-containers', '--prefix')).toMatchObject({
      stdout: expect.stringContaining('[pod/two/side] hello\n'),
    });
  });
});

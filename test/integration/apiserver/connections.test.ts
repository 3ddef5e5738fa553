import { once } from 'node:events';
import { Agent, request } from 'node:https';
import { connect as connectTcp } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { type LiveKeyPair, openPki } from '../../../src/base/pki.ts';
import { adminToken, startTestApiServer, type TestApiServer } from '../../support/api-server.ts';

interface Call {
  readonly method: string;
  readonly path: string;
  readonly code: number;
  readonly token?: string;
  readonly contentType?: string;
  readonly body?: string;
}

/** Answers of every kind that kubectl meets, good ones and refusals of each layer. */
const calls: readonly Call[] = [
  {
    method: 'POST',
    path: '/apis/authentication.k8s.io/v1/selfsubjectreviews',
    code: 201,
    body: '{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}',
  },
  { method: 'GET', path: '/api/v1/namespaces', code: 200 },
  { method: 'GET', path: '/apis', code: 200 },
  { method: 'GET', path: '/api/v1/namespaces/nowhere', code: 404 },
  { method: 'GET', path: '/nowhere', code: 404 },
  { method: 'POST', path: '/api/v1/namespaces', code: 401, token: 'nobody', body: '{"metadata":{"name":"x"}}' },
  { method: 'POST', path: '/api/v1/namespaces', code: 403, token: '', body: '{"metadata":{"name":"x"}}' },
  { method: 'POST', path: '/api/v1/namespaces', code: 422, body: '{"metadata":{"name":"X!"}}' },
  { method: 'POST', path: '/api/v1/namespaces', code: 400, body: '{' },
  { method: 'POST', path: '/api/v1/namespaces', code: 415, contentType: 'text/x', body: 'x'.repeat(50_000) },
  { method: 'DELETE', path: '/api/v1/namespaces/default/status', code: 405 },
];

/** Longer than the 10 s after which Go's clients give up a handshake. */
const slowClientMs = 10_500;

describe('connections of clients', () => {
  let cluster: TestApiServer;
  let renew: () => void;

  beforeAll(async () => {
    const applies: (() => void)[] = [];
    cluster = await startTestApiServer();
    const pki = await openPki({ directory: cluster.directory, clock: systemClock });
    const pairs: LiveKeyPair[] = [];
    for (const name of ['one', 'two'])
      pairs.push(await pki.serverCertificate({ name, commonName: 'kube-apiserver', hosts: ['127.0.0.1'] }));
    let current = 0;
    renew = () => {
      current = 1 - current;
      for (const apply of applies) apply();
    };
    const certificate = {
      get certificate() {
        return pairs[current]?.certificate ?? '';
      },
      get key() {
        return pairs[current]?.key ?? '';
      },
      onRenewed: (apply: () => void) => void applies.push(apply),
    };
    await cluster.stop();
    cluster = await startTestApiServer({}, { tls: { caCertificate: pki.caCertificate, certificate } });
  });
  afterAll(() => cluster?.stop());

  /** The status, or how the connection ended without one. */
  function ask(call: Call, agent: Agent): Promise<string> {
    const { method, path, token = adminToken, contentType = 'application/json', body } = call;
    return new Promise((resolve) => {
      const sent = request(
        `${cluster.server.url}${path}`,
        {
          method,
          agent,
          rejectUnauthorized: false,
          headers: {
            ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
            ...(body === undefined ? {} : { 'content-type': contentType, 'content-length': Buffer.byteLength(body) }),
          },
        },
        (response) => {
          response.resume();
          response.once('end', () => resolve(`${method} ${path} ${response.statusCode}`));
          response.once('error', (err) => resolve(`${method} ${path} cut off: ${err.message}`));
        },
      );
      sent.once('error', (err) => resolve(`${method} ${path} ${(err as NodeJS.ErrnoException).code}: ${err.message}`));
      sent.end(body);
    });
  }

  const wanted = ({ method, path, code }: Call): string => `${method} ${path} ${code}`;

  async function storm(agentFor: (worker: number) => Agent, rounds: number): Promise<void> {
    const unexpected: string[] = [];
    await Promise.all(
      Array.from({ length: 8 }, async (_, worker) => {
        for (let round = 0; round < rounds; round += 1) {
          const call = calls[(worker + round) % calls.length] as Call;
          const agent = agentFor(worker);
          const answer = await ask(call, agent);
          if (answer !== wanted(call)) unexpected.push(answer);
          if (!agent.options.keepAlive) agent.destroy();
          if (round % 5 === 0) renew();
        }
      }),
    );
    expect(unexpected).toEqual([]);
  }

  it('that are kept stay open through refusals and new certificates', async () => {
    const agents = Array.from({ length: 8 }, () => new Agent({ keepAlive: true, maxSockets: 1 }));
    await storm((worker) => agents[worker] as Agent, 25);
    for (const agent of agents) agent.destroy();
  });

  it('that are new get an answer each, through new certificates', async () => {
    await storm(() => new Agent({ keepAlive: false }), 8);
  });

  // Clients give a handshake 10 s. A server that gives it no longer cuts off one that only came late to its processor.
  it('stay open for a client that begins later than clients wait themselves', async () => {
    const { hostname, port } = new URL(cluster.server.url);
    const socket = connectTcp(Number(port), hostname);
    await once(socket, 'connect');
    const ended = once(socket, 'close').then(() => 'cut off');
    const waited = new Promise<string>((resolve) => setTimeout(resolve, slowClientMs, 'open'));
    expect(await Promise.race([ended, waited])).toBe('open');
    const secured = connectTls({ socket, rejectUnauthorized: false });
    await once(secured, 'secureConnect');
    secured.destroy();
  });
});

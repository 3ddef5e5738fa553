import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { openPki } from '../../../src/base/pki.ts';
import { createHttpClient, type HttpClient } from '../../../src/client/http-client.ts';
import { temporaryDirectory } from '../../support/git.ts';
import { createManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';

type Handler = (method: string, end: (code: number, body: unknown) => void, cut: () => void) => void;

/** A server that is reached at an address, and what it was asked. */
async function startServer(handle: Handler) {
  const pki = await openPki({ directory: await temporaryDirectory('pki'), clock: systemClock });
  const pair = await pki.serverCertificate({ name: 'server', commonName: 'server', hosts: ['127.0.0.1'] });
  const asked: string[] = [];
  const server: Server = createServer({ cert: pair.certificate, key: pair.key }, (request, response) => {
    asked.push(request.method ?? '');
    if (request.url?.includes('watch=true') === true) {
      response.writeHead(200).flushHeaders();
      return;
    }
    handle(
      request.method ?? '',
      (code, body) => {
        response.writeHead(code, { 'content-type': 'application/json' });
        response.end(JSON.stringify(body));
      },
      () => request.socket.destroy(),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`, ca: pki.caCertificate, asked, server };
}

const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: 'default', name: 'a' } };
const ref = { namespace: 'default', name: 'a' };
const answers: Handler = (_, end) => end(200, object);

async function twoServers(first: Handler) {
  const [a, b] = [await startServer(first), await startServer(answers)];
  const clock = createManualClock();
  const client = createHttpClient({
    server: a.url,
    servers: () => [a.url, b.url],
    caCertificate: a.ca + b.ca,
    userAgent: 'test',
    clock,
  });
  onTestFinished(() => client.close());
  return { a, b, client, clock };
}

describe('a client of several servers', () => {
  it('goes to the next one when the first does not listen, with writes, too', async () => {
    const { a, b, client } = await twoServers(answers);
    await new Promise((resolve) => a.server.close(resolve));
    expect((await client.create(configMaps, object)).metadata.name).toBe('a');
    await client.get(configMaps, ref);
    expect(b.asked).toEqual(['POST', 'GET']);
  });

  it('reads elsewhere when a server says that it cannot answer, and stays there', async () => {
    const { a, b, client } = await twoServers((_, end) => end(503, { kind: 'Status', code: 503, reason: 'ServiceUnavailable' }));
    for (let n = 0; n < 3; n += 1) await client.get(configMaps, ref);
    expect([a.asked.length, b.asked.length]).toEqual([1, 3]);
  });

  it('does not repeat a write whose answer was lost, and sends the next one elsewhere', async () => {
    const { a, b, client } = await twoServers((_, __, cut) => cut());
    await expect(client.create(configMaps, object)).rejects.toMatchObject({ code: 503 });
    expect([a.asked, b.asked]).toEqual([['POST'], []]);
    await client.create(configMaps, object);
    expect(b.asked).toEqual(['POST']);
  });

  it('returns to its first choice after a minute', async () => {
    let isWell = false;
    const { a, client, clock } = await twoServers((_, end) => (isWell ? end(200, object) : end(503, {})));
    await client.get(configMaps, ref);
    isWell = true;
    await client.get(configMaps, ref);
    expect(a.asked).toHaveLength(1);
    clock.advance(61_000);
    await client.get(configMaps, ref);
    expect(a.asked).toHaveLength(2);
  });

  it('ends its watches at a server that it leaves, so that they resume at the next one', async () => {
    const { a, b, client, clock } = await twoServers((_, end) => end(503, {}));
    const abort = new AbortController();
    const watch = () =>
      client.watch(configMaps, { namespace: 'default', resourceVersion: '1', signal: abort.signal, onEvents: () => undefined });
    const first = watch();
    await until(() => a.asked.length === 1, { what: 'the watch is open' });
    await client.get(configMaps, ref);
    await first.catch(() => undefined);
    const second = watch();
    clock.advance(3_000);
    await until(() => b.asked.length === 2, { what: 'the watch is open at the other server' });
    abort.abort();
    await second;
  });

  it('says why when none answers', async () => {
    const { b, client } = await twoServers((_, end) => end(503, {}));
    b.server.closeAllConnections();
    await new Promise((resolve) => b.server.close(resolve));
    await expect(client.get(configMaps, ref)).rejects.toMatchObject({ code: 503 });
  });

  it('take their watches to the next server one after the other, when theirs dies', async () => {
    const [a, b] = [await startServer(answers), await startServer(answers)];
    const clock = createManualClock();
    const end = new AbortController();
    const clients = Array.from({ length: 10 }, (_, n) => {
      const servers = () => [a.url, b.url];
      const client = createHttpClient({
        server: a.url,
        servers,
        caCertificate: a.ca + b.ca,
        userAgent: 'test',
        clock,
        random: () => n / 10,
      });
      onTestFinished(() => client.close());
      return client;
    });
    a.server.close();
    const watch = (client: HttpClient) => client.watch(configMaps, { resourceVersion: '1', signal: end.signal, onEvents: () => undefined });
    // The first try finds that nobody listens any more.
    await Promise.all(clients.map((client) => expect(watch(client)).rejects.toMatchObject({ code: 503 })));
    const watching = clients.map(watch);
    const arrived: number[] = [];
    for (const wanted of [1, 4, 7, 10]) {
      await until(() => b.asked.length >= wanted, { what: `${wanted} watches have come` });
      // More would come within this time.
      await new Promise((resolve) => setTimeout(resolve, 50));
      arrived.push(b.asked.length);
      clock.advance(1_000);
    }
    expect(arrived).toEqual([1, 4, 7, 10]);
    end.abort();
    await Promise.all(watching);
  });
});

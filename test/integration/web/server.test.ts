import { setMaxListeners } from 'node:events';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { gunzipSync } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import { createActivityFeed } from '../../../src/base/activity.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import type { Overview } from '../../../src/base/overview.ts';
import { createInformerSet } from '../../../src/client/informer-set.ts';
import { createWeb, type WebOptions } from '../../../src/web/server.ts';
import { startTestApi } from '../../support/api.ts';

const log = createLog({ level: 'silent' });
const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startWeb(options: Partial<WebOptions> = {}) {
  const api = await startTestApi();
  const running = new AbortController();
  // Every informer listens.
  setMaxListeners(0, running.signal);
  const { signal } = running;
  const informers = createInformerSet({ client: api.clientFor(), clock: systemClock, log });
  const web = createWeb({
    address: '127.0.0.1',
    port: 0,
    informers,
    activity: createActivityFeed(),
    mounts: [],
    metrics: {},
    ready: () => true,
    clock: systemClock,
    log,
    clusterName: 'test',
    version: '0.0.0',
    ...options,
  });
  cleanups.push(async () => {
    await web.stop();
    running.abort();
    await api.stop();
  });
  await web.start({ signal });
  informers.start({ signal });
  await informers.waitForSync({ signal });
  return { web, port: Number(new URL(web.url).port) };
}

interface Answer {
  readonly code: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Sends exactly these headers, unlike `fetch`, which sets Host itself. */
function ask(port: number, path: string, headers: Record<string, string> = {}, method = 'GET', body = ''): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: '127.0.0.1', port, path, method, headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve({ code: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

describe('web', () => {
  it('loads no compiler of schemas, since no route has one', async () => {
    await startWeb();
    const { cache } = createRequire(import.meta.url);
    const loaded = Object.keys(cache);
    expect(loaded.filter((path) => path.includes('/node_modules/fastify/'))).not.toEqual([]);
    expect(loaded.filter((path) => /node_modules.(ajv|fast-uri|light-my-request)\b|fast-json-stringify.index/.test(path))).toEqual([]);
  });

  it('answers health, readiness and the status document', async () => {
    let isReady = false;
    const { port } = await startWeb({ ready: () => isReady });
    expect((await ask(port, '/healthz')).code).toBe(200);
    expect((await ask(port, '/readyz')).code).toBe(503);
    isReady = true;
    expect((await ask(port, '/readyz')).code).toBe(200);
    const { headers, body } = await ask(port, '/status.json');
    expect(headers['content-type']).toContain('application/json');
    const overview = JSON.parse(body.toString()) as Overview;
    expect(overview).toMatchObject({ verdict: 'No app is defined yet.', revision: '', apps: [], nodes: [] });
  });

  it('serves metrics compressed when asked to, and collects them once a second at most', async () => {
    let collected = 0;
    const text = `# TYPE a gauge\n${'a{b="c"} 1\n'.repeat(200)}`;
    const { port } = await startWeb({
      metrics: {
        async *'/metrics/state'() {
          collected += 1;
          yield text.slice(0, 1_000);
          yield text.slice(1_000);
        },
      },
    });
    const packed = await ask(port, '/metrics/state', { 'Accept-Encoding': 'gzip' });
    expect(packed.headers['content-encoding']).toBe('gzip');
    expect(gunzipSync(packed.body).toString()).toBe(text);
    const plain = await ask(port, '/metrics/state', { 'Accept-Encoding': 'gzip;q=0' });
    expect(plain.body.toString()).toBe(text);
    expect(plain.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(collected).toBe(1);
  });

  it('refuses a foreign site that let its own name point here, and requests from other origins', async () => {
    const { port } = await startWeb();
    const own = `127.0.0.1:${port}`;
    for (const host of ['evil.example', `evil.example:${port}`, '127.0.0.1.evil.example', `localhost.evil.example:${port}`, '127.0.0.2'])
      expect((await ask(port, '/status.json', { Host: host })).code, host).toBe(403);
    for (const host of [own, `localhost:${port}`, 'localhost:9999'])
      expect((await ask(port, '/status.json', { Host: host })).code).toBe(200);
    for (const origin of ['http://evil.example', 'null', `http://127.0.0.1:${port + 1}`, `https://${own}`])
      expect((await ask(port, '/status.json', { Host: own, Origin: origin })).code, origin).toBe(403);
    expect((await ask(port, '/status.json', { Host: own, Origin: `http://${own}` })).code).toBe(200);
  });

  it('guards mounts by the same rule and gives them the untouched request', async () => {
    const seen: string[] = [];
    const { port } = await startWeb({
      mounts: [
        {
          prefix: '/git/',
          async handle(request, response) {
            const chunks: Buffer[] = [];
            for await (const chunk of request) chunks.push(chunk as Buffer);
            seen.push(`${request.method} ${request.url} ${Buffer.concat(chunks)}`);
            if (request.url === '/git/broken') throw new Error('broken');
            response.writeHead(200, { 'Content-Type': 'text/plain' }).end('mounted');
          },
        },
      ],
    });
    const pack = await ask(port, '/git/a.git/git-receive-pack?x=1', { 'Content-Type': 'application/json' }, 'POST', '{not json');
    expect([pack.code, pack.body.toString()]).toEqual([200, 'mounted']);
    expect(seen).toEqual(['POST /git/a.git/git-receive-pack?x=1 {not json']);
    expect((await ask(port, '/git/a.git/info/refs', { Host: 'evil.example' })).code).toBe(403);
    expect((await ask(port, '/git/broken')).code).toBe(500);
    expect(seen).toHaveLength(2);
  });

  it('wants its token when it has one, but not for health', async () => {
    const { port } = await startWeb({ token: 'swordfish' });
    const basic = (password: string): string => `Basic ${Buffer.from(`any:${password}`).toString('base64')}`;
    expect((await ask(port, '/status.json')).code).toBe(401);
    expect((await ask(port, '/status.json', { Authorization: basic('sword') })).code).toBe(401);
    expect((await ask(port, '/status.json', { Authorization: basic('swordfish') })).code).toBe(200);
    expect((await ask(port, '/status.json', { Authorization: 'Bearer swordfish' })).code).toBe(200);
    expect((await ask(port, '/healthz')).code).toBe(200);
  });

  it('does not leave loopback without a token', async () => {
    await expect(startWeb({ address: '0.0.0.0' })).rejects.toThrow('without a token');
  });

  it('rejects start with the error of the system when the port is taken', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    cleanups.push(() => new Promise<void>((resolve) => other.close(() => resolve())));
    const { port } = other.address() as { port: number };
    await expect(startWeb({ port })).rejects.toMatchObject({ code: 'EADDRINUSE', port });
  });
});

import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { gunzipSync } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import type { Overview } from '../../../src/base/contracts/overview.ts';
import type { WebOptions } from '../../../src/web/server.ts';
import { until } from '../../support/until.ts';
import { ask as send, startWeb as startServer } from '../../support/web.ts';

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startWeb(options: Partial<WebOptions> = {}) {
  const running = await startServer(options);
  cleanups.push(running.stop);
  return running;
}

const ask = (port: number, path: string, headers: Record<string, string> = {}, method = 'GET', body = '') =>
  send(port, path, { headers, method, body });

/** A gate that admits at once, or one at a time when the test says so. */
function createHeldGate() {
  const asking = new Set<() => boolean>();
  const gate = {
    isHeld: false,
    turns: 0,
    isOpen: () => !gate.isHeld,
    ask(admitNext: () => boolean) {
      asking.add(admitNext);
      if (!gate.isHeld) while (gate.admit());
    },
    /** False when nobody waits. */
    admit(): boolean {
      for (const admitNext of asking) {
        if (admitNext()) {
          gate.turns += 1;
          return true;
        }
        asking.delete(admitNext);
      }
      return false;
    },
  };
  return gate;
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
    for (let count = 0; count < 10; count += 1) expect((await ask(port, '/metrics/state', {}, 'HEAD')).code).toBe(200);
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

  it('makes each page once for all who ask for it within 200 ms, also by addresses that only look different', async () => {
    const gate = createHeldGate();
    const { port } = await startWeb({ gate });
    const startedAt = performance.now();
    const answers = await Promise.all(Array.from({ length: 50 }, (_, index) => ask(port, `/?odd=${index}`)));
    expect(new Set(answers.map(({ code, body }) => `${code} ${body}`)).size).toBe(1);
    expect(answers[0]?.code).toBe(200);
    expect(gate.turns).toBeGreaterThanOrEqual(1);
    expect(gate.turns).toBeLessThanOrEqual(2 + (performance.now() - startedAt) / 200);
  });

  it('waits for a turn of the event loop before each request, rendering and part of a scrape, and never for health', async () => {
    const gate = createHeldGate();
    const { port } = await startWeb({
      gate,
      metrics: {
        async *'/metrics'() {
          yield 'a 1\n';
          yield 'b 2\n';
        },
      },
    });
    gate.isHeld = true;
    let answered = 0;
    const paths = ['/', '/status.json', '/metrics', '/events'];
    const answers = paths.map((path) => ask(port, path).finally(() => (answered += 1)));
    expect((await ask(port, '/healthz')).code).toBe(200);
    expect((await ask(port, '/readyz')).code).toBe(200);
    let turns = 0;
    await until(
      () => {
        expect(answered).toBeLessThanOrEqual(turns);
        if (gate.admit()) turns += 1;
        return answered === paths.length;
      },
      { intervalMs: 1, what: () => `all are answered; ${answered} are after ${turns} turns` },
    );
    expect((await Promise.all(answers)).map(({ code }) => code)).toEqual([200, 200, 200, 200]);
    // Four requests, three renderings, and a scrape before, between and after its parts.
    expect(turns).toBe(4 + 3 + 3);
  });

  it('answers 503 and when to come back while more different pages are asked for than there is time for', async () => {
    const gate = createHeldGate();
    const { port } = await startWeb({ gate });
    gate.isHeld = true;
    let refused = 0;
    const answers = Array.from({ length: 100 }, async (_, index) => {
      const { code, headers } = await ask(port, `/?q=${index}`);
      if (code === 503) refused += 1;
      return `${code} ${headers['retry-after']}`;
    });
    // Each request takes a turn; the one that makes the pages does not get its turn before too many wait.
    let admitted = 0;
    await until(
      () => {
        while (admitted < 100 && gate.admit()) admitted += 1;
        return refused > 30;
      },
      { intervalMs: 1, what: () => `some are refused; ${admitted} were let in, ${refused} refused` },
    );
    gate.isHeld = false;
    while (gate.admit());
    const codes = await Promise.all(answers);
    expect(new Set(codes)).toEqual(new Set(['200 undefined', '503 1']));
  });

  it('does not leave loopback without a login', async () => {
    await expect(startWeb({ address: '0.0.0.0' })).rejects.toThrow('without a login');
  });

  it('rejects start with the error of the system when the port is taken', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    cleanups.push(() => new Promise<void>((resolve) => other.close(() => resolve())));
    const { port } = other.address() as { port: number };
    await expect(startWeb({ port })).rejects.toMatchObject({ code: 'EADDRINUSE', port });
  });
});

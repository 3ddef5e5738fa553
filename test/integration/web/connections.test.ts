import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { createLog } from '../../../src/base/log.ts';
import { createBuiltInRemote } from '../../../src/gitops/sources/built-in-remote.ts';
import type { WebOptions } from '../../../src/web/server.ts';
import { cloneRepository, newRepository } from '../../support/git.ts';
import { until } from '../../support/until.ts';
import { ask, openIdle, startWeb } from '../../support/web.ts';

const token = 'swordfish-of-the-remote';
const cleanups: (() => Promise<void> | void)[] = [];
const cleanUp = async (): Promise<void> => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
};

/** The page's port with a Git remote on it. */
async function start(metrics: WebOptions['metrics'] = {}) {
  const origin = await newRepository('origin', { 'a.txt': 'a\n' });
  await origin.git('checkout', '--quiet', '--detach');
  const remote = createBuiltInRemote({
    repositories: new Map([['cluster.git', { gitdir: `${origin.directory}/.git`, writable: true, onPush: () => undefined }]]),
    token,
    log: createLog({ level: 'silent' }),
  });
  const { port, stop } = await startWeb({ mounts: [remote], metrics });
  cleanups.push(stop);
  return { port, url: `http://midship:${token}@127.0.0.1:${port}/git/cluster.git`, origin };
}

async function hold(port: number, count: number, from?: string): Promise<Socket[]> {
  const sockets: Socket[] = [];
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
  });
  while (sockets.length < count) {
    const batch = Array.from({ length: Math.min(50, count - sockets.length) }, () => openIdle(port, from));
    sockets.push(...(await Promise.all(batch)));
  }
  return sockets;
}

const open = (sockets: readonly Socket[]): number => sockets.filter(({ closed, readyState }) => !closed && readyState === 'open').length;

describe('connections to the port', () => {
  afterEach(cleanUp);

  it('end at a stop without a wait: one that never asked, one that is kept alive, and one that reads a stream', async () => {
    const { port, stop } = await startWeb();
    await openIdle(port);
    const alive = await openIdle(port);
    const stream = await openIdle(port);
    for (const [socket, path] of [
      [alive, '/healthz'],
      [stream, '/events/stream?path=/'],
    ] as const) {
      socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`);
      await new Promise((resolve) => socket.once('data', resolve));
    }
    const startedAt = performance.now();
    await stop();
    expect(performance.now() - startedAt).toBeLessThan(2_500);
  });

  it('let a push through while 1,100 idle ones of the same address are held', async () => {
    const { port, url, origin } = await start();
    const idle = await hold(port, 1_100);
    const work = await cloneRepository(url, 'clone');
    for (const text of ['b', 'c', 'd']) {
      await work.commit(text, { 'a.txt': text });
      await work.git('push', '--quiet', 'origin', 'HEAD:main');
      expect(await origin.git('rev-parse', 'main')).toBe(await work.git('rev-parse', 'HEAD'));
    }
    await until(() => open(idle) <= 256, { what: () => `all but 256 are closed; ${open(idle)} are open` });
    expect(open(idle)).toBeGreaterThan(200);
  });

  it('let a push through while idle ones are opened again as fast as they are closed', async () => {
    const { port, url, origin } = await start();
    let isFlooding = true;
    const renew = async (index: number): Promise<void> => {
      while (isFlooding) {
        const socket = await openIdle(port, `127.0.0.${2 + (index % 5)}`);
        await new Promise((resolve) => {
          socket.once('close', resolve);
          if (!isFlooding) socket.destroy();
          cleanups.push(() => void socket.destroy());
        });
      }
    };
    const flood = Array.from({ length: 1_200 }, (_, index) => renew(index).catch(() => undefined));
    cleanups.push(() => {
      isFlooding = false;
    });
    const work = await cloneRepository(url, 'clone');
    for (const text of ['b', 'c', 'd']) {
      await work.commit(text, { 'a.txt': text });
      await work.git('push', '--quiet', 'origin', 'HEAD:main');
    }
    expect(await origin.git('rev-parse', 'main')).toBe(await work.git('rev-parse', 'HEAD'));
    isFlooding = false;
    for (const cleanup of cleanups.splice(1)) await cleanup();
    await Promise.all(flood);
  });

  it('are taken from the address that has most, so that nobody else loses one', async () => {
    const { port } = await start();
    const few = await hold(port, 20, '127.0.0.9');
    for (const address of ['127.0.0.2', '127.0.0.3', '127.0.0.4', '127.0.0.5']) await hold(port, 250, address);
    const more = await hold(port, 100, '127.0.0.6');
    expect((await ask(port, '/healthz')).code).toBe(200);
    expect([open(few), open(more)]).toEqual([20, 100]);
  });

  it('end with a request whose body is not read to its end, and end nothing else', async () => {
    const { port, stop } = await startWeb({
      mounts: [
        {
          prefix: '/git/',
          async handle(request, response) {
            for await (const _ of request) break;
            response.writeHead(413).end('too long\n');
          },
        },
      ],
    });
    cleanups.push(stop);
    for (let count = 0; count < 5; count += 1) {
      const body = 'x'.repeat(count % 2 === 0 ? 100_000 : 40_000);
      await ask(port, '/git/a', { method: 'POST', body }).catch(() => undefined);
    }
    expect((await ask(port, '/healthz')).code).toBe(200);
  });

  it('are not held by answers that nobody reads', async () => {
    // It does not get smaller.
    const part = Array.from({ length: 100 }, () => `a{b="${randomBytes(500).toString('hex')}"} 1\n`).join('');
    const { port } = await start({
      async *'/metrics'() {
        for (let count = 0; count < 40; count += 1) yield part.slice(count);
      },
    });
    for (const address of ['127.0.0.2', '127.0.0.3', '127.0.0.4', '127.0.0.5', '127.0.0.6']) {
      const readers = await hold(port, 240, address);
      for (const socket of readers) socket.pause().write('GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n');
    }
    expect((await ask(port, '/status.json')).code).toBe(200);
  });
});

// These wait for time limits of the program.
describe.concurrent('slow connections to the port', () => {
  afterAll(cleanUp);

  it('end when an answer is not read within 20 seconds, and unpack it for eight at once', { timeout: 60_000 }, async () => {
    const part = Array.from({ length: 100 }, () => `a{b="${randomBytes(500).toString('hex')}"} 1\n`).join('');
    const { port } = await start({
      async *'/metrics'() {
        for (let count = 0; count < 100; count += 1) yield part.slice(count);
      },
    });
    const readers = await hold(port, 8);
    for (const socket of readers) socket.pause().write('GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await until(async () => (await ask(port, '/metrics')).code === 503, { what: 'all are unpacking' });
    expect((await ask(port, '/metrics', { headers: { 'Accept-Encoding': 'gzip' } })).code).toBe(200);
    await until(async () => (await ask(port, '/metrics')).code === 200, { what: 'the readers are cut off' });
    for (const socket of readers) socket.resume();
    await until(() => open(readers) === 0, { what: () => `${open(readers)} are open` });
  });

  it('end when headers do not come within 15 seconds, and when a body comes that nobody reads', { timeout: 60_000 }, async () => {
    const { port } = await start();
    const ended = (text: string): Promise<string> =>
      new Promise((resolve, reject) => {
        let answer = '';
        const socket = connect(port, '127.0.0.1', () => socket.write(text));
        socket.setEncoding('latin1').on('data', (chunk: string) => (answer += chunk));
        socket.on('error', reject).on('close', () => resolve(answer));
        // Slowly, and without an end.
        const drip = setInterval(() => socket.write(text.includes('\r\n\r\n') ? 'x' : 'X-Slow: 1\r\n'), 1_000);
        cleanups.push(() => clearInterval(drip));
        socket.once('close', () => clearInterval(drip));
      });
    const startedAt = performance.now();
    const [headers, push] = await Promise.all([
      ended('GET / HTTP/1.1\r\nHost: localhost\r\n'),
      ended('POST /git/cluster.git/git-receive-pack HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n'),
    ]);
    expect(headers).toMatch(/^HTTP\/1\.1 408 /);
    expect(push).toMatch(/^HTTP\/1\.1 401 /);
    expect(performance.now() - startedAt).toBeLessThan(25_000);
  });
});

import { afterEach, describe, expect, it } from 'vitest';
import type { WebOptions } from '../../../src/web/server.ts';
import { type Ask, ask, askRaw, startWeb } from '../../support/web.ts';

const token = 'swordfish-of-the-page';
const bearer = { Authorization: `Bearer ${token}` };
const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(options: Partial<WebOptions> = {}) {
  const { web, port, stop } = await startWeb({
    token,
    metrics: {
      async *'/metrics'() {
        yield 'a 1\n';
      },
    },
    mounts: [{ prefix: '/git/', handle: (request, response) => void response.end(`git ${request.url}`) }],
    ...options,
  });
  cleanups.push(stop);
  const code = async (path: string, asked: Ask = {}): Promise<number> => (await ask(port, path, asked)).code;
  /** The cookie that a browser has after it opened a new link. */
  const logIn = async (asked: Ask = {}): Promise<{ readonly Cookie: string }> => {
    const { headers } = await ask(port, web.newLink(), asked);
    return { Cookie: (headers['set-cookie']?.[0] ?? '').split(';', 1)[0] ?? '' };
  };
  return { web, port, code, logIn };
}

const secured = ['/', '/?q=a', '/events', '/steps', '/apps/a/b', '/nodes/a', '/events/stream?path=%2F', '/badge/a/b.svg'];
const all = [...secured, '/status.json', '/metrics', '/nothing', '/login/links'];

describe('a port that asks for a login', () => {
  it('shows nothing without one but health, styles and what authenticates by itself', async () => {
    const { port, code } = await start();
    for (const path of all) {
      const { code, headers, body } = await ask(port, path);
      expect(code, path).toBe(401);
      expect(headers['www-authenticate']).toBe('Bearer realm="midship"');
      expect(body.toString()).toContain('midship page-url');
      expect(body.toString()).not.toContain(token);
    }
    for (const path of ['/healthz', '/livez', '/readyz', '/git/a.git']) expect(await code(path), path).toBe(200);
  });

  it('does not care how the address is spelled or which method asks', async () => {
    const { port, code } = await start();
    for (const path of [
      '//',
      '//status.json',
      '/./status.json',
      '/healthz/../status.json',
      '/healthz/',
      '/healthz/%2e%2e/status.json',
      '/healthz%2f..%2fstatus.json',
      '/healthz%00/status.json',
      '/healthz;/status.json',
      '/%73tatus.json',
      '/STATUS.JSON',
      '/status.json/',
      '/status.json?/healthz',
      '/status.json#/healthz',
      '/assets/../status.json',
      '/assets/..%2f..%2fetc%2fpasswd',
      'http://localhost/status.json',
    ])
      expect([401, 404, 400], `${path} gives ${await code(path)}`).toContain(await code(path));
    for (const method of ['HEAD', 'OPTIONS', 'POST', 'PUT', 'DELETE', 'TRACE', 'PROPFIND'])
      for (const path of ['/', '/status.json', '/metrics'])
        expect([400, 401, 404], `${method} ${path}`).toContain(await code(path, { method }));
    // Everything behind the prefix belongs to the mount, and nothing else does.
    for (const path of ['/git/../status.json', 'http://localhost/git/../status.json'])
      expect((await ask(port, path)).body.toString()).toBe(`git ${path}`);
    expect(await code('/git')).toBe(401);
  });

  it('lets programs in by the bearer token, and does not take it from anywhere else', async () => {
    const { code } = await start();
    for (const path of ['/', '/status.json', '/metrics']) expect(await code(path, { headers: bearer }), path).toBe(200);
    for (const headers of [
      { Authorization: 'Bearer wrong' },
      { Authorization: `Basic ${Buffer.from(`any:${token}`).toString('base64')}` },
      { Authorization: token },
      { 'X-Original-URL': '/healthz', 'X-Rewrite-URL': '/healthz' },
      { 'X-Forwarded-For': '127.0.0.1', Forwarded: 'for=127.0.0.1' },
      { Cookie: `token=${token}` },
    ])
      expect(await code('/status.json', { headers }), JSON.stringify(headers)).toBe(401);
    expect(await code(`/status.json?token=${token}`)).toBe(401);
    expect(await code(`/login?token=${token}`)).toBe(401);
  });

  it('exchanges a link for a cookie once, and leads away from the address with the secret', async () => {
    const { web, port, code } = await start();
    const link = web.newLink();
    const { code: answer, headers } = await ask(port, link);
    expect([answer, headers.location, headers['cache-control'], headers['referrer-policy']]).toEqual([303, '/', 'no-store', 'no-referrer']);
    const [cookie = ''] = headers['set-cookie'] ?? [];
    expect(cookie).toMatch(new RegExp(`^midship-session-${port}=[\\w-]{43}; Path=/; Max-Age=86400; HttpOnly; SameSite=Strict$`));
    const [Cookie = ''] = cookie.split(';');
    for (const path of ['/', '/events', '/status.json', '/metrics']) expect(await code(path, { headers: { Cookie } }), path).toBe(200);
    // Used, and of use to nobody else.
    expect(await code(link)).toBe(401);
    // A browser that is logged in already is led to the page.
    expect(await code(link, { headers: { Cookie } })).toBe(303);
    expect((await ask(port, link, { headers: { Cookie } })).headers['set-cookie']).toBeUndefined();
  });

  it('does not use up a link for a preview of it', async () => {
    const { web, code } = await start();
    const link = web.newLink();
    expect(await code(link, { method: 'HEAD' })).toBe(401);
    expect(await code(link)).toBe(303);
  });

  it('leads nowhere else', async () => {
    const { web, port } = await start();
    for (const more of ['&next=http://evil.example', '&next=//evil.example', '&redirect=%2F%2Fevil.example', '&token=x'])
      expect([undefined, '/']).toContain((await ask(port, `${web.newLink()}${more}`)).headers.location);
    for (const path of ['//evil.example/..', '//evil.example/login', '/login/?next=//evil.example'])
      expect((await ask(port, path)).headers.location, path).toBeUndefined();
  });

  it('makes links for who has the token, and not for who has a session', async () => {
    const { port, code, logIn } = await start();
    const { code: answer, body } = await ask(port, '/login/links', { method: 'POST', headers: bearer });
    expect(answer).toBe(201);
    const { path } = JSON.parse(body.toString()) as { path: string };
    expect(await code(path)).toBe(303);
    expect(await code('/login/links', { method: 'POST', headers: await logIn() })).toBe(403);
  });

  it('does not take a cookie from another address than it was given to', async () => {
    const { code, logIn } = await start();
    const headers = await logIn();
    expect(await code('/status.json', { headers })).toBe(200);
    expect(await code('/status.json', { headers, from: '127.0.0.2' })).toBe(401);
  });

  it('does not take the cookie of another cluster on this machine', async () => {
    const [one, other] = [await start(), await start()];
    const headers = await one.logIn();
    expect(await other.code('/status.json', { headers })).toBe(401);
  });

  it('streams to who is logged in, and to nobody else', async () => {
    const { port, logIn } = await start();
    const path = '/events/stream?path=%2F';
    const { Cookie } = await logIn();
    const request = (headers: string): string => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n`;
    expect(await askRaw(port, request(''))).toMatch(/^HTTP\/1\.1 401 /);
    expect(await askRaw(port, request(`Cookie: ${Cookie}x\r\n`))).toMatch(/^HTTP\/1\.1 401 /);
    expect(await askRaw(port, request(`Cookie: ${Cookie}\r\n`))).toMatch(/event: snapshot/);
  });

  it('answers 429 after too many attempts, and still admits a user with the token', async () => {
    const { code } = await start();
    const wrong = { headers: { Authorization: 'Bearer wrong' } };
    const codes = [];
    for (let attempt = 0; attempt < 22; attempt += 1)
      codes.push(await code(attempt % 2 === 0 ? '/login?token=x' : '/', attempt % 2 === 0 ? {} : wrong));
    expect(codes).toEqual([...new Array(20).fill(401), 429, 429]);
    expect(await code('/status.json', wrong)).toBe(429);
    expect(await code('/status.json', { ...wrong, from: '127.0.0.2' })).toBe(401);
    expect(await code('/status.json', { headers: bearer })).toBe(200);
  });

  it('refuses requests that two servers would read differently', async () => {
    const { port } = await start();
    const secret = `Host: localhost\r\nAuthorization: Bearer ${token}\r\n`;
    for (const request of [
      'POST /login/links HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX',
      'POST /login/links HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef',
      'POST /login/links HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n',
      'GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\r\n\tb: c\nAuthorization : x\r\n\r\n',
      'GET /healthz HTTP/1.1\r\n\r\n',
      'GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n',
    ])
      expect(await askRaw(port, request), JSON.stringify(request)).toMatch(/^HTTP\/1\.1 400 /);
    // A name of its own first and a foreign one behind it: one of them is refused, whichever counts.
    expect(await askRaw(port, `GET /status.json HTTP/1.1\r\nHost: evil.example\r\n${secret}Connection: close\r\n\r\n`)).not.toMatch(
      /^HTTP\/1\.1 200 /,
    );
  });

  it('is asked by its own names only, also where it listens on all addresses', async () => {
    const { port, code } = await start({ address: '0.0.0.0', names: ['cluster.example', 'Pi.local'] });
    const at = (host: string, more: Record<string, string> = {}): Promise<number> =>
      code('/status.json', { headers: { ...bearer, Host: host, ...more } });
    for (const host of [`127.0.0.1:${port}`, 'localhost', 'cluster.example', `CLUSTER.example:${port}`, 'pi.local'])
      expect(await at(host), host).toBe(200);
    for (const host of [
      'evil.example',
      'cluster.example.evil.example',
      'evil.cluster.example',
      '0.0.0.0',
      '192.0.2.1',
      '[::]',
      'x@localhost',
    ])
      expect(await at(host), host).toBe(403);
    expect(await at('evil.example', { 'X-Forwarded-Host': 'localhost' })).toBe(403);
    expect(await at('cluster.example', { Origin: 'http://evil.example' })).toBe(403);
    expect(await code('/healthz', { headers: { Host: 'evil.example' } })).toBe(403);
    expect(await code('/status.json', { headers: bearer, host: '127.0.0.5' })).toBe(200);
  });

  it('stays open without a token on loopback, where a link is the page itself', async () => {
    const { port, web, stop } = await startWeb();
    cleanups.push(stop);
    expect(web.newLink()).toBe('/');
    expect((await ask(port, '/status.json')).code).toBe(200);
    expect((await ask(port, '/login')).code).toBe(404);
  });
});

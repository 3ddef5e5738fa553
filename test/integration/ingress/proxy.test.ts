import { once } from 'node:events';
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { connect as connectTls } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Backend, exchangeBytes, hostRule, startBackend, startTestProxy, type TestProxy, testIngress } from '../../support/ingress.ts';
import { until } from '../../support/until.ts';

const opened: { close(): Promise<void> }[] = [];
const keep = async <T extends { close(): Promise<void> }>(opening: Promise<T>): Promise<T> => {
  const one = await opening;
  opened.push(one);
  return one;
};
afterEach(async () => {
  for (const each of opened.splice(0).reverse()) await each.close();
});

const ingresses = [
  testIngress('web', { rules: [hostRule('a.example', 'web')] }),
  testIngress('other', { rules: [hostRule('b.example', 'other')] }),
  testIngress('tls', { tls: [{ hosts: ['s.example'] }], rules: [hostRule('s.example', 'web')] }),
];
const agent = new Agent({ keepAlive: false });

interface Asked {
  readonly host?: string;
  readonly path?: string;
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: Readable | string;
}

async function ask(port: number, { host = 'a.example', path = '/', method = 'GET', headers = {}, body }: Asked = {}) {
  const request = httpRequest({ host: '127.0.0.1', port, path, method, agent, headers: { host, ...headers } });
  if (body instanceof Readable) body.pipe(request);
  else request.end(body);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return { status: response.statusCode, headers: response.headers, text: await text(response) };
}

describe('requests', () => {
  let proxy: TestProxy;
  let backend: Backend;
  let other: Backend;
  const seen: { readonly request: IncomingMessage; readonly body: string }[] = [];
  beforeAll(async () => {
    proxy = await startTestProxy({ ingresses, limits: { headMs: 1_000, headBytes: 8_192 } });
    backend = await startBackend(async (request, response) => {
      // A request that is cut off has no whole body.
      const body = await text(request).catch(() => undefined);
      if (body === undefined) return;
      seen.push({ request, body });
      response.setHeader('Set-Cookie', ['a=1', 'b=2']);
      if (request.url === '/hints') response.writeEarlyHints({ link: '</x>; rel=preload' });
      if (request.url === '/none') response.writeHead(204).end();
      else response.end(JSON.stringify({ url: request.url, headers: request.headers, body }));
    });
    other = await startBackend((_, response) => response.end('other'));
    proxy.endpoints.set('default/web', [backend.address]);
    proxy.endpoints.set('default/other', [other.address]);
  });
  afterAll(async () => {
    await proxy.close();
    await backend.close();
    await other.close();
  });

  it('reach the Service of their host with who asked, and keep path, query and body', async () => {
    const { status, headers, text: answer } = await ask(proxy.port, { path: '/x%2Fy?q=%20', method: 'POST', body: 'hello' });
    expect({ status, cookies: headers['set-cookie'] }).toEqual({ status: 200, cookies: ['a=1', 'b=2'] });
    expect(JSON.parse(answer)).toMatchObject({
      url: '/x%2Fy?q=%20',
      body: 'hello',
      headers: { host: 'a.example', 'x-forwarded-for': '127.0.0.1', 'x-forwarded-proto': 'http', 'x-forwarded-port': String(proxy.port) },
    });
    expect((await ask(proxy.port, { host: 'b.example' })).text).toBe('other');
    expect((await ask(proxy.port, { path: '/none' })).status).toBe(204);
    expect((await ask(proxy.port, { path: '/hints' })).status).toBe(200);
    expect(await ask(proxy.port, { method: 'HEAD' })).toMatchObject({ status: 200, text: '' });
  });

  it('to hosts that no Ingress names get 404, those without an endpoint 503, those that refuse 502, in plain text', async () => {
    expect(await ask(proxy.port, { host: 'c.example' })).toMatchObject({
      status: 404,
      text: '404 Not Found: no Ingress has a rule for it\n',
    });
    proxy.endpoints.set('default/other', []);
    expect(await ask(proxy.port, { host: 'b.example' })).toMatchObject({
      status: 503,
      text: '503 Service Unavailable: no endpoint is ready\n',
    });
    proxy.endpoints.set('default/other', [{ address: '127.0.0.1', port: 1 }]);
    const answer = await ask(proxy.port, { host: 'b.example', method: 'POST', body: 'x'.repeat(100_000) });
    expect(answer).toMatchObject({ status: 502, headers: { 'content-type': 'text/plain; charset=utf-8' } });
    proxy.endpoints.set('default/other', [other.address]);
  });

  it('by plain HTTP go to HTTPS where the host has TLS, but for the challenges of certificate authorities', async () => {
    const { status, headers } = await ask(proxy.port, { host: 's.example:80', path: '/x?y', method: 'POST', body: 'b' });
    expect({ status, location: headers.location }).toEqual({ status: 308, location: `https://s.example:${proxy.tlsPort}/x?y` });
    expect((await ask(proxy.port, { host: 's.example', path: '/.well-known/acme-challenge/t' })).status).toBe(200);
    expect((await ask(proxy.port, { host: 's.example', path: '/.well-known/acme-challenge/../../x' })).status).toBe(308);
  });

  it('by HTTP/2 are served like those by HTTP/1, with cookies whole and bodies of unknown length', async () => {
    const session = connectHttp2(`https://127.0.0.1:${proxy.tlsPort}`, { rejectUnauthorized: false, servername: 's.example' });
    const stream = session.request({
      ':method': 'POST',
      ':path': '/h2',
      ':authority': 's.example',
      cookie: ['a=1', 'b=2'] as never,
      'x-forwarded-for': '10.0.0.1',
    });
    stream.end('body');
    const [headers] = (await once(stream, 'response')) as [Record<string, unknown>];
    const answer = JSON.parse(await text(stream));
    expect(headers).toMatchObject({ ':status': 200, 'set-cookie': ['a=1', 'b=2'] });
    expect(headers).not.toHaveProperty('connection');
    expect(answer).toMatchObject({
      body: 'body',
      headers: {
        host: 's.example',
        cookie: 'a=1; b=2',
        'x-forwarded-for': '127.0.0.1',
        'x-forwarded-proto': 'https',
        'transfer-encoding': 'chunked',
      },
    });
    const lost = session.request({ ':path': '/', ':authority': 'c.example' });
    expect(((await once(lost, 'response')) as [Record<string, unknown>])[0][':status']).toBe(404);
    session.close();
  });

  it('by TLS may be of HTTP/1.1, and no older than TLS 1.2', async () => {
    const socket = connectTls({
      host: '127.0.0.1',
      port: proxy.tlsPort,
      servername: 's.example',
      rejectUnauthorized: false,
      ALPNProtocols: ['http/1.1'],
    });
    await once(socket, 'secureConnect');
    socket.write('GET / HTTP/1.1\r\nHost: s.example\r\nConnection: close\r\n\r\n');
    expect(await text(socket)).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    const old = connectTls({
      host: '127.0.0.1',
      port: proxy.tlsPort,
      rejectUnauthorized: false,
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1.1',
      ciphers: 'DEFAULT@SECLEVEL=0',
    });
    await expect(once(old, 'secureConnect')).rejects.toThrow();
  });

  // Each is sent as bytes; a second request hides behind the first one.
  const hidden = 'GET /hidden HTTP/1.1\r\nHost: a.example\r\n\r\n';
  const attack = (head: string, rest = ''): string => `${head.replaceAll('\n', '\r\n')}\r\n\r\n${rest}`;
  it.each([
    [
      'a length and chunks',
      attack('POST /x HTTP/1.1\nHost: a.example\nContent-Length: 4\nTransfer-Encoding: chunked', `0\r\n\r\n${hidden}`),
    ],
    [
      'chunks and a length',
      attack('POST /x HTTP/1.1\nHost: a.example\nTransfer-Encoding: chunked\nContent-Length: 4', `0\r\n\r\n${hidden}`),
    ],
    ['two lengths', attack('POST /x HTTP/1.1\nHost: a.example\nContent-Length: 0\nContent-Length: 44', hidden)],
    ['a length with a sign', attack('POST /x HTTP/1.1\nHost: a.example\nContent-Length: +44', hidden)],
    ['an unknown encoding', attack('POST /x HTTP/1.1\nHost: a.example\nTransfer-Encoding: xchunked', hidden)],
    [
      'an encoding in two headers',
      attack('POST /x HTTP/1.1\nHost: a.example\nTransfer-Encoding: identity\nTransfer-Encoding: chunked', `0\r\n\r\n${hidden}`),
    ],
    ['a space before the colon', attack('POST /x HTTP/1.1\nHost: a.example\nTransfer-Encoding : chunked', `0\r\n\r\n${hidden}`)],
    [
      'an encoding behind a vertical tab',
      attack('POST /x HTTP/1.1\nHost: a.example\nTransfer-Encoding: \x0bchunked', `0\r\n\r\n${hidden}`),
    ],
    [
      'a line that continues the one before',
      attack('POST /x HTTP/1.1\nHost: a.example\nTransfer-Encoding:\n chunked\nContent-Length: 5', `0\r\n\r\n${hidden}`),
    ],
    [
      'a header that ends with a bare line feed',
      `POST /x HTTP/1.1\r\nHost: a.example\r\nX: y\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n${hidden}`,
    ],
    ['two hosts', attack('GET /x HTTP/1.1\nHost: a.example\nHost: b.example')],
    ['no host', attack('GET /x HTTP/1.1')],
    ['a bad chunk size', attack('POST /x HTTP/1.1\nHost: a.example\nTransfer-Encoding: chunked', `0x2\r\nab\r\n0\r\n\r\n${hidden}`)],
    ['a path above the root', attack('GET /../x HTTP/1.1\nHost: a.example')],
    [
      'a body with a change of protocol',
      attack('POST /x HTTP/1.1\nHost: a.example\nConnection: Upgrade\nUpgrade: websocket\nContent-Length: 44', hidden),
    ],
    ['a tunnel', attack('CONNECT a.example:80 HTTP/1.1\nHost: a.example', hidden)],
    ['a head of 16 KiB', attack(`GET /x HTTP/1.1\nHost: a.example\nX: ${'x'.repeat(16_384)}`)],
    ['a loop of a method', attack('TRACE / HTTP/1.1\nHost: a.example')],
  ])('with %s reach no server, and the connection ends', async (_, bytes) => {
    const before = seen.length;
    const answer = await exchangeBytes(proxy.port, bytes);
    expect(answer).toMatch(/^(?:$|HTTP\/1\.1 (?:4\d\d|501) )/);
    expect(answer.match(/HTTP\/1\.1 2/g)).toBeNull();
    // A body with a bad chunk has begun to arrive; nothing of it is a second request.
    expect(seen.slice(before).map(({ request }) => request.url)).toEqual([]);
  });

  it('with an absolute target go where that says', async () => {
    const answer = await exchangeBytes(proxy.port, 'GET http://a.example/abs HTTP/1.1\r\nHost: b.example\r\nConnection: close\r\n\r\n');
    expect(answer).toContain('"host":"a.example"');
    expect(answer).toContain('"url":"/abs"');
  });

  it('that ask for HTTP/2 in clear text are answered as before, without a change of protocol', async () => {
    const bytes =
      'GET /h2c HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\nPRI * HTTP/2.0\r\n';
    const answer = await exchangeBytes(proxy.port, bytes);
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK/);
    expect(answer).not.toContain('http2-settings');
    expect(answer).not.toContain('"upgrade"');
  });

  it('by HTTP/2 whose length or host lies are refused', async () => {
    const session = connectHttp2(`https://127.0.0.1:${proxy.tlsPort}`, { rejectUnauthorized: false });
    session.on('error', () => undefined);
    const before = seen.length;
    const answers: unknown[] = [];
    for (const extra of [{ host: 'b.example' }, { 'content-length': '+4' }, { 'content-length': '9' }]) {
      const stream = session.request({ ':method': 'POST', ':path': '/', ':authority': 's.example', ...extra });
      stream.on('error', () => answers.push('reset')).once('response', (headers) => answers.push(headers[':status']));
      stream.resume().end('body');
      await new Promise((resolve) => stream.once('close', resolve));
    }
    expect(answers).toEqual([400, 'reset', 'reset']);
    expect(seen.slice(before).map(({ body }) => body)).toEqual([]);
    session.destroy();
  });

  /** A frame of HTTP/2 (RFC 9113, 4.1). */
  const frame = (type: number, flags: number, payload: Buffer, stream: number): Buffer => {
    const head = Buffer.alloc(9);
    head.writeUIntBE(payload.length, 0, 3);
    head.writeUInt8(type, 3);
    head.writeUInt8(flags, 4);
    head.writeUInt32BE(stream, 5);
    return Buffer.concat([head, payload]);
  };
  /** A header as a literal that no table has (RFC 7541, 6.2.2). */
  const literal = (name: string, value: string): Buffer =>
    Buffer.concat([Buffer.from([0, name.length]), Buffer.from(name), Buffer.from([value.length]), Buffer.from(value)]);

  it.each([
    ['an encoding', { 'transfer-encoding': 'chunked' }],
    ['a connection', { connection: 'x-a' }],
    ['a line break in a value', { 'x-a': 'b\r\ntransfer-encoding: chunked' }],
    ['a line break in a name', { 'x\r\ny': 'b' }],
    ['an upper-case name', { 'Content-Length': '0' }],
    ['a line break in the path', { ':path': '/ HTTP/1.1\r\nX: y' }],
    ['a space in the path', { ':path': '/x y' }],
    ['a path without a slash', { ':path': 'x' }],
    ['an authority with a user', { ':authority': 'u@s.example' }],
    ['an authority with a path', { ':authority': 's.example/x' }],
  ])('by HTTP/2 with %s pass nothing of it on', async (what, extra) => {
    const before = seen.length;
    const socket = connectTls({ host: '127.0.0.1', port: proxy.tlsPort, rejectUnauthorized: false, ALPNProtocols: ['h2'] });
    socket.on('error', () => undefined);
    await once(socket, 'secureConnect');
    const headers = { ':method': 'GET', ':scheme': 'https', ':path': '/', ':authority': 's.example', ...extra };
    const block = Buffer.concat(Object.entries(headers).map(([name, value]) => literal(name, value)));
    const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    socket.write(Buffer.concat([preface, frame(4, 0, Buffer.alloc(0), 0), frame(1, 0b101, block, 1)]));
    const frames = await new Promise<Buffer>((resolve) => {
      let got = Buffer.alloc(0);
      socket.on('data', (chunk: Buffer) => {
        got = Buffer.concat([got, chunk]);
        // An answer (HEADERS), a reset of the stream or the end of the connection.
        if (typesIn(got).some((type) => type === 1 || type === 3 || type === 7)) resolve(got);
      });
      socket.once('close', () => resolve(got));
    });
    expect(typesIn(frames).some((type) => type === 1 || type === 3 || type === 7) || socket.destroyed).toBe(true);
    socket.destroy();
    // A header that is none is left out, and the rest of its request is clean; everything else is refused.
    const passed = seen.slice(before).map(({ request }) => request.rawHeaders.join('|').replace(/\d{5}/, 'PORT'));
    const clean =
      'Host|s.example|X-Forwarded-For|127.0.0.1|X-Forwarded-Host|s.example|X-Forwarded-Port|PORT|X-Forwarded-Proto|https|X-Real-IP|127.0.0.1|Connection|keep-alive';
    expect(passed).toEqual(what.startsWith('a line break in a ') ? [clean] : []);
  });

  function typesIn(bytes: Buffer): readonly number[] {
    const types: number[] = [];
    for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) types.push(bytes.readUInt8(at + 3));
    return types;
  }

  it('that send their head drop by drop lose the connection', async () => {
    const socket = connect({ host: '127.0.0.1', port: proxy.port });
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    socket.write('GET / HTTP/1.1\r\nHost: a.example\r\n');
    const drip = setInterval(() => socket.write('X: y\r\n'), 100);
    const answer = await text(socket).finally(() => clearInterval(drip));
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
  });

  it('are counted by code and port', async () => {
    const lines = (await proxy.metrics.text()).split('\n');
    expect(lines.some((line) => /^traefik_entrypoint_requests_total\{.*code="404".*entrypoint="web".*\} [1-9]/.test(line))).toBe(true);
    expect(
      lines.some((line) => /^traefik_entrypoint_request_duration_seconds_count\{.*code="200".*entrypoint="websecure"/.test(line)),
    ).toBe(true);
    expect(lines.some((line) => /^traefik_open_connections\{entrypoint="web"\} \d/.test(line))).toBe(true);
  });
});

describe('connections', () => {
  it('pass WebSocket both ways, early bytes included, and end together', async () => {
    const proxy = await keep(startTestProxy({ ingresses }));
    const backend = await keep(startBackend((_, response) => response.writeHead(426).end('upgrade first')));
    backend.server.on('upgrade', (request, socket: Socket) => {
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${request.headers['sec-websocket-key']}\r\n\r\nhello `,
      );
      socket.pipe(socket);
    });
    proxy.endpoints.set('default/web', [{ address: '127.0.0.1', port: 1 }, backend.address]);
    const socket = connect({ host: '127.0.0.1', port: proxy.port });
    socket.setEncoding('latin1');
    let got = '';
    socket.on('data', (part: string) => (got += part));
    socket.write(
      'GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\nearly',
    );
    await until(() => got.endsWith('hello early'), { what: 'the bytes that came with the request' });
    expect(got).toMatch(
      /^HTTP\/1\.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: k\r\n\r\n/,
    );
    socket.end(' late');
    await once(socket, 'close');
    expect(got).toMatch(/hello early late$/);
  });

  it('get the answer of a server that refuses a change of protocol, and pass no second request on', async () => {
    const proxy = await keep(startTestProxy({ ingresses }));
    const urls: (string | undefined)[] = [];
    const backend = await keep(
      startBackend((request, response) => {
        urls.push(request.url);
        response.writeHead(426).end('wrong version');
      }),
    );
    proxy.endpoints.set('default/web', [backend.address]);
    const answer = await exchangeBytes(
      proxy.port,
      'GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a.example\r\n\r\n',
    );
    expect(answer).toMatch(/^HTTP\/1\.1 426 Upgrade Required\r\n[\s\S]*wrong version/);
    expect(urls).toEqual(['/ws']);
  });

  it('are bounded in number', async () => {
    const proxy = await keep(startTestProxy({ ingresses, limits: { connections: 2 } }));
    const sockets = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const socket = connect({ host: '127.0.0.1', port: proxy.port });
        socket.on('error', () => undefined).resume();
        await once(socket, 'connect');
        return socket;
      }),
    );
    await until(() => sockets.filter(({ destroyed }) => destroyed).length === 2, { what: 'the end of two connections' });
    expect(proxy.web.openConnections).toBe(2);
    for (const socket of sockets) socket.destroy();
  });

  it('to endpoints are kept and shared', async () => {
    const proxy = await keep(startTestProxy({ ingresses }));
    const backend = await keep(startBackend((_, response) => response.end('x')));
    let connections = 0;
    backend.server.on('connection', () => (connections += 1));
    proxy.endpoints.set('default/web', [backend.address]);
    for (let count = 0; count < 10; count += 1) await ask(proxy.port);
    expect(connections).toBe(1);
  });
});

describe('endpoints', () => {
  it('take turns, and one that refuses costs no request', async () => {
    const proxy = await keep(startTestProxy({ ingresses }));
    const [a, b] = await Promise.all(['a', 'b'].map((name) => keep(startBackend((_, response) => response.end(name)))));
    const all = [a?.address, b?.address].flatMap((address) => address ?? []);
    proxy.endpoints.set('default/web', all);
    const answers = async () => {
      const got: string[] = [];
      for (let count = 0; count < 4; count += 1) got.push((await ask(proxy.port, { method: 'POST', body: 'x' })).text);
      return got.sort();
    };
    expect(await answers()).toEqual(['a', 'a', 'b', 'b']);
    proxy.endpoints.set('default/web', [...all, { address: '127.0.0.1', port: 1 }]);
    expect((await answers()).every((text) => text === 'a' || text === 'b')).toBe(true);
  });

  it('that come and go under load lose no request', async () => {
    const proxy = await keep(startTestProxy({ ingresses }));
    const start = () => startBackend((request, response) => void text(request).then((body) => setTimeout(() => response.end(body), 3)));
    let current = await start();
    proxy.endpoints.set('default/web', [current.address]);
    let isDone = false;
    const statuses: (number | undefined)[] = [];
    const clients = Array.from({ length: 8 }, async (_, client) => {
      while (!isDone) {
        const isPost = client % 2 === 0;
        const { status, text: body } = await ask(proxy.port, isPost ? { method: 'POST', body: 'ping' } : {});
        statuses.push(isPost && body !== 'ping' ? -1 : status);
      }
    });
    for (let round = 0; round < 5; round += 1) {
      const next = await start();
      proxy.endpoints.set('default/web', [next.address]);
      const before = statuses.length;
      await until(() => statuses.length > before + 10, { what: 'some requests' });
      // The old one has no requests any more, as after its grace period, and ends with its kept connections.
      await current.close();
      current = next;
    }
    isDone = true;
    await Promise.all(clients);
    await current.close();
    expect(statuses.length).toBeGreaterThan(50);
    expect(statuses.filter((status) => status !== 200)).toEqual([]);
  });

  it('that do not answer in time make it 504, and a cut answer is seen as cut', async () => {
    const proxy = await keep(startTestProxy({ ingresses, limits: { answerMs: 300 } }));
    const backend = await keep(
      startBackend((request, response) => {
        if (request.url !== '/cut') return;
        response.writeHead(200, { 'content-length': '100' });
        response.write('half', () => response.destroy());
      }),
    );
    proxy.endpoints.set('default/web', [backend.address]);
    expect(await ask(proxy.port)).toMatchObject({ status: 504, text: expect.stringContaining('in time') });
    await expect(ask(proxy.port, { path: '/cut' })).rejects.toThrow();
  });

  it('get a body that the client cuts off as cut off', async () => {
    const proxy = await keep(startTestProxy({ ingresses }));
    let outcome = '';
    const backend = await keep(
      startBackend((request) => {
        request
          .resume()
          .once('end', () => (outcome = 'complete'))
          .once('error', () => (outcome = 'cut'));
      }),
    );
    proxy.endpoints.set('default/web', [backend.address]);
    const socket = connect({ host: '127.0.0.1', port: proxy.port });
    socket.write('POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
    await once(backend.server, 'request');
    socket.destroy();
    await until(() => outcome !== '', { what: 'the end of the body' });
    expect(outcome).toBe('cut');
  });
});

describe('streams', () => {
  const size = 100 * 1024 * 1024;
  const part = Buffer.alloc(256 * 1024, 'x');
  const hundredMegabytes = () =>
    Readable.from(
      (function* () {
        for (let sent = 0; sent < size; sent += part.length) yield part;
      })(),
      { highWaterMark: 1 },
    );

  it('pass 100 MB both ways at the speed of the slower side, and never have it in memory', async () => {
    const proxy = await keep(startTestProxy({ ingresses }));
    let received = 0;
    let isSlow = true;
    const backend = await keep(
      startBackend((request, response) => {
        request.on('data', (chunk: Buffer) => {
          received += chunk.length;
          if (!isSlow) return;
          request.pause();
          setTimeout(() => request.resume(), 100);
        });
        request.once('end', () => hundredMegabytes().pipe(response));
      }),
    );
    proxy.endpoints.set('default/web', [backend.address]);
    let sent = 0;
    const source = hundredMegabytes();
    source.on('data', (chunk: Buffer) => (sent += chunk.length));
    source.pause();
    const request = httpRequest({ host: '127.0.0.1', port: proxy.port, method: 'POST', agent, headers: { host: 'a.example' } });
    source.pipe(request);
    await until(() => received > 512 * 1024, { what: 'the first part of the body' });
    // Buffers of four sockets and streams lie between both ends.
    expect(sent - received).toBeLessThan(24 * 1024 * 1024);
    isSlow = false;
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    let got = 0;
    for await (const chunk of response) got += (chunk as Buffer).length;
    expect({ received, got }).toEqual({ received: size, got: size });
  });
});

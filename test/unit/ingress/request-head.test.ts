import { describe, expect, it } from 'vitest';
import {
  answeredHeaders,
  forwardedHeaders,
  hostOf,
  mayUpgradeTo,
  type ReceivedHead,
  type RequestHead,
  readRequestHead,
} from '../../../src/ingress/request-head.ts';
import { routingPath } from '../../../src/ingress/request-path.ts';

const arrival = { clientAddress: '::ffff:192.0.2.7', protocol: 'https', port: 443 } as const;
const received = (rawHeaders: readonly string[], more: Partial<ReceivedHead> = {}): ReceivedHead => ({
  version: '1.1',
  method: 'GET',
  target: '/',
  authority: undefined,
  rawHeaders,
  hasBody: false,
  ...more,
});
const host = ['Host', 'a.example'];
const read = (rawHeaders: readonly string[], more: Partial<ReceivedHead> = {}): RequestHead => {
  const head = readRequestHead(received(rawHeaders, more));
  if ('why' in head) throw new Error(`refused: ${head.why}`);
  return head;
};
const statusOf = (rawHeaders: readonly string[], more: Partial<ReceivedHead> = {}): number => {
  const head = readRequestHead(received(rawHeaders, more));
  return 'why' in head ? head.status : 200;
};
const sent = (rawHeaders: readonly string[], more: Partial<ReceivedHead> = {}): string[] => {
  const all = forwardedHeaders(read(rawHeaders, more), arrival);
  return all.flatMap((value, index) => (index % 2 === 0 ? [`${value}: ${all[index + 1]}`] : []));
};

describe('the path by which requests are routed', () => {
  it.each([
    ['/', '/'],
    ['/a/b', '/a/b'],
    ['/a/b/', '/a/b/'],
    ['//a///b', '/a/b'],
    ['/a/./b/.', '/a/b/'],
    ['/public/../admin', '/admin'],
    ['/public/%2e%2E/admin', '/admin'],
    ['/public/..%2fadmin', '/admin'],
    ['/%61dmin', '/admin'],
    ['/a/..', '/'],
    ['/caf%C3%A9', '/caf\u00c3\u00a9'],
    ['/%252e%252e/a', '/%2e%2e/a'],
  ])('%s is %s', (given, expected) => expect(routingPath(given)).toBe(expected));

  it.each(['', 'a', '/..', '/a/../../b', '/%', '/%zz', '/a\\..\\b', '/a b', '/%00', '/a#b', '/a\tb'])('%j is none', (given) =>
    expect(routingPath(given)).toBeUndefined(),
  );
});

describe('a head that two servers could read differently is refused', () => {
  it.each([
    ['a length and chunks', ['Content-Length', '3', 'Transfer-Encoding', 'chunked'], 400],
    ['two lengths', ['Content-Length', '3', 'content-length', '4'], 400],
    ['two equal lengths', ['Content-Length', '3', 'Content-Length', '3'], 400],
    ['a list of lengths', ['Content-Length', '3, 3'], 400],
    ['a signed length', ['Content-Length', '+3'], 400],
    ['a hexadecimal length', ['Content-Length', '0x3'], 400],
    ['an encoding beside chunks', ['Transfer-Encoding', 'gzip, chunked'], 501],
    ['a misspelled encoding', ['Transfer-Encoding', 'xchunked'], 501],
    ['two encodings', ['Transfer-Encoding', 'chunked', 'Transfer-Encoding', 'identity'], 501],
    ['two hosts', ['Host', 'b.example'], 400],
  ])('%s', (_, headers, status) => expect(statusOf([...host, ...headers])).toBe(status));

  it.each(['a b', 'a.example/x', 'user@a.example', 'a.example:99999', 'a.example:80:80', '..', '.a', '[::g]', 'a.example\u0000', ''])(
    'host %j',
    (name) => expect(statusOf(['Host', name])).toBe(400),
  );

  it('no host, but for HTTP/1.0, and chunks in HTTP/1.0', () => {
    expect([
      statusOf([]),
      statusOf([], { version: '1.0' }),
      statusOf([...host, 'Transfer-Encoding', 'chunked'], { version: '1.0' }),
    ]).toEqual([400, 200, 400]);
  });

  it('methods that open tunnels or repeat the request', () => {
    expect(['CONNECT', 'TRACE'].map((method) => statusOf(host, { method }))).toEqual([405, 405]);
  });

  it('HTTP/2 with headers of HTTP/1, or a Host beside another authority', () => {
    const h2 = { version: '2.0', authority: 'a.example' } as const;
    expect(statusOf(['transfer-encoding', 'chunked'], h2)).toBe(400);
    expect(statusOf(['connection', 'x-a'], h2)).toBe(400);
    expect(statusOf(['host', 'b.example'], h2)).toBe(400);
    expect(statusOf(['host', 'A.example'], h2)).toBe(200);
    expect(statusOf([], { ...h2, target: '/a HTTP/1.1\r\nX: y' })).toBe(400);
    expect(statusOf([], { ...h2, target: '/?a HTTP/1.1\r\nX: y' })).toBe(400);
  });
});

describe('a head that is passed on', () => {
  it('names the client by the connection alone', () => {
    const forged = [
      'X-Forwarded-For',
      '127.0.0.1',
      'x-forwarded-user',
      'root',
      'Forwarded',
      'for=127.0.0.1',
      'X_Forwarded_For',
      '127.0.0.1',
      'X-Real-IP',
      '127.0.0.1',
    ];
    expect(sent([...host, ...forged, 'Accept', '*/*'])).toEqual([
      'Host: a.example',
      'Accept: */*',
      'X-Forwarded-For: 192.0.2.7',
      'X-Forwarded-Host: a.example',
      'X-Forwarded-Port: 443',
      'X-Forwarded-Proto: https',
      'X-Real-IP: 192.0.2.7',
    ]);
  });

  it('lacks the headers of one connection, and those that Connection names', () => {
    const own = [
      'Connection',
      'keep-alive, X-Own, Host, Content-Length, Authorization',
      'X-Own',
      '1',
      'Keep-Alive',
      '5',
      'TE',
      'trailers',
      'Trailer',
      'x',
      'Proxy-Authorization',
      'x',
    ];
    const head = sent([...host, ...own, 'Content-Length', '2', 'Authorization', 'Bearer x', 'Upgrade', 'h2c']);
    expect(head.filter((line) => !line.startsWith('X-'))).toEqual(['Host: a.example', 'Authorization: Bearer x', 'Content-Length: 2']);
  });

  it('has one framing: the length, chunks, or the length 0', () => {
    const framing = (headers: string[], more: Partial<ReceivedHead> = {}) =>
      sent([...host, ...headers], more).filter((line) => /^(content-length|transfer-encoding)/i.test(line));
    expect(framing([])).toEqual([]);
    expect(framing([], { method: 'POST' })).toEqual(['Content-Length: 0']);
    expect(framing(['content-length', '7'], { method: 'POST' })).toEqual(['Content-Length: 7']);
    expect(framing(['Transfer-Encoding', 'Chunked'], { method: 'DELETE' })).toEqual(['Transfer-Encoding: chunked']);
    // A body of unknown length with a method that usually has none.
    const h2 = { version: '2.0', authority: 'a.example', hasBody: true } as const;
    expect(framing([], h2)).toEqual(['Transfer-Encoding: chunked']);
  });

  it('has the host of an absolute target, whatever Host says', () => {
    const head = read(['Host', 'b.example'], { target: 'http://A.example:8080/x?y' });
    expect(head).toMatchObject({ host: 'a.example', authority: 'A.example:8080', target: '/x?y', path: '/x' });
    expect(read(host, { target: 'http://a.example' })).toMatchObject({ target: '/', path: '/' });
    expect(statusOf(host, { target: 'http://user@a.example/' })).toBe(400);
    expect(statusOf(host, { target: 'ftp://a.example/' })).toBe(400);
    expect(read(host, { method: 'OPTIONS', target: '*' })).toMatchObject({ target: '*', path: '/' });
  });

  it('has one cookie header, however HTTP/2 cut it', () => {
    expect(sent(['cookie', 'a=1', 'cookie', 'b=2'], { version: '2.0', authority: 'a.example' })).toContain('cookie: a=1; b=2');
  });

  it('changes the protocol only where Connection says so, and never to HTTP/2', () => {
    expect(read([...host, 'Connection', 'Upgrade', 'Upgrade', 'websocket']).upgrade).toBe('websocket');
    expect(read([...host, 'Upgrade', 'websocket']).upgrade).toBeUndefined();
    expect(['websocket', 'h2c', 'H2C, websocket', 'HTTP/2.0', 'TLS/1.2', 'tcp'].map(mayUpgradeTo)).toEqual([
      true,
      false,
      false,
      false,
      false,
      true,
    ]);
  });
});

it('a host is a name or an address, with or without a port', () => {
  expect(['A.example:80', 'a.example.', '[::1]:443', '10.0.0.1', 'a_b.example'].map(hostOf)).toEqual([
    'a.example',
    'a.example',
    '::1',
    '10.0.0.1',
    'a_b.example',
  ]);
});

it('an answer loses the headers of one connection and keeps repeated ones', () => {
  const answer = [
    'Connection',
    'close, X-Own',
    'X-Own',
    '1',
    'Transfer-Encoding',
    'chunked',
    'Set-Cookie',
    'a',
    'Set-Cookie',
    'b',
    'Content-Length',
    '3',
  ];
  expect(answeredHeaders(answer)).toEqual(['Set-Cookie', 'a', 'Set-Cookie', 'b', 'Content-Length', '3']);
});

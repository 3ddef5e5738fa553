import { describe, expect, it } from 'vitest';
import { formRefusalOf, refusalOf } from '../../../src/web/request-guard.ts';

const ask = (host: string | undefined, localAddress = '127.0.0.1', origin?: string): string | undefined =>
  refusalOf({ headers: { ...(host === undefined ? {} : { host }), ...(origin === undefined ? {} : { origin }) }, localAddress });

describe('request guard', () => {
  it('knows its own names', () => {
    for (const host of ['localhost', 'localhost:7080', 'LOCALHOST', '127.0.0.1', '127.0.0.1:7080']) expect(ask(host), host).toBeUndefined();
    expect(ask('[::1]:7080', '::1')).toBeUndefined();
    expect(ask('192.0.2.7', '::ffff:192.0.2.7')).toBeUndefined();
  });

  it('refuses every other one', () => {
    for (const host of [
      undefined,
      '',
      'evil.example',
      '127.0.0.1@evil.example',
      '127.0.0.1/evil',
      '127.0.0.1.nip.io',
      '192.0.2.7',
      'localhost.',
    ])
      expect(ask(host), host).toBeDefined();
  });

  it('takes an origin only when it is the page itself', () => {
    expect(ask('localhost:7080', '127.0.0.1', 'http://localhost:7080')).toBeUndefined();
    for (const origin of ['null', 'http://localhost:7081', 'https://localhost:7080', 'http://evil.example'])
      expect(ask('localhost:7080', '127.0.0.1', origin), origin).toBeDefined();
  });

  it('takes forms only from a browser that says where they come from', () => {
    const origin = 'http://localhost:7080';
    expect(formRefusalOf({ origin })).toBeUndefined();
    expect(formRefusalOf({ origin, 'sec-fetch-site': 'same-origin' })).toBeUndefined();
    expect(formRefusalOf({})).toContain('A program calls the API');
    for (const site of ['same-site', 'cross-site', 'none']) expect(formRefusalOf({ origin, 'sec-fetch-site': site }), site).toBeDefined();
  });
});

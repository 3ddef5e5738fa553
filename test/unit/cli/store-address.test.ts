import { describe, expect, it } from 'vitest';
import { tryParseEtcdAddress } from '../../../src/cli/store-address.ts';

describe('the address of an etcd', () => {
  it.each([
    ['etcd://a', [{ host: 'a', port: 2379 }], '/midship'],
    ['etcd://127.0.0.1:80', [{ host: '127.0.0.1', port: 80 }], '/midship'],
    ['etcd://[::1]:4001/', [{ host: '::1', port: 4001 }], '/midship'],
    [
      'etcd://a:1,b:2,c/clusters/home/',
      [
        { host: 'a', port: 1 },
        { host: 'b', port: 2 },
        { host: 'c', port: 2379 },
      ],
      '/clusters/home',
    ],
  ])('reads %s', (text, endpoints, prefix) => {
    expect(tryParseEtcdAddress(text)).toEqual({ endpoints, prefix });
  });

  it.each([
    'http://a:2379',
    'etcd:a',
    'etcd://',
    'etcd:///prefix',
    'etcd://a,,b',
    'etcd://user:secret@a',
    'etcd://a:99999',
    'etcd://a/with space',
    'etcd://a//b',
    'etcd://a/b?c',
    `etcd://${Array.from({ length: 17 }, (_, n) => `h${n}`).join(',')}`,
  ])('refuses %s', (text) => {
    expect(tryParseEtcdAddress(text)).toBeUndefined();
  });
});

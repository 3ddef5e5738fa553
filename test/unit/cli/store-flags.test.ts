import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { storeSettingsOf, withStoreFlags } from '../../../src/cli/store-flags.ts';

const local = { endpoints: [{ host: '127.0.0.1', port: 2379 }], prefix: '/midship' };
const remote = {
  endpoints: [
    { host: '127.0.0.1', port: 2379 },
    { host: '10.0.0.5', port: 2379 },
  ],
  prefix: '/midship',
};

describe('the flags of the store', () => {
  it('mean SQLite when none is given, and when it is named', () => {
    expect(storeSettingsOf({ storeInsecure: false })).toBeUndefined();
    const command = withStoreFlags(new Command()).parse(['--store', 'sqlite'], { from: 'user' });
    expect(storeSettingsOf(command.opts())).toBeUndefined();
  });

  it('reach loopback in plain text, and other machines only when that is asked for', () => {
    expect(storeSettingsOf({ store: local, storeInsecure: false })).toEqual({ address: local });
    expect(() => storeSettingsOf({ store: remote, storeInsecure: false })).toThrow('etcd on another machine is reached by TLS alone');
    expect(storeSettingsOf({ store: remote, storeInsecure: true })).toEqual({ address: remote });
    expect(storeSettingsOf({ store: remote, storeCa: '/ca', storeInsecure: false })?.tls).toEqual({
      ca: '/ca',
      certificate: undefined,
      key: undefined,
    });
  });

  it.each([
    [{ storeCert: 'c' }, 'missing flag: --store-key'],
    [{ storeKey: 'k' }, 'missing flag: --store-cert'],
    [{ storeUser: 'u' }, 'missing flag: --store-password-file'],
    [{ storePasswordFile: 'p' }, 'missing flag: --store-user'],
  ])('refuse %o alone', (flags, message) => {
    expect(() => storeSettingsOf({ store: local, storeInsecure: false, ...flags })).toThrow(message);
  });

  it('refuse flags for etcd beside SQLite', () => {
    expect(() => storeSettingsOf({ storeUser: 'u', storeInsecure: false })).toThrow('a flag for etcd without --store');
  });
});

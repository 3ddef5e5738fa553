import { expect, it } from 'vitest';
import { createAddressPool } from '../../../../src/node-agent/process/address-pool.ts';

it('gives each pod an address of its own, a released one last', () => {
  const pool = createAddressPool('127.64.16.0/24');
  expect(pool.nodeAddress).toBe('127.64.16.1');
  const all = Array.from({ length: 253 }, () => pool.take());
  expect(new Set(all).size).toBe(253);
  expect([all[0], all.at(-1)]).toEqual(['127.64.16.2', '127.64.16.254']);
  expect(pool.take()).toBeUndefined();
  pool.release('127.64.16.9');
  expect(pool.take()).toBe('127.64.16.9');
});

it('knows addresses that were found in use', () => {
  const pool = createAddressPool('127.64.16.0/24');
  expect(pool.reserve('127.64.16.2')).toBe(true);
  expect(pool.reserve('127.64.16.2')).toBe(false);
  expect(pool.reserve('127.64.17.2')).toBe(false);
  expect(pool.reserve('127.64.16.1')).toBe(false);
  expect(pool.take()).toBe('127.64.16.3');
});

it.each(['10.0.0.0/16', '10.0.0.1/24', 'x', '300.1.1.0/24'])('refuses %s', (cidr) => {
  expect(() => createAddressPool(cidr)).toThrow('is not a /24');
});

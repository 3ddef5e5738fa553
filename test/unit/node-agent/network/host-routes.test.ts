import { expect, it } from 'vitest';
import type { Node } from '../../../../src/api/core/v1/node.ts';
import { peersOf } from '../../../../src/node-agent/network/host-routes.ts';
import { deviceAddressOf, hardwareAddressOf } from '../../../../src/node-agent/network/vxlan.ts';

const node = (name: string, podCIDR: string, address: string): Node => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name },
  spec: { podCIDR },
  status: { addresses: address === '' ? [] : [{ type: 'InternalIP', address }] },
});

it('routes the pods of every other node that has a range and an address', () => {
  const all = [
    node('self', '10.42.0.0/24', '192.168.1.10'),
    node('other', '10.42.1.0/24', '192.168.1.11'),
    node('new', '', '192.168.1.12'),
    node('simulated', '10.42.3.0/24', ''),
  ];
  expect(peersOf(all, 'self')).toEqual([{ podCidr: '10.42.1.0/24', nodeAddress: '192.168.1.11' }]);
});

it('takes the key of a machine from its Node, and a key that two name from the older one', () => {
  const key = (letter: string) => `${letter.repeat(42)}A=`;
  const withKey = (name: string, text: string, creationTimestamp: string): Node => ({
    ...node(name, '10.42.1.0/24', '192.168.1.11'),
    metadata: { name, creationTimestamp, annotations: { 'midship.dev/wireguard-public-key': text } },
  });
  const keysOf = (...all: Node[]) => peersOf(all, 'self').map(({ publicKey }) => publicKey);
  expect(keysOf(withKey('thief', key('a'), '2026-01-02T00:00:00Z'), withKey('owner', key('a'), '2026-01-01T00:00:00Z'))).toEqual([
    key('a'),
    undefined,
  ]);
  expect(keysOf(withKey('thief', key('s'), '2026-01-02T00:00:00Z'), withKey('self', key('s'), '2026-01-01T00:00:00Z'))).toEqual([
    undefined,
  ]);
  expect(keysOf(withKey('odd', `${key('a')}\n[Peer]`, '2026-01-01T00:00:00Z'))).toEqual([undefined]);
});

it('names devices after the range of their machine', () => {
  expect(deviceAddressOf('10.42.1.0/24')).toBe('10.42.1.0');
  expect(hardwareAddressOf('10.42.1.0/24')).toBe('0a:58:0a:2a:01:00');
  expect(hardwareAddressOf('10.255.16.0/20')).toBe('0a:58:0a:ff:10:00');
});

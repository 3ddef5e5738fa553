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

it('names devices after the range of their machine', () => {
  expect(deviceAddressOf('10.42.1.0/24')).toBe('10.42.1.0');
  expect(hardwareAddressOf('10.42.1.0/24')).toBe('0a:58:0a:2a:01:00');
  expect(hardwareAddressOf('10.255.16.0/20')).toBe('0a:58:0a:ff:10:00');
});

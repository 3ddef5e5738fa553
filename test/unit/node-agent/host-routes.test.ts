import { expect, it } from 'vitest';
import type { Node } from '../../../src/api/core/v1/node.ts';
import { routesOf } from '../../../src/node-agent/host-routes.ts';

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
  expect([...routesOf(all, 'self')]).toEqual([['10.42.1.0/24', '192.168.1.11']]);
});

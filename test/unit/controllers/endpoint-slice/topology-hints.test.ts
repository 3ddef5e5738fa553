import { describe, expect, it } from 'vitest';
import type { Node } from '../../../../src/api/core/v1/node.ts';
import type { Endpoint, EndpointSlice } from '../../../../src/api/discovery/v1/endpoint-slice.ts';
import { type EndpointGroups, endpointId } from '../../../../src/controllers/endpoint-slice/slice-set.ts';
import { addTopologyHints, type ZoneShares, zoneSharesOf } from '../../../../src/controllers/endpoint-slice/topology-hints.ts';

const node = (zone: string | undefined, cpu: string, { ready = 'True', role = '' } = {}): Node => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: {
    name: 'n',
    labels: { ...(zone === undefined ? {} : { 'topology.kubernetes.io/zone': zone }), ...(role === '' ? {} : { [role]: '' }) },
  },
  spec: {},
  status: { conditions: [{ type: 'Ready', status: ready }], allocatable: { cpu } },
});

const endpoint = (index: number, zone: string | undefined, ready = true): Endpoint => ({
  addresses: [`10.0.0.${index}`],
  conditions: { ready },
  targetRef: { uid: `pod-${String(index).padStart(3, '0')}` },
  ...(zone === undefined ? {} : { zone }),
});

const groupsOf = (endpoints: readonly Endpoint[]): EndpointGroups =>
  new Map([['IPv4|', { addressType: 'IPv4', ports: [], endpoints: new Map(endpoints.map((each) => [endpointId(each), each])) }]]);
const slicesOf = (groups: EndpointGroups): readonly EndpointSlice[] =>
  [...groups.values()].map(({ addressType, endpoints }) => ({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'web' },
    addressType,
    endpoints: [...endpoints.values()],
  }));
const hintsIn = (groups: EndpointGroups): readonly (string | undefined)[] =>
  [...groups.values()].flatMap(({ endpoints }) => [...endpoints.values()].map(({ hints }) => hints?.forZones?.[0]?.name));
const countsIn = (groups: EndpointGroups): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const zone of hintsIn(groups)) counts[zone ?? 'none'] = (counts[zone ?? 'none'] ?? 0) + 1;
  return counts;
};
const inZones = (counts: Readonly<Record<string, number>>): Endpoint[] =>
  Object.entries(counts)
    .flatMap(([zone, count]) => Array.from({ length: count }, () => zone))
    .map((zone, index) => endpoint(index, zone));

const even: ZoneShares = new Map([
  ['a', 1 / 3],
  ['b', 1 / 3],
  ['c', 1 / 3],
]);

describe('topology hints', () => {
  it('follow the CPU of ready nodes that run workloads', () => {
    const nodes = [
      node('b', '1'),
      node('a', '2500m'),
      node('a', '500m'),
      node('c', '64', { ready: 'False' }),
      node('c', '64', { role: 'node-role.kubernetes.io/control-plane' }),
    ];
    expect(zoneSharesOf(nodes)).toEqual(
      new Map([
        ['a', 0.75],
        ['b', 0.25],
      ]),
    );
    const problem = 'Insufficient Node information: allocatable CPU or zone not specified on one or more nodes';
    expect(zoneSharesOf([...nodes, node(undefined, '1')])).toEqual({ problem });
    expect(zoneSharesOf([node('a', '1')])).toEqual({ problem });
  });

  it.each([
    // Three zones of one size, one of which has all endpoints.
    { has: { a: 6, b: 0, c: 0 }, gets: { a: 2, b: 2, c: 2 } },
    { has: { a: 4, b: 3, c: 2 }, gets: { a: 3, b: 3, c: 3 } },
    { has: { a: 2, b: 2, c: 2 }, gets: { a: 2, b: 2, c: 2 } },
    // A difference below the threshold is worth no connection to another zone.
    { has: { a: 11, b: 10, c: 9 }, gets: { a: 11, b: 10, c: 9 } },
    // No node of the zone d takes connections.
    { has: { a: 1, b: 1, d: 1 }, gets: { a: 1, b: 1, c: 1 } },
  ])('spread endpoints in $has as $gets', ({ has, gets }) => {
    const groups = groupsOf(inZones(has));
    expect(addTopologyHints(groups, even, [])).toEqual([{ addressType: 'IPv4' }]);
    expect(countsIn(groups)).toEqual(gets);
  });

  it('stay where they are while no zone has too many, so that one pod more moves no other', () => {
    const before = groupsOf(inZones({ a: 6, b: 0, c: 0 }));
    addTopologyHints(before, even, []);
    const after = groupsOf([...inZones({ a: 6, b: 0, c: 0 }), endpoint(6, 'b')]);
    addTopologyHints(after, even, slicesOf(before));
    expect(hintsIn(after)).toEqual([...hintsIn(before), 'b']);
  });

  it.each([
    ['Insufficient number of endpoints (2 endpoints, 3 zones)', inZones({ a: 1, b: 1 })],
    ['One or more endpoints do not have a zone specified', [endpoint(1, 'a'), endpoint(2, 'b'), endpoint(3, undefined)]],
    [
      'Unable to allocate minimum required endpoints to each zone without exceeding overload threshold (4 endpoints, 3 zones)',
      inZones({ a: 2, b: 1, c: 1 }),
    ],
  ])('are taken from all endpoints: %s', (problem, endpoints) => {
    const groups = groupsOf(endpoints.map((each) => ({ ...each, hints: { forZones: [{ name: 'a' }] } })));
    expect(addTopologyHints(groups, even, [])).toEqual([{ addressType: 'IPv4', problem }]);
    expect(new Set(hintsIn(groups))).toEqual(new Set([undefined]));
  });

  it('are for ready endpoints alone', () => {
    const groups = groupsOf([...inZones({ a: 2, b: 2, c: 2 }), endpoint(9, 'a', false)]);
    addTopologyHints(groups, even, []);
    expect(countsIn(groups)).toEqual({ a: 2, b: 2, c: 2, none: 1 });
  });
});

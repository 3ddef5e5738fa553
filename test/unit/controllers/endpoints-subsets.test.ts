import { describe, expect, it } from 'vitest';
import type { Pod } from '../../../src/api/core/v1/pod.ts';
import type { Service } from '../../../src/api/core/v1/service.ts';
import type { EndpointSlice } from '../../../src/api/discovery/v1/endpoint-slice.ts';
import { planSlices } from '../../../src/controllers/endpoint-slice/plan.ts';
import { subsetsOf } from '../../../src/controllers/endpoints/subsets.ts';
import { podOf } from '../../support/cluster-objects.ts';

const service = (spec: Partial<Service['spec']> = {}): Service => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'web', namespace: 'shop', uid: 'service-1' },
  spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }], ...spec },
});

const pod = (index: number, status: Partial<NonNullable<Pod['status']>> = {}): Pod => ({
  ...podOf(`web-${index}`),
  status: {
    phase: 'Running',
    podIP: `10.0.${Math.floor(index / 250)}.${index % 250}`,
    conditions: [{ type: 'Ready', status: 'True' }],
    ...status,
  },
});
const notReady = { conditions: [{ type: 'Ready', status: 'False' }] };
const ending = (index: number): Pod => {
  const running = pod(index);
  return { ...running, metadata: { ...running.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } };
};

function subsetsFor(pods: readonly Pod[], of = service()) {
  const { create } = planSlices({ service: of, pods, slices: [], zoneOf: () => undefined, now: '2026-01-01T00:00:00Z' }).plan;
  return subsetsOf(of, create as EndpointSlice[]);
}
const addressesIn = (pods: readonly Pod[], of?: Service) =>
  subsetsFor(pods, of).subsets.map(({ addresses = [], notReadyAddresses = [] }) =>
    [addresses, notReadyAddresses].map((all) => all.map(({ ip }) => ip)),
  );

describe('subsetsOf', () => {
  it('lists ready pods, and apart those that are not, in the order of their addresses', () => {
    expect(subsetsFor([pod(10), pod(9), pod(2, notReady)]).subsets).toMatchObject([
      {
        addresses: [{ ip: '10.0.0.9' }, { ip: '10.0.0.10', targetRef: { kind: 'Pod', name: 'web-10' } }],
        notReadyAddresses: [{ ip: '10.0.0.2' }],
        ports: [{ port: 8080, protocol: 'TCP' }],
      },
    ]);
    expect(subsetsFor([]).subsets).toEqual([]);
  });

  it('leaves out pods that end, unless the Service publishes what is not ready', () => {
    const pods = [pod(1), ending(2), pod(3, notReady)];
    expect(addressesIn(pods)).toEqual([[['10.0.0.1'], ['10.0.0.3']]]);
    expect(addressesIn(pods, service({ publishNotReadyAddresses: true }))).toEqual([[['10.0.0.1', '10.0.0.2', '10.0.0.3'], []]]);
  });

  it('has a subset for each list of ports, and none for pods that have none of them', () => {
    const named = service({ ports: [{ name: 'http', port: 80, targetPort: 'http' }] });
    const withPort = (index: number, containerPort: number): Pod => ({
      ...pod(index),
      spec: { containers: [{ name: 'c', image: 'i', ports: [{ name: 'http', containerPort }] }] },
    });
    const { subsets } = subsetsFor([withPort(1, 8080), withPort(2, 9090), pod(3)], named);
    expect(subsets.map(({ addresses = [], ports = [] }) => [addresses[0]?.ip, ports[0]?.name, ports[0]?.port])).toEqual([
      ['10.0.0.1', 'http', 8080],
      ['10.0.0.2', 'http', 9090],
    ]);
  });

  it('takes pods of a Service without ports only where it is headless', () => {
    const { ports: _, ...spec } = service().spec;
    expect(subsetsFor([pod(1)], { ...service(), spec }).subsets).toEqual([]);
    expect(subsetsFor([pod(1)], { ...service(), spec: { ...spec, clusterIP: 'None' } }).subsets).toMatchObject([
      { addresses: [{ ip: '10.0.0.1' }] },
    ]);
  });

  it('holds a thousand addresses, ready ones first', () => {
    const pods = Array.from({ length: 1_100 }, (_, index) => pod(index, index < 600 ? {} : notReady));
    const { subsets, isTruncated } = subsetsFor(pods);
    expect(isTruncated).toBe(true);
    expect([subsets[0]?.addresses?.length, subsets[0]?.notReadyAddresses?.length]).toEqual([600, 400]);
    expect(subsetsFor(pods.slice(0, 1_000)).isTruncated).toBe(false);
  });
});

import { describe, expect, it } from 'vitest';
import type { Pod } from '../../../../src/api/core/v1/pod.ts';
import type { Service } from '../../../../src/api/core/v1/service.ts';
import type { EndpointSlice } from '../../../../src/api/discovery/v1/endpoint-slice.ts';
import { planSlices } from '../../../../src/controllers/endpoint-slice/plan.ts';
import type { SlicePlan } from '../../../../src/controllers/endpoint-slice/slice-set.ts';
import { podOf } from '../../../support/cluster-objects.ts';

const service = (spec: Partial<Service['spec']> = {}): Service => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'web', namespace: 'shop', uid: 'service-1' },
  spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }], ...spec },
});

const ready = (index: number, status: Partial<NonNullable<Pod['status']>> = {}): Pod => ({
  ...podOf(`web-${index}`),
  status: { phase: 'Running', podIP: `10.0.0.${index}`, conditions: [{ type: 'Ready', status: 'True' }], ...status },
});

const plan = (pods: readonly Pod[], slices: readonly EndpointSlice[] = [], of = service()): SlicePlan =>
  planSlices({ service: of, pods, slices, zoneOf: () => undefined, now: '2026-01-01T00:00:00Z' }).plan;

let stored = 0;
/** Slices of the store after the plan. */
function carryOut({ create, update, remove }: SlicePlan, slices: readonly EndpointSlice[] = []): EndpointSlice[] {
  const changed = new Map(update.map((slice) => [slice.metadata.name, slice]));
  return [
    ...slices.filter((slice) => !remove.includes(slice)).map((slice) => changed.get(slice.metadata.name) ?? slice),
    ...create.map((slice) => {
      stored += 1;
      return { ...slice, metadata: { ...slice.metadata, name: `web-${stored}` } };
    }),
  ];
}

const sizes = (slices: readonly EndpointSlice[]): number[] => slices.map(({ endpoints }) => endpoints.length);
const untouched: SlicePlan = { create: [], update: [], remove: [] };

describe('planSlices', () => {
  it('writes nothing when nothing changed', () => {
    const pods = [ready(1), ready(2)];
    const slices = carryOut(plan(pods));
    expect(sizes(slices)).toEqual([2]);
    expect(plan(pods, slices)).toEqual(untouched);
    expect(plan([], carryOut(plan([])))).toEqual(untouched);
  });

  it.each([
    [undefined, undefined],
    ['PreferClose', { forZones: [{ name: 'west' }] }],
    ['PreferSameZone', { forZones: [{ name: 'west' }] }],
    ['PreferSameNode', { forZones: [{ name: 'west' }], forNodes: [{ name: 'n1' }] }],
  ])('gives ready endpoints hints by trafficDistribution %s', (trafficDistribution, hints) => {
    const on = (pod: Pod): Pod => ({ ...pod, spec: { ...pod.spec, nodeName: 'n1' } });
    const of = service(trafficDistribution === undefined ? {} : { trafficDistribution });
    const pods = [on(ready(1)), on(ready(2, { conditions: [{ type: 'Ready', status: 'False' }] }))];
    const { plan: made } = planSlices({ service: of, pods, slices: [], zoneOf: () => 'west', now: '2026-01-01T00:00:00Z' });
    expect(made.create[0]?.endpoints.map((endpoint) => endpoint.hints)).toEqual([hints, undefined]);
  });

  it('fills gaps before it makes another slice', () => {
    const pods = Array.from({ length: 200 }, (_, index) => ready(index));
    const slices = carryOut(plan(pods));
    expect(sizes(slices)).toEqual([100, 100]);
    const swapped = [...pods.slice(1), ready(300)];
    const next = plan(swapped, slices);
    expect([next.create.length, next.update.length, next.remove.length]).toEqual([0, 1, 0]);
    expect(plan(swapped, carryOut(next, slices))).toEqual(untouched);
  });

  it('removes slices that become empty, but never the last', () => {
    const pods = Array.from({ length: 101 }, (_, index) => ready(index));
    const slices = carryOut(plan(pods));
    expect(sizes(slices)).toEqual([100, 1]);
    const fewer = plan(pods.slice(0, 100), slices);
    expect([fewer.update.length, fewer.remove.length]).toEqual([0, 1]);
    const none = plan([], slices);
    expect(sizes(carryOut(none, slices))).toEqual([0]);
    expect(none.create).toEqual([]);
  });

  it('treats a pod that was created again under its name as another one', () => {
    const slices = carryOut(plan([ready(1)]));
    const anew = { ...ready(1), metadata: { ...ready(1).metadata, uid: 'another' } };
    expect(plan([anew], slices).update[0]?.endpoints).toMatchObject([{ targetRef: { uid: 'another' } }]);
  });

  it('leaves out pods that have ended or have no address', () => {
    const { podIP: _, ...waiting } = ready(2).status ?? {};
    expect(sizes(carryOut(plan([ready(1, { phase: 'Succeeded' }), { ...ready(2), status: waiting }])))).toEqual([0]);
  });

  it('removes slices of an earlier Service of that name', () => {
    const slices = carryOut(plan([ready(1)]));
    const renewed = { ...service(), metadata: { ...service().metadata, uid: 'service-2' } };
    const next = plan([ready(1)], slices, renewed);
    expect([next.create.length, next.remove.length]).toEqual([1, 1]);
  });

  it('makes one slice for each address family that the Service wants', () => {
    const pod = ready(1, { podIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00::1' }] });
    const slices = carryOut(plan([pod], [], service({ ipFamilies: ['IPv4', 'IPv6'] })));
    expect(slices.map(({ addressType, endpoints }) => [addressType, endpoints[0]?.addresses[0]])).toEqual([
      ['IPv4', '10.0.0.1'],
      ['IPv6', 'fd00::1'],
    ]);
  });

  it('marks headless Services and names hosts', () => {
    const pod: Pod = { ...ready(1), spec: { ...ready(1).spec, hostname: 'web-1', subdomain: 'web' } };
    const [slice] = carryOut(plan([pod], [], service({ clusterIP: 'None' })));
    expect(slice?.metadata.labels).toMatchObject({ 'service.kubernetes.io/headless': '' });
    expect(slice?.endpoints[0]?.hostname).toBe('web-1');
  });
});

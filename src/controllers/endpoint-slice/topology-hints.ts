import type { Node } from '../../api/core/v1/node.ts';
import type { Service } from '../../api/core/v1/service.ts';
import type { Endpoint, EndpointSlice } from '../../api/discovery/v1/endpoint-slice.ts';
import { annotations, labels } from '../../api/well-known.ts';
import { isConditionTrue } from '../../machinery/conditions.ts';
import { milliValueOf } from '../../machinery/quantity.ts';
import { type EndpointGroups, endpointId } from './slice-set.ts';

/** Share of the CPU of all nodes that the nodes of each zone have, or why that cannot be said. */
export type ZoneShares = ReadonlyMap<string, number> | { readonly problem: string };

/** Says whether the endpoints of a Service with one type of addresses have hints. */
export interface HintsOutcome {
  readonly addressType: string;
  /** Absent: all ready endpoints have hints. */
  readonly problem?: string;
}

/** An endpoint may get a fifth more connections than it would without hints. */
const overloadThreshold = 0.2;
const excludedRoles = ['control-plane', 'master'].map((role) => `${labels.nodeRolePrefix}${role}`);

/** True when a Service asks for hints in proportion to the CPU of zones; that goes before `trafficDistribution`. */
export function asksForTopologyHints({ metadata }: Service): boolean {
  const { [annotations.topologyMode]: mode, [annotations.topologyAwareHints]: older } = metadata.annotations ?? {};
  return ['Auto', 'auto'].includes(mode ?? older ?? '');
}

/** Fields of a Node that its zone's share depends on. */
export const topologyFactsOf = (node: Node | undefined): string => {
  if (node === undefined || !isConditionTrue(node.status?.conditions, 'Ready')) return '';
  if (excludedRoles.some((role) => node.metadata.labels?.[role] !== undefined)) return '';
  return `${node.metadata.labels?.[labels.zone] ?? ''} ${node.status?.allocatable?.cpu ?? '0'}`;
};

export function zoneSharesOf(nodes: Iterable<Node>): ZoneShares {
  const byZone = new Map<string, number>();
  let total = 0;
  for (const node of nodes) {
    const facts = topologyFactsOf(node);
    if (facts === '') continue;
    const [zone = '', cpu = '0'] = facts.split(' ');
    const milli = milliValueOf(cpu);
    if (zone === '' || milli === 0)
      return { problem: 'Insufficient Node information: allocatable CPU or zone not specified on one or more nodes' };
    byZone.set(zone, (byZone.get(zone) ?? 0) + milli);
    total += milli;
  }
  // Upstream has the same words for one zone and for none.
  if (byZone.size < 2) return { problem: 'Insufficient Node information: allocatable CPU or zone not specified on one or more nodes' };
  return new Map([...byZone].sort(([a], [b]) => (a < b ? -1 : 1)).map(([zone, milli]) => [zone, milli / total]));
}

/**
 * Puts a hint for one zone on each ready endpoint, so that each zone has endpoints in proportion to its CPU. Stored hints stay while no
 * zone has too many or too few of them. Otherwise zones with too many give some to zones with too few.
 *
 * @param groups  changed in place: endpoints with other hints take the place of those without
 * @param slices  as they are stored
 * @see Kubernetes documentation, "Topology Aware Routing"
 */
export function addTopologyHints(groups: EndpointGroups, shares: ZoneShares, slices: readonly EndpointSlice[]): readonly HintsOutcome[] {
  const types = new Set([...groups.values()].map(({ addressType }) => addressType));
  return [...types].map((addressType) => {
    const ofType = [...groups.values()].filter((group) => group.addressType === addressType);
    const chosen = chooseZones(
      ofType.flatMap(({ endpoints }) => [...endpoints.values()]),
      shares,
      storedZones(slices, addressType),
    );
    for (const { endpoints } of ofType) {
      for (const [id, endpoint] of endpoints) {
        const { hints: _, ...plain } = endpoint;
        const zone = chosen.zones?.get(endpoint);
        if (zone !== undefined) endpoints.set(id, { ...plain, hints: { forZones: [{ name: zone }] } });
        else if (endpoint.hints !== undefined) endpoints.set(id, plain);
      }
    }
    return chosen.problem === undefined ? { addressType } : { addressType, problem: chosen.problem };
  });
}

const isReady = ({ conditions }: Endpoint): boolean => conditions?.ready === true;

function storedZones(slices: readonly EndpointSlice[], addressType: string): ReadonlyMap<string, string> {
  const zones = new Map<string, string>();
  for (const slice of slices) {
    if (slice.addressType !== addressType) continue;
    for (const endpoint of slice.endpoints ?? []) {
      const [hint, ...others] = endpoint.hints?.forZones ?? [];
      if (hint !== undefined && others.length === 0) zones.set(endpointId(endpoint), hint.name);
    }
  }
  return zones;
}

interface Problem {
  readonly problem: string;
  readonly zones?: undefined;
}

interface Chosen {
  readonly problem?: undefined;
  /** The zone that each ready endpoint is for. */
  readonly zones: ReadonlyMap<Endpoint, string>;
}

function chooseZones(endpoints: readonly Endpoint[], shares: ZoneShares, stored: ReadonlyMap<string, string>): Chosen | Problem {
  const ready = endpoints.filter(isReady).sort((a, b) => (endpointId(a) < endpointId(b) ? -1 : 1));
  const allocations = allocationsOf(shares, ready.length);
  if ('problem' in allocations) return allocations;
  const own = new Map<Endpoint, string>();
  for (const endpoint of ready) {
    if ((endpoint.zone ?? '') === '') return { problem: 'One or more endpoints do not have a zone specified' };
    own.set(endpoint, endpoint.zone as string);
  }
  const kept = new Map(ready.map((endpoint) => [endpoint, stored.get(endpointId(endpoint)) ?? (endpoint.zone as string)]));
  return { zones: isBalanced(kept, allocations) ? kept : redistribute(own, allocations) };
}

interface Allocation {
  readonly minimum: number;
  readonly maximum: number;
  readonly desired: number;
}

function allocationsOf(shares: ZoneShares, count: number): ReadonlyMap<string, Allocation> | Problem {
  if ('problem' in shares) return shares;
  const numbers = `(${count} endpoints, ${shares.size} zones)`;
  if (shares.size > count) return { problem: `Insufficient number of endpoints ${numbers}` };
  const wanted = [...shares].map(([zone, share]) => {
    const minimum = Math.ceil((share * count) / (1 + overloadThreshold));
    return { zone, minimum, desired: Math.max(share * count, minimum) };
  });
  const spare = count - wanted.reduce((sum, { minimum }) => sum + minimum, 0);
  if (spare < 0) {
    const problem = 'Unable to allocate minimum required endpoints to each zone without exceeding overload threshold';
    return { problem: `${problem} ${numbers}` };
  }
  return new Map(wanted.map(({ zone, minimum, desired }) => [zone, { minimum, maximum: minimum + spare, desired }]));
}

const countZones = (zones: ReadonlyMap<Endpoint, string>): Map<string, number> => {
  const counts = new Map<string, number>();
  for (const zone of zones.values()) counts.set(zone, (counts.get(zone) ?? 0) + 1);
  return counts;
};

function isBalanced(zones: ReadonlyMap<Endpoint, string>, allocations: ReadonlyMap<string, Allocation>): boolean {
  const counts = countZones(zones);
  if ([...counts.keys()].some((zone) => !allocations.has(zone))) return false;
  return [...allocations].every(([zone, { minimum, maximum }]) => {
    const count = counts.get(zone) ?? 0;
    return count >= minimum && count <= maximum;
  });
}

/** Each zone gives what it has beyond its part to the zone that lacks the most. */
function redistribute(own: ReadonlyMap<Endpoint, string>, allocations: ReadonlyMap<string, Allocation>): ReadonlyMap<Endpoint, string> {
  const counts = countZones(own);
  const zones = new Map(own);
  const lackOf = (zone: string): number => (allocations.get(zone)?.desired ?? 0) - (counts.get(zone) ?? 0);
  const move = (endpoint: Endpoint, from: string, to: string): void => {
    zones.set(endpoint, to);
    counts.set(from, (counts.get(from) ?? 0) - 1);
    counts.set(to, (counts.get(to) ?? 0) + 1);
  };
  for (const [endpoint, from] of own) {
    const receiver = [...allocations.keys()].reduce((best, zone) => (lackOf(zone) > lackOf(best) ? zone : best));
    const [excess, lack] = [-lackOf(from), lackOf(receiver)];
    // Half an endpoint on each side, and a whole one on one of them, is worth connections to another zone.
    const isWorthIt = excess >= 0.5 && lack >= 0.5 && (excess >= 1 || lack >= 1);
    // No proxy of a zone without capacity asks for its endpoints.
    if (isWorthIt || !allocations.has(from)) move(endpoint, from, receiver);
  }
  return zones;
}

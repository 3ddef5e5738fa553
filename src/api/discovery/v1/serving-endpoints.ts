import type { EndpointHints, EndpointSlice } from './endpoint-slice.ts';

export type Protocol = 'TCP' | 'UDP' | 'SCTP';

export interface EndpointAddress {
  readonly address: string;
  readonly port: number;
}

export interface EndpointsQuestion {
  /** Name of the port in the Service; empty for one without a name. */
  readonly portName: string;
  readonly protocol: Protocol;
  /** The slices of a Service. */
  readonly slices: readonly EndpointSlice[];
  /** Absent: the endpoints of every node. */
  readonly node?: string | undefined;
  /** The place of who asks: hints may give it a part of the endpoints of every node. Absent: hints are not looked at. */
  readonly near?: { readonly nodeName: string; readonly zone: string | undefined } | undefined;
}

/** Ready endpoints (on `node`); when there is none, those that still serve while they end. In order of addresses, each once. */
export function servingEndpoints({ portName, protocol: wanted, slices, node, near }: EndpointsQuestion): readonly EndpointAddress[] {
  const ready = new Map<string, HintedAddress>();
  const ending = new Map<string, EndpointAddress>();
  for (const slice of slices) {
    if (slice.addressType !== 'IPv4') continue;
    const port = slice.ports?.find(({ name = '', protocol = 'TCP' }) => name === portName && protocol === wanted)?.port;
    if (port === undefined) continue;
    for (const { addresses, conditions, nodeName, hints } of slice.endpoints ?? []) {
      const [address] = addresses;
      if (address === undefined || (node !== undefined && nodeName !== node)) continue;
      const key = `${address}:${port}`;
      // Absent means unknown, which counts as ready.
      if (conditions?.ready !== false) ready.set(key, { address, port, hints });
      else if (conditions.serving === true && conditions.terminating === true) ending.set(key, { address, port });
    }
  }
  const chosen = ready.size > 0 ? (near === undefined ? ready : nearest(ready, near)) : ending;
  return [...chosen].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, { address, port }]) => ({ address, port }));
}

interface HintedAddress extends EndpointAddress {
  readonly hints: EndpointHints | undefined;
}

/**
 * Endpoints that hints give to the node, or else to its zone. Hints count only when every ready endpoint has some, and one is for the
 * place: else they are older than the endpoints.
 *
 * @see Kubernetes, pkg/proxy/topology.go
 */
function nearest(
  ready: ReadonlyMap<string, HintedAddress>,
  { nodeName, zone }: NonNullable<EndpointsQuestion['near']>,
): ReadonlyMap<string, HintedAddress> {
  const all = [...ready];
  for (const [kind, place] of [
    ['forNodes', nodeName],
    ['forZones', zone],
  ] as const) {
    if (place === undefined || !all.every(([, { hints }]) => (hints?.[kind] ?? []).length > 0)) continue;
    const here = all.filter(([, { hints }]) => hints?.[kind]?.some(({ name }) => name === place) === true);
    if (here.length > 0) return new Map(here);
  }
  return ready;
}

/** Number of ready endpoints of the slices on the node. */
export function readyEndpointsOn(slices: readonly EndpointSlice[], node: string): number {
  const addresses = new Set<string>();
  for (const { endpoints } of slices)
    for (const {
      addresses: [address],
      nodeName,
      conditions,
    } of endpoints ?? [])
      if (address !== undefined && nodeName === node && conditions?.ready !== false) addresses.add(address);
  return addresses.size;
}

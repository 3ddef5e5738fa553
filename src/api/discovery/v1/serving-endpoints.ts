import type { EndpointSlice } from './endpoint-slice.ts';

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
}

/** Ready endpoints (on `node`); when there is none, those that still serve while they end. In order of addresses, each once. */
export function servingEndpoints({ portName, protocol: wanted, slices, node }: EndpointsQuestion): readonly EndpointAddress[] {
  const ready = new Map<string, EndpointAddress>();
  const ending = new Map<string, EndpointAddress>();
  for (const slice of slices) {
    if (slice.addressType !== 'IPv4') continue;
    const port = slice.ports?.find(({ name = '', protocol = 'TCP' }) => name === portName && protocol === wanted)?.port;
    if (port === undefined) continue;
    for (const { addresses, conditions, nodeName } of slice.endpoints ?? []) {
      const [address] = addresses;
      if (address === undefined || (node !== undefined && nodeName !== node)) continue;
      const key = `${address}:${port}`;
      // Absent means unknown, which counts as ready.
      if (conditions?.ready !== false) ready.set(key, { address, port });
      else if (conditions.serving === true && conditions.terminating === true) ending.set(key, { address, port });
    }
  }
  const chosen = ready.size > 0 ? ready : ending;
  return [...chosen].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, endpoint]) => endpoint);
}

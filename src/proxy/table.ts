import type { Service } from '../api/core/v1/service.ts';
import type { EndpointSlice } from '../api/discovery/v1/endpoint-slice.ts';

/** The endpoints behind one address and port of a Service. */
export interface Forward {
  readonly address: string;
  readonly port: number;
  /** The Service, by key, and the port's name in it. */
  readonly service: string;
  readonly portName: string;
  readonly endpoints: readonly EndpointAddress[];
  /** Set when connections of one client go to one endpoint. */
  readonly affinityMs: number | undefined;
}

export interface EndpointAddress {
  readonly address: string;
  readonly port: number;
}

/** Something a Service asks for that this proxy does not do. */
interface Unsupported {
  readonly reason: string;
  readonly message: string;
}

export interface ServiceTable {
  readonly forwards: readonly Forward[];
  readonly unsupported: readonly Unsupported[];
}

const defaultAffinitySeconds = 10_800;

export const forwardKey = ({ address, port }: EndpointAddress): string => `${address}:${port}`;

/** An address of this host on which ports of nodes are opened. */
export interface NodeAddress {
  readonly address: string;
  /** Node that owns the address; absent for an address of all nodes. */
  readonly nodeName?: string;
}

/**
 * Addresses to listen on for a Service, and their endpoints: its own address, and its node ports on `nodeAddresses`.
 * Empty for headless Services and names of other hosts.
 */
export function serviceTable(service: Service, slices: readonly EndpointSlice[], nodeAddresses: readonly NodeAddress[] = []): ServiceTable {
  const { metadata, spec } = service;
  const clusterIP = spec.clusterIP;
  if (clusterIP === undefined || clusterIP === '' || clusterIP === 'None' || spec.type === 'ExternalName')
    return { forwards: [], unsupported: [] };
  const forwards: Forward[] = [];
  const unsupported: Unsupported[] = [];
  for (const { name: portName = '', port, protocol = 'TCP', nodePort = 0 } of spec.ports ?? []) {
    if (protocol !== 'TCP') {
      unsupported.push({
        reason: 'ProtocolNotSupported',
        message: `Port ${port} of ${clusterIP}: protocol ${protocol} is not supported by the proxy of this host`,
      });
      continue;
    }
    const shared = {
      service: `${metadata.namespace}/${metadata.name}`,
      portName,
      affinityMs:
        spec.sessionAffinity === 'ClientIP'
          ? (spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? defaultAffinitySeconds) * 1_000
          : undefined,
    };
    const endpoints = endpointsOf(portName, slices);
    forwards.push({ ...shared, address: clusterIP, port, endpoints });
    if (nodePort === 0) continue;
    for (const { address, nodeName } of nodeAddresses) {
      const local = spec.externalTrafficPolicy === 'Local' && nodeName !== undefined;
      forwards.push({ ...shared, address, port: nodePort, endpoints: local ? endpointsOf(portName, slices, nodeName) : endpoints });
    }
  }
  if (spec.internalTrafficPolicy === 'Local') {
    unsupported.push({
      reason: 'TrafficPolicyNotSupported',
      message:
        'internalTrafficPolicy Local is not supported by the proxy of this host, which serves several nodes: connections go to endpoints of all nodes',
    });
  }
  const { externalIPs = [] } = spec;
  if (externalIPs.length > 0) {
    unsupported.push({
      reason: 'ExternalIPsNotSupported',
      message: `externalIPs ${externalIPs.join(', ')} are not served by the proxy of this host`,
    });
  }
  if ((spec.healthCheckNodePort ?? 0) !== 0) {
    unsupported.push({
      reason: 'HealthCheckNotSupported',
      message: `healthCheckNodePort ${spec.healthCheckNodePort} is not answered by the proxy of this host`,
    });
  }
  return { forwards, unsupported };
}

/** Ready endpoints (on `node`); when there is none, those that still serve while they end. In order of addresses, each once. */
function endpointsOf(portName: string, slices: readonly EndpointSlice[], node?: string): readonly EndpointAddress[] {
  const ready = new Map<string, EndpointAddress>();
  const ending = new Map<string, EndpointAddress>();
  for (const slice of slices) {
    if (slice.addressType !== 'IPv4') continue;
    const port = slice.ports?.find(({ name = '', protocol = 'TCP' }) => name === portName && protocol === 'TCP')?.port;
    if (port === undefined) continue;
    for (const { addresses, conditions, nodeName } of slice.endpoints ?? []) {
      const [address] = addresses;
      if (address === undefined || (node !== undefined && nodeName !== node)) continue;
      const endpoint = { address, port };
      // Absent means unknown, which counts as ready.
      if (conditions?.ready !== false) ready.set(forwardKey(endpoint), endpoint);
      else if (conditions.serving === true && conditions.terminating === true) ending.set(forwardKey(endpoint), endpoint);
    }
  }
  const chosen = ready.size > 0 ? ready : ending;
  return [...chosen].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, endpoint]) => endpoint);
}

export interface TableChange {
  readonly add: readonly Forward[];
  readonly update: readonly Forward[];
  /** Keys as `forwardKey` writes them. */
  readonly remove: readonly string[];
}

/** Changes that lead from the present forwards to those of one Service; `current` may hold forwards of others. */
export function diffForwards(current: ReadonlyMap<string, Forward>, service: string, desired: readonly Forward[]): TableChange {
  const add: Forward[] = [];
  const update: Forward[] = [];
  const wanted = new Set<string>();
  for (const forward of desired) {
    const key = forwardKey(forward);
    wanted.add(key);
    const before = current.get(key);
    if (before === undefined) add.push(forward);
    else if (!sameForward(before, forward)) update.push(forward);
  }
  const remove = [...current].filter(([key, forward]) => forward.service === service && !wanted.has(key)).map(([key]) => key);
  return { add, update, remove };
}

function sameForward(a: Forward, b: Forward): boolean {
  return (
    a.service === b.service &&
    a.portName === b.portName &&
    a.affinityMs === b.affinityMs &&
    a.endpoints.length === b.endpoints.length &&
    a.endpoints.every((endpoint, index) => {
      const other = b.endpoints[index];
      return other !== undefined && endpoint.address === other.address && endpoint.port === other.port;
    })
  );
}

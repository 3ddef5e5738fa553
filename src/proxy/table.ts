import { isIPv4 } from 'node:net';
import type { Service } from '../api/core/v1/service.ts';
import type { EndpointSlice } from '../api/discovery/v1/endpoint-slice.ts';
import { type EndpointAddress, type Protocol, servingEndpoints } from '../api/discovery/v1/serving-endpoints.ts';

/** The endpoints behind one address and port of a Service. */
export interface Forward {
  /** `anyNodeAddress` for a port of the node. */
  readonly address: string;
  readonly port: number;
  readonly protocol: Protocol;
  /**
   * Connections that get the node's address as their source: those from outside of the pods' network, all, or none. A client's address
   * stays only where the answer surely comes back through this node.
   */
  readonly masquerade: 'outside' | 'always' | 'never';
  /** The Service, by key, and the port's name in it. */
  readonly service: string;
  readonly portName: string;
  readonly endpoints: readonly EndpointAddress[];
  /** Set when connections of one client go to one endpoint. */
  readonly affinityMs: number | undefined;
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

/** Means every address that is this machine's own, save 127/8. */
export const anyNodeAddress = '*';

/** `ADDRESS:PORT`, with `/UDP` where it is not TCP. */
export const forwardKey = ({ address, port, protocol = 'TCP' }: EndpointAddress & { readonly protocol?: Protocol }): string =>
  protocol === 'TCP' ? `${address}:${port}` : `${address}:${port}/${protocol}`;

/** Features of a way of forwarding. */
export interface ProxyAbilities {
  readonly protocols: readonly Protocol[];
  /** The one node it serves, for traffic policy `Local`; absent: it serves several, or none. */
  readonly nodeName?: string;
  /**
   * True for `externalIPs` and addresses of load balancers that are served; absent: none is. An address of the cluster must not be: a
   * Service would take the connections of others to the API, or to cluster DNS.
   */
  readonly servesAddress?: (address: string) => boolean;
}

/** An address of this host on which ports of nodes are opened. */
export interface NodeAddress {
  readonly address: string;
  /** Node that owns the address; absent for an address of all nodes. */
  readonly nodeName?: string;
}

export interface TableOptions {
  readonly nodeAddresses: readonly NodeAddress[];
  readonly abilities: ProxyAbilities;
}

const tcpOnly: ProxyAbilities = { protocols: ['TCP'] };

/**
 * Addresses of a Service and their endpoints: its own address, its node ports on `nodeAddresses`, and its external
 * addresses. Empty for headless Services and names of other hosts.
 */
export function serviceTable(
  service: Service,
  slices: readonly EndpointSlice[],
  { nodeAddresses, abilities }: TableOptions = { nodeAddresses: [], abilities: tcpOnly },
): ServiceTable {
  const { metadata, spec } = service;
  const clusterIP = spec.clusterIP;
  if (clusterIP === undefined || clusterIP === '' || clusterIP === 'None' || spec.type === 'ExternalName')
    return { forwards: [], unsupported: [] };
  const forwards: Forward[] = [];
  const unsupported: Unsupported[] = [];
  const wantedExternal = [...externalAddressesOf(service)];
  const external = wantedExternal.filter((address) => abilities.servesAddress?.(address) === true);
  const externalLocal = spec.externalTrafficPolicy === 'Local';
  for (const { name: portName = '', port, protocol: named = 'TCP', nodePort = 0 } of spec.ports ?? []) {
    const protocol = abilities.protocols.find((each) => each === named);
    if (protocol === undefined) {
      unsupported.push({
        reason: 'ProtocolNotSupported',
        message: `Port ${port} of ${clusterIP}: protocol ${named} is not supported by the proxy of this host`,
      });
      continue;
    }
    const shared = {
      service: `${metadata.namespace}/${metadata.name}`,
      portName,
      protocol,
      affinityMs:
        spec.sessionAffinity === 'ClientIP'
          ? (spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? defaultAffinitySeconds) * 1_000
          : undefined,
    };
    const endpointsOn = (node?: string): readonly EndpointAddress[] => servingEndpoints({ portName, protocol, slices, node });
    const internal = endpointsOn(spec.internalTrafficPolicy === 'Local' ? abilities.nodeName : undefined);
    forwards.push({ ...shared, address: clusterIP, port, masquerade: 'outside', endpoints: internal });
    const ways = (node: string | undefined): Pick<Forward, 'endpoints' | 'masquerade'> => ({
      endpoints: endpointsOn(externalLocal ? node : undefined),
      masquerade: externalLocal && node !== undefined ? 'never' : 'always',
    });
    if (nodePort !== 0)
      for (const { address, nodeName } of nodeAddresses) forwards.push({ ...shared, address, port: nodePort, ...ways(nodeName) });
    for (const address of external) forwards.push({ ...shared, address, port, ...ways(abilities.nodeName) });
  }
  if (spec.internalTrafficPolicy === 'Local' && abilities.nodeName === undefined) {
    unsupported.push({
      reason: 'TrafficPolicyNotSupported',
      message:
        'internalTrafficPolicy Local is not supported by the proxy of this host, which serves several nodes: connections go to endpoints of all nodes',
    });
  }
  const { externalIPs = [] } = spec;
  const refused = wantedExternal.filter((address) => !external.includes(address));
  if (refused.length > 0 && abilities.servesAddress !== undefined) {
    unsupported.push({
      reason: 'ExternalAddressRefused',
      message: `external addresses ${refused.join(', ')} are not served: they are addresses of the cluster; take others`,
    });
  }
  if (externalIPs.length > 0 && abilities.servesAddress === undefined) {
    unsupported.push({
      reason: 'ExternalIPsNotSupported',
      message: `externalIPs ${externalIPs.join(', ')} are not served by the proxy of this host`,
    });
  }
  if ((spec.loadBalancerSourceRanges ?? []).length > 0 && abilities.servesAddress !== undefined) {
    unsupported.push({
      reason: 'SourceRangesNotSupported',
      message: 'loadBalancerSourceRanges are not kept by the proxy of this host, so its addresses are not served',
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

/** External addresses of a Service, IPv4 alone; those of a load balancer that forwards to node ports (`Proxy`) are its own. */
function externalAddressesOf({ spec, status }: Service): ReadonlySet<string> {
  // Behind source ranges that nobody checks, no address is the safe answer.
  const isRestricted = (spec.loadBalancerSourceRanges ?? []).length > 0;
  const ingress = spec.type === 'LoadBalancer' && !isRestricted ? (status?.loadBalancer?.ingress ?? []) : [];
  const ofBalancer = ingress.filter(({ ipMode }) => ipMode !== 'Proxy').map(({ ip = '' }) => ip);
  return new Set([...(spec.externalIPs ?? []), ...ofBalancer].filter((address) => isIPv4(address)));
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
    a.masquerade === b.masquerade &&
    a.affinityMs === b.affinityMs &&
    a.endpoints.length === b.endpoints.length &&
    a.endpoints.every((endpoint, index) => {
      const other = b.endpoints[index];
      return other !== undefined && endpoint.address === other.address && endpoint.port === other.port;
    })
  );
}

import { isIPv4 } from 'node:net';
import type { Service } from '../api/core/v1/service.ts';
import type { EndpointSlice } from '../api/discovery/v1/endpoint-slice.ts';
import { type EndpointAddress, type Protocol, servingEndpoints } from '../api/discovery/v1/serving-endpoints.ts';
import { labels } from '../api/well-known.ts';
import { deepEqual } from '../machinery/object.ts';

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
  /** Endpoints for pods of the node and for the node itself; absent: the same as for others. */
  readonly insideEndpoints?: readonly EndpointAddress[];
  /** Without endpoints here connections are dropped, since other nodes have some; absent: they are refused. */
  readonly isElsewhere?: boolean;
  /** Ranges of clients that may connect; absent: everybody. */
  readonly sources?: readonly string[];
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

/** Port that says to load balancers outside how many endpoints a node has. */
export interface HealthCheck {
  readonly port: number;
  readonly service: string;
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
  /** Addresses of the Nodes of this host. A load balancer with one of them leads to ports of the node. */
  readonly ownAddresses?: readonly string[];
  /** Zone of the one node; absent: its Node names none. */
  readonly zone?: string | undefined;
}

const tcpOnly: ProxyAbilities = { protocols: ['TCP'] };

/**
 * Addresses of a Service and their endpoints: its own address, its node ports on `nodeAddresses`, and its external
 * addresses. Empty for headless Services, names of other hosts, and Services whose labels leave them to another proxy.
 */
export function serviceTable(
  service: Service,
  slices: readonly EndpointSlice[],
  { nodeAddresses, abilities, ownAddresses = [], zone }: TableOptions = { nodeAddresses: [], abilities: tcpOnly },
): ServiceTable {
  const { metadata, spec } = service;
  const clusterIP = spec.clusterIP;
  const isOthers = [labels.serviceProxyName, labels.headlessService].some((label) => metadata.labels?.[label] !== undefined);
  if (isOthers || clusterIP === undefined || clusterIP === '' || clusterIP === 'None' || spec.type === 'ExternalName')
    return { forwards: [], unsupported: [] };
  const forwards: Forward[] = [];
  const unsupported: Unsupported[] = [];
  const { nodeName } = abilities;
  const balancers = balancerAddressesOf(service);
  const external = new Set((spec.externalIPs ?? []).filter((address) => isIPv4(address)));
  const isServed = (address: string): boolean => abilities.servesAddress?.(address) === true;
  const sources = spec.type === 'LoadBalancer' ? sourcesOf(spec.loadBalancerSourceRanges) : undefined;
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
    const endpointsOn = (node?: string): readonly EndpointAddress[] =>
      servingEndpoints({
        portName,
        protocol,
        slices,
        node,
        near: node === undefined && nodeName !== undefined ? { nodeName, zone } : undefined,
      });
    const all = endpointsOn();
    const choose = (node: string | undefined): Pick<Forward, 'endpoints' | 'isElsewhere'> => {
      const endpoints = node === undefined ? all : endpointsOn(node);
      return { endpoints, ...(endpoints.length === 0 && all.length > 0 ? { isElsewhere: true } : {}) };
    };
    forwards.push({
      ...shared,
      address: clusterIP,
      port,
      masquerade: 'outside',
      ...choose(spec.internalTrafficPolicy === 'Local' ? nodeName : undefined),
    });
    const ways = (node: string | undefined): Pick<Forward, 'endpoints' | 'insideEndpoints' | 'isElsewhere' | 'masquerade'> =>
      externalLocal && node !== undefined
        ? { ...choose(node), masquerade: 'never', insideEndpoints: all }
        : { ...choose(undefined), masquerade: 'always' };
    if (nodePort !== 0)
      for (const { address, nodeName: node } of nodeAddresses) forwards.push({ ...shared, address, port: nodePort, ...ways(node) });
    for (const address of external) if (isServed(address)) forwards.push({ ...shared, address, port, ...ways(nodeName) });
    const restricted = sources === undefined ? shared : { ...shared, sources };
    for (const address of balancers)
      if (isServed(address) && !external.has(address)) forwards.push({ ...restricted, address, port, ...ways(nodeName) });
    // A router may have changed the address on the way to the node, so every one of the node will do.
    const atNode = balancers.filter((address) => ownAddresses.includes(address));
    for (const { address, nodeName: node } of nodeAddresses)
      if (node !== undefined && atNode.length > 0 && (address === anyNodeAddress || (atNode.includes(address) && !isServed(address))))
        forwards.push({ ...restricted, address, port, ...ways(node) });
  }
  if (spec.internalTrafficPolicy === 'Local' && nodeName === undefined) {
    unsupported.push({
      reason: 'TrafficPolicyNotSupported',
      message:
        'internalTrafficPolicy Local is not supported by the proxy of this host, which serves several nodes: connections go to endpoints of all nodes',
    });
  }
  const wanted = new Set([...external, ...balancers.filter((address) => !ownAddresses.includes(address))]);
  const refused = [...wanted].filter((address) => !isServed(address));
  if (refused.length > 0 && abilities.servesAddress !== undefined) {
    unsupported.push({
      reason: 'ExternalAddressRefused',
      message: `external addresses ${refused.join(', ')} are not served: they are addresses of the cluster; take others`,
    });
  }
  if (external.size > 0 && abilities.servesAddress === undefined) {
    unsupported.push({
      reason: 'ExternalIPsNotSupported',
      message: `externalIPs ${[...external].join(', ')} are not served by the proxy of this host`,
    });
  }
  return { forwards, unsupported };
}

/** IPv4 addresses of a load balancer; those of one that forwards to node ports (`Proxy`) are its own. */
function balancerAddressesOf({ spec, status }: Service): readonly string[] {
  const ingress = spec.type === 'LoadBalancer' ? (status?.loadBalancer?.ingress ?? []) : [];
  return [...new Set(ingress.filter(({ ipMode }) => ipMode !== 'Proxy').map(({ ip = '' }) => ip))].filter((address) => isIPv4(address));
}

/** Ranges of IPv4; undefined when clients may come from everywhere. With ranges of IPv6 alone, no client may. */
function sourcesOf(ranges: readonly string[] | undefined): readonly string[] | undefined {
  if (ranges === undefined || ranges.length === 0) return undefined;
  const ours = ranges.map((range) => range.trim()).filter((range) => isIPv4(range.split('/')[0] ?? ''));
  return ours.some((range) => range.endsWith('/0')) ? undefined : ours;
}

/** The port by which each node says how many endpoints of the Service it has; undefined: the Service has none. */
export const healthCheckOf = ({ metadata, spec }: Service): HealthCheck | undefined =>
  spec.type === 'LoadBalancer' && spec.externalTrafficPolicy === 'Local' && (spec.healthCheckNodePort ?? 0) !== 0
    ? { port: spec.healthCheckNodePort ?? 0, service: `${metadata.namespace}/${metadata.name}` }
    : undefined;

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

const sameForward = (a: Forward, b: Forward): boolean =>
  a.service === b.service &&
  a.portName === b.portName &&
  a.masquerade === b.masquerade &&
  a.affinityMs === b.affinityMs &&
  a.isElsewhere === b.isElsewhere &&
  deepEqual(a.sources, b.sources) &&
  deepEqual(a.endpoints, b.endpoints) &&
  deepEqual(a.insideEndpoints, b.insideEndpoints);

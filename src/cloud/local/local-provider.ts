import type { Node } from '../../api/core/v1/node.ts';
import { type Service, services } from '../../api/core/v1/service.ts';
import { endpointSlices } from '../../api/discovery/v1/endpoint-slice.ts';
import { readyEndpointsOn } from '../../api/discovery/v1/serving-endpoints.ts';
import { slicesByService } from '../../api/discovery/v1/slices-by-service.ts';
import type { InformerSet } from '../../client/informer.ts';
import type { AddressPool } from '../../machinery/address-pool.ts';
import { tryAddress } from '../../machinery/addresses.ts';
import { keyOf } from '../../machinery/object.ts';
import { type CloudProvider, type LoadBalancerAddress, LoadBalancerRefused, type LoadBalancers } from '../cloud-provider.ts';
import { createClaims } from './claims.ts';

export interface LocalProviderOptions {
  readonly informers: InformerSet;
  /** Addresses for Services. Absent: Services are reached at the addresses of the nodes. */
  readonly pool: AddressPool | undefined;
  /** Ports of nodes that other parts have, with the name of the part: `6443` and `the API`. */
  readonly reservedPorts: ReadonlyMap<number, string>;
}

/** Ports that Services get on nodes by themselves. */
const nodePorts = { first: 30_000, last: 32_767 } as const;

/**
 * The cloud of machines without one: it has load balancers alone. With a pool, each Service gets an address, which one of the nodes
 * announces. Without one, a Service is reached at the addresses of the nodes, as ServiceLB of k3s has it, and has its ports to itself.
 *
 * The addresses are stored in the status of the Services alone. So a restart finds them there.
 */
export function createLocalProvider({ informers, pool, reservedPorts }: LocalProviderOptions): CloudProvider {
  return { name: 'local', loadBalancers: pool === undefined ? onNodes(informers, reservedPorts) : outOfPool(informers, pool) };
}

const addressesIn = ({ status }: Service): readonly string[] => (status?.loadBalancer?.ingress ?? []).flatMap(({ ip }) => ip ?? []);

function outOfPool(informers: InformerSet, pool: AddressPool): LoadBalancers {
  const claims = createClaims();
  const informer = informers.get(services);
  informer.addHandler(({ before, after }) => {
    // An address that a Service has at the start stays its own; later Services get theirs here.
    if (before !== undefined || after?.spec.type !== 'LoadBalancer' || claims.of(keyOf(after)).length > 0) return;
    claims.set(
      keyOf(after),
      addressesIn(after).filter((address) => pool.has(address)),
    );
  });

  function choose(service: Service): string {
    const key = keyOf(service);
    const wanted = service.spec.loadBalancerIP ?? '';
    if (wanted !== '') {
      if (!pool.has(wanted)) throw new LoadBalancerRefused(`${wanted} is not in the pool ${pool.text}`);
      const holder = claims.otherHolderOf(wanted, key);
      if (holder !== undefined) throw new LoadBalancerRefused(`${wanted} is the address of Service ${holder}`);
      return wanted;
    }
    const [present] = claims.of(key);
    if (present !== undefined) return present;
    for (const address of pool.addresses()) if (claims.isFree(address)) return address;
    throw new LoadBalancerRefused(`the pool ${pool.text} has no free address`);
  }

  return {
    async ensure(service) {
      const ip = choose(service);
      claims.set(keyOf(service), [ip]);
      return [{ ip, ipMode: 'VIP' }];
    },
    remove: async (service) => claims.set(keyOf(service), []),
    forget: (key) => claims.set(key, []),
  };
}

const portsOf = ({ spec }: Service): readonly string[] => (spec.ports ?? []).map(({ port, protocol = 'TCP' }) => `${protocol}/${port}`);

function onNodes(informers: InformerSet, reservedPorts: ReadonlyMap<number, string>): LoadBalancers {
  const claims = createClaims();
  const sliceInformer = informers.get(endpointSlices);
  sliceInformer.addIndex(slicesByService.name, slicesByService.keysOf);
  informers.get(services).addHandler(({ before, after }) => {
    if (before !== undefined || after?.spec.type !== 'LoadBalancer' || claims.of(keyOf(after)).length > 0) return;
    if (addressesIn(after).length > 0) claims.set(keyOf(after), portsOf(after));
  });

  return {
    followsEndpoints: true,
    async ensure(service, nodes) {
      const key = keyOf(service);
      const ports = portsOf(service);
      for (const { port } of service.spec.ports ?? []) {
        const part = reservedPorts.get(port) ?? (port >= nodePorts.first && port <= nodePorts.last ? 'the range of node ports' : undefined);
        if (part !== undefined) throw new LoadBalancerRefused(`port ${port} of the nodes belongs to ${part}`);
      }
      for (const port of ports) {
        const holder = claims.otherHolderOf(port, key);
        if (holder !== undefined) throw new LoadBalancerRefused(`port ${port} of the nodes belongs to Service ${holder}`);
      }
      claims.set(key, ports);
      const slices = sliceInformer.byIndex(slicesByService.name, key);
      const isLocal = service.spec.externalTrafficPolicy === 'Local';
      const serving = isLocal ? nodes.filter(({ metadata }) => readyEndpointsOn(slices, metadata.name) > 0) : nodes;
      return addressesOf(serving).map((ip): LoadBalancerAddress => ({ ip, ipMode: 'VIP' }));
    },
    remove: async (service) => claims.set(keyOf(service), []),
    forget: (key) => claims.set(key, []),
  };
}

/** The external addresses where a node has one, else the internal ones, in order of numbers. */
function addressesOf(nodes: readonly Node[]): readonly string[] {
  const ofType = (wanted: string): readonly string[] =>
    nodes.flatMap(({ status }) => (status?.addresses ?? []).flatMap(({ type, address }) => (type === wanted ? [address] : [])));
  const external = ofType('ExternalIP');
  return [...new Set(external.length > 0 ? external : ofType('InternalIP'))].sort((a, b) => (tryAddress(a) ?? 0) - (tryAddress(b) ?? 0));
}

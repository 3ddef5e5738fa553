import type { EndpointSubset } from '../../api/core/v1/endpoints.ts';
import type { Service } from '../../api/core/v1/service.ts';
import type { Endpoint, EndpointPort, EndpointSlice } from '../../api/discovery/v1/endpoint-slice.ts';
import { compareNaturally } from '../../base/natural-order.ts';
import { controllerOf } from '../../machinery/object.ts';
import { groupId } from '../endpoint-slice/slice-set.ts';

type Address = NonNullable<EndpointSubset['addresses']>[number];

/** Addresses in one Endpoints object; upstream's number. */
const maxAddresses = 1_000;

export interface Subsets {
  readonly subsets: readonly EndpointSubset[];
  /** There were more addresses than one object may have. */
  readonly isTruncated: boolean;
}

/**
 * Turns the slices of a Service into Endpoints: the addresses of its first family, grouped by their ports. Pods that end are left out, and
 * those that are not ready are listed apart, unless the Service publishes them all.
 *
 * @param slices  those that the slice controller made for the Service
 */
export function subsetsOf(service: Service, slices: Iterable<EndpointSlice>): Subsets {
  const [family = 'IPv4'] = service.spec.ipFamilies ?? [];
  const publishesAll = service.spec.publishNotReadyAddresses === true;
  const groups = new Map<string, Group>();
  for (const { metadata, addressType, ports = [], endpoints, ...slice } of slices) {
    if (metadata.deletionTimestamp !== undefined || controllerOf({ ...slice, metadata })?.uid !== service.metadata.uid) continue;
    if (addressType !== family || endpoints.length === 0 || !belongs(service, ports)) continue;
    const id = groupId(addressType, ports);
    const group = groups.get(id) ?? { ports: ports.map(portOf), ready: new Map(), notReady: new Map() };
    groups.set(id, group);
    for (const endpoint of endpoints) {
      if (endpoint.conditions?.terminating === true && !publishesAll) continue;
      const isReady = publishesAll || endpoint.conditions?.ready === true;
      const address = addressOf(endpoint);
      (isReady ? group.ready : group.notReady).set(`${address.ip}/${endpoint.targetRef?.uid ?? ''}`, address);
    }
  }
  return truncated([...groups].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, group]) => group));
}

interface Group {
  readonly ports: NonNullable<EndpointSubset['ports']>;
  /** By address and pod: while slices are rewritten a pod may be in two. */
  readonly ready: Map<string, Address>;
  readonly notReady: Map<string, Address>;
}

/** A pod that has none of the ports is no endpoint; only a headless Service may have none itself. */
const belongs = ({ spec }: Service, ports: readonly EndpointPort[]): boolean =>
  ports.length > 0 || (spec.clusterIP === 'None' && (spec.ports ?? []).length === 0);

function portOf({ name = '', port = 0, protocol = 'TCP', appProtocol }: EndpointPort): Group['ports'][number] {
  return { ...(name === '' ? {} : { name }), port, protocol, ...(appProtocol === undefined ? {} : { appProtocol }) };
}

function addressOf({ addresses, hostname, nodeName, targetRef }: Endpoint): Address {
  return {
    ip: addresses[0] ?? '',
    ...(hostname === undefined ? {} : { hostname }),
    ...(nodeName === undefined ? {} : { nodeName }),
    ...(targetRef === undefined ? {} : { targetRef }),
  };
}

/** Ready addresses come first; each subset gets its share, rounded up, of what there is room for. */
function truncated(groups: readonly Group[]): Subsets {
  const ready = groups.reduce((sum, group) => sum + group.ready.size, 0);
  const notReady = groups.reduce((sum, group) => sum + group.notReady.size, 0);
  const shareOfReady = shares(Math.min(ready, maxAddresses), ready);
  const shareOfOthers = shares(Math.min(notReady, Math.max(0, maxAddresses - ready)), notReady);
  const subsets = groups.flatMap(({ ports, ...group }) => {
    const addresses = sorted(group.ready).slice(0, shareOfReady(group.ready.size));
    const notReadyAddresses = sorted(group.notReady).slice(0, shareOfOthers(group.notReady.size));
    if (addresses.length + notReadyAddresses.length === 0) return [];
    return [
      {
        ...(addresses.length === 0 ? {} : { addresses }),
        ...(notReadyAddresses.length === 0 ? {} : { notReadyAddresses }),
        ...(ports.length === 0 ? {} : { ports }),
      },
    ];
  });
  return { subsets, isTruncated: ready + notReady > maxAddresses };
}

function shares(room: number, total: number): (size: number) => number {
  let left = room;
  return (size) => {
    const share = total === 0 ? 0 : Math.min(left, Math.ceil((size / total) * room));
    left -= share;
    return share;
  };
}

const sorted = (addresses: ReadonlyMap<string, Address>): Address[] =>
  [...addresses].sort(([a], [b]) => compareNaturally(a, b)).map(([, address]) => address);

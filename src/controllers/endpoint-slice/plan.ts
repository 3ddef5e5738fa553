import type { Pod } from '../../api/core/v1/pod.ts';
import { type Service, type ServicePort, services } from '../../api/core/v1/service.ts';
import type { Endpoint, EndpointPort, EndpointSlice } from '../../api/discovery/v1/endpoint-slice.ts';
import { labels } from '../../api/well-known.ts';
import { isPodFinished, isPodReady, isPodTerminating } from '../pod-conditions.ts';
import { type EndpointGroups, endpointId, groupId, planSliceSet, type SlicePlan, sliceIndex } from './slice-set.ts';
import { addTopologyHints, type HintsOutcome, type ZoneShares } from './topology-hints.ts';

/** Value of the label that says whose slices these are. */
const managedBy = 'endpointslice-controller.k8s.io';
export const slicesOfPods = sliceIndex(managedBy);

/** More endpoints begin another slice, so that one pod's change does not send all of a large Service to every node. */
const maxEndpoints = 100;

export interface PlanOptions {
  readonly service: Service;
  /** Pods that the Service selects. */
  readonly pods: Iterable<Pod>;
  /** Slices of the Service that are ours. */
  readonly slices: readonly EndpointSlice[];
  readonly zoneOf: (nodeName: string) => string | undefined;
  /** Undefined for a Service that does not ask for hints by the CPU of zones. */
  readonly shares?: ZoneShares | undefined;
  /** RFC 3339. */
  readonly now: string;
}

/** Plans the writes that make the slices of a Service hold its pods. */
export function planSlices({ service, pods, slices, zoneOf, shares, now }: PlanOptions): {
  readonly plan: SlicePlan;
  /** Says whether there are hints by the CPU of zones; empty for a Service that does not ask for them. */
  readonly hints: readonly HintsOutcome[];
} {
  const groups = groupsOf(service, pods, zoneOf);
  const hints = shares === undefined ? [] : addTopologyHints(groups, shares, slices);
  const plan = planSliceSet({ owner: service, ownerResource: services, labels: labelsOf(service), groups, slices, maxEndpoints, now });
  return { plan, hints };
}

/** The endpoints of one pod for the slices of a Service. */
interface Contribution {
  readonly service: Service;
  readonly zone: string | undefined;
  readonly places: readonly {
    readonly group: string;
    readonly addressType: string;
    readonly ports: EndpointPort[];
    readonly id: string;
    readonly endpoint: Endpoint;
  }[];
}

/**
 * Cached by pod. Most pods of a Service have not changed since the last pass and get the very same endpoint object. So the comparison with
 * the stored slice is one of references. For a pod in two Services the entry is recomputed for each.
 */
const contributions = new WeakMap<Pod, Contribution>();

/** Endpoints by the ports they have: named ports may be other numbers on other pods, and a slice has one list of ports. */
function groupsOf(service: Service, pods: Iterable<Pod>, zoneOf: PlanOptions['zoneOf']): EndpointGroups {
  const groups: EndpointGroups = new Map();
  const families = familiesOf(service);
  const withEndpoints = new Set<string>();
  for (const pod of pods) {
    if (isPodFinished(pod)) continue;
    const zone = pod.spec.nodeName === undefined ? undefined : zoneOf(pod.spec.nodeName);
    let contribution = contributions.get(pod);
    if (contribution === undefined || contribution.service !== service || contribution.zone !== zone) {
      contribution = contributionOf(service, pod, zone);
      contributions.set(pod, contribution);
    }
    for (const { group: groupName, addressType, ports, id, endpoint } of contribution.places) {
      let group = groups.get(groupName);
      if (group === undefined) {
        group = { addressType, ports, endpoints: new Map() };
        groups.set(groupName, group);
      }
      withEndpoints.add(addressType);
      group.endpoints.set(id, endpoint);
    }
  }
  for (const addressType of families) {
    if (!withEndpoints.has(addressType)) groups.set(groupId(addressType, []), { addressType, ports: [], endpoints: new Map() });
  }
  return groups;
}

const familiesOf = (service: Service): readonly string[] => service.spec.ipFamilies ?? ['IPv4'];

function contributionOf(service: Service, pod: Pod, zone: string | undefined): Contribution {
  const families = familiesOf(service);
  const ports = portsOf(service, pod);
  const places = new Map<string, Contribution['places'][number]>();
  for (const { ip } of addressesOf(pod)) {
    const addressType = ip.includes(':') ? 'IPv6' : 'IPv4';
    if (!families.includes(addressType) || places.has(addressType)) continue;
    const endpoint = endpointOf({ service, pod, ip, zone });
    places.set(addressType, { group: groupId(addressType, ports), addressType, ports, id: endpointId(endpoint), endpoint });
  }
  return { service, zone, places: [...places.values()] };
}

function addressesOf(pod: Pod): readonly { readonly ip: string }[] {
  const { podIPs, podIP } = pod.status ?? {};
  const listed = (podIPs ?? []).flatMap(({ ip }) => (ip === undefined || ip === '' ? [] : [{ ip }]));
  if (listed.length > 0) return listed;
  return podIP === undefined || podIP === '' ? [] : [{ ip: podIP }];
}

interface EndpointSource {
  readonly service: Service;
  readonly pod: Pod;
  readonly ip: string;
  /** Zone of the node that the pod is on. */
  readonly zone: string | undefined;
}

function endpointOf({ service, pod, ip, zone }: EndpointSource): Endpoint {
  const serving = isPodReady(pod);
  const terminating = isPodTerminating(pod);
  const { nodeName, hostname, subdomain } = pod.spec;
  const { name, namespace, uid } = pod.metadata;
  return {
    addresses: [ip],
    conditions: { ready: service.spec.publishNotReadyAddresses === true || (serving && !terminating), serving, terminating },
    ...(hostname !== undefined && hostname !== '' && subdomain === service.metadata.name && namespace === service.metadata.namespace
      ? { hostname }
      : {}),
    ...(nodeName === undefined ? {} : { nodeName }),
    targetRef: { kind: 'Pod', ...(namespace === undefined ? {} : { namespace }), name, ...(uid === undefined ? {} : { uid }) },
    ...(zone === undefined ? {} : { zone }),
    ...hintsOf(service, { zone, nodeName, isReady: serving && !terminating }),
  };
}

interface Place {
  readonly zone: string | undefined;
  readonly nodeName: string | undefined;
  readonly isReady: boolean;
}

/**
 * The places that are to use an endpoint: its own zone, and its own node first where the Service prefers that.
 *
 * @see Kubernetes, `trafficDistribution` of a Service; endpointslice/trafficdist
 */
function hintsOf({ spec: { trafficDistribution = '' } }: Service, { zone, nodeName, isReady }: Place): Pick<Endpoint, 'hints'> {
  const prefersNode = trafficDistribution === 'PreferSameNode';
  const prefersZone = prefersNode || trafficDistribution === 'PreferSameZone' || trafficDistribution === 'PreferClose';
  if (!isReady || !prefersZone) return {};
  const hints = {
    ...(zone === undefined ? {} : { forZones: [{ name: zone }] }),
    ...(prefersNode && nodeName !== undefined ? { forNodes: [{ name: nodeName }] } : {}),
  };
  return Object.keys(hints).length === 0 ? {} : { hints };
}

function portsOf(service: Service, pod: Pod): EndpointPort[] {
  const ports: EndpointPort[] = [];
  for (const servicePort of service.spec.ports ?? []) {
    const port = targetOf(servicePort, pod);
    if (port === undefined) continue;
    ports.push({
      name: servicePort.name ?? '',
      port,
      protocol: servicePort.protocol ?? 'TCP',
      ...(servicePort.appProtocol === undefined ? {} : { appProtocol: servicePort.appProtocol }),
    });
  }
  return ports;
}

/** The number of a target port on this pod; undefined when it names a port that the pod does not have. */
function targetOf({ targetPort, port, protocol = 'TCP' }: ServicePort, pod: Pod): number | undefined {
  if (targetPort === undefined || targetPort === 0 || targetPort === '') return port;
  if (typeof targetPort === 'number') return targetPort;
  const sidecars = (pod.spec.initContainers ?? []).filter(
    (container) => (container as { readonly restartPolicy?: string }).restartPolicy === 'Always',
  );
  for (const container of [...pod.spec.containers, ...sidecars]) {
    for (const { name, containerPort, protocol: containerProtocol = 'TCP' } of container.ports ?? []) {
      if (name === targetPort && containerProtocol === protocol) return containerPort;
    }
  }
  return undefined;
}

/** The Service's own labels travel along, but may not pretend to be ours. */
function labelsOf(service: Service): Readonly<Record<string, string>> {
  const { [labels.headlessService]: _headless, ...own } = service.metadata.labels ?? {};
  return {
    ...own,
    ...(service.spec.clusterIP === 'None' ? { [labels.headlessService]: '' } : {}),
    [labels.serviceName]: service.metadata.name,
    [labels.endpointSliceManagedBy]: managedBy,
  };
}

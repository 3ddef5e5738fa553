import type { Pod } from '../../api/core/v1/pod.ts';
import { type Service, type ServicePort, services } from '../../api/core/v1/service.ts';
import type { Endpoint, EndpointPort, EndpointSlice } from '../../api/discovery/v1/endpoint-slice.ts';
import { annotations, labels } from '../../api/well-known.ts';
import type { New } from '../../client/client.ts';
import { controllerOf, deepEqual } from '../../machinery/object.ts';
import { controllerReference } from '../ownership.ts';
import { isPodFinished, isPodReady, isPodTerminating } from '../pod-conditions.ts';

/** Value of the label that says whose slices these are. */
export const managedBy = 'endpointslice-controller.k8s.io';

/** More endpoints begin another slice, so that one pod's change does not send all of a large Service to every node. */
const maxEndpoints = 100;

export interface SlicePlan {
  readonly create: readonly New<EndpointSlice>[];
  readonly update: readonly EndpointSlice[];
  readonly remove: readonly EndpointSlice[];
}

export interface PlanOptions {
  readonly service: Service;
  /** Pods that the Service selects. */
  readonly pods: Iterable<Pod>;
  /** Slices of the Service that are ours. */
  readonly slices: readonly EndpointSlice[];
  readonly zoneOf: (nodeName: string) => string | undefined;
  /** RFC 3339. */
  readonly now: string;
}

/**
 * What to write so that the slices of a Service hold its pods. Slices that are right are left alone, endpoints stay where they are, and
 * new ones fill gaps first.
 */
export function planSlices({ service, pods, slices, zoneOf, now }: PlanOptions): SlicePlan {
  const create: New<EndpointSlice>[] = [];
  const update: EndpointSlice[] = [];
  const remove: EndpointSlice[] = [];
  const wantedLabels = labelsOf(service);

  const mine: EndpointSlice[] = [];
  for (const slice of slices) {
    if (slice.metadata.deletionTimestamp !== undefined) continue;
    // Of an earlier Service of that name.
    if (controllerOf(slice)?.uid !== service.metadata.uid) remove.push(slice);
    else mine.push(slice);
  }

  const groups = groupsOf(service, pods, zoneOf);
  const existing = new Map<string, EndpointSlice[]>();
  for (const slice of mine) {
    const id = groupId(slice.addressType, slice.ports ?? []);
    if (!groups.has(id)) {
      remove.push(slice);
      continue;
    }
    const ofGroup = existing.get(id);
    if (ofGroup === undefined) existing.set(id, [slice]);
    else ofGroup.push(slice);
  }

  for (const [id, { addressType, ports, endpoints }] of groups) {
    const missing = new Map(endpoints);
    const changed: { readonly slice: EndpointSlice; readonly kept: Endpoint[]; isDirty: boolean }[] = [];
    for (const slice of existing.get(id) ?? []) {
      const kept: Endpoint[] = [];
      let isDirty = !deepEqual(slice.metadata.labels ?? {}, wantedLabels);
      for (const endpoint of slice.endpoints ?? []) {
        const wanted = missing.get(endpointId(endpoint));
        if (wanted === undefined) {
          isDirty = true;
          continue;
        }
        missing.delete(endpointId(endpoint));
        if (deepEqual(endpoint, wanted)) kept.push(endpoint);
        else {
          kept.push(wanted);
          isDirty = true;
        }
      }
      changed.push({ slice, kept, isDirty });
    }
    // Slices that are written anyway take the new ones first.
    const rest = [...missing.values()];
    for (const target of [...changed].sort((a, b) => Number(b.isDirty) - Number(a.isDirty))) {
      const room = Math.min(maxEndpoints - target.kept.length, rest.length);
      if (room <= 0) continue;
      target.kept.push(...rest.splice(0, room));
      target.isDirty = true;
    }
    let left = changed.length;
    for (const { slice, kept, isDirty } of changed) {
      if (!isDirty) continue;
      if (kept.length === 0 && left > 1) {
        remove.push(slice);
        left -= 1;
        continue;
      }
      update.push({ ...slice, metadata: { ...metadataOf(slice.metadata, now), labels: wantedLabels }, endpoints: kept });
    }
    // A Service without endpoints has one empty slice: watchers learn that it is known.
    while (rest.length > 0 || left === 0) {
      left += 1;
      create.push({
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: {
          generateName: `${service.metadata.name}-`,
          ...(service.metadata.namespace === undefined ? {} : { namespace: service.metadata.namespace }),
          labels: wantedLabels,
          annotations: { [annotations.endpointsLastChangeTriggerTime]: now },
          ownerReferences: [controllerReference(services, service)],
        },
        addressType,
        endpoints: rest.splice(0, maxEndpoints),
        ports,
      });
    }
  }
  return reuse({ create, update, remove }, service);
}

/** A slice that would go takes the place of one that would come: watchers never see the Service without any. */
function reuse({ create, update, remove }: SlicePlan, service: Service): SlicePlan {
  if (create.length === 0 || remove.length === 0) return { create, update, remove };
  const free = remove.filter((slice) => controllerOf(slice)?.uid === service.metadata.uid);
  const reused = new Set<EndpointSlice>();
  const changed: EndpointSlice[] = [];
  const left: New<EndpointSlice>[] = [];
  for (const slice of create) {
    const place = free.find((candidate) => candidate.addressType === slice.addressType && !reused.has(candidate));
    if (place === undefined) left.push(slice);
    else {
      reused.add(place);
      const { labels: wantedLabels, annotations: added } = slice.metadata;
      const metadata = {
        ...place.metadata,
        annotations: { ...place.metadata.annotations, ...added },
        ...(wantedLabels === undefined ? {} : { labels: wantedLabels }),
      };
      changed.push({ ...place, metadata, endpoints: slice.endpoints, ...(slice.ports === undefined ? {} : { ports: slice.ports }) });
    }
  }
  return { create: left, update: [...update, ...changed], remove: remove.filter((slice) => !reused.has(slice)) };
}

interface Group {
  readonly addressType: string;
  readonly ports: EndpointPort[];
  readonly endpoints: Map<string, Endpoint>;
}

/** What one pod brings to the slices of a Service. */
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
 * Remembered by pod: most pods of a Service are what they were at the last look, and get the very same endpoint, which makes the
 * comparison with the stored slice one of references. A pod that two Services select is computed for each in turn.
 */
const contributions = new WeakMap<Pod, Contribution>();

/** Endpoints by the ports they have: named ports may be other numbers on other pods, and a slice has one list of ports. */
function groupsOf(service: Service, pods: Iterable<Pod>, zoneOf: PlanOptions['zoneOf']): Map<string, Group> {
  const groups = new Map<string, Group>();
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
    const endpoint = endpointOf(service, pod, ip, zone);
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

function endpointOf(service: Service, pod: Pod, ip: string, zone: string | undefined): Endpoint {
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
  };
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

function metadataOf(metadata: EndpointSlice['metadata'], now: string): EndpointSlice['metadata'] {
  return { ...metadata, annotations: { ...metadata.annotations, [annotations.endpointsLastChangeTriggerTime]: now } };
}

/** One pod has one endpoint of each address type; one that was made anew under its name is another. */
const endpointId = ({ targetRef, addresses }: Endpoint): string => `${targetRef?.uid ?? ''}/${addresses[0] ?? ''}`;

function groupId(addressType: string, ports: readonly EndpointPort[]): string {
  const ids = ports.map(({ name = '', port = 0, protocol = 'TCP', appProtocol = '' }) => `${name}:${port}:${protocol}:${appProtocol}`);
  return `${addressType}|${ids.sort().join(',')}`;
}

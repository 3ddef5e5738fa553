import type { Endpoint, EndpointPort, EndpointSlice } from '../../api/discovery/v1/endpoint-slice.ts';
import { annotations, labels as wellKnown } from '../../api/well-known.ts';
import type { New } from '../../client/client.ts';
import { controllerOf, deepEqual, type KubeObject } from '../../machinery/object.ts';
import type { Resource } from '../../machinery/resource.ts';
import { controllerReference } from '../ownership.ts';

/** Endpoints that have the same ports, by what tells them apart: a slice has one list of ports and one type of address. */
export interface EndpointGroup {
  readonly addressType: string;
  readonly ports: EndpointPort[];
  /** By `endpointId`. */
  readonly endpoints: Map<string, Endpoint>;
}

/** By `groupId`. */
export type EndpointGroups = Map<string, EndpointGroup>;

/** Slices of one manager, by the Service that they belong to. */
export interface SliceIndex {
  readonly name: string;
  /** Gives the key of the Service that a slice belongs to; empty for a slice of another manager. */
  serviceKeysOf(slice: EndpointSlice): readonly string[];
}

/** @param managedBy  value of the label `endpointslice.kubernetes.io/managed-by` */
export function sliceIndex(managedBy: string): SliceIndex {
  return {
    name: `service-of-${managedBy}`,
    serviceKeysOf(slice) {
      const { [wellKnown.serviceName]: service, [wellKnown.endpointSliceManagedBy]: manager } = slice.metadata.labels ?? {};
      return service === undefined || manager !== managedBy ? [] : [`${slice.metadata.namespace ?? ''}/${service}`];
    },
  };
}

export interface SlicePlan {
  readonly create: readonly New<EndpointSlice>[];
  readonly update: readonly EndpointSlice[];
  readonly remove: readonly EndpointSlice[];
}

export interface SliceSetOptions {
  /** Owner of the slices: a Service, or Endpoints that somebody keeps by hand. */
  readonly owner: KubeObject;
  readonly ownerResource: Resource;
  readonly labels: Readonly<Record<string, string>>;
  /** Beside the time of the last change. Absent: those that a slice has stay. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** Endpoints for the slices to hold. */
  readonly groups: EndpointGroups;
  /** Slices of the owner's name that are ours. */
  readonly slices: readonly EndpointSlice[];
  /** More endpoints begin another slice. */
  readonly maxEndpoints: number;
  /** RFC 3339. */
  readonly now: string;
}

/**
 * Plans the writes that make the slices hold these endpoints. Slices that are right are left alone, endpoints stay where they are, and new
 * ones fill gaps first.
 */
export function planSliceSet(options: SliceSetOptions): SlicePlan {
  const { owner, ownerResource, labels, groups, slices, maxEndpoints, now } = options;
  const create: New<EndpointSlice>[] = [];
  const update: EndpointSlice[] = [];
  const remove: EndpointSlice[] = [];
  const noted = (present: Annotations): Readonly<Record<string, string>> => ({
    ...(options.annotations ?? present),
    [annotations.endpointsLastChangeTriggerTime]: now,
  });

  const mine: EndpointSlice[] = [];
  for (const slice of slices) {
    if (slice.metadata.deletionTimestamp !== undefined) continue;
    // The slice belongs to an earlier owner of that name.
    if (controllerOf(slice)?.uid !== owner.metadata.uid) remove.push(slice);
    else mine.push(slice);
  }

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
      let isDirty = !deepEqual(slice.metadata.labels ?? {}, labels) || !hasAnnotations(slice, options.annotations);
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
      update.push({ ...slice, metadata: { ...slice.metadata, labels, annotations: noted(slice.metadata.annotations) }, endpoints: kept });
    }
    // Without endpoints there is one empty slice: watchers learn that the Service is known.
    while (rest.length > 0 || left === 0) {
      left += 1;
      create.push({
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: {
          generateName: `${owner.metadata.name}-`,
          ...(owner.metadata.namespace === undefined ? {} : { namespace: owner.metadata.namespace }),
          labels,
          annotations: noted({}),
          ownerReferences: [controllerReference(ownerResource, owner)],
        },
        addressType,
        endpoints: rest.splice(0, maxEndpoints),
        ports,
      });
    }
  }
  return reuse({ create, update, remove }, owner);
}

/** A slice that would go takes the place of one that would come: watchers never see the Service without any. */
function reuse({ create, update, remove }: SlicePlan, owner: KubeObject): SlicePlan {
  if (create.length === 0 || remove.length === 0) return { create, update, remove };
  const free = remove.filter((slice) => controllerOf(slice)?.uid === owner.metadata.uid);
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

type Annotations = Readonly<Record<string, string>> | undefined;

function hasAnnotations(slice: EndpointSlice, wanted: Annotations): boolean {
  if (wanted === undefined) return true;
  const { [annotations.endpointsLastChangeTriggerTime]: _time, ...own } = slice.metadata.annotations ?? {};
  return deepEqual(own, wanted);
}

/** A pod has an endpoint of each address type. A new pod of the same name has another UID, and so another endpoint. */
export const endpointId = ({ targetRef, addresses }: Endpoint): string => `${targetRef?.uid ?? ''}/${addresses[0] ?? ''}`;

export function groupId(addressType: string, ports: readonly EndpointPort[]): string {
  const ids = ports.map(({ name = '', port = 0, protocol = 'TCP', appProtocol = '' }) => `${name}:${port}:${protocol}:${appProtocol}`);
  return `${addressType}|${ids.sort().join(',')}`;
}

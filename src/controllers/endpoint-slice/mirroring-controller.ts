import { isIPv6 } from 'node:net';
import { type Endpoints, endpoints } from '../../api/core/v1/endpoints.ts';
import { services } from '../../api/core/v1/service.ts';
import { type EndpointPort, endpointSlices } from '../../api/discovery/v1/endpoint-slice.ts';
import { annotations, labels } from '../../api/well-known.ts';
import { timestampOf } from '../../base/clock.ts';
import { keyOf } from '../../machinery/object.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { type EndpointGroups, endpointId, groupId, planSliceSet, type SlicePlan, sliceIndex } from './slice-set.ts';
import { createSliceWriter, staleRetryMs } from './slice-writer.ts';

/** Value of the label that says whose slices these are. */
const managedBy = 'endpointslicemirroring-controller.k8s.io';
const mirrored = sliceIndex(managedBy);
/** Addresses of one subset that are mirrored, and endpoints in one slice; upstream's number. */
const maxEndpoints = 1_000;

/**
 * Mirrors Endpoints that somebody keeps by hand into EndpointSlices, where proxies look: those of Services without a selector.
 *
 * @see Kubernetes concepts, "EndpointSlices", "EndpointSlice mirroring"
 */
export function createEndpointSliceMirroringController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock, recorder } = dependencies;
  const serviceInformer = informers.get(services);
  const endpointsInformer = informers.get(endpoints);

  const controller = createInformedController(dependencies, {
    name: 'endpointslicemirroring',
    workers: 4,
    reconcile,
  });
  const writer = createSliceWriter({
    client,
    clock,
    slices: informers.get(endpointSlices),
    index: mirrored,
    recorder,
    ownerKind: endpoints.kind,
    onChange: (key) => controller.enqueue(key),
  });
  serviceInformer.addHandler(({ before, after }) => {
    const service = after ?? before;
    if (service !== undefined && !(hasSelector(before) && hasSelector(after))) controller.enqueue(keyOf(service));
  });
  endpointsInformer.addHandler(({ before, after }) => {
    const object = after ?? before;
    if (object !== undefined && (isMirrored(before) || isMirrored(after))) controller.enqueue(keyOf(object));
  });
  return controller;

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    const source = endpointsInformer.getByKey(key);
    const service = serviceInformer.getByKey(key);
    const slices = writer.slicesOf(key);
    if (slices === undefined) return { requeueAfterMs: staleRetryMs };
    const isWanted = isMirrored(source) && service !== undefined && !hasSelector(service);
    if (!isWanted && slices.length === 0) {
      writer.forget(key);
      return undefined;
    }
    const plan: SlicePlan = isWanted
      ? planSliceSet({
          owner: source,
          ownerResource: endpoints,
          labels: { ...source.metadata.labels, [labels.serviceName]: source.metadata.name, [labels.endpointSliceManagedBy]: managedBy },
          annotations: annotationsOf(source),
          groups: groupsOf(source),
          slices,
          maxEndpoints,
          now: timestampOf(clock.now()),
        })
      : { create: [], update: [], remove: slices };
    await writer.carryOut(key, plan, { owner: source, signal });
    return undefined;
  }
}

const hasSelector = (service: { readonly spec: { readonly selector?: object } } | undefined): boolean =>
  service?.spec.selector !== undefined;

/** Old leader elections keep their record in Endpoints, which are about no traffic. */
function isMirrored(source: Endpoints | undefined): source is Endpoints {
  if (source === undefined || source.metadata.deletionTimestamp !== undefined) return false;
  const { labels: own, annotations: noted } = source.metadata;
  return own?.[labels.endpointSliceSkipMirror] !== 'true' && noted?.[annotations.leader] === undefined;
}

function annotationsOf({ metadata }: Endpoints): Readonly<Record<string, string>> {
  const {
    [annotations.endpointsLastChangeTriggerTime]: _time,
    [annotations.lastAppliedConfiguration]: _applied,
    ...own
  } = metadata.annotations ?? {};
  return own;
}

function groupsOf({ subsets = [] }: Endpoints): EndpointGroups {
  const groups: EndpointGroups = new Map();
  for (const { addresses = [], notReadyAddresses = [], ports = [] } of subsets) {
    const slicePorts = ports.map(
      ({ name = '', port, protocol = 'TCP', appProtocol }): EndpointPort => ({
        name,
        port,
        protocol,
        ...(appProtocol === undefined ? {} : { appProtocol }),
      }),
    );
    const states = [
      ...addresses.map((address) => [address, true] as const),
      ...notReadyAddresses.map((address) => [address, false] as const),
    ];
    for (const [{ ip, hostname, nodeName, targetRef }, ready] of states.slice(0, maxEndpoints)) {
      const addressType = isIPv6(ip) ? 'IPv6' : 'IPv4';
      const id = groupId(addressType, slicePorts);
      const group = groups.get(id) ?? { addressType, ports: slicePorts, endpoints: new Map() };
      groups.set(id, group);
      const endpoint = {
        addresses: [ip],
        conditions: { ready },
        ...(hostname === undefined || hostname === '' ? {} : { hostname }),
        ...(nodeName === undefined ? {} : { nodeName }),
        ...(targetRef === undefined ? {} : { targetRef }),
      };
      group.endpoints.set(endpointId(endpoint), endpoint);
    }
  }
  if (groups.size === 0) groups.set(groupId('IPv4', []), { addressType: 'IPv4', ports: [], endpoints: new Map() });
  return groups;
}

import { type EndpointSubset, type Endpoints, endpoints } from '../../api/core/v1/endpoints.ts';
import { type Service, services } from '../../api/core/v1/service.ts';
import { endpointSlices } from '../../api/discovery/v1/endpoint-slice.ts';
import { annotations, labels } from '../../api/well-known.ts';
import { timestampOf } from '../../base/clock.ts';
import type { New } from '../../client/client.ts';
import { tryGet } from '../../client/try-get.ts';
import { deepEqual, keyOf, refOf } from '../../machinery/object.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../../machinery/status-error.ts';
import type { Controller, ReconcileContext } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { selectorOfService } from '../endpoint-slice/memberships.ts';
import { slicesOfPods } from '../endpoint-slice/plan.ts';
import { isNamespaceTerminating, messageOf } from '../refusals.ts';
import { createWritePace } from '../write-pace.ts';
import { subsetsOf } from './subsets.ts';

/** Value of the label that says whose Endpoints these are. */
const managedBy = 'endpoint-controller';
/** Changes of the slices are collected for this long after the last write: one object holds all addresses, and is written whole. */
const collectMs = 500;

/**
 * Keeps one Endpoints object for each Service with a selector, for clients that know no EndpointSlices. It is made from the slices of the
 * Service, so pods are matched and their addresses worked out once.
 *
 * @see Kubernetes API reference, "Endpoints"
 */
export function createEndpointsController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock, recorder } = dependencies;
  const serviceInformer = informers.get(services);
  const sliceInformer = informers.get(endpointSlices);
  const endpointsInformer = informers.get(endpoints);
  sliceInformer.addIndex(slicesOfPods.name, slicesOfPods.serviceKeysOf);

  const controller = createInformedController(dependencies, {
    name: 'endpoint',
    workers: 4,
    reconcile,
  });
  const pace = createWritePace({ clock, collectMs, controller });
  serviceInformer.addHandler(({ before, after }) => {
    const service = after ?? before;
    if (service !== undefined) controller.enqueue(keyOf(service));
  });
  sliceInformer.addHandler(({ before, after }) => {
    const slice = after ?? before;
    if (slice !== undefined) for (const key of slicesOfPods.serviceKeysOf(slice)) pace.collect(key);
  });
  endpointsInformer.addHandler(({ before, after }) => {
    const object = after ?? before;
    if (object?.metadata.labels?.[labels.endpointsManagedBy] === managedBy) pace.collect(keyOf(object));
  });
  return controller;

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<undefined> {
    const service = serviceInformer.getByKey(key);
    const current = endpointsInformer.getByKey(key);
    if (service === undefined) {
      pace.forget(key);
      // The cache may not show yet that the Service was made again, and these may be kept by hand for it.
      if (current !== undefined && (await tryGet(client, services, refOf(key))) === undefined) await remove(current, signal);
      return;
    }
    if (service.metadata.deletionTimestamp !== undefined || selectorOfService(service) === undefined) return;
    const slices = sliceInformer.byIndex(slicesOfPods.name, key);
    // The first slice, if only an empty one, comes soon.
    if (slices.length === 0) return;
    const { subsets, isTruncated } = subsetsOf(service, slices);
    const wantedLabels = labelsOf(service);
    if (
      current !== undefined &&
      deepEqual(current.subsets ?? [], subsets) &&
      deepEqual(current.metadata.labels ?? {}, wantedLabels) &&
      (current.metadata.annotations?.[annotations.endpointsOverCapacity] !== undefined) === isTruncated
    ) {
      return;
    }
    pace.noteWrite(key);
    const { [annotations.endpointsOverCapacity]: _, ...kept } = current?.metadata.annotations ?? {};
    const metadata = {
      labels: wantedLabels,
      annotations: {
        ...kept,
        [annotations.endpointsLastChangeTriggerTime]: timestampOf(clock.now()),
        ...(isTruncated ? { [annotations.endpointsOverCapacity]: 'truncated' } : {}),
      },
    };
    await write({ service, current, metadata, subsets }, signal);
  }

  async function write({ service, current, metadata, subsets }: Wanted, signal: AbortSignal): Promise<void> {
    const { name, namespace = '' } = service.metadata;
    const created: New<Endpoints> = { apiVersion: 'v1', kind: 'Endpoints', metadata: { name, namespace, ...metadata }, subsets };
    try {
      if (current === undefined) await client.create(endpoints, created, { signal });
      else await client.update(endpoints, { ...current, metadata: { ...current.metadata, ...metadata }, subsets }, { signal });
    } catch (err) {
      if (isNamespaceTerminating(err)) return;
      if (!isConflict(err) && !isAlreadyExists(err)) {
        const [reason, what] =
          current === undefined
            ? ['FailedToCreateEndpoint', 'Failed to create endpoint for service']
            : ['FailedToUpdateEndpoint', 'Failed to update endpoint'];
        const about: Endpoints = current ?? { ...created, metadata: { ...created.metadata, name } };
        recorder.record(about, { type: 'Warning', reason, message: `${what} ${namespace}/${name}: ${messageOf(err)}` });
      }
      throw err;
    }
  }

  /** Also Endpoints that somebody made for the Service: they go with it, as upstream has it. */
  async function remove({ metadata: { namespace, name, uid } }: Endpoints, signal: AbortSignal): Promise<void> {
    try {
      await client.delete(endpoints, { namespace, name }, { signal, ...(uid === undefined ? {} : { preconditions: { uid } }) });
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }
}

interface Wanted {
  readonly service: Service;
  /** The object as it is stored. */
  readonly current: Endpoints | undefined;
  readonly metadata: Pick<Endpoints['metadata'], 'labels' | 'annotations'>;
  readonly subsets: readonly EndpointSubset[];
}

function labelsOf({ metadata, spec }: Service): Readonly<Record<string, string>> {
  const { [labels.headlessService]: _, ...own } = metadata.labels ?? {};
  return { ...own, ...(spec.clusterIP === 'None' ? { [labels.headlessService]: '' } : {}), [labels.endpointsManagedBy]: managedBy };
}

import { nodes } from '../../api/core/v1/node.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { services } from '../../api/core/v1/service.ts';
import { type EndpointSlice, endpointSlices } from '../../api/discovery/v1/endpoint-slice.ts';
import { labels } from '../../api/well-known.ts';
import { timestampOf } from '../../base/clock.ts';
import { keyOf } from '../../machinery/object.ts';
import { isConflict, isNotFound } from '../../machinery/status-error.ts';
import { type Controller, createController, type ReconcileContext, type Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { isPodFinished, isPodReady, isPodTerminating } from '../pod-conditions.ts';
import { isNamespaceTerminating, messageOf } from '../refusals.ts';
import { createMemberships, selectorOfService } from './memberships.ts';
import { managedBy, planSlices } from './plan.ts';
import { createWrittenSlices } from './written-slices.ts';

/** Index of slices by the Service they belong to. */
const byService = 'endpoint-slice-service';
/** Changes of a Service's pods are collected for this long after its last write. */
const collectMs = 50;
/** How soon a Service is looked at again when the cache has not caught up with our own writes. */
const staleRetryMs = 20;

/**
 * Writes the addresses of each Service's pods into EndpointSlices. An endpoint that goes away is written at once; what comes is collected
 * for 50 ms, so that a rollout of a thousand pods does not write the slices a thousand times.
 */
export function createEndpointSliceController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock, log, recorder, metrics } = dependencies;
  const serviceInformer = informers.get(services);
  const podInformer = informers.get(pods);
  const nodeInformer = informers.get(nodes);
  const sliceInformer = informers.get(endpointSlices);
  sliceInformer.addIndex(byService, serviceKeysOf);
  const memberships = createMemberships(podInformer);
  const written = createWrittenSlices(clock);
  const lastWriteAt = new Map<string, number>();

  const controller = createController({
    name: 'endpointslice',
    clock,
    log,
    workers: 8,
    observer: metrics.observerOf('endpointslice'),
    waitForSync: (wait) => informers.waitForSync(wait),
    reconcile,
  });
  serviceInformer.addHandler(({ before, after }) => {
    if (after !== undefined) {
      memberships.setService(after);
      controller.enqueue(keyOf(after));
    } else if (before !== undefined) {
      memberships.deleteService(keyOf(before));
      controller.enqueue(keyOf(before));
    }
  });
  podInformer.addHandler(onPodChange);
  sliceInformer.addHandler(({ before, after }) => {
    const slice = after ?? before;
    if (slice === undefined) return;
    for (const key of serviceKeysOf(slice)) {
      if (after === undefined ? written.noteSeenRemoved(key, slice) : written.noteSeen(key, slice)) controller.enqueue(key);
    }
  });
  nodeInformer.addHandler(({ before, after }) => {
    if (before?.metadata.labels?.[labels.zone] === after?.metadata.labels?.[labels.zone]) return;
    for (const service of serviceInformer.list()) collect(keyOf(service));
  });
  return controller;

  function onPodChange({ before, after }: { readonly before?: Pod; readonly after?: Pod }): void {
    if (after === undefined) {
      if (before !== undefined) for (const key of memberships.deletePod(before)) controller.enqueue(key);
      return;
    }
    const selecting = memberships.setPod(after);
    if (selecting.length === 0) return;
    if (before !== undefined && isSameEndpoint(before, after)) return;
    const goesAway = before !== undefined && countsAsReady(before) && !countsAsReady(after);
    for (const key of selecting) {
      if (goesAway) controller.enqueue(key);
      else collect(key);
    }
  }

  function collect(key: string): void {
    const last = lastWriteAt.get(key);
    controller.enqueueAfter(key, last === undefined ? 0 : Math.max(0, last + collectMs - clock.monotonicMs()));
  }

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    const service = serviceInformer.getByKey(key);
    if (service === undefined || selectorOfService(service) === undefined) {
      // Slices of a Service that is gone go with it, by owner reference; those of one without selector are its owner's.
      written.forget(key);
      lastWriteAt.delete(key);
      return undefined;
    }
    if (service.metadata.deletionTimestamp !== undefined) return undefined;
    const slices = sliceInformer.byIndex(byService, key);
    if (written.isStale(key, slices)) return { requeueAfterMs: staleRetryMs };
    const { create, update, remove } = planSlices({
      service,
      pods: selectedPods(key),
      slices,
      zoneOf: (name) => nodeInformer.get({ name })?.metadata.labels?.[labels.zone],
      now: timestampOf(clock.now()),
    });
    if (create.length + update.length + remove.length === 0) return undefined;
    lastWriteAt.set(key, clock.monotonicMs());
    written.begin(key);
    const writes = [
      ...update.map(async (slice) => written.noteWritten(key, await client.update(endpointSlices, slice, { signal }))),
      ...create.map(async (slice) => written.noteWritten(key, await client.create(endpointSlices, slice, { signal }))),
      ...remove.map((slice) => removeSlice(key, slice, signal)),
    ];
    const failures = (await Promise.allSettled(writes)).flatMap((outcome) =>
      outcome.status === 'rejected' ? [outcome.reason as unknown] : [],
    );
    if (written.finish(key)) controller.enqueue(key);
    const failure = failures.find((err) => !isNamespaceTerminating(err));
    if (failure === undefined) return undefined;
    if (!isConflict(failure)) {
      recorder.record(service, {
        type: 'Warning',
        reason: 'FailedToUpdateEndpointSlices',
        message: `Error updating Endpoint Slices for Service ${key}: ${messageOf(failure)}`,
      });
    }
    throw failure;
  }

  function* selectedPods(serviceKey: string): Iterable<Pod> {
    for (const podKey of memberships.podsOf(serviceKey)) {
      const pod = podInformer.getByKey(podKey);
      if (pod !== undefined) yield pod;
    }
  }

  async function removeSlice(key: string, slice: EndpointSlice, signal: AbortSignal): Promise<void> {
    const { namespace, name, uid } = slice.metadata;
    try {
      await client.delete(endpointSlices, { namespace, name }, { signal, ...(uid === undefined ? {} : { preconditions: { uid } }) });
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
    written.noteRemoved(key, slice);
  }
}

function serviceKeysOf(slice: EndpointSlice): readonly string[] {
  const { [labels.serviceName]: name, [labels.endpointSliceManagedBy]: manager } = slice.metadata.labels ?? {};
  if (name === undefined || manager !== managedBy) return none;
  return [`${slice.metadata.namespace ?? ''}/${name}`];
}

const none: readonly string[] = [];

const countsAsReady = (pod: Pod): boolean => isPodReady(pod) && !isPodTerminating(pod) && !isPodFinished(pod);

/** Nothing that is written into a slice differs. */
function isSameEndpoint(before: Pod, after: Pod): boolean {
  return (
    before.metadata.uid === after.metadata.uid &&
    before.metadata.labels === after.metadata.labels &&
    before.metadata.deletionTimestamp === after.metadata.deletionTimestamp &&
    before.spec.nodeName === after.spec.nodeName &&
    before.status?.phase === after.status?.phase &&
    before.status?.podIP === after.status?.podIP &&
    before.status?.podIPs === after.status?.podIPs &&
    isPodReady(before) === isPodReady(after)
  );
}

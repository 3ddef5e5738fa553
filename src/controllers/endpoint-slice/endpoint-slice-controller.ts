import { nodes } from '../../api/core/v1/node.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { services } from '../../api/core/v1/service.ts';
import { endpointSlices } from '../../api/discovery/v1/endpoint-slice.ts';
import { labels } from '../../api/well-known.ts';
import { timestampOf } from '../../base/clock.ts';
import { keyOf } from '../../machinery/object.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { isPodFinished, isPodReady, isPodTerminating } from '../pod-conditions.ts';
import { createWritePace } from '../write-pace.ts';
import { createMemberships, selectorOfService } from './memberships.ts';
import { planSlices, slicesOfPods } from './plan.ts';
import { createSliceWriter, staleRetryMs } from './slice-writer.ts';
import { createTopologyServices } from './topology-services.ts';

/** Changes of a Service's pods are collected for this long after its last write. */
const collectMs = 50;

/**
 * Writes the addresses of each Service's pods into EndpointSlices. Removed endpoints are written at once. Added
 * endpoints are collected for 50 ms, so that a rollout of a thousand pods does not write the slices a thousand times.
 */
export function createEndpointSliceController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock, recorder } = dependencies;
  const serviceInformer = informers.get(services);
  const podInformer = informers.get(pods);
  const nodeInformer = informers.get(nodes);
  const memberships = createMemberships(podInformer);

  const controller = createInformedController(dependencies, {
    name: 'endpointslice',
    workers: 8,
    reconcile,
  });
  const pace = createWritePace({ clock, collectMs, controller });
  const writer = createSliceWriter({
    client,
    clock,
    slices: informers.get(endpointSlices),
    index: slicesOfPods,
    recorder,
    ownerKind: services.kind,
    onChange: (key) => controller.enqueue(key),
  });
  const topology = createTopologyServices({ nodes: nodeInformer, recorder, onChange: (key) => pace.collect(key) });
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
  nodeInformer.addHandler(({ before, after }) => {
    if (before?.metadata.labels?.[labels.zone] === after?.metadata.labels?.[labels.zone]) return;
    for (const service of serviceInformer.list()) pace.collect(keyOf(service));
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
      else pace.collect(key);
    }
  }

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    const service = serviceInformer.getByKey(key);
    if (service === undefined || selectorOfService(service) === undefined) {
      // Slices of a Service that is gone go with it, by owner reference; those of one without selector are its owner's.
      writer.forget(key);
      pace.forget(key);
      topology.forget(key);
      return undefined;
    }
    if (service.metadata.deletionTimestamp !== undefined) return undefined;
    const slices = writer.slicesOf(key);
    if (slices === undefined) return { requeueAfterMs: staleRetryMs };
    const { plan, hints } = planSlices({
      service,
      pods: selectedPods(key),
      slices,
      zoneOf: (name) => nodeInformer.get({ name })?.metadata.labels?.[labels.zone],
      shares: topology.sharesFor(service),
      now: timestampOf(clock.now()),
    });
    topology.report(service, hints);
    if (plan.create.length + plan.update.length + plan.remove.length === 0) return undefined;
    pace.noteWrite(key);
    await writer.carryOut(key, plan, { owner: service, signal });
    return undefined;
  }

  function* selectedPods(serviceKey: string): Iterable<Pod> {
    for (const podKey of memberships.podsOf(serviceKey)) {
      const pod = podInformer.getByKey(podKey);
      if (pod !== undefined) yield pod;
    }
  }
}

const countsAsReady = (pod: Pod): boolean => isPodReady(pod) && !isPodTerminating(pod) && !isPodFinished(pod);

/** True when the fields that a slice takes from the pod are equal. */
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

import { takesLoadBalancers } from '../api/core/v1/load-balanced-node.ts';
import { type Node, nodes } from '../api/core/v1/node.ts';
import { type Service, services } from '../api/core/v1/service.ts';
import { endpointSlices } from '../api/discovery/v1/endpoint-slice.ts';
import { slicesByService } from '../api/discovery/v1/slices-by-service.ts';
import { finalizers } from '../api/well-known.ts';
import { deepEqual, keyOf, refOf } from '../machinery/object.ts';
import { isNotFound } from '../machinery/status-error.ts';
import type { Controller } from '../reconcile/controller.ts';
import type { ControllerDependencies } from '../reconcile/dependencies.ts';
import { createInformedController } from '../reconcile/informed-controller.ts';
import { type LoadBalancerAddress, LoadBalancerRefused, type LoadBalancers } from './cloud-provider.ts';

export interface ServiceControllerOptions extends ControllerDependencies {
  /** Undefined: the cluster makes no load balancers, and lets Services go for which it once made one. */
  readonly loadBalancers: LoadBalancers | undefined;
}

/** Its fields on Services; by them a later start knows which load balancers are ours. */
const fieldManager = 'midship-service-controller';

/** As upstream: a cloud that fails is asked again after 5 s, and at last every 5 min. */
const minBackoffMs = 5_000;
const maxBackoffMs = 300_000;

/**
 * Gives Services of type LoadBalancer a load balancer of the cloud, and writes where it is into their status. A finalizer keeps a Service
 * until its load balancer is gone.
 *
 * @see Kubernetes, k8s.io/cloud-provider, service controller
 */
export function createCloudServiceController(options: ServiceControllerOptions): Controller {
  const { client, informers, recorder, loadBalancers } = options;
  const serviceInformer = informers.get(services);
  const nodeInformer = informers.get(nodes);
  const sliceInformer = informers.get(endpointSlices);
  /** The last question to the cloud, by key. */
  const ensured = new Map<string, { readonly wish: unknown; readonly hosts: readonly string[] }>();
  /** Services that were refused, with the words of the last Event. Any Service that lets something go may help them. */
  const refused = new Map<string, string>();

  const controller = createInformedController(options, {
    name: 'service',
    minBackoffMs,
    maxBackoffMs,
    async reconcile(key, { signal }) {
      const service = serviceInformer.getByKey(key);
      if (service === undefined) {
        loadBalancers?.forget?.(key);
        forget(key);
      } else if (loadBalancers !== undefined && wantsLoadBalancer(service)) await ensure(loadBalancers, service, signal);
      else if (isHeldByUs(service, loadBalancers !== undefined)) await release(service, signal);
      else forget(key);
      return undefined;
    },
  });

  function forget(key: string): void {
    ensured.delete(key);
    refused.delete(key);
    for (const waiting of refused.keys()) controller.enqueue(waiting);
  }

  async function ensure(balancers: LoadBalancers, service: Service, signal: AbortSignal): Promise<void> {
    const key = keyOf(service);
    const hosts = [...nodeInformer.list()].filter(takesLoadBalancers);
    const names = hosts.map(({ metadata }) => metadata.name).sort();
    const wish = wishOf(service);
    const before = ensured.get(key);
    // At the first look after a start, an answer is there already; the cloud is asked without an Event.
    const isNew = before === undefined ? addressesOf(service).length === 0 : !deepEqual(before.wish, wish);
    if (isNew && !refused.has(key)) say(service, 'EnsuringLoadBalancer', 'Ensuring load balancer');
    const held = await hold(service, signal);
    if (held === undefined) return;
    let addresses: readonly LoadBalancerAddress[];
    try {
      addresses = await balancers.ensure(held, hosts, signal);
    } catch (err) {
      signal.throwIfAborted();
      if (complain(service, `Error syncing load balancer: failed to ensure load balancer: ${textOf(err)}`, err)) return;
      throw err;
    }
    if (addresses.length === 0 && complain(service, 'There are no available nodes for LoadBalancer'))
      return void (await writeAddresses(held, [], signal));
    refused.delete(key);
    await writeAddresses(held, addresses, signal);
    ensured.set(key, { wish, hosts: names });
    if (isNew) say(service, 'EnsuredLoadBalancer', 'Ensured load balancer');
    else if (before !== undefined && !deepEqual(before.hosts, names))
      say(service, 'UpdatedLoadBalancer', 'Updated load balancer with new hosts');
    // Ports that it gave up, or another address than before.
    if (isNew) for (const waiting of refused.keys()) controller.enqueue(waiting);
  }

  /** Writes the Event once for each text. @returns true when time alone changes nothing, so that no further try is made */
  function complain(service: Service, message: string, err?: unknown): boolean {
    const isLasting = err === undefined || err instanceof LoadBalancerRefused;
    const key = keyOf(service);
    if (!isLasting || refused.get(key) !== message)
      recorder.record(service, {
        type: 'Warning',
        reason: err === undefined ? 'UnAvailableLoadBalancer' : 'SyncLoadBalancerFailed',
        message,
      });
    if (isLasting) refused.set(key, message);
    return isLasting;
  }

  async function release(service: Service, signal: AbortSignal): Promise<void> {
    say(service, 'DeletingLoadBalancer', 'Deleting load balancer');
    try {
      await loadBalancers?.remove(service, signal);
    } catch (err) {
      signal.throwIfAborted();
      const message = `Error syncing load balancer: failed to delete load balancer: ${textOf(err)}`;
      recorder.record(service, { type: 'Warning', reason: 'SyncLoadBalancerFailed', message });
      throw err;
    }
    const current = service.metadata.deletionTimestamp === undefined ? await writeAddresses(service, [], signal) : service;
    const rest = (service.metadata.finalizers ?? []).filter((each) => each !== finalizers.loadBalancerCleanup);
    if (current !== undefined) await writeFinalizers(current, rest, signal);
    say(service, 'DeletedLoadBalancer', 'Deleted load balancer');
    forget(keyOf(service));
  }

  /** Before the first effect outside of the cluster. Undefined: the Service is gone, and nobody would remove what is made for it. */
  async function hold(service: Service, signal: AbortSignal): Promise<Service | undefined> {
    const present = service.metadata.finalizers ?? [];
    if (present.includes(finalizers.loadBalancerCleanup)) return service;
    return await writeFinalizers(service, [...present, finalizers.loadBalancerCleanup], signal);
  }

  async function writeFinalizers(service: Service, wanted: readonly string[], signal: AbortSignal): Promise<Service | undefined> {
    const { uid, resourceVersion } = service.metadata;
    // Others have finalizers, too: a write that would lose theirs conflicts, and is tried again.
    const body = { metadata: { finalizers: wanted, uid, resourceVersion } };
    try {
      return await client.patch(services, refOf(keyOf(service)), { type: 'merge', body }, { fieldManager, signal });
    } catch (err) {
      if (!isNotFound(err)) throw err;
      return undefined;
    }
  }

  /** Gives the Service as it is stored then; undefined when it is gone. */
  async function writeAddresses(
    service: Service,
    addresses: readonly LoadBalancerAddress[],
    signal: AbortSignal,
  ): Promise<Service | undefined> {
    if (deepEqual(addressesOf(service), addresses)) return service;
    const body = {
      metadata: { uid: service.metadata.uid },
      status: { loadBalancer: { ingress: addresses.length === 0 ? null : addresses } },
    };
    try {
      return await client.patch(services, refOf(keyOf(service)), { type: 'merge', body }, { subresource: 'status', fieldManager, signal });
    } catch (err) {
      if (!isNotFound(err)) throw err;
      return undefined;
    }
  }

  const say = (service: Service, reason: string, message: string): void => recorder.record(service, { type: 'Normal', reason, message });

  serviceInformer.addHandler(({ before, after }) => {
    const service = after ?? before;
    if (service === undefined || (!concerns(before) && !concerns(after))) return;
    // Its own writes need no other look.
    if (before === undefined || after === undefined || !deepEqual(looksOf(before), looksOf(after))) controller.enqueue(keyOf(service));
  });
  if (loadBalancers === undefined) return controller;

  const enqueueAll = (): void => {
    for (const service of serviceInformer.list()) if (wantsLoadBalancer(service)) controller.enqueue(keyOf(service));
  };
  // Heartbeats change Nodes all the time.
  nodeInformer.addHandler(({ before, after }) => {
    if (!deepEqual(placeOf(before), placeOf(after))) enqueueAll();
  });
  if (loadBalancers.followsEndpoints === true) {
    sliceInformer.addHandler(({ before, after }) => {
      for (const slice of [before, after]) {
        for (const key of slice === undefined ? [] : slicesByService.keysOf(slice)) {
          const service = serviceInformer.getByKey(key);
          if (service?.spec.externalTrafficPolicy === 'Local' && wantsLoadBalancer(service)) controller.enqueue(key);
        }
      }
    });
  }
  return controller;
}

/** Services of another class are left to its controller. */
const wantsLoadBalancer = ({ metadata, spec }: Service): boolean =>
  metadata.deletionTimestamp === undefined && spec.type === 'LoadBalancer' && (spec.loadBalancerClass ?? '') === '';

/** One that another controller holds by the same finalizer is left alone where no load balancers are made here. */
const isHeldByUs = ({ metadata }: Service, makesLoadBalancers: boolean): boolean =>
  metadata.finalizers?.includes(finalizers.loadBalancerCleanup) === true &&
  (makesLoadBalancers || metadata.managedFields?.some(({ manager }) => manager === fieldManager) === true);

const concerns = (service: Service | undefined): boolean =>
  service !== undefined &&
  (service.spec.type === 'LoadBalancer' || service.metadata.finalizers?.includes(finalizers.loadBalancerCleanup) === true);

const addressesOf = ({ status }: Service): readonly LoadBalancerAddress[] =>
  (status?.loadBalancer?.ingress ?? []) as readonly LoadBalancerAddress[];

/** The part of a Service that a cloud may look at. */
const wishOf = ({ metadata, spec }: Service): unknown => ({ uid: metadata.uid, annotations: metadata.annotations ?? {}, spec });

/** The part of a Service after whose change it is looked at. */
const looksOf = (service: Service): unknown => [
  wishOf(service),
  service.metadata.deletionTimestamp,
  service.metadata.finalizers,
  addressesOf(service),
];

const placeOf = (node: Node | undefined): unknown =>
  node === undefined || !takesLoadBalancers(node)
    ? undefined
    : [node.metadata.name, node.spec?.providerID, (node.status?.addresses ?? []).map(({ type, address }) => `${type}/${address}`)];

const textOf = (err: unknown): string => (err instanceof Error ? err.message : String(err));

import { ipAddresses, isServiceAddress } from '../../api/networking/v1/ip-address.ts';
import { type ServiceCIDR, serviceCidrs } from '../../api/networking/v1/service-cidr.ts';
import { finalizers } from '../../api/well-known.ts';
import { timestampOf } from '../../base/clock.ts';
import { type AddressRange, containsRange, inRange, tryAddress, tryRange } from '../../machinery/addresses.ts';
import { setCondition } from '../../machinery/conditions.ts';
import { keyOf } from '../../machinery/object.ts';
import { isNotFound } from '../../machinery/status-error.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';
import { isHeld, release } from '../held-objects.ts';

/** After this, every API server has seen the deletion and takes no more addresses from the range; upstream's time. */
const graceMs = 10_000;

const finalizer = finalizers.serviceCidrProtection;

const ready = { type: 'Ready', status: 'True', reason: '', message: 'Kubernetes Service CIDR is ready' };
const terminating = {
  type: 'Ready',
  status: 'False',
  reason: 'Terminating',
  message: 'There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR',
};

/**
 * Says of each range of Services that addresses may be taken from it. A range that is deleted stays while an address in use would lie
 * in no other range.
 *
 * Ranges are few, so each change of one looks at all that are being deleted.
 *
 * @see Kubernetes documentation, "Extend Service IP Ranges"
 */
export function createServiceCidrController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock } = dependencies;
  const ranges = informers.get(serviceCidrs);
  const addresses = informers.get(ipAddresses);

  const controller = createInformedController(dependencies, { name: 'service-cidr-controller', reconcile });
  ranges.addHandler(({ after }) => {
    if (after !== undefined) controller.enqueue(keyOf(after));
    // Another range may cover the addresses of one that waits, or does so no longer.
    enqueueHeld();
  });
  addresses.addHandler(({ before, after }) => {
    if (before !== undefined && after === undefined && isServiceAddress(before)) enqueueHeld();
  });
  return controller;

  function enqueueHeld(): void {
    for (const range of ranges.list()) if (isHeld(range, finalizer)) controller.enqueue(keyOf(range));
  }

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    const range = ranges.getByKey(key);
    if (range === undefined) return undefined;
    const { deletionTimestamp, finalizers: present = [] } = range.metadata;
    if (deletionTimestamp !== undefined) return await letGo(range, deletionTimestamp, signal);
    try {
      const held = present.includes(finalizer) ? range : await hold(range, signal);
      await writeReady(held, ready, signal);
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
    return undefined;
  }

  async function hold(range: ServiceCIDR, signal: AbortSignal): Promise<ServiceCIDR> {
    const { metadata } = range;
    const held = { ...range, metadata: { ...metadata, finalizers: [...(metadata.finalizers ?? []), finalizer] } };
    return await client.update(serviceCidrs, held, { signal });
  }

  async function letGo(range: ServiceCIDR, deletionTimestamp: string, signal: AbortSignal): Promise<Result | undefined> {
    if (!isHeld(range, finalizer)) return undefined;
    if (isNeeded(range)) {
      await writeReady(range, terminating, signal);
      return undefined;
    }
    const leftMs = Date.parse(deletionTimestamp) + graceMs - clock.now();
    if (leftMs > 0) return { requeueAfterMs: leftMs };
    await release(client, { resource: serviceCidrs, object: range, finalizer }, signal);
    return undefined;
  }

  async function writeReady(range: ServiceCIDR, condition: typeof ready, signal: AbortSignal): Promise<void> {
    const before = range.status?.conditions;
    const conditions = setCondition(before, condition, timestampOf(clock.now()));
    if (conditions === before) return;
    await client.update(serviceCidrs, { ...range, status: { conditions } }, { subresource: 'status', signal });
  }

  /** An address of the range would lie in none without it. A range that is being deleted counts as one, as upstream. */
  function isNeeded(range: ServiceCIDR): boolean {
    const others = [...ranges.list()].filter((other) => other !== range).flatMap(rangesOf);
    const bare = rangesOf(range).filter((own) => !others.some((other) => containsRange(other, own)));
    if (bare.length === 0) return false;
    for (const address of addresses.list()) {
      const value = isServiceAddress(address) ? tryAddress(address.metadata.name) : undefined;
      if (value === undefined || !bare.some((own) => inRange(own, value))) continue;
      if (!others.some((other) => inRange(other, value))) return true;
    }
    return false;
  }
}

/** Ranges of IPv4, which Services here have alone. */
const rangesOf = ({ spec }: ServiceCIDR): readonly AddressRange[] => (spec?.cidrs ?? []).flatMap((cidr) => tryRange(cidr) ?? []);

import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { type ResourceAmounts, readAmounts } from '../../api/core/v1/pod-resources.ts';
import { addAmounts, isInScope, mayCount, restrictTo, usageOf, writeAmounts } from '../../api/core/v1/quota-usage.ts';
import { type ResourceQuota, resourceQuotas } from '../../api/core/v1/resource-quota.ts';
import { type DiscoveredResource, inPreferredVersion } from '../../client/client.ts';
import { eachPage } from '../../client/each-page.ts';
import { deepEqual, type KubeObject, keyOf } from '../../machinery/object.ts';
import { compareQuantities, type Quantity } from '../../machinery/quantity.ts';
import { groupResourceOf } from '../../machinery/resource.ts';
import { isNotFound } from '../../machinery/status-error.ts';
import type { Controller, ReconcileContext, Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createInformedController } from '../../reconcile/informed-controller.ts';

/** Changes are collected for this long before a quota is counted again; longer when counting takes long. */
const minDelayMs = 100;
/** Divisor of the time that goes into counting one quota: at most one part in so many. */
const idleShare = 20;
/** Counted again without a cause: what was missed, and pods whose grace period has long ended. */
const resyncMs = 5 * 60_000;
const discoveryMaxAgeMs = 30_000;

/**
 * Counts what the objects of a namespace use and writes it to its quotas: when limits change, when objects go, and now and then. The API
 * server charges what is created; this puts right what charges and reality have come to differ in.
 */
export function createResourceQuotaController(dependencies: ControllerDependencies): Controller {
  const { client, informers, clock } = dependencies;
  const quotaInformer = informers.get(resourceQuotas);
  /** Kinds that a quota has asked for, each with the caches of all namespaces. */
  const followed = new Set<string>();
  let discovered: { readonly resources: readonly DiscoveredResource[]; readonly atMs: number } | undefined;
  let delayMs = minDelayMs;

  const controller = createInformedController(dependencies, {
    name: 'resource-quota',
    reconcile,
  });
  quotaInformer.addHandler(({ before, after }) => {
    if (after === undefined) return;
    // A new limit shows at once; a charge is looked at a little later, when its object is there.
    if (before?.spec === after.spec) controller.enqueueAfter(keyOf(after), delayMs);
    else controller.enqueue(keyOf(after));
  });
  return controller;

  async function reconcile(key: string, { signal }: ReconcileContext): Promise<Result | undefined> {
    const quota = quotaInformer.getByKey(key);
    if (quota === undefined) return undefined;
    const startedAtMs = clock.monotonicMs();
    const hard = readAmounts(quota.spec?.hard);
    const kinds = (await resources()).filter((resource) => resource.namespaced && canFollow(resource) && mayCount(hard, resource));
    for (const kind of kinds) follow(kind);
    // Only a cache that is whole is counted.
    if (kinds.some((kind) => !informers.get(kind).synced)) return { requeueAfterMs: minDelayMs };
    let used: ResourceAmounts = new Map();
    for (const kind of kinds)
      used = addAmounts(used, usedBy(quota, kind, informers.get(kind).list({ namespace: quota.metadata.namespace })));
    // A cache that is late lacks objects that were charged already. So the server says what is there before anybody gets room.
    if (isLower(used, readAmounts(quota.status?.used))) used = await usedInStore(quota, kinds, signal);
    const status = { ...quota.status, hard: quota.spec?.hard ?? {}, used: writeAmounts(used, Object.keys(quota.spec?.hard ?? {})) };
    delayMs = Math.max(minDelayMs, (clock.monotonicMs() - startedAtMs) * idleShare);
    if (!deepEqual(status, quota.status)) await write({ ...quota, status }, signal);
    // A kind that is limited before it is there is looked for more often.
    return { requeueAfterMs: hasUnknownKind(hard, await resources()) ? discoveryMaxAgeMs + 1 : resyncMs };
  }

  /** The write of the status conflicts when something is charged after the quota was read. */
  async function usedInStore(quota: ResourceQuota, kinds: readonly DiscoveredResource[], signal: AbortSignal): Promise<ResourceAmounts> {
    let used: ResourceAmounts = new Map();
    for (const kind of kinds) {
      for await (const { items } of eachPage<KubeObject>(client, kind, { namespace: quota.metadata.namespace, signal })) {
        used = addAmounts(used, usedBy(quota, kind, items));
      }
    }
    return used;
  }

  function usedBy(quota: ResourceQuota, kind: DiscoveredResource, objects: Iterable<KubeObject>): ResourceAmounts {
    const hard = readAmounts(quota.spec?.hard);
    let used: ResourceAmounts = new Map();
    const isPods = kind.group === pods.group && kind.resource === pods.resource;
    for (const object of objects) {
      if (isPods && isOverdue(object as Pod, clock.now())) continue;
      if (isInScope(quota, kind, object)) used = addAmounts(used, restrictTo(hard, usageOf(kind, object)));
    }
    return used;
  }

  function follow(kind: DiscoveredResource): void {
    const name = groupResourceOf(kind);
    if (followed.has(name)) return;
    followed.add(name);
    informers.get<KubeObject>(kind).addHandler(({ before, after }) => {
      const { namespace } = (after ?? before)?.metadata ?? {};
      for (const quota of quotaInformer.list({ namespace })) {
        if (mayCount(readAmounts(quota.spec?.hard), kind)) controller.enqueueAfter(keyOf(quota), delayMs);
      }
    });
  }

  async function resources(): Promise<readonly DiscoveredResource[]> {
    const nowMs = clock.monotonicMs();
    if (discovered === undefined || nowMs - discovered.atMs > discoveryMaxAgeMs) {
      discovered = { resources: inPreferredVersion(await client.discover()), atMs: nowMs };
    }
    return discovered.resources;
  }

  async function write(quota: ResourceQuota, signal: AbortSignal): Promise<void> {
    try {
      await client.update(resourceQuotas, quota, { subresource: 'status', signal });
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }
}

/** True when `count/RESOURCE.GROUP` names a kind that is not served, or not yet. */
function hasUnknownKind(hard: ResourceAmounts, served: readonly DiscoveredResource[]): boolean {
  const names = new Set(served.map((kind) => `count/${groupResourceOf(kind)}`));
  return [...hard.keys()].some((name) => name.startsWith('count/') && !names.has(name));
}

const zero: Quantity = { nanos: 0n, format: 'DecimalSI' };

/** True when some resource has less use than was written before. */
const isLower = (used: ResourceAmounts, before: ResourceAmounts): boolean =>
  [...before].some(([name, amount]) => compareQuantities(used.get(name) ?? zero, amount) < 0);

const canFollow = ({ verbs }: DiscoveredResource): boolean => verbs.includes('list') && verbs.includes('watch');

/** A pod whose agent does not confirm its end counts for its grace period once more, and then no longer. */
function isOverdue({ metadata: { deletionTimestamp, deletionGracePeriodSeconds = 0 } }: Pod, nowMs: number): boolean {
  return deletionTimestamp !== undefined && Date.parse(deletionTimestamp) + deletionGracePeriodSeconds * 1000 <= nowMs;
}

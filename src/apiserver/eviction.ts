import { type Pod, type PodCondition, pods } from '../api/core/v1/pod.ts';
import { disruptionConditions } from '../api/policy/v1/disruption.ts';
import type { Eviction } from '../api/policy/v1/eviction.ts';
import { type PodDisruptionBudget, podDisruptionBudgets } from '../api/policy/v1/pod-disruption-budget.ts';
import { type Clock, timestampOf } from '../base/clock.ts';
import type { DeleteOptions } from '../client/client.ts';
import { isConditionTrue, setCondition } from '../machinery/conditions.ts';
import type { KindDefinition } from '../machinery/kind.ts';
import { type KubeObject, keyOf, type ObjectRef } from '../machinery/object.ts';
import { compileLabelSelector } from '../machinery/selector.ts';
import { badRequest, forbidden, isConflict, notFound, StatusError } from '../machinery/status-error.ts';
import { inNamespace } from './admission/in-namespace.ts';
import type { WriteRequest } from './kube-api.ts';
import type { Registry } from './registry/registry.ts';
import type { Writer } from './registry/writes.ts';
import { apiServerUser } from './user.ts';

interface Removal {
  readonly options: DeleteOptions;
  /** Version of the pod that the decision rests on; undefined when it rests on none. */
  readonly version: string | undefined;
}

export interface EvictionOptions {
  readonly registry: Pick<Registry, 'get' | 'stateOf'>;
  readonly writer: Writer;
  readonly clock: Clock;
}

/** Evictions that a budget has granted and its controller has not seen; more stop it from granting. Upstream's number. */
const maxDisruptedPods = 2_000;
/** When a client should ask again whose budget is being worked on. */
const retryAfterSeconds = 10;
/** Tries of an eviction whose pod keeps changing. */
const maxAttempts = 5;

/** Write of the server itself during an eviction. */
const ownWrite = (kind: KindDefinition): WriteRequest => ({
  kind,
  user: apiServerUser,
  userAgent: 'kube-apiserver',
  subresource: 'status',
});

/**
 * `pods/eviction`: a deletion that the PodDisruptionBudget of the pod has to grant. The grant is subtracted from the
 * budget's status with a compare-and-set, so that no two evictions share one; the budget's controller counts again
 * afterwards. Pods that do not run yet or any more cost no grant. Neither do unhealthy ones whose budget says so.
 *
 * @throws StatusError 429 with cause `DisruptionBudget` when the budget grants nothing now
 * @see Kubernetes concepts, "API-initiated Eviction"
 */
export function createEvictor({ registry, writer, clock }: EvictionOptions) {
  function find(ref: ObjectRef): Pod {
    const pod = registry.get(pods as KindDefinition, keyOf({ metadata: { namespace: ref.namespace ?? '', name: ref.name } })) as
      | Pod
      | undefined;
    if (pod === undefined) throw notFound(pods, ref.name);
    return pod;
  }

  function budgetOf(pod: Pod): PodDisruptionBudget | undefined {
    const { namespace, labels } = pod.metadata;
    const budgets = inNamespace<PodDisruptionBudget>(registry, podDisruptionBudgets, namespace).filter(({ spec }) =>
      compileLabelSelector(spec?.selector).matches(labels),
    );
    if (budgets.length > 1) {
      throw new StatusError({
        code: 500,
        reason: '',
        message: 'This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.',
      });
    }
    return budgets[0];
  }

  /** Takes one disruption from the budget. */
  async function take(budget: PodDisruptionBudget, pod: Pod, dryRun: boolean): Promise<void> {
    const grant = (current: KubeObject): KubeObject => {
      const { metadata, status } = current as PodDisruptionBudget;
      checkGrant(current as PodDisruptionBudget);
      const now = timestampOf(clock.now());
      const left = { ...status, disruptionsAllowed: (status?.disruptionsAllowed ?? 0) - 1 };
      return {
        ...current,
        status: {
          ...left,
          disruptedPods: { ...status?.disruptedPods, [pod.metadata.name]: now },
          ...(left.disruptionsAllowed === 0 ? { conditions: disruptionConditions(left, metadata.generation, now) } : {}),
        },
      } as KubeObject;
    };
    if (dryRun) grant(budget);
    else await writer.modify(ownWrite(podDisruptionBudgets), budget.metadata, { part: 'status', change: grant });
  }

  /** Says why, then deletes; on the way nobody may have changed the pod when `version` is what the decision rests on. */
  async function remove(request: WriteRequest, pod: Pod, { options, version }: Removal): Promise<void> {
    const { uid } = pod.metadata;
    let resourceVersion = version;
    if (options.dryRun !== true && pod.metadata.deletionTimestamp === undefined) {
      const marked = await writer.modify(ownWrite(pods), pod.metadata, {
        part: 'status',
        change: (current) => {
          if (version !== undefined && current.metadata.resourceVersion !== version) throw changed(pod, version, current);
          return evicting(current as Pod, timestampOf(clock.now()));
        },
      });
      if (version !== undefined) resourceVersion = marked.metadata.resourceVersion;
    }
    await writer.delete({ ...request, kind: pods, subresource: undefined }, pod.metadata, {
      ...options,
      preconditions: {
        ...(uid === undefined ? {} : { uid }),
        ...(resourceVersion === undefined ? {} : { resourceVersion }),
        ...options.preconditions,
      },
    });
  }

  return async function evict(request: WriteRequest, ref: ObjectRef, eviction: Eviction): Promise<void> {
    const { name = '' } = eviction.metadata ?? {};
    if (name !== '' && name !== ref.name) throw badRequest('name in URL does not match name in Eviction object');
    const { gracePeriodSeconds, preconditions, dryRun } = eviction.deleteOptions ?? {};
    const options: DeleteOptions = {
      ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }),
      ...(preconditions === undefined ? {} : { preconditions }),
      ...(request.dryRun === true || dryRun?.includes('All') === true ? { dryRun: true } : {}),
    };
    const isPinned = preconditions?.resourceVersion !== undefined;
    for (let attempt = 1; ; attempt += 1) {
      const pod = find(ref);
      const version = isPinned ? undefined : pod.metadata.resourceVersion;
      let why: 'idle' | 'unguarded' | 'unhealthy' | 'granted' = 'idle';
      let budget: PodDisruptionBudget | undefined;
      if (!runsNothing(pod)) {
        budget = budgetOf(pod);
        why = budget === undefined ? 'unguarded' : maySuffer(pod, budget) ? 'unhealthy' : 'granted';
        if (budget !== undefined && why === 'granted') await take(budget, pod, options.dryRun === true);
      }
      try {
        // Both depend on the pod being still absent, or still unhealthy.
        const depends = why === 'unhealthy' || (why === 'idle' && pod.status?.phase === 'Pending');
        await remove(request, pod, { options, version: depends ? version : undefined });
        return;
      } catch (err) {
        if (!isConflict(err) || isPinned || why === 'granted' || why === 'unguarded') throw err;
        if (why === 'unhealthy' && budget !== undefined) throw inProgress(budget);
        if (attempt === maxAttempts) throw err;
      }
    }
  };
}

const changed = ({ metadata }: Pod, version: string, { metadata: now }: KubeObject): StatusError =>
  new StatusError({
    code: 409,
    reason: 'Conflict',
    message: `Operation cannot be fulfilled on Pod "${metadata.name}": the ResourceVersion in the precondition (${version}) does not match the ResourceVersion in record (${now.resourceVersion ?? ''}). The object might have been modified`,
    details: { name: metadata.name, kind: 'Pod' },
  });

/** Such pods add nothing to what a budget counts. */
function runsNothing({ metadata, status }: Pod): boolean {
  const phase = status?.phase;
  return phase === 'Succeeded' || phase === 'Failed' || phase === 'Pending' || metadata.deletionTimestamp !== undefined;
}

/** True when the pod is unhealthy and its budget allows the eviction of such pods. */
function maySuffer({ status: podStatus }: Pod, { spec, status }: PodDisruptionBudget): boolean {
  if (isConditionTrue(podStatus?.conditions, 'Ready')) return false;
  if (spec?.unhealthyPodEvictionPolicy === 'AlwaysAllow') return true;
  const { currentHealthy = 0, desiredHealthy = 0 } = status ?? {};
  return currentHealthy >= desiredHealthy && desiredHealthy > 0;
}

const evicting = (pod: Pod, now: string): Pod => ({
  ...pod,
  status: {
    ...pod.status,
    conditions: setCondition<PodCondition>(
      pod.status?.conditions,
      { type: 'DisruptionTarget', status: 'True', reason: 'EvictionByEvictionAPI', message: 'Eviction API: evicting' },
      now,
    ),
  },
});

function checkGrant(budget: PodDisruptionBudget): void {
  const { metadata, status } = budget;
  const { name, generation = 0 } = metadata;
  const what = { group: podDisruptionBudgets.group, resource: 'poddisruptionbudget' };
  if ((status?.observedGeneration ?? 0) < generation) throw inProgress(budget);
  const allowed = status?.disruptionsAllowed ?? 0;
  if (allowed < 0) throw forbidden(what, name, 'pdb disruptions allowed is negative');
  if (Object.keys(status?.disruptedPods ?? {}).length > maxDisruptedPods) {
    throw forbidden(what, name, 'DisruptedPods map too big - too many evictions not confirmed by PDB controller');
  }
  if (allowed > 0) return;
  const failed = status?.conditions?.find(({ type, reason }) => type === 'DisruptionAllowed' && reason === 'SyncFailed');
  throw refused(
    failed === undefined
      ? `The disruption budget ${name} needs ${status?.desiredHealthy ?? 0} healthy pods and has ${status?.currentHealthy ?? 0} currently`
      : `The disruption budget ${name} does not allow evicting pods currently because it failed sync: ${failed.message}`,
  );
}

const inProgress = ({ metadata }: PodDisruptionBudget): StatusError =>
  refused(`The disruption budget ${metadata.name} is still being processed by the server.`, retryAfterSeconds);

const refused = (cause: string, afterSeconds?: number): StatusError =>
  new StatusError({
    code: 429,
    reason: 'TooManyRequests',
    message: "Cannot evict pod as it would violate the pod's disruption budget.",
    details: {
      causes: [{ reason: 'DisruptionBudget', message: cause }],
      ...(afterSeconds === undefined ? {} : { retryAfterSeconds: afterSeconds }),
    },
  });

import { type Job, jobs } from '../../api/batch/v1/job.ts';
import { type Pod, type PodTemplateSpec, pods } from '../../api/core/v1/pod.ts';
import { annotations, finalizers } from '../../api/well-known.ts';
import type { New } from '../../client/client.ts';
import { isNotFound } from '../../machinery/status-error.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import type { Expectations } from '../../reconcile/expectations.ts';
import { inBatches } from '../slow-start.ts';
import { createPods, deletePods, podFromTemplate } from '../workload.ts';
import { isTracked } from './pod-facts.ts';
import { nextFailureCounts, type PodIndexes } from './pod-indexes.ts';

/** Pods created in one pass; the rest follows in the next one, after others had their turn. */
const maxPodsAPass = 500;
/** Longest name that the server completes with a suffix. */
const maxGeneratedName = 58;

/** Writes to the pods of Jobs. */
export interface JobPods {
  /** Gives the first failure. */
  create(job: Job, wanted: { readonly count: number; readonly indexes: PodIndexes | undefined }, signal: AbortSignal): Promise<unknown>;
  /** Deletes pods. One that keeps the finalizer counts as failed, and `counted: false` takes it first. */
  remove(job: Job, victims: readonly Pod[], options: { readonly counted: boolean; readonly signal: AbortSignal }): Promise<void>;
  /** Takes the finalizer from pods that are accounted for. */
  untrack(tracked: readonly Pod[], signal: AbortSignal): Promise<void>;
}

export function createJobPods(
  { client, recorder }: Pick<ControllerDependencies, 'client' | 'recorder'>,
  expectations: Expectations,
): JobPods {
  async function untrack(tracked: readonly Pod[], signal: AbortSignal): Promise<void> {
    await inBatches(tracked, async ({ metadata: { namespace, name, uid, resourceVersion, finalizers: present = [] } }) => {
      const others = present.filter((finalizer) => finalizer !== finalizers.jobTracking);
      const body = { metadata: { uid, resourceVersion, finalizers: others.length === 0 ? null : others } };
      try {
        await client.patch(pods, { namespace, name }, { type: 'merge', body }, { signal });
      } catch (err) {
        if (!isNotFound(err)) throw err;
      }
    });
  }

  return {
    async create(job, { count, indexes }, signal) {
      const chosen = indexes?.pending.slice(0, Math.min(count, maxPodsAPass));
      const pod = podOf(job);
      return await createPods({
        client,
        recorder,
        expectations,
        owner: job,
        pod:
          chosen === undefined ? pod : (place) => indexedPod(job, pod, { index: chosen[place] ?? 0, predecessors: indexes?.predecessors }),
        count: chosen === undefined ? Math.min(count, maxPodsAPass) : chosen.length,
        signal,
      });
    },
    async remove(job, victims, { counted, signal }) {
      if (!counted) await untrack(victims.filter(isTracked), signal);
      const failure = await deletePods({ client, recorder, expectations, owner: job, victims, signal });
      if (failure !== undefined) throw failure;
    },
    untrack,
  };
}

/** A pod of the template that stays until it is counted. */
function podOf(job: Job): New<Pod> {
  const pod = podFromTemplate(jobs, job, job.spec.template);
  return { ...pod, metadata: { ...pod.metadata, finalizers: [...(pod.metadata.finalizers ?? []), finalizers.jobTracking] } };
}

/** The pod of one index: its annotation, label, hostname and variable say which, and how often the index failed before. */
function indexedPod(
  job: Job,
  pod: New<Pod>,
  { index, predecessors }: { readonly index: number; readonly predecessors: PodIndexes['predecessors'] | undefined },
): New<Pod> {
  const { name } = job.metadata;
  const { counted, ignored } = nextFailureCounts(job, predecessors?.get(index));
  const countsFailures = job.spec.backoffLimitPerIndex !== undefined;
  const suffix = `-${index}-`;
  return {
    ...pod,
    metadata: {
      ...pod.metadata,
      generateName: `${name.slice(0, maxGeneratedName - suffix.length)}${suffix}`,
      labels: { ...pod.metadata.labels, [annotations.jobCompletionIndex]: String(index) },
      annotations: {
        ...pod.metadata.annotations,
        [annotations.jobCompletionIndex]: String(index),
        ...(countsFailures ? { [annotations.jobIndexFailureCount]: String(counted) } : {}),
        ...(countsFailures && ignored > 0 ? { [annotations.jobIndexIgnoredFailureCount]: String(ignored) } : {}),
      },
    },
    spec: withIndexVariable({ ...pod.spec, hostname: `${name}-${index}` }),
  };
}

const indexVariable = 'JOB_COMPLETION_INDEX';

type PodSpec = NonNullable<PodTemplateSpec['spec']>;

/** A variable of that name in the template stays as it is. */
function withIndexVariable(spec: PodSpec): PodSpec {
  const added = { name: indexVariable, valueFrom: { fieldRef: { fieldPath: `metadata.labels['${annotations.jobCompletionIndex}']` } } };
  const withVariable = <C extends { readonly env?: readonly { readonly name: string }[] }>(container: C): C =>
    container.env?.some(({ name }) => name === indexVariable) === true
      ? container
      : { ...container, env: [...(container.env ?? []), added] };
  return {
    ...spec,
    containers: spec.containers.map(withVariable),
    ...(spec.initContainers === undefined ? {} : { initContainers: spec.initContainers.map(withVariable) }),
  };
}

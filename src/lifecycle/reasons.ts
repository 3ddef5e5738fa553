import type { Job } from '../api/batch/v1/job.ts';
import type { ContainerStatus, Pod } from '../api/core/v1/pod.ts';

/**
 * Health of an object or app, in the words of the status page and of `status.json`. `NoController`: it is stored, nothing acts on it, and
 * waiting changes nothing.
 */
export type HealthStatus = 'Healthy' | 'Progressing' | 'Degraded' | 'Suspended' | 'Missing' | 'NoController' | 'Unknown';

/** `reason` is one sentence for a person; empty when there is nothing to say. */
export interface Health {
  readonly status: HealthStatus;
  readonly reason: string;
  /** A command or a sentence that helps with just this reason. */
  readonly fix?: string;
  /** Pods of an older template that work meanwhile, as `3 old pods go on serving`. */
  readonly serving?: string;
  /** Milliseconds since the epoch from which on time alone makes it another one. */
  readonly recheckAt?: number;
  /** Another app is not ready, which reports its own trouble: nothing is wrong with the app itself. */
  readonly isOfApp?: true;
}

/** The reason for a person; a failure also says which pods work meanwhile. */
export const sentenceOf = ({ status, reason, serving }: Health): string =>
  status === 'Degraded' && serving !== undefined ? `${reason.replace(/\.$/, '')}; ${serving}` : reason;

export const healthy: Health = { status: 'Healthy', reason: '' };

/** Worst first: what an app is when its objects differ. */
const severity: readonly HealthStatus[] = ['Degraded', 'Missing', 'Progressing', 'Unknown', 'NoController', 'Suspended', 'Healthy'];

/** The worst of many, with its reason; the first one when several are equally bad. */
export function worstOf(all: Iterable<Health>): Health {
  let worst = healthy;
  for (const health of all) if (severity.indexOf(health.status) < severity.indexOf(worst.status)) worst = health;
  return worst;
}

/** Waiting reasons that do not pass by themselves within seconds. */
const imageReasons: readonly string[] = ['ErrImagePull', 'ImagePullBackOff', 'InvalidImageName', 'ErrImageNeverPull'];
const configReasons: readonly string[] = ['CreateContainerConfigError', 'CreateContainerError', 'RunContainerError'];

/** `once`, `twice`, `7 times` */
export const times = (count: number): string => (count === 1 ? 'once' : count === 2 ? 'twice' : `${count} times`);

/** A pod without a node may get one from an autoscaler within this time, as in kstatus. */
const schedulingGraceMs = 15_000;

export const isUnschedulable = (pod: Pod): boolean => unschedulableIn(pod) !== undefined;

/** Until when a pod that fits on no node counts as on its way; undefined when it has a node, or when that is over. */
export function schedulingDeadline(pod: Pod, now: number): number | undefined {
  const since = Date.parse(unschedulableIn(pod)?.lastTransitionTime ?? '');
  const deadline = since + schedulingGraceMs;
  // A time in the future shows that two clocks differ, which would make this wait longer than it says.
  return now >= since && now < deadline ? deadline : undefined;
}

const unschedulableIn = ({ status }: Pod) =>
  status?.conditions?.find(({ type, status: is, reason }) => type === 'PodScheduled' && is === 'False' && reason === 'Unschedulable');

/** The problem of a pod as a sentence; undefined when it is healthy or starting. */
export function podProblem(pod: Pod): string | undefined {
  const { name } = pod.metadata;
  if (pod.status?.phase === 'Failed')
    return `Pod ${name} failed${pod.status.reason === undefined ? '' : `: ${pod.status.reason}`}${terminationOf(pod)}`;
  for (const status of [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])]) {
    const problem = containerProblem(name, status);
    if (problem !== undefined) return problem;
  }
  const unschedulable = unschedulableIn(pod);
  if (unschedulable === undefined) return undefined;
  // The scheduler goes on about claims and pods that it might have taken away for this one.
  const why = (unschedulable.message ?? '').replace(/(?<=\.) (?:no new claims|still not|deallocation of|preemption:) .*$/s, '');
  return `Pod ${name} fits on no node: ${why}`;
}

function containerProblem(pod: string, status: ContainerStatus): string | undefined {
  const { name, image, restartCount } = status;
  const waiting = status.state?.waiting;
  const last = status.state?.terminated ?? status.lastState?.terminated;
  if (waiting?.reason !== undefined && imageReasons.includes(waiting.reason)) {
    // The back-off quotes the error it backs off from: the sentence stays the same while the reason goes back and forth.
    const why = waiting.message?.replace(/^.*?ErrImagePull: /s, '');
    return `Image ${image} of container ${name} in ${pod} cannot be used${why === undefined || why === '' ? '' : `: ${why}`}`;
  }
  if (waiting?.reason !== undefined && configReasons.includes(waiting.reason)) {
    return `Container ${name} in ${pod} cannot start: ${waiting.message ?? waiting.reason}`;
  }
  // Between its exit and the next start it is the same crash loop.
  if (waiting?.reason === 'CrashLoopBackOff' || (restartCount > 0 && (status.state?.terminated?.exitCode ?? 0) !== 0)) {
    const how = last?.reason === 'OOMKilled' ? 'ran out of memory' : `exited ${last?.exitCode ?? '?'}`;
    // A kubelet may give 80 lines of the log, of which the last says most.
    const text = last?.message?.trim().split('\n').at(-1)?.trim() ?? '';
    return `Container ${name} in ${pod} ${how}, restarted ${times(restartCount)}${text === '' ? '' : `: ${text}`}`;
  }
  return undefined;
}

function terminationOf(pod: Pod): string {
  const failed = pod.status?.containerStatuses?.find(({ state }) => (state?.terminated?.exitCode ?? 0) !== 0);
  return failed === undefined ? '' : ` (container ${failed.name} exited ${failed.state?.terminated?.exitCode})`;
}

/** Reason why a running pod does not count as ready. */
export function unreadyReason(pod: Pod): string | undefined {
  const unready = pod.status?.containerStatuses?.find(({ ready, state }) => !ready && state?.running !== undefined);
  return unready === undefined ? undefined : `Container ${unready.name} in ${pod.metadata.name} runs but is not ready`;
}

/** The first problem among pods, the oldest pod first so that the sentence stays the same while pods come and go. */
export function firstProblem(pods: readonly Pod[]): string | undefined {
  const byAge = [...pods].sort((a, b) => ((a.metadata.creationTimestamp ?? '') < (b.metadata.creationTimestamp ?? '') ? -1 : 1));
  for (const pod of byAge) {
    const problem = podProblem(pod);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

export function jobFailure(job: Job): string | undefined {
  const failed = job.status?.conditions?.find(({ type, status }) => type === 'Failed' && status === 'True');
  return failed === undefined ? undefined : `Job ${job.metadata.name} failed: ${failed.message ?? failed.reason ?? 'no reason given'}`;
}

import type { Job, JobSpec } from '../../api/batch/v1/job.ts';
import type { Pod } from '../../api/core/v1/pod.ts';
import { replacesOnlyFailed } from '../../lifecycle/job.facts.ts';
import { isPodTerminating } from '../pod-conditions.ts';

type FailurePolicy = NonNullable<JobSpec['podFailurePolicy']>;
type Rule = FailurePolicy['rules'][number];

/** The decision of a policy about a pod that failed. */
export interface PodFailure {
  /** The failure counts towards the back-off limits. */
  readonly counts: boolean;
  readonly action: 'Count' | 'FailIndex' | 'FailJob' | 'Ignore' | undefined;
  /** For the condition of a Job that fails by `FailJob`. */
  readonly message: string;
}

const unmatched: PodFailure = { counts: true, action: undefined, message: '' };

/**
 * A pod that someone deletes has failed as far as the Job is concerned, unless its replacement waits for its end anyway. One that succeeded
 * before has not.
 */
export const hasPodFailed = (job: Job, pod: Pod): boolean =>
  pod.status?.phase === 'Failed' || (isPodTerminating(pod) && pod.status?.phase !== 'Succeeded' && !replacesOnlyFailed(job.spec));

/** The first rule of the policy that matches; a failure that none matches counts. */
export function judgeFailure(job: Job, pod: Pod): PodFailure {
  for (const [index, rule] of (job.spec.podFailurePolicy?.rules ?? []).entries()) {
    const what = matchOf(rule, pod);
    if (what === undefined) continue;
    const message = `${what} matching ${rule.action} rule at index ${index}`;
    switch (rule.action) {
      case 'Ignore':
        return { counts: false, action: 'Ignore', message };
      case 'Count':
        return { counts: true, action: 'Count', message };
      case 'FailJob':
        return { counts: true, action: 'FailJob', message };
      case 'FailIndex':
        // Without a limit for each index the rule says nothing.
        if (job.spec.backoffLimitPerIndex !== undefined) return { counts: true, action: 'FailIndex', message };
    }
  }
  return unmatched;
}

function matchOf({ onExitCodes, onPodConditions }: Rule, pod: Pod): string | undefined {
  const { namespace, name } = pod.metadata;
  if (onExitCodes !== undefined) {
    const statuses = [...(pod.status?.containerStatuses ?? []), ...(pod.status?.initContainerStatuses ?? [])];
    for (const { name: container, state } of statuses) {
      const exitCode = state?.terminated?.exitCode;
      // A container that ended well is no failure, so no operator matches it.
      if (exitCode === undefined || exitCode === 0) continue;
      if (onExitCodes.containerName !== undefined && onExitCodes.containerName !== container) continue;
      if (onExitCodes.values.includes(exitCode) !== (onExitCodes.operator === 'In')) continue;
      return `Container ${container} for pod ${namespace}/${name} failed with exit code ${exitCode}`;
    }
    return undefined;
  }
  for (const { type, status } of onPodConditions ?? []) {
    const matches = pod.status?.conditions?.some((condition) => condition.type === type && condition.status === (status ?? 'True'));
    if (matches === true) return `Pod ${namespace}/${name} has condition ${type}`;
  }
  return undefined;
}

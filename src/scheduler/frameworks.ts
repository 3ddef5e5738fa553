import type { Pod } from '../api/core/v1/pod.ts';
import type { PodDisruptionBudget } from '../api/policy/v1/pod-disruption-budget.ts';
import type { Clock } from '../base/clock.ts';
import { invariant } from '../base/invariant.ts';
import { createAlgorithm } from './algorithm.ts';
import type { Framework } from './attempts.ts';
import type { SchedulerCache } from './cache.ts';
import { createFeasibility } from './feasibility.ts';
import type { SchedulerMetrics } from './metrics.ts';
import type { Nominator } from './nominator.ts';
import { defaultSchedulerName, type PodRecord } from './pod-record.ts';
import { createPreemption } from './preemption.ts';
import type { Profile } from './profile.ts';

/** The algorithm and the preemption of each profile, over one cache. */
export interface Frameworks {
  /** The parts for a pod, by its `spec.schedulerName`. Only pods of one of the profiles come to the scheduler. */
  of(pod: PodRecord): Framework;
  profileOf(pod: PodRecord): Profile;
  /** The pod is for one of the profiles. */
  owns(pod: Pod): boolean;
  /** Choices of all profiles that were served by a sample scored for another pod. */
  readonly reusedSamples: number;
}

export interface FrameworksOptions {
  readonly profiles: readonly Profile[];
  readonly cluster: SchedulerCache;
  readonly nominator: Nominator;
  readonly clock: Clock;
  readonly random: () => number;
  readonly budgets: () => readonly PodDisruptionBudget[];
  readonly podOf: (record: PodRecord) => Pod;
  readonly measuresOf: (schedulerName: string) => SchedulerMetrics;
}

export function createFrameworks(options: FrameworksOptions): Frameworks {
  const { cluster, nominator, clock, random, measuresOf } = options;
  const feasibility = createFeasibility(nominator);
  const byName = new Map(
    options.profiles.map((profile) => {
      const measures = measuresOf(profile.schedulerName);
      const algorithm = createAlgorithm({
        profile,
        cluster,
        feasibility,
        nominator,
        clock,
        random,
        onTimed: (point, durationMs) => measures.extensionPointTook(point, true, durationMs),
      });
      const preemption = profile.preemption === undefined ? undefined : createPreemption({ ...options, profile, feasibility });
      return [profile.schedulerName, { profile, algorithm, preemption, measures }];
    }),
  );

  function of({ key, pod }: PodRecord): Framework {
    const framework = byName.get(nameOf(pod));
    invariant(framework !== undefined, `pod ${key} came to a scheduler that has no profile for it`);
    return framework;
  }

  return {
    of,
    profileOf: (pod) => of(pod).profile,
    owns: (pod) => byName.has(nameOf(pod)),
    get reusedSamples() {
      let sum = 0;
      for (const { algorithm } of byName.values()) sum += algorithm.reused;
      return sum;
    },
  };
}

const nameOf = ({ spec }: Pod): string => spec.schedulerName ?? defaultSchedulerName;

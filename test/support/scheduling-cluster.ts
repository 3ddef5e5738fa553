import type { Node } from '../../src/api/core/v1/node.ts';
import type { Pod } from '../../src/api/core/v1/pod.ts';
import type { PodDisruptionBudget } from '../../src/api/policy/v1/pod-disruption-budget.ts';
import { createAlgorithm } from '../../src/scheduler/algorithm.ts';
import { createSchedulerCache } from '../../src/scheduler/cache.ts';
import { defaultProfile } from '../../src/scheduler/configuration/configuration.ts';
import { createFeasibility } from '../../src/scheduler/feasibility.ts';
import { createNominator } from '../../src/scheduler/nominator.ts';
import { createShapeReader, type PodRecord } from '../../src/scheduler/pod-record.ts';
import { createPreemption } from '../../src/scheduler/preemption.ts';
import { createProfile, type Profile } from '../../src/scheduler/profile.ts';
import { describeUnfit } from '../../src/scheduler/unfit.ts';
import { createManualClock } from './manual-clock.ts';
import { detachedHandle } from './scheduler-profile.ts';

interface Around {
  readonly namespaceLabels?: Readonly<Record<string, Record<string, string>>>;
  readonly serviceSelectors?: Readonly<Record<string, readonly Record<string, string>[]>>;
  readonly budgets?: readonly PodDisruptionBudget[] | (() => readonly PodDisruptionBudget[]);
  /** The pod as the API has it now; absent: as it was read. */
  readonly podOf?: (record: PodRecord) => Pod;
  readonly random?: () => number;
  readonly profileOf?: (profile: Profile) => Profile;
}

/** The part of the scheduler that decides, over these nodes and pods, with no API and no queue. */
export function schedulingCluster(nodes: readonly Node[], placed: readonly (readonly [Pod, string])[] = [], around: Around = {}) {
  const {
    namespaceLabels = {},
    serviceSelectors = {},
    budgets = [],
    podOf = ({ pod }) => pod,
    random = () => 0.5,
    profileOf = (profile) => profile,
  } = around;
  const clock = createManualClock();
  const shapes = createShapeReader();
  const cache = createSchedulerCache({
    clock,
    namespaceLabels: (name) => namespaceLabels[name],
    serviceSelectors: (namespace) => serviceSelectors[namespace] ?? [],
  });
  for (const node of nodes) cache.setNode(node);
  for (const [pod, node] of placed) cache.setPod(shapes.read(pod), node);
  const profile = profileOf(createProfile(detachedHandle(clock), defaultProfile));
  const nominator = createNominator();
  const feasibility = createFeasibility(nominator);
  const algorithm = createAlgorithm({ profile, cluster: cache, feasibility, nominator, clock, random });
  const preemption = createPreemption({
    profile,
    cluster: cache,
    feasibility,
    nominator,
    clock,
    random,
    budgets: () => (typeof budgets === 'function' ? budgets() : budgets),
    podOf,
  });
  const planFor = (pod: Pod) => {
    const record = shapes.read(pod);
    const decision = algorithm.choose(record);
    return {
      record,
      decision,
      plan: 'node' in decision ? undefined : preemption.plan(record, decision.unfit, () => algorithm.preparations.of(record)),
    };
  };
  /** The node's name, or the text of FailedScheduling. */
  const choose = (pod: Pod): string => {
    const { decision, plan } = planFor(pod);
    if ('node' in decision) return decision.node.name;
    return describeUnfit(decision.unfit, plan !== undefined && 'message' in plan ? { preemption: plan.message } : {});
  };
  return {
    clock,
    cache,
    shapes,
    nominator,
    feasibility,
    algorithm,
    choose,
    place(pod: Pod): string {
      const record = shapes.read(pod);
      const decision = algorithm.choose(record);
      if (!('node' in decision)) return choose(pod);
      cache.assume(record, decision.node);
      return decision.node.name;
    },
    /** The node and the names of the victims, or why there are none; undefined when the pod fits without. */
    preempt(pod: Pod): { readonly node: string; readonly victims: readonly string[]; readonly violations: number } | string | undefined {
      const { plan } = planFor(pod);
      if (plan === undefined || 'message' in plan) return plan?.message;
      const { node, pods, violations } = plan.victims;
      return { node: node.name, victims: pods.map(({ pod: { metadata } }) => metadata.name), violations };
    },
  };
}

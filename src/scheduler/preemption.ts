import type { Pod } from '../api/core/v1/pod.ts';
import type { PodDisruptionBudget } from '../api/policy/v1/pod-disruption-budget.ts';
import type { Clock } from '../base/clock.ts';
import { conditionOf } from '../machinery/conditions.ts';
import type { NodeRecord, SchedulerCache } from './cache.ts';
import type { Feasibility } from './feasibility.ts';
import type { Nominator } from './nominator.ts';
import type { PodRecord } from './pod-record.ts';
import type { Prepared } from './preparations.ts';
import type { Profile } from './profile.ts';
import { Trial } from './trial.ts';
import { textOfCounts, type Unfit } from './unfit.ts';
import { createVictimMemory, type TrialOutcome } from './victim-memory.ts';
import { byImportance, pickBest, type StartOf, splitByBudgets, type Victims } from './victims.ts';

/** Finds the pods to remove so that a pod fits which no node can take as things are. It changes nothing. */
export interface Preemption {
  plan(pod: PodRecord, unfit: Unfit, preparedOf: () => Prepared): PreemptionPlan;
  /** The same, by those of the candidates that `narrow` leaves, as it leaves them. */
  planWith(
    pod: PodRecord,
    unfit: Unfit,
    options: { readonly preparedOf: () => Prepared; readonly narrow: Narrow },
  ): Promise<PreemptionPlan>;
}

type Narrow = (candidates: readonly Victims[]) => Promise<readonly Victims[]>;

/** A text instead of victims says why there are none; `keeps`: the pod keeps the node that it was nominated for before. */
export type PreemptionPlan = { readonly victims: Victims } | { readonly message: string; readonly keeps: boolean };

export interface PreemptionOptions {
  readonly profile: Profile;
  readonly cluster: SchedulerCache;
  readonly feasibility: Feasibility;
  readonly nominator: Nominator;
  readonly clock: Clock;
  /** Chooses where to begin among the nodes; [0, 1). */
  readonly random: () => number;
  readonly budgets: () => readonly PodDisruptionBudget[];
  /** The pod as the API has it now: a record does not follow its conditions. */
  readonly podOf: (record: PodRecord) => Pod;
}

/** Condition of a pod that the scheduler removes, as upstream has it. */
export const disruption = { type: 'DisruptionTarget', reason: 'PreemptionByScheduler' } as const;

const noVictims = 'No preemption victims found for incoming pod';
const noCandidate = 'no candidate node for preemption';
const notHelpful = 'Preemption is not helpful for scheduling';

export function createPreemption(options: PreemptionOptions): Preemption {
  const { profile, cluster, feasibility, nominator, clock, random, budgets, podOf } = options;
  const remembered = createVictimMemory();

  function startTimes(): StartOf {
    const now = clock.now();
    return (record) => {
      const at = record.pod.status?.startTime;
      return at === undefined ? now : Date.parse(at as unknown as string);
    };
  }

  /** The victims of the last time are still on their way out. */
  function isWaitingForVictims(pod: PodRecord, { resolvable }: Unfit): boolean {
    const name = nominator.nodeOf(pod.key);
    const node = name === undefined ? undefined : cluster.node(name);
    // Removing pods does not help there any more, so there is nothing to wait for.
    if (node === undefined || !resolvable.includes(node)) return false;
    return [...node.pods.values()].some((there) => there.shape.priority < pod.shape.priority && isTerminatingVictim(podOf(there)));
  }

  function dryRun(pod: PodRecord, unfit: Unfit, prepared: Prepared): readonly Victims[] | ReadonlyMap<string, number> {
    const { resolvable } = unfit;
    const startOf = startTimes();
    const protecting = budgets();
    const memory = remembered.under(protecting);
    const isAlone = prepared.filtersByNodeAlone();
    const ownNomination = nominator.nodeOf(pod.key);
    const offset = Math.floor(random() * resolvable.length);
    const enough = candidatesToFind(resolvable.length, profile);
    const found: Victims[] = [];
    let withoutViolation = 0;
    const reasons = new Map<string, number>();
    for (let index = 0; index < resolvable.length; index += 1) {
      // One that breaks no budget has to be among them, however long it takes.
      if (withoutViolation > 0 && found.length >= enough) break;
      const node = resolvable[(offset + index) % resolvable.length];
      if (node === undefined) continue;
      const tryOut = (): TrialOutcome => selectVictims({ pod, node, prepared, startOf, protecting });
      // Pods elsewhere may count too: no version tells of those. Pods nominated for the node count, all but this one.
      const isKnown = isAlone && node.name !== ownNomination;
      const outcome = isKnown ? memory.of(pod, { node, nominations: nominator.versionOn(node.name) }, tryOut) : tryOut();
      if ('reasons' in outcome) {
        for (const reason of outcome.reasons) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
        continue;
      }
      found.push(outcome);
      if (outcome.violations === 0) withoutViolation += 1;
    }
    return found.length > 0 ? found : reasons;
  }

  /** Removes all less important pods of the node, then takes back as many as possible, the most important first. */
  function selectVictims({ pod, node, prepared, startOf, protecting }: NodeTrial): TrialOutcome {
    const lesser = [...node.pods.values()].filter(({ shape }) => shape.priority < pod.shape.priority);
    if (lesser.length === 0) return { reasons: [noVictims] };
    const trial = new Trial(prepared.filters, node);
    try {
      for (const there of lesser) trial.remove(there);
      const rejection = feasibility.rejectionOf(pod, prepared.filters, trial.node);
      if (rejection !== undefined) return { reasons: rejection.reasons };
      const order = byImportance(startOf);
      const { violating, others } = splitByBudgets([...lesser].sort(order), protecting);
      const victims: PodRecord[] = [];
      const mayStay = (there: PodRecord): boolean => {
        trial.add(there);
        if (feasibility.rejectionOf(pod, prepared.filters, trial.node) === undefined) return true;
        trial.remove(there);
        victims.push(there);
        return false;
      };
      const violations = violating.filter((there) => !mayStay(there)).length;
      for (const there of others) mayStay(there);
      if (victims.length === 0) return { reasons: [`expected at least one victim pod on node "${node.name}"`] };
      return { node, pods: victims.sort(order), violations };
    } finally {
      trial.undo();
    }
  }

  function candidatesFor(
    pod: PodRecord,
    unfit: Unfit,
    preparedOf: () => Prepared,
  ): { readonly candidates: readonly Victims[] } | { readonly message: string; readonly keeps: boolean } {
    const { priority, mayPreempt } = pod.shape;
    if (!mayPreempt) return { message: 'not eligible due to preemptionPolicy=Never.', keeps: true };
    if (isWaitingForVictims(pod, unfit)) return { message: 'not eligible due to a terminating pod on the nominated node.', keeps: true };
    const { lowestPriority } = cluster;
    const isHopeless = lowestPriority === undefined || lowestPriority >= priority;
    const { resolvable } = unfit;
    let reasons: ReadonlyMap<string, number> = new Map(resolvable.length === 0 ? [] : [[noVictims, resolvable.length]]);
    if (!isHopeless && resolvable.length > 0) {
      const outcome = dryRun(pod, unfit, preparedOf());
      if (!(outcome instanceof Map)) {
        return { candidates: outcome as readonly Victims[] };
      }
      reasons = outcome;
    }
    return { message: describe(unfit, reasons), keeps: false };
  }

  function planOf(candidates: readonly Victims[]): PreemptionPlan {
    const victims = pickBest(candidates, startTimes());
    return victims === undefined ? { message: noCandidate, keeps: false } : { victims };
  }

  return {
    plan(pod, unfit, preparedOf) {
      const found = candidatesFor(pod, unfit, preparedOf);
      return 'candidates' in found ? planOf(found.candidates) : found;
    },
    async planWith(pod, unfit, { preparedOf, narrow }) {
      const found = candidatesFor(pod, unfit, preparedOf);
      return 'candidates' in found ? planOf(await narrow(found.candidates)) : found;
    },
  };
}

interface NodeTrial {
  readonly pod: PodRecord;
  readonly node: NodeRecord;
  readonly prepared: Prepared;
  readonly startOf: StartOf;
  readonly protecting: readonly PodDisruptionBudget[];
}

function isTerminatingVictim(pod: Pod): boolean {
  if (pod.metadata.deletionTimestamp === undefined) return false;
  const condition = conditionOf(pod.status?.conditions, disruption.type);
  return condition?.status === 'True' && condition.reason === disruption.reason;
}

/** Nodes to find victims on before the best is taken. */
function candidatesToFind(nodes: number, { preemption }: Profile): number {
  const { minCandidateNodesPercentage = 0, minCandidateNodesAbsolute = 0 } = preemption ?? {};
  return Math.min(nodes, Math.max(minCandidateNodesAbsolute, Math.floor((nodes * minCandidateNodesPercentage) / 100)));
}

function describe({ nodes, resolvable }: Unfit, reasons: ReadonlyMap<string, number>): string {
  const all = new Map(reasons);
  if (nodes > resolvable.length) all.set(notHelpful, (all.get(notHelpful) ?? 0) + nodes - resolvable.length);
  return `0/${nodes} nodes are available: ${textOfCounts(all)}.`;
}

import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Algorithm, Decision } from './algorithm.ts';
import type { Extenders, PodExtenders } from './extenders/extenders.ts';
import type { SchedulerMetrics } from './metrics.ts';
import type { PodRecord } from './pod-record.ts';
import type { PodSteps } from './pod-steps.ts';
import type { Preemption, PreemptionPlan } from './preemption.ts';
import type { Profile } from './profile.ts';
import type { QueuedPod } from './queue.ts';
import type { Reservations } from './reservations.ts';
import { describeClaims, describeUnfit, type Unfit } from './unfit.ts';

/** The parts of one profile. */
export interface Framework {
  readonly profile: Profile;
  readonly algorithm: Algorithm;
  /** Absent: no pod is removed for another one. */
  readonly preemption: Preemption | undefined;
  readonly measures: SchedulerMetrics;
}

export interface AttemptsOptions {
  readonly frameworkOf: (pod: PodRecord) => Framework;
  readonly extenders: Extenders;
  readonly clock: Clock;
  readonly log: Log;
  readonly reservations: Reservations;
  readonly advance: PodSteps['advance'];
  /** The pod still holds what an earlier attempt wrote for it, so that no change may come that wakes it. */
  readonly onNotGivenBack: (pod: QueuedPod, err: unknown) => void;
  /** Takes back the node that the pod was nominated for. */
  readonly clearNomination: (pod: QueuedPod) => void;
  /** The pod is still the one that the queue has. */
  readonly isWanted: (pod: QueuedPod) => boolean;
}

/**
 * Tries to find a node for a pod, notes the outcome on the pod and takes it to its next state. With extenders that it concerns, a promise
 * says when that is done. No other pod is tried before, since it might take what they were asked about.
 */
export type Attempt = (pod: QueuedPod, signal: AbortSignal) => Promise<void> | undefined;

export function createAttempts(options: AttemptsOptions): Attempt {
  const { frameworkOf, extenders, clock, log, reservations, advance, onNotGivenBack, clearNomination, isWanted } = options;

  function planFor({ record }: QueuedPod, unfit: Unfit, { algorithm, preemption }: Framework): PreemptionPlan | undefined {
    return unfit.nodes === 0 ? undefined : preemption?.plan(record, unfit, () => algorithm.preparations.of(record));
  }

  function onUnfit(pod: QueuedPod, unfit: Unfit, plan: PreemptionPlan | undefined): void {
    pod.rejectedBy = unfit.plugins;
    // A pod that was refused lacks an object, which no other node has.
    const given = unfit.refusal === undefined ? reservations.giveBack(pod.record, unfit.plugins) : undefined;
    given?.catch((err: unknown) => onNotGivenBack(pod, err));
    if (plan !== undefined && 'victims' in plan) {
      pod.victims = plan.victims;
      pod.failure = describeUnfit(unfit);
      advance(pod, { type: 'VICTIMS_FOUND' });
      return;
    }
    const hasClaims = (pod.record.shape.source.resourceClaims ?? []).length > 0;
    const usesClaims = frameworkOf(pod.record).profile.reserves.some(({ name }) => name === 'DynamicResources');
    const claims = usesClaims ? describeClaims(hasClaims, { refusal: unfit.refusal, isGivenBack: given !== undefined }) : undefined;
    pod.failure = describeUnfit(unfit, { claims, preemption: plan?.message });
    if (plan?.keeps !== true) clearNomination(pod);
    advance(pod, { type: 'NODE_NOT_FOUND' });
  }

  function onDecision(pod: QueuedPod, decision: Decision, outcome: Outcome): void {
    const { measures } = outcome;
    if ('unfit' in decision) {
      onUnfit(pod, decision.unfit, outcome.plan(decision.unfit));
      measures.attempted('unschedulable', clock.monotonicMs() - pod.triedAt);
      return;
    }
    const refusal = reservations.reserve(pod.record, decision.node);
    if (refusal === undefined) {
      pod.node = decision.node;
      advance(pod, { type: 'NODE_FOUND' });
      return;
    }
    pod.rejectedBy = new Set([refusal.plugin]);
    pod.failure = refusal.message;
    measures.attempted('unschedulable', clock.monotonicMs() - pod.triedAt);
    advance(pod, { type: 'NODE_NOT_FOUND' });
  }

  function onError(pod: QueuedPod, err: unknown, { measures }: Framework): void {
    log.error({ pod: pod.record.key, err }, 'Could not choose node for pod');
    pod.failure = err instanceof Error ? err.message : String(err);
    measures.attempted('error', clock.monotonicMs() - pod.triedAt);
    advance(pod, { type: 'ATTEMPT_FAILED' });
  }

  async function attemptWith(pod: QueuedPod, framework: Framework, { concerned, signal }: Extended): Promise<void> {
    const { algorithm, preemption, measures } = framework;
    const { record } = pod;
    try {
      const decision = await algorithm.chooseWith(record, concerned, signal);
      measures.algorithmTook(clock.monotonicMs() - pod.triedAt);
      const narrow = (candidates: Parameters<PodExtenders['preempt']>[0]) => concerned.preempt(candidates, signal);
      const plan =
        'node' in decision || decision.unfit.nodes === 0
          ? undefined
          : await preemption?.planWith(record, decision.unfit, { preparedOf: () => algorithm.preparations.of(record), narrow });
      if (isWanted(pod) && !signal.aborted) onDecision(pod, decision, { measures, plan: () => plan });
    } catch (err) {
      if (isWanted(pod) && !signal.aborted) onError(pod, err, framework);
    }
  }

  return (pod, signal) => {
    pod.triedAt = clock.monotonicMs();
    const framework = frameworkOf(pod.record);
    const { algorithm, measures } = framework;
    const concerned = extenders.of(pod.record);
    if (concerned !== undefined) return attemptWith(pod, framework, { concerned, signal });
    try {
      const decision = algorithm.choose(pod.record);
      measures.algorithmTook(clock.monotonicMs() - pod.triedAt);
      onDecision(pod, decision, { measures, plan: (unfit) => planFor(pod, unfit, framework) });
    } catch (err) {
      onError(pod, err, framework);
    }
    return undefined;
  };
}

interface Outcome {
  readonly measures: SchedulerMetrics;
  readonly plan: (unfit: Unfit) => PreemptionPlan | undefined;
}

interface Extended {
  readonly concerned: PodExtenders;
  readonly signal: AbortSignal;
}

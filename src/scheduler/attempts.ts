import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Algorithm } from './algorithm.ts';
import type { SchedulerMetrics } from './metrics.ts';
import type { PodRecord } from './pod-record.ts';
import type { PodSteps } from './pod-steps.ts';
import type { Preemption } from './preemption.ts';
import type { QueuedPod } from './queue.ts';
import type { Reservations } from './reservations.ts';
import { describeUnfit, type Unfit } from './unfit.ts';

/** The parts of one profile. */
export interface Framework {
  readonly algorithm: Algorithm;
  /** Absent: no pod is removed for another one. */
  readonly preemption: Preemption | undefined;
  readonly measures: SchedulerMetrics;
}

export interface AttemptsOptions {
  readonly frameworkOf: (pod: PodRecord) => Framework;
  readonly clock: Clock;
  readonly log: Log;
  readonly reservations: Reservations;
  readonly advance: PodSteps['advance'];
  /** Takes back the node that the pod was nominated for. */
  readonly clearNomination: (pod: QueuedPod) => void;
}

/** Makes the function that tries to find a node for a pod, notes the outcome on the pod and takes it to its next state. */
export function createAttempts(options: AttemptsOptions): (pod: QueuedPod) => void {
  const { frameworkOf, clock, log, reservations, advance, clearNomination } = options;

  function onUnfit(pod: QueuedPod, unfit: Unfit, { algorithm, preemption }: Framework): void {
    pod.rejectedBy = unfit.plugins;
    const plan = unfit.nodes === 0 ? undefined : preemption?.plan(pod.record, unfit, () => algorithm.preparations.of(pod.record));
    if (plan !== undefined && 'victims' in plan) {
      pod.victims = plan.victims;
      pod.failure = describeUnfit(unfit, undefined);
      advance(pod, { type: 'VICTIMS_FOUND' });
      return;
    }
    pod.failure = describeUnfit(unfit, plan?.message);
    if (plan?.keeps !== true) clearNomination(pod);
    advance(pod, { type: 'NODE_NOT_FOUND' });
  }

  return (pod) => {
    pod.triedAt = clock.monotonicMs();
    const framework = frameworkOf(pod.record);
    const { algorithm, measures } = framework;
    try {
      const decision = algorithm.choose(pod.record);
      measures.algorithmTook(clock.monotonicMs() - pod.triedAt);
      if ('unfit' in decision) {
        onUnfit(pod, decision.unfit, framework);
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
    } catch (err) {
      log.error({ pod: pod.record.key, err }, 'Could not choose node for pod');
      pod.failure = err instanceof Error ? err.message : String(err);
      measures.attempted('error', clock.monotonicMs() - pod.triedAt);
      advance(pod, { type: 'ATTEMPT_FAILED' });
    }
  };
}

import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Algorithm } from './algorithm.ts';
import type { SchedulerMetrics } from './metrics.ts';
import type { PodSteps } from './pod-steps.ts';
import type { QueuedPod } from './queue.ts';
import type { Reservations } from './reservations.ts';
import { describeUnfit } from './unfit.ts';

export interface AttemptsOptions {
  readonly algorithm: Algorithm;
  readonly clock: Clock;
  readonly log: Log;
  readonly measures: SchedulerMetrics;
  readonly reservations: Reservations;
  readonly advance: PodSteps['advance'];
}

/** Makes the function that tries to find a node for a pod, notes the outcome on the pod and takes it to its next state. */
export function createAttempts({ algorithm, clock, log, measures, reservations, advance }: AttemptsOptions): (pod: QueuedPod) => void {
  return (pod) => {
    pod.triedAt = clock.monotonicMs();
    try {
      const decision = algorithm.choose(pod.record);
      measures.algorithmTook(clock.monotonicMs() - pod.triedAt);
      if ('node' in decision) {
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
        return;
      }
      pod.rejectedBy = decision.unfit.plugins;
      pod.failure = describeUnfit(decision.unfit, pod.record.shape);
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

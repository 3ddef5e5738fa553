import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Algorithm } from './algorithm.ts';
import type { SchedulerMetrics } from './metrics.ts';
import type { PodSteps } from './pod-steps.ts';
import type { QueuedPod } from './queue.ts';
import { describeUnfit } from './unfit.ts';

export interface AttemptsOptions {
  readonly algorithm: Algorithm;
  readonly clock: Clock;
  readonly log: Log;
  readonly measures: SchedulerMetrics;
  readonly advance: PodSteps['advance'];
}

/** Makes the function that tries to find a node for a pod, notes the outcome on the pod and takes it to its next state. */
export function createAttempts({ algorithm, clock, log, measures, advance }: AttemptsOptions): (pod: QueuedPod) => void {
  return (pod) => {
    pod.triedAt = clock.monotonicMs();
    try {
      const decision = algorithm.choose(pod.record);
      measures.algorithmTook(clock.monotonicMs() - pod.triedAt);
      if ('node' in decision) {
        pod.node = decision.node;
        advance(pod, { type: 'NODE_FOUND' });
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

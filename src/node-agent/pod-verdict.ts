import type { Pod } from '../api/core/v1/pod.ts';
import type { PodStopReason } from '../lifecycle/pod-run.machine.ts';
import type { Mutable } from '../machinery/object.ts';
import type { AgentContext } from './agent-context.ts';
import { type PodRejection, rejectionOf } from './container-security.ts';
import { recordPodEvent } from './pod-events.ts';

/** The reason of the node for the end of a pod. */
export interface PodEnd extends PodRejection {
  /** The node never took the pod. */
  readonly isRejection?: true;
}

/** The decision of the node to end a pod permanently. */
export interface PodVerdict {
  /** The pod has to fail. */
  readonly isEvicted: boolean;
  /** For the pod's status, once its containers are being ended for it. */
  readonly final: PodEnd | undefined;
  /** A pod that asks for more than this node gives fails at once. */
  judge(pod: Pod): void;
  /** Ends the pod because of its usage of the node. @param eviction  without `graceSeconds`, at once */
  evict(pod: Pod, eviction: { readonly message: string; readonly graceSeconds?: number | undefined }): void;
  /** Ends the pod because its machine goes down. */
  endForShutdown(graceSeconds: number): void;
  /** The longest that it may take to end. Absent: the time that pods have for this reason. */
  readonly graceSeconds: number | undefined;
  /** The containers are ended for this reason. True when it becomes the pod's verdict. */
  pass(reason: PodStopReason): boolean;
}

export function createPodVerdict(context: AgentContext): PodVerdict {
  let evicted: PodEnd | undefined;
  const verdict: Mutable<PodVerdict> = {
    isEvicted: false,
    final: undefined,
    graceSeconds: undefined,

    judge(pod) {
      if (evicted !== undefined) return;
      const rejection = context.shutdown.isUnderWay
        ? { reason: 'NodeShutdown', message: 'Pod was rejected as the node is shutting down.' }
        : context.runtime.hasContainers
          ? (rejectionOf(pod) ?? context.pressure.refusalOf(pod))
          : undefined;
      if (rejection === undefined) return;
      end({ ...rejection, message: `Pod was rejected: ${rejection.message}`, isRejection: true });
      recordPodEvent(context, pod, { type: 'Warning', ...rejection });
    },

    evict(pod, { message, graceSeconds }) {
      if (graceSeconds !== undefined && evicted === undefined) verdict.graceSeconds = graceSeconds;
      end({ reason: 'Evicted', message });
      recordPodEvent(context, pod, { type: 'Warning', reason: 'Evicted', message });
    },

    endForShutdown(seconds) {
      verdict.graceSeconds = seconds;
      end({ reason: 'Terminated', message: 'Pod was terminated in response to imminent node shutdown.' });
    },

    pass(reason) {
      if (reason === 'DeadlineExceeded')
        verdict.final = { reason: 'DeadlineExceeded', message: 'Pod was active on the node longer than the specified deadline' };
      if (reason === 'Evicted') verdict.final = evicted;
      return reason === 'DeadlineExceeded' || reason === 'Evicted';
    },
  };

  /** The first reason stays. */
  function end(rejection: PodEnd): void {
    evicted ??= rejection;
    verdict.isEvicted = true;
  }

  return verdict;
}

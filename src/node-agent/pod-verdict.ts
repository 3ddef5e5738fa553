import { type HostPort, hostPortsOf, sharesPort } from '../api/core/v1/host-ports.ts';
import type { Pod } from '../api/core/v1/pod.ts';
import type { PodStopReason } from '../lifecycle/pod-run.machine.ts';
import type { AgentContext } from './agent-context.ts';
import { type PodRejection, rejectionOf } from './container-security.ts';
import { recordPodEvent } from './pod-events.ts';

/** The reason of the node for the end of a pod. */
export interface PodEnd extends PodRejection {
  /** The node never took the pod. */
  readonly isRejection?: true;
}

/** For a pod that no scheduler has placed: bound by hand, or from a directory of this machine. In the words of the kubelet. */
const portsTaken: PodRejection = {
  reason: 'NodePorts',
  message: "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
};

/** The decision of the node to end a pod permanently. */
export class PodVerdict {
  readonly #context: AgentContext;
  #evicted: PodEnd | undefined;
  #final: PodEnd | undefined;
  #graceSeconds: number | undefined;

  constructor(context: AgentContext) {
    this.#context = context;
  }

  /** The pod has to fail. */
  get isEvicted(): boolean {
    return this.#evicted !== undefined;
  }

  /** For the pod's status, once its containers are being ended for it. */
  get final(): PodEnd | undefined {
    return this.#final;
  }

  /** The longest that it may take to end. Absent: the time that pods have for this reason. */
  get graceSeconds(): number | undefined {
    return this.#graceSeconds;
  }

  /** A pod that asks for more than this node gives fails at once. @param taken  host ports of the other pods */
  judge(pod: Pod, taken: () => readonly HostPort[]): void {
    if (this.#evicted !== undefined) return;
    const { shutdown, runtime, pressure } = this.#context;
    const rejection = shutdown.isUnderWay
      ? { reason: 'NodeShutdown', message: 'Pod was rejected as the node is shutting down.' }
      : runtime.hasContainers
        ? (rejectionOf(pod) ?? (sharesPort(hostPortsOf(pod.spec), taken()) ? portsTaken : pressure.refusalOf(pod)))
        : undefined;
    if (rejection === undefined) return;
    this.#end({ ...rejection, message: `Pod was rejected: ${rejection.message}`, isRejection: true });
    recordPodEvent(this.#context, pod, { type: 'Warning', ...rejection });
  }

  /** Ends the pod because of its usage of the node. @param eviction  without `graceSeconds`, at once */
  evict(pod: Pod, { message, graceSeconds }: { readonly message: string; readonly graceSeconds?: number | undefined }): void {
    if (graceSeconds !== undefined && this.#evicted === undefined) this.#graceSeconds = graceSeconds;
    this.#end({ reason: 'Evicted', message });
    recordPodEvent(this.#context, pod, { type: 'Warning', reason: 'Evicted', message });
  }

  /** Ends the pod because its machine goes down. */
  endForShutdown(graceSeconds: number): void {
    this.#graceSeconds = graceSeconds;
    this.#end({ reason: 'Terminated', message: 'Pod was terminated in response to imminent node shutdown.' });
  }

  /** The containers are ended for this reason. True when it becomes the pod's verdict. */
  pass(reason: PodStopReason): boolean {
    if (reason === 'DeadlineExceeded')
      this.#final = { reason: 'DeadlineExceeded', message: 'Pod was active on the node longer than the specified deadline' };
    if (reason === 'Evicted') this.#final = this.#evicted;
    return reason === 'DeadlineExceeded' || reason === 'Evicted';
  }

  /** The first reason stays. */
  #end(rejection: PodEnd): void {
    this.#evicted ??= rejection;
  }
}

import type { Container, Pod } from '../api/core/v1/pod.ts';
import { podLevelResources } from '../api/core/v1/pod-resources.ts';
import { type QosClass, qosClassOf } from '../api/core/v1/qos.ts';
import { milliValueOf, tryQuantity, wholeValueOf } from '../machinery/quantity.ts';
import type { ContainerLimits } from './container-runtime.ts';

const lowestScore = 900;
const highestScore = 1_000;
/** More than any machine has; the kernel wants numbers that it can hold. */
const maxCpuMilli = 1_000_000_000;

/**
 * The kernel's preference for ending a container when the machine is out of memory. It is the kubelet's order of the
 * classes, shifted so that the control plane, which has 0, always comes after all pods.
 *
 * @see Kubernetes documentation, "Node-pressure Eviction", node out of memory behavior
 */
export function oomScoreOf(qosClass: QosClass, requestBytes: number, capacityBytes: number): number {
  if (qosClass === 'Guaranteed') return lowestScore;
  if (qosClass === 'BestEffort' || capacityBytes <= 0) return highestScore;
  const upstream = Math.min(999, Math.max(3, 1_000 - Math.floor((1_000 * requestBytes) / capacityBytes)));
  return lowestScore + 1 + Math.floor(upstream / 11);
}

/** Reads what a container may use. The API validates amounts; a text that is no amount bounds nothing. */
export function limitsOf(pod: Pod, { resources }: Container, capacity: string | undefined): ContainerLimits {
  const { requests = {} } = resources ?? {};
  // As the kubelet does: a container without a limit may use what its pod may.
  const limits = { ...podLevelResources(pod.spec)?.limits, ...resources?.limits };
  const bytesOf = (amount: unknown): number | undefined => {
    const quantity = tryQuantity(amount);
    return quantity === undefined ? undefined : Math.min(wholeValueOf(quantity), Number.MAX_SAFE_INTEGER);
  };
  const milliOf = (amount: unknown): number | undefined => {
    const quantity = tryQuantity(amount);
    return quantity === undefined ? undefined : Math.min(milliValueOf(quantity), maxCpuMilli);
  };
  const memoryBytes = bytesOf(limits.memory);
  const cpuMilli = milliOf(limits.cpu);
  const cpuRequestMilli = milliOf(requests.cpu ?? limits.cpu);
  return {
    oomScoreAdjust: oomScoreOf(
      pod.status?.qosClass === undefined ? qosClassOf(pod.spec) : (pod.status.qosClass as QosClass),
      bytesOf(requests.memory ?? limits.memory) ?? 0,
      bytesOf(capacity) ?? 0,
    ),
    // 0 is no limit, as upstream.
    ...(memoryBytes === undefined || memoryBytes === 0 ? {} : { memoryBytes }),
    ...(cpuMilli === undefined || cpuMilli === 0 ? {} : { cpuMilli }),
    ...(cpuRequestMilli === undefined ? {} : { cpuRequestMilli }),
  };
}

import { compareQuantities, formatQuantity, type Quantity, tryQuantity } from '../../../machinery/quantity.ts';
import type { PodSpec } from './pod.ts';
import { podLevelResources, podResources } from './pod-resources.ts';

export type QosClass = 'Guaranteed' | 'Burstable' | 'BestEffort';

const counted = ['cpu', 'memory'] as const;

/**
 * Class of a pod's protection when its node runs short. It depends on whether its containers request exactly their
 * limits, less, or nothing. Zero counts as nothing. Resources of the pod as a whole count instead where it has some.
 *
 * @see Kubernetes concepts, "Pod Quality of Service Classes"
 */
export function qosClassOf(spec: PodSpec): QosClass {
  let asksForSomething = false;
  let guaranteed = true;
  for (const { limits, requests } of partsOf(spec)) {
    for (const name of counted) {
      const limit = positive(tryQuantity(limits?.[name]));
      const request = positive(tryQuantity(requests?.[name])) ?? limit;
      if (limit !== undefined || request !== undefined) asksForSomething = true;
      if (limit === undefined || request === undefined || compareQuantities(limit, request) !== 0) guaranteed = false;
    }
  }
  if (!asksForSomething) return 'BestEffort';
  return guaranteed ? 'Guaranteed' : 'Burstable';
}

function partsOf(spec: PodSpec) {
  const whole = podLevelResources(spec);
  if (Object.keys({ ...whole?.limits, ...whole?.requests }).length === 0)
    return [...(spec.containers ?? []), ...(spec.initContainers ?? [])].map(({ resources = {} }) => resources);
  const requests = podResources(spec, 'requests', { overhead: false });
  return [{ limits: whole?.limits, requests: Object.fromEntries([...requests].map(([name, amount]) => [name, formatQuantity(amount)])) }];
}

const positive = (quantity: Quantity | undefined): Quantity | undefined =>
  quantity === undefined || quantity.nanos <= 0n ? undefined : quantity;

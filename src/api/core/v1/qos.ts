import { compareQuantities, tryQuantity } from '../../../machinery/quantity.ts';
import type { PodSpec } from './pod.ts';

export type QosClass = 'Guaranteed' | 'Burstable' | 'BestEffort';

const counted = ['cpu', 'memory'] as const;

/**
 * Class of a pod's protection when its node runs short. It depends on whether its containers request exactly their
 * limits, less, or nothing. Zero counts as nothing.
 *
 * @see Kubernetes concepts, "Pod Quality of Service Classes"
 */
export function qosClassOf(spec: PodSpec): QosClass {
  let asksForSomething = false;
  let guaranteed = true;
  for (const { resources = {} } of [...(spec.containers ?? []), ...(spec.initContainers ?? [])]) {
    for (const name of counted) {
      const limit = positive(resources.limits?.[name]);
      const request = positive(resources.requests?.[name]) ?? limit;
      if (limit !== undefined || request !== undefined) asksForSomething = true;
      if (limit === undefined || request === undefined || compareQuantities(limit, request) !== 0) guaranteed = false;
    }
  }
  if (!asksForSomething) return 'BestEffort';
  return guaranteed ? 'Guaranteed' : 'Burstable';
}

function positive(amount: string | undefined) {
  const quantity = tryQuantity(amount);
  return quantity === undefined || quantity.nanos <= 0n ? undefined : quantity;
}

import type { Pod } from '../../api/core/v1/pod.ts';
import { annotations, finalizers } from '../../api/well-known.ts';

/** The pod stays until the Job has counted it. */
export const isTracked = (pod: Pod): boolean => pod.metadata.finalizers?.includes(finalizers.jobTracking) === true;

/** The completion index of a pod; undefined without a valid one. */
export function indexOf({ metadata }: Pod): number | undefined {
  const text = metadata.annotations?.[annotations.jobCompletionIndex];
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

/** Failures of earlier pods with the same index. */
export function failureCountsOf({ metadata }: Pod): { readonly counted: number; readonly ignored: number } {
  const countOf = (annotation: string): number => {
    const text = metadata.annotations?.[annotation];
    return text !== undefined && /^\d+$/.test(text) ? Number(text) : 0;
  };
  return { counted: countOf(annotations.jobIndexFailureCount), ignored: countOf(annotations.jobIndexIgnoredFailureCount) };
}

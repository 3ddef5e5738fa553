import type { Condition as V1Condition } from 'kubernetes-types/meta/v1.d.ts';
import type { DeepReadonly } from '../machinery/object.ts';

/** What the kinds of the GitOps toolkit share: conditions, references, durations. */

export type Condition = DeepReadonly<V1Condition>;

export interface LocalObjectReference {
  readonly name: string;
}

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Whether `parseDuration` can read it. */
export const isDuration = (text: string): boolean => /^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$/.test(text);

/** Milliseconds of a Go duration with units ms, s, m and h: `1h30m`, `0.5s`. */
export function parseDuration(text: string): number {
  if (!isDuration(text)) throw new Error(`not a duration: "${text}"`);
  let total = 0;
  for (const [, count = '', unit = ''] of text.matchAll(/([0-9.]+)(ms|s|m|h)/g)) total += Number(count) * (unitMs[unit] ?? 0);
  return total;
}

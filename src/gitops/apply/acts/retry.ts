import { parseDuration } from '../../../api/flux.ts';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';

export const minRetryMs = 1_000;
const maxRetryMs = 5 * 60_000;
/** Up to this share is added to the wait between tries, so that apps that failed together do not try together. */
const jitter = 0.1;

/** The wait after so many failures in a row. */
export function retryDelayMs({ spec }: Kustomization, failures: number): number {
  return spec.retryInterval === undefined
    ? Math.min(maxRetryMs, minRetryMs * 2 ** Math.min(failures - 1, 20))
    : Math.max(minRetryMs, parseDuration(spec.retryInterval));
}

/** The wait with jitter; `random` is between 0 and 1, and `minMs` the least that the error asks for. */
export const jitteredDelayMs = (app: Kustomization, failures: number, { random, minMs = 0 }: { random: number; minMs?: number }): number =>
  Math.max(minMs, retryDelayMs(app, failures)) * (1 + jitter * random);

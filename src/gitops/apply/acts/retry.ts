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

/** The wait of what only a change makes better: as Flux waits after any failure. */
export const changeDelayMs = ({ spec }: Kustomization): number => Math.max(minRetryMs, parseDuration(spec.retryInterval ?? spec.interval));

/** The wait with jitter; `random` is between 0 and 1. */
export const jittered = (delayMs: number, random: number): number => delayMs * (1 + jitter * random);

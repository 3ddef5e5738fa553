/** Back-off of one container between its restarts, as the kubelet counts it: the first restart is free, then 10 s doubling to 5 min. */
export interface CrashBackoff {
  readonly delayMs: number;
  /** When the container was last started again. */
  readonly updatedAt: number;
}

const baseMs = 10_000;
const maxMs = 300_000;
/** A run this much longer than the longest back-off is a success: the count starts at zero. */
const resetAfterMs = 2 * maxMs;

/** Milliseconds until a container that ended at `finishedAt` may start again. */
export function remainingBackoff(backoff: CrashBackoff | undefined, finishedAt: number, now: number): number {
  if (backoff === undefined || finishedAt - backoff.updatedAt > resetAfterMs) return 0;
  return Math.max(0, finishedAt + backoff.delayMs - now);
}

/** After a restart at `now` of a container that ended at `finishedAt`. */
export function nextBackoff(backoff: CrashBackoff | undefined, finishedAt: number, now: number): CrashBackoff {
  if (backoff === undefined || finishedAt - backoff.updatedAt > resetAfterMs) return { delayMs: baseMs, updatedAt: now };
  return { delayMs: Math.min(maxMs, backoff.delayMs * 2), updatedAt: now };
}

/** For starts that fail before the container exists; the first failure waits already, and so does one after a wait that was cut short. */
export const nextFailureDelay = (delayMs: number | undefined): number =>
  delayMs === undefined || delayMs < baseMs ? baseMs : Math.min(maxMs, delayMs * 2);

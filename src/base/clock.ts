/** Time as components see it, so that tests can move it. Timers are cancelled by the function that is returned. */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /** Milliseconds of a clock that never goes back; for durations and deadlines. */
  monotonicMs(): number;
  /** Calls `action` once after `delayMs`. */
  after(delayMs: number, action: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, action) {
    // Node fires timers above 2^31-1 ms at once.
    const timer = setTimeout(action, Math.min(Math.max(delayMs, 0), 2_147_483_647));
    return () => clearTimeout(timer);
  },
};

let latestSecond = Number.NaN;
let latestTimestamp = '';

/** RFC 3339 in seconds, as Kubernetes writes `metav1.Time`. */
export function timestampOf(ms: number): string {
  // Thousands of objects are stamped in one second, and what they carry is one text then.
  const second = Math.floor(ms / 1000);
  if (second !== latestSecond) {
    latestTimestamp = `${new Date(second * 1000).toISOString().slice(0, 19)}Z`;
    latestSecond = second;
  }
  return latestTimestamp;
}

/** RFC 3339 in microseconds, as Kubernetes writes `metav1.MicroTime` (Leases, events.k8s.io). */
export const microTimestampOf = (ms: number): string => `${new Date(ms).toISOString().slice(0, 23)}000Z`;

/** The outcome of `work`, or `late` when there is none after `delayMs`. The work goes on then, and nobody sees it fail. */
export async function within<T>(clock: Clock, delayMs: number, work: Promise<T>): Promise<T | 'late'> {
  let cancel = (): void => undefined;
  const late = new Promise<'late'>((resolve) => {
    cancel = clock.after(delayMs, () => resolve('late'));
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    cancel();
  }
}

/** Resolves after `delayMs`, or rejects with the signal's reason when it is aborted first. */
export function sleep(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const cancel = clock.after(delayMs, () => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    });
    const onAbort = (): void => {
      cancel();
      reject(signal.reason);
    };
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

export interface LeaderElectionTiming {
  /** Others take the Lease when its record has not changed for so long; whole seconds. */
  readonly leaseDurationMs: number;
  /** A leader gives up so long after it sent the last renewal that was answered. */
  readonly renewDeadlineMs: number;
  /** Between two tries, to renew and, lengthened by up to `jitterFactor`, to acquire. */
  readonly retryPeriodMs: number;
}

/** Jitter, so that many candidates do not ask at once. */
export const jitterFactor = 1.2;

import type { Clock } from '../../base/clock.ts';
import { buckets, type Metrics } from '../../base/metrics.ts';

/** Figures of a log: how long its transactions take, how large its commits are, and how often housekeeping fails. */
export interface LogMetrics {
  /** Measures one transaction that succeeds. */
  timed<T>(op: 'load' | 'commit' | 'checkpoint' | 'compact' | 'purge', work: Promise<T>): Promise<T>;
  countRows(rows: number): void;
  countHousekeepingFailure(): void;
}

export function createLogMetrics(metrics: Metrics | undefined, clock: Clock): LogMetrics {
  const durations = metrics?.histogram({
    name: 'store_txn_duration_seconds',
    help: 'Duration of a transaction of the store.',
    labelNames: ['op'],
    buckets: [...buckets.store],
  });
  const commitRows = metrics?.histogram({
    name: 'commit_rows',
    help: 'Writes in one group commit.',
    buckets: [1, 2, 4, 8, 16, 32, 64, 128],
  });
  const housekeepingFailures = metrics?.counter({
    name: 'store_housekeeping_failures_total',
    help: 'Checkpoints of the store that failed.',
  });
  return {
    async timed(op, work) {
      const startedAt = clock.monotonicMs();
      const result = await work;
      durations?.observe({ op }, (clock.monotonicMs() - startedAt) / 1000);
      return result;
    },
    countRows: (rows) => commitRows?.observe(rows),
    countHousekeepingFailure: () => housekeepingFailures?.inc(),
  };
}

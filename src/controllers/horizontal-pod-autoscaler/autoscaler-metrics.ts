import type { Metrics } from '../../base/metrics.ts';

export type ScaleAction = 'scale_up' | 'scale_down' | 'none';

/** Counters of the controller of autoscalers, by upstream's names. */
export interface AutoscalerMetrics {
  reconciled(pass: { readonly action: ScaleAction; readonly failed: boolean; readonly durationMs: number }): void;
  computed(metric: { readonly type: string; readonly action: ScaleAction; readonly failed: boolean; readonly durationMs: number }): void;
}

/** From 1 ms on, each bound twice the one before. */
const durations = Array.from({ length: 15 }, (_, power) => 0.001 * 2 ** power);
const prefix = 'horizontal_pod_autoscaler_controller';

export function createAutoscalerMetrics(metrics: Metrics): AutoscalerMetrics {
  const passLabels = ['action', 'error'] as const;
  const metricLabels = ['action', 'error', 'metric_type'] as const;
  const passes = metrics.counter({ name: `${prefix}_reconciliations_total`, help: 'Passes over autoscalers.', labelNames: passLabels });
  const passTimes = metrics.histogram({
    name: `${prefix}_reconciliation_duration_seconds`,
    help: 'Time of a pass over an autoscaler.',
    labelNames: passLabels,
    buckets: durations,
  });
  const computations = metrics.counter({
    name: `${prefix}_metric_computation_total`,
    help: 'Numbers of replicas computed from one metric.',
    labelNames: metricLabels,
  });
  const computationTimes = metrics.histogram({
    name: `${prefix}_metric_computation_duration_seconds`,
    help: 'Time to compute a number of replicas from one metric.',
    labelNames: metricLabels,
    buckets: durations,
  });
  const errorOf = (failed: boolean): string => (failed ? 'internal' : 'none');
  return {
    reconciled({ action, failed, durationMs }) {
      const labels = { action, error: errorOf(failed) };
      passes.inc(labels);
      passTimes.observe(labels, durationMs / 1_000);
    },
    computed({ type, action, failed, durationMs }) {
      const labels = { action, error: errorOf(failed), metric_type: type };
      computations.inc(labels);
      computationTimes.observe(labels, durationMs / 1_000);
    },
  };
}

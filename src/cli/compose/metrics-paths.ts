import { addProcessMetrics, createMetrics, type Metrics, partsOf } from '../../base/metrics.ts';

/** Metrics of the parts; each has a path of its own, as if it were a process of its own. */
export interface MetricsPaths {
  readonly apiserver: Metrics;
  readonly scheduler: Metrics;
  readonly controllerManager: Metrics;
  readonly state: Metrics;
  readonly gitops: Metrics;
  readonly kubelet: Metrics;
  readonly process: Metrics;
  /** Text by path; `/metrics` has every family once. */
  texts(): Readonly<Record<string, () => AsyncIterable<string>>>;
}

export function createMetricsPaths(): MetricsPaths {
  const paths = {
    apiserver: createMetrics(),
    scheduler: createMetrics(),
    controllerManager: createMetrics(),
    state: createMetrics(),
    gitops: createMetrics(),
    kubelet: createMetrics(),
    process: addProcessMetrics(),
  };
  return {
    ...paths,
    texts: () => ({
      '/metrics': () => partsOf(...Object.values(paths)),
      '/metrics/apiserver': () => partsOf(paths.apiserver, paths.process),
      '/metrics/scheduler': () => partsOf(paths.scheduler, paths.process),
      '/metrics/controller-manager': () => partsOf(paths.controllerManager, paths.process),
      '/metrics/state': () => partsOf(paths.state),
      '/metrics/gitops': () => partsOf(paths.gitops),
    }),
  };
}

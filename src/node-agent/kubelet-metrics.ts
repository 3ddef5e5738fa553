import type { Pod } from '../api/core/v1/pod.ts';
import { buckets, type Metrics } from '../base/metrics.ts';
import { allContainers } from './pod-references.ts';
import type { ProbeType } from './probes.ts';

/** The `kubelet_*` and `prober_*` counters of the agents that share a metrics path. */
export interface KubeletMetrics {
  /** Counts a call to the runtime; `operation` is upstream's name of it: `start_container`. */
  runtimeOperation<T>(operation: RuntimeOperation, call: () => Promise<T>): Promise<T>;
  podStarted(durationMs: number): void;
  podWorked(operation: 'create' | 'sync' | 'terminate', durationMs: number): void;
  relisted(durationMs: number): void;
  probed(type: ProbeType, success: boolean, pod: Pod, container: string): void;
  /** The pod is gone: its series end. */
  forgetPod(pod: Pod): void;
}

const operations = [
  'run_podsandbox',
  'stop_podsandbox',
  'remove_podsandbox',
  'pull_image',
  'create_container',
  'start_container',
  'stop_container',
  'remove_container',
  'exec_sync',
] as const;
export type RuntimeOperation = (typeof operations)[number];

export function createKubeletMetrics(metrics: Metrics): KubeletMetrics {
  const operationNames = ['operation_type'] as const;
  const calls = metrics.counter({
    name: 'kubelet_runtime_operations_total',
    help: 'Calls to the container runtime.',
    labelNames: operationNames,
  });
  const failures = metrics.counter({
    name: 'kubelet_runtime_operations_errors_total',
    help: 'Calls to the container runtime that failed.',
    labelNames: operationNames,
  });
  const durations = metrics.histogram({
    name: 'kubelet_runtime_operations_duration_seconds',
    help: 'Time of calls to the container runtime.',
    labelNames: operationNames,
    buckets: [...buckets.request],
  });
  const podStart = metrics.histogram({
    name: 'kubelet_pod_start_duration_seconds',
    help: 'From the first sight of a pod to its containers running.',
    buckets: [...buckets.podStart],
  });
  const podWork = metrics.histogram({
    name: 'kubelet_pod_worker_duration_seconds',
    help: 'Time of one pass over a pod.',
    labelNames: operationNames,
    buckets: [...buckets.request],
  });
  const relist = metrics.histogram({
    name: 'kubelet_pleg_relist_duration_seconds',
    help: 'Time to list what the runtime holds.',
    buckets: [...buckets.request],
  });
  const probes = metrics.counter({
    name: 'prober_probe_total',
    help: 'Probes of containers, by result.',
    labelNames: ['probe_type', 'result', 'namespace', 'pod', 'container'],
  });
  const probeLabels = (type: ProbeType, result: string, { metadata }: Pod, container: string) => ({
    probe_type: `${type.charAt(0).toUpperCase()}${type.slice(1)}`,
    result,
    namespace: metadata.namespace ?? '',
    pod: metadata.name,
    container,
  });
  // prom-client hashes its labels on each call; one lookup here keeps that off the path of a pod.
  const byOperation = new Map(
    operations.map((operation) => {
      const labels = { operation_type: operation };
      calls.inc(labels, 0);
      failures.inc(labels, 0);
      return [operation, { calls: calls.labels(labels), failures: failures.labels(labels), durations: durations.labels(labels) }];
    }),
  );
  const work = {
    create: podWork.labels({ operation_type: 'create' }),
    sync: podWork.labels({ operation_type: 'sync' }),
    terminate: podWork.labels({ operation_type: 'terminate' }),
  };

  return {
    async runtimeOperation(operation, call) {
      const series = byOperation.get(operation);
      const startedAt = performance.now();
      series?.calls.inc();
      try {
        return await call();
      } catch (err) {
        series?.failures.inc();
        throw err;
      } finally {
        series?.durations.observe((performance.now() - startedAt) / 1_000);
      }
    },
    podStarted: (durationMs) => podStart.observe(durationMs / 1_000),
    podWorked: (operation, durationMs) => work[operation].observe(durationMs / 1_000),
    relisted: (durationMs) => relist.observe(durationMs / 1_000),
    probed(type, success, pod, container) {
      // Both from the start, or the first failure would be no increase.
      probes.inc(probeLabels(type, 'successful', pod, container), success ? 1 : 0);
      probes.inc(probeLabels(type, 'failed', pod, container), success ? 0 : 1);
    },
    forgetPod(pod) {
      for (const { name } of allContainers(pod)) {
        for (const type of ['startup', 'readiness', 'liveness'] as const) {
          for (const result of ['successful', 'failed']) probes.remove(probeLabels(type, result, pod, name));
        }
      }
    },
  };
}

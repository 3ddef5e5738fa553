import type { Pod } from '../api/core/v1/pod.ts';
import { buckets, type Metrics } from '../base/metrics.ts';
import { containerHeader, type NodeCounts, nodeCountLines } from './container-metrics.ts';
import type { ProbeResult, ProbeType } from './probes.ts';

/** The `kubelet_*` and `prober_*` counters of the agents that share a metrics path. */
export interface KubeletMetrics {
  /** Counts a call to the runtime; `operation` is upstream's name of it: `start_container`. */
  runtimeOperation<T>(operation: RuntimeOperation, call: () => Promise<T>): Promise<T>;
  podStarted(durationMs: number): void;
  podWorked(operation: 'create' | 'sync' | 'terminate', durationMs: number): void;
  relisted(durationMs: number): void;
  probed(node: string, type: ProbeType, result: ProbeResult, pod: Pod, container: string): void;
  /** The pod is gone: its series end. */
  forgetPod(pod: Pod): void;
  /** Adds what is measured of a node at each scrape. Returns a function that takes it out again. */
  addNode(node: MeasuredNode): () => void;
  /** `prober_probe_total` of the pods of one node, or of all. */
  probeLines(node?: string): Iterable<string>;
}

/** A node as its metrics show it. */
interface MeasuredNode {
  readonly name: string;
  /** Lines of its containers, from the last measurement; asks for a new one. */
  containerLines(): Iterable<string>;
  counts(): NodeCounts;
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
type RuntimeOperation = (typeof operations)[number];

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
  const probes = new Map<string, { readonly node: string; readonly counts: Map<string, Record<ProbeResult, number>> }>();
  const nodes = new Set<MeasuredNode>();
  metrics.addCollector(function* () {
    yield* probeLines();
    yield* nodeCountLines([...nodes].map((node) => ({ name: node.name, ...node.counts() })));
    yield containerHeader;
    for (const node of nodes) yield* node.containerLines();
  });

  function* probeLines(only?: string): Iterable<string> {
    yield '# HELP prober_probe_total Probes of containers, by result.\n# TYPE prober_probe_total counter\n';
    for (const { node, counts } of probes.values()) {
      if (only !== undefined && node !== only) continue;
      for (const [labels, { success, failure, unknown }] of counts) {
        yield `prober_probe_total{${labels},result="successful"} ${success}\nprober_probe_total{${labels},result="failed"} ${failure}\n`;
        if (unknown > 0) yield `prober_probe_total{${labels},result="unknown"} ${unknown}\n`;
      }
    }
  }

  // One lookup here keeps that off the path of a pod.
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
    probed(node, type, result, pod, container) {
      const { namespace = '', name, uid = '' } = pod.metadata;
      const entry = probes.get(uid) ?? { node, counts: new Map<string, Record<ProbeResult, number>>() };
      probes.set(uid, entry);
      const labels = `probe_type="${type.charAt(0).toUpperCase()}${type.slice(1)}",namespace="${namespace}",pod="${name}",container="${container}"`;
      // Both from the start, or the first failure would be no increase.
      const counts = entry.counts.get(labels) ?? { success: 0, failure: 0, unknown: 0 };
      counts[result] += 1;
      entry.counts.set(labels, counts);
    },
    forgetPod: ({ metadata }) => void probes.delete(metadata.uid ?? ''),
    addNode(node) {
      nodes.add(node);
      return () => nodes.delete(node);
    },
    probeLines,
  };
}

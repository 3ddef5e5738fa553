import type { Pod } from '../api/core/v1/pod.ts';
import { escapeLabel } from '../base/series.ts';
import type { AgentContext } from './agent-context.ts';
import type { ContainerStats, ContainerStatus, SandboxStatus } from './container-runtime.ts';
import type { MachineUsage } from './machine-usage.ts';

/** A pod with what its runtime holds of it. */
export interface PodOnNode {
  readonly pod: Pod;
  readonly sandbox: SandboxStatus | undefined;
}

/** Measurements of a node's containers, and their time. */
export interface Measurement {
  readonly stats: readonly ContainerStats[];
  /** Undefined for a node that shares its machine with others. */
  readonly machine?: MachineUsage | undefined;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export interface NodeCounts {
  readonly runningPods: number;
  readonly containers: Readonly<Record<ContainerStatus['state'], number>>;
}

/** Head of the families in `containerLines`, once a page. */
export const containerHeader = [
  '# HELP container_cpu_usage_seconds_total Processor time used by the container.\n# TYPE container_cpu_usage_seconds_total counter\n',
  '# HELP container_memory_working_set_bytes Memory the container holds, as far as it can be measured.\n# TYPE container_memory_working_set_bytes gauge\n',
  '# HELP container_memory_rss Memory that the processes of the container have resident.\n# TYPE container_memory_rss gauge\n',
].join('');

/**
 * cAdvisor's families, with the time of the measurement. The format wants the lines of a family together; the caller
 * serves one node.
 */
export function* containerLines(node: string, pods: Iterable<PodOnNode>, { stats, at }: Measurement): Iterable<string> {
  const families: readonly (readonly [string, string, keyof ContainerStats])[] = [
    ['container_cpu_usage_seconds_total', ',cpu="total"', 'cpuUsageSeconds'],
    ['container_memory_working_set_bytes', '', 'memoryWorkingSetBytes'],
    ['container_memory_rss', '', 'memoryRssBytes'],
  ];
  const byPod = new Map<string, PodOnNode>();
  for (const entry of pods) byPod.set(entry.pod.metadata.uid ?? '', entry);
  for (const [family, more, field] of families) {
    for (const sample of stats) {
      const value = sample[field];
      const entry = byPod.get(sample.podUid);
      const status = entry === undefined ? undefined : runningNamed(entry, sample.container);
      if (value === undefined || entry === undefined || status === undefined) continue;
      const { namespace = '', name, uid } = entry.pod.metadata;
      const labels = `container="${sample.container}",id="/kubepods/pod${uid}/${status.id}",image="${escapeLabel(status.image)}",name="${status.id}",namespace="${namespace}",node="${node}",pod="${name}"`;
      yield `${family}{${labels}${more}} ${value} ${at}\n`;
    }
  }
}

const runningNamed = ({ sandbox }: PodOnNode, name: string): ContainerStatus | undefined =>
  sandbox?.containers.find((status) => status.name === name && status.state === 'running');

export function countsOf(pods: Iterable<PodOnNode>): NodeCounts {
  const containers = { created: 0, running: 0, exited: 0, unknown: 0 };
  let runningPods = 0;
  for (const { sandbox } of pods) {
    if (sandbox === undefined) continue;
    if (sandbox.containers.some(({ state }) => state === 'running')) runningPods += 1;
    for (const { state } of sandbox.containers) containers[state] += 1;
  }
  return { runningPods, containers };
}

export function* nodeCountLines(nodes: readonly (NodeCounts & { readonly name: string })[]): Iterable<string> {
  yield '# HELP kubelet_node_name The node of this agent.\n# TYPE kubelet_node_name gauge\n';
  for (const { name } of nodes) yield `kubelet_node_name{node="${name}"} 1\n`;
  yield '# HELP kubelet_running_pods Pods with a running container.\n# TYPE kubelet_running_pods gauge\n';
  for (const { name, runningPods } of nodes) yield `kubelet_running_pods{node="${name}"} ${runningPods}\n`;
  yield '# HELP kubelet_running_containers Containers, by state.\n# TYPE kubelet_running_containers gauge\n';
  for (const { name, containers } of nodes) {
    for (const [state, count] of Object.entries(containers))
      yield `kubelet_running_containers{container_state="${state}",node="${name}"} ${count}\n`;
  }
}

/** The families that a metrics server reads (`/metrics/resource`). */
export function* resourceLines(pods: Iterable<PodOnNode>, { stats, machine, at }: Measurement): Iterable<string> {
  if (machine !== undefined) {
    yield '# HELP node_cpu_usage_seconds_total Processor time used by all processes of the machine.\n# TYPE node_cpu_usage_seconds_total counter\n';
    yield `node_cpu_usage_seconds_total ${machine.cpuSeconds} ${at}\n`;
    yield '# HELP node_memory_working_set_bytes Memory that the machine cannot give away at once.\n# TYPE node_memory_working_set_bytes gauge\n';
    yield `node_memory_working_set_bytes ${machine.memoryWorkingSetBytes} ${at}\n`;
  }
  const byUid = new Map<string, PodOnNode>();
  for (const entry of pods) byUid.set(entry.pod.metadata.uid ?? '', entry);
  const known = stats.flatMap((sample) => {
    const entry = byUid.get(sample.podUid);
    return entry === undefined
      ? []
      : [{ sample, entry, labels: `namespace="${entry.pod.metadata.namespace}",pod="${entry.pod.metadata.name}"` }];
  });
  yield '# HELP container_cpu_usage_seconds_total Processor time used by the container.\n# TYPE container_cpu_usage_seconds_total counter\n';
  for (const { sample, labels } of known) {
    if (sample.cpuUsageSeconds !== undefined)
      yield `container_cpu_usage_seconds_total{container="${sample.container}",${labels}} ${sample.cpuUsageSeconds} ${at}\n`;
  }
  yield '# HELP container_memory_working_set_bytes Memory the container holds, as far as it can be measured.\n# TYPE container_memory_working_set_bytes gauge\n';
  for (const { sample, labels } of known) {
    if (sample.memoryWorkingSetBytes !== undefined)
      yield `container_memory_working_set_bytes{container="${sample.container}",${labels}} ${sample.memoryWorkingSetBytes} ${at}\n`;
  }
  yield '# HELP container_start_time_seconds Start of the container, since the epoch.\n# TYPE container_start_time_seconds gauge\n';
  for (const { sample, entry, labels } of known) {
    const startedAt = runningNamed(entry, sample.container)?.startedAt;
    if (startedAt !== undefined)
      yield `container_start_time_seconds{container="${sample.container}",${labels}} ${startedAt / 1_000} ${at}\n`;
  }
  const podSums: readonly (readonly [string, string, 'cpuUsageSeconds' | 'memoryWorkingSetBytes'])[] = [
    ['pod_cpu_usage_seconds_total', 'counter', 'cpuUsageSeconds'],
    ['pod_memory_working_set_bytes', 'gauge', 'memoryWorkingSetBytes'],
  ];
  for (const [family, type, field] of podSums) {
    yield `# HELP ${family} Sum over the containers of the pod.\n# TYPE ${family} ${type}\n`;
    const sums = new Map<string, number>();
    for (const { sample, labels } of known) {
      const value = sample[field];
      if (value !== undefined) sums.set(labels, (sums.get(labels) ?? 0) + value);
    }
    for (const [labels, sum] of sums) yield `${family}{${labels}} ${sum} ${at}\n`;
  }
  yield '# HELP resource_scrape_error 1 when a container could not be measured.\n# TYPE resource_scrape_error gauge\nresource_scrape_error 0\n';
}

/** The newest measurement of a node's containers. */
export interface Measurements {
  readonly newest: Measurement;
  /** Measures for the next reader: one that asks does not wait, and the numbers carry their time. */
  renew(): void;
}

export function createMeasurements({ runtime, clock, log }: Pick<AgentContext, 'runtime' | 'clock' | 'log'>): Measurements {
  let newest: Measurement = { stats: [], at: 0 };
  let isMeasuring = false;
  return {
    get newest() {
      return newest;
    },
    renew() {
      if (isMeasuring) return;
      isMeasuring = true;
      runtime
        .stats()
        .then((stats) => {
          newest = { stats, at: clock.now() };
        })
        .catch((err: unknown) => log.warn({ err }, 'Could not measure containers'))
        .finally(() => {
          isMeasuring = false;
        });
    },
  };
}

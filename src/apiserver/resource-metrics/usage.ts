/** Usage of containers as their nodes report it: processor time since their start, and memory now. */

export interface ContainerSample {
  readonly namespace: string;
  readonly pod: string;
  readonly container: string;
  readonly cpuSeconds: number;
  readonly memoryBytes: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** By namespace, pod and container. */
export type NodeSamples = ReadonlyMap<string, ContainerSample>;

export interface ContainerUsage {
  readonly namespace: string;
  readonly pod: string;
  readonly container: string;
  /** 10^9 are one processor. */
  readonly nanocores: number;
  readonly memoryBytes: number;
  readonly at: number;
  readonly windowMs: number;
}

/** The report of one node. */
const maxContainers = 10_000;
const linePattern =
  /^container_(cpu_usage_seconds_total|memory_working_set_bytes)\{container="([^"]{1,253})",namespace="([^"]{1,253})",pod="([^"]{1,253})"\} ([0-9.e+-]{1,32}) ([0-9]{1,16})$/;

/** Reads a kubelet's `/metrics/resource`. Containers of which not both are known are left out, and so is what cannot be read. */
export function parseResourceMetrics(text: string): NodeSamples {
  const partial = new Map<string, Partial<ContainerSample> & Pick<ContainerSample, 'namespace' | 'pod' | 'container'>>();
  for (const line of text.split('\n')) {
    const match = linePattern.exec(line);
    if (match === null) continue;
    const [, family, container = '', namespace = '', pod = '', number = '', time = ''] = match;
    const value = Number(number);
    if (!Number.isFinite(value) || value < 0) continue;
    const key = `${namespace}/${pod}/${container}`;
    const known = partial.get(key);
    if (known === undefined && partial.size >= maxContainers) continue;
    const field = family === 'cpu_usage_seconds_total' ? { cpuSeconds: value, at: Number(time) } : { memoryBytes: value };
    partial.set(key, { ...known, namespace, pod, container, ...field });
  }
  const samples = new Map<string, ContainerSample>();
  for (const [key, { namespace, pod, container, cpuSeconds, memoryBytes, at }] of partial) {
    if (cpuSeconds === undefined || memoryBytes === undefined || at === undefined) continue;
    samples.set(key, { namespace, pod, container, cpuSeconds, memoryBytes, at });
  }
  return samples;
}

/** Rate between two reports of a node. A container that started or restarted between them has no rate yet. */
export function usageBetween(before: NodeSamples, now: NodeSamples): readonly ContainerUsage[] {
  return [...now].flatMap(([key, { namespace, pod, container, cpuSeconds, memoryBytes, at }]) => {
    const old = before.get(key);
    if (old === undefined || old.at >= at || old.cpuSeconds > cpuSeconds) return [];
    const windowMs = at - old.at;
    const nanocores = Math.round(((cpuSeconds - old.cpuSeconds) / windowMs) * 1e12);
    return [{ namespace, pod, container, nanocores, memoryBytes, at, windowMs }];
  });
}

/** The form of `metrics.k8s.io`. */
export const quantitiesOf = ({ nanocores, memoryBytes }: Pick<ContainerUsage, 'nanocores' | 'memoryBytes'>) => ({
  cpu: nanocores === 0 ? '0' : `${nanocores}n`,
  memory: `${Math.ceil(memoryBytes / 1024)}Ki`,
});

/** Usage of containers as their nodes report it: processor time since their start, and memory now. */

/** Usage of a whole machine, or of one container. */
export interface UsageSample {
  readonly cpuSeconds: number;
  readonly memoryBytes: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export interface ContainerSample extends UsageSample {
  readonly namespace: string;
  readonly pod: string;
  readonly container: string;
}

export interface NodeSamples {
  /** By namespace, pod and container. */
  readonly containers: ReadonlyMap<string, ContainerSample>;
  /** Undefined for a node that shares its machine with others. */
  readonly machine: UsageSample | undefined;
}

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

const machinePattern = /^node_(cpu_usage_seconds_total|memory_working_set_bytes) ([0-9.e+-]{1,32}) ([0-9]{1,16})$/;

/** Reads a kubelet's `/metrics/resource`. Containers of which not both are known are left out, and so is what cannot be read. */
export function parseResourceMetrics(text: string): NodeSamples {
  const partial = new Map<string, Partial<ContainerSample> & Pick<ContainerSample, 'namespace' | 'pod' | 'container'>>();
  let machine: Partial<UsageSample> = {};
  for (const line of text.split('\n')) {
    const own = machinePattern.exec(line);
    if (own !== null) {
      machine = { ...machine, ...fieldOf(own[1], Number(own[2]), Number(own[3])) };
      continue;
    }
    const match = linePattern.exec(line);
    if (match === null) continue;
    const [, family, container = '', namespace = '', pod = '', number = '', time = ''] = match;
    const value = Number(number);
    const field = fieldOf(family, value, Number(time));
    if (field === undefined) continue;
    const key = `${namespace}/${pod}/${container}`;
    const known = partial.get(key);
    if (known === undefined && partial.size >= maxContainers) continue;
    partial.set(key, { ...known, namespace, pod, container, ...field });
  }
  const samples = new Map<string, ContainerSample>();
  for (const [key, { namespace, pod, container, cpuSeconds, memoryBytes, at }] of partial) {
    if (cpuSeconds === undefined || memoryBytes === undefined || at === undefined) continue;
    samples.set(key, { namespace, pod, container, cpuSeconds, memoryBytes, at });
  }
  const { cpuSeconds, memoryBytes, at } = machine;
  const isKnown = cpuSeconds !== undefined && memoryBytes !== undefined && at !== undefined;
  return { containers: samples, machine: isKnown ? { cpuSeconds, memoryBytes, at } : undefined };
}

/** Undefined for a number that is none. */
function fieldOf(family: string | undefined, value: number, at: number): Partial<UsageSample> | undefined {
  if (!Number.isFinite(value) || value < 0) return undefined;
  return family === 'cpu_usage_seconds_total' ? { cpuSeconds: value, at } : { memoryBytes: value };
}

/** Rate between two reports of a node. A container that started or restarted between them has no rate yet. */
export function usageBetween(before: NodeSamples, now: NodeSamples): readonly ContainerUsage[] {
  return [...now.containers].flatMap(([key, sample]) => {
    const rate = rateBetween(before.containers.get(key), sample);
    if (rate === undefined) return [];
    const { namespace, pod, container, memoryBytes, at } = sample;
    return [{ namespace, pod, container, memoryBytes, at, ...rate }];
  });
}

/** Usage of the whole machine; undefined where it is not known, or after a restart of the machine. */
export function machineUsageBetween({ machine: old }: NodeSamples, { machine: now }: NodeSamples): MachineRate | undefined {
  if (now === undefined) return undefined;
  const rate = rateBetween(old, now);
  return rate === undefined ? undefined : { nanocores: rate.nanocores, memoryBytes: now.memoryBytes };
}

export type MachineRate = Pick<ContainerUsage, 'nanocores' | 'memoryBytes'>;

function rateBetween(old: UsageSample | undefined, now: UsageSample): Pick<ContainerUsage, 'nanocores' | 'windowMs'> | undefined {
  if (old === undefined || old.at >= now.at || old.cpuSeconds > now.cpuSeconds) return undefined;
  const windowMs = now.at - old.at;
  return { nanocores: Math.round(((now.cpuSeconds - old.cpuSeconds) / windowMs) * 1e12), windowMs };
}

/** The form of `metrics.k8s.io`. */
export const quantitiesOf = ({ nanocores, memoryBytes }: Pick<ContainerUsage, 'nanocores' | 'memoryBytes'>) => ({
  cpu: nanocores === 0 ? '0' : `${nanocores}n`,
  memory: `${Math.ceil(memoryBytes / 1024)}Ki`,
});

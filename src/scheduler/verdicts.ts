import { isSamePort } from '../api/core/v1/host-ports.ts';
import { toleratesTaint } from '../lifecycle/tolerations.ts';
import type { NodeRecord, SchedulerCache } from './cache.ts';
import type { Rejection } from './plugin.ts';
import type { PodRecord } from './pod-record.ts';
import type { Profile } from './profile.ts';

/** The answers of all filters about one node for one pod. */
export interface NodeVerdict {
  readonly node: string;
  /** In the words of kube-scheduler, of every filter that rejects the node and not only of the first; none: the pod fits. */
  readonly reasons: readonly string[];
  /** A way to make it fit for each filter that rejects it. */
  readonly fixes: readonly string[];
}

/**
 * Asks every filter about every node, and says for each node what would make the pod fit. A filter that refuses the pod whatever the nodes
 * are like has its reason on all of them. The order is that of the nodes' names.
 */
export function verdictsFor(pod: PodRecord, profile: Profile, cluster: SchedulerCache): readonly NodeVerdict[] {
  const refusals = profile.filters.flatMap(({ refuse }) => refuse?.(pod) ?? []);
  const filters = profile.filters.flatMap((plugin) => {
    const prepared = plugin.prepare(pod, cluster);
    return prepared === undefined ? [] : [{ name: plugin.name, prepared }];
  });
  return [...cluster.nodes]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map((node) => {
      const reasons: string[] = [...refusals];
      const fixes: string[] = refusals.length === 0 ? [] : ['change the pod, or what it names'];
      for (const { name, prepared } of filters) {
        const rejection = prepared.filter(node);
        if (rejection === undefined) continue;
        reasons.push(...rejection.reasons);
        fixes.push(fixOf(name, pod, { node, rejection }));
      }
      return { node: node.name, reasons, fixes };
    });
}

interface Rejected {
  readonly node: NodeRecord;
  readonly rejection: Rejection;
}

function fixOf(plugin: string, pod: PodRecord, { node, rejection }: Rejected): string {
  switch (plugin) {
    case 'NodeUnschedulable':
      return `kubectl uncordon ${node.name}`;
    case 'TaintToleration':
      return fixOfTaints(pod, node);
    case 'NodeAffinity':
      return fixOfLabels(pod, node);
    case 'NodePorts':
      return fixOfPorts(pod, node);
    case 'NodeResourcesFit':
      return fixOfResources(pod, node);
    case 'PodTopologySpread':
      return fixOfSpread(pod, node);
    case 'InterPodAffinity':
      return rejection.resolvable
        ? 'move away the pods that anti-affinity keeps apart from it'
        : 'place a pod that its affinity selects in the same domain, or make that affinity a preferred one';
    default:
      return plugin.includes('Volume') ? 'give it volumes that this node can reach' : `see plugin ${plugin}`;
  }
}

function fixOfTaints({ shape }: PodRecord, node: NodeRecord): string {
  const taints = node.hardTaints.filter((taint) => !toleratesTaint(shape.tolerations, taint));
  const remove = taints.map(({ key, effect }) => `${key}:${effect}-`).join(' ');
  const tolerate = taints.map(({ key, value, effect }) => `${key}${value === undefined || value === '' ? '' : `=${value}`}:${effect}`);
  return `let the pod tolerate ${tolerate.join(', ')}, or: kubectl taint nodes ${node.name} ${remove}`;
}

function fixOfLabels({ shape }: PodRecord, node: NodeRecord): string {
  const wanted = Object.entries(shape.source.nodeSelector ?? {}).filter(([key, value]) => node.labels[key] !== value);
  if (wanted.length === 0) return 'change the node affinity of the pod, or the labels of the node';
  return `kubectl label nodes ${node.name} ${wanted.map(([key, value]) => `${key}=${value}`).join(' ')}`;
}

function fixOfPorts({ shape }: PodRecord, node: NodeRecord): string {
  for (const there of node.pods.values()) {
    for (const port of shape.hostPorts) {
      if (there.shape.hostPorts.some((other) => isSamePort(port, other))) return `free host port ${port.port}, which pod ${there.key} has`;
    }
  }
  return 'free its host ports';
}

function fixOfResources({ shape: { requests } }: PodRecord, node: NodeRecord): string {
  const missing: string[] = [];
  const check = (name: string, { wanted, left, total }: Record<'wanted' | 'left' | 'total', number>, text: (amount: number) => string) => {
    if (wanted === 0 || wanted <= left) return;
    const never = wanted > total ? `, more than the node has (${text(total)})` : '';
    missing.push(`${text(wanted - Math.max(0, left))} more ${name} (it requests ${text(wanted)}${never})`);
  };
  check('cpu', { wanted: requests.milliCpu, left: node.milliCpu - node.usedMilliCpu, total: node.milliCpu }, cpuText);
  check('memory', { wanted: requests.memory, left: node.memory - node.usedMemory, total: node.memory }, bytesText);
  check(
    'ephemeral-storage',
    { wanted: requests.ephemeralStorage, left: node.ephemeralStorage - node.usedEphemeralStorage, total: node.ephemeralStorage },
    bytesText,
  );
  for (const [name, wanted] of requests.extended ?? []) {
    const total = node.extended?.get(name) ?? 0;
    check(name, { wanted, left: total - (node.usedExtended?.get(name) ?? 0), total }, String);
  }
  if (node.pods.size + 1 > node.maxPods) missing.push(`room for one more pod (it may have ${node.maxPods})`);
  return `free, or request less: ${missing.join(', ')}`;
}

function fixOfSpread({ shape }: PodRecord, node: NodeRecord): string {
  const missing = shape.hardSpread.map(({ topologyKey }) => topologyKey).filter((key) => node.labels[key] === undefined);
  if (missing.length > 0) return `give the node the label ${missing.join(', ')}, over which the pod is spread`;
  const domains = shape.hardSpread.map(({ topologyKey }) => `${topologyKey}=${node.labels[topologyKey] ?? ''}`);
  return `place more pods like it outside ${domains.join(', ')}, or raise maxSkew`;
}

const cpuText = (milli: number): string => (milli % 1_000 === 0 ? String(milli / 1_000) : `${milli}m`);

const mebibyte = 1024 * 1024;
const bytesText = (bytes: number): string => (bytes < mebibyte ? String(bytes) : `${Math.ceil(bytes / mebibyte)}Mi`);

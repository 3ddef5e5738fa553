import type { DaemonSet } from '../../api/apps/v1/daemon-set.ts';
import type { Node } from '../../api/core/v1/node.ts';
import type { PodSpec, PodTemplateSpec, Toleration } from '../../api/core/v1/pod.ts';
import { taints } from '../../api/well-known.ts';
import { compileNodeSelector } from '../../lifecycle/node-selector.ts';
import { toleratesTaint } from '../../lifecycle/tolerations.ts';

/** Judgement of a node for the pods of one DaemonSet. */
export interface NodeFit {
  /** The node should get a pod. */
  readonly runs: boolean;
  /** A pod that is there may stay: the node has got a taint that only keeps new pods away. */
  readonly keeps: boolean;
}

const unfit: NodeFit = { runs: false, keeps: false };

/** By template, which is one frozen object until someone changes it. */
const known = new WeakMap<PodTemplateSpec, (node: Node) => NodeFit>();

/**
 * Judges nodes by name, selector, required affinity and taints, as the scheduler does. Room on the node does not matter: the pod is
 * made, and waits.
 */
export function nodeFitOf({ spec: { template } }: DaemonSet): (node: Node) => NodeFit {
  let fit = known.get(template);
  if (fit === undefined) {
    fit = compile(template.spec ?? { containers: [] });
    known.set(template, fit);
  }
  return fit;
}

function compile(spec: PodSpec): (node: Node) => NodeFit {
  const matches = compileNodeSelector(spec.nodeSelector, spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution);
  const tolerations = daemonTolerations(spec);
  return ({ metadata, spec: nodeSpec }) => {
    if (spec.nodeName !== undefined && spec.nodeName !== '' && spec.nodeName !== metadata.name) return unfit;
    if (matches !== undefined && !matches(metadata.labels ?? {}, metadata.name)) return unfit;
    const untolerated = (nodeSpec?.taints ?? []).filter(
      (taint) => taint.effect !== 'PreferNoSchedule' && !toleratesTaint(tolerations, taint),
    );
    return { runs: untolerated.length === 0, keeps: !untolerated.some(({ effect }) => effect === 'NoExecute') };
  };
}

/** The tolerations of the template, and those that keep daemons on nodes in trouble. */
export function daemonTolerations({ tolerations = [], hostNetwork }: PodSpec): readonly Toleration[] {
  const added = hostNetwork === true ? [...always, tolerationOf(taints.networkUnavailable, 'NoSchedule')] : always;
  return [...tolerations, ...added.filter((toleration) => !tolerations.some((given) => isSame(given, toleration)))];
}

const tolerationOf = (key: string, effect: 'NoSchedule' | 'NoExecute'): Toleration => ({ key, operator: 'Exists', effect });

/** @see Kubernetes concepts, "DaemonSet", "Taints and tolerations" */
const always: readonly Toleration[] = [
  tolerationOf(taints.notReady, 'NoExecute'),
  tolerationOf(taints.unreachable, 'NoExecute'),
  tolerationOf(taints.diskPressure, 'NoSchedule'),
  tolerationOf(taints.memoryPressure, 'NoSchedule'),
  tolerationOf(taints.pidPressure, 'NoSchedule'),
  tolerationOf(taints.unschedulable, 'NoSchedule'),
];

const isSame = (a: Toleration, b: Toleration): boolean =>
  a.key === b.key &&
  a.operator === b.operator &&
  a.effect === b.effect &&
  (a.value ?? '') === (b.value ?? '') &&
  a.tolerationSeconds === undefined;

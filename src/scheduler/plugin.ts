import type { NodeRecord } from './cache.ts';
import type { PodRecord } from './pod-record.ts';

/**
 * The contract of a plugin. `prepare` is called once for each pod and returns a function for its nodes, or undefined
 * when the plugin has no opinion about this pod. That function reads flat fields of node records and allocates no
 * objects.
 */
export interface FilterPlugin {
  readonly name: string;
  /**
   * A pod that no node can take, whatever the nodes are like: the text for `FailedScheduling`. Such a pod waits for a change of the pod.
   */
  refuse?(pod: PodRecord): string | undefined;
  prepare(pod: PodRecord, cluster: ClusterView): PreparedFilter | undefined;
  /** Kinds of change after which a pod that this plugin rejected is worth another try. */
  readonly helpedBy: readonly ClusterChange[];
}

export interface PreparedFilter {
  /** Undefined: the node will do. */
  filter(node: NodeRecord): Rejection | undefined;
  /** The answer depends on pods of other nodes, so a scored sample must not outlive the pod it was made for. */
  readonly looksAround?: boolean;
}

export interface ScorePlugin {
  readonly name: string;
  readonly weight: number;
  prepare(pod: PodRecord, cluster: ClusterView): PreparedScore | undefined;
}

export interface PreparedScore {
  /** Any number, from which `scale` makes 0 to 100. */
  score(node: NodeRecord): number;
  /**
   * Conversion of raw numbers to 0 to 100 over the compared nodes (`range`: from the lowest to the highest). Absent when they are in that
   * range already.
   */
  readonly scale?: 'highest-is-100' | 'highest-is-0' | 'range';
  readonly looksAround?: boolean;
}

/** Reason why a node does not fit. A constant where possible, since each node yields one. */
export interface Rejection {
  /** In the words of kube-scheduler. */
  readonly reasons: readonly string[];
  /** Could be helped by removing pods from the node; decides the text about preemption. */
  readonly resolvable: boolean;
}

/** Input of plugins besides the pod and the node. */
export interface ClusterView {
  readonly nodes: readonly NodeRecord[];
  /** Pods with a required anti-affinity term, with their nodes: usually none. */
  readonly podsWithAntiAffinity: ReadonlyMap<PodRecord, NodeRecord>;
  /** Labels of a namespace, for affinity terms with a namespace selector. */
  namespaceLabels(name: string): Readonly<Record<string, string>> | undefined;
}

/** Changes of the cluster that may make room for a pod. */
export type ClusterChange =
  | 'NodeAdded'
  | 'NodeRemoved'
  | 'NodeAllocatableChanged'
  | 'NodeLabelsChanged'
  | 'NodeTaintsChanged'
  | 'AssignedPodAdded'
  | 'AssignedPodChanged'
  | 'AssignedPodDeleted'
  | 'PodChanged';

/** Highest score of a plugin. */
export const maxScore = 100;

import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Client } from '../client/client.ts';
import type { InformerSet } from '../client/informer.ts';
import type { KubeObject } from '../machinery/object.ts';
import type { NodeRecord } from './cache.ts';
import type { PodRecord } from './pod-record.ts';

/**
 * A plugin of kube-scheduler's name, by extension point. It is made once for each profile. Bind, queue order and gates are
 * not among the points: every profile has the same.
 */
export interface Plugin {
  readonly name: string;
  readonly filter?: FilterPlugin;
  readonly score?: ScorePlugin;
  readonly reserve?: ReservePlugin;
  /** Removes other pods for a pod that fits nowhere, and tries out so many nodes for that. */
  readonly postFilter?: { readonly minCandidateNodesPercentage: number; readonly minCandidateNodesAbsolute: number };
  /**
   * Follows objects that only this plugin reads, and reports changes that may turn its answers. Returns a function that ends it. It is
   * called once the informers have synced.
   */
  watch?(onChange: ChangeListener): () => void;
}

/** Parts that plugins are made with. Informers have to be asked for while the plugin is made, so that the scheduler waits for them. */
export interface PluginHandle {
  readonly client: Client;
  readonly informers: InformerSet;
  readonly clock: Clock;
  readonly log: Log;
}

/** Makes a plugin with the arguments of its `pluginConfig`, which were checked and have all defaults. */
export type PluginFactory = (handle: PluginHandle, args: unknown) => Plugin;

/**
 * `prepare` is called once for each shape of pods and returns a function for nodes. It returns undefined when the plugin has no opinion
 * about such pods. That function reads flat fields of node records and allocates no objects.
 */
export interface FilterPlugin {
  /**
   * A pod that no node can take, whatever the nodes are like: the text for `FailedScheduling`. Such a pod waits for one of the changes
   * of `helpedBy`.
   */
  refuse?(pod: PodRecord): string | undefined;
  /** Names of the only nodes that can take the pod; undefined when names decide nothing. No other node is looked at. */
  namedNodes?(pod: PodRecord): ReadonlySet<string> | undefined;
  prepare(pod: PodRecord, cluster: ClusterView): PreparedFilter | undefined;
  /** Kinds of change after which a pod that this plugin rejected is worth another try. */
  readonly helpedBy: Readonly<Partial<Record<ClusterChange, HelpTest>>>;
}

/** Decides if the change may turn the answer about the pod: `always`, or by a look at what changed. In doubt it is true. */
export type HelpTest = 'always' | ((pod: PodRecord, changed: Changed) => boolean);

export interface PreparedFilter {
  /** Undefined: the node will do. */
  filter(node: NodeRecord): Rejection | undefined;
  /** The answer depends on pods of other nodes, so a scored sample must not outlive the pod it was made for. */
  readonly looksAround?: boolean;
  /**
   * The answer depends on this one pod, or on objects that no node record has. It is prepared for each pod again, and no other pod
   * takes a node from its sample.
   */
  readonly forThisPod?: boolean;
  /** Counts a pod that comes to the node (1) or leaves it (-1), for a filter that reads more than node records. */
  shift?: Shift;
}

export type Shift = (pod: PodRecord, node: NodeRecord, sign: 1 | -1) => void;

export interface ScorePlugin {
  prepare(pod: PodRecord, cluster: ClusterView): PreparedScore | undefined;
}

export interface PreparedScore {
  /** Looks at the nodes that are going to be compared. */
  begin?(feasible: readonly NodeRecord[]): void;
  /** Any number, from which `scale` makes 0 to 100. */
  score(node: NodeRecord): number;
  /**
   * Conversion of raw numbers to whole ones from 0 to 100 over the compared nodes. `range` goes from the lowest to the highest, `even`
   * measures the distance to both by the highest, and nodes below 0 get nothing. Absent when the numbers are in that range already.
   */
  readonly scale?: 'highest-is-100' | 'highest-is-0' | 'range' | 'even';
  /** Every node would get the same now. */
  readonly isSilent?: boolean;
  readonly looksAround?: boolean;
  readonly forThisPod?: boolean;
  shift?: Shift;
}

/**
 * Holds something for a pod on the node chosen for it, and writes it before the pod is bound. Only pods that it concerns come here.
 */
export interface ReservePlugin {
  concerns(pod: PodRecord): boolean;
  /** Takes in memory what the pod needs on the node. A text says why that is not possible: the pod waits for a change. */
  reserve?(pod: PodRecord, node: NodeRecord): string | undefined;
  /**
   * Writes through the API what has to be there before the pod is bound, and waits for others to act on it. A rejection takes the pod
   * to its back-off. The signal is aborted when the pod is gone or the scheduler stops.
   */
  preBind?(pod: PodRecord, node: NodeRecord, signal: AbortSignal): Promise<void>;
  /**
   * The plugin keeps the pod from nodes. Gives back what an earlier attempt wrote for it, so that another node may serve it. Undefined when
   * there is nothing to give back. A rejection has the pod tried again after its back-off.
   */
  giveBack?(pod: PodRecord): Promise<void> | undefined;
  /** Gives back what `reserve` took, after any failure from then to the binding. Calling it twice changes nothing. */
  unreserve?(pod: PodRecord, node: NodeRecord): void;
}

/** Reason why a node does not fit. A constant where possible, since each node yields one. */
export interface Rejection {
  /** In the words of kube-scheduler. */
  readonly reasons: readonly string[];
  /** Could be helped by removing pods from the node; decides whether preemption looks at it. */
  readonly resolvable: boolean;
}

/** Input of plugins besides the pod and the node. */
export interface ClusterView {
  readonly nodes: readonly NodeRecord[];
  /** Pods with a required anti-affinity term, with their nodes: usually none. */
  readonly podsWithAntiAffinity: ReadonlyMap<PodRecord, NodeRecord>;
  /** Pods with required affinity or preferred terms of either kind, with their nodes. */
  readonly podsWithAffinity: ReadonlyMap<PodRecord, NodeRecord>;
  /** Pods of a controlling owner by its uid, with their nodes; those of nodes that are gone included. */
  podsOfOwner(uid: string): Iterable<PlacedPod>;
  /** Pods of a namespace with their nodes; those of nodes that are gone included. */
  podsIn(namespace: string): Iterable<PlacedPod>;
  /**
   * Values of each of these labels over the nodes that have all of them, found once for the nodes as they are. A look at 5,000 nodes for
   * each shape of pods cost more than the choice of a node.
   */
  domains(keys: readonly string[]): ReadonlyMap<string, ReadonlySet<string>>;
  /** Labels of a namespace, for affinity terms with a namespace selector. */
  namespaceLabels(name: string): Readonly<Record<string, string>> | undefined;
  /** Selectors of the Services that select pods with these labels. */
  serviceSelectors(namespace: string, labels: Readonly<Record<string, string>>): readonly Readonly<Record<string, string>>[];
  /** Nodes that have an image of this name. */
  nodesWithImage(name: string): number;
}

/** A pod and the node that it is on, or that is promised to it. */
export interface PlacedPod {
  readonly pod: PodRecord;
  readonly node: NodeRecord;
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
  | 'NamespaceChanged'
  | 'PodChanged'
  | `${VolumeKind | DeviceKind}${'Added' | 'Changed' | 'Deleted'}`;

/** Kinds of objects that plugins for volumes follow. */
export type VolumeKind =
  | 'PersistentVolumeClaim'
  | 'PersistentVolume'
  | 'StorageClass'
  | 'CSINode'
  | 'CSIDriver'
  | 'CSIStorageCapacity'
  | 'VolumeAttachment';

/** Kinds of objects that the plugin for devices follows. */
export type DeviceKind = 'ResourceClaim' | 'ResourceSlice' | 'DeviceClass';

/** The things that changed, as far as they are known. */
export interface Changed {
  /** The node, as it is now. */
  readonly node?: NodeRecord;
  /** The pod on a node: as it is now, or as it was when it is gone. */
  readonly pod?: PodRecord;
  /** The same pod before, when it changed. */
  readonly podBefore?: PodRecord;
  /** An object of another kind, before and after; one of the two is absent when it came or went. */
  readonly before?: KubeObject;
  readonly after?: KubeObject;
}

export type ChangeListener = (change: ClusterChange, changed?: Changed) => void;

/** Highest score of a plugin. */
export const maxScore = 100;

import { type HostPort, hostPortsOf } from '../api/core/v1/host-ports.ts';
import type { Affinity, Container, Pod, PodSpec, Toleration } from '../api/core/v1/pod.ts';
import { BoundedMap } from '../base/bounded-map.ts';
import { compileNodeSelector, compileNodeTerm, type NodeMatcher, namedNodesOf } from '../lifecycle/node-selector.ts';
import { nodeNameOf } from '../lifecycle/pod-scheduling.facts.ts';
import { controllerOf, type DeepReadonly, deepEqual, keyOf } from '../machinery/object.ts';
import { compileLabelSelector, type LabelSelector, nothing } from '../machinery/selector.ts';
import { type HeldRequests, heldRequestsOf } from './held-requests.ts';
import { type PodRequests, requestsOf } from './requests.ts';

/** The scheduler of pods that name none. */
export const defaultSchedulerName = 'default-scheduler';

/** A pod with what the scheduler has to know of it, read once. */
export interface PodRecord {
  readonly key: string;
  readonly uid: string;
  readonly namespace: string;
  readonly pod: Pod;
  /** Shared by all pods that a scheduler cannot tell apart: same owner, same spec. */
  readonly shape: PodShape;
}

export interface PodShape {
  /** Uid of the controlling owner. */
  readonly ownerUid: string | undefined;
  /** The owner is of a kind whose replicas are spread by default: a ReplicaSet, ReplicationController or StatefulSet. */
  readonly spreadsByOwner: boolean;
  readonly requests: PodRequests;
  readonly priority: number;
  /** False for `preemptionPolicy: Never`. */
  readonly mayPreempt: boolean;
  readonly hostPorts: readonly HostPort[];
  readonly tolerations: readonly Toleration[];
  /** `nodeSelector` and required node affinity together; absent when every node matches. */
  readonly nodeMatcher: NodeMatcher | undefined;
  /** The only nodes that required node affinity selects, when it names them. */
  readonly namedNodes: ReadonlySet<string> | undefined;
  readonly preferredNodes: readonly { readonly weight: number; readonly matches: NodeMatcher }[];
  readonly requiredAffinity: readonly PodTerm[];
  readonly requiredAntiAffinity: readonly PodTerm[];
  /** Preferred affinity with positive, anti-affinity with negative weights. */
  readonly preferredPods: readonly { readonly weight: number; readonly term: PodTerm }[];
  readonly hardSpread: readonly SpreadConstraint[];
  readonly softSpread: readonly SpreadConstraint[];
  /** Parts of the pod that the shape was read from. */
  readonly source: ShapeSource;
}

/** A term of pod (anti-)affinity. */
export interface PodTerm {
  readonly topologyKey: string;
  readonly selector: LabelSelector;
  readonly namespaces: ReadonlySet<string>;
  /** Selects further namespaces by their labels. */
  readonly namespaceSelector: LabelSelector | undefined;
}

export interface SpreadConstraint {
  readonly topologyKey: string;
  readonly maxSkew: number;
  readonly minDomains: number;
  readonly selector: LabelSelector;
  /** Nodes that the pod's node selector and affinity leave out do not count as domains. */
  readonly honorNodeAffinity: boolean;
  /** Nodes with taints that the pod does not tolerate do not count as domains. */
  readonly honorTaints: boolean;
}

type ShapeSource = Pick<
  PodSpec,
  | 'affinity'
  | 'containers'
  | 'initContainers'
  | 'nodeSelector'
  | 'overhead'
  | 'preemptionPolicy'
  | 'priority'
  | 'resourceClaims'
  | 'tolerations'
  | 'topologySpreadConstraints'
  | 'volumes'
> & {
  readonly labels: Readonly<Record<string, string>> | undefined;
  readonly namespace: string;
  readonly resources: unknown;
  readonly held: HeldRequests | undefined;
};

/** Remembers the shape of each owner's newest pods, so that a thousand replicas are parsed once. */
export interface ShapeReader {
  /** `known` is what was read of the pod before: its shape comes back when nothing that matters has changed. */
  read(pod: Pod, known?: PodRecord): PodRecord;
}

/** Owners, and shapes by content, that are remembered. Beyond that the oldest is forgotten, which costs one more parse. */
const maxOwners = 10_000;
const maxContents = 2_000;

export function createShapeReader(): ShapeReader {
  const byOwner = new BoundedMap<string, PodShape>(maxOwners);
  const byContent = new BoundedMap<string, PodShape>(maxContents);

  return {
    read(pod, known) {
      const source = sourceOf(pod);
      const owner = controllerOf(pod);
      const ownerUid = owner?.uid;
      // A binding or a status leaves these parts as they were. The shape may be that of another pod, with parts of its own.
      if (known !== undefined && known.shape.ownerUid === ownerUid && hasPartsOf(known.pod, source)) return recordOf(pod, known.shape);
      const newest = ownerUid === undefined ? undefined : byOwner.get(ownerUid);
      // Parts of a template are shared by reference, so for the replicas of one owner this is a dozen pointer comparisons.
      let shape = [newest, known?.shape].find((one) => one !== undefined && one.ownerUid === ownerUid && isSameSource(one.source, source));
      if (shape === undefined) {
        // Pods without an owner, and replicas whose parts are not shared, are alike when they read alike.
        const content = contentOf(source, ownerUid);
        shape = byContent.use(content) ?? shapeOf(source, owner);
        byContent.set(content, shape);
        if (ownerUid !== undefined) byOwner.set(ownerUid, shape);
      }
      return recordOf(pod, shape);
    },
  };
}

const recordOf = (pod: Pod, shape: PodShape): PodRecord => ({
  key: keyOf(pod),
  uid: pod.metadata.uid ?? '',
  namespace: pod.metadata.namespace ?? '',
  pod,
  shape,
});

function hasPartsOf(pod: Pod, source: ShapeSource): boolean {
  const own = sourceOf(pod);
  for (const part in source) if (own[part as keyof ShapeSource] !== source[part as keyof ShapeSource]) return false;
  return true;
}

/** All that a shape is made from. Names of volumes for tokens are drawn for each pod, and such volumes make no difference. */
function contentOf({ containers, initContainers, volumes, ...rest }: ShapeSource, ownerUid: string | undefined): string {
  const essence = (container: Container) => {
    const { image, resources, ports, restartPolicy } = container as Container & { readonly restartPolicy?: string };
    return { image, resources, ports, restartPolicy };
  };
  return JSON.stringify([
    ownerUid,
    rest,
    containers.map(essence),
    initContainers?.map(essence),
    volumes?.filter(({ projected, configMap, secret, emptyDir, downwardAPI, hostPath }) => {
      return (projected ?? configMap ?? secret ?? emptyDir ?? downwardAPI ?? hostPath) === undefined;
    }),
  ]);
}

function isSameSource(a: ShapeSource, b: ShapeSource): boolean {
  for (const part in a) {
    const [left, right] = [a[part as keyof ShapeSource], b[part as keyof ShapeSource]];
    if (left !== right && !deepEqual(left, right)) return false;
  }
  return true;
}

/** Every source has the same fields. */
function sourceOf(pod: Pod): ShapeSource {
  const { spec, metadata } = pod;
  return {
    affinity: spec.affinity,
    containers: spec.containers,
    initContainers: spec.initContainers,
    nodeSelector: spec.nodeSelector,
    overhead: spec.overhead,
    preemptionPolicy: spec.preemptionPolicy,
    priority: spec.priority,
    resourceClaims: spec.resourceClaims,
    tolerations: spec.tolerations,
    topologySpreadConstraints: spec.topologySpreadConstraints,
    volumes: spec.volumes,
    labels: metadata.labels,
    namespace: metadata.namespace ?? '',
    resources: (spec as { readonly resources?: unknown }).resources,
    held: nodeNameOf(pod) === undefined ? undefined : heldRequestsOf(pod),
  } as ShapeSource;
}

function shapeOf(source: ShapeSource, owner: ReturnType<typeof controllerOf>): PodShape {
  const { affinity, tolerations, topologySpreadConstraints } = source;
  const spec = source as unknown as PodSpec;
  const spread = (topologySpreadConstraints ?? []).map((constraint) => ({
    hard: constraint.whenUnsatisfiable === 'DoNotSchedule',
    constraint: spreadOf(constraint, source.labels),
  }));
  return {
    ownerUid: owner?.uid,
    spreadsByOwner: owner !== undefined && spreadKinds.has(owner.kind),
    requests: requestsOf(spec, source.held),
    priority: source.priority ?? 0,
    mayPreempt: source.preemptionPolicy !== 'Never',
    hostPorts: hostPortsOf(spec),
    tolerations: tolerations ?? [],
    nodeMatcher: compileNodeSelector(source.nodeSelector, affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution),
    namedNodes: namedNodesOf(affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution),
    preferredNodes: (affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []).map(({ weight, preference }) => ({
      weight,
      matches: compileNodeTerm(preference),
    })),
    requiredAffinity: termsOf(affinity?.podAffinity?.requiredDuringSchedulingIgnoredDuringExecution, source),
    requiredAntiAffinity: termsOf(affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution, source),
    preferredPods: [
      ...weightedTermsOf(affinity?.podAffinity?.preferredDuringSchedulingIgnoredDuringExecution, source, 1),
      ...weightedTermsOf(affinity?.podAntiAffinity?.preferredDuringSchedulingIgnoredDuringExecution, source, -1),
    ],
    hardSpread: spread.filter(({ hard }) => hard).map(({ constraint }) => constraint),
    softSpread: spread.filter(({ hard }) => !hard).map(({ constraint }) => constraint),
    source,
  };
}

const spreadKinds: ReadonlySet<string> = new Set(['ReplicaSet', 'ReplicationController', 'StatefulSet']);

type AffinityTerm = NonNullable<NonNullable<Affinity['podAffinity']>['requiredDuringSchedulingIgnoredDuringExecution']>[number];
type WeightedTerm = NonNullable<NonNullable<Affinity['podAffinity']>['preferredDuringSchedulingIgnoredDuringExecution']>[number];
type ApiSpread = NonNullable<PodSpec['topologySpreadConstraints']>[number];

function termsOf(terms: readonly AffinityTerm[] | undefined, source: ShapeSource): readonly PodTerm[] {
  return (terms ?? []).map((term) => termOf(term, source));
}

function weightedTermsOf(
  terms: readonly WeightedTerm[] | undefined,
  source: ShapeSource,
  sign: 1 | -1,
): { readonly weight: number; readonly term: PodTerm }[] {
  return (terms ?? []).map(({ weight, podAffinityTerm }) => ({ weight: weight * sign, term: termOf(podAffinityTerm, source) }));
}

function termOf(term: AffinityTerm, source: ShapeSource): PodTerm {
  const { matchLabelKeys, mismatchLabelKeys } = term as AffinityTerm & {
    readonly matchLabelKeys?: readonly string[];
    readonly mismatchLabelKeys?: readonly string[];
  };
  const named = term.namespaces ?? [];
  return {
    topologyKey: term.topologyKey,
    selector: selectorOf({ selector: term.labelSelector, labels: source.labels, equal: matchLabelKeys, different: mismatchLabelKeys }),
    namespaces: new Set(named.length === 0 && term.namespaceSelector === undefined ? [source.namespace] : named),
    namespaceSelector: term.namespaceSelector === undefined ? undefined : compileLabelSelector(term.namespaceSelector),
  };
}

function spreadOf(constraint: ApiSpread, labels: ShapeSource['labels']): SpreadConstraint {
  return {
    topologyKey: constraint.topologyKey,
    maxSkew: constraint.maxSkew,
    minDomains: constraint.minDomains ?? 1,
    selector: selectorOf({ selector: constraint.labelSelector, labels, equal: constraint.matchLabelKeys }),
    honorNodeAffinity: constraint.nodeAffinityPolicy !== 'Ignore',
    honorTaints: constraint.nodeTaintsPolicy === 'Honor',
  };
}

interface SelectorSource {
  readonly selector:
    | DeepReadonly<{
        matchLabels?: { [name: string]: string };
        matchExpressions?: { key: string; operator: string; values?: string[] }[];
      }>
    | undefined;
  /** Labels of the pod. */
  readonly labels: ShapeSource['labels'];
  /** Names of labels that have the pod's own value, and that have another one. */
  readonly equal?: readonly string[] | undefined;
  readonly different?: readonly string[] | undefined;
}

/** The selector with the pod's own values of some labels added: how a rollout's revisions are kept apart. */
function selectorOf({ selector, labels, equal, different }: SelectorSource): LabelSelector {
  if (selector === undefined) return nothing;
  if ((equal?.length ?? 0) === 0 && (different?.length ?? 0) === 0) return compileLabelSelector(selector);
  const expressions = [...(selector.matchExpressions ?? [])];
  for (const [keys, operator] of [[equal, 'In'] as const, [different, 'NotIn'] as const]) {
    for (const key of keys ?? []) {
      const value = labels?.[key];
      if (value !== undefined) expressions.push({ key, operator, values: [value] });
    }
  }
  return compileLabelSelector({ ...selector, matchExpressions: expressions });
}

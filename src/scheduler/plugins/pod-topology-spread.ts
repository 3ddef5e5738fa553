import { toleratesTaint } from '../../lifecycle/tolerations.ts';
import type { NodeRecord } from '../cache.ts';
import { DomainCounts, PodCounts } from '../domain-counts.ts';
import type { ClusterView, FilterPlugin, PlacedPod, PluginFactory, PreparedFilter, Rejection, ScorePlugin } from '../plugin.ts';
import type { PodRecord, SpreadConstraint } from '../pod-record.ts';

const skewed: Rejection = { reasons: ["node(s) didn't match pod topology spread constraints"], resolvable: true };
const missingLabel: Rejection = {
  reasons: ["node(s) didn't match pod topology spread constraints (missing required label)"],
  resolvable: false,
};

const hostname = 'kubernetes.io/hostname';

/** A constraint without its selector, which the pod's owner or its Services give. */
export type DefaultConstraint = Omit<SpreadConstraint, 'selector'>;

/** Arguments of the plugin in a profile: constraints of pods that have none. */
export interface PodTopologySpreadArgs {
  readonly hard: readonly DefaultConstraint[];
  readonly soft: readonly DefaultConstraint[];
  /** The built-in constraints: a node needs not have all of their labels. */
  readonly system: boolean;
}

const builtIn = { minDomains: 1, honorNodeAffinity: true, honorTaints: false };

/** Upstream's defaults. */
export const podTopologySpreadDefaults: PodTopologySpreadArgs = {
  hard: [],
  soft: [
    { topologyKey: hostname, maxSkew: 3, ...builtIn },
    { topologyKey: 'topology.kubernetes.io/zone', maxSkew: 5, ...builtIn },
  ],
  system: true,
};

/**
 * Spreads alike pods over the domains of a label, by the pod's own constraints or else by those of the cluster.
 */
export const podTopologySpread: PluginFactory = (_, args) => {
  const defaults = (args as PodTopologySpreadArgs | undefined) ?? podTopologySpreadDefaults;
  return { name: 'PodTopologySpread', filter: filterWith(defaults), score: scoreWith(defaults) };
};

/** A pod that the constraint counts came or went, or a change that no one can judge from afar. */
const mayHelp = (pod: PodRecord, { pod: there }: { readonly pod?: PodRecord }): boolean =>
  there === undefined ||
  (there.namespace === pod.namespace &&
    (pod.shape.hardSpread.length === 0 || pod.shape.hardSpread.some(({ selector }) => selector.matches(there.pod.metadata.labels))));

function filterWith(defaults: PodTopologySpreadArgs): FilterPlugin {
  return {
    helpedBy: {
      NodeAdded: 'always',
      // Its domain may have been the emptiest.
      NodeRemoved: 'always',
      NodeLabelsChanged: 'always',
      NodeTaintsChanged: 'always',
      AssignedPodAdded: mayHelp,
      AssignedPodChanged: 'always',
      AssignedPodDeleted: mayHelp,
      PodChanged: 'always',
    },
    prepare(pod, cluster) {
      const { hardSpread } = pod.shape;
      const found = rulesOf(pod, cluster, { own: hardSpread, byDefault: defaults.hard, countsOf: () => new DomainCounts() });
      if (found === undefined) return undefined;
      const { rules, among } = found;
      openDomains(pod, rules, cluster);
      const shift = counterOf(pod, { rules, among, needsAllLabels: true });
      return {
        looksAround: true,
        shift,
        filter(node) {
          for (const { constraint, counts, countsItself } of rules) {
            const value = node.labels[constraint.topologyKey];
            if (value === undefined) return missingLabel;
            const least = counts.size < constraint.minDomains ? 0 : counts.least;
            if ((counts.get(value) ?? 0) + (countsItself ? 1 : 0) - least > constraint.maxSkew) return skewed;
          }
          return undefined;
        },
      };
    },
  };
}

function scoreWith(defaults: PodTopologySpreadArgs): ScorePlugin {
  return {
    prepare(pod, cluster) {
      const { softSpread, hardSpread } = pod.shape;
      const found = rulesOf(pod, cluster, { own: softSpread, byDefault: defaults.soft, countsOf: () => new PodCounts() });
      if (found === undefined) return undefined;
      const { rules, among } = found;
      const needsAllLabels = softSpread.length + hardSpread.length > 0 || !defaults.system;
      const shift = counterOf(pod, { rules, among, needsAllLabels });
      const weights = rules.map(() => 0);
      const looksAround = rules.some(({ constraint: { topologyKey } }) => {
        return topologyKey !== hostname && (cluster.domains([topologyKey]).get(topologyKey)?.size ?? 0) > 1;
      });
      return {
        shift,
        scale: 'even',
        looksAround,
        begin(feasible) {
          const compared = needsAllLabels ? feasible.filter((node) => hasAllLabels(node, rules)) : feasible;
          rules.forEach(({ constraint: { topologyKey } }, index) => {
            const domains = topologyKey === hostname ? compared.length : new Set(compared.map(({ labels }) => labels[topologyKey])).size;
            // A constraint over many domains counts for more than one over few.
            weights[index] = Math.log(domains + 2);
          });
        },
        score(node) {
          if (needsAllLabels && !hasAllLabels(node, rules)) return -1;
          let sum = 0;
          for (let index = 0; index < rules.length; index += 1) {
            const rule = rules[index];
            const value = rule === undefined ? undefined : node.labels[rule.constraint.topologyKey];
            if (rule === undefined || value === undefined) continue;
            sum += (rule.counts.get(value) ?? 0) * (weights[index] ?? 0) + rule.constraint.maxSkew - 1;
          }
          return Math.round(sum);
        },
      };
    },
  };
}

interface Rule<C extends Counts = Counts> {
  readonly constraint: DefaultConstraint;
  readonly counts: C;
  readonly selects: (pod: PodRecord) => boolean;
  /** The pod itself is one of those that it counts. */
  readonly countsItself: boolean;
}

interface Counts {
  add(value: string, sign: 1 | -1): void;
  get(value: string): number | undefined;
}

/** Constraints of a pod, and the pods that one of them may select. */
interface Rules<C extends Counts> {
  readonly rules: readonly Rule<C>[];
  readonly among: Iterable<PlacedPod>;
}

interface Constraints<C extends Counts> {
  readonly own: readonly SpreadConstraint[];
  readonly byDefault: readonly DefaultConstraint[];
  readonly countsOf: () => C;
}

/** Undefined when nothing constrains the pod. */
function rulesOf<C extends Counts>(
  pod: PodRecord,
  cluster: ClusterView,
  { own, byDefault, countsOf }: Constraints<C>,
): Rules<C> | undefined {
  const ruleOf = (constraint: DefaultConstraint, selects: Rule['selects'], countsItself = selects(pod)): Rule<C> => ({
    constraint,
    counts: countsOf(),
    selects,
    countsItself,
  });
  if (own.length > 0) {
    const rules = own.map((constraint) => {
      const { selector } = constraint;
      // Upstream counts no pods for an empty selector, though it selects all: such a constraint keeps no pod from a node.
      if (selector.requirements.length === 0 && !selector.nothing) return ruleOf(constraint, () => false, true);
      return ruleOf(constraint, ({ pod: { metadata } }) => selector.matches(metadata.labels));
    });
    return { rules, among: cluster.podsIn(pod.namespace) };
  }
  const { hardSpread, softSpread } = pod.shape;
  if (hardSpread.length + softSpread.length > 0 || byDefault.length === 0) return undefined;
  const like = likeThis(pod, cluster);
  return like === undefined ? undefined : { rules: byDefault.map((constraint) => ruleOf(constraint, like.selects)), among: like.among };
}

/**
 * Selects the pods that default constraints count: those of the same owner, or of the Services that select the pod. Upstream joins the
 * selectors of both. A ReplicaSet's selector has a label that no other pod bears, so the owner alone comes to the same.
 */
function likeThis(
  { shape, pod, namespace }: PodRecord,
  cluster: ClusterView,
): (Pick<Rule, 'selects'> & { readonly among: Iterable<PlacedPod> }) | undefined {
  const { ownerUid } = shape;
  if (ownerUid !== undefined && shape.spreadsByOwner) {
    return { selects: (other) => other.shape.ownerUid === ownerUid, among: cluster.podsOfOwner(ownerUid) };
  }
  const wanted = cluster.serviceSelectors(namespace, pod.metadata.labels ?? {});
  if (wanted.length === 0) return undefined;
  return {
    selects: ({ pod: { metadata } }) => wanted.every((selector) => isSubset(selector, metadata.labels ?? {})),
    among: cluster.podsIn(namespace),
  };
}

function isSubset(selector: Readonly<Record<string, string>>, labels: Readonly<Record<string, string>>): boolean {
  for (const key in selector) if (labels[key] !== selector[key]) return false;
  return true;
}

/** Makes the domains of the constraints known, since one without a pod is the emptiest. */
function openDomains(pod: PodRecord, rules: readonly Rule<DomainCounts>[], cluster: ClusterView): void {
  const all = cluster.domains(rules.map(({ constraint }) => constraint.topologyKey));
  for (const { constraint, counts } of rules) {
    const { topologyKey, honorNodeAffinity, honorTaints } = constraint;
    if (!honorTaints && (pod.shape.nodeMatcher === undefined || !honorNodeAffinity)) {
      for (const value of all.get(topologyKey) ?? []) counts.open(value);
      continue;
    }
    for (const node of cluster.nodes) {
      const value = node.labels[topologyKey];
      if (value !== undefined && hasAllLabels(node, rules) && meetsPolicies(node, pod, constraint)) counts.open(value);
    }
  }
}

interface Counting {
  readonly rules: readonly Rule[];
  readonly among: Iterable<PlacedPod>;
  readonly needsAllLabels: boolean;
}

/** Counts the pods that are there, and gives the function that counts the next one. */
function counterOf(pod: PodRecord, { rules, among, needsAllLabels }: Counting): NonNullable<PreparedFilter['shift']> {
  const shift: PreparedFilter['shift'] = (there, node, sign) => {
    if (there.namespace !== pod.namespace || there.pod.metadata.deletionTimestamp !== undefined) return;
    for (const { constraint, counts, selects } of rules) {
      const value = node.labels[constraint.topologyKey];
      if (value === undefined || !selects(there) || (needsAllLabels && !hasAllLabels(node, rules))) continue;
      if (meetsPolicies(node, pod, constraint)) counts.add(value, sign);
    }
  };
  for (const { pod: there, node } of among) if (node.present) shift(there, node, 1);
  return shift;
}

function hasAllLabels(node: NodeRecord, rules: readonly Rule[]): boolean {
  for (const { constraint } of rules) if (node.labels[constraint.topologyKey] === undefined) return false;
  return true;
}

/** `nodeAffinityPolicy` and `nodeTaintsPolicy`: which nodes make up domains. */
function meetsPolicies(node: NodeRecord, { shape }: PodRecord, constraint: DefaultConstraint): boolean {
  if (constraint.honorNodeAffinity && shape.nodeMatcher !== undefined && !shape.nodeMatcher(node.labels, node.name)) return false;
  return !constraint.honorTaints || node.hardTaints.every((taint) => toleratesTaint(shape.tolerations, taint));
}

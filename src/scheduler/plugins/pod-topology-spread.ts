import { toleratesTaint } from '../../lifecycle/tolerations.ts';
import type { NodeRecord } from '../cache.ts';
import { DomainCounts } from '../domain-counts.ts';
import type { ClusterView, FilterPlugin, PluginFactory, PreparedFilter, Rejection, ScorePlugin } from '../plugin.ts';
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
      const rules = rulesOf(pod, cluster, { own: pod.shape.hardSpread, byDefault: defaults.hard });
      if (rules.length === 0) return undefined;
      const shift = counterOf(pod, rules, { cluster, needsAllLabels: true });
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
      const rules = rulesOf(pod, cluster, { own: softSpread, byDefault: defaults.soft });
      if (rules.length === 0) return undefined;
      const needsAllLabels = softSpread.length + hardSpread.length > 0 || !defaults.system;
      const shift = counterOf(pod, rules, { cluster, needsAllLabels });
      const weights = rules.map(() => 0);
      return {
        shift,
        scale: 'even',
        get looksAround() {
          return rules.some(({ constraint, counts }) => constraint.topologyKey !== hostname && counts.size > 1);
        },
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

interface Rule {
  readonly constraint: DefaultConstraint;
  readonly counts: DomainCounts;
  readonly selects: (pod: PodRecord) => boolean;
  /** The pod itself is one of those that it counts. */
  readonly countsItself: boolean;
}

interface Constraints {
  readonly own: readonly SpreadConstraint[];
  readonly byDefault: readonly DefaultConstraint[];
}

function rulesOf(pod: PodRecord, cluster: ClusterView, { own, byDefault }: Constraints): readonly Rule[] {
  const ruleOf = (constraint: DefaultConstraint, selects: Rule['selects']): Rule => ({
    constraint,
    counts: new DomainCounts(),
    selects,
    countsItself: selects(pod),
  });
  if (own.length > 0) {
    return own.map((constraint) => ruleOf(constraint, ({ pod: { metadata } }) => constraint.selector.matches(metadata.labels)));
  }
  const { hardSpread, softSpread } = pod.shape;
  if (hardSpread.length + softSpread.length > 0 || byDefault.length === 0) return [];
  const selects = likeThis(pod, cluster);
  return selects === undefined ? [] : byDefault.map((constraint) => ruleOf(constraint, selects));
}

/**
 * Selects the pods that default constraints count: those of the same owner, or of the Services that select the pod. Upstream joins the
 * selectors of both. A ReplicaSet's selector has a label that no other pod bears, so the owner alone comes to the same.
 */
function likeThis({ shape, pod, namespace }: PodRecord, cluster: ClusterView): Rule['selects'] | undefined {
  const { ownerUid } = shape;
  if (ownerUid !== undefined && shape.spreadsByOwner) return (other) => other.shape.ownerUid === ownerUid;
  const wanted = cluster.serviceSelectors(namespace, pod.metadata.labels ?? {});
  if (wanted.length === 0) return undefined;
  return ({ pod: { metadata } }) => wanted.every((selector) => isSubset(selector, metadata.labels ?? {}));
}

function isSubset(selector: Readonly<Record<string, string>>, labels: Readonly<Record<string, string>>): boolean {
  for (const key in selector) if (labels[key] !== selector[key]) return false;
  return true;
}

/** Counts the pods of all nodes, and gives the function that counts the next one. */
function counterOf(
  pod: PodRecord,
  rules: readonly Rule[],
  { cluster, needsAllLabels }: { readonly cluster: ClusterView; readonly needsAllLabels: boolean },
): NonNullable<PreparedFilter['shift']> {
  const isDomain = (node: NodeRecord, constraint: DefaultConstraint) =>
    (!needsAllLabels || hasAllLabels(node, rules)) && meetsPolicies(node, pod, constraint);
  const shift: PreparedFilter['shift'] = (there, node, sign) => {
    if (there.namespace !== pod.namespace || there.pod.metadata.deletionTimestamp !== undefined) return;
    for (const rule of rules) {
      const value = node.labels[rule.constraint.topologyKey];
      if (value !== undefined && rule.selects(there) && isDomain(node, rule.constraint)) rule.counts.add(value, sign);
    }
  };
  for (const node of cluster.nodes) {
    for (const { constraint, counts } of rules) {
      const value = node.labels[constraint.topologyKey];
      if (value !== undefined && isDomain(node, constraint)) counts.open(value);
    }
  }
  for (const node of cluster.nodes) for (const there of node.pods.values()) shift(there, node, 1);
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

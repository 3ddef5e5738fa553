import type { NodeRecord } from '../cache.ts';
import type { ClusterView, FilterPlugin, PluginFactory, Rejection, ScorePlugin } from '../plugin.ts';
import type { PodRecord, PodTerm } from '../pod-record.ts';

const affinityMismatch: Rejection = { reasons: ["node(s) didn't match pod affinity rules"], resolvable: false };
const antiAffinityMismatch: Rejection = { reasons: ["node(s) didn't match pod anti-affinity rules"], resolvable: true };
const existingAntiAffinity: Rejection = { reasons: ["node(s) didn't satisfy existing pods anti-affinity rules"], resolvable: true };

/** Required affinity and anti-affinity of the pod, and required anti-affinity of the pods that are there already. */
const filter: FilterPlugin = {
  helpedBy: {
    NodeAdded: 'always',
    NodeLabelsChanged: 'always',
    AssignedPodAdded: 'always',
    AssignedPodChanged: 'always',
    AssignedPodDeleted: 'always',
    PodChanged: 'always',
  },
  prepare(pod, cluster) {
    const { requiredAffinity, requiredAntiAffinity } = pod.shape;
    const refused = domainsThatRefuse(pod, cluster);
    if (requiredAffinity.length === 0 && requiredAntiAffinity.length === 0) {
      if (refused === undefined) return undefined;
      return { looksAround: true, filter: (node) => (isIn(refused, node) ? existingAntiAffinity : undefined) };
    }
    const wanted = requiredAffinity.length === 0 ? undefined : domainsOfAll(requiredAffinity, cluster);
    // The first pod of a group that wants to be with its own kind must be able to start somewhere.
    const startsGroup = wanted?.size === 0 && requiredAffinity.every((term) => selects(term, pod, cluster));
    const avoided = domainsOf(requiredAntiAffinity, cluster);
    return {
      looksAround: true,
      filter(node) {
        if (wanted !== undefined) {
          for (const { topologyKey } of requiredAffinity) {
            const value = node.labels[topologyKey];
            if (value === undefined || (!startsGroup && wanted.get(topologyKey)?.has(value) !== true)) return affinityMismatch;
          }
        }
        if (isIn(avoided, node)) return antiAffinityMismatch;
        if (refused !== undefined && isIn(refused, node)) return existingAntiAffinity;
        return undefined;
      },
    };
  },
};

/** Prefers nodes whose domain has pods that preferred affinity selects, and avoids those of preferred anti-affinity. */
const score: ScorePlugin = {
  prepare({ shape }, cluster) {
    const { preferredPods } = shape;
    if (preferredPods.length === 0) return undefined;
    const sums = new Map<string, Map<string, number>>();
    for (const node of cluster.nodes) {
      for (const { weight, term } of preferredPods) {
        const value = node.labels[term.topologyKey];
        if (value === undefined) continue;
        for (const there of node.pods.values()) {
          if (!selects(term, there, cluster)) continue;
          let ofKey = sums.get(term.topologyKey);
          if (ofKey === undefined) {
            ofKey = new Map();
            sums.set(term.topologyKey, ofKey);
          }
          ofKey.set(value, (ofKey.get(value) ?? 0) + weight);
        }
      }
    }
    return {
      looksAround: true,
      scale: 'range',
      score(node) {
        let sum = 0;
        for (const [key, ofKey] of sums) sum += ofKey.get(node.labels[key] ?? '') ?? 0;
        return sum;
      },
    };
  },
};

/** Terms of pods about other pods: who is to be near whom. */
export const interPodAffinity: PluginFactory = () => ({ name: 'InterPodAffinity', filter, score });

/** Topology values by key: the domains a term is about. */
type Domains = Map<string, Set<string>>;

function isIn(domains: Domains, node: NodeRecord): boolean {
  for (const [key, values] of domains) {
    const value = node.labels[key];
    if (value !== undefined && values.has(value)) return true;
  }
  return false;
}

function addDomain(domains: Domains, key: string, node: NodeRecord): void {
  const value = node.labels[key];
  if (value === undefined) return;
  const values = domains.get(key);
  if (values === undefined) domains.set(key, new Set([value]));
  else values.add(value);
}

/** Domains with a pod that some term selects. */
function domainsOf(terms: readonly PodTerm[], cluster: ClusterView): Domains {
  const domains: Domains = new Map();
  if (terms.length === 0) return domains;
  for (const node of cluster.nodes) {
    for (const there of node.pods.values()) {
      for (const term of terms) if (selects(term, there, cluster)) addDomain(domains, term.topologyKey, node);
    }
  }
  return domains;
}

/** Domains with a pod that every term selects: affinity terms describe one pod together. */
function domainsOfAll(terms: readonly PodTerm[], cluster: ClusterView): Domains {
  const domains: Domains = new Map();
  for (const node of cluster.nodes) {
    for (const there of node.pods.values()) {
      if (!terms.every((term) => selects(term, there, cluster))) continue;
      for (const { topologyKey } of terms) addDomain(domains, topologyKey, node);
    }
  }
  return domains;
}

function domainsThatRefuse(pod: PodRecord, cluster: ClusterView): Domains | undefined {
  let domains: Domains | undefined;
  for (const [there, node] of cluster.podsWithAntiAffinity) {
    for (const term of there.shape.requiredAntiAffinity) {
      if (!selects(term, pod, cluster)) continue;
      domains ??= new Map();
      addDomain(domains, term.topologyKey, node);
    }
  }
  return domains;
}

function selects({ namespaces, namespaceSelector, selector }: PodTerm, { namespace, pod }: PodRecord, cluster: ClusterView): boolean {
  if (!namespaces.has(namespace)) {
    if (namespaceSelector === undefined || !namespaceSelector.matches(cluster.namespaceLabels(namespace))) return false;
  }
  return selector.matches(pod.metadata.labels);
}

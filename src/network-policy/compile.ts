import { createHash } from 'node:crypto';
import type { Namespace } from '../api/core/v1/namespace.ts';
import { isMirrorPod, type Pod } from '../api/core/v1/pod.ts';
import type {
  AddressGroup,
  EndpointGroup,
  NodeNetworkPolicySpec,
  PassPort,
  PassRule,
  PolicedPod,
  PolicyEndpoint,
  PolicyProtocol,
  RuleSet,
} from '../api/network/v1/node-network-policy.ts';
import type { NetworkPolicy } from '../api/networking/v1/network-policy.ts';
import { configAnnotations } from '../api/well-known.ts';
import { tryAddress } from '../machinery/addresses.ts';
import { compileLabelSelector, type LabelSelector, type LabelSelectorObject } from '../machinery/selector.ts';

export interface PolicyWorld {
  readonly policies: Iterable<NetworkPolicy>;
  readonly pods: Iterable<Pod>;
  readonly namespaces: Iterable<Namespace>;
  /** False for an address that the pod's node has no right to name. */
  readonly isCredible: (pod: Pod, address: string) => boolean;
}

type Rules = NonNullable<NetworkPolicy['spec']['ingress']>;
type Peer = NonNullable<Rules[number]['from']>[number];
type Port = NonNullable<Rules[number]['ports']>[number];

/** A rule of a policy, whichever its direction. */
interface RuleInPolicy {
  readonly peers: readonly Peer[];
  readonly ports: readonly Port[];
}

type Direction = 'ingress' | 'egress';

/** The answer for each node that is asked for. */
export interface CompiledPolicies {
  specOf(nodeName: string): NodeNetworkPolicySpec;
}

/**
 * Turns policies into the rules of each node's pods. Pods that use the network of their node are neither isolated nor peers, as with
 * upstream's plugins. A policy of a kind of address that is not served here (IPv6) lets nothing pass.
 *
 * @see Kubernetes concepts, "Network Policies"
 */
export function compilePolicies(world: PolicyWorld): CompiledPolicies {
  const namespaceLabels = new Map([...world.namespaces].map(({ metadata }) => [metadata.name, metadata.labels ?? {}]));
  const networked = [...world.pods].filter(({ spec }) => spec.hostNetwork !== true);
  const podsOfNode = groupBy(networked, ({ spec }) => spec.nodeName ?? '');
  const podsOfNamespace = groupBy(networked, ({ metadata }) => metadata.namespace ?? '');
  const policiesOf = groupBy(
    [...world.policies].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1)).map((policy) => readPolicy(policy)),
    ({ namespace }) => namespace,
  );
  const peers = new Map<string, readonly Pod[]>();

  /** Pods that a peer selects and that have an address. */
  function podsOf(group: PodGroup): readonly Pod[] {
    let found = peers.get(group.name);
    if (found === undefined) {
      const namespaces = group.namespaces === undefined ? [group.namespace] : matchingNamespaces(group.namespaces);
      found = namespaces
        .flatMap((name) => podsOfNamespace.get(name) ?? [])
        .filter((pod) => group.pods.matches(pod.metadata.labels) && addressOf(pod, world.isCredible) !== undefined);
      peers.set(group.name, found);
    }
    return found;
  }

  const matchingNamespaces = (selector: LabelSelector): readonly string[] =>
    [...namespaceLabels].filter(([, labels]) => selector.matches(labels)).map(([name]) => name);

  function specOf(nodeName: string): NodeNetworkPolicySpec {
    const ruleSets = new Map<string, RuleSet>();
    const groups = new Map<string, AddressGroup>();
    const endpointGroups = new Map<string, EndpointGroup>();

    function addGroup(group: PodGroup): string {
      if (!groups.has(group.name)) {
        const addresses = new Set(podsOf(group).map((pod) => addressOf(pod, world.isCredible) ?? ''));
        groups.set(group.name, { name: group.name, addresses: [...addresses].sort() });
      }
      return group.name;
    }

    /** The port of that name of each pod of a group. */
    function addEndpoints(group: PodGroup, protocol: PolicyProtocol, portName: string): string {
      const name = `ports-${digest(group.name, protocol, portName)}`;
      if (!endpointGroups.has(name)) {
        const endpoints = new Map<string, PolicyEndpoint>();
        for (const pod of podsOf(group)) {
          const address = addressOf(pod, world.isCredible) ?? '';
          for (const port of portsNamed(pod, protocol, portName)) endpoints.set(`${address} ${port}`, { address, protocol, port });
        }
        endpointGroups.set(name, { name, endpoints: [...endpoints].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, each]) => each) });
      }
      return name;
    }

    function passRulesOf(rule: RuleInPolicy, { namespace, pod, direction }: RuleContext): readonly PassRule[] {
      const selected = rule.peers.filter(({ ipBlock }) => ipBlock === undefined || ipBlock === null);
      const podGroups = selected.map((peer) => podGroupOf(peer, namespace));
      const blocks = rule.peers.flatMap(({ ipBlock }) =>
        ipBlock === undefined || ipBlock === null || !isIPv4Range(ipBlock.cidr) ? [] : [blockOf(ipBlock)],
      );
      const passRules: PassRule[] = [];
      const numbers: PassPort[] = [];
      for (const { protocol: named = 'TCP', port, endPort } of rule.ports) {
        const protocol = named as PolicyProtocol;
        if (port === undefined || port === null) numbers.push({ protocol });
        else if (typeof port === 'number') numbers.push({ protocol, port, ...(endPort == null ? {} : { endPort }) });
        else if (direction === 'ingress') numbers.push(...portsNamed(pod, protocol, port).map((number) => ({ protocol, port: number })));
        else {
          // The name means another port at each pod, so address and port belong together.
          const endpoints = (rule.peers.length === 0 ? [everyPod] : podGroups).map((group) => addEndpoints(group, protocol, port));
          if (endpoints.length > 0) passRules.push({ endpoints });
        }
      }
      const isForNobody = rule.peers.length > 0 && podGroups.length === 0 && blocks.length === 0;
      const isForNoPort = rule.ports.length > 0 && numbers.length === 0;
      if (!isForNobody && !isForNoPort)
        passRules.push({
          ...(podGroups.length === 0 ? {} : { groups: [...new Set(podGroups.map(addGroup))] }),
          ...(blocks.length === 0 ? {} : { blocks }),
          ...(numbers.length === 0 ? {} : { ports: numbers }),
        });
      return passRules;
    }

    /** The name of the rules for one direction of a pod; undefined when it is not isolated. */
    function ruleSetOf(pod: Pod, direction: Direction): string | undefined {
      const namespace = pod.metadata.namespace ?? '';
      const isolating = (policiesOf.get(namespace) ?? []).filter((policy) => policy[direction] !== undefined && policy.selects(pod));
      if (isolating.length === 0) return undefined;
      const context = { namespace, pod, direction };
      const rules = isolating.flatMap((policy) => (policy[direction] ?? []).flatMap((rule) => passRulesOf(rule, context)));
      const name = `${direction}-${digest(JSON.stringify(rules))}`;
      ruleSets.set(name, { name, rules });
      return name;
    }

    const policed = new Map<string, PolicedPod>();
    const own = podsOfNode.get(nodeName) ?? [];
    // Only a pod that is nobody else's can be meant by the mirror of a static pod: anybody who makes pods may write its annotation.
    for (const [pod, uid] of [
      ...own.map((pod) => [pod, pod.metadata.uid ?? ''] as const),
      ...own.filter(isMirrorPod).map((pod) => [pod, pod.metadata.annotations?.[configAnnotations.hash] ?? ''] as const),
    ]) {
      if (uid === '' || policed.has(uid)) continue;
      const ingress = ruleSetOf(pod, 'ingress');
      const egress = ruleSetOf(pod, 'egress');
      policed.set(uid, { uid, ...(ingress === undefined ? {} : { ingress }), ...(egress === undefined ? {} : { egress }) });
    }
    const pods = [...policed.values()].sort((a, b) => (a.uid < b.uid ? -1 : 1));
    return { pods, ruleSets: byName(ruleSets), groups: byName(groups), endpointGroups: byName(endpointGroups) };
  }

  return { specOf };
}

interface RuleContext {
  readonly namespace: string;
  readonly pod: Pod;
  readonly direction: Direction;
}

interface PolicyForPods {
  readonly namespace: string;
  selects(pod: Pod): boolean;
  /** Absent: the policy does not isolate in that direction. */
  readonly ingress?: readonly RuleInPolicy[];
  readonly egress?: readonly RuleInPolicy[];
}

function readPolicy({ metadata, spec }: NetworkPolicy): PolicyForPods {
  const selector = compileLabelSelector(spec.podSelector ?? {});
  // The API fills it in; an object of an older version may lack it.
  const types = (spec.policyTypes ?? []).length > 0 ? spec.policyTypes : ['Ingress', ...((spec.egress ?? []).length > 0 ? ['Egress'] : [])];
  return {
    namespace: metadata.namespace ?? '',
    selects: (pod) => selector.matches(pod.metadata.labels),
    ...(types?.includes('Ingress') === true
      ? { ingress: (spec.ingress ?? []).map(({ from, ports }) => ({ peers: from ?? [], ports: ports ?? [] })) }
      : {}),
    ...(types?.includes('Egress') === true
      ? { egress: (spec.egress ?? []).map(({ to, ports }) => ({ peers: to ?? [], ports: ports ?? [] })) }
      : {}),
  };
}

/** Pods of one namespace, or of those that `namespaces` selects. Groups that select alike have one name. */
interface PodGroup {
  readonly name: string;
  readonly namespace: string;
  readonly namespaces: LabelSelector | undefined;
  readonly pods: LabelSelector;
}

function podGroupOf({ podSelector, namespaceSelector }: Pick<Peer, 'podSelector' | 'namespaceSelector'>, namespace: string): PodGroup {
  const pods = compileLabelSelector((podSelector ?? {}) as LabelSelectorObject);
  const namespaces =
    namespaceSelector === undefined || namespaceSelector === null
      ? undefined
      : compileLabelSelector(namespaceSelector as LabelSelectorObject);
  const place = namespaces === undefined ? `=${namespace}` : `~${namespaces.toString()}`;
  return { name: `pods-${digest(place, pods.toString())}`, namespace, namespaces, pods };
}

/** Names depend on contents alone, so a change of one rule leaves those of others in the kernel alone. */
function digest(...parts: readonly string[]): string {
  return createHash('sha256').update(parts.join('\0')).digest('hex').slice(0, 12);
}

const everyPod = podGroupOf({ namespaceSelector: {} }, '');

const isIPv4Range = (cidr: string): boolean => tryAddress(cidr.split('/')[0] ?? '') !== undefined;

const blockOf = ({ cidr, except }: NonNullable<Peer['ipBlock']>): { readonly cidr: string; readonly except?: readonly string[] } =>
  (except ?? []).length === 0 ? { cidr } : { cidr, except: except ?? [] };

/** A pod that has ended has given its address back. */
function addressOf(pod: Pod, isCredible: PolicyWorld['isCredible']): string | undefined {
  const { phase, podIP = '' } = pod.status ?? {};
  if (phase === 'Succeeded' || phase === 'Failed' || tryAddress(podIP) === undefined) return undefined;
  return isCredible(pod, podIP) ? podIP : undefined;
}

function portsNamed({ spec }: Pod, protocol: PolicyProtocol, portName: string): readonly number[] {
  const numbers = [...(spec.initContainers ?? []), ...spec.containers]
    .flatMap(({ ports }) => ports ?? [])
    .filter(({ name, protocol: own = 'TCP' }) => name === portName && own === protocol)
    .map(({ containerPort }) => containerPort);
  return [...new Set(numbers)];
}

function groupBy<T>(all: Iterable<T>, keyOf: (each: T) => string): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>();
  for (const each of all) {
    const key = keyOf(each);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [each]);
    else group.push(each);
  }
  return groups;
}

const byName = <T extends { readonly name: string }>(all: ReadonlyMap<string, T>): readonly T[] =>
  [...all.values()].sort((a, b) => (a.name < b.name ? -1 : 1));

import type { Node, Taint } from '../../src/api/core/v1/node.ts';
import type { Pod, Toleration } from '../../src/api/core/v1/pod.ts';

/**
 * Scheduling decisions by the published rules of kube-scheduler's default profile, each time from nothing: no index, no memory, no sample.
 * It shares no code with the scheduler, which has to come to the same decisions.
 *
 * @see Kubernetes reference, "Scheduler Configuration"; concepts, "Pod Topology Spread Constraints", "Assigning Pods to Nodes"
 */
export interface World {
  readonly nodes: readonly Node[];
  readonly pods: readonly { readonly pod: Pod; readonly node: string }[];
  readonly namespaces: Readonly<Record<string, Labels>>;
  readonly services: Readonly<Record<string, readonly Labels[]>>;
}

type Labels = Readonly<Record<string, string>>;

/** The name of the first plugin that rejects the node for the pod; undefined when it fits. */
export function rejectorOf(pod: Pod, node: Node, world: World): string | undefined {
  if (node.spec?.unschedulable === true && !tolerates(pod, { key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' })) {
    return 'NodeUnschedulable';
  }
  if ((node.spec?.taints ?? []).some((taint) => taint.effect !== 'PreferNoSchedule' && !tolerates(pod, taint))) return 'TaintToleration';
  if (!matchesNode(pod, node)) return 'NodeAffinity';
  const there = podsOn(node, world);
  const ports = portsOf(pod);
  if (there.some((other) => portsOf(other).some((port) => ports.includes(port)))) return 'NodePorts';
  if (there.length + 1 > Number(amountOf(node, 'pods'))) return 'NodeResourcesFit';
  for (const resource of ['cpu', 'memory']) {
    const wanted = requestOf(pod, resource);
    const used = there.reduce((sum, other) => sum + requestOf(other, resource), 0);
    if (wanted > 0 && wanted > amountOf(node, resource) - used) return 'NodeResourcesFit';
  }
  if (!isEven(pod, node, world)) return 'PodTopologySpread';
  return isNearAndFar(pod, node, world) ? undefined : 'InterPodAffinity';
}

/** Points of each fitting node, by its name. */
export function pointsOf(pod: Pod, feasible: readonly Node[], world: World): ReadonlyMap<string, number> {
  const totals = new Map(feasible.map(({ metadata }) => [metadata.name, 0]));
  const parts: readonly { readonly weight: number; readonly points: readonly number[] }[] = [
    {
      weight: 3,
      points: normalized(
        feasible.map((node) => untoleratedSoft(pod, node)),
        true,
      ),
    },
    {
      weight: 2,
      points: normalized(
        feasible.map((node) => preferredNode(pod, node)),
        false,
      ),
    },
    { weight: 1, points: feasible.map((node) => leastAllocated(pod, node, world)) },
    { weight: 2, points: spreadPoints(pod, feasible, world) },
    { weight: 2, points: affinityPoints(pod, feasible, world) },
    { weight: 1, points: feasible.map((node) => balance(pod, node, world)) },
    { weight: 1, points: feasible.map((node) => imagePoints(pod, node, world)) },
  ];
  for (const { weight, points } of parts) {
    for (const [index, { metadata }] of feasible.entries()) {
      totals.set(metadata.name, (totals.get(metadata.name) ?? 0) + weight * (points[index] ?? Number.NaN));
    }
  }
  return totals;
}

const podsOn = (node: Node, { pods }: World): Pod[] => pods.filter((one) => one.node === node.metadata.name).map(({ pod }) => pod);

const placedPods = (world: World) =>
  world.pods.flatMap(({ pod, node: name }) => {
    const node = world.nodes.find(({ metadata }) => metadata.name === name);
    return node === undefined ? [] : [{ other: pod, at: node }];
  });

const labelOf = (node: Node, key: string): string | undefined => node.metadata.labels?.[key];

/** cpu in thousandths, memory in MiB, other resources as they are; the texts are those that the test writes. */
function parse(text: string, resource: string): number {
  if (resource === 'cpu') return text.endsWith('m') ? Number(text.slice(0, -1)) : Number(text) * 1_000;
  return Number(text.replace('Mi', ''));
}

const amountOf = (node: Node, resource: string): number =>
  parse((node.status?.allocatable as Labels | undefined)?.[resource] ?? '0', resource);

function requestOf(pod: Pod, resource: string, assumed = 0): number {
  return pod.spec.containers.reduce((sum, { resources }) => {
    const text = (resources?.requests as Labels | undefined)?.[resource];
    return sum + (text === undefined ? assumed : parse(text, resource));
  }, 0);
}

const portsOf = (pod: Pod): number[] => pod.spec.containers.flatMap(({ ports = [] }) => ports.flatMap(({ hostPort }) => hostPort ?? []));

function tolerates(pod: Pod, taint: Pick<Taint, 'key' | 'effect' | 'value'>, among?: (toleration: Toleration) => boolean): boolean {
  return (pod.spec.tolerations ?? []).filter(among ?? (() => true)).some((toleration) => {
    if ((toleration.effect ?? '') !== '' && toleration.effect !== taint.effect) return false;
    if ((toleration.key ?? '') !== '' && toleration.key !== taint.key) return false;
    return toleration.operator === 'Exists' || (toleration.value ?? '') === (taint.value ?? '');
  });
}

function untoleratedSoft(pod: Pod, node: Node): number {
  const isSoft = ({ effect }: Toleration) => effect === undefined || effect === 'PreferNoSchedule';
  return (node.spec?.taints ?? []).filter((taint) => taint.effect === 'PreferNoSchedule' && !tolerates(pod, taint, isSoft)).length;
}

interface Expression {
  readonly key: string;
  readonly operator: string;
  readonly values?: readonly string[] | undefined;
}

const meets = (value: string | undefined, { operator, values = [] }: Expression): boolean => {
  if (operator === 'In') return value !== undefined && values.includes(value);
  if (operator === 'NotIn') return value === undefined || !values.includes(value);
  return operator === 'Exists' ? value !== undefined : value === undefined;
};

function matchesNode(pod: Pod, node: Node): boolean {
  if (!Object.entries(pod.spec.nodeSelector ?? {}).every(([key, value]) => labelOf(node, key) === value)) return false;
  const required = pod.spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  if (required === undefined) return true;
  return required.nodeSelectorTerms.some(({ matchExpressions = [] }) =>
    matchExpressions.every((one) => meets(labelOf(node, one.key), one)),
  );
}

const preferredNode = (pod: Pod, node: Node): number =>
  (pod.spec.affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? [])
    .filter(({ preference: { matchExpressions = [] } }) => matchExpressions.every((one) => meets(labelOf(node, one.key), one)))
    .reduce((sum, { weight }) => sum + weight, 0);

function normalized(raw: readonly number[], reverse: boolean): readonly number[] {
  const most = Math.max(0, ...raw);
  if (most === 0) return raw.map(() => (reverse ? 100 : 0));
  return raw.map((one) => (reverse ? 100 - Math.floor((one * 100) / most) : Math.floor((one * 100) / most)));
}

function leastAllocated(pod: Pod, node: Node, world: World): number {
  const shares = (['cpu', 'memory'] as const).flatMap((resource) => {
    const total = amountOf(node, resource);
    if (total === 0) return [];
    const assumed = resource === 'cpu' ? 100 : 200;
    const used = [...podsOn(node, world), pod].reduce((sum, other) => sum + requestOf(other, resource, assumed), 0);
    return [used > total ? 0 : Math.floor(((total - used) * 100) / total)];
  });
  return shares.length === 0 ? 0 : Math.floor(shares.reduce((sum, one) => sum + one, 0) / shares.length);
}

function balance(pod: Pod, node: Node, world: World): number {
  const resources = ['cpu', 'memory'];
  if (resources.every((resource) => requestOf(pod, resource) === 0)) return 0;
  const shares = resources.flatMap((resource) => {
    const total = amountOf(node, resource);
    const used = [...podsOn(node, world), pod].reduce((sum, other) => sum + requestOf(other, resource), 0);
    return total === 0 ? [] : [Math.min(1, used / total)];
  });
  const [first = 0, second = 0] = shares;
  return Math.trunc((1 - (shares.length === 2 ? Math.abs((first - second) / 2) : 0)) * 100);
}

function imagePoints(pod: Pod, node: Node, { nodes }: World): number {
  const mib = 1024 * 1024;
  const sizeOn = (on: Node, image: string) => on.status?.images?.find(({ names }) => names?.includes(image))?.sizeBytes;
  const sum = pod.spec.containers.reduce((total, { image = '' }) => {
    const size = sizeOn(node, image);
    const having = nodes.filter((one) => sizeOn(one, image) !== undefined).length;
    return size === undefined ? total : total + Math.floor(size * (having / nodes.length));
  }, 0);
  const most = 1_000 * mib * pod.spec.containers.length;
  return Math.floor((100 * (Math.min(Math.max(sum, 23 * mib), most) - 23 * mib)) / (most - 23 * mib));
}

interface Selector {
  readonly matchLabels?: Labels | undefined;
  readonly matchExpressions?: readonly Expression[] | undefined;
}

function selects(selector: Selector | undefined, labels: Labels | undefined): boolean {
  if (selector === undefined) return false;
  return (
    Object.entries(selector.matchLabels ?? {}).every(([key, value]) => labels?.[key] === value) &&
    (selector.matchExpressions ?? []).every((one) => meets(labels?.[one.key], one))
  );
}

interface Term {
  readonly topologyKey: string;
  readonly labelSelector?: Selector | undefined;
  readonly namespaces?: readonly string[] | undefined;
  readonly namespaceSelector?: Selector | undefined;
  readonly matchLabelKeys?: readonly string[] | undefined;
  readonly mismatchLabelKeys?: readonly string[] | undefined;
}

/** The term of `owner` is about `other`. */
function isAbout(term: Term, owner: Pod, other: Pod, { namespaces }: World): boolean {
  const { namespace = '', labels } = other.metadata;
  const named = term.namespaces ?? [];
  const own = named.length === 0 && term.namespaceSelector === undefined;
  const inNamespace =
    (own ? namespace === owner.metadata.namespace : named.includes(namespace)) ||
    (term.namespaceSelector !== undefined && selects(term.namespaceSelector, namespaces[namespace]));
  if (!inNamespace || !selects(term.labelSelector, labels)) return false;
  const ownLabels = owner.metadata.labels ?? {};
  const same = (term.matchLabelKeys ?? []).filter((key) => key in ownLabels).every((key) => labels?.[key] === ownLabels[key]);
  return same && (term.mismatchLabelKeys ?? []).filter((key) => key in ownLabels).every((key) => labels?.[key] !== ownLabels[key]);
}

type Kind = 'podAffinity' | 'podAntiAffinity';
const required = (pod: Pod, kind: Kind): readonly Term[] =>
  (pod.spec.affinity?.[kind]?.requiredDuringSchedulingIgnoredDuringExecution ?? []) as readonly Term[];
const preferred = (pod: Pod, kind: Kind): readonly { readonly weight: number; readonly podAffinityTerm: Term }[] =>
  (pod.spec.affinity?.[kind]?.preferredDuringSchedulingIgnoredDuringExecution ?? []) as never;

const shareDomain = (a: Node, b: Node, key: string): boolean => labelOf(a, key) !== undefined && labelOf(a, key) === labelOf(b, key);

function isNearAndFar(pod: Pod, node: Node, world: World): boolean {
  const placed = placedPods(world);
  const wanted = required(pod, 'podAffinity');
  if (wanted.some(({ topologyKey }) => labelOf(node, topologyKey) === undefined)) return false;
  const friends = placed.filter(({ other }) => wanted.every((term) => isAbout(term, pod, other, world)));
  if (wanted.length > 0 && !wanted.every(({ topologyKey }) => friends.some(({ at }) => shareDomain(at, node, topologyKey)))) {
    const countsForAny = friends.some(({ at }) => wanted.some(({ topologyKey }) => labelOf(at, topologyKey) !== undefined));
    if (countsForAny || !wanted.every((term) => isAbout(term, pod, pod, world))) return false;
  }
  const avoids = required(pod, 'podAntiAffinity').some((term) =>
    placed.some(({ other, at }) => isAbout(term, pod, other, world) && shareDomain(at, node, term.topologyKey)),
  );
  const isAvoided = placed.some(({ other, at }) =>
    required(other, 'podAntiAffinity').some((term) => isAbout(term, other, pod, world) && shareDomain(at, node, term.topologyKey)),
  );
  return !avoids && !isAvoided;
}

function affinityPoints(pod: Pod, feasible: readonly Node[], world: World): readonly number[] {
  const raw = feasible.map((node) =>
    placedPods(world).reduce((total, { other, at }) => {
      const count = (owner: Pod, about: Pod, term: Term, weight: number) =>
        isAbout(term, owner, about, world) && shareDomain(at, node, term.topologyKey) ? weight : 0;
      let sum = total;
      for (const [kind, sign] of [['podAffinity', 1] as const, ['podAntiAffinity', -1] as const]) {
        for (const { weight, podAffinityTerm } of preferred(pod, kind)) sum += sign * count(pod, other, podAffinityTerm, weight);
        for (const { weight, podAffinityTerm } of preferred(other, kind)) sum += sign * count(other, pod, podAffinityTerm, weight);
      }
      for (const term of required(other, 'podAffinity')) sum += count(other, pod, term, 1);
      return sum;
    }, 0),
  );
  const [least, most] = [Math.min(...raw), Math.max(...raw)];
  return raw.map((one) => (most === least ? 0 : Math.floor(((one - least) / (most - least)) * 100)));
}

interface Constraint {
  readonly topologyKey: string;
  readonly maxSkew: number;
  readonly minDomains: number;
  readonly honorsAffinity: boolean;
  readonly honorsTaints: boolean;
  readonly counts: (other: Pod) => boolean;
}

function constraintsOf(pod: Pod, when: string): readonly Constraint[] {
  return (pod.spec.topologySpreadConstraints ?? [])
    .filter(({ whenUnsatisfiable }) => whenUnsatisfiable === when)
    .map((one) => ({
      topologyKey: one.topologyKey,
      maxSkew: one.maxSkew,
      minDomains: one.minDomains ?? 1,
      honorsAffinity: one.nodeAffinityPolicy !== 'Ignore',
      honorsTaints: one.nodeTaintsPolicy === 'Honor',
      counts: ({ metadata: { labels } }) =>
        selects(one.labelSelector, labels) &&
        (one.matchLabelKeys ?? []).every((key) => !(key in (pod.metadata.labels ?? {})) || labels?.[key] === pod.metadata.labels?.[key]),
    }));
}

/** The cluster's own constraints for a pod without any: hosts by 3, zones by 5. */
function defaultConstraints(pod: Pod, { services }: World): readonly Constraint[] {
  if ((pod.spec.topologySpreadConstraints ?? []).length > 0) return [];
  const owner = pod.metadata.ownerReferences?.find(({ controller }) => controller === true);
  const labels = pod.metadata.labels ?? {};
  const selecting = (services[pod.metadata.namespace ?? ''] ?? []).filter((selector) => selects({ matchLabels: selector }, labels));
  let counts: Constraint['counts'];
  if (owner?.kind === 'ReplicaSet') {
    counts = ({ metadata }) => metadata.ownerReferences?.some(({ uid }) => uid === owner.uid) === true;
  } else if (selecting.length > 0) {
    counts = ({ metadata }) => selecting.every((selector) => selects({ matchLabels: selector }, metadata.labels));
  } else return [];
  return [['kubernetes.io/hostname', 3] as const, ['topology.kubernetes.io/zone', 5] as const].map(([topologyKey, maxSkew]) => ({
    topologyKey,
    maxSkew,
    minDomains: 1,
    honorsAffinity: true,
    honorsTaints: false,
    counts,
  }));
}

function isDomainNode(pod: Pod, node: Node, { honorsAffinity, honorsTaints }: Constraint): boolean {
  if (honorsAffinity && !matchesNode(pod, node)) return false;
  return !honorsTaints || (node.spec?.taints ?? []).every((taint) => taint.effect === 'PreferNoSchedule' || tolerates(pod, taint));
}

const countIn = (pod: Pod, constraint: Constraint, nodes: readonly Node[], world: World): number =>
  nodes
    .flatMap((node) => podsOn(node, world))
    .filter((other) => other.metadata.namespace === pod.metadata.namespace && other.metadata.deletionTimestamp === undefined)
    .filter(constraint.counts).length;

function isEven(pod: Pod, node: Node, world: World): boolean {
  const constraints = constraintsOf(pod, 'DoNotSchedule');
  const complete = world.nodes.filter((one) => constraints.every(({ topologyKey }) => labelOf(one, topologyKey) !== undefined));
  return constraints.every((constraint) => {
    const key = constraint.topologyKey;
    const value = labelOf(node, key);
    if (value === undefined) return false;
    const eligible = complete.filter((one) => isDomainNode(pod, one, constraint));
    const countOf = (domain: string) =>
      countIn(
        pod,
        constraint,
        eligible.filter((one) => labelOf(one, key) === domain),
        world,
      );
    const domains = [...new Set(eligible.map((one) => labelOf(one, key) ?? ''))];
    const least = domains.length < constraint.minDomains ? 0 : Math.min(...domains.map(countOf));
    return countOf(value) + (constraint.counts(pod) ? 1 : 0) - least <= constraint.maxSkew;
  });
}

function spreadPoints(pod: Pod, feasible: readonly Node[], world: World): readonly number[] {
  const own = constraintsOf(pod, 'ScheduleAnyway');
  const constraints = own.length > 0 ? own : defaultConstraints(pod, world);
  if (constraints.length === 0) return feasible.map(() => 0);
  const needsAll = own.length > 0;
  const isComplete = (node: Node) => !needsAll || constraints.every(({ topologyKey }) => labelOf(node, topologyKey) !== undefined);
  const compared = feasible.filter(isComplete);
  const raw = feasible.map((node) => {
    if (!isComplete(node)) return undefined;
    const sum = constraints.reduce((total, constraint) => {
      const key = constraint.topologyKey;
      const value = labelOf(node, key);
      if (value === undefined) return total;
      const size = key === 'kubernetes.io/hostname' ? compared.length : new Set(compared.map((one) => labelOf(one, key))).size;
      const domain = world.nodes.filter((one) => labelOf(one, key) === value && isComplete(one) && isDomainNode(pod, one, constraint));
      return total + countIn(pod, constraint, domain, world) * Math.log(size + 2) + constraint.maxSkew - 1;
    }, 0);
    return Math.round(sum);
  });
  const known = raw.filter((one) => one !== undefined);
  const [least, most] = [Math.min(...known), Math.max(0, ...known)];
  return raw.map((one) => {
    if (one === undefined) return 0;
    return most === 0 ? 100 : Math.floor((100 * (most + least - one)) / most);
  });
}

import { anyAddress, type HostPort } from '../api/core/v1/host-ports.ts';
import type { Node, Taint } from '../api/core/v1/node.ts';
import type { Clock } from '../base/clock.ts';
import { deepEqual } from '../machinery/object.ts';
import type { ClusterChange, ClusterView, Shift } from './plugin.ts';
import type { PodRecord } from './pod-record.ts';
import { allocatableOf } from './requests.ts';

/**
 * A node as filters and scores read it, in flat numbers and sets. Chasing pointers through node objects was the largest single cost
 * of scheduling on thousands of nodes.
 */
export class NodeRecord {
  readonly name: string;
  /** Rises with every change; a score is valid while it is unchanged. */
  version = 0;
  /** Rises when a pod here became a newer version of itself that is the same for filters and scores. */
  podsVersion = 0;
  /** False for a node whose object is gone, or not there yet, while pods name it. */
  present = false;
  unschedulable = false;
  labels: Readonly<Record<string, string>> = {};
  /** NoSchedule and NoExecute. */
  hardTaints: readonly Taint[] = [];
  /** PreferNoSchedule. */
  softTaints: readonly Taint[] = [];

  milliCpu = 0;
  memory = 0;
  ephemeralStorage = 0;
  maxPods = 0;
  extended: ReadonlyMap<string, number> | undefined;

  usedMilliCpu = 0;
  usedMemory = 0;
  usedEphemeralStorage = 0;
  usedExtended: Map<string, number> | undefined;
  scoredMilliCpu = 0;
  scoredMemory = 0;

  /** Bytes of the images that the node has, by each of their names. */
  images: ReadonlyMap<string, number> = noImages;
  #imageList: unknown;

  readonly pods = new Map<string, PodRecord>();
  #hostPorts: Map<string, number> | undefined;

  constructor(name: string) {
    this.name = name;
  }

  read(node: Node): readonly ClusterChange[] {
    const changes: ClusterChange[] = this.present ? [] : ['NodeAdded'];
    const amounts = allocatableOf(node.status?.allocatable as Readonly<Record<string, string>> | undefined);
    if (
      amounts.milliCpu !== this.milliCpu ||
      amounts.memory !== this.memory ||
      amounts.ephemeralStorage !== this.ephemeralStorage ||
      amounts.pods !== this.maxPods ||
      !sameAmounts(amounts.extended, this.extended)
    ) {
      this.milliCpu = amounts.milliCpu;
      this.memory = amounts.memory;
      this.ephemeralStorage = amounts.ephemeralStorage;
      this.maxPods = amounts.pods;
      this.extended = amounts.extended;
      changes.push('NodeAllocatableChanged');
    }
    const labels = node.metadata.labels ?? {};
    if (!deepEqual(labels, this.labels)) changes.push('NodeLabelsChanged');
    this.labels = labels;
    const taints = node.spec?.taints ?? [];
    const hardTaints = taints.filter(({ effect }) => effect !== 'PreferNoSchedule');
    const softTaints = taints.filter(({ effect }) => effect === 'PreferNoSchedule');
    const unschedulable = node.spec?.unschedulable === true;
    if (unschedulable !== this.unschedulable || !deepEqual(hardTaints, this.hardTaints) || !deepEqual(softTaints, this.softTaints)) {
      changes.push('NodeTaintsChanged');
    }
    this.hardTaints = hardTaints;
    this.softTaints = softTaints;
    this.unschedulable = unschedulable;
    this.present = true;
    if (changes.length > 0) this.version += 1;
    return changes;
  }

  /** Reads the images; true when they are others than before. */
  readImages(node: Node): boolean {
    const list = node.status?.images;
    if (list === this.#imageList || (list === undefined && this.images.size === 0)) return false;
    const known = this.images;
    this.#imageList = list;
    const images = new Map<string, number>();
    for (const { names, sizeBytes } of list ?? []) for (const name of names ?? []) images.set(name, sizeBytes ?? 0);
    if (sameAmounts(images, known)) return false;
    this.images = images;
    this.version += 1;
    return true;
  }

  /** The same node for a trial with other pods: what happens to it does not reach this one. */
  copy(): NodeRecord {
    const copy = new NodeRecord(this.name);
    Object.assign(copy, this, { pods: copy.pods });
    for (const [key, pod] of this.pods) copy.pods.set(key, pod);
    copy.usedExtended = this.usedExtended === undefined ? undefined : new Map(this.usedExtended);
    copy.#hostPorts = this.#hostPorts === undefined ? undefined : new Map(this.#hostPorts);
    return copy;
  }

  add(pod: PodRecord): void {
    this.pods.set(pod.key, pod);
    this.#count(pod, 1);
  }

  remove(pod: PodRecord): void {
    if (!this.pods.delete(pod.key)) return;
    this.#count(pod, -1);
  }

  /** A newer version of a pod that is here. */
  renew(pod: PodRecord): void {
    this.pods.set(pod.key, pod);
    this.podsVersion += 1;
  }

  /** A pod here has one of these ports already. */
  hasPortOf(wanted: readonly HostPort[]): boolean {
    const taken = this.#hostPorts;
    if (taken === undefined || taken.size === 0) return false;
    return wanted.some(({ protocol, ip, port }) => {
      if (ip !== anyAddress) return taken.has(`${protocol}/${ip}/${port}`) || taken.has(`${protocol}/${anyAddress}/${port}`);
      // Any address collides with every address; nodes have few host ports.
      for (const key of taken.keys()) if (key.startsWith(`${protocol}/`) && key.endsWith(`/${port}`)) return true;
      return false;
    });
  }

  #count({ shape }: PodRecord, sign: 1 | -1): void {
    this.version += 1;
    const { requests, hostPorts } = shape;
    this.usedMilliCpu += sign * requests.milliCpu;
    this.usedMemory += sign * requests.memory;
    this.usedEphemeralStorage += sign * requests.ephemeralStorage;
    this.scoredMilliCpu += sign * requests.scoredMilliCpu;
    this.scoredMemory += sign * requests.scoredMemory;
    if (requests.extended !== undefined) {
      this.usedExtended ??= new Map();
      for (const [name, amount] of requests.extended) addTo(this.usedExtended, name, sign * amount);
    }
    if (hostPorts.length > 0) {
      this.#hostPorts ??= new Map();
      for (const { protocol, ip, port } of hostPorts) addTo(this.#hostPorts, `${protocol}/${ip}/${port}`, sign);
    }
  }
}

const noImages: ReadonlyMap<string, number> = new Map();

function addTo<Key>(counts: Map<Key, number>, key: Key, amount: number): void {
  const sum = (counts.get(key) ?? 0) + amount;
  if (sum === 0) counts.delete(key);
  else counts.set(key, sum);
}

function addMember<Member>(sets: Map<string, Set<Member>>, key: string, member: Member): void {
  const members = sets.get(key);
  if (members === undefined) sets.set(key, new Set([member]));
  else members.add(member);
}

function removeMember<Member>(sets: Map<string, Set<Member>>, key: string, member: Member): void {
  const members = sets.get(key);
  members?.delete(member);
  if (members?.size === 0) sets.delete(key);
}

function domainsOf(nodes: readonly NodeRecord[], keys: readonly string[]): ReadonlyMap<string, ReadonlySet<string>> {
  const found = new Map(keys.map((key) => [key, new Set<string>()]));
  for (const { labels } of nodes) {
    if (keys.some((key) => labels[key] === undefined)) continue;
    for (const [key, values] of found) values.add(labels[key] ?? '');
  }
  return found;
}

function sameAmounts(a: ReadonlyMap<string, number> | undefined, b: ReadonlyMap<string, number> | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.size === b.size && [...a].every(([name, amount]) => b.get(name) === amount);
}

/**
 * Nodes and the pods on them, including pods that were just assumed on a node. The API shows these only some
 * milliseconds later, and until then their resources must not be given away again.
 */
export interface SchedulerCache extends ClusterView {
  node(name: string): NodeRecord | undefined;
  /** Rises when nodes come or go, or when labels, taints, namespaces or Services change. */
  readonly topologyVersion: number;
  /** Something else changed that answers of filters and scores depend on. */
  topologyChanged(): void;
  /** Calls `listener` for each pod that comes to a node or leaves it. */
  onShift(listener: Shift): void;
  /** The lowest priority of a pod on a node; undefined without any. */
  readonly lowestPriority: number | undefined;
  setNode(node: Node): { readonly node: NodeRecord; readonly changes: readonly ClusterChange[] };
  removeNode(name: string): void;
  /** The API has the pod on `nodeName`, which confirms an assumption or overrules it. */
  setPod(pod: PodRecord, nodeName: string): void;
  /** A pod that is on a node, or promised to one. */
  recordOf(key: string): PodRecord | undefined;
  /** The pod is gone or has ended. Gives it when it held something. */
  removePod(key: string): PodRecord | undefined;
  /** Promises the node to the pod. */
  assume(pod: PodRecord, node: NodeRecord): void;
  /** The API accepted the binding: from now on the assumption expires unless it is confirmed. */
  bindingFinished(key: string): void;
  /** Takes the promise back. Nothing when the API has confirmed it meanwhile. */
  forget(key: string): void;
  /** Keys whose binding was accepted and which nobody confirmed in time. */
  expired(): readonly string[];
  readonly assumedPods: number;
  /** Pods on nodes, promised ones included. */
  readonly placedPods: number;
}

export interface SchedulerCacheOptions {
  readonly clock: Clock;
  readonly namespaceLabels: (name: string) => Readonly<Record<string, string>> | undefined;
  /** `spec.selector` of the Services of a namespace that have one. */
  readonly serviceSelectors?: (namespace: string) => Iterable<Readonly<Record<string, string>>>;
  /** Longest time that an accepted binding may stay unconfirmed. */
  readonly assumeTtlMs?: number;
}

interface Placement {
  pod: PodRecord;
  readonly node: NodeRecord;
  assumed: boolean;
  expiresAt: number | undefined;
}

export function createSchedulerCache(options: SchedulerCacheOptions): SchedulerCache {
  const { clock, namespaceLabels, serviceSelectors, assumeTtlMs = 30_000 } = options;
  const records = new Map<string, NodeRecord>();
  const nodes: NodeRecord[] = [];
  const placements = new Map<string, Placement>();
  const assumed = new Set<string>();
  const podsWithAntiAffinity = new Map<PodRecord, NodeRecord>();
  const podsWithAffinity = new Map<PodRecord, NodeRecord>();
  const byOwner = new Map<string, Set<Placement>>();
  const byNamespace = new Map<string, Set<Placement>>();
  const domains = new Map<string, ReadonlyMap<string, ReadonlySet<string>>>();
  const nodesByImage = new Map<string, number>();
  const podsByPriority = new Map<number, number>();
  const listeners: Shift[] = [];
  let topologyVersion = 0;

  function recordOf(name: string): NodeRecord {
    let record = records.get(name);
    if (record === undefined) {
      record = new NodeRecord(name);
      records.set(name, record);
    }
    return record;
  }

  function place(pod: PodRecord, node: NodeRecord, isAssumed: boolean): void {
    node.add(pod);
    const placement: Placement = { pod, node, assumed: isAssumed, expiresAt: undefined };
    placements.set(pod.key, placement);
    if (isAssumed) assumed.add(pod.key);
    const { ownerUid, requiredAffinity, requiredAntiAffinity, preferredPods, priority } = pod.shape;
    if (ownerUid !== undefined) addMember(byOwner, ownerUid, placement);
    addMember(byNamespace, pod.namespace, placement);
    if (requiredAntiAffinity.length > 0) podsWithAntiAffinity.set(pod, node);
    if (requiredAffinity.length > 0 || preferredPods.length > 0) podsWithAffinity.set(pod, node);
    addTo(podsByPriority, priority, 1);
    shift(pod, node, 1);
  }

  function displace(placement: Placement): void {
    const { pod, node } = placement;
    node.remove(pod);
    placements.delete(pod.key);
    assumed.delete(pod.key);
    podsWithAntiAffinity.delete(pod);
    podsWithAffinity.delete(pod);
    if (pod.shape.ownerUid !== undefined) removeMember(byOwner, pod.shape.ownerUid, placement);
    removeMember(byNamespace, pod.namespace, placement);
    addTo(podsByPriority, pod.shape.priority, -1);
    shift(pod, node, -1);
    if (!node.present && node.pods.size === 0) records.delete(node.name);
  }

  /** Pods of a node whose object is gone, or not there yet, count for nobody else. */
  function shift(pod: PodRecord, node: NodeRecord, sign: 1 | -1): void {
    if (node.present) for (const listener of listeners) listener(pod, node, sign);
  }

  function topologyChanged(): void {
    topologyVersion += 1;
    domains.clear();
  }

  function countImages(images: ReadonlyMap<string, number>, sign: 1 | -1): void {
    for (const name of images.keys()) addTo(nodesByImage, name, sign);
  }

  return {
    nodes,
    node(name) {
      const record = records.get(name);
      return record?.present === true ? record : undefined;
    },
    podsWithAntiAffinity,
    podsWithAffinity,
    podsOfOwner: (uid) => byOwner.get(uid) ?? [],
    podsIn: (namespace) => byNamespace.get(namespace) ?? [],
    domains(keys) {
      const id = keys.join();
      let found = domains.get(id);
      if (found === undefined) {
        found = domainsOf(nodes, keys);
        domains.set(id, found);
      }
      return found;
    },
    namespaceLabels,
    serviceSelectors(namespace, labels) {
      const selecting: Readonly<Record<string, string>>[] = [];
      for (const selector of serviceSelectors?.(namespace) ?? []) {
        if (Object.entries(selector).every(([key, value]) => labels[key] === value)) selecting.push(selector);
      }
      return selecting;
    },
    nodesWithImage: (name) => nodesByImage.get(name) ?? 0,
    get topologyVersion() {
      return topologyVersion;
    },
    topologyChanged,
    onShift: (listener) => void listeners.push(listener),
    get lowestPriority() {
      return podsByPriority.size === 0 ? undefined : Math.min(...podsByPriority.keys());
    },
    setNode(node) {
      const record = recordOf(node.metadata.name);
      const isNew = !record.present;
      const changes = record.read(node);
      if (isNew) nodes.push(record);
      const { images } = record;
      if (record.readImages(node)) {
        if (!isNew) countImages(images, -1);
        countImages(record.images, 1);
      } else if (isNew) countImages(images, 1);
      if (changes.some((change) => change !== 'NodeAllocatableChanged')) topologyChanged();
      return { node: record, changes };
    },
    removeNode(name) {
      const record = records.get(name);
      if (record === undefined) return;
      if (record.present) countImages(record.images, -1);
      record.present = false;
      record.version += 1;
      topologyChanged();
      const index = nodes.indexOf(record);
      if (index !== -1) nodes.splice(index, 1);
      if (record.pods.size === 0) records.delete(name);
    },
    setPod(pod, nodeName) {
      const known = placements.get(pod.key);
      if (known !== undefined) {
        if (known.node.name === nodeName && isSameForOthers(known.pod, pod)) {
          // Most updates are of status: nothing that is counted has changed, and a promise just became true.
          known.assumed = false;
          known.expiresAt = undefined;
          assumed.delete(pod.key);
          known.node.renew(pod);
          known.pod = pod;
          return;
        }
        displace(known);
      }
      place(pod, recordOf(nodeName), false);
    },
    recordOf: (key) => placements.get(key)?.pod,
    removePod(key) {
      const known = placements.get(key);
      if (known !== undefined) displace(known);
      return known?.pod;
    },
    assume(pod, node) {
      const known = placements.get(pod.key);
      if (known !== undefined) displace(known);
      place(pod, node, true);
    },
    bindingFinished(key) {
      const known = placements.get(key);
      if (known?.assumed === true) known.expiresAt = clock.monotonicMs() + assumeTtlMs;
    },
    forget(key) {
      const known = placements.get(key);
      if (known?.assumed === true) displace(known);
    },
    expired() {
      const now = clock.monotonicMs();
      const keys: string[] = [];
      for (const key of assumed) {
        const expiresAt = placements.get(key)?.expiresAt;
        if (expiresAt !== undefined && expiresAt <= now) keys.push(key);
      }
      return keys;
    },
    get assumedPods() {
      return assumed.size;
    },
    get placedPods() {
      return placements.size;
    },
  };
}

/** Node records and maps of records hold the same for both. A terminating pod is counted out of spread constraints. */
function isSameForOthers(known: PodRecord, pod: PodRecord): boolean {
  const { shape } = pod;
  if (known.shape !== shape || known.uid !== pod.uid) return false;
  if ((known.pod.metadata.deletionTimestamp === undefined) !== (pod.pod.metadata.deletionTimestamp === undefined)) return false;
  return shape.requiredAntiAffinity.length + shape.requiredAffinity.length + shape.preferredPods.length === 0;
}

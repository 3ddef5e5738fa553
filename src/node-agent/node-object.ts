import type { Node, NodeCondition, NodeStatus, Taint } from '../api/core/v1/node.ts';
import type { EvictionSettings, EvictionSignal } from '../api/eviction-settings.ts';
import { annotations, labels, taints } from '../api/well-known.ts';
import { timestampOf } from '../base/clock.ts';
import { conditionOf, transitionTimeOf } from '../machinery/conditions.ts';
import { wholeValueOf } from '../machinery/quantity.ts';
import type { NodeConditionReport, PodIsolation } from './container-runtime.ts';
import type { MachineFacts } from './machine-facts.ts';

export interface NodeDescription {
  readonly name: string;
  /** Empty when it cannot be reached, as a simulated one. */
  readonly internalIP: string;
  readonly externalIP?: string;
  /** 0 when there is no kubelet API. */
  readonly kubeletPort: number;
  readonly capacity: Readonly<Record<string, string>>;
  readonly allocatable: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly taints: readonly Taint[];
  /** A directory of the machine that holds volumes; absent: the node has none. */
  readonly storageDirectory?: string | undefined;
  /** Its pods are pretended: labelled and tainted so that only pods that ask for it come here. */
  readonly simulated: boolean;
  /** A new Node gets no pods before a cloud provider knows its machine, as with `--cloud-provider=external` of a kubelet. */
  readonly awaitsCloud: boolean;
  readonly machine: MachineFacts;
  readonly kubeletVersion: string;
  readonly runtimeVersion: string;
  /** Absent: its pods are no processes of the machine. */
  readonly isolation: PodIsolation | undefined;
  /** Names of the volumes that no controller may take from the node. Absent: the node has no drivers of volumes. */
  readonly volumesInUse?: readonly string[] | undefined;
  /** The conditions MemoryPressure, DiskPressure and PIDPressure. */
  readonly pressures: readonly NodeConditionReport[];
  /** The conditions by which the runtime says how it runs pods. */
  readonly conditions: readonly NodeConditionReport[];
  /** Absent: the node takes pods. */
  readonly notReady?: string | undefined;
}

/** Says whether and how pods are kept apart from the machine. */
const isolationCondition = 'midship.dev/PodIsolation';

/** `CAPACITY` of a machine when nobody says otherwise; 110 pods as upstream. */
export function capacityOf({ cpus, memoryKiB, diskKiB }: MachineFacts): Readonly<Record<string, string>> {
  return { cpu: String(cpus), 'ephemeral-storage': `${diskKiB}Ki`, memory: `${memoryKiB}Ki`, pods: '110' };
}

/** The part that pods may ask for. As a kubelet, it keeps back the memory and disk at which it evicts pods, and counts in bytes. */
export function allocatableOf(
  capacity: Readonly<Record<string, string>>,
  { thresholds }: Pick<EvictionSettings, 'thresholds'>,
): Readonly<Record<string, string>> {
  const allocatable: Record<string, string> = { ...capacity };
  for (const { signal, value, isHard } of thresholds) {
    const resource = keptBack.get(signal);
    const all = resource === undefined ? undefined : capacity[resource];
    if (!isHard || resource === undefined || all === undefined) continue;
    const bytes = wholeValueOf(all);
    allocatable[resource] = String('share' in value ? Math.floor(bytes * (1 - value.share)) : Math.max(0, bytes - value.amount));
  }
  return allocatable;
}

const keptBack: ReadonlyMap<EvictionSignal, string> = new Map([
  ['memory.available', 'memory'],
  ['nodefs.available', 'ephemeral-storage'],
]);

export function nodeLabelsOf({ name, labels: own, simulated, machine }: NodeDescription): Record<string, string> {
  return {
    'beta.kubernetes.io/arch': machine.architecture,
    'beta.kubernetes.io/os': 'linux',
    [labels.arch]: machine.architecture,
    [labels.os]: 'linux',
    [labels.hostname]: name,
    ...(simulated ? { [labels.midshipSimulated]: 'true' } : {}),
    ...own,
  };
}

export const nodeAnnotationsOf = ({ storageDirectory, simulated }: NodeDescription): Readonly<Record<string, string>> => ({
  // The controllers attach volumes, and not the agent: those of upstream leave other nodes alone.
  ...(simulated ? {} : { [annotations.controllerAttaches]: 'true' }),
  ...(storageDirectory === undefined ? {} : { [annotations.storageDirectory]: storageDirectory }),
});

export function nodeTaintsOf({ taints: own, simulated }: NodeDescription): readonly Taint[] {
  return simulated ? [...own, { key: taints.simulated, value: 'true', effect: 'NoSchedule' }] : own;
}

/** The status as its agent reports it; conditions that others keep stay, and a condition that stays the same keeps its time. */
export function nodeStatusOf(description: NodeDescription, before: NodeStatus | undefined, now: number): NodeStatus {
  const { kubeletPort, capacity, allocatable, machine, kubeletVersion, runtimeVersion } = description;
  const { isolation, pressures, conditions, notReady, volumesInUse = [] } = description;
  const own = [
    ...pressures.map(({ type, status, reason, message }) => report(type, status, reason, message)),
    notReady === undefined
      ? report('Ready', 'True', 'KubeletReady', 'kubelet is posting ready status')
      : report('Ready', 'False', 'KubeletNotReady', notReady),
    ...conditions.map(({ type, status, reason, message }) => report(type, status, reason, message)),
    ...(isolation === undefined
      ? []
      : [report(isolationCondition, isolation.isolated ? 'True' : 'False', isolation.reason, isolation.message)]),
  ];
  const others = (before?.conditions ?? []).filter(({ type }) => !own.some((condition) => condition.type === type));
  const { volumesInUse: _inUse, ...kept } = before ?? {};
  return {
    ...kept,
    ...(volumesInUse.length === 0 ? {} : { volumesInUse }),
    capacity,
    allocatable,
    // Unlike a spread, it leaves no room for more.
    conditions: others.concat(own),
    addresses: nodeAddressesOf(description),
    daemonEndpoints: { kubeletEndpoint: { Port: kubeletPort } },
    nodeInfo: {
      machineID: machine.machineID,
      systemUUID: machine.machineID,
      bootID: machine.bootID,
      kernelVersion: machine.kernelVersion,
      osImage: machine.osImage,
      containerRuntimeVersion: runtimeVersion,
      kubeletVersion,
      kubeProxyVersion: '',
      operatingSystem: 'linux',
      architecture: machine.architecture,
    },
  };

  function report(type: string, status: 'True' | 'False', reason: string, message: string): NodeCondition {
    const time = timestampOf(now);
    const lastTransitionTime = transitionTimeOf(conditionOf(before?.conditions, type), status, time);
    return { type, status, reason, message, lastHeartbeatTime: time, lastTransitionTime };
  }
}

/** In the order of a kubelet: clients take the first that they can use. */
const nodeAddressesOf = ({ name, internalIP, externalIP = '' }: NodeDescription): NonNullable<NodeStatus['addresses']> =>
  (internalIP === '' ? [] : [{ type: 'InternalIP', address: internalIP }]).concat(
    externalIP === '' ? [] : { type: 'ExternalIP', address: externalIP },
    { type: 'Hostname', address: name },
  );

/** True when the statuses differ in more than the time of the report. */
export function isNewsInStatus(before: NodeStatus | undefined, after: NodeStatus, same: (a: unknown, b: unknown) => boolean): boolean {
  const timeless = (status: NodeStatus | undefined) => ({
    ...status,
    conditions: status?.conditions?.map(({ lastHeartbeatTime: _, ...rest }) => rest),
  });
  return !same(timeless(before), timeless(after));
}

export function nodeObjectOf(description: NodeDescription, now: number): Node {
  const waiting: Taint = { key: taints.uninitialized, value: 'true', effect: 'NoSchedule' };
  const nodeTaints = [...nodeTaintsOf(description), ...(description.awaitsCloud ? [waiting] : [])];
  const ownAnnotations = nodeAnnotationsOf(description);
  const hasAny = Object.keys(ownAnnotations).length > 0;
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: description.name, labels: nodeLabelsOf(description), ...(hasAny ? { annotations: ownAnnotations } : {}) },
    spec: nodeTaints.length === 0 ? {} : { taints: nodeTaints },
    status: nodeStatusOf(description, undefined, now),
  };
}

import type { Node, NodeCondition, Taint } from '../api/core/v1/node.ts';
import { taints } from '../api/well-known.ts';
import type { NodeEvent, nodeMachine } from './node.machine.ts';
import type { StateValueOf } from './step.ts';

export type NodeState = StateValueOf<typeof nodeMachine>;

/** Observations of a node besides its object. */
export interface NodeObservation {
  /** Neither its Lease nor its status was renewed for longer than the grace period. */
  readonly heartbeatLost: boolean;
  /** Pods on it count as ready, though nobody hears from it. */
  readonly podsStillReady: boolean;
  /** It is this node's turn: evictions of a zone are limited by rate, and stop when the whole cluster looks dead. */
  readonly evictionAllowed: boolean;
  /** The whole cluster looks dead: more likely it is this process that is cut off, so nothing is moved. */
  readonly evictionCalledOff: boolean;
}

/** Conditions that only the agent writes, and that lose their meaning when it falls silent. */
const agentConditions = ['Ready', 'MemoryPressure', 'DiskPressure', 'PIDPressure'] as const;

/** NoSchedule taints by condition. Ready is not among them: its taint depends on more than True. */
const pressureTaints = [
  ['MemoryPressure', taints.memoryPressure],
  ['DiskPressure', taints.diskPressure],
  ['PIDPressure', taints.pidPressure],
  ['NetworkUnavailable', taints.networkUnavailable],
] as const;

export type ReadyStatus = 'True' | 'False' | 'Unknown';

/** Status of the condition `Ready`; undefined while the agent has never reported. */
export function readyStatusOf(node: Node): ReadyStatus | undefined {
  const status = conditionOf(node, 'Ready')?.status;
  return status === undefined || status === 'True' || status === 'False' ? status : 'Unknown';
}

export function conditionOf(node: Node, type: string): NodeCondition | undefined {
  return node.status?.conditions?.find((condition) => condition.type === type);
}

/** Reads back from the taints what the controller has done. */
export function stateOf(node: Node): NodeState {
  return {
    health: hasTaint(node, taints.unreachable, 'NoSchedule')
      ? 'Unreachable'
      : hasTaint(node, taints.notReady, 'NoSchedule')
        ? 'NotReady'
        : 'Ready',
    schedulability: hasTaint(node, taints.unschedulable, 'NoSchedule') ? 'Cordoned' : 'Open',
    eviction: evictionTaintOf(node) === undefined ? 'Keeping' : 'Evicting',
  };
}

/** Differences between the world and the taints on the node, in the order of the actions. */
export function* eventsOf(node: Node, observed: NodeObservation): Generator<NodeEvent> {
  const { health, schedulability, eviction } = stateOf(node) as {
    readonly health: string;
    readonly schedulability: string;
    readonly eviction: string;
  };
  const ready = observed.heartbeatLost ? 'Unknown' : readyStatusOf(node);
  if (observed.heartbeatLost && agentConditions.some((type) => conditionOf(node, type)?.status !== 'Unknown')) {
    yield { type: 'HEARTBEAT_LOST' };
  } else if (ready === 'True' && health !== 'Ready') yield { type: 'CONDITION_TRUE' };
  else if (ready === 'False' && health !== 'NotReady') yield { type: 'CONDITION_FALSE' };
  // A node that has not reported yet takes no pods, as one that is not ready.
  else if (ready === undefined && health === 'Ready') yield { type: 'NEVER_REPORTED' };
  else if (ready === 'Unknown' && health !== 'Unreachable') yield { type: 'CONDITION_UNKNOWN' };
  else if (ready === 'Unknown' && observed.podsStillReady) yield { type: 'PODS_STILL_READY' };

  const cordoned = node.spec?.unschedulable === true;
  if (cordoned && schedulability === 'Open') yield { type: 'CORDONED' };
  if (!cordoned && schedulability === 'Cordoned') yield { type: 'UNCORDONED' };
  if (pressureTaints.some(([type, key]) => (conditionOf(node, type)?.status === 'True') !== hasTaint(node, key, 'NoSchedule'))) {
    yield { type: 'PRESSURE_CHANGED' };
  }

  const wanted = ready === 'True' || ready === undefined ? undefined : evictionKeyOf(ready);
  if (eviction === 'Evicting') {
    if (wanted === undefined || observed.evictionCalledOff) yield { type: 'EVICTION_OVER' };
    else if (evictionTaintOf(node)?.key !== wanted) yield { type: 'EVICTION_DUE' };
  } else if (wanted !== undefined && observed.evictionAllowed && !observed.evictionCalledOff) yield { type: 'EVICTION_DUE' };
}

/** The agent's conditions as Unknown, in upstream's words. */
export function unknownConditions(node: Node, now: string): readonly NodeCondition[] {
  const known = node.status?.conditions ?? [];
  const kept = known.map((condition) =>
    !isAgentCondition(condition.type) || condition.status === 'Unknown'
      ? condition
      : {
          ...condition,
          status: 'Unknown',
          reason: 'NodeStatusUnknown',
          message: 'Kubelet stopped posting node status.',
          lastTransitionTime: now,
        },
  );
  const missing = agentConditions.filter((type) => conditionOf(node, type) === undefined);
  return [
    ...kept,
    ...missing.map((type) => ({
      type,
      status: 'Unknown',
      reason: 'NodeStatusNeverUpdated',
      message: 'Kubelet never posted node status.',
      lastHeartbeatTime: node.metadata.creationTimestamp ?? now,
      lastTransitionTime: now,
    })),
  ];
}

/**
 * All taints of a node with the controller's own made right. These are the NoSchedule ones, or the NoExecute ones when `evict` says whether
 * pods are to go. The same array when they are right.
 */
export function statusOf(node: Node, { evict, now }: { readonly evict?: boolean; readonly now: string }): readonly Taint[] {
  return evict === undefined ? scheduleTaintsOf(node, now) : evictionTaintsOf(node, evict, now);
}

function scheduleTaintsOf(node: Node, now: string): readonly Taint[] {
  const ready = readyStatusOf(node);
  const wanted = new Set<string>();
  if (ready === 'Unknown') wanted.add(taints.unreachable);
  else if (ready !== 'True') wanted.add(taints.notReady);
  for (const [type, key] of pressureTaints) if (conditionOf(node, type)?.status === 'True') wanted.add(key);
  if (node.spec?.unschedulable === true) wanted.add(taints.unschedulable);
  const known = node.spec?.taints ?? [];
  const kept = known.filter(({ key, effect }) => effect !== 'NoSchedule' || !isScheduleKey(key) || wanted.has(key));
  const added = [...wanted]
    .filter((key) => !hasTaint(node, key, 'NoSchedule'))
    .map((key) => ({ key, effect: 'NoSchedule', timeAdded: now }));
  return kept.length === known.length && added.length === 0 ? known : [...kept, ...added];
}

function evictionTaintsOf(node: Node, evict: boolean, now: string): readonly Taint[] {
  const ready = readyStatusOf(node);
  const wanted = evict && ready !== 'True' ? evictionKeyOf(ready ?? 'Unknown') : undefined;
  const known = node.spec?.taints ?? [];
  const kept = known.filter(({ key, effect }) => effect !== 'NoExecute' || !isEvictionKey(key) || key === wanted);
  const added = wanted === undefined || hasTaint(node, wanted, 'NoExecute') ? [] : [{ key: wanted, effect: 'NoExecute', timeAdded: now }];
  return kept.length === known.length && added.length === 0 ? known : [...kept, ...added];
}

const evictionKeyOf = (ready: 'False' | 'Unknown'): string => (ready === 'False' ? taints.notReady : taints.unreachable);
const isEvictionKey = (key: string): boolean => key === taints.notReady || key === taints.unreachable;
const isScheduleKey = (key: string): boolean =>
  isEvictionKey(key) || key === taints.unschedulable || pressureTaints.some(([, pressure]) => pressure === key);
const isAgentCondition = (type: string): boolean => agentConditions.some((known) => known === type);

function evictionTaintOf(node: Node): Taint | undefined {
  return node.spec?.taints?.find(({ key, effect }) => effect === 'NoExecute' && isEvictionKey(key));
}

function hasTaint(node: Node, key: string, effect: string): boolean {
  return node.spec?.taints?.some((taint) => taint.key === key && taint.effect === effect) === true;
}

import { isConditionTrue } from '../../../machinery/conditions.ts';
import type { Column, RowCondition } from '../../../machinery/kind.ts';
import { ageColumn, ageOf, nameColumn } from '../../columns.ts';
import type { Container, ContainerStatus, Pod } from './pod.ts';

export const podColumns: readonly Column<Pod>[] = [
  nameColumn,
  {
    name: 'Ready',
    type: 'string',
    description: 'Containers that are ready to take traffic, of all containers.',
    cell: (pod) => {
      const { ready, total } = summaryOf(pod);
      return `${ready}/${total}`;
    },
  },
  {
    name: 'Status',
    type: 'string',
    description: 'State of the containers, in one word.',
    cell: (pod) => summaryOf(pod).reason,
  },
  {
    name: 'Restarts',
    type: 'string',
    description: 'Number of restarts, and time of the last one.',
    cell: (pod, { now }) => {
      const { restarts, lastRestart } = summaryOf(pod);
      return restarts === 0 || lastRestart === undefined ? `${restarts}` : `${restarts} (${ageOf(lastRestart, now)} ago)`;
    },
  },
  ageColumn,
  {
    name: 'IP',
    type: 'string',
    description: 'Address of the pod.',
    priority: 1,
    cell: (pod) => textOrNone(pod.status?.podIPs?.[0]?.ip ?? pod.status?.podIP),
  },
  {
    name: 'Node',
    type: 'string',
    description: 'Node that the pod is bound to.',
    priority: 1,
    cell: (pod) => textOrNone(pod.spec.nodeName),
  },
  {
    name: 'Nominated Node',
    type: 'string',
    description: 'Node on which other pods make room for this one.',
    priority: 1,
    cell: (pod) => textOrNone(pod.status?.nominatedNodeName),
  },
  {
    name: 'Readiness Gates',
    type: 'string',
    description: 'Readiness gates that are true, of all gates.',
    priority: 1,
    cell: (pod) => {
      const gates = pod.spec.readinessGates ?? [];
      if (gates.length === 0) return '<none>';
      const met = gates.filter((gate) => isConditionTrue(pod.status?.conditions, gate.conditionType)).length;
      return `${met}/${gates.length}`;
    },
  },
];

/** Rows of finished pods say so, which lets clients grey them out. */
export function podRowConditions(pod: Pod): readonly RowCondition[] {
  switch (pod.status?.phase) {
    case 'Succeeded':
      return [{ type: 'Completed', status: 'True', reason: 'Succeeded', message: 'The pod has completed successfully.' }];
    case 'Failed':
      return [{ type: 'Completed', status: 'True', reason: 'Failed', message: 'The pod failed.' }];
    default:
      return [];
  }
}

const textOrNone = (text: string | undefined): string => (text === undefined || text === '' ? '<none>' : text);

interface PodSummary {
  readonly ready: number;
  readonly total: number;
  readonly restarts: number;
  readonly lastRestart: string | undefined;
  readonly reason: string;
}

/** Three columns of a row ask for the same pod: the summary is kept as long as the pod object lives. */
const summaries = new WeakMap<Pod, PodSummary>();

/**
 * The STATUS of `kubectl get pods`: the state of the container that explains the pod best. Init containers come first.
 */
function summaryOf(pod: Pod): PodSummary {
  const known = summaries.get(pod);
  if (known !== undefined) return known;
  const summary = summarize(pod);
  summaries.set(pod, summary);
  return summary;
}

const isSidecar = (container: Container | undefined): boolean => container?.restartPolicy === 'Always';

function summarize(pod: Pod): PodSummary {
  const { spec, status = {}, metadata } = pod;
  const initContainers = spec.initContainers ?? [];
  const init = initStateOf(status.initContainerStatuses ?? [], initContainers);
  const total = spec.containers.length + initContainers.filter(isSidecar).length;
  let reason = status.reason || status.phase || '';
  if (status.conditions?.some(({ type, reason: why }) => type === 'PodScheduled' && why === 'SchedulingGated')) reason = 'SchedulingGated';
  let { ready, restarts, lastRestart } = init;
  if (init.reason !== undefined) reason = init.reason;
  if (init.reason === undefined || isConditionTrue(pod.status?.conditions, 'Initialized')) {
    restarts = init.sidecarRestarts;
    lastRestart = init.lastSidecarRestart;
    let running = false;
    for (const container of [...(status.containerStatuses ?? [])].reverse()) {
      restarts += container.restartCount;
      lastRestart = later(lastRestart, container.lastState?.terminated?.finishedAt);
      const { waiting, terminated } = container.state ?? {};
      if (waiting?.reason) reason = waiting.reason;
      else if (terminated?.reason) reason = terminated.reason;
      else if (terminated !== undefined) reason = terminated.signal ? `Signal:${terminated.signal}` : `ExitCode:${terminated.exitCode}`;
      else if (container.ready && container.state?.running !== undefined) {
        running = true;
        ready += 1;
      }
    }
    // A pod with a completed container and a running one counts as running.
    if (reason === 'Completed' && running) reason = isConditionTrue(pod.status?.conditions, 'Ready') ? 'Running' : 'NotReady';
  }
  if (metadata.deletionTimestamp !== undefined) {
    if (status.reason === 'NodeLost') reason = 'Unknown';
    else if (status.phase !== 'Succeeded' && status.phase !== 'Failed') reason = 'Terminating';
  }
  return { ready, total, restarts, lastRestart, reason };
}

interface InitState {
  readonly ready: number;
  readonly restarts: number;
  readonly lastRestart: string | undefined;
  readonly sidecarRestarts: number;
  readonly lastSidecarRestart: string | undefined;
  /** Absent when initialization is over. */
  readonly reason: string | undefined;
}

function initStateOf(statuses: readonly ContainerStatus[], containers: readonly Container[]): InitState {
  let ready = 0;
  let restarts = 0;
  let lastRestart: string | undefined;
  let sidecarRestarts = 0;
  let lastSidecarRestart: string | undefined;
  for (const [index, status] of statuses.entries()) {
    const sidecar = isSidecar(containers.find((container) => container.name === status.name));
    const finishedAt = status.lastState?.terminated?.finishedAt;
    restarts += status.restartCount;
    lastRestart = later(lastRestart, finishedAt);
    if (sidecar) {
      sidecarRestarts += status.restartCount;
      lastSidecarRestart = later(lastSidecarRestart, finishedAt);
    }
    const { terminated, waiting } = status.state ?? {};
    if (terminated?.exitCode === 0) continue;
    if (sidecar && status.started === true) {
      if (status.ready) ready += 1;
      continue;
    }
    let reason: string;
    if (terminated?.reason) reason = `Init:${terminated.reason}`;
    else if (terminated !== undefined)
      reason = terminated.signal ? `Init:Signal:${terminated.signal}` : `Init:ExitCode:${terminated.exitCode}`;
    else if (waiting?.reason && waiting.reason !== 'PodInitializing') reason = `Init:${waiting.reason}`;
    else reason = `Init:${index}/${containers.length}`;
    return { ready, restarts, lastRestart, sidecarRestarts, lastSidecarRestart, reason };
  }
  return { ready, restarts, lastRestart, sidecarRestarts, lastSidecarRestart, reason: undefined };
}

/** Timestamps of one format and zone compare as text. */
const later = (a: string | undefined, b: string | undefined): string | undefined => (a === undefined || (b !== undefined && b > a) ? b : a);

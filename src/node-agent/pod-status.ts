import type {
  Container,
  ContainerState,
  ContainerStatus as KubeContainerStatus,
  Pod,
  PodCondition,
  PodStatus,
} from '../api/core/v1/pod.ts';
import { qosClassOf } from '../api/core/v1/qos.ts';
import { BoundedMap } from '../base/bounded-map.ts';
import { timestampOf } from '../base/clock.ts';
import { backOffReasons } from '../lifecycle/container.facts.ts';
import type { PodRunState } from '../lifecycle/pod-run.facts.ts';
import { conditionOf, transitionTimeOf } from '../machinery/conditions.ts';
import { apiStatusOf, type ContainerMemory, latestOf } from './container-plan.ts';
import type { ContainerStatus, SandboxStatus } from './container-runtime.ts';
import { ephemeralContainersOf, isSidecar } from './pod-references.ts';
import { type PodResize, resizeConditions } from './pod-resize.ts';
import type { PodEnd } from './pod-verdict.ts';

export interface PodStatusOptions {
  readonly pod: Pod;
  readonly state: PodRunState;
  readonly sandbox: SandboxStatus | undefined;
  readonly initialized: boolean;
  /** False: containers that want to join the pod are not started. */
  readonly runsEphemeral: boolean;
  readonly resize: Pick<PodResize, 'statusOf' | 'conditions'>;
  readonly memories: ReadonlyMap<string, ContainerMemory>;
  /** `process`, the scheme of container ids. */
  readonly runtimeName: string;
  readonly hostIP: string;
  readonly now: number;
  /** Set when the agent ended the pod: `DeadlineExceeded`. */
  readonly fallbackMessages: FallbackMessages;
  readonly verdict: PodEnd | undefined;
}

/** Messages by container id, for containers that left none: the end of their output. */
type FallbackMessages = ReadonlyMap<string, string>;

const maxTerminationMessageLength = 4_096;

/**
 * The status of a pod as its node sees it, in the words of the kubelet. Parts that are equal to those of the status in the API are the
 * same references; the whole is the same reference when nothing changed.
 */
export function podStatusOf(options: PodStatusOptions): PodStatus {
  const { pod, sandbox, hostIP, now, verdict } = options;
  const before = pod.status ?? {};
  if (verdict?.isRejection === true) return rejectedStatusOf(options, verdict);
  const initStatuses = (pod.spec.initContainers ?? []).map((container) => containerStatusOf(options, container, true));
  const statuses = pod.spec.containers
    .map((container) => containerStatusOf(options, container, false))
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  const ephemeralStatuses = ephemeralContainersOf(pod).map((container) =>
    options.runsEphemeral ? ephemeralStatusOf(options, container) : refusedStatusOf(container),
  );
  const phase = phaseOf(options, initStatuses, statuses);
  const ip = sandbox?.ready === true ? sandbox.ip : before.podIP;
  const conditions = conditionsOf(options, phase, initStatuses, statuses);
  const { generation } = pod.metadata;
  const status: PodStatus = {
    ...before,
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    phase,
    conditions: keep(conditions, before.conditions),
    ...(hostIP === '' ? {} : { hostIP, hostIPs: keep([{ ip: hostIP }], before.hostIPs) }),
    ...(ip === undefined || ip === '' ? {} : { podIP: ip, podIPs: keep([{ ip }], before.podIPs) }),
    startTime: before.startTime ?? timestampOf(now),
    ...(initStatuses.length === 0 ? {} : { initContainerStatuses: keep(initStatuses, before.initContainerStatuses) }),
    containerStatuses: keep(statuses, before.containerStatuses),
    ...(ephemeralStatuses.length === 0 ? {} : { ephemeralContainerStatuses: keep(ephemeralStatuses, before.ephemeralContainerStatuses) }),
    qosClass: before.qosClass ?? qosClassOf(pod.spec),
    ...(verdict === undefined ? {} : { reason: verdict.reason, message: verdict.message }),
  };
  return sameJson(status, before) ? before : status;
}

/**
 * The status of a pod that the node never took. As from a kubelet, it says nothing about containers, and has none of the kubelet's
 * conditions: DisruptionTarget is for pods that ran.
 */
function rejectedStatusOf({ pod, now }: PodStatusOptions, { reason, message }: PodEnd): PodStatus {
  const before = pod.status ?? {};
  const { generation } = pod.metadata;
  const others = (before.conditions ?? []).filter(({ type }) => !ownConditions.has(type) && !resizeConditions.has(type));
  const status: PodStatus = {
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    ...(others.length === 0 ? {} : { conditions: others }),
    phase: 'Failed',
    reason,
    message,
    startTime: before.startTime ?? timestampOf(now),
    qosClass: before.qosClass ?? qosClassOf(pod.spec),
  };
  return sameJson(status, before) ? before : status;
}

const ownConditions: ReadonlySet<string> = new Set([
  'PodReadyToStartContainers',
  'Initialized',
  'Ready',
  'ContainersReady',
  'PodScheduled',
]);

/** Equality as the API sees it: a field that is null is one that is not there. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b || (a ?? undefined) === (b ?? undefined)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) || Array.isArray(b)) {
    return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((item, index) => sameJson(item, b[index]));
  }
  const left = a as Record<string, unknown>;
  const right = b as Record<string, unknown>;
  for (const key in left) if (!sameJson(left[key], right[key])) return false;
  for (const key in right) if (right[key] !== null && right[key] !== undefined && !(key in left)) return false;
  return true;
}

function keep<T>(next: T, before: T | undefined): T {
  return before !== undefined && sameJson(next, before) ? before : next;
}

/** Nothing waits for such a container, so it is never ready; it has no resources of its own. */
function ephemeralStatusOf(options: PodStatusOptions, container: Container): KubeContainerStatus {
  const { started: _, resources: __, allocatedResources: ___, ...status } = containerStatusOf(options, container, false);
  return { ...status, ready: false };
}

/** No container can join a running pod here; the status says so to clients that wait for it. */
function refusedStatusOf({ name, image = '' }: Container): KubeContainerStatus {
  const message = 'ephemeral containers are not run by this node; a copy of the pod (kubectl debug --copy-to) can have another container';
  return { name, image, imageID: '', ready: false, restartCount: 0, state: { waiting: { reason: 'NotSupported', message } } };
}

function containerStatusOf(options: PodStatusOptions, container: Container, isInit: boolean): KubeContainerStatus {
  const { sandbox, memories, pod, runtimeName } = options;
  const latest = sandbox === undefined ? undefined : latestOf(sandbox, container.name);
  const known = apiStatusOf(pod, container.name);
  const memory = memories.get(container.name);
  const probed = memory?.probed !== undefined && memory.probed.containerId === latest?.id ? memory.probed : undefined;
  const running = latest?.state === 'running';
  const state = containerState(options, container, isInit, latest, memory);
  const started = running && probed?.started === true;
  const ready = isInit && !isSidecar(container) ? state.terminated?.exitCode === 0 : started && probed?.ready === true;
  const containerID = latest === undefined ? known?.containerID : `${runtimeName}://${latest.id}`;
  const mounts = container.volumeMounts ?? [];
  const resourceStatus = options.resize.statusOf(container);
  return {
    name: container.name,
    state: keep(state, known?.state),
    lastState: keep(lastStateOf(options, container, latest, state, known), known?.lastState),
    ready,
    restartCount: latest?.attempt ?? known?.restartCount ?? 0,
    image: latest?.image ?? container.image ?? '',
    imageID: latest?.imageRef ?? known?.imageID ?? '',
    ...(containerID === undefined ? {} : { containerID }),
    started,
    ...(latest === undefined ? {} : resourceStatus),
    ...(mounts.length === 0
      ? {}
      : {
          volumeMounts: keep(
            mounts.map(({ name, mountPath, readOnly }) => ({
              name,
              mountPath,
              ...(readOnly === true ? { readOnly: true, recursiveReadOnly: 'Disabled' } : {}),
            })),
            known?.volumeMounts,
          ),
        }),
  };
}

function containerState(
  options: PodStatusOptions,
  container: Container,
  isInit: boolean,
  latest: ContainerStatus | undefined,
  memory: ContainerMemory | undefined,
): ContainerState {
  const { initialized, pod, now } = options;
  if (latest?.state === 'running') return { running: { startedAt: timestampOf(latest.startedAt ?? latest.createdAt) } };
  const over = memory?.state === 'Completed' || memory?.state === 'Failed' || memory?.state === 'Stopped';
  if (latest?.state === 'exited' && (over || memory?.failure === undefined)) {
    if (over) return { terminated: terminatedOf(latest, options) };
    // Between an exit and the restart, or waiting for the back-off.
    const delayMs = memory?.backoff?.delayMs ?? 0;
    const message = `back-off ${durationText(delayMs)} restarting failed container=${container.name} pod=${pod.metadata.name}_${pod.metadata.namespace}(${pod.metadata.uid})`;
    return memory?.state === 'BackOff'
      ? { waiting: { reason: backOffReasons.crash, message } }
      : { terminated: terminatedOf(latest, options) };
  }
  const { failure } = memory ?? {};
  // A container that waits for a volume says no more than one that is being made, as under a kubelet.
  if (failure !== undefined && failure.reason !== 'ContainerCreating' && !over) {
    const current = failure.later !== undefined && now - failure.failedAt >= failureIsNewsMs ? failure.later : failure;
    return { waiting: { reason: current.reason, message: current.message } };
  }
  const known = apiStatusOf(pod, container.name)?.state;
  if (over) {
    if (known?.terminated !== undefined) return known;
    // Ended, but nobody knows how.
    if (memory?.state !== 'Stopped' || known?.running !== undefined) {
      return {
        terminated: {
          exitCode: 137,
          reason: 'ContainerStatusUnknown',
          message: 'The container could not be located when the pod was terminated',
        },
      };
    }
  }
  const waitsForOthers = isInit ? pod.spec.initContainers?.[0]?.name !== container.name : (pod.spec.initContainers?.length ?? 0) > 0;
  return { waiting: { reason: waitsForOthers && !initialized ? 'PodInitializing' : 'ContainerCreating' } };
}

/** Time that a failed pull is shown as `ErrImagePull` before it becomes `ImagePullBackOff`. */
export const failureIsNewsMs = 2_000;

function lastStateOf(
  options: PodStatusOptions,
  container: Container,
  latest: ContainerStatus | undefined,
  state: ContainerState,
  known: KubeContainerStatus | undefined,
): ContainerState {
  const { sandbox } = options;
  if (latest?.state === 'exited' && state.terminated === undefined) return { terminated: terminatedOf(latest, options) };
  const previous =
    latest === undefined
      ? undefined
      : sandbox?.containers.find(({ name, attempt }) => name === container.name && attempt === latest.attempt - 1);
  if (previous?.state === 'exited') return { terminated: terminatedOf(previous, options) };
  // The runtime has lost the run that the API still tells of.
  if (latest === undefined && known?.state?.terminated !== undefined && state.terminated === undefined) return known.state;
  return latest === undefined || latest.attempt > 0 ? (known?.lastState ?? {}) : {};
}

function terminatedOf(
  status: ContainerStatus,
  { runtimeName, fallbackMessages }: PodStatusOptions,
): NonNullable<ContainerState['terminated']> {
  const { exitCode = 0, reason, startedAt, finishedAt, id } = status;
  const message = status.message ?? fallbackMessages.get(id);
  return {
    exitCode,
    reason: reason ?? (exitCode === 0 ? 'Completed' : 'Error'),
    ...(message === undefined || message === '' ? {} : { message: message.slice(0, maxTerminationMessageLength) }),
    startedAt: timestampOf(startedAt ?? status.createdAt),
    finishedAt: timestampOf(finishedAt ?? status.createdAt),
    containerID: `${runtimeName}://${id}`,
  };
}

/** `10s`, `1m20s`, `5m0s`, as Go writes durations. */
export function durationText(ms: number): string {
  const seconds = Math.round(ms / 1_000);
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}

/**
 * @see Kubernetes documentation, "Pod phase"
 */
function phaseOf(
  { pod, state, verdict }: PodStatusOptions,
  initStatuses: readonly KubeContainerStatus[],
  statuses: readonly KubeContainerStatus[],
): string {
  if (state === 'Succeeded' || state === 'Failed') return state;
  const all = [...initStatuses.filter((_, index) => !isSidecar(pod.spec.initContainers?.[index] ?? { name: '' })), ...statuses];
  if (state === 'Gone' || (state === 'Terminating' && all.every((status) => status.state?.running === undefined))) {
    // A pod that is deleted runs nothing again: what counts is how its containers ended.
    const failed = verdict !== undefined || all.some((status) => (status.state?.terminated?.exitCode ?? 1) !== 0);
    return statuses.some((status) => status.state?.terminated !== undefined)
      ? failed
        ? 'Failed'
        : 'Succeeded'
      : (pod.status?.phase ?? 'Pending');
  }
  if (state === 'Terminating') return pod.status?.phase ?? 'Running';
  if (state === 'Pending') return 'Pending';
  const waiting = statuses.some((status) => status.state?.waiting !== undefined && status.lastState?.terminated === undefined);
  return waiting ? 'Pending' : 'Running';
}

function conditionsOf(
  options: PodStatusOptions,
  phase: string,
  initStatuses: readonly KubeContainerStatus[],
  statuses: readonly KubeContainerStatus[],
): PodCondition[] {
  const { pod, sandbox, initialized } = options;
  const done = phase === 'Succeeded' || phase === 'Failed';
  const verdict = done ? { reason: phase === 'Succeeded' ? 'PodCompleted' : 'PodFailed' } : undefined;
  const unready = statuses.filter(({ ready }) => !ready).map(({ name }) => name);
  const sidecarsUnready = initStatuses.filter(({ ready }, index) => !ready && isSidecar(pod.spec.initContainers?.[index] ?? { name: '' }));
  const unreadyNames = [...sidecarsUnready.map(({ name }) => name), ...unready];
  const incomplete = initStatuses
    .filter((status) => status.state?.terminated?.exitCode !== 0 && status.ready !== true)
    .map(({ name }) => name);
  const containersReady: Draft =
    verdict !== undefined
      ? { status: 'False', ...verdict }
      : unreadyNames.length === 0
        ? { status: 'True' }
        : { status: 'False', reason: 'ContainersNotReady', message: `containers with unready status: [${unreadyNames.join(' ')}]` };
  const drafts: (Draft & { readonly type: string })[] = [
    { type: 'PodReadyToStartContainers', status: sandbox?.ready === true && sandbox.ip !== undefined ? 'True' : 'False' },
    initialized || done || initStatuses.length === 0
      ? { type: 'Initialized', status: 'True', ...(phase === 'Succeeded' ? { reason: 'PodCompleted' } : {}) }
      : {
          type: 'Initialized',
          status: 'False',
          reason: 'ContainersNotInitialized',
          message: `containers with incomplete status: [${incomplete.join(' ')}]`,
        },
    { type: 'Ready', ...readyOf(pod, containersReady) },
    { type: 'ContainersReady', ...containersReady },
  ];
  // Controllers that count failures leave out those of the node.
  const { reason = '', message = '' } = options.verdict ?? {};
  if (reason === 'Terminated' || reason === 'Evicted')
    drafts.push({ type: 'DisruptionTarget', status: 'True', reason: 'TerminationByKubelet', message });
  const own = [...drafts, ...options.resize.conditions(pod)].map((draft) => withTime(options, draft));
  // Others write conditions too: the scheduler, readiness gates, those who evict.
  const scheduled =
    pod.status?.conditions?.find(({ type }) => type === 'PodScheduled') ?? withTime(options, { type: 'PodScheduled', status: 'True' });
  const others = (pod.status?.conditions ?? []).filter(
    ({ type }) => type !== 'PodScheduled' && !resizeConditions.has(type) && !own.some((condition) => condition.type === type),
  );
  // Unlike a spread, it leaves no room for more: 150 bytes in each version of the pod.
  return own.concat(scheduled, others);
}

type Draft = { readonly status: 'True' | 'False'; readonly reason?: string; readonly message?: string };

function readyOf(pod: Pod, containersReady: Draft): Draft {
  if (containersReady.status === 'False') return containersReady;
  const messages = (pod.spec.readinessGates ?? []).flatMap(({ conditionType }) => {
    const condition = pod.status?.conditions?.find(({ type }) => type === conditionType);
    if (condition === undefined) return [`corresponding condition of pod readiness gate "${conditionType}" does not exist.`];
    return condition.status === 'True'
      ? []
      : [`the status of pod readiness gate "${conditionType}" is not "True", but ${condition.status}`];
  });
  return messages.length === 0 ? { status: 'True' } : { status: 'False', reason: 'ReadinessGatesNotReady', message: messages.join(', ') };
}

/** Conditions without words: what pods that start in one second have in common is one frozen object. */
const plainConditions = new BoundedMap<string, PodCondition>(256);

function withTime({ pod, now }: PodStatusOptions, { type, ...draft }: Draft & { readonly type: string }): PodCondition {
  const { generation } = pod.metadata;
  const lastTransitionTime = transitionTimeOf(conditionOf(pod.status?.conditions, type), draft.status, timestampOf(now));
  const id = draft.reason === undefined && draft.message === undefined ? `${type} ${draft.status} ${lastTransitionTime} ${generation}` : '';
  const known = plainConditions.get(id);
  if (known !== undefined) return known;
  // Newer than the types: the generation that the condition is about, and the API's null, which means never.
  const more = { ...(generation === undefined ? {} : { observedGeneration: generation }), lastProbeTime: null };
  const condition = { type, ...draft, lastTransitionTime, ...more } as unknown as PodCondition;
  if (id !== '') plainConditions.set(id, Object.freeze(condition));
  return condition;
}

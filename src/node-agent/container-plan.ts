import type { Container, Pod } from '../api/core/v1/pod.ts';
import {
  afterExit,
  type ContainerObservation,
  type ContainerRunState,
  type ExitPolicy,
  eventsOf,
  stateOf,
} from '../lifecycle/container.facts.ts';
import { containerMachine, type StopReason } from '../lifecycle/container.machine.ts';
import { nameOf, restore, step } from '../lifecycle/step.ts';
import type { StepLog } from '../reconcile/step-log.ts';
import type { ContainerStatus, SandboxStatus } from './container-runtime.ts';
import { type CrashBackoff, remainingBackoff } from './crash-backoff.ts';
import { ephemeralContainersOf, isSidecar } from './pod-references.ts';

/** The agent's memory of a container between passes. Losing it costs a back-off, nothing else. */
export interface ContainerMemory {
  state: ContainerRunState | undefined;
  backoff: CrashBackoff | undefined;
  /** The newest start failed before there was a container. */
  failure: StartFailure | undefined;
  /** For the running container with this id; probes and hooks set them. */
  probed: ProbeResults | undefined;
}

export interface StartFailure {
  /** Becomes the waiting reason. */
  readonly reason: string;
  readonly message: string;
  /** Reason and message once the failure is no longer news: `ImagePullBackOff`. */
  readonly later: { readonly reason: string; readonly message: string } | undefined;
  readonly failedAt: number;
  readonly delayMs: number;
}

interface ProbeResults {
  readonly containerId: string;
  /** The postStart hook is done and the startup probe has passed. */
  readonly started: boolean;
  readonly ready: boolean;
  readonly unhealthy: 'liveness' | 'startup' | undefined;
}

export interface ContainerPlan {
  readonly starts: readonly PlannedStart[];
  readonly stops: readonly PlannedStop[];
  /** Containers whose back-off begins with this pass. */
  readonly backedOff: readonly Container[];
  /** Milliseconds since the epoch at which something falls due by time alone. */
  readonly requeueAt: number | undefined;
  readonly initialized: boolean;
  readonly running: number;
  /** A container of the pod proper runs or has run. */
  readonly started: boolean;
  readonly outcome: 'succeeded' | 'failed' | undefined;
}

export interface PlannedStart {
  readonly container: Container;
  readonly attempt: number;
  /** The run before, when this is a restart. */
  readonly previous: ContainerStatus | undefined;
}

export interface PlannedStop {
  readonly container: Container;
  readonly status: ContainerStatus;
  readonly reason: StopReason;
}

export interface PlanOptions {
  readonly pod: Pod;
  /** The newest sandbox of the pod. */
  readonly sandbox: SandboxStatus | undefined;
  readonly memories: ReadonlyMap<string, ContainerMemory>;
  readonly hashOf: (container: Container) => string;
  readonly now: number;
  readonly deleting: boolean;
  /** The runtime can add a container to a pod that runs. */
  readonly runsEphemeral: boolean;
  readonly steps: StepLog;
}

/** Containers to start or stop now, by their machines, in that order. */
export function planContainers(options: PlanOptions): ContainerPlan {
  const { pod, sandbox, deleting } = options;
  const policy = (pod.spec.restartPolicy ?? 'Always') as ExitPolicy;
  const initContainers = pod.spec.initContainers ?? [];
  const main = pod.spec.containers;
  const starts: PlannedStart[] = [];
  const stops: PlannedStop[] = [];
  const backedOff: Container[] = [];
  let requeueAt: number | undefined;

  const consider = (container: Container, own: ExitPolicy, mayStart: boolean): ContainerRunState => {
    const considered = considerContainer(options, container, own, mayStart);
    if (considered.start !== undefined) starts.push(considered.start);
    if (considered.stop !== undefined) stops.push(considered.stop);
    if (considered.backedOff === true) backedOff.push(container);
    if (considered.requeueAt !== undefined) requeueAt = Math.min(requeueAt ?? Number.POSITIVE_INFINITY, considered.requeueAt);
    return considered.state;
  };

  const started = sandbox !== undefined && main.some((container) => latestOf(sandbox, container.name)?.startedAt !== undefined);
  let running = 0;
  for (const { state } of sandbox?.containers ?? []) if (state === 'running') running += 1;

  // They look at the pod, also while it waits for its init containers. They run once, and the pod's end does not wait for theirs.
  if (options.runsEphemeral) for (const container of ephemeralContainersOf(pod)) consider(container, 'Never', !deleting);

  // Once a container of the pod proper exists in this sandbox, its init containers are done, whatever has become of them.
  let initialized = sandbox?.ready === true || started;
  let initFailed = false;
  for (const container of initContainers) {
    if (isSidecar(container)) {
      consider(container, 'Always', initialized && !deleting);
      const latest = sandbox === undefined ? undefined : latestOf(sandbox, container.name);
      const probed = options.memories.get(container.name)?.probed;
      if (!started && !(latest?.state === 'running' && probed?.containerId === latest.id && probed.started)) initialized = false;
    } else if (!started) {
      const state = consider(container, policy === 'Always' ? 'OnFailure' : policy, initialized && !deleting);
      if (state === 'Failed') initFailed = true;
      if (state !== 'Completed') initialized = false;
    }
  }
  if (initFailed) return { starts: [], stops, backedOff, requeueAt, initialized: false, running, started, outcome: 'failed' };

  const states = main.map((container) => consider(container, policy, initialized && !deleting));
  const ended = states.length > 0 && states.every((state) => state === 'Completed' || state === 'Failed');
  const outcome = ended ? (states.includes('Failed') ? 'failed' : 'succeeded') : undefined;
  return { starts, stops, backedOff, requeueAt, initialized, running, started, outcome };
}

interface Considered {
  readonly state: ContainerRunState;
  readonly start?: PlannedStart;
  readonly stop?: PlannedStop;
  readonly backedOff?: boolean;
  readonly requeueAt?: number;
}

/** More events than a container has states would be a machine that runs in circles. */
const maxEvents = 6;

function considerContainer(options: PlanOptions, container: Container, policy: ExitPolicy, mayStart: boolean): Considered {
  const { pod, sandbox, memories, now, deleting, steps } = options;
  const memory = memories.get(container.name);
  if (memory === undefined) throw new Error(`no memory of container ${container.name}`);
  const latest = sandbox === undefined ? undefined : latestOf(sandbox, container.name);
  const running = latest?.state === 'running';
  const finishedAt = latest?.finishedAt ?? now;
  const crashDelay = latest?.state === 'exited' ? remainingBackoff(memory.backoff, finishedAt, now) : 0;
  const failureDelay = memory.failure === undefined ? 0 : Math.max(0, memory.failure.failedAt + memory.failure.delayMs - now);
  const delay = Math.max(crashDelay, failureDelay);
  const seen: ContainerObservation = {
    deleting,
    running,
    // A run that is gone without a trace, as after a reboot, is repeated unless the pod forbids a second one.
    exit: latest?.state === 'exited' ? afterExit(latest.exitCode ?? 0, policy, crashDelay) : policy === 'Never' ? 'failed' : 'restart',
    due: mayStart && sandbox?.ready === true && delay === 0,
    startFailed: memory.failure !== undefined,
    unhealthy: memory.probed !== undefined && memory.probed.containerId === latest?.id ? memory.probed.unhealthy : undefined,
    specChanged: running && latest.configHash !== options.hashOf(container),
  };

  const key = `${pod.metadata.namespace}/${pod.metadata.name}/${container.name}`;
  // At the first look the runtime knows more than the API. A run that it has was started, and may have ended before anyone wrote that.
  let state = memory.state ?? (latest === undefined ? stateOf({ state: apiStateOf(pod, container.name), deleting: false }) : 'Running');
  if (running && state !== 'Running' && state !== 'Stopped') {
    steps.resynced({ machine: containerMachine.id, key, from: state, to: 'Running' });
    state = 'Running';
  }
  let start = false;
  let stop: StopReason | undefined;
  for (let count = 0; count < maxEvents && !start && stop === undefined; count += 1) {
    const [event] = eventsOf(state, seen);
    if (event === undefined) break;
    const taken = step(containerMachine, restore(containerMachine, state), event);
    const to = nameOf<typeof containerMachine>(taken.next) as ContainerRunState;
    steps.record({ machine: containerMachine.id, key, from: state, event: event.type, to });
    for (const intent of taken.intents) {
      if (intent.type === 'startContainer') start = true;
      else stop = intent.params.reason;
    }
    state = to;
  }
  const considered: Considered = {
    state,
    ...(start ? { start: { container, attempt: attemptAfter(pod, latest, container.name), previous: latest } } : {}),
    ...(stop !== undefined && running ? { stop: { container, status: latest, reason: stop } } : {}),
    ...(state === 'BackOff' && memory.state !== 'BackOff' && memory.failure === undefined ? { backedOff: true } : {}),
    ...(delay > 0 && state === 'BackOff' ? { requeueAt: now + delay } : {}),
  };
  memory.state = state;
  return considered;
}

/** The newest run of a container in a sandbox. */
export function latestOf(sandbox: SandboxStatus, name: string): ContainerStatus | undefined {
  let latest: ContainerStatus | undefined;
  for (const status of sandbox.containers) {
    if (status.name === name && status.state !== 'created' && (latest === undefined || status.attempt > latest.attempt)) latest = status;
  }
  return latest;
}

export const apiStatusOf = (pod: Pod, name: string) =>
  pod.status?.containerStatuses?.find((status) => status.name === name) ??
  pod.status?.initContainerStatuses?.find((status) => status.name === name) ??
  pod.status?.ephemeralContainerStatuses?.find((status) => status.name === name);

const apiStateOf = (pod: Pod, name: string) => apiStatusOf(pod, name)?.state;

/** After the runtime lost a pod, the API knows how often its containers were started. */
function attemptAfter(pod: Pod, latest: ContainerStatus | undefined, name: string): number {
  if (latest !== undefined) return latest.attempt + 1;
  const known = apiStatusOf(pod, name);
  const ran = known?.containerID !== undefined && known.containerID !== '';
  return known === undefined ? 0 : known.restartCount + (ran ? 1 : 0);
}

import type { ContainerState as KubeContainerState } from '../api/core/v1/pod.ts';
import type { ContainerEvent, containerMachine } from './container.machine.ts';
import type { StateValueOf } from './step.ts';

export type ContainerRunState = StateValueOf<typeof containerMachine>;

/** The reason of a container that waits for its back-off, by what it failed at. */
export const backOffReasons = { crash: 'CrashLoopBackOff', image: 'ImagePullBackOff' } as const;

/** Reasons of waiting that end with the next try and not by themselves. */
const failedStartReasons: ReadonlySet<string> = new Set([
  ...Object.values(backOffReasons),
  'ErrImagePull',
  'ErrImageNeverPull',
  'InvalidImageName',
  'CreateContainerConfigError',
  'CreateContainerError',
  'RunContainerError',
]);

export interface ContainerFacts {
  /** `state` of the container's status; absent before there is one. */
  readonly state: KubeContainerState | undefined;
  /** The pod is being deleted or gone. */
  readonly deleting: boolean;
}

export function stateOf({ state, deleting }: ContainerFacts): ContainerRunState {
  if (deleting) return 'Stopped';
  if (state?.running !== undefined) return 'Running';
  if (state?.terminated !== undefined) return state.terminated.exitCode === 0 ? 'Completed' : 'Failed';
  return failedStartReasons.has(state?.waiting?.reason ?? '') ? 'BackOff' : 'Waiting';
}

export type ExitPolicy = 'Always' | 'OnFailure' | 'Never';

/** Events that follow an exit. `backOffMs` is the rest of the back-off. */
export function afterExit(exitCode: number, policy: ExitPolicy, backOffMs: number): 'restart' | 'backOff' | 'completed' | 'failed' {
  const again = policy === 'Always' || (policy === 'OnFailure' && exitCode !== 0);
  if (again) return backOffMs > 0 ? 'backOff' : 'restart';
  return exitCode === 0 ? 'completed' : 'failed';
}

/** The container as its node has it now. */
export interface ContainerObservation {
  readonly deleting: boolean;
  readonly running: boolean;
  /** Events after the end of the newest run. */
  readonly exit: 'restart' | 'backOff' | 'completed' | 'failed';
  /** It is this container's turn, and nothing it failed at asks it to wait. */
  readonly due: boolean;
  /** The newest try to start it failed. */
  readonly startFailed: boolean;
  readonly unhealthy: 'liveness' | 'startup' | undefined;
  readonly specChanged: boolean;
}

/** The `state` in a container's status for a state; deletion is in the pod's metadata. */
export function statusOf(state: ContainerRunState): KubeContainerState {
  switch (state) {
    case 'Waiting':
      return { waiting: { reason: 'ContainerCreating' } };
    case 'BackOff':
      return { waiting: { reason: backOffReasons.crash } };
    case 'Running':
      return { running: {} };
    case 'Completed':
    case 'Stopped':
      return { terminated: { exitCode: 0 } };
    case 'Failed':
      return { terminated: { exitCode: 1 } };
    default:
      return state satisfies never;
  }
}

/** The next event that leads from `state` to what is seen, if any; ask again with the state it led to. */
export function eventsOf(state: ContainerRunState, seen: ContainerObservation): readonly ContainerEvent[] {
  const event = nextEvent(state, seen);
  return event === undefined ? [] : [event];
}

function nextEvent(state: ContainerRunState, seen: ContainerObservation): ContainerEvent | undefined {
  if (state === 'Stopped') return undefined;
  if (seen.deleting) return { type: 'DELETED' };
  switch (state) {
    case 'Running':
      if (!seen.running) return { type: 'EXITED', next: seen.exit };
      if (seen.unhealthy !== undefined) return { type: 'UNHEALTHY', probe: seen.unhealthy };
      return seen.specChanged ? { type: 'SPEC_CHANGED' } : undefined;
    case 'Waiting':
      if (seen.startFailed && !seen.due) return { type: 'START_FAILED' };
      return seen.due ? { type: 'START_DUE' } : undefined;
    case 'BackOff':
      return seen.due ? { type: 'START_DUE' } : undefined;
    case 'Completed':
    case 'Failed':
      return undefined;
    default:
      return state satisfies never;
  }
}

import type { Pod } from '../api/core/v1/pod.ts';
import type { PodRunEvent, podRunMachine } from './pod-run.machine.ts';
import type { StateValueOf } from './step.ts';

export type PodRunState = StateValueOf<typeof podRunMachine>;

/** The state that the object records; `pod` is absent once it is removed. */
export function stateOf(pod: Pod | undefined): PodRunState {
  if (pod === undefined) return 'Gone';
  if (pod.metadata.deletionTimestamp !== undefined) return 'Terminating';
  switch (pod.status?.phase) {
    case 'Succeeded':
      return 'Succeeded';
    case 'Failed':
      return 'Failed';
    case 'Running':
      return 'Running';
    // Unknown values are tolerated.
    default:
      return isInitialized(pod) ? 'Starting' : 'Pending';
  }
}

const isInitialized = (pod: Pod): boolean =>
  pod.status?.conditions?.some(({ type, status }) => type === 'Initialized' && status === 'True') === true;

/** The phase and conditions for a state; deletion is in metadata. */
export function statusOf(state: PodRunState): { readonly phase: string; readonly initialized: boolean } | undefined {
  switch (state) {
    case 'Pending':
      return { phase: 'Pending', initialized: false };
    case 'Starting':
      return { phase: 'Pending', initialized: true };
    case 'Running':
      return { phase: 'Running', initialized: true };
    case 'Succeeded':
      return { phase: 'Succeeded', initialized: true };
    case 'Failed':
      return { phase: 'Failed', initialized: true };
    case 'Terminating':
    case 'Gone':
      return undefined;
    default:
      return state satisfies never;
  }
}

/** The pod as its node has it now. */
export interface PodObservation {
  /** It is being deleted, or is no longer in the API. */
  readonly deleted: boolean;
  readonly sandboxReady: boolean;
  readonly initialized: boolean;
  /** Containers that run, init containers among them. */
  readonly running: number;
  /** Some container of the pod proper runs or has run. */
  readonly started: boolean;
  /** A container should be started or stopped now. */
  readonly due: boolean;
  /** Set when no container will run again. */
  readonly outcome: 'succeeded' | 'failed' | undefined;
  readonly deadlineExceeded: boolean;
  /** Its node ends it for what it uses. */
  readonly evicted: boolean;
}

/** Events that lead from `state` to the observations, in order. */
export function* eventsOf(state: PodRunState, seen: PodObservation): Iterable<PodRunEvent> {
  if (state === 'Gone') return;
  if (seen.deleted && state !== 'Terminating') {
    yield { type: 'DELETED' };
    return;
  }
  switch (state) {
    case 'Terminating':
      yield { type: seen.running > 0 ? 'CONTAINERS_LEFT' : 'CONTAINERS_STOPPED' };
      return;
    case 'Succeeded':
    case 'Failed':
      if (seen.running > 0) yield { type: 'CONTAINERS_LEFT' };
      else if (seen.sandboxReady) yield { type: 'SANDBOX_LEFT' };
      return;
    case 'Pending':
    case 'Starting':
    case 'Running':
      if (seen.deadlineExceeded) {
        yield { type: 'DEADLINE_EXCEEDED' };
        return;
      }
      if (seen.evicted) {
        yield { type: 'EVICTED' };
        return;
      }
      if (seen.initialized && state === 'Pending') yield { type: 'INITIALIZED' };
      if (seen.outcome !== undefined) {
        yield { type: seen.outcome === 'succeeded' ? 'SUCCEEDED' : 'FAILED' };
        return;
      }
      if (!seen.sandboxReady) yield { type: 'SANDBOX_MISSING' };
      else if (seen.due) yield { type: 'CONTAINERS_DUE' };
      if (seen.started && state !== 'Running') yield { type: 'CONTAINERS_STARTED' };
      return;
    default:
      state satisfies never;
  }
}

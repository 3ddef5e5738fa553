import { setup } from 'xstate';

/** Observations of a pod by the agent of its node. */
export type PodRunEvent =
  | { readonly type: 'SANDBOX_MISSING' }
  | { readonly type: 'INITIALIZED' }
  | { readonly type: 'CONTAINERS_DUE' }
  | { readonly type: 'CONTAINERS_STARTED' }
  | { readonly type: 'SUCCEEDED' }
  | { readonly type: 'FAILED' }
  | { readonly type: 'DEADLINE_EXCEEDED' }
  | { readonly type: 'EVICTED' }
  | { readonly type: 'CONTAINERS_LEFT' }
  | { readonly type: 'SANDBOX_LEFT' }
  | { readonly type: 'CONTAINERS_STOPPED' }
  | { readonly type: 'DELETED' };

export type PodStopReason = 'Deleted' | 'DeadlineExceeded' | 'Evicted' | 'Finished';

/**
 * A pod on its node, from its assignment to its end. It gets a sandbox, its init containers run one by one, and its containers run. It ends
 * by itself, by its deadline or by deletion. Container by container is `container.machine.ts`.
 *
 * @see Kubernetes documentation, "Pod Lifecycle"
 */
export const podRunMachine = setup({
  types: { events: {} as PodRunEvent },
  actions: {
    /** Gives the pod its address and directories. */
    runSandbox() {},
    /** Starts and stops containers as their own machines say. */
    syncContainers() {},
    /** Ends all containers that run, each within the pod's grace period. */
    stopContainers(_, _params: { readonly reason: PodStopReason }) {},
    /** Frees the address; what the containers printed stays. */
    stopSandbox() {},
    /** Removes what is left on the node, and the pod from the API. */
    release() {},
  },
}).createMachine({
  id: 'pod-run',
  initial: 'Pending',
  on: { DELETED: { target: '.Terminating', actions: { type: 'stopContainers', params: { reason: 'Deleted' } } } },
  states: {
    Pending: {
      on: {
        SANDBOX_MISSING: { actions: 'runSandbox' },
        CONTAINERS_DUE: { actions: 'syncContainers' },
        INITIALIZED: 'Starting',
        FAILED: 'Failed',
        DEADLINE_EXCEEDED: { target: 'Failed', actions: { type: 'stopContainers', params: { reason: 'DeadlineExceeded' } } },
        EVICTED: { target: 'Failed', actions: { type: 'stopContainers', params: { reason: 'Evicted' } } },
      },
    },
    Starting: {
      on: {
        SANDBOX_MISSING: { actions: 'runSandbox' },
        CONTAINERS_DUE: { actions: 'syncContainers' },
        CONTAINERS_STARTED: 'Running',
        // Containers may end before anyone has seen them run.
        SUCCEEDED: 'Succeeded',
        FAILED: 'Failed',
        DEADLINE_EXCEEDED: { target: 'Failed', actions: { type: 'stopContainers', params: { reason: 'DeadlineExceeded' } } },
        EVICTED: { target: 'Failed', actions: { type: 'stopContainers', params: { reason: 'Evicted' } } },
      },
    },
    Running: {
      on: {
        SANDBOX_MISSING: { actions: 'runSandbox' },
        CONTAINERS_DUE: { actions: 'syncContainers' },
        SUCCEEDED: 'Succeeded',
        FAILED: 'Failed',
        DEADLINE_EXCEEDED: { target: 'Failed', actions: { type: 'stopContainers', params: { reason: 'DeadlineExceeded' } } },
        EVICTED: { target: 'Failed', actions: { type: 'stopContainers', params: { reason: 'Evicted' } } },
      },
    },
    // Someone else may have written the phase: then containers still run.
    Succeeded: {
      on: {
        CONTAINERS_LEFT: { actions: { type: 'stopContainers', params: { reason: 'Finished' } } },
        SANDBOX_LEFT: { actions: 'stopSandbox' },
      },
    },
    Failed: {
      on: {
        CONTAINERS_LEFT: { actions: { type: 'stopContainers', params: { reason: 'Finished' } } },
        SANDBOX_LEFT: { actions: 'stopSandbox' },
      },
    },
    Terminating: {
      on: {
        DELETED: {},
        CONTAINERS_LEFT: { actions: { type: 'stopContainers', params: { reason: 'Deleted' } } },
        CONTAINERS_STOPPED: { target: 'Gone', actions: 'release' },
      },
    },
    Gone: { on: { DELETED: {} } },
  },
});

import { setup } from 'xstate';

/**
 * Events of a pod that wants a node.
 *
 * `backingOff` is true while the pod's back-off still runs when the cluster changes.
 */
export type PodSchedulingEvent =
  | { readonly type: 'GATES_LIFTED' }
  | { readonly type: 'NODE_FOUND' }
  | { readonly type: 'NODE_NOT_FOUND' }
  | { readonly type: 'VICTIMS_FOUND' }
  | { readonly type: 'ATTEMPT_FAILED' }
  | { readonly type: 'CLUSTER_CHANGED'; readonly backingOff: boolean }
  | { readonly type: 'BACKOFF_EXPIRED' }
  | { readonly type: 'QUEUE_IDLE' }
  | { readonly type: 'BIND_FAILED' }
  | { readonly type: 'ASSUMPTION_EXPIRED' }
  | { readonly type: 'BOUND' }
  | { readonly type: 'DELETED' };

/**
 * A pod on its way to a node, as the scheduler sees it. Gates hold it (a pod without gates passes at once). Then it
 * waits for its attempt, is rejected until the cluster changes, waits for its back-off, is assumed on a node, and is
 * bound. The middle states are the queues of the scheduler. They live in memory, since a restarted scheduler tries
 * every pod without a node once.
 *
 * @see Kubernetes scheduling framework, "Scheduling cycle & binding cycle"
 */
export const podSchedulingMachine = setup({
  types: { events: {} as PodSchedulingEvent },
  guards: { backingOff: (_, params: { backingOff: boolean }) => params.backingOff },
  actions: {
    /** Puts the pod where it is tried next, by priority and age. */
    activate() {},
    /** Keeps the pod until its back-off is over. */
    backOff() {},
    /** Keeps the pod until something changes that may help it, and says why on the pod. */
    park() {},
    /** Nominates the pod for a node and removes the less important pods that are in its way there. */
    preempt() {},
    /** Promises the node's resources to the pod and tells the API. */
    bind() {},
    /** Takes back a promise. */
    forget() {},
    /** Says on the pod what went wrong. */
    reportFailure() {},
    /** Drops all that is held for the pod. */
    release() {},
  },
}).createMachine({
  id: 'pod-scheduling',
  initial: 'Gated',
  on: { DELETED: { target: '.Gone', actions: 'release' } },
  states: {
    Gated: {
      on: {
        GATES_LIFTED: { target: 'Pending', actions: 'activate' },
        BOUND: { target: 'Bound', actions: 'release' },
      },
    },
    Pending: {
      on: {
        NODE_FOUND: { target: 'Assumed', actions: 'bind' },
        NODE_NOT_FOUND: { target: 'Unschedulable', actions: 'park' },
        // The victims take their time to go: the pod waits for that as for any other change.
        VICTIMS_FOUND: { target: 'Unschedulable', actions: ['preempt', 'park'] },
        ATTEMPT_FAILED: { target: 'Backoff', actions: ['reportFailure', 'backOff'] },
        BOUND: { target: 'Bound', actions: 'release' },
      },
    },
    Unschedulable: {
      on: {
        CLUSTER_CHANGED: [
          { guard: { type: 'backingOff', params: ({ event }) => event }, target: 'Backoff', actions: 'backOff' },
          { target: 'Pending', actions: 'activate' },
        ],
        BOUND: { target: 'Bound', actions: 'release' },
      },
    },
    Backoff: {
      on: {
        BACKOFF_EXPIRED: { target: 'Pending', actions: 'activate' },
        // Nobody else wants to be tried: there is no one to protect by waiting.
        QUEUE_IDLE: { target: 'Pending', actions: 'activate' },
        BOUND: { target: 'Bound', actions: 'release' },
      },
    },
    Assumed: {
      on: {
        BOUND: { target: 'Bound', actions: 'release' },
        BIND_FAILED: { target: 'Backoff', actions: ['forget', 'reportFailure', 'backOff'] },
        ASSUMPTION_EXPIRED: { target: 'Pending', actions: ['forget', 'activate'] },
      },
    },
    Bound: {},
    Gone: { on: { DELETED: {} } },
  },
});

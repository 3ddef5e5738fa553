import { setup } from 'xstate';

/** State of a Job's pods, seen from its spec. */
export type JobEvent =
  /** The spec asks for something that this control plane does not do. */
  | { readonly type: 'UNSUPPORTED' }
  | { readonly type: 'SUSPENDED' }
  | { readonly type: 'RESUMED' }
  /** Fewer pods run than should, and no back-off holds new ones back. */
  | { readonly type: 'PODS_MISSING' }
  | { readonly type: 'PODS_SURPLUS' }
  | { readonly type: 'BACKOFF_LIMIT_EXCEEDED' }
  | { readonly type: 'DEADLINE_EXCEEDED' }
  /** As many pods succeeded as have to. */
  | { readonly type: 'SUCCEEDED' }
  /** Pods still run although none should. */
  | { readonly type: 'PODS_LEFT' }
  /** Every pod has ended and is counted. */
  | { readonly type: 'PODS_SETTLED' }
  | { readonly type: 'DELETED' };

/**
 * A Job runs pods until enough of them succeeded. The outcome is certain in `Succeeding` and `Failing`; it is final when the last pod has
 * ended and is counted.
 */
export const jobMachine = setup({
  types: { events: {} as JobEvent },
  actions: {
    createPods() {},
    /** Deletes pods that are too many; they count as nothing. */
    deletePods() {},
    /** Deletes all running pods; they count as failed. */
    abortPods() {},
    /** Deletes all running pods; they count as nothing. */
    withdrawPods() {},
    reportSuspended() {},
    reportResumed() {},
    reportCompleted() {},
    reportFailed() {},
  },
}).createMachine({
  id: 'job',
  initial: 'Active',
  on: { DELETED: '.Deleting' },
  states: {
    Active: {
      on: {
        UNSUPPORTED: { target: 'Failed', actions: 'reportFailed' },
        SUSPENDED: { target: 'Suspended', actions: 'reportSuspended' },
        PODS_MISSING: { actions: 'createPods' },
        PODS_SURPLUS: { actions: 'deletePods' },
        BACKOFF_LIMIT_EXCEEDED: 'Failing',
        DEADLINE_EXCEEDED: 'Failing',
        SUCCEEDED: 'Succeeding',
      },
    },
    Suspended: {
      on: {
        RESUMED: { target: 'Active', actions: 'reportResumed' },
        PODS_LEFT: { actions: 'withdrawPods' },
      },
    },
    Succeeding: {
      on: {
        PODS_LEFT: { actions: 'withdrawPods' },
        PODS_SETTLED: { target: 'Complete', actions: 'reportCompleted' },
      },
    },
    Failing: {
      on: {
        PODS_LEFT: { actions: 'abortPods' },
        PODS_SETTLED: { target: 'Failed', actions: 'reportFailed' },
      },
    },
    Complete: {},
    Failed: {},
    Deleting: {},
  },
});

import { setup } from 'xstate';

/** State of a Job's pods, seen from its spec. */
export type JobEvent =
  | { readonly type: 'SUSPENDED' }
  | { readonly type: 'RESUMED' }
  /** Fewer pods run than should, and no back-off holds new ones back. */
  | { readonly type: 'PODS_MISSING' }
  | { readonly type: 'PODS_SURPLUS' }
  | { readonly type: 'BACKOFF_LIMIT_EXCEEDED' }
  | { readonly type: 'DEADLINE_EXCEEDED' }
  /** A rule of `podFailurePolicy` with the action `FailJob` matches a pod. */
  | { readonly type: 'POD_FAILURE_MATCHED' }
  /** Too many indexes failed, or some did and all others are done. */
  | { readonly type: 'INDEXES_FAILED' }
  /** A rule of `successPolicy` is met before all indexes succeeded. */
  | { readonly type: 'SUCCESS_POLICY_MET' }
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
    /** Deletes all running pods of a suspended Job; they count as nothing. */
    withdrawPods() {},
    reportSuspended() {},
    reportResumed() {},
  },
}).createMachine({
  id: 'job',
  initial: 'Active',
  on: { DELETED: '.Deleting' },
  states: {
    Active: {
      on: {
        SUSPENDED: { target: 'Suspended', actions: 'reportSuspended' },
        PODS_MISSING: { actions: 'createPods' },
        PODS_SURPLUS: { actions: 'deletePods' },
        BACKOFF_LIMIT_EXCEEDED: 'Failing',
        DEADLINE_EXCEEDED: 'Failing',
        POD_FAILURE_MATCHED: 'Failing',
        INDEXES_FAILED: 'Failing',
        SUCCESS_POLICY_MET: 'Succeeding',
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
        PODS_LEFT: { actions: 'abortPods' },
        PODS_SETTLED: 'Complete',
      },
    },
    Failing: {
      on: {
        PODS_LEFT: { actions: 'abortPods' },
        PODS_SETTLED: 'Failed',
      },
    },
    Complete: {},
    Failed: {},
    Deleting: {},
  },
});

import { setup } from 'xstate';

/** State of a Deployment's ReplicaSets, seen from its spec. */
export type DeploymentEvent =
  | { readonly type: 'PAUSED' }
  | { readonly type: 'RESUMED' }
  /** The number of replicas was changed, and its ReplicaSets have not followed. */
  | { readonly type: 'RESIZED' }
  /**
   * No ReplicaSet has the template. `oldPodsMustGo`: the strategy is Recreate and pods of an older template are left.
   */
  | { readonly type: 'NEW_REPLICA_SET_MISSING'; readonly oldPodsMustGo: boolean }
  /** The new ReplicaSet may grow, or has to shrink. */
  | { readonly type: 'NEW_REPLICAS_DUE'; readonly oldPodsMustGo: boolean }
  /** Old ReplicaSets may shrink without too few pods serving, or have to for Recreate. */
  | { readonly type: 'OLD_REPLICAS_DISPENSABLE' }
  | { readonly type: 'REPLICA_SET_REFUSED' }
  /** More pods are updated, ready or available than the last status says, or fewer old ones are left. */
  | { readonly type: 'PROGRESSED' }
  /** All pods are updated and available, and no old one is left. */
  | { readonly type: 'ROLLED_OUT' }
  | { readonly type: 'DEADLINE_EXCEEDED' }
  /** More old, empty ReplicaSets than `revisionHistoryLimit`. */
  | { readonly type: 'HISTORY_TOO_LONG' }
  | { readonly type: 'DELETED' };

/**
 * The rollout of a Deployment. `Complete` stays when pods fail later: the rollout did not cause that, and the condition
 * `Available` reports it.
 */
export const deploymentMachine = setup({
  types: { events: {} as DeploymentEvent },
  guards: { oldPodsMustGo: (_, params: { oldPodsMustGo: boolean }) => params.oldPodsMustGo },
  actions: {
    /** Creates the ReplicaSet of the template, as large as the strategy allows. */
    createReplicaSet() {},
    /** Brings the new ReplicaSet to the size that the strategy allows now. */
    resizeNewReplicaSet() {},
    /** Takes pods from old ReplicaSets, unhealthy ones first. */
    shrinkOldReplicaSets() {},
    /** Shares a change of the number among the ReplicaSets, in proportion. */
    scaleReplicaSets() {},
    deleteOldReplicaSets() {},
  },
}).createMachine({
  id: 'deployment',
  initial: 'Active',
  states: {
    Active: {
      initial: 'Progressing',
      on: {
        DELETED: 'Deleting',
        PAUSED: 'Paused',
        RESIZED: { actions: 'scaleReplicaSets' },
        NEW_REPLICA_SET_MISSING: [
          { guard: { type: 'oldPodsMustGo', params: ({ event }) => event }, target: '.Progressing' },
          { target: '.Progressing', actions: 'createReplicaSet' },
        ],
        NEW_REPLICAS_DUE: [{ guard: { type: 'oldPodsMustGo', params: ({ event }) => event } }, { actions: 'resizeNewReplicaSet' }],
        OLD_REPLICAS_DISPENSABLE: { actions: 'shrinkOldReplicaSets' },
        REPLICA_SET_REFUSED: '.Stalled',
        PROGRESSED: '.Progressing',
        ROLLED_OUT: '.Complete',
        HISTORY_TOO_LONG: { actions: 'deleteOldReplicaSets' },
      },
      states: {
        Progressing: { on: { DEADLINE_EXCEEDED: 'Stalled' } },
        Complete: {
          on: {
            // A template that an old ReplicaSet has: the rollout back to it begins.
            NEW_REPLICAS_DUE: [
              { guard: { type: 'oldPodsMustGo', params: ({ event }) => event }, target: 'Progressing' },
              { target: 'Progressing', actions: 'resizeNewReplicaSet' },
            ],
          },
        },
        Stalled: {},
      },
    },
    Paused: {
      on: {
        DELETED: 'Deleting',
        RESUMED: 'Active.Progressing',
        RESIZED: { actions: 'scaleReplicaSets' },
        HISTORY_TOO_LONG: { actions: 'deleteOldReplicaSets' },
      },
    },
    Deleting: {},
  },
});

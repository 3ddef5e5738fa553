import { setup } from 'xstate';
import { phaseStates, phaseTargets, type RolloutPhaseEvent } from './rollout-phases.ts';

/** State of a StatefulSet's pods, seen from its spec. */
export type StatefulSetEvent =
  /** Pods have ended, which no pod of a StatefulSet should. */
  | { readonly type: 'PODS_FINISHED' }
  /** Ordinals have no pod, and those before them let the next one start. */
  | { readonly type: 'PODS_MISSING' }
  /** Pods have lost their labels, or claims their owners. */
  | { readonly type: 'PODS_DAMAGED' }
  /** Pods beyond the wanted ordinals may go. */
  | { readonly type: 'PODS_SURPLUS' }
  /** Pods of an older revision may go. */
  | { readonly type: 'PODS_OUTDATED' }
  /** More old revisions than `revisionHistoryLimit`. */
  | { readonly type: 'HISTORY_TOO_LONG' }
  | RolloutPhaseEvent
  | { readonly type: 'DELETED' };

/**
 * A StatefulSet keeps a pod for each of its ordinals, in order unless it is `Parallel`. The plan of a pass names the pods that are to
 * be made or may go. The machine says in which part of its life the set is.
 */
export const statefulSetMachine = setup({
  types: { events: {} as StatefulSetEvent },
  actions: {
    /** Deletes pods that ended; the next pass makes them again. */
    deleteFinishedPods() {},
    /** Creates the claims of a pod, then the pod. */
    createPods() {},
    /** Gives pods their labels back, and claims their owners and missing claims. */
    repairPods() {},
    /** Deletes pods of the highest ordinals. */
    deleteSurplusPods() {},
    /** Deletes pods of an older revision, those of the highest ordinals first. */
    deleteOutdatedPods() {},
    deleteOldRevisions() {},
  },
}).createMachine({
  id: 'stateful-set',
  initial: 'Live',
  states: {
    Live: {
      initial: 'Scaling',
      on: {
        DELETED: 'Deleting',
        PODS_FINISHED: { actions: 'deleteFinishedPods' },
        PODS_MISSING: { actions: 'createPods' },
        PODS_DAMAGED: { actions: 'repairPods' },
        PODS_SURPLUS: { actions: 'deleteSurplusPods' },
        PODS_OUTDATED: { actions: 'deleteOutdatedPods' },
        HISTORY_TOO_LONG: { actions: 'deleteOldRevisions' },
        ...phaseTargets,
      },
      states: phaseStates,
    },
    Deleting: {},
  },
});

import { setup } from 'xstate';
import { phaseStates, phaseTargets, type RolloutPhaseEvent } from './rollout-phases.ts';

/** State of a DaemonSet's pods, seen from its spec and the nodes. */
export type DaemonSetEvent =
  /** Nodes have no pod that should have one. */
  | { readonly type: 'PODS_MISSING' }
  /** Pods have ended, which no pod of a DaemonSet should, and their back-off is over. */
  | { readonly type: 'PODS_FINISHED' }
  /** Pods run where none should, or where another one is enough. */
  | { readonly type: 'PODS_SURPLUS' }
  /** Pods of an older revision may go. */
  | { readonly type: 'PODS_OUTDATED' }
  /** Nodes may have a pod of the new revision beside the old one. */
  | { readonly type: 'SURGE_DUE' }
  /** More old revisions than `revisionHistoryLimit`. */
  | { readonly type: 'HISTORY_TOO_LONG' }
  | RolloutPhaseEvent
  | { readonly type: 'DELETED' };

/** A DaemonSet keeps one pod on each node that its pods fit. */
export const daemonSetMachine = setup({
  types: { events: {} as DaemonSetEvent },
  actions: {
    /** Creates a pod for each node that lacks one, slowly at first. */
    createPods() {},
    /** Deletes pods that ended; the next pass makes them again. */
    deleteFinishedPods() {},
    deleteSurplusPods() {},
    /** Deletes pods of an older revision, so that new ones take their places. */
    deleteOutdatedPods() {},
    /** Creates pods of the new revision beside old ones. */
    createSurgePods() {},
    deleteOldRevisions() {},
  },
}).createMachine({
  id: 'daemon-set',
  initial: 'Live',
  states: {
    Live: {
      initial: 'Scaling',
      on: {
        DELETED: 'Deleting',
        PODS_MISSING: { actions: 'createPods' },
        PODS_FINISHED: { actions: 'deleteFinishedPods' },
        PODS_SURPLUS: { actions: 'deleteSurplusPods' },
        PODS_OUTDATED: { actions: 'deleteOutdatedPods' },
        SURGE_DUE: { actions: 'createSurgePods' },
        HISTORY_TOO_LONG: { actions: 'deleteOldRevisions' },
        ...phaseTargets,
      },
      states: phaseStates,
    },
    Deleting: {},
  },
});

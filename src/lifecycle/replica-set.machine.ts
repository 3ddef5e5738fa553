import { setup } from 'xstate';

/** State of a ReplicaSet's pods, seen from its spec. */
export type ReplicaSetEvent =
  | { readonly type: 'PODS_MISSING' }
  | { readonly type: 'PODS_SURPLUS' }
  /** The API refused to create or delete a pod. */
  | { readonly type: 'PODS_REFUSED' }
  /** The number is right, but not all of them serve yet (or any more). */
  | { readonly type: 'PODS_UNAVAILABLE' }
  | { readonly type: 'PODS_AVAILABLE' }
  | { readonly type: 'DELETED' };

/**
 * A ReplicaSet keeps a number of pods. `Failing` lasts until the number is right again, so that the condition which says why does not
 * come and go with each try.
 */
export const replicaSetMachine = setup({
  types: { events: {} as ReplicaSetEvent },
  actions: {
    /** Creates what is missing, slowly at first. */
    createPods() {},
    /** Deletes what is too much, those first that are missed least. */
    deletePods() {},
  },
}).createMachine({
  id: 'replica-set',
  initial: 'Live',
  states: {
    Live: {
      initial: 'Scaling',
      on: {
        DELETED: 'Deleting',
        PODS_MISSING: { target: '.Scaling', actions: 'createPods' },
        PODS_SURPLUS: { target: '.Scaling', actions: 'deletePods' },
        PODS_REFUSED: '.Failing',
        PODS_UNAVAILABLE: '.Starting',
        PODS_AVAILABLE: '.Available',
      },
      states: {
        Scaling: {},
        Starting: {},
        Available: {},
        Failing: {
          on: {
            PODS_MISSING: { actions: 'createPods' },
            PODS_SURPLUS: { actions: 'deletePods' },
          },
        },
      },
    },
    Deleting: {},
  },
});

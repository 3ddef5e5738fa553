import { setup } from 'xstate';

/** Effects of the NoExecute taints of its node on a pod. */
export type PodEvictionEvent =
  | { readonly type: 'TAINTS_TOLERATED' }
  | { readonly type: 'TAINTS_TOLERATED_FOR_A_WHILE' }
  | { readonly type: 'TAINTS_NOT_TOLERATED' }
  | { readonly type: 'TOLERATION_EXPIRED' }
  | { readonly type: 'DELETED' };

/**
 * A pod on a node with NoExecute taints: it stays, may stay for `tolerationSeconds`, or has to go at once.
 *
 * @see Kubernetes concepts, "Taints and Tolerations" (taint based evictions)
 */
export const podEvictionMachine = setup({
  types: { events: {} as PodEvictionEvent },
  actions: {
    /** Looks at the pod again when its time is over. */
    setDeadline() {},
    /** The deadline is off. */
    cancel() {},
    /** Says why on the pod, then deletes it. */
    evict() {},
    /** Drops what is remembered of the pod. */
    forget() {},
  },
}).createMachine({
  id: 'pod-eviction',
  initial: 'Staying',
  on: { DELETED: { target: '.Leaving', actions: 'forget' } },
  states: {
    Staying: {
      on: {
        TAINTS_TOLERATED_FOR_A_WHILE: { target: 'Waiting', actions: 'setDeadline' },
        TAINTS_NOT_TOLERATED: { target: 'Leaving', actions: 'evict' },
        // Its time ended while nobody looked.
        TOLERATION_EXPIRED: { target: 'Leaving', actions: 'evict' },
      },
    },
    Waiting: {
      on: {
        TAINTS_TOLERATED: { target: 'Staying', actions: 'cancel' },
        // The deadline follows the taint and the toleration, which both may change.
        TAINTS_TOLERATED_FOR_A_WHILE: { actions: 'setDeadline' },
        TAINTS_NOT_TOLERATED: { target: 'Leaving', actions: 'evict' },
        TOLERATION_EXPIRED: { target: 'Leaving', actions: 'evict' },
      },
    },
    Leaving: { on: { DELETED: { actions: 'forget' } } },
  },
});

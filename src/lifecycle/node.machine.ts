import { setup } from 'xstate';

/** Observations of a node that its taints do not show yet. */
export type NodeEvent =
  | { readonly type: 'CONDITION_TRUE' }
  | { readonly type: 'CONDITION_FALSE' }
  | { readonly type: 'CONDITION_UNKNOWN' }
  | { readonly type: 'NEVER_REPORTED' }
  | { readonly type: 'HEARTBEAT_LOST' }
  | { readonly type: 'PODS_STILL_READY' }
  | { readonly type: 'CORDONED' }
  | { readonly type: 'UNCORDONED' }
  | { readonly type: 'PRESSURE_CHANGED' }
  | { readonly type: 'EVICTION_DUE' }
  | { readonly type: 'EVICTION_OVER' };

/**
 * A node as the node controller treats it. The regions are independent: heartbeats and readiness of its agent,
 * admission of new pods, and the move of its pods to other nodes.
 *
 * The state is the controller's work so far, which the node carries as taints. Events are the differences between it
 * and the world.
 *
 * @see Kubernetes concepts, "Nodes" (node controller), "Taints and Tolerations" (taint based evictions)
 */
export const nodeMachine = setup({
  types: { events: {} as NodeEvent },
  actions: {
    /** Sets the conditions that the agent no longer keeps up to date to Unknown. */
    markUnknown() {},
    /** Makes the NoSchedule taints say what the conditions and `spec.unschedulable` say. */
    setTaints() {},
    /** Tells users that the node is not ready any more. */
    reportNotReady() {},
    /** Takes the pods on the node out of their Services. */
    markPodsNotReady() {},
    /** Sets or removes the NoExecute taint, by which pods leave. */
    setEvictionTaint(_, _params: { evict: boolean }) {},
  },
}).createMachine({
  id: 'node',
  type: 'parallel',
  states: {
    health: {
      initial: 'Ready',
      states: {
        Ready: {
          on: {
            CONDITION_FALSE: { target: 'NotReady', actions: ['setTaints', 'reportNotReady', 'markPodsNotReady'] },
            CONDITION_UNKNOWN: { target: 'Unreachable', actions: ['setTaints', 'reportNotReady', 'markPodsNotReady'] },
            NEVER_REPORTED: { target: 'NotReady', actions: 'setTaints' },
            HEARTBEAT_LOST: { target: 'Unreachable', actions: ['markUnknown', 'setTaints', 'reportNotReady', 'markPodsNotReady'] },
          },
        },
        NotReady: {
          on: {
            CONDITION_TRUE: { target: 'Ready', actions: 'setTaints' },
            CONDITION_UNKNOWN: { target: 'Unreachable', actions: 'setTaints' },
            HEARTBEAT_LOST: { target: 'Unreachable', actions: ['markUnknown', 'setTaints'] },
          },
        },
        Unreachable: {
          on: {
            CONDITION_TRUE: { target: 'Ready', actions: 'setTaints' },
            CONDITION_FALSE: { target: 'NotReady', actions: 'setTaints' },
            // The taint is there, but the conditions say otherwise: the write of one of the two was lost.
            HEARTBEAT_LOST: { actions: 'markUnknown' },
            PODS_STILL_READY: { actions: 'markPodsNotReady' },
          },
        },
      },
    },
    schedulability: {
      initial: 'Open',
      states: {
        Open: { on: { CORDONED: { target: 'Cordoned', actions: 'setTaints' }, PRESSURE_CHANGED: { actions: 'setTaints' } } },
        Cordoned: { on: { UNCORDONED: { target: 'Open', actions: 'setTaints' }, PRESSURE_CHANGED: { actions: 'setTaints' } } },
      },
    },
    eviction: {
      initial: 'Keeping',
      states: {
        Keeping: {
          on: { EVICTION_DUE: { target: 'Evicting', actions: { type: 'setEvictionTaint', params: { evict: true } } } },
        },
        Evicting: {
          on: {
            // The reason for it has become another one.
            EVICTION_DUE: { actions: { type: 'setEvictionTaint', params: { evict: true } } },
            EVICTION_OVER: { target: 'Keeping', actions: { type: 'setEvictionTaint', params: { evict: false } } },
          },
        },
      },
    },
  },
});

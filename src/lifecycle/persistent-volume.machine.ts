import { setup } from 'xstate';

/** The claim of a volume, seen from the volume. */
export type VolumeEvent =
  /** No claim has it, though one may be named that is still to come. */
  | { readonly type: 'UNCLAIMED' }
  | { readonly type: 'CLAIMED' }
  /** The claim it names is gone, or was served by another volume and this one was made for it alone. */
  | { readonly type: 'RELEASED' }
  /** The claim it names has another volume. */
  | { readonly type: 'SUPERSEDED' }
  /** The claim it names wants a block device and this is a file system, or the other way round. */
  | { readonly type: 'MODE_MISMATCHED' }
  /** Nobody here can do what its reclaim policy asks for. */
  | { readonly type: 'RECLAIM_FAILED' };

/** A volume is free, has a claim, or has lost it. `Failed` keeps the last reason until the volume goes or is freed by a person. */
export const persistentVolumeMachine = setup({
  types: { events: {} as VolumeEvent },
  actions: {
    /** Does what the reclaim policy says. */
    reclaim() {},
    /** Takes back what the binder wrote; a claim that a person named stays named. */
    unbind() {},
    reportMismatch() {},
    reportFailure() {},
  },
}).createMachine({
  id: 'persistent-volume',
  initial: 'Pending',
  on: {
    UNCLAIMED: '.Available',
    CLAIMED: '.Bound',
    SUPERSEDED: { target: '.Available', actions: 'unbind' },
    MODE_MISMATCHED: { actions: 'reportMismatch' },
    RELEASED: { target: '.Released', actions: 'reclaim' },
  },
  states: {
    Pending: {},
    Available: {},
    Bound: {},
    Released: {
      on: { RECLAIM_FAILED: { target: 'Failed', actions: 'reportFailure' } },
    },
    Failed: {
      on: { RELEASED: { actions: 'reclaim' } },
    },
  },
});

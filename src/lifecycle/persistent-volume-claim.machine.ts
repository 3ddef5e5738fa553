import { setup } from 'xstate';

/** The outcome of a look at the volumes and classes of the cluster for a claim. */
export type ClaimEvent =
  /** A volume fits, names the claim, or is its volume already. */
  | { readonly type: 'VOLUME_FOUND' }
  /** The volume that the claim names does not fit it. */
  | { readonly type: 'VOLUME_UNFIT' }
  /** The volume that the claim names is another one's. */
  | { readonly type: 'VOLUME_TAKEN' }
  /** The claim leaves the choice of a class to the cluster, which has a default one by now. */
  | { readonly type: 'CLASS_MISSING' }
  /** The class waits until the scheduler has a node for a pod of the claim. */
  | { readonly type: 'CONSUMER_MISSING' }
  | { readonly type: 'VOLUME_WANTED' }
  /** The class is not there, or nobody makes volumes of it. */
  | { readonly type: 'CLASS_UNUSABLE' }
  | { readonly type: 'NOTHING_FITS' }
  /** The volume of a bound claim is gone. */
  | { readonly type: 'VOLUME_LOST' }
  /** The volume of a bound claim says that it belongs to another one. */
  | { readonly type: 'VOLUME_MISBOUND' }
  | { readonly type: 'DELETED' };

/** A claim waits for a volume, has one, or has lost it. */
export const persistentVolumeClaimMachine = setup({
  types: { events: {} as ClaimEvent },
  actions: {
    /** Writes volume and claim, so that each names the other. */
    bind() {},
    reportUnfit() {},
    reportTaken() {},
    assignClass() {},
    reportWaiting() {},
    /** Asks the provisioner of the class for a volume. */
    requestVolume() {},
    reportUnusable() {},
    reportNothing() {},
    reportLost() {},
    reportMisbound() {},
  },
}).createMachine({
  id: 'persistent-volume-claim',
  initial: 'Pending',
  on: { DELETED: '.Terminating' },
  states: {
    Pending: {
      on: {
        VOLUME_FOUND: { target: 'Bound', actions: 'bind' },
        VOLUME_UNFIT: { actions: 'reportUnfit' },
        VOLUME_TAKEN: { actions: 'reportTaken' },
        CLASS_MISSING: { actions: 'assignClass' },
        CONSUMER_MISSING: { actions: 'reportWaiting' },
        VOLUME_WANTED: { actions: 'requestVolume' },
        CLASS_UNUSABLE: { actions: 'reportUnusable' },
        NOTHING_FITS: { actions: 'reportNothing' },
        VOLUME_LOST: { target: 'Lost', actions: 'reportLost' },
        VOLUME_MISBOUND: { target: 'Lost', actions: 'reportMisbound' },
      },
    },
    Bound: {
      on: {
        // Somebody may have taken a half of the binding away.
        VOLUME_FOUND: { actions: 'bind' },
        VOLUME_LOST: { target: 'Lost', actions: 'reportLost' },
        VOLUME_MISBOUND: { target: 'Lost', actions: 'reportMisbound' },
      },
    },
    Lost: {
      on: { VOLUME_FOUND: { target: 'Bound', actions: 'bind' } },
    },
    Terminating: {},
  },
});

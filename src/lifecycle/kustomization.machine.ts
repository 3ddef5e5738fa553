import { setup } from 'xstate';

/** Events of a Kustomization, which is an app. `waits` is `spec.wait` or health checks: ready means healthy then. */
export type KustomizationEvent =
  | { readonly type: 'SOURCE_MISSING' }
  | { readonly type: 'DEPENDENCY_NOT_READY' }
  | { readonly type: 'OUT_OF_DATE' }
  | { readonly type: 'DRIFTED' }
  | { readonly type: 'APPLIED'; readonly waits: boolean }
  /** All of the revision up to a wave, which the next one waits for. */
  | { readonly type: 'WAVE_APPLIED' }
  | { readonly type: 'SYNC_FAILED' }
  | { readonly type: 'BECAME_HEALTHY' }
  | { readonly type: 'HEALTH_DEADLINE_PASSED' }
  /** Nothing acts on the objects that are left: waiting changes nothing. */
  | { readonly type: 'CANNOT_BECOME_HEALTHY' }
  | { readonly type: 'SPEC_REJECTED' }
  | { readonly type: 'SUSPENDED' }
  | { readonly type: 'RESUMED' }
  | { readonly type: 'DELETED' };

/**
 * An app on its way to be what its commit says. A commit that cannot be applied leaves the last good one in force, drift included. Health
 * is a state that is watched, not a wait that holds a worker.
 */
export const kustomizationMachine = setup({
  types: { events: {} as KustomizationEvent },
  actions: {
    /** Build, plan and apply the newest revision. */
    syncRevision() {},
    /** Put back what was changed by someone else. */
    correctDrift() {},
    /** Delete what the revision no longer names, now that the rest is healthy. */
    pruneObjects() {},
    /** Delete what was applied, as far as the policy says so, and let the object go. */
    finalizeApp() {},
  },
}).createMachine({
  id: 'kustomization',
  initial: 'New',
  on: {
    DELETED: { target: '.Deleting', actions: 'finalizeApp' },
    SUSPENDED: { target: '.Suspended' },
    SPEC_REJECTED: { target: '.Stalled' },
    SOURCE_MISSING: { target: '.Waiting' },
    DEPENDENCY_NOT_READY: { target: '.Waiting' },
    OUT_OF_DATE: { actions: 'syncRevision' },
    DRIFTED: { actions: 'correctDrift' },
    WAVE_APPLIED: { target: '.Progressing' },
    SYNC_FAILED: { target: '.Failed' },
    APPLIED: [
      { guard: ({ event }) => event.waits, target: '.Progressing' },
      { target: '.Ready', actions: 'pruneObjects' },
    ],
  },
  states: {
    New: {},
    Waiting: {},
    Progressing: {
      on: {
        BECAME_HEALTHY: { target: 'Ready', actions: 'pruneObjects' },
        HEALTH_DEADLINE_PASSED: 'Failed',
        CANNOT_BECOME_HEALTHY: { target: 'Failed', actions: 'pruneObjects' },
      },
    },
    Ready: {},
    Failed: { on: { BECAME_HEALTHY: { target: 'Ready', actions: 'pruneObjects' } } },
    Stalled: { on: { DRIFTED: undefined } },
    Suspended: { on: { RESUMED: 'New', OUT_OF_DATE: undefined, DRIFTED: undefined } },
    Deleting: {
      on: {
        SUSPENDED: undefined,
        SPEC_REJECTED: undefined,
        SOURCE_MISSING: undefined,
        DEPENDENCY_NOT_READY: undefined,
        OUT_OF_DATE: undefined,
        DRIFTED: undefined,
        WAVE_APPLIED: undefined,
        SYNC_FAILED: undefined,
        APPLIED: undefined,
      },
    },
  },
});

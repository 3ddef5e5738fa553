import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { Clock } from '../../../base/clock.ts';
import type { KustomizationState } from '../../../lifecycle/kustomization.facts.ts';
import type { Result } from '../../../reconcile/controller.ts';
import { timeoutMsOf } from '../plan/app-spec.ts';
import type { AppHealth } from './app-health.ts';
import type { AutoRevert } from './auto-revert.ts';
import type { Pass } from './pass.ts';
import { retryDelayMs } from './retry.ts';
import { objectSuspensionMs, suspensionMs } from './suspension.ts';

export interface NextLookOptions {
  readonly clock: Clock;
  readonly appHealth: Pick<AppHealth, 'lookAgainAfterMs'>;
  readonly autoRevert: Pick<AutoRevert, 'graceLeftMs'>;
}

/** The end of a pass. */
export interface PassEnd {
  readonly value: KustomizationState;
  /** Objects whose deletion is not confirmed yet. */
  readonly deleting: number;
}

/** Deletions that wait for finalizers are looked at this often, beside the event of their end. */
const recheckDeletionMs = 1_000;
/** A kind that a health check names and the cluster does not have is looked for this often: nothing announces it. */
const recheckKindMs = 5_000;
/** Deadlines are looked at this long after they have passed, so that they have passed for certain. */
const afterDeadlineMs = 100;

/** Says when an app is looked at again although nothing changes; undefined when it need not be. */
export function createNextLook({ clock, appHealth, autoRevert }: NextLookOptions) {
  return (pass: Pass, { value, deleting }: PassEnd): Result | undefined => {
    const { app, state } = pass;
    const suspendedMs = suspensionMs(app, clock.now());
    if (suspendedMs !== undefined) return { requeueAfterMs: suspendedMs };
    if (deleting > 0) return { requeueAfterMs: state.prune.failures > 0 ? retryDelayMs(app, state.prune.failures) : recheckDeletionMs };
    const { rollout, failed } = state.attempt;
    if (rollout !== undefined) return { requeueAfterMs: duringRollout(pass, rollout) };
    if (value === 'Progressing' && state.inForce.waitsSince > 0) return { requeueAfterMs: whileProgressing(pass) };
    if (failed !== undefined && value !== 'Suspended' && value !== 'Deleting')
      return { requeueAfterMs: Math.max(0, failed.retryMs - (clock.monotonicMs() - failed.failedAt)) };
    const soonest = whenQuiet(pass, value);
    return Number.isFinite(soonest) ? { requeueAfterMs: soonest } : undefined;
  };

  function duringRollout(
    { app, state }: Pass,
    { startedAt, recheckMs }: { readonly startedAt: number; readonly recheckMs?: number | undefined },
  ) {
    const left = timeoutMsOf(app) - (clock.monotonicMs() - startedAt) + afterDeadlineMs;
    return Math.max(100, Math.min(recheckMs ?? left, left, healthMsOf(app, state)));
  }

  function whileProgressing({ app, state, target, checksUnknown }: Pass): number {
    const left = Math.max(1_000, timeoutMsOf(app) - (clock.now() - state.inForce.waitsSince) + afterDeadlineMs);
    const driftMs = target.drift.retryAfterMs(state) ?? left;
    const graceMs = autoRevert.graceLeftMs(app, state) ?? left;
    return Math.min(left, driftMs, graceMs, healthMsOf(app, state), checksUnknown ? recheckKindMs : left);
  }

  function whenQuiet({ app, state, target, checksUnknown, sourceWaitMs }: Pass, value: KustomizationState): number {
    const waits = [
      state.prune.blocked === '' || value !== 'Ready' ? undefined : Math.max(0, state.prune.lookAt - clock.monotonicMs()),
      target.drift.retryAfterMs(state),
      healthMsOf(app, state),
      autoRevert.graceLeftMs(app, state),
      // Measured where the pass decided: the wait may be over by now, and nothing else would wake the app up.
      sourceWaitMs === undefined ? undefined : sourceWaitMs + afterDeadlineMs,
      objectSuspensionMs(state.ownership, clock.now()),
      checksUnknown ? recheckKindMs : undefined,
    ];
    return Math.min(...waits.map((ms) => ms ?? Number.POSITIVE_INFINITY));
  }

  function healthMsOf(app: Kustomization, state: Pass['state']): number {
    return appHealth.lookAgainAfterMs(app, state) ?? Number.POSITIVE_INFINITY;
  }
}

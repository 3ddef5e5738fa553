import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { ObjectChange } from '../../../base/contracts/activity.ts';
import { kustomizationReasons as reasons } from '../../../lifecycle/kustomization.facts.ts';
import type { ControllerDependencies } from '../../../reconcile/dependencies.ts';
import { labelsOf } from '../plan/app-spec.ts';
import type { InForce } from '../records/in-force.ts';
import type { GitOpsMetrics } from '../status/gitops-metrics.ts';
import type { AppFeed } from '../status/redacted-feed.ts';
import type { SyncOutcome } from '../sync/syncer.ts';
import type { Pass } from './pass.ts';
import type { Go } from './sync-revision.ts';
import { summaryOf } from './tell.ts';

export interface SyncReportOptions extends Pick<ControllerDependencies, 'clock' | 'recorder'> {
  readonly feed: AppFeed;
  readonly gitops: GitOpsMetrics;
}

/** A sync that came to its end, with the revision that is in force by it. */
export interface SyncReport {
  readonly outcome: SyncOutcome;
  readonly changed: boolean;
  readonly isNewTree: boolean;
  readonly durationMs: number;
  readonly inForce: InForce;
}

/** Errors, or notes, of one revision that people are shown. */
export const maxErrorsShown = 20;

/** Reports a revision that is in force, to people and to metrics. */
export function createSyncReport({ clock, recorder, feed, gitops }: SyncReportOptions) {
  return ({ app, state }: Pass, { revision, trigger }: Go, { outcome, changed, isNewTree, durationMs, inForce }: SyncReport): void => {
    const { changes, unchanged, notes = [] } = outcome;
    const { isRollback } = inForce;
    const of = { at: clock.now(), app: app.metadata.name, sha: inForce.sha };
    if (changed || isNewTree) gitops.commitApplied(labelsOf(app), clock.now() - revision.seenAt);
    if (isNewTree) for (const message of outcome.build?.notes ?? []) recorder.record(app, { type: 'Normal', reason: 'LeftOut', message });
    count(app, changes, unchanged);
    if (changed) {
      feed.add(app, { type: 'applied', ...of, changes, durationMs, rollback: isRollback });
      recorder.record(app, { type: 'Normal', reason: reasons.succeeded, message: summaryOf(changes, revision.commit.revision) });
    }
    if (isNewTree && notes.length > 0) {
      const shown = notes.length > maxErrorsShown ? [...notes.slice(0, maxErrorsShown), '…'] : notes;
      recorder.record(app, { type: 'Warning', reason: 'HookNotSupported', message: shown.join('\n') });
    }
    if (state.attempt.failed !== undefined && state.attempt.failed.failures > 0 && !changed)
      feed.add(app, { type: 'recovered', ...of, from: 'failed' });
    if (isRollback && isNewTree) gitops.rolledBack(labelsOf(app));
    gitops.synced(labelsOf(app), { trigger, result: changed ? 'succeeded' : 'noop', durationMs });
  };

  function count(app: Kustomization, changes: readonly ObjectChange[], unchanged: number): void {
    const labels = labelsOf(app);
    for (const action of ['created', 'configured'] as const) {
      const number = changes.filter((change) => change.action === action).length;
      if (number > 0) gitops.applied(labels, action, number);
    }
    if (unchanged > 0) gitops.applied(labels, 'unchanged', unchanged);
  }
}

import { createHash } from 'node:crypto';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { annotations } from '../../../api/well-known.ts';
import { timestampOf } from '../../../base/clock.ts';
import type { Redactor } from '../../../base/redactor.ts';
import { kustomizationReasons as reasons } from '../../../lifecycle/kustomization.facts.ts';
import type { ControllerDependencies } from '../../../reconcile/dependencies.ts';
import type { KnownRevision } from '../../sources/follow/known-revision.ts';
import { labelsOf } from '../plan/app-spec.ts';
import { formatBuildError, SyncFailure } from '../plan/sync-failure.ts';
import type { FailedAttempt } from '../records/attempt.ts';
import type { InForce } from '../records/in-force.ts';
import type { GitOpsMetrics } from '../status/gitops-metrics.ts';
import type { AppFeed } from '../status/redacted-feed.ts';
import { failingAmong } from './failing.ts';
import type { Outcome, Pass } from './pass.ts';
import type { PassingFailure } from './passing-failure.ts';
import { maxErrorsShown } from './report-sync.ts';
import { changeDelayMs, jittered, retryDelayMs } from './retry.ts';
import type { Go, SyncEnd } from './sync-revision.ts';
import { remember, tellAttempt } from './tell.ts';

export interface SyncFailuresOptions extends Pick<ControllerDependencies, 'clock' | 'log' | 'recorder'> {
  readonly feed: AppFeed;
  readonly redactor: Redactor;
  readonly gitops: GitOpsMetrics;
  readonly random: () => number;
}

export type FailedSync = Extract<SyncEnd, { readonly type: 'failed' }>;

/** Outcome of a sync that failed: it is reported and tried again, or the app waits without a report for another app that ends it. */
export function createSyncFailures({ clock, log, recorder, feed, redactor, gitops, random }: SyncFailuresOptions) {
  return (pass: Pass, go: Go, failed: FailedSync): Outcome =>
    failed.passing === undefined ? fail(pass, go, failed) : waitForApp(pass, go, { ...failed, passing: failed.passing });

  function fail(pass: Pass, { revision, record, trigger, startedAt }: Go, { cause, failure }: FailedSync): Outcome {
    const { app, state, target } = pass;
    const durationMs = clock.monotonicMs() - startedAt;
    const shown = textsOf(state.key, failure);
    const finding = { reason: failure.reason, message: shown.join('\n') };
    const failed = failedAfter(pass, revision, failure);
    const isRepeated = failed.failures > 1;
    const nextRetryAt = timestampOf(clock.now() + failed.retryMs);
    const digestOfTexts = createHash('sha256').update(`${failure.reason}\n${finding.message}`).digest('hex').slice(0, 16);
    const told = { digest: '', tries: failed.failures, reason: failure.reason, nextRetryAt, failure: digestOfTexts };
    let announced = tellAttempt({ app, announced: state.announced, now: clock.now() }, record, told);
    gitops.synced(labelsOf(app), { trigger, result: 'failed', durationMs });
    gitops.applied(labelsOf(app), 'failed', failure.errors.length);
    if (!(cause instanceof SyncFailure)) log.error({ kustomization: state.key, err: cause }, 'Could not sync app');
    if (!isRepeated || pass.finding.message !== finding.message) {
      feed.add(app, { type: 'failed', at: clock.now(), app: app.metadata.name, sha: revision.commit.sha, errors: shown });
      recorder.record(app, { type: 'Warning', ...finding });
      const sync = { app, revision, result: 'failed' as const, digest: '', changes: [], durationMs, isRollback: false, now: clock.now() };
      if (state.ownership.isLoaded) announced = remember(announced, sync);
    }
    return {
      inForce: withRequest(state.inForce, app),
      attempt: { record, rollout: undefined, failed, failing: failingAmong({ state, target }, failure.objects), errors: failure.errors },
      announced,
      finding,
      event: { type: 'SYNC_FAILED' },
    };
  }

  /** The digest of the texts is shown, too: a digest of a short value would give the value away. */
  function textsOf(key: string, { errors }: SyncFailure): readonly string[] {
    const texts = errors.map((error) => redactor.text(formatBuildError(error), key));
    return texts.length > maxErrorsShown ? [...texts.slice(0, maxErrorsShown), `… and ${texts.length - maxErrorsShown} more`] : texts;
  }

  function waitForApp(
    { app, state, target }: Pass,
    { revision }: Go,
    { failure, passing }: { readonly failure: SyncFailure; readonly passing: PassingFailure },
  ): Outcome {
    return {
      inForce: withRequest(state.inForce, app),
      attempt: {
        record: state.attempt.record,
        rollout: undefined,
        errors: [],
        failing: failingAmong({ state, target }, failure.objects),
        failed: {
          revision: revision.commit.revision,
          generation: app.metadata.generation ?? 0,
          failedAt: clock.monotonicMs(),
          failures: 0,
          retryMs: passing.retryMs,
        },
      },
      finding: { reason: reasons.dependencyNotReady, message: passing.reason },
      event: { type: 'DEPENDENCY_NOT_READY' },
    };
  }

  /**
   * The next try of the revision. A `retryInterval` of the app wins over the least wait of the error. A refusal by the server is tried
   * once more soon. The change that it needs may have come meanwhile, or may reach the server a moment after this app.
   */
  function failedAfter({ app, state }: Pass, { commit }: KnownRevision, { nextTry, minRetryMs }: SyncFailure): FailedAttempt {
    const before = state.attempt.failed;
    const isRepeated = before?.revision === commit.revision && before.generation === app.metadata.generation;
    const failures = isRepeated ? before.failures + 1 : 1;
    const isAskedAgain = isRepeated && Number.isFinite(before.failedAt);
    const waitsForChange = nextTry === 'commit' || (nextTry === 'change' && isAskedAgain);
    const minMs = app.spec.retryInterval === undefined ? minRetryMs : 0;
    const delayMs = waitsForChange ? changeDelayMs(app) : Math.max(minMs, retryDelayMs(app, failures));
    return {
      revision: commit.revision,
      generation: app.metadata.generation ?? 0,
      failedAt: clock.monotonicMs(),
      failures,
      retryMs: jittered(delayMs, random()),
    };
  }
}

const withRequest = (inForce: InForce, { metadata }: Kustomization): InForce => ({
  ...inForce,
  handledRequest: metadata.annotations?.[annotations.reconcileRequestedAt],
});

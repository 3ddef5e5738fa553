import { createHash } from 'node:crypto';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { annotations } from '../../../api/well-known.ts';
import { timestampOf } from '../../../base/clock.ts';
import type { ObjectChange } from '../../../base/contracts/activity.ts';
import type { Redactor } from '../../../base/redactor.ts';
import { kustomizationReasons as reasons, waitsForHealth } from '../../../lifecycle/kustomization.facts.ts';
import type { ControllerDependencies } from '../../../reconcile/dependencies.ts';
import type { KnownRevision } from '../../sources/follow/known-revision.ts';
import { labelsOf } from '../plan/app-spec.ts';
import { formatBuildError, messageOf, SyncFailure } from '../plan/sync-failure.ts';
import type { Attempt, FailedAttempt } from '../records/attempt.ts';
import { type AttemptRecord, startAttempt } from '../records/attempt-record.ts';
import { isRollback } from '../records/history.ts';
import type { InForce } from '../records/in-force.ts';
import type { GitOpsMetrics, SyncTrigger } from '../status/gitops-metrics.ts';
import type { AppFeed } from '../status/redacted-feed.ts';
import type { SyncOutcome } from '../sync/syncer.ts';
import { failingAmong } from './failing.ts';
import type { Outcome, Pass } from './pass.ts';
import type { PassingFailure } from './passing-failure.ts';
import { jitteredDelayMs } from './retry.ts';
import { remember, summaryOf, tellAttempt } from './tell.ts';

export interface SyncActOptions extends Pick<ControllerDependencies, 'clock' | 'log' | 'recorder'> {
  readonly feed: AppFeed;
  readonly redactor: Redactor;
  readonly gitops: GitOpsMetrics;
  readonly random: () => number;
}

/** An attempt at a revision, from its start. */
export interface Go {
  readonly revision: KnownRevision;
  readonly record: AttemptRecord;
  readonly trigger: SyncTrigger;
  /** Of the monotonic clock. */
  readonly startedAt: number;
}

/** What becomes of the records of an app by a sync. Each function gives the outcome; none stores it. */
export interface SyncAct {
  begin(pass: Pass, revision: KnownRevision): Go;
  /** The revision is in force, or is so up to a wave. */
  end(pass: Pass, go: Go, outcome: SyncOutcome): Outcome;
  fail(pass: Pass, go: Go, err: unknown): Outcome;
  /** Another app ends this failure: the app waits for it, and nothing is announced. */
  waitForApp(pass: Pass, go: Go, of: { readonly failure: SyncFailure; readonly passing: PassingFailure }): Outcome;
  /** A newer revision came. The old one may be applied in part: nothing is in force as a whole, even when the next is the one before. */
  supersede(pass: Pass): Outcome;
}

/** Errors of one revision that the status shows. */
const maxErrorsShown = 20;
/** Names of objects that a wave waits for. */
const maxWaitsShown = 5;

export function createSyncAct({ clock, log, recorder, feed, redactor, gitops, random }: SyncActOptions): SyncAct {
  return { begin, end, fail, waitForApp, supersede };

  function begin({ state }: Pass, revision: KnownRevision): Go {
    const { inForce, attempt } = state;
    const isNew = inForce.sha === '' || inForce.revision !== revision.commit.revision;
    const goesOn = attempt.rollout?.revision === revision.commit.revision && attempt.record !== undefined;
    return {
      revision,
      record: goesOn && attempt.record !== undefined ? attempt.record : startAttempt(revision, clock, gitops.phase),
      trigger: isNew ? 'commit' : attempt.failed === undefined ? 'manual' : 'retry',
      startedAt: clock.monotonicMs(),
    };
  }

  function end(pass: Pass, go: Go, outcome: SyncOutcome): Outcome {
    return outcome.waitsFor.length > 0 ? waitForWave(pass, go, outcome) : putInForce(pass, go, outcome);
  }

  function supersede({ app, state }: Pass): Outcome {
    gitops.superseded(labelsOf(app));
    return {
      inForce: { ...state.inForce, build: undefined, digest: '' },
      attempt: { ...state.attempt, rollout: undefined },
      superseded: true,
    };
  }

  /** The revision is in force up to a wave; the rest comes when that is well. */
  function waitForWave({ app, state }: Pass, { record }: Go, { waitsFor, digest, rollout }: SyncOutcome): Outcome {
    const shown =
      waitsFor.length > maxWaitsShown ? [...waitsFor.slice(0, maxWaitsShown), `${waitsFor.length - maxWaitsShown} more`] : waitsFor;
    const { announced, attempt } = state;
    const told = { digest, tries: (attempt.failed?.failures ?? 0) + 1, reason: reasons.progressing };
    return {
      attempt: { ...attempt, rollout, record, errors: [] },
      announced: attempt.record === record ? announced : tellAttempt({ app, announced, now: clock.now() }, record, told),
      finding: { reason: reasons.progressing, message: `Waiting for: ${shown.join('; ')}` },
      event: { type: 'WAVE_APPLIED' },
    };
  }

  /** Facts of a sync that came to its end. */
  interface Applied {
    readonly changed: boolean;
    readonly isNewTree: boolean;
    readonly isRollback: boolean;
    readonly durationMs: number;
  }

  function judge({ state }: Pass, { revision, startedAt }: Go, { changes, digest }: SyncOutcome): Applied {
    const { history } = state.announced;
    const inForce = history.findLast(({ result }) => result === 'applied');
    return {
      changed: changes.length > 0,
      isNewTree: digest !== state.inForce.digest && history.at(-1)?.digest !== digest,
      // A tree that is looked at again is what it was, also after a restart.
      isRollback: inForce?.digest === digest ? inForce.rollback : isRollback(history, digest, revision.commit.message),
      durationMs: clock.monotonicMs() - startedAt,
    };
  }

  function putInForce(pass: Pass, go: Go, outcome: SyncOutcome): Outcome {
    const { app, state, target } = pass;
    const { revision, record } = go;
    const { failed } = state.attempt;
    const applied = judge(pass, go, outcome);
    const { changed, isNewTree } = applied;
    // A refused commit was taken back: what is in force stays, and is what Git says once more.
    const isBack = failed !== undefined && failed.revision !== revision.commit.revision && !changed && !isNewTree;
    const tries = failed?.revision === revision.commit.revision ? failed.failures + 1 : 1;
    const now = clock.now();
    const inForce = inForceAfter(pass, go, { ...applied, digest: outcome.digest, build: outcome.build, now });
    if (state.inForce.generation !== app.metadata.generation) state.health.mark(state.ownership.applied.keys());
    if (changed || isNewTree) state.health.setOverdue(false);
    report(pass, go, { outcome, applied, inForce });

    const reason = waitsForHealth(app) ? reasons.progressing : reasons.succeeded;
    const message = `Applied revision: ${inForce.revision}${waitsForHealth(app) ? ', waiting for health' : ''}`;
    const isTold = changed || isNewTree || failed !== undefined;
    const attempt: Attempt = {
      record: isTold ? record : state.attempt.record,
      rollout: undefined,
      failed: undefined,
      failing: failingAmong({ state, target }, []),
      errors: [],
    };
    let { announced } = state;
    if (changed || isNewTree) announced = { ...announced, isHealthy: false, problem: '' };
    if (isNewTree || isBack) {
      const { changes, digest } = outcome;
      announced = remember(announced, { app, revision, result: 'applied', digest, changes, now, ...applied });
    }
    if (isTold) {
      record.begin('health');
      announced = tellAttempt({ app, announced, now }, record, { digest: outcome.digest, tries, reason });
    }
    return { inForce, attempt, announced, finding: { reason, message }, event: { type: 'APPLIED', waits: waitsForHealth(app) } };
  }

  function inForceAfter(
    { app, state }: Pass,
    { revision }: Go,
    of: Applied & Pick<InForce, 'digest' | 'build'> & { readonly now: number },
  ): InForce {
    const { digest, build, isRollback, changed, isNewTree, now } = of;
    const { sha, tree } = revision.commit;
    return {
      ...state.inForce,
      build,
      sha,
      tree,
      revision: revision.commit.revision,
      digest,
      generation: app.metadata.generation ?? 0,
      handledRequest: app.metadata.annotations?.[annotations.reconcileRequestedAt],
      isRollback,
      ...(changed || isNewTree ? { seenAt: revision.seenAt, appliedAt: now, waitsSince: now } : {}),
    };
  }

  /** Tells people and metrics of a revision that is in force. */
  function report(
    { app, state }: Pass,
    { revision, trigger }: Go,
    { outcome, applied, inForce }: { readonly outcome: SyncOutcome; readonly applied: Applied; readonly inForce: InForce },
  ): void {
    const { changes, unchanged, notes = [] } = outcome;
    const { changed, isNewTree, isRollback, durationMs } = applied;
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
    gitops.synced(labelsOf(app), trigger, changed ? 'succeeded' : 'noop', durationMs);
  }

  function count(app: Kustomization, changes: readonly ObjectChange[], unchanged: number): void {
    const labels = labelsOf(app);
    for (const action of ['created', 'configured'] as const) {
      const number = changes.filter((change) => change.action === action).length;
      if (number > 0) gitops.applied(labels, action, number);
    }
    if (unchanged > 0) gitops.applied(labels, 'unchanged', unchanged);
  }

  function fail(pass: Pass, { revision, record, trigger, startedAt }: Go, err: unknown): Outcome {
    const { app, state, target } = pass;
    const durationMs = clock.monotonicMs() - startedAt;
    const failure = failureOf(err);
    // The digest of the texts is shown, too: that of a short value would give it away.
    const texts = failure.errors.map((error) => redactor.text(formatBuildError(error), state.key));
    const shown =
      texts.length > maxErrorsShown ? [...texts.slice(0, maxErrorsShown), `… and ${texts.length - maxErrorsShown} more`] : texts;
    const finding = { reason: failure.reason, message: shown.join('\n') };
    const failed = failedAfter(pass, revision, failure);
    const isRepeated = failed.failures > 1;
    const nextRetryAt = timestampOf(clock.now() + failed.retryMs);
    const digestOfTexts = createHash('sha256').update(`${failure.reason}\n${finding.message}`).digest('hex').slice(0, 16);
    const told = { digest: '', tries: failed.failures, reason: failure.reason, nextRetryAt, failure: digestOfTexts };
    let announced = tellAttempt({ app, announced: state.announced, now: clock.now() }, record, told);
    gitops.synced(labelsOf(app), trigger, 'failed', durationMs);
    gitops.applied(labelsOf(app), 'failed', failure.errors.length);
    if (!(err instanceof SyncFailure)) log.error({ kustomization: state.key, err }, 'Could not sync app');
    if (!isRepeated || pass.finding.message !== finding.message) {
      feed.add(app, { type: 'failed', at: clock.now(), app: app.metadata.name, sha: revision.commit.sha, errors: shown });
      recorder.record(app, { type: 'Warning', ...finding });
      const sync = { app, revision, result: 'failed' as const, digest: '', changes: [], durationMs, isRollback: false, now: clock.now() };
      if (state.ownership.isLoaded) announced = remember(announced, sync);
    }
    return {
      inForce: { ...state.inForce, handledRequest: app.metadata.annotations?.[annotations.reconcileRequestedAt] },
      attempt: { record, rollout: undefined, failed, failing: failingAmong({ state, target }, failure.objects), errors: failure.errors },
      announced,
      finding,
      event: { type: 'SYNC_FAILED' },
    };
  }

  function waitForApp(
    { app, state, target }: Pass,
    { revision }: Go,
    of: { readonly failure: SyncFailure; readonly passing: PassingFailure },
  ): Outcome {
    const { failure, passing } = of;
    const failing = failingAmong({ state, target }, failure.objects);
    return {
      inForce: { ...state.inForce, handledRequest: app.metadata.annotations?.[annotations.reconcileRequestedAt] },
      attempt: {
        record: state.attempt.record,
        rollout: undefined,
        errors: [],
        failing,
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

  /** When the revision is tried again. A `retryInterval` of the app wins over the least wait of the error. */
  function failedAfter({ app, state }: Pass, { commit }: KnownRevision, { minRetryMs }: SyncFailure): FailedAttempt {
    const before = state.attempt.failed;
    const isRepeated = before?.revision === commit.revision && before.generation === app.metadata.generation;
    const failures = isRepeated ? before.failures + 1 : 1;
    const minMs = app.spec.retryInterval === undefined ? minRetryMs : 0;
    return {
      revision: commit.revision,
      generation: app.metadata.generation ?? 0,
      failedAt: clock.monotonicMs(),
      failures,
      retryMs: jitteredDelayMs(app, failures, { random: random(), minMs }),
    };
  }
}

/** Any error as the failure of a sync. */
export const failureOf = (err: unknown): SyncFailure =>
  err instanceof SyncFailure ? err : new SyncFailure(reasons.failed, [{ file: '', message: messageOf(err) }]);

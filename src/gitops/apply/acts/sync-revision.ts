import { annotations } from '../../../api/well-known.ts';
import type { Redactor } from '../../../base/redactor.ts';
import { kustomizationReasons as reasons, waitsForHealth } from '../../../lifecycle/kustomization.facts.ts';
import type { ControllerDependencies } from '../../../reconcile/dependencies.ts';
import type { KnownRevision } from '../../sources/follow/known-revision.ts';
import { labelsOf } from '../plan/app-spec.ts';
import { messageOf, SyncFailure } from '../plan/sync-failure.ts';
import type { Attempt } from '../records/attempt.ts';
import { type AttemptRecord, startAttempt } from '../records/attempt-record.ts';
import { isRollback } from '../records/history.ts';
import type { InForce } from '../records/in-force.ts';
import type { GitOpsMetrics, SyncTrigger } from '../status/gitops-metrics.ts';
import type { AppFeed } from '../status/redacted-feed.ts';
import type { SyncOutcome } from '../sync/syncer.ts';
import { createSyncFailures } from './fail-sync.ts';
import { failingAmong } from './failing.ts';
import type { Outcome, Pass } from './pass.ts';
import type { PassingFailure } from './passing-failure.ts';
import { createSyncReport } from './report-sync.ts';
import { remember, tellAttempt } from './tell.ts';

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
  /** Time of the monotonic clock. */
  readonly startedAt: number;
}

/** The end of an attempt to put a revision in force. */
export type SyncEnd =
  | { readonly type: 'synced'; readonly outcome: SyncOutcome }
  | { readonly type: 'superseded' }
  /** `passing`: another app ends the failure. */
  | { readonly type: 'failed'; readonly cause: unknown; readonly failure: SyncFailure; readonly passing: PassingFailure | undefined };

/** Effect of a sync on the records of an app. Both functions give values and store none. */
export interface SyncAct {
  begin(pass: Pass, revision: KnownRevision): Go;
  /** Gives the new records at once, so that no record changes between the end of the attempt and its outcome. */
  outcomeOf(pass: Pass, go: Go, end: SyncEnd): Outcome;
}

/** Facts of a sync that came to its end. */
interface Applied {
  readonly changed: boolean;
  readonly isNewTree: boolean;
  readonly isRollback: boolean;
  readonly durationMs: number;
}

/** Names of objects that a wave waits for. */
const maxWaitsShown = 5;

export function createSyncAct(options: SyncActOptions): SyncAct {
  const { clock, gitops } = options;
  const report = createSyncReport(options);
  const fail = createSyncFailures(options);

  return {
    begin,
    outcomeOf(pass, go, end) {
      switch (end.type) {
        case 'synced':
          return end.outcome.waitsFor.length > 0 ? waitForWave(pass, go, end.outcome) : putInForce(pass, go, end.outcome);
        case 'superseded':
          return supersede(pass);
        case 'failed':
          return fail(pass, go, end);
        default:
          return end satisfies never;
      }
    },
  };

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

  /** The old revision may be applied in part: nothing is in force as a whole, even when the next is the one before. */
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
    report(pass, go, { outcome, changed, isNewTree, durationMs: applied.durationMs, inForce });

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

/** Any error as the failure of a sync. */
export const failureOf = (err: unknown): SyncFailure =>
  err instanceof SyncFailure ? err : new SyncFailure(reasons.failed, [{ file: '', message: messageOf(err) }]);

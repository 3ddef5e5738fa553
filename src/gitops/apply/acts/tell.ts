import { attemptsOf, withAttempt } from '../../../api/kustomize/v1/attempt.ts';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { timestampOf } from '../../../base/clock.ts';
import type { ObjectChange } from '../../../base/contracts/activity.ts';
import type { KnownRevision } from '../../sources/follow/known-revision.ts';
import type { Announced } from '../records/announced.ts';
import type { AppRecords } from '../records/app-records.ts';
import type { AttemptRecord } from '../records/attempt-record.ts';
import { addToHistory, findRevertedCommit, noteOutcome, replaceInHistory } from '../records/history.ts';

/** Adds how far an attempt came to what the status says; `now` is in milliseconds since the epoch. */
export function tellAttempt(
  { app, announced, now }: { readonly app: Kustomization; readonly announced: Announced; readonly now: number },
  attempt: AttemptRecord,
  outcome: Parameters<AttemptRecord['read']>[0],
): Announced {
  return { ...announced, snapshots: withAttempt(snapshotsOf(app, announced), attempt.read(outcome), timestampOf(now)) };
}

/** Adds the end of a phase after the sync: health, or a prune. */
export function tellPhase(
  {
    app,
    state,
    now,
  }: { readonly app: Kustomization; readonly state: Pick<AppRecords, 'announced' | 'attempt' | 'inForce'>; readonly now: number },
  reason: string,
): Announced {
  const { announced, attempt, inForce } = state;
  if (attempt.record === undefined) return announced;
  const tries = announced.snapshots?.[0]?.totalReconciliations ?? 1;
  return tellAttempt({ app, announced, now }, attempt.record, { digest: inForce.digest, tries, reason });
}

export interface RememberedSync {
  readonly app: Kustomization;
  readonly revision: KnownRevision;
  readonly result: 'applied' | 'failed';
  readonly digest: string;
  readonly changes: readonly ObjectChange[];
  readonly durationMs: number;
  readonly isRollback: boolean;
  readonly now: number;
}

/** Adds a sync to the history. */
export function remember(announced: Announced, sync: RememberedSync): Announced {
  const { app, revision, result, digest, changes, durationMs, isRollback, now } = sync;
  const { commit } = revision;
  const { message, revision: committed } = commit;
  const revertOf = result === 'applied' ? findRevertedCommit(announced.history, { message, revision: committed, digest }) : undefined;
  const attempts = attemptsOf({ status: { ...app.status, history: snapshotsOf(app, announced) } });
  const history = addToHistory(noteOutcome(announced.history, attempts), {
    revision: commit.revision,
    digest,
    result,
    at: timestampOf(now),
    durationMs: Math.round(durationMs),
    author: commit.author,
    subject: commit.subject,
    rollback: result === 'applied' && (isRollback || revertOf !== undefined),
    ...(revertOf === undefined ? {} : { revertOf }),
    changes,
  });
  return { ...announced, history };
}

/** Adds the objects that a revision took away to its entry: they are part of what it changed, though they come last. */
export function rememberPruned(announced: Announced, digest: string, changes: readonly ObjectChange[]): Announced {
  const { history } = announced;
  const inForce = history.findLastIndex((entry) => entry.result === 'applied' && entry.digest === digest);
  const entry = history[inForce];
  if (entry === undefined) return announced;
  return { ...announced, history: replaceInHistory(history, inForce, { ...entry, changes: [...entry.changes, ...changes] }) };
}

const snapshotsOf = (app: Kustomization, { snapshots }: Announced) => snapshots ?? app.status?.history ?? [];

/** The objects that changed and the revision, for an Event. */
export function summaryOf(changes: readonly ObjectChange[], revision: string): string {
  const shown = changes
    .slice(0, 10)
    .map(({ action, object, fields }) => `${object} ${action}${fields.length === 0 ? '' : ` (${fields.join(', ')})`}`);
  return `${shown.join('\n')}${changes.length > shown.length ? `\n… and ${changes.length - shown.length} more` : ''}\nrevision ${revision}`;
}

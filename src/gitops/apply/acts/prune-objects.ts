import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { finalizers } from '../../../api/well-known.ts';
import { kustomizationReasons as reasons } from '../../../lifecycle/kustomization.facts.ts';
import { isStatusError } from '../../../machinery/status-error.ts';
import type { ControllerDependencies } from '../../../reconcile/dependencies.ts';
import { describeId, idOf } from '../objects/object-id.ts';
import { deletesObjects, labelsOf, timeoutMsOf } from '../plan/app-spec.ts';
import { type HeldPrune, nothingHeld } from '../records/attempt.ts';
import type { GitOpsMetrics } from '../status/gitops-metrics.ts';
import type { AppFeed } from '../status/redacted-feed.ts';
import type { PruneOutcome } from '../sync/pruner.ts';
import type { AppObject } from './app-object.ts';
import type { Outcome, Pass } from './pass.ts';
import { jittered, minRetryMs, retryDelayMs } from './retry.ts';
import { rememberPruned, summaryOf, tellPhase } from './tell.ts';

export interface PruneActOptions extends Pick<ControllerDependencies, 'clock' | 'recorder'> {
  readonly feed: AppFeed;
  readonly gitops: GitOpsMetrics;
  readonly object: AppObject;
  readonly random: () => number;
  /** Reads what earlier processes wrote of the app, unless that is done. */
  load(pass: Pass): Promise<void>;
}

/** Deletions for an app, as outcomes. */
export interface PruneAct {
  /** Deletes what the revision no longer names. */
  prune(pass: Pass): Promise<Outcome>;
  /**
   * A deletion was refused: that is reported and tried again, and what is in force stays so.
   *
   * @throws `err` when it is not an answer of the server, or the pass was given up
   */
  fail(pass: Pass, err: unknown): Outcome;
  /** Deletes what an app that goes owns, unless it keeps it, then lets its object go. */
  finalize(pass: Pass): Promise<Outcome>;
}

/** A deletion that is held back is looked at again at the latest after this time: what it waits for may be anybody's object. */
const maxHeldLookMs = 60_000;
/** Names of objects whose deletion an app waits for. */
const maxWaitsShown = 5;

export function createPruneAct({ clock, recorder, feed, gitops, object, random, load }: PruneActOptions): PruneAct {
  return { prune, fail, finalize };

  async function prune(pass: Pass): Promise<Outcome> {
    const { app, state, target, signal } = pass;
    if (state.ownership.doomed.size === 0) return { prune: settled(pass, nothingHeld) };
    if (!app.spec.prune) {
      disownAll(pass);
      return { prune: settled(pass, nothingHeld) };
    }
    const startedAt = clock.monotonicMs();
    const { revision, isRollback } = state.inForce;
    const pruned = await target.pruner.prune(app, state, { revision, guarded: true, isRevert: isRollback, signal });
    const { changes, blocked, remaining } = pruned;
    let { announced } = state;
    if (changes.length > 0 || blocked !== state.prune.blocked) {
      state.attempt.record?.add('prune', clock.monotonicMs() - startedAt, blocked === '' ? 'done' : 'failed');
      announced = tellPhase({ app, state, now: clock.now() }, pass.finding.reason);
    }
    if (changes.length > 0) announced = rememberPruned(announced, state.inForce.digest, changes);
    report(pass, pruned);
    return { announced, prune: settled(pass, heldAfter(state.prune, pruned)), deleting: remaining };
  }

  /** An app that does not prune leaves its objects to nobody. */
  function disownAll({ state, target }: Pass): void {
    for (const [id, { resource, ref }] of state.ownership.doomed) {
      if (resource !== undefined && ref !== undefined && !state.health.checks.has(id)) target.owned.disown(state.key, resource, ref);
      state.ownership.spare(id);
    }
  }

  /** The next look at what is held back: twice as long after each look at the same deletion. */
  function heldAfter(before: HeldPrune, { changes, blocked }: PruneOutcome): HeldPrune {
    if (blocked === '') return { ...before, blocked, looks: 0, lookAt: 0 };
    const looks = changes.length > 0 || approvalIn(blocked) !== approvalIn(before.blocked) ? 0 : before.looks;
    const lookMs = Math.min(maxHeldLookMs, minRetryMs * 2 ** Math.min(looks, 20));
    return { ...before, blocked, looks: looks + 1, lookAt: clock.monotonicMs() + lookMs };
  }

  function settled({ state }: Pass, held: HeldPrune): HeldPrune {
    return state.ownership.doomed.size === 0 ? { ...nothingHeld, failures: state.prune.failures } : held;
  }

  function report({ app, state }: Pass, { changes, blocked }: PruneOutcome): void {
    const { inForce } = state;
    const of = { at: clock.now(), app: app.metadata.name, sha: inForce.sha };
    if (changes.length > 0) {
      gitops.applied(labelsOf(app), 'pruned', changes.length);
      feed.add(app, { type: 'applied', ...of, changes, durationMs: clock.now() - inForce.appliedAt, rollback: inForce.isRollback });
      recorder.record(app, { type: 'Normal', reason: reasons.succeeded, message: summaryOf(changes, inForce.revision) });
    }
    // Other objects in the way are not another deletion: the approval says which one it is.
    if (blocked !== '' && approvalIn(blocked) !== approvalIn(state.prune.blocked)) {
      recorder.record(app, { type: 'Warning', reason: 'PruneBlocked', message: blocked });
      feed.add(app, { type: 'failed', ...of, errors: [`prune blocked: ${blocked}`] });
    }
  }

  function fail({ app, state, signal }: Pass, err: unknown): Outcome {
    if (signal.aborted || !isStatusError(err)) throw err;
    const failures = state.prune.failures + 1;
    const finding = { reason: reasons.pruneFailed, message: `prune failed: ${err.message}` };
    if (failures === 1) recorder.record(app, { type: 'Warning', ...finding });
    const { revision, generation } = state.inForce;
    const retryMs = jittered(retryDelayMs(app, failures), random());
    return {
      prune: { ...state.prune, failures },
      attempt: { ...state.attempt, failed: { revision, generation, failedAt: clock.monotonicMs(), failures, retryMs } },
      finding,
      event: { type: 'SYNC_FAILED' },
    };
  }

  async function finalize(pass: Pass): Promise<Outcome> {
    const { app, state } = pass;
    if (!(app.metadata.finalizers ?? []).includes(finalizers.flux)) return { finished: true };
    await load(pass);
    if (deletesObjects(app)) {
      // The app's own object goes when its finalizer is removed: the app must not wait for it.
      state.ownership.doomAll({ except: app.spec.kubeConfig === undefined ? idOf(app) : undefined });
      const outcome = await deleteOwned(pass);
      if ((outcome.deleting ?? 0) > 0) return outcome;
    }
    await object.letGo(app);
    return { finished: true };
  }

  /**
   * Objects that do not go in `spec.timeout` are left to whoever keeps them, as in Flux. A deletion that is refused is reported and tried
   * again.
   */
  async function deleteOwned(pass: Pass): Promise<Outcome> {
    const { app, state, target, signal } = pass;
    try {
      const { revision, isRollback } = state.inForce;
      const { remaining } = await target.pruner.prune(app, state, { revision, guarded: false, isRevert: isRollback, signal });
      const done = { prune: { ...state.prune, failures: 0 } };
      if (remaining === 0) return done;
      if (clock.now() - deletedAtOf(app) <= timeoutMsOf(app)) {
        const finding = { reason: reasons.progressing, message: `Deleting, waiting for: ${lingering(pass)}` };
        return { ...done, finding, deleting: remaining };
      }
      const message = `timeout waiting for deletion of: ${lingering(pass)}`;
      recorder.record(app, { type: 'Warning', reason: reasons.pruneFailed, message });
      return done;
    } catch (err) {
      if (signal.aborted || !isStatusError(err)) throw err;
      const failures = state.prune.failures + 1;
      const finding = { reason: reasons.pruneFailed, message: `prune failed: ${err.message}` };
      if (failures === 1) recorder.record(app, { type: 'Warning', ...finding });
      return { prune: { ...state.prune, failures }, finding, deleting: state.ownership.doomed.size };
    }
  }
}

/** Names the objects that are not deleted yet, with what holds them. */
function lingering({ state, target }: Pass): string {
  const { doomed } = state.ownership;
  const texts = [...doomed].slice(0, maxWaitsShown).map(([id, { resource, ref }]) => {
    const live = resource === undefined || ref === undefined ? undefined : target.owned.live(resource, ref);
    const held = live?.metadata.finalizers ?? [];
    return `${describeId(id)}${held.length === 0 ? '' : ` (finalizer ${held.join(', ')})`}`;
  });
  const more = doomed.size - texts.length;
  return [...texts, ...(more > 0 ? [`${more} more`] : [])].join('; ');
}

const deletedAtOf = ({ metadata }: Kustomization): number => Date.parse(metadata.deletionTimestamp ?? '');

/** The hash at the end of the sentence about a deletion that is held back. */
const approvalIn = (blocked: string): string => blocked.slice(blocked.lastIndexOf('=') + 1);

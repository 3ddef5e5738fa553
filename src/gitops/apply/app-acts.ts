import { createHash } from 'node:crypto';
import { namespaces } from '../../api/core/v1/namespace.ts';
import { parseDuration } from '../../api/flux.ts';
import { attemptsOf, withAttempt } from '../../api/kustomize/v1/attempt.ts';
import type { Kustomization } from '../../api/kustomize/v1/kustomization.ts';
import { annotations, finalizers } from '../../api/well-known.ts';
import type { ObjectChange } from '../../base/activity.ts';
import { timestampOf } from '../../base/clock.ts';
import type { Redactor } from '../../base/redactor.ts';
import { kustomizationReasons as reasons, waitsForHealth } from '../../lifecycle/kustomization.facts.ts';
import type { KustomizationEvent } from '../../lifecycle/kustomization.machine.ts';
import type { DynamicObject, ObjectRef } from '../../machinery/object.ts';
import type { Resource } from '../../machinery/resource.ts';
import { isStatusError } from '../../machinery/status-error.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import type { AppObject } from './app-object.ts';
import { generationSeen, type Pass } from './app-pass.ts';
import { type AppState, touchInventory } from './app-state.ts';
import { describeId, idOf, type ObjectId, tryParseId } from './objects/object-id.ts';
import type { PassingFailure } from './passing-failure.ts';
import { deletesObjects, labelsOf, timeoutMsOf } from './plan/app-spec.ts';
import { formatBuildError, messageOf, Superseded, SyncFailure } from './plan/sync-failure.ts';
import type { GitOpsMetrics } from './status/gitops-metrics.ts';
import { addToHistory, isRollback, judged, replaceInHistory, revertedBy, revertedSha } from './status/history.ts';
import { type AppFeed, redactedChange } from './status/redacted-feed.ts';
import { type AttemptRecord, startAttempt } from './sync/attempt.ts';
import { createDriftCorrection } from './sync/drift-correction.ts';
import type { Inventory } from './sync/inventory.ts';
import type { SyncOutcome } from './sync/syncer.ts';
import { contentOf } from './target/target.ts';

export interface AppActsOptions extends Pick<ControllerDependencies, 'clock' | 'log' | 'recorder'> {
  readonly inventory: Inventory;
  readonly object: AppObject;
  readonly feed: AppFeed;
  readonly redactor: Redactor;
  readonly gitops: GitOpsMetrics;
  readonly random: () => number;
  /** Tells whether a failure passes by itself. */
  passingFailure(pass: Pass, failure: SyncFailure): Promise<PassingFailure | undefined>;
  /** The app is looked at again. */
  enqueue(key: string): void;
}

/** The effects of an app's machine: each does one thing and adds to the pass what came of it. */
export interface AppActs {
  syncRevision(pass: Pass): Promise<void>;
  correctDrift(pass: Pass): Promise<void>;
  pruneObjects(pass: Pass): Promise<KustomizationEvent | undefined>;
  finalizeApp(pass: Pass): Promise<void>;
  tellPhase(pass: Pass, reason: string): void;
}

const minRetryMs = 1_000;
const maxRetryMs = 5 * 60_000;
/** Errors of one revision that the status shows. */
const maxErrorsShown = 20;
/** Names of objects that a wave waits for. */
const maxWaitsShown = 5;
/** One go at a revision; what takes longer is given up and tried again. */
const maxSyncMs = 10 * 60_000;
/** A deletion that is held back is looked at again at the latest after this time: what it waits for may be anybody's object. */
const maxHeldLookMs = 60_000;
/** Up to this share is added to the wait between tries, so that apps that failed together do not try together. */
const jitter = 0.1;

export function createAppActs({
  inventory,
  object,
  clock,
  log,
  recorder,
  feed,
  gitops,
  redactor,
  random,
  passingFailure,
  enqueue,
}: AppActsOptions): AppActs {
  const correctDrift = createDriftCorrection({ clock, recorder, feed, redactor, gitops });
  return { syncRevision, correctDrift, pruneObjects, finalizeApp, tellPhase };

  async function syncRevision(pass: Pass): Promise<void> {
    const { app, state, revision } = pass;
    if (revision === undefined) return;
    const startedAt = clock.monotonicMs();
    const trigger =
      state.sha === '' || state.revision !== revision.commit.revision ? 'commit' : state.attempted === undefined ? 'manual' : 'retry';
    const abort = new AbortController();
    const cancelDeadline = clock.after(maxSyncMs, () => abort.abort(new Error('the sync did not end in time')));
    const attempt =
      state.rollout?.revision === revision.commit.revision && state.attempt !== undefined
        ? state.attempt
        : startAttempt(revision, clock, gitops.phase);
    state.abortSync = abort;
    state.valuesChanged = false;
    try {
      await object.addFinalizer(app);
      if (!state.loaded) await inventory.load(app, state);
      const outcome = await pass.target.syncer.sync(app, state, attempt, AbortSignal.any([pass.signal, abort.signal]));
      if (outcome.waitsFor.length > 0) {
        waitForWave(pass, attempt, outcome);
        return;
      }
      const durationMs = clock.monotonicMs() - startedAt;
      const changed = outcome.changes.length > 0;
      const inForce = state.history.findLast(({ result }) => result === 'applied');
      // A tree that is looked at again is what it was, also after a restart.
      const rollback =
        inForce?.digest === outcome.digest ? inForce.rollback : isRollback(state.history, outcome.digest, revision.commit.message);
      const isNewTree = outcome.digest !== state.digest && state.history.at(-1)?.digest !== outcome.digest;
      const { attempted } = state;
      // A refused commit was taken back: what is in force stays, and is what Git says once more.
      const isBack = attempted !== undefined && attempted.revision !== revision.commit.revision && !changed && !isNewTree;
      const tries = attempted?.revision === revision.commit.revision ? attempted.failures + 1 : 1;
      state.isRollback = rollback;
      state.errors = [];
      state.attempted = undefined;
      letFail(pass, []);
      if (state.generation !== app.metadata.generation) for (const id of state.applied.keys()) state.healthDirty.add(id);
      state.sha = revision.commit.sha;
      state.revision = revision.commit.revision;
      state.tree = revision.commit.tree;
      state.digest = outcome.digest;
      state.generation = generationSeen(app, state);
      state.handledRequest = app.metadata.annotations?.[annotations.reconcileRequestedAt];
      if (changed || isNewTree) {
        state.seenAt = revision.seenAt;
        state.appliedAt = clock.now();
        state.waitsSince = state.appliedAt;
        state.announcedHealthy = false;
        state.isOverdue = false;
        state.announcedProblem = '';
        gitops.commitApplied(labelsOf(app), clock.now() - revision.seenAt);
      }
      if (isNewTree) for (const message of state.build?.notes ?? []) recorder.record(app, { type: 'Normal', reason: 'LeftOut', message });
      report(app, outcome.changes, outcome.unchanged);
      if (changed) {
        feed.add(app, {
          type: 'applied',
          at: clock.now(),
          app: app.metadata.name,
          sha: state.sha,
          changes: outcome.changes,
          durationMs,
          rollback,
        });
        recorder.record(app, { type: 'Normal', reason: reasons.succeeded, message: summaryOf(outcome.changes, revision.commit.revision) });
      }
      if (isNewTree && outcome.notes !== undefined && outcome.notes.length > 0) {
        const notes = outcome.notes.length > maxErrorsShown ? [...outcome.notes.slice(0, maxErrorsShown), '…'] : outcome.notes;
        recorder.record(app, { type: 'Warning', reason: 'HookNotSupported', message: notes.join('\n') });
      }
      if (attempted !== undefined && attempted.failures > 0 && !changed)
        feed.add(app, { type: 'recovered', at: clock.now(), app: app.metadata.name, sha: state.sha, from: 'failed' });
      if (rollback && isNewTree) gitops.rolledBack(labelsOf(app));
      gitops.synced(labelsOf(app), trigger, changed ? 'succeeded' : 'noop', durationMs);
      if (isNewTree || isBack) await remember(pass, 'applied', outcome.digest, outcome.changes, durationMs);
      pass.finding = waitsForHealth(app)
        ? { reason: reasons.progressing, message: `Applied revision: ${state.revision}, waiting for health` }
        : { reason: reasons.succeeded, message: `Applied revision: ${state.revision}` };
      if (changed || isNewTree || attempted !== undefined) {
        attempt.begin('health');
        tellAttempt(pass, attempt, { digest: outcome.digest, tries, reason: pass.finding.reason });
      }
      pass.learned.push({ type: 'APPLIED', waits: waitsForHealth(app) });
    } catch (err) {
      if (pass.signal.aborted) throw err;
      if (abort.signal.reason instanceof Superseded) {
        gitops.superseded(labelsOf(app));
        // It may have come half way: nothing is in force as a whole, even when the next revision is the one before.
        state.build = undefined;
        state.rollout = undefined;
        state.digest = '';
        pass.superseded = true;
        enqueue(state.key);
        return;
      }
      attempt.end('failed');
      const cause = abort.signal.aborted ? abort.signal.reason : err;
      await failed(pass, cause, { attempt, trigger, durationMs: clock.monotonicMs() - startedAt });
    } finally {
      cancelDeadline();
      state.abortSync = undefined;
    }
  }

  /** The revision is in force up to a wave; the rest comes when that is well. */
  function waitForWave(pass: Pass, attempt: AttemptRecord, { waitsFor, digest }: SyncOutcome): void {
    const { state } = pass;
    const shown =
      waitsFor.length > maxWaitsShown ? [...waitsFor.slice(0, maxWaitsShown), `${waitsFor.length - maxWaitsShown} more`] : waitsFor;
    state.errors = [];
    pass.finding = { reason: reasons.progressing, message: `Waiting for: ${shown.join('; ')}` };
    pass.learned.push({ type: 'WAVE_APPLIED' });
    if (state.attempt !== attempt)
      tellAttempt(pass, attempt, { digest, tries: (state.attempted?.failures ?? 0) + 1, reason: reasons.progressing });
  }

  async function failed(
    pass: Pass,
    err: unknown,
    go: { readonly attempt: AttemptRecord; readonly trigger: Parameters<GitOpsMetrics['synced']>[1]; readonly durationMs: number },
  ): Promise<void> {
    const { app, state } = pass;
    const { attempt, trigger, durationMs } = go;
    const { revision } = attempt;
    const failure = err instanceof SyncFailure ? err : new SyncFailure(reasons.failed, [{ file: '', message: messageOf(err) }]);
    const passing = await passingFailure(pass, failure);
    if (passing !== undefined) {
      waitForApp(pass, failure, { revision: revision.commit.revision, passing });
      return;
    }
    // Its digest is shown, too: that of a short value would give it away.
    const texts = failure.errors.map((error) => redactor.text(formatBuildError(error), state.key));
    const shown =
      texts.length > maxErrorsShown ? [...texts.slice(0, maxErrorsShown), `… and ${texts.length - maxErrorsShown} more`] : texts;
    const isRepeated = state.attempted?.revision === revision.commit.revision && state.attempted.generation === app.metadata.generation;
    const news = !isRepeated || pass.finding.message !== shown.join('\n');
    pass.finding = { reason: failure.reason, message: shown.join('\n') };
    pass.learned.push({ type: 'SYNC_FAILED' });
    state.errors = failure.errors;
    letFail(pass, failure.objects);
    state.rollout = undefined;
    const failures = isRepeated ? (state.attempted?.failures ?? 0) + 1 : 1;
    // A `retryInterval` of the app wins over the least wait of the error.
    const minMs = app.spec.retryInterval === undefined ? failure.minRetryMs : 0;
    const retryMs = Math.max(minMs, retryDelayMs(app, failures)) * (1 + jitter * random());
    state.attempted = {
      revision: revision.commit.revision,
      generation: generationSeen(app, state),
      failedAt: clock.monotonicMs(),
      failures,
      retryMs,
    };
    state.handledRequest = app.metadata.annotations?.[annotations.reconcileRequestedAt];
    tellAttempt(pass, attempt, {
      digest: '',
      tries: failures,
      reason: failure.reason,
      nextRetryAt: timestampOf(clock.now() + retryMs),
      failure: createHash('sha256').update(`${failure.reason}\n${pass.finding.message}`).digest('hex').slice(0, 16),
    });
    gitops.synced(labelsOf(app), trigger, 'failed', durationMs);
    gitops.applied(labelsOf(app), 'failed', failure.errors.length);
    if (!(err instanceof SyncFailure)) log.error({ kustomization: state.key, err }, 'Could not sync app');
    if (!news) return;
    feed.add(app, { type: 'failed', at: clock.now(), app: app.metadata.name, sha: revision.commit.sha, errors: shown });
    recorder.record(app, { type: 'Warning', ...pass.finding });
    await remember(pass, 'failed', '', [], durationMs);
  }

  /** Another app ends this failure: the app waits for it, and nothing is announced. */
  function waitForApp(
    pass: Pass,
    failure: SyncFailure,
    { revision, passing }: { readonly revision: string; readonly passing: PassingFailure },
  ): void {
    const { app, state } = pass;
    pass.finding = { reason: reasons.dependencyNotReady, message: passing.reason };
    pass.learned.push({ type: 'DEPENDENCY_NOT_READY' });
    letFail(pass, failure.objects);
    Object.assign(state, { errors: [], rollout: undefined, handledRequest: app.metadata.annotations?.[annotations.reconcileRequestedAt] });
    const generation = generationSeen(app, state);
    state.attempted = { revision, generation, failedAt: clock.monotonicMs(), failures: 0, retryMs: passing.retryMs };
  }

  /** Writes down how far a go at a revision came; the status says it with the next write. */
  function tellAttempt({ app, state }: Pass, attempt: AttemptRecord, outcome: Parameters<AttemptRecord['read']>[0]): void {
    state.attempt = attempt;
    state.snapshots = withAttempt(state.snapshots ?? app.status?.history ?? [], attempt.read(outcome), timestampOf(clock.now()));
  }

  /** The end of a phase after the sync: health, or a prune. */
  function tellPhase(pass: Pass, reason: string): void {
    const { attempt, snapshots, digest } = pass.state;
    if (attempt !== undefined) tellAttempt(pass, attempt, { digest, tries: snapshots?.[0]?.totalReconciliations ?? 1, reason });
  }

  async function remember(
    pass: Pass,
    result: 'applied' | 'failed',
    digest: string,
    changes: readonly ObjectChange[],
    durationMs: number,
  ): Promise<void> {
    const { app, state, revision } = pass;
    if (revision === undefined || !state.loaded) return;
    const { commit } = revision;
    const isRevert = result === 'applied' && (state.isRollback || revertedSha(commit.message) !== undefined);
    const revertOf = isRevert ? revertedBy(state.history, commit.message) : undefined;
    const attempts = attemptsOf({ status: { ...app.status, history: state.snapshots ?? app.status?.history ?? [] } });
    state.history = addToHistory(judged(state.history, attempts), {
      revision: commit.revision,
      digest,
      result,
      at: timestampOf(clock.now()),
      durationMs: Math.round(durationMs),
      author: commit.author,
      subject: commit.subject,
      rollback: isRevert,
      ...(revertOf === undefined ? {} : { revertOf }),
      changes,
    });
    await writeHistory(state, app);
  }

  /** What a revision took away is part of what it changed, though it comes last. */
  async function rememberPruned(state: AppState, app: Kustomization, changes: readonly ObjectChange[]): Promise<void> {
    const inForce = state.history.findLastIndex(({ result, digest }) => result === 'applied' && digest === state.digest);
    const entry = state.history[inForce];
    if (entry === undefined) return;
    state.history = replaceInHistory(state.history, inForce, { ...entry, changes: [...entry.changes, ...changes] });
    await writeHistory(state, app);
  }

  /** What is in force does not depend on the record of it. */
  async function writeHistory(state: AppState, app: Kustomization): Promise<void> {
    const redact = (text: string): string => redactor.text(text, state.key);
    await inventory
      .writeHistory(
        app,
        state.history.map((entry) => ({ ...entry, changes: entry.changes.map((change) => redactedChange(change, redact)) })),
      )
      .catch((err: unknown) => log.error({ kustomization: state.key, err }, 'Could not write history'));
  }

  /** A deletion that is refused is told and tried again; what is in force stays so. */
  async function pruneObjects(pass: Pass): Promise<KustomizationEvent | undefined> {
    const { app, state } = pass;
    try {
      await pruneDoomed(pass);
      state.pruneFailures = 0;
      return undefined;
    } catch (err) {
      if (pass.signal.aborted || !isStatusError(err)) throw err;
      state.pruneFailures += 1;
      state.attempted = {
        revision: state.revision,
        generation: state.generation,
        failedAt: clock.monotonicMs(),
        failures: state.pruneFailures,
        retryMs: retryDelayMs(app, state.pruneFailures) * (1 + jitter * random()),
      };
      pass.finding = { reason: reasons.pruneFailed, message: `prune failed: ${err.message}` };
      if (state.pruneFailures === 1) recorder.record(app, { type: 'Warning', ...pass.finding });
      return { type: 'SYNC_FAILED' };
    }
  }

  async function pruneDoomed(pass: Pass): Promise<void> {
    const { app, state, signal } = pass;
    if (state.doomed.size > 0) {
      if (app.spec.prune) {
        const startedAt = clock.monotonicMs();
        const { changes, blocked, remaining } = await pass.target.pruner.prune(app, state, {
          revision: state.revision,
          guarded: true,
          signal,
        });
        if (changes.length > 0 || blocked !== state.pruneBlocked) {
          state.attempt?.add('prune', clock.monotonicMs() - startedAt, blocked === '' ? 'done' : 'failed');
          tellPhase(pass, pass.finding.reason);
        }
        if (changes.length > 0) {
          gitops.applied(labelsOf(app), 'pruned', changes.length);
          await rememberPruned(state, app, changes);
          feed.add(app, {
            type: 'applied',
            at: clock.now(),
            app: app.metadata.name,
            sha: state.sha,
            changes,
            durationMs: clock.now() - state.appliedAt,
            rollback: state.isRollback,
          });
          recorder.record(app, { type: 'Normal', reason: reasons.succeeded, message: summaryOf(changes, state.revision) });
        }
        // Other objects in the way are not another deletion: the approval says which one it is.
        if (blocked !== '' && approvalIn(blocked) !== approvalIn(state.pruneBlocked)) {
          recorder.record(app, { type: 'Warning', reason: 'PruneBlocked', message: blocked });
          feed.add(app, { type: 'failed', at: clock.now(), app: app.metadata.name, sha: state.sha, errors: [`prune blocked: ${blocked}`] });
        }
        if (blocked === '' || changes.length > 0 || approvalIn(blocked) !== approvalIn(state.pruneBlocked)) state.heldLooks = 0;
        const lookMs = Math.min(maxHeldLookMs, minRetryMs * 2 ** Math.min(state.heldLooks, 20));
        state.lookAtHeldAt = blocked === '' ? 0 : clock.monotonicMs() + lookMs;
        if (blocked !== '') state.heldLooks += 1;
        state.pruneBlocked = blocked;
        pass.deleting = remaining;
      } else {
        for (const [id, { resource, ref }] of state.doomed) {
          if (resource !== undefined && ref !== undefined && !state.checks.has(id)) pass.target.owned.disown(state.key, resource, ref);
          state.doomed.delete(id);
          touchInventory(state);
        }
      }
    }
    if (state.doomed.size === 0) Object.assign(state, { pruneBlocked: '', heldLooks: 0, lookAtHeldAt: 0 });
    await inventory.write(app, state, { revision: state.revision });
  }

  /** Deletes what the app owns, unless it keeps it, then lets the object go. */
  async function finalizeApp(pass: Pass): Promise<void> {
    const { app, state } = pass;
    const left = app.metadata.finalizers ?? [];
    if (!left.includes(finalizers.flux)) {
      pass.finished = true;
      return;
    }
    if (!state.loaded) await inventory.load(app, state);
    if (deletesObjects(app)) {
      for (const [id, { desired, uid }] of state.applied) {
        state.doomed.set(id, { version: desired.resource.version, uid, resource: desired.resource, ref: desired.ref });
      }
      for (const [id, { resource, ref }] of [...state.pending, ...state.hookObjects]) {
        if (state.doomed.has(id)) continue;
        state.doomed.set(id, { version: resource.version, uid: undefined, resource, ref });
      }
      state.pending.clear();
      state.hookObjects.clear();
      state.applied.clear();
      // It goes by letting go: waited for, it would never.
      if (app.spec.kubeConfig === undefined) state.doomed.delete(idOf(app));
      touchInventory(state);
      pass.deleting = await deleteOwned(pass);
      if (pass.deleting > 0) return;
    }
    pass.finished = true;
    await object.letGo(app);
  }

  /**
   * How many objects the app still waits for. Those that do not go in `spec.timeout` are left to whoever keeps them, as in Flux; a deletion that
   * is refused is told and tried again.
   */
  async function deleteOwned(pass: Pass): Promise<number> {
    const { app, state, target, signal } = pass;
    try {
      const { remaining } = await target.pruner.prune(app, state, { revision: state.revision, guarded: false, signal });
      state.pruneFailures = 0;
      if (remaining === 0) return 0;
      pass.finding = { reason: reasons.progressing, message: `Deleting, waiting for: ${lingering(pass)}` };
      if (clock.now() - Date.parse(app.metadata.deletionTimestamp ?? '') <= timeoutMsOf(app)) return remaining;
      recorder.record(app, {
        type: 'Warning',
        reason: reasons.pruneFailed,
        message: `timeout waiting for deletion of: ${lingering(pass)}`,
      });
      return 0;
    } catch (err) {
      if (signal.aborted || !isStatusError(err)) throw err;
      state.pruneFailures += 1;
      pass.finding = { reason: reasons.pruneFailed, message: `prune failed: ${err.message}` };
      if (state.pruneFailures === 1) recorder.record(app, { type: 'Warning', ...pass.finding });
      return state.doomed.size;
    }
  }

  /** What is not deleted yet, with what holds it. */
  function lingering({ state, target }: Pass): string {
    const texts = [...state.doomed].slice(0, maxWaitsShown).map(([id, { resource, ref }]) => {
      const live = resource === undefined || ref === undefined ? undefined : target.owned.live(resource, ref);
      const held = live?.metadata.finalizers ?? [];
      return `${describeId(id)}${held.length === 0 ? '' : ` (finalizer ${held.join(', ')})`}`;
    });
    const more = state.doomed.size - texts.length;
    return [...texts, ...(more > 0 ? [`${more} more`] : [])].join('; ');
  }

  function report(app: Kustomization, changes: readonly ObjectChange[], unchanged: number): void {
    const labels = labelsOf(app);
    for (const action of ['created', 'configured'] as const) {
      const count = changes.filter((change) => change.action === action).length;
      if (count > 0) gitops.applied(labels, action, count);
    }
    if (unchanged > 0) gitops.applied(labels, 'unchanged', unchanged);
  }

  /** Notes the objects that keep the revision from being in force, as they are. A Namespace of others is followed only meanwhile. */
  function letFail({ state, target: { owned } }: Pass, ids: Iterable<ObjectId>): void {
    const known = (id: ObjectId) =>
      state.applied.get(id)?.desired ?? state.rollout?.plan.objects.get(id) ?? state.pending.get(id) ?? state.doomed.get(id);
    const failing = new Map<ObjectId, string>();
    for (const id of ids) {
      const { resource, ref } = known(id) ?? namespaceOf(id) ?? {};
      failing.set(id, contentOf(resource === undefined || ref === undefined ? undefined : owned.live(resource, ref)));
    }
    for (const id of state.failing.keys()) {
      const namespace = namespaceOf(id);
      if (namespace !== undefined && known(id) === undefined && !failing.has(id) && !state.checks.has(id))
        owned.disown(state.key, namespace.resource, namespace.ref);
    }
    state.failing = failing;
  }
}

function namespaceOf(id: ObjectId): { readonly resource: Resource<DynamicObject>; readonly ref: ObjectRef } | undefined {
  const parsed = tryParseId(id);
  if (parsed?.kind !== namespaces.kind || parsed.group !== namespaces.group) return undefined;
  return { resource: namespaces as unknown as Resource<DynamicObject>, ref: parsed.ref };
}

/** The hash at the end of the sentence about a deletion that is held back. */
const approvalIn = (blocked: string): string => blocked.slice(blocked.lastIndexOf('=') + 1);

export function retryDelayMs({ spec }: Kustomization, failures: number): number {
  return spec.retryInterval === undefined
    ? Math.min(maxRetryMs, minRetryMs * 2 ** Math.min(failures - 1, 20))
    : Math.max(minRetryMs, parseDuration(spec.retryInterval));
}

function summaryOf(changes: readonly ObjectChange[], revision: string): string {
  const shown = changes
    .slice(0, 10)
    .map(({ action, object, fields }) => `${object} ${action}${fields.length === 0 ? '' : ` (${fields.join(', ')})`}`);
  return `${shown.join('\n')}${changes.length > shown.length ? `\n… and ${changes.length - shown.length} more` : ''}\nrevision ${revision}`;
}

import { parseDuration } from '../../api/flux.ts';
import { withAttempt } from '../../api/kustomize/v1/attempt.ts';
import { type Kustomization, kustomizations } from '../../api/kustomize/v1/kustomization.ts';
import { annotations, finalizers } from '../../api/well-known.ts';
import type { ActivityFeed, ObjectChange } from '../../base/activity.ts';
import { timestampOf } from '../../base/clock.ts';
import type { Informer } from '../../client/informer.ts';
import type { Finding } from '../../lifecycle/flux-conditions.ts';
import { failedOnHealth, type KustomizationState, kustomizationReasons as reasons, stateOf } from '../../lifecycle/kustomization.facts.ts';
import { type KustomizationEvent, kustomizationMachine } from '../../lifecycle/kustomization.machine.ts';
import type { Health } from '../../lifecycle/reasons.ts';
import { deepEqual, keyOf, refOf } from '../../machinery/object.ts';
import { isNotFound } from '../../machinery/status-error.ts';
import { type Controller, createController, type Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { advance } from '../../reconcile/effects.ts';
import type { Builder } from '../build/builder.ts';
import { createAppHealth } from './app-health.ts';
import { dependencyCycle, dependencyKeys, labelsOf, sourceKeyOf, unsupportedIn } from './app-spec.ts';
import { type AppState, newAppState, touchInventory } from './app-state.ts';
import { metricsStateOf, statusChange } from './app-status.ts';
import { type AttemptRecord, startAttempt } from './attempt.ts';
import { createClaims } from './claims.ts';
import { createDriftWatch } from './drift.ts';
import { fieldManager } from './fields.ts';
import type { AppMetricsState, GitOpsMetrics } from './gitops-metrics.ts';
import { addToHistory, isRollback, revertedBy } from './history.ts';
import { createInventory } from './inventory.ts';
import { createOwnedObjects } from './owned-objects.ts';
import { createAppBuilder } from './post-build.ts';
import { createPruner } from './pruner.ts';
import type { KnownRevision, RevisionStore } from './repository-controller.ts';
import { createResourceMapper } from './resource-mapper.ts';
import { watchSubstitutes } from './substitutes.ts';
import { formatBuildError, Superseded, SyncFailure } from './sync-failure.ts';
import { createSyncer } from './syncer.ts';

export interface AppControllerOptions extends ControllerDependencies {
  readonly builder: Builder;
  readonly revisions: RevisionStore;
  readonly feed: ActivityFeed;
  readonly gitops: GitOpsMetrics;
}

export interface AppController extends Controller {
  /** A source has another commit: its apps are looked at, and what they were doing for an older one is given up. */
  revisionChanged(sourceKey: string): void;
  /** For the state families at a scrape. */
  metricsStates(): Iterable<AppMetricsState>;
}

const bySource = 'gitops-source';
const byDependency = 'gitops-dependency';
const defaultTimeoutMs = 10 * 60_000;
const maxRetryMs = 5 * 60_000;
/** Deletions that wait for finalizers are looked at this often, beside the event of their end. */
const recheckDeletionMs = 1_000;
/** Errors of one revision that the status shows. */
const maxErrorsShown = 20;

/** Keeps apps what their commits say: one reconcile is observe, decide, act, health, status. */
export function createAppController(options: AppControllerOptions): AppController {
  const { client, informers, clock, log, recorder, metrics, steps, builder, revisions, feed, gitops } = options;
  const apps: Informer<Kustomization> = informers.get(kustomizations);
  apps.addIndex(bySource, sourceIndex);
  apps.addIndex(byDependency, dependencyIndex);
  const states = new Map<string, AppState>();
  const mapper = createResourceMapper({ client, clock });
  const inventory = createInventory({ client });
  const appBuilder = createAppBuilder({ client, builder });
  const claims = createClaims({ apps, builder: appBuilder, revisions, bySource });

  const controller = createController({
    name: 'kustomization',
    clock,
    log,
    workers: 8,
    reconcile,
    waitForSync: informers.waitForSync,
    observer: metrics.observerOf('kustomization'),
  });

  const drift = createDriftWatch({
    clock,
    recorder,
    live: (resource, ref) => owned.live(resource, ref),
    onDrift: (key) => controller.enqueue(key),
  });
  const owned = createOwnedObjects({
    informers,
    onChange({ app, id, object, direct }) {
      const state = states.get(app);
      if (state === undefined) return;
      state.healthDirty.add(id);
      if (direct) drift.observe(state, id, object);
      controller.enqueue(app);
    },
  });
  const syncer = createSyncer({
    client,
    builder: appBuilder,
    mapper,
    owned,
    inventory,
    recorder,
    waitForCaches: (signal) => informers.waitForSync({ signal }),
    claims,
    recheck: drift.recheck,
  });
  const pruner = createPruner({ client, mapper, owned, claims });
  const appHealth = createAppHealth({ clock, owned, feed, gitops });

  apps.addHandler(({ before, after }) => {
    const object = after ?? before;
    if (object === undefined) return;
    const key = keyOf(object);
    if (before === undefined || after === undefined || isNews(before, after)) {
      claims.invalidate();
      controller.enqueue(key);
    }
    for (const dependent of apps.byIndex(byDependency, key)) controller.enqueue(keyOf(dependent));
  });

  watchSubstitutes({
    apps,
    informers,
    onChange(key) {
      const state = states.get(key);
      // The variables are part of what the spec says: a change counts as one of the spec.
      if (state !== undefined) {
        state.generation = -1;
        state.attempted = undefined;
      }
      claims.invalidate();
      controller.enqueue(key);
    },
  });

  return {
    ...controller,
    get depth() {
      return controller.depth;
    },
    get active() {
      return controller.active;
    },
    revisionChanged(sourceKey) {
      for (const app of apps.byIndex(bySource, sourceKey)) {
        const key = keyOf(app);
        states.get(key)?.abortSync?.abort(new Superseded());
        controller.enqueue(key);
      }
    },
    *metricsStates() {
      for (const app of apps.list()) yield metricsStateOf(app, states.get(keyOf(app)), owned);
    },
  };

  async function reconcile(key: string, { signal }: { readonly signal: AbortSignal }): Promise<Result | undefined> {
    const app = apps.getByKey(key);
    if (app === undefined) {
      forget(key);
      return undefined;
    }
    const state = states.get(key) ?? newAppState(key);
    states.set(key, state);
    gitops.appSeen(labelsOf(app).namespace, app.metadata.name);
    const pass = newPass(app, state, signal);

    // 1. Observe and decide; the effects act and add what they learned.
    const machine = kustomizationMachine;
    const observed = await advance({ machine, key, from: stateOf(app), events: observe(pass), effects: effectsOf(pass), steps });
    if (pass.finished) return undefined;
    // 2. Health of what is in force, then what follows from both.
    const health = appHealth.current(state);
    const settled = await advance({
      machine,
      key,
      from: observed.value,
      events: follow(pass, observed.value, health),
      effects: effectsOf(pass),
      steps,
    });
    // 3. Tell: activity, then status, in one place.
    appHealth.announce(app, state, health);
    await writeStatus(pass, settled.value, health);
    return nextLook(pass, settled.value);
  }

  interface Pass {
    readonly app: Kustomization;
    readonly state: AppState;
    readonly signal: AbortSignal;
    readonly revision: KnownRevision | undefined;
    finding: Finding;
    readonly learned: KustomizationEvent[];
    /** The object is gone or will be looked at anew: no status is written. */
    finished: boolean;
    superseded: boolean;
    deleting: number;
  }

  function newPass(app: Kustomization, state: AppState, signal: AbortSignal): Pass {
    const ready = app.status?.conditions?.find(({ type }) => type === 'Ready');
    return {
      app,
      state,
      signal,
      revision: revisions.get(sourceKeyOf(app)),
      // What is not found out anew stays as it was said.
      finding: { reason: ready?.reason ?? reasons.progressing, message: ready?.message ?? '' },
      learned: [],
      finished: false,
      superseded: false,
      deleting: 0,
    };
  }

  function* observe(pass: Pass): Iterable<KustomizationEvent> {
    const { app, state, revision } = pass;
    if (app.metadata.deletionTimestamp !== undefined) {
      yield { type: 'DELETED' };
      return;
    }
    if (app.spec.suspend === true) {
      yield { type: 'SUSPENDED' };
      return;
    }
    yield { type: 'RESUMED' };
    const unsupported = unsupportedIn(app);
    const cycle = unsupported === undefined ? dependencyCycle(app, (key) => apps.getByKey(key)) : undefined;
    if (unsupported !== undefined || cycle !== undefined) {
      pass.finding =
        unsupported !== undefined
          ? { reason: reasons.notSupported, message: `not supported: ${unsupported}` }
          : { reason: 'DependencyCycle', message: `dependsOn goes in a circle: ${cycle?.join(' → ')}` };
      yield { type: 'SPEC_REJECTED' };
      return;
    }
    if (revision === undefined) {
      pass.finding = { reason: reasons.artifactFailed, message: `Source artifact not found, retrying: ${sourceKeyOf(app)}` };
      yield { type: 'SOURCE_MISSING' };
      return;
    }
    const waitsFor = dependencyKeys(app).find((key) => !isReadyAt(apps.getByKey(key), app, revision));
    if (waitsFor !== undefined) {
      pass.finding = { reason: reasons.dependencyNotReady, message: `dependency '${waitsFor}' is not ready` };
      yield { type: 'DEPENDENCY_NOT_READY' };
      return;
    }
    if (isOutOfDate(app, state, revision)) yield { type: 'OUT_OF_DATE' };
    else if (state.drifts.size > 0) yield { type: 'DRIFTED' };
  }

  function effectsOf(pass: Pass) {
    return {
      syncRevision: () => syncRevision(pass),
      correctDrift: () => correctDrift(pass),
      pruneObjects: () => pruneObjects(pass),
      finalizeApp: () => finalizeApp(pass),
    };
  }

  async function syncRevision(pass: Pass): Promise<void> {
    const { app, state, revision } = pass;
    if (revision === undefined) return;
    const startedAt = clock.monotonicMs();
    const trigger =
      state.sha === '' || state.revision !== revision.commit.revision ? 'commit' : state.attempted === undefined ? 'manual' : 'retry';
    const abort = new AbortController();
    const attempt = startAttempt(revision, clock);
    state.abortSync = abort;
    try {
      await addFinalizer(app);
      if (!state.loaded) await inventory.load(app, state);
      const outcome = await syncer.sync(app, state, attempt, AbortSignal.any([pass.signal, abort.signal]));
      const durationMs = clock.monotonicMs() - startedAt;
      const changed = outcome.changes.length > 0;
      const rollback = isRollback(state.history, outcome.digest, revision.commit.message);
      const isNewTree = outcome.digest !== state.digest && state.history.at(-1)?.digest !== outcome.digest;
      const { attempted } = state;
      const tries = attempted?.revision === revision.commit.revision ? attempted.failures + 1 : 1;
      state.isRollback = rollback;
      state.errors = [];
      state.attempted = undefined;
      state.sha = revision.commit.sha;
      state.revision = revision.commit.revision;
      state.digest = outcome.digest;
      state.generation = app.metadata.generation ?? 0;
      state.handledRequest = app.metadata.annotations?.[annotations.reconcileRequestedAt];
      if (changed || isNewTree) {
        state.seenAt = revision.seenAt;
        state.appliedAt = clock.now();
        state.announcedHealthy = false;
        gitops.commitApplied(labelsOf(app), clock.now() - revision.seenAt);
      }
      report(app, outcome.changes, outcome.unchanged);
      if (changed) {
        feed.add({
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
      if (rollback && isNewTree) gitops.rolledBack(labelsOf(app));
      gitops.synced(labelsOf(app), trigger, changed ? 'succeeded' : 'noop', durationMs);
      if (isNewTree) await remember(pass, 'applied', outcome.digest, outcome.changes, durationMs);
      pass.finding = waits(app)
        ? { reason: reasons.progressing, message: `Applied revision: ${state.revision}, waiting for health` }
        : { reason: reasons.succeeded, message: `Applied revision: ${state.revision}` };
      if (changed || isNewTree || attempted !== undefined) {
        attempt.begin('health');
        tellAttempt(pass, attempt, { digest: outcome.digest, tries, reason: pass.finding.reason });
      }
      pass.learned.push({ type: 'APPLIED', waits: waits(app) });
    } catch (err) {
      if (pass.signal.aborted) throw err;
      if (abort.signal.aborted) {
        gitops.superseded(labelsOf(app));
        // It may have come half way: nothing is in force as a whole, even when the next revision is the one before.
        state.build = undefined;
        state.digest = '';
        pass.superseded = true;
        controller.enqueue(state.key);
        return;
      }
      attempt.end('failed');
      await failed(pass, err, { attempt, trigger, durationMs: clock.monotonicMs() - startedAt });
    } finally {
      state.abortSync = undefined;
    }
  }

  async function failed(
    pass: Pass,
    err: unknown,
    go: { readonly attempt: AttemptRecord; readonly trigger: Parameters<GitOpsMetrics['synced']>[1]; readonly durationMs: number },
  ): Promise<void> {
    const { app, state } = pass;
    const { attempt, trigger, durationMs } = go;
    const { revision } = attempt;
    const failure =
      err instanceof SyncFailure
        ? err
        : new SyncFailure(reasons.failed, [{ file: '', message: err instanceof Error ? messageOf(err) : String(err) }]);
    const texts = failure.errors.map(formatBuildError);
    const shown =
      texts.length > maxErrorsShown ? [...texts.slice(0, maxErrorsShown), `… and ${texts.length - maxErrorsShown} more`] : texts;
    const isRepeated = state.attempted?.revision === revision.commit.revision && state.attempted.generation === app.metadata.generation;
    const news = !isRepeated || pass.finding.message !== shown.join('\n');
    pass.finding = { reason: failure.reason, message: shown.join('\n') };
    pass.learned.push({ type: 'SYNC_FAILED' });
    state.errors = failure.errors;
    state.attempted = {
      revision: revision.commit.revision,
      generation: app.metadata.generation ?? 0,
      failedAt: clock.monotonicMs(),
      failures: isRepeated ? (state.attempted?.failures ?? 0) + 1 : 1,
    };
    state.handledRequest = app.metadata.annotations?.[annotations.reconcileRequestedAt];
    const { failures } = state.attempted;
    tellAttempt(pass, attempt, {
      digest: '',
      tries: failures,
      reason: failure.reason,
      nextRetryAt: timestampOf(clock.now() + retryDelayMs(app, failures)),
    });
    gitops.synced(labelsOf(app), trigger, 'failed', durationMs);
    gitops.applied(labelsOf(app), 'failed', failure.errors.length);
    if (!(err instanceof SyncFailure)) log.error({ kustomization: state.key, err }, 'Could not sync app');
    if (!news) return;
    feed.add({ type: 'failed', at: clock.now(), app: app.metadata.name, sha: revision.commit.sha, errors: shown });
    recorder.record(app, { type: 'Warning', ...pass.finding });
    await remember(pass, 'failed', '', [], durationMs);
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
    const revertOf = state.isRollback ? revertedBy(state.history, commit.message) : undefined;
    state.history = addToHistory(state.history, {
      revision: commit.revision,
      digest,
      result,
      at: timestampOf(clock.now()),
      durationMs: Math.round(durationMs),
      author: commit.author,
      subject: commit.subject,
      rollback: state.isRollback,
      ...(revertOf === undefined ? {} : { revertOf }),
      changes,
    });
    // What is in force does not depend on the record of it.
    await inventory
      .writeHistory(app, state.history)
      .catch((err: unknown) => log.error({ kustomization: state.key, err }, 'Could not write history'));
  }

  async function correctDrift(pass: Pass): Promise<void> {
    const { app, state, signal } = pass;
    const policy = app.metadata.annotations?.[annotations.drift] ?? 'correct';
    for (const found of [...state.drifts.values()]) {
      if (policy === 'ignore') state.drifts.delete(found.id);
      if (policy !== 'correct') continue;
      const applied = state.applied.get(found.id);
      if (applied === undefined) {
        state.drifts.delete(found.id);
        continue;
      }
      if (drift.isFight(app, state, found)) continue;
      const startedAt = clock.now();
      const { kind } = applied.desired.object;
      const object = `${kind} ${applied.desired.ref.namespace === undefined ? '' : `${applied.desired.ref.namespace}/`}${applied.desired.ref.name}`;
      const entry = { type: 'drift' as const, app: app.metadata.name, object, change: found.change, by: found.by };
      try {
        await syncer.heal(app, state, applied.desired, signal);
        gitops.driftCorrected(labelsOf(app), kind);
        gitops.synced(labelsOf(app), 'drift', 'succeeded', clock.now() - startedAt);
        recorder.record(app, {
          type: 'Normal',
          reason: 'DriftCorrected',
          message: `${object}: ${found.change}${found.by === '' ? '' : ` by ${found.by}`}, put back`,
        });
        feed.add({ ...entry, at: clock.now(), healed: true, durationMs: clock.now() - found.detectedAt });
      } catch (err) {
        if (signal.aborted) throw err;
        gitops.synced(labelsOf(app), 'drift', 'failed', clock.now() - startedAt);
        feed.add({ ...entry, at: clock.now(), healed: false, durationMs: clock.now() - found.detectedAt });
        throw new Error(`put back ${object}`, { cause: err });
      }
    }
  }

  async function pruneObjects(pass: Pass): Promise<void> {
    const { app, state, signal } = pass;
    if (state.doomed.size > 0) {
      if (app.spec.prune) {
        const startedAt = clock.monotonicMs();
        const { changes, blocked, remaining } = await pruner.prune(app, state, { revision: state.revision, guarded: true, signal });
        if (changes.length > 0 || blocked !== state.pruneBlocked) {
          state.attempt?.add('prune', clock.monotonicMs() - startedAt, blocked === '' ? 'done' : 'failed');
          tellPhase(pass, pass.finding.reason);
        }
        if (changes.length > 0) {
          gitops.applied(labelsOf(app), 'pruned', changes.length);
          feed.add({
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
        if (blocked !== '' && blocked !== state.pruneBlocked) {
          recorder.record(app, { type: 'Warning', reason: 'PruneBlocked', message: blocked });
          feed.add({ type: 'failed', at: clock.now(), app: app.metadata.name, sha: state.sha, errors: [`prune blocked: ${blocked}`] });
        }
        state.pruneBlocked = blocked;
        pass.deleting = blocked === '' ? remaining : 0;
      } else {
        for (const [id, { resource, ref }] of state.doomed) {
          if (resource !== undefined && ref !== undefined) owned.disown(state.key, resource, ref);
          state.doomed.delete(id);
          touchInventory(state);
        }
      }
    } else state.pruneBlocked = '';
    await inventory.write(app, state, { revision: state.revision });
  }

  /** Deletes what the app owns, unless it keeps it, then lets the object go. */
  async function finalizeApp(pass: Pass): Promise<void> {
    const { app, state, signal } = pass;
    const left = app.metadata.finalizers ?? [];
    if (!left.includes(finalizers.flux)) {
      pass.finished = true;
      return;
    }
    const policy = app.spec.deletionPolicy ?? 'MirrorPrune';
    const deletes = policy === 'Orphan' || app.spec.suspend === true ? false : policy === 'MirrorPrune' ? app.spec.prune : true;
    if (!state.loaded) await inventory.load(app, state);
    if (deletes) {
      for (const [id, { desired, uid }] of state.applied) {
        state.doomed.set(id, { version: desired.resource.version, uid, resource: desired.resource, ref: desired.ref });
      }
      state.applied.clear();
      touchInventory(state);
      const { remaining } = await pruner.prune(app, state, { revision: state.revision, guarded: false, signal });
      pass.deleting = remaining;
      if (remaining > 0) return;
    }
    pass.finished = true;
    try {
      await client.patch(
        kustomizations,
        refOf(state.key),
        {
          type: 'merge',
          body: {
            metadata: { resourceVersion: app.metadata.resourceVersion, finalizers: left.filter((name) => name !== finalizers.flux) },
          },
        },
        { fieldManager },
      );
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }

  async function addFinalizer(app: Kustomization): Promise<void> {
    const present = app.metadata.finalizers ?? [];
    if (present.includes(finalizers.flux)) return;
    await client.patch(
      kustomizations,
      refOf(keyOf(app)),
      { type: 'merge', body: { metadata: { uid: app.metadata.uid, finalizers: [...present, finalizers.flux] } } },
      { fieldManager },
    );
  }

  function* follow(pass: Pass, from: KustomizationState, health: Health): Iterable<KustomizationEvent> {
    const { app, state, learned, finding } = pass;
    yield* learned;
    if (state.attempt?.current === 'health' && (health.status === 'Healthy' || state.applied.size === 0)) {
      state.attempt.end();
      tellPhase(pass, reasons.succeeded);
    }
    const applied = learned.some(({ type }) => type === 'APPLIED');
    const isWaiting = from === 'Progressing' || (applied && waits(app));
    if (!isWaiting && !(from === 'Failed' && failedOnHealth(app) && state.errors.length === 0)) return;
    if (health.status === 'Healthy') {
      Object.assign(finding, { reason: reasons.succeeded, message: `Applied revision: ${state.revision}` });
      yield { type: 'BECAME_HEALTHY' };
    } else if (from === 'Progressing' && state.appliedAt > 0 && clock.now() - state.appliedAt > timeoutMsOf(app)) {
      Object.assign(finding, { reason: reasons.healthCheckFailed, message: health.reason });
      state.attempt?.end('failed');
      tellPhase(pass, reasons.healthCheckFailed);
      yield { type: 'HEALTH_DEADLINE_PASSED' };
    }
  }

  async function writeStatus(
    { app, state, finding, revision, superseded }: Pass,
    value: KustomizationState,
    health: Health,
  ): Promise<void> {
    if (superseded) return;
    const status = statusChange({
      app,
      state,
      value,
      finding,
      health,
      attempted: revision?.commit.revision,
      now: timestampOf(clock.now()),
    });
    if (status === undefined) return;
    try {
      await client.patch(kustomizations, refOf(state.key), { type: 'merge', body: { status } }, { subresource: 'status', fieldManager });
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }

  function nextLook({ app, state, deleting, superseded }: Pass, value: KustomizationState): Result | undefined {
    if (superseded) return undefined;
    if (deleting > 0) return { requeueAfterMs: recheckDeletionMs };
    if (value === 'Progressing' && state.appliedAt > 0) {
      return { requeueAfterMs: Math.max(1_000, timeoutMsOf(app) - (clock.now() - state.appliedAt) + 100) };
    }
    if (state.attempted !== undefined && value !== 'Suspended' && value !== 'Deleting') {
      const waited = clock.monotonicMs() - state.attempted.failedAt;
      return { requeueAfterMs: Math.max(0, retryDelayMs(app, state.attempted.failures) - waited) };
    }
    const fightMs = drift.retryAfterMs(state);
    if (fightMs !== undefined) return { requeueAfterMs: fightMs };
    const againMs = appHealth.announceAgainAfterMs(state);
    return againMs === undefined ? undefined : { requeueAfterMs: againMs };
  }

  function isOutOfDate(app: Kustomization, state: AppState, { commit }: KnownRevision): boolean {
    const generation = app.metadata.generation ?? 0;
    const { attempted } = state;
    const request = app.metadata.annotations?.[annotations.reconcileRequestedAt];
    if (request !== undefined && request !== state.handledRequest && request !== app.status?.lastHandledReconcileAt) return true;
    if (attempted !== undefined) {
      // Also when the branch went back to what is in force: that has to be said, and what came half way has to be undone.
      if (attempted.revision !== commit.revision || attempted.generation !== generation) return true;
      return clock.monotonicMs() - attempted.failedAt >= retryDelayMs(app, attempted.failures) - 5;
    }
    if (state.digest === '' || state.revision !== commit.revision || state.generation !== generation) return true;
    const value = stateOf(app);
    if (value === 'Waiting' || value === 'New' || value === 'Stalled') return true;
    if (state.doomed.size === 0 || value !== 'Ready') return false;
    return state.pruneBlocked === '' || state.pruneBlocked.endsWith(`=${app.metadata.annotations?.[annotations.approvePrune]}`);
  }

  /** A dependency counts when it is ready at its newest spec and, coming from the same source, at the same revision. */
  function isReadyAt(dependency: Kustomization | undefined, app: Kustomization, { commit }: KnownRevision): boolean {
    if (dependency === undefined) return false;
    const ready = dependency.status?.conditions?.find(({ type }) => type === 'Ready');
    if (ready?.status !== 'True' || dependency.status?.observedGeneration !== dependency.metadata.generation) return false;
    return sourceKeyOf(dependency) !== sourceKeyOf(app) || dependency.status?.lastAppliedRevision === commit.revision;
  }

  function forget(key: string): void {
    const state = states.get(key);
    if (state === undefined) return;
    for (const { desired } of state.applied.values()) owned.disown(key, desired.resource, desired.ref);
    states.delete(key);
  }

  function report(app: Kustomization, changes: readonly ObjectChange[], unchanged: number): void {
    const labels = labelsOf(app);
    for (const action of ['created', 'configured'] as const) {
      const count = changes.filter((change) => change.action === action).length;
      if (count > 0) gitops.applied(labels, action, count);
    }
    if (unchanged > 0) gitops.applied(labels, 'unchanged', unchanged);
  }
}

const waits = ({ spec }: Kustomization): boolean => spec.wait === true || (spec.healthChecks?.length ?? 0) > 0;
const timeoutMsOf = ({ spec }: Kustomization): number => (spec.timeout === undefined ? defaultTimeoutMs : parseDuration(spec.timeout));

function retryDelayMs({ spec }: Kustomization, failures: number): number {
  return spec.retryInterval === undefined
    ? Math.min(maxRetryMs, 1_000 * 2 ** Math.min(failures - 1, 20))
    : parseDuration(spec.retryInterval);
}

function summaryOf(changes: readonly ObjectChange[], revision: string): string {
  const shown = changes
    .slice(0, 10)
    .map(({ action, object, fields }) => `${object} ${action}${fields.length === 0 ? '' : ` (${fields.join(', ')})`}`);
  return `${shown.join('\n')}${changes.length > shown.length ? `\n… and ${changes.length - shown.length} more` : ''}\nrevision ${revision}`;
}

/** The chain of causes, which reads like a path. */
function messageOf(err: Error): string {
  const parts: string[] = [];
  for (let cause: unknown = err; cause instanceof Error && parts.length < 5; cause = cause.cause) parts.push(cause.message);
  return parts.join(': ');
}

function sourceIndex(app: Kustomization): readonly string[] {
  return [sourceKeyOf(app)];
}

function dependencyIndex(app: Kustomization): readonly string[] {
  return dependencyKeys(app);
}

function isNews(before: Kustomization, after: Kustomization): boolean {
  return (
    before.metadata.generation !== after.metadata.generation ||
    before.metadata.deletionTimestamp !== after.metadata.deletionTimestamp ||
    !deepEqual(before.metadata.annotations, after.metadata.annotations)
  );
}

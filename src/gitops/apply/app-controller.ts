import { createHash } from 'node:crypto';
import { isDuration, parseDuration } from '../../api/flux.ts';
import { withAttempt } from '../../api/kustomize/v1/attempt.ts';
import { type Hold, holdAnnotations, holdOf } from '../../api/kustomize/v1/hold.ts';
import { type Kustomization, type KustomizationStatus, kustomizations } from '../../api/kustomize/v1/kustomization.ts';
import { annotations, finalizers } from '../../api/well-known.ts';
import type { ActivityFeed, ObjectChange } from '../../base/activity.ts';
import { timestampOf } from '../../base/clock.ts';
import { untilAborted } from '../../base/concurrency.ts';
import type { Informer } from '../../client/informer.ts';
import type { Finding } from '../../lifecycle/flux-conditions.ts';
import { failedOnHealth, type KustomizationState, kustomizationReasons as reasons, stateOf } from '../../lifecycle/kustomization.facts.ts';
import { type KustomizationEvent, kustomizationMachine } from '../../lifecycle/kustomization.machine.ts';
import { type Health, worstOf } from '../../lifecycle/reasons.ts';
import { conditionOf } from '../../machinery/conditions.ts';
import { type DynamicObject, deepEqual, keyOf, refOf } from '../../machinery/object.ts';
import { isConflict, isNotFound, isStatusError } from '../../machinery/status-error.ts';
import { type Controller, createController, type Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { advance } from '../../reconcile/effects.ts';
import type { Builder } from '../build/builder.ts';
import { createAppHealth } from './app-health.ts';
import { dependencyCycle, dependencyKeys, labelsOf, sourceKeyOf, timeoutMsOf, unsupportedIn } from './app-spec.ts';
import { type AppState, newAppState, touchInventory } from './app-state.ts';
import { metricsStateOf, statusChange } from './app-status.ts';
import { type AttemptRecord, startAttempt } from './attempt.ts';
import { createClaims } from './claims.ts';
import { createExpressions } from './expressions.ts';
import { fieldManager } from './fields.ts';
import type { AppMetricsState, GitOpsMetrics } from './gitops-metrics.ts';
import { heldRevision } from './held-revision.ts';
import { addToHistory, isRollback, replaceInHistory, revertedBy } from './history.ts';
import { createInventory } from './inventory.ts';
import { newerOf } from './newer.ts';
import { describe, describeId, idOf, type ObjectId } from './object-id.ts';
import { createAppBuilder } from './post-build.ts';
import type { KnownRevision, RevisionStore } from './repository-controller.ts';
import { formatBuildError, Superseded, SyncFailure } from './sync-failure.ts';
import type { SyncOutcome } from './syncer.ts';
import { contentOf, createTarget, type Target } from './target.ts';
import { createTargets, type OpenCluster, type TargetState } from './targets.ts';
import { watchValues } from './watched-values.ts';

export interface AppControllerOptions extends ControllerDependencies {
  readonly builder: Builder;
  readonly revisions: RevisionStore;
  readonly feed: ActivityFeed;
  readonly gitops: GitOpsMetrics;
  readonly random: () => number;
  readonly openCluster: OpenCluster;
  /** Apps that this engine is for; all of the cluster by default. */
  readonly labelSelector?: string | undefined;
}

export interface AppController extends Controller {
  /** A source has another commit: its apps are looked at, and what they were doing for an older one is given up. */
  revisionChanged(sourceKey: string): void;
  /** For the state families at a scrape. */
  metricsStates(): Iterable<AppMetricsState>;
}

const bySource = 'gitops-source';
const byDependency = 'gitops-dependency';
const minRetryMs = 1_000;
const maxRetryMs = 5 * 60_000;
/** Someone else writes the app at the same time now and then, not again and again. */
const maxChangeTries = 5;
/** Deletions that wait for finalizers are looked at this often, beside the event of their end. */
const recheckDeletionMs = 1_000;
/** Errors of one revision that the status shows. */
const maxErrorsShown = 20;
/** A kind that a health check names and the cluster does not have is looked for this often: nothing tells of it. */
const recheckKindMs = 5_000;
/** An app whose cluster is away is looked at this often, beside being woken when the cluster is back: its kubeconfig may be another. */
const recheckClusterMs = 30_000;
/** One go at a revision; what takes longer is given up and tried again. */
const maxSyncMs = 10 * 60_000;
/** An app that is set to revert by itself is Degraded for so long before it does. */
const defaultRevertGraceMs = 30_000;
/** Up to this share is added to the wait between tries, so that apps that failed together do not try together. */
const jitter = 0.1;

/** Keeps apps what their commits say: one reconcile is observe, decide, act, health, status. */
export function createAppController(options: AppControllerOptions): AppController {
  const { client, informers, clock, log, recorder, metrics, steps, builder, revisions, feed, gitops, random, openCluster, labelSelector } =
    options;
  const apps: Informer<Kustomization> = informers.get(kustomizations, labelSelector === undefined ? {} : { labelSelector });
  /** What is there but without the label is not seen. */
  const unlabelled = labelSelector === undefined ? '' : `, or not with the label ${labelSelector}`;
  apps.addIndex(bySource, sourceIndex);
  apps.addIndex(byDependency, dependencyIndex);
  const states = new Map<string, AppState>();
  const inventory = createInventory({ client });
  const appBuilder = createAppBuilder({ client, builder });
  const claims = createClaims({ apps, builder: appBuilder, revisions, bySource });
  const expressions = createExpressions();

  const controller = createController({
    name: 'kustomization',
    clock,
    log,
    workers: 8,
    reconcile,
    // Caches of other kinds are waited for by the apps that need them: one that cannot be had is no one else's trouble.
    waitForSync: ({ signal }) => untilAborted(apps.whenSynced, signal),
    observer: metrics.observerOf('kustomization'),
  });

  const bound = new Map<string, Target>();
  const shared = {
    builder: appBuilder,
    inventory,
    claims,
    expressions,
    recorder,
    clock,
    appOf: (key: string) => apps.getByKey(key),
    stateOf: (key: string) => states.get(key),
    wake: (key: string) => controller.enqueue(key),
    drifted(key: string) {
      const app = apps.getByKey(key);
      if (app !== undefined) gitops.driftDetected(labelsOf(app));
    },
  };
  const local = createTarget({ client, informers }, shared);
  const targets = createTargets({
    local,
    client,
    openCluster,
    clock,
    log,
    random,
    createTarget: (of) => createTarget(of, shared),
    wake: shared.wake,
  });
  const appHealth = createAppHealth({ clock, feed, gitops });

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

  watchValues({
    owners: apps,
    informers,
    refsOf: ({ spec }) => spec.postBuild?.substituteFrom ?? [],
    onChange(app) {
      const key = keyOf(app);
      const state = states.get(key);
      // The variables are part of what the spec says: a change counts as one of the spec.
      if (state !== undefined) {
        state.generation = -1;
        state.attempted = undefined;
        state.valuesChanged = true;
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
    async stop() {
      await controller.stop();
      targets.stop();
    },
    *metricsStates() {
      for (const cached of apps.list()) {
        const state = states.get(keyOf(cached));
        yield metricsStateOf(newerOf(cached, state?.written), state, bound.get(keyOf(cached))?.owned);
      }
    },
  };

  async function reconcile(key: string, { signal }: { readonly signal: AbortSignal }): Promise<Result | undefined> {
    const cached = apps.getByKey(key);
    if (cached === undefined) {
      forget(key);
      targets.release(key);
      const { namespace = '', name } = refOf(key);
      gitops.appGone(namespace, name);
      return undefined;
    }
    const reached = await targets.of(cached);
    if (reached.state === 'connecting') return undefined;
    // What is known of an app is what is known of it on its cluster.
    if (reached.state === 'ready' && bound.get(key) !== reached.target) forget(key);
    const state = states.get(key) ?? newAppState(key);
    states.set(key, state);
    const app = newerOf(cached, state.written);
    if (app === cached) state.written = undefined;
    if (reached.state !== 'ready') return unreachable(app, state, reached);
    const { target } = reached;
    bound.set(key, target);
    gitops.appSeen(labelsOf(app).namespace, app.metadata.name);
    if (await resumeWhenDue(app)) return undefined;
    const pass = await newPass({ app, state, target, signal });
    if (app.metadata.deletionTimestamp === undefined) pass.checksUnknown = await target.checks.follow(app, state);

    if (app.spec.suspend === true && app.metadata.deletionTimestamp === undefined) await surveySuspended(pass);

    // 1. Observe and decide; the effects act and add what they learned.
    const machine = kustomizationMachine;
    const observed = await advance({ machine, key, from: stateOf(app), events: observe(pass), effects: effectsOf(pass), steps });
    if (pass.finished) return undefined;
    // 2. Health of what is in force, then what follows from both.
    const health = appHealth.current(app, state, pass.target);
    const settled = await advance({
      machine,
      key,
      from: observed.value,
      events: follow(pass, observed.value, health),
      effects: effectsOf(pass),
      steps,
    });
    // 3. Tell: activity, then status, in one place.
    appHealth.announce(app, state, { health, target: pass.target });
    await rememberHealthy(pass, health);
    await revertWhenBad(pass, settled.value, health);
    await writeStatus(pass, settled.value, health);
    return nextLook(pass, settled.value);
  }

  interface Pass {
    readonly app: Kustomization;
    readonly state: AppState;
    readonly signal: AbortSignal;
    readonly target: Target;
    /** The newest of the source, or the one that a hold has pinned. */
    readonly revision: KnownRevision | undefined;
    readonly newest: KnownRevision | undefined;
    readonly hold: Hold | undefined;
    finding: Finding;
    readonly learned: KustomizationEvent[];
    /** The object is gone or will be looked at anew: no status is written. */
    finished: boolean;
    superseded: boolean;
    deleting: number;
    /** A health check names a kind that the cluster does not have yet. */
    checksUnknown: boolean;
  }

  async function newPass(of: Pick<Pass, 'app' | 'state' | 'target' | 'signal'>): Promise<Pass> {
    const { app, state, signal } = of;
    const ready = app.status?.conditions?.find(({ type }) => type === 'Ready');
    const newest = revisions.get(sourceKeyOf(app));
    // What is not found out anew stays as it was said.
    let finding: Finding = { reason: ready?.reason ?? reasons.progressing, message: ready?.message ?? '' };
    let revision = newest;
    let hold: Hold | undefined;
    if (newest !== undefined) {
      try {
        const held = await heldRevision(app, state, newest, { builder: appBuilder, inventory, signal });
        ({ revision, hold } = held);
        // Someone held it anew meanwhile.
        if (held.isReleased && !(await release(app, newest))) return newPass({ ...of, app: newerOf(app, state.written) });
      } catch (err) {
        if (signal.aborted) throw err;
        revision = undefined;
        hold = holdOf(app);
        finding = { reason: reasons.artifactFailed, message: `pinned revision ${hold?.pinned ?? ''} cannot be read: ${messageOf(err)}` };
      }
    } else {
      const key = sourceKeyOf(app);
      const message = revisions.isKnown(key)
        ? `Source artifact not found, retrying: ${key}`
        : `Source not found: GitRepository ${key} does not exist${unlabelled}`;
      finding = { reason: reasons.artifactFailed, message };
    }
    return { ...of, revision, newest, hold, finding, learned: [], finished: false, superseded: false, deleting: 0, checksUnknown: false };
  }

  /** A hold has done its work: a commit came that changes the app. False when that is not the hold any more. */
  async function release(app: Kustomization, { commit }: KnownRevision): Promise<boolean> {
    const none = Object.fromEntries(
      [annotations.hold, annotations.pin, annotations.heldBy, annotations.heldAt].map((name) => [name, null]),
    );
    const isReleased = await unlessGone(
      changeApp(app, (now) => (deepEqual(holdOf(now), holdOf(app)) ? { metadata: { annotations: none } } : undefined)),
    );
    if (isReleased)
      recorder.record(app, { type: 'Normal', reason: 'HoldReleased', message: `${commit.revision} changes the app and is followed again` });
    return isReleased;
  }

  /** The app's own cluster does not answer: nothing can be found out or done there until it does, which brings the next pass. */
  async function unreachable(
    app: Kustomization,
    state: AppState,
    { state: why, reason }: Exclude<TargetState, { readonly state: 'ready' | 'connecting' }>,
  ): Promise<Result | undefined> {
    if (app.metadata.deletionTimestamp !== undefined) {
      // As in Flux: with the kubeconfig gone, what was applied with it cannot be deleted and stays.
      if (why !== 'missing') return { requeueAfterMs: recheckClusterMs };
      recorder.record(app, { type: 'Warning', reason: reasons.pruneFailed, message: `unable to prune objects: ${reason}` });
      await letGo(app);
      return undefined;
    }
    if (app.spec.suspend === true) return { requeueAfterMs: recheckClusterMs };
    const finding: Finding = { reason: reasons.failed, message: reason };
    const before = conditionOf(app.status?.conditions, 'Ready');
    if (before?.message !== reason) recorder.record(app, { type: 'Warning', ...finding });
    const health: Health = { status: 'Unknown', reason };
    const change = statusChange({
      app,
      state,
      value: 'Failed',
      finding,
      health,
      attempted: undefined,
      hold: holdOf(app),
      now: timestampOf(clock.now()),
    });
    if (change !== undefined) await writeStatusOf(state, change);
    return { requeueAfterMs: recheckClusterMs };
  }

  /** After a start, an app that is suspended still says what differs from the revision it was suspended at. */
  async function surveySuspended({ app, state, target, newest, signal }: Pass): Promise<void> {
    const sha = app.status?.lastAppliedRevision?.split('sha1:')[1];
    if (state.loaded || newest === undefined || sha === undefined) return;
    try {
      await inventory.load(app, state);
      const commit = await newest.source.resolve({ commit: sha }, { signal });
      await target.syncer.survey(app, state, { ...newest, commit }, signal);
    } catch (err) {
      if (signal.aborted) throw err;
      log.warn({ kustomization: state.key, err }, 'Could not compare a suspended app');
    }
  }

  /** True when a suspension is over and was taken away; the change of the object brings the next pass. */
  async function resumeWhenDue(app: Kustomization): Promise<boolean> {
    const isDue = (now: Kustomization): boolean => (suspendedForMs(now) ?? 1) <= 0;
    if (!isDue(app)) return false;
    const over = {
      metadata: { annotations: { [annotations.suspendUntil]: null, [annotations.suspendReason]: null, [annotations.suspendedBy]: null } },
      spec: { suspend: null },
    };
    if (!(await unlessGone(changeApp(app, (now) => (isDue(now) ? over : undefined))))) return false;
    recorder.record(app, { type: 'Normal', reason: 'Resumed', message: 'the suspension is over' });
    return true;
  }

  /** How long an app stays suspended; undefined when it is not, or for good. */
  function suspendedForMs({ spec, metadata }: Kustomization): number | undefined {
    const until = Date.parse(metadata.annotations?.[annotations.suspendUntil] ?? '');
    return spec.suspend !== true || Number.isNaN(until) || metadata.deletionTimestamp !== undefined ? undefined : until - clock.now();
  }

  interface AppPatch {
    readonly metadata?: { readonly annotations?: Readonly<Record<string, string | null>>; readonly finalizers?: readonly string[] };
    readonly spec?: Readonly<Record<string, unknown>>;
  }

  /**
   * Changes an app as it is now: a cache that is behind must not undo what someone else wrote since. `patchFor` says what is merged into
   * it; undefined when there is nothing to do any more, which gives false.
   */
  async function changeApp(app: Kustomization, patchFor: (now: Kustomization) => AppPatch | undefined): Promise<boolean> {
    const key = keyOf(app);
    const { uid } = app.metadata;
    const learn = (answer: Kustomization): Kustomization => {
      const state = states.get(key);
      if (state !== undefined) state.written = answer;
      return answer;
    };
    let now = app;
    for (let tries = 1; ; tries += 1) {
      const patch = patchFor(now);
      if (patch === undefined) return false;
      const { resourceVersion } = now.metadata;
      const body = { ...patch, metadata: { ...patch.metadata, uid, resourceVersion } };
      try {
        learn(await client.patch(kustomizations, refOf(key), { type: 'merge', body }, { fieldManager }));
        return true;
      } catch (err) {
        if (!isConflict(err) || tries === maxChangeTries) throw err;
      }
      now = learn(await client.get(kustomizations, refOf(key)));
    }
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
    const rejection = rejectionOf(app);
    if (rejection !== undefined) {
      pass.finding = rejection;
      yield { type: 'SPEC_REJECTED' };
      return;
    }
    if (revision === undefined) {
      yield { type: 'SOURCE_MISSING' };
      return;
    }
    const waitsFor = unreadyDependency(pass, revision);
    if (waitsFor !== undefined) {
      pass.finding = { reason: reasons.dependencyNotReady, message: waitsFor };
      yield { type: 'DEPENDENCY_NOT_READY' };
      return;
    }
    for (const [id, { desired, skipped }] of state.applied) {
      if (skipped === 'suspended') pass.target.drift.observe(state, id, pass.target.owned.live(desired.resource, desired.ref));
    }
    if (isOutOfDate(app, state, revision)) yield { type: 'OUT_OF_DATE' };
    else if (state.drifts.size > 0) yield { type: 'DRIFTED' };
  }

  /** What a person has to change in the spec before anything can come of it. */
  function rejectionOf(app: Kustomization): Finding | undefined {
    const unsupported = unsupportedIn(app);
    if (unsupported !== undefined) return { reason: reasons.notSupported, message: `not supported: ${unsupported}` };
    const expression = expressions.problemIn(app);
    if (expression !== undefined) return { reason: reasons.invalidExpression, message: `invalid expression: ${expression}` };
    const cycle = dependencyCycle(app, (key) => apps.getByKey(key));
    return cycle === undefined ? undefined : { reason: 'DependencyCycle', message: `dependsOn goes in a circle: ${cycle.join(' → ')}` };
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
    const cancelDeadline = clock.after(maxSyncMs, () => abort.abort(new Error('the sync did not end in time')));
    const attempt =
      state.rollout?.revision === revision.commit.revision && state.attempt !== undefined
        ? state.attempt
        : startAttempt(revision, clock, gitops.phase);
    state.abortSync = abort;
    state.valuesChanged = false;
    try {
      await addFinalizer(app);
      if (!state.loaded) await inventory.load(app, state);
      const outcome = await pass.target.syncer.sync(app, state, attempt, AbortSignal.any([pass.signal, abort.signal]));
      if (outcome.waitsFor.length > 0) {
        waitForWave(pass, attempt, outcome);
        return;
      }
      const durationMs = clock.monotonicMs() - startedAt;
      const changed = outcome.changes.length > 0;
      const rollback = isRollback(state.history, outcome.digest, revision.commit.message);
      const isNewTree = outcome.digest !== state.digest && state.history.at(-1)?.digest !== outcome.digest;
      const { attempted } = state;
      const tries = attempted?.revision === revision.commit.revision ? attempted.failures + 1 : 1;
      state.isRollback = rollback;
      state.errors = [];
      state.attempted = undefined;
      state.failing = new Map();
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
      if (abort.signal.reason instanceof Superseded) {
        gitops.superseded(labelsOf(app));
        // It may have come half way: nothing is in force as a whole, even when the next revision is the one before.
        state.build = undefined;
        state.rollout = undefined;
        state.digest = '';
        pass.superseded = true;
        controller.enqueue(state.key);
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
    const texts = failure.errors.map(formatBuildError);
    const shown =
      texts.length > maxErrorsShown ? [...texts.slice(0, maxErrorsShown), `… and ${texts.length - maxErrorsShown} more`] : texts;
    const isRepeated = state.attempted?.revision === revision.commit.revision && state.attempted.generation === app.metadata.generation;
    const news = !isRepeated || pass.finding.message !== shown.join('\n');
    pass.finding = { reason: failure.reason, message: shown.join('\n') };
    pass.learned.push({ type: 'SYNC_FAILED' });
    state.errors = failure.errors;
    state.failing = new Map([...failure.objects].map((id) => [id, contentOf(liveOf(pass, id))]));
    state.rollout = undefined;
    const failures = isRepeated ? (state.attempted?.failures ?? 0) + 1 : 1;
    const retryMs = retryDelayMs(app, failures) * (1 + jitter * random());
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
    const revertOf = result === 'applied' && state.isRollback ? revertedBy(state.history, commit.message) : undefined;
    state.history = addToHistory(state.history, {
      revision: commit.revision,
      digest,
      result,
      at: timestampOf(clock.now()),
      durationMs: Math.round(durationMs),
      author: commit.author,
      subject: commit.subject,
      rollback: result === 'applied' && state.isRollback,
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
    await inventory
      .writeHistory(app, state.history)
      .catch((err: unknown) => log.error({ kustomization: state.key, err }, 'Could not write history'));
  }

  async function correctDrift(pass: Pass): Promise<void> {
    const { app, state, signal, target } = pass;
    const { drift, syncer } = target;
    for (const found of [...state.drifts.values()]) {
      const applied = state.applied.get(found.id);
      const policy = applied?.desired.policy.drift ?? app.metadata.annotations?.[annotations.drift] ?? 'correct';
      if (policy === 'ignore' || applied === undefined) state.drifts.delete(found.id);
      if (policy !== 'correct' || applied === undefined) continue;
      if (drift.isFight(app, state, found)) continue;
      const startedAt = clock.now();
      const { kind } = applied.desired.object;
      const object = `${kind} ${applied.desired.ref.namespace === undefined ? '' : `${applied.desired.ref.namespace}/`}${applied.desired.ref.name}`;
      const entry = { type: 'drift' as const, app: app.metadata.name, object, change: found.change, by: found.by };
      try {
        // An autoscaler may have come of which the cache knew nothing when it told of the change.
        if ((await syncer.heal(app, state, applied.desired, signal)) === undefined) continue;
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
          if (resource !== undefined && ref !== undefined && !state.checks.has(id)) pass.target.owned.disown(state.key, resource, ref);
          state.doomed.delete(id);
          touchInventory(state);
        }
      }
    } else state.pruneBlocked = '';
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
    const policy = app.spec.deletionPolicy ?? 'MirrorPrune';
    const deletes = policy === 'Orphan' || app.spec.suspend === true ? false : policy === 'MirrorPrune' ? app.spec.prune : true;
    if (!state.loaded) await inventory.load(app, state);
    if (deletes) {
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
    await letGo(app);
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

  async function letGo(app: Kustomization): Promise<void> {
    await unlessGone(changeApp(app, ({ metadata }) => ({ metadata: { finalizers: othersOf(metadata.finalizers) } })));
  }

  async function addFinalizer(app: Kustomization): Promise<void> {
    if (app.metadata.finalizers?.includes(finalizers.flux) === true) return;
    await changeApp(app, ({ metadata }) => ({ metadata: { finalizers: [...othersOf(metadata.finalizers), finalizers.flux] } }));
  }

  function* follow(pass: Pass, from: KustomizationState, health: Health): Iterable<KustomizationEvent> {
    const { app, state, learned, finding } = pass;
    yield* learned;
    if (state.rollout !== undefined || learned.some(({ type }) => type === 'SYNC_FAILED')) return;
    if (state.attempt?.current === 'health' && (health.status === 'Healthy' || state.applied.size === 0)) {
      state.attempt.end();
      tellPhase(pass, reasons.succeeded);
    }
    const applied = learned.some(({ type }) => type === 'APPLIED');
    const ready = readiness(state, health);
    const isWaiting = from === 'Progressing' || (applied && waits(app));
    if (!isWaiting && !(from === 'Failed' && failedOnHealth(app) && state.errors.length === 0)) return;
    // After a start, and when only the spec changed, nothing was applied that the time could count from.
    if (state.waitsSince === 0 || (applied && stateOf(app) !== 'Progressing')) state.waitsSince = clock.now();
    if (ready.status === 'Healthy') {
      Object.assign(finding, { reason: reasons.succeeded, message: `Applied revision: ${state.revision}` });
      yield { type: 'BECAME_HEALTHY' };
    } else if (from === 'Progressing' && clock.now() - state.waitsSince > timeoutMsOf(app)) {
      Object.assign(finding, { reason: reasons.healthCheckFailed, message: ready.reason });
      state.attempt?.end('failed');
      tellPhase(pass, reasons.healthCheckFailed);
      yield { type: 'HEALTH_DEADLINE_PASSED' };
    }
  }

  async function writeStatus(
    { app, state, finding, revision, newest, hold, superseded }: Pass,
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
      attempted: (app.spec.suspend === true ? newest : revision)?.commit.revision,
      hold,
      now: timestampOf(clock.now()),
    });
    if (status !== undefined) await writeStatusOf(state, status);
  }

  async function writeStatusOf(state: AppState, status: KustomizationStatus): Promise<void> {
    state.statusInDoubt = true;
    try {
      state.written = await client.patch(
        kustomizations,
        refOf(state.key),
        { type: 'merge', body: { status } },
        { subresource: 'status', fieldManager },
      );
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
    state.statusInDoubt = false;
  }

  function nextLook({ app, state, target, deleting, superseded, checksUnknown }: Pass, value: KustomizationState): Result | undefined {
    if (superseded) return undefined;
    const suspendedMs = suspendedForMs(app);
    if (suspendedMs !== undefined) return { requeueAfterMs: suspendedMs };
    if (deleting > 0) return { requeueAfterMs: state.pruneFailures > 0 ? retryDelayMs(app, state.pruneFailures) : recheckDeletionMs };
    if (state.rollout !== undefined) {
      const left = timeoutMsOf(app) - (clock.monotonicMs() - state.rollout.startedAt);
      return { requeueAfterMs: Math.max(100, Math.min(state.rollout.recheckMs ?? left + 100, left + 100)) };
    }
    const graceMs = revertGraceLeftMs(app, state);
    if (value === 'Progressing' && state.waitsSince > 0) {
      const left = Math.max(1_000, timeoutMsOf(app) - (clock.now() - state.waitsSince) + 100);
      return { requeueAfterMs: Math.min(left, graceMs ?? left, checksUnknown ? recheckKindMs : left) };
    }
    if (state.attempted !== undefined && value !== 'Suspended' && value !== 'Deleting') {
      const waited = clock.monotonicMs() - state.attempted.failedAt;
      return { requeueAfterMs: Math.max(0, state.attempted.retryMs - waited) };
    }
    const waits = [
      target.drift.retryAfterMs(state),
      appHealth.announceAgainAfterMs(state),
      graceMs,
      suspensionEndMs(state),
      checksUnknown ? recheckKindMs : undefined,
    ];
    const soonest = Math.min(...waits.map((ms) => ms ?? Number.POSITIVE_INFINITY));
    return Number.isFinite(soonest) ? { requeueAfterMs: soonest } : undefined;
  }

  /** What a sync was made of; none that the app can have when a variable has another value than the sync read. */
  function generationSeen({ metadata }: Kustomization, { valuesChanged }: AppState): number {
    return valuesChanged ? -1 : (metadata.generation ?? 0);
  }

  function isOutOfDate(app: Kustomization, state: AppState, { commit }: KnownRevision): boolean {
    const generation = app.metadata.generation ?? 0;
    const { attempted } = state;
    if (state.rollout !== undefined) return true;
    const request = app.metadata.annotations?.[annotations.reconcileRequestedAt];
    if (request !== undefined && request !== state.handledRequest && request !== app.status?.lastHandledReconcileAt) return true;
    if (attempted !== undefined) {
      // Also when the branch went back to what is in force: that has to be said, and what came half way has to be undone.
      if (attempted.revision !== commit.revision || attempted.generation !== generation) return true;
      return clock.monotonicMs() - attempted.failedAt >= attempted.retryMs - 5;
    }
    if (state.digest === '' || state.revision !== commit.revision || state.tree !== commit.tree || state.generation !== generation)
      return true;
    const value = stateOf(app);
    // A pass that ended with an error of its own did not come to say what it had done.
    if (app.status?.lastAppliedRevision !== state.revision || (value === 'Failed' && !failedOnHealth(app))) return true;
    if (value === 'Waiting' || value === 'New' || value === 'Stalled') return true;
    if (state.doomed.size === 0 || value !== 'Ready') return false;
    return state.pruneBlocked === '' || state.pruneBlocked.endsWith(`=${app.metadata.annotations?.[annotations.approvePrune]}`);
  }

  /** The first dependency that keeps the app waiting, in words. */
  function unreadyDependency({ app }: Pass, revision: KnownRevision): string | undefined {
    for (const { name, namespace, readyExpr } of app.spec.dependsOn ?? []) {
      const key = `${namespace ?? app.metadata.namespace}/${name}`;
      const dependency = apps.getByKey(key);
      const isReady = (): boolean => {
        if (readyExpr === undefined || dependency === undefined) return isReadyAt(dependency, app, revision);
        return expressions.isReady(readyExpr, { self: app, dep: dependency });
      };
      try {
        if (!isReady()) return `dependency '${key}' ${dependency === undefined ? `does not exist${unlabelled}` : 'is not ready'}`;
      } catch (err) {
        return `dependency '${key}' is not ready: readyExpr: ${messageOf(err)}`;
      }
    }
    return undefined;
  }

  /** A dependency counts when it is ready at its newest spec and, coming from the same source, at the same revision. */
  function isReadyAt(dependency: Kustomization | undefined, app: Kustomization, { commit }: KnownRevision): boolean {
    if (dependency === undefined) return false;
    const ready = dependency.status?.conditions?.find(({ type }) => type === 'Ready');
    if (ready?.status !== 'True' || dependency.status?.observedGeneration !== dependency.metadata.generation) return false;
    // One that is held where it is will not come to the newest revision.
    if (holdOf(dependency) !== undefined || holdOf(app) !== undefined) return true;
    return sourceKeyOf(dependency) !== sourceKeyOf(app) || dependency.status?.lastAppliedRevision === commit.revision;
  }

  /** Notes where an app that may revert by itself would go. */
  async function rememberHealthy({ app, state, hold }: Pass, health: Health): Promise<void> {
    const { digest, sha } = state;
    if (revertGraceMs(app) === undefined || hold !== undefined || health.status !== 'Healthy' || digest === '') return;
    if (state.rollout !== undefined || state.attempted !== undefined || state.healthy?.digest === digest) return;
    state.healthy = { sha, digest };
    touchInventory(state);
    await inventory.write(app, state, { revision: state.revision });
  }

  /** Goes back to the last healthy revision, once for each revision that is not, and holds the bad one. */
  async function revertWhenBad(pass: Pass, value: KustomizationState, health: Health): Promise<void> {
    const { app, state, hold, revision, superseded } = pass;
    const { healthy } = state;
    if (superseded || revision === undefined || healthy === undefined || hold !== undefined || state.autoReverted === revision.commit.sha)
      return;
    const failedOnWave = state.attempted?.revision === revision.commit.revision && pass.finding.reason === reasons.healthCheckFailed;
    const isInForce = state.sha === revision.commit.sha && state.digest !== healthy.digest && state.digest !== '';
    const isBad =
      failedOnWave || (isInForce && (value === 'Failed' || (health.status === 'Degraded' && revertGraceLeftMs(app, state) === 0)));
    if (revertGraceMs(app) === undefined || !isBad) return;
    state.autoReverted = revision.commit.sha;
    touchInventory(state);
    await inventory.write(app, state, { revision: state.revision });
    const why = health.reason || pass.finding.message;
    const at = timestampOf(clock.now());
    const annotated = {
      metadata: { annotations: holdAnnotations({ held: revision.commit.sha, pinned: healthy.sha, by: fieldManager, at }) },
    };
    const isHeld = await unlessGone(changeApp(app, (now) => (holdOf(now) === undefined ? annotated : undefined))).catch((err: unknown) => {
      // It is not done, and has to be tried again.
      state.autoReverted = '';
      touchInventory(state);
      throw err;
    });
    if (!isHeld) return;
    recorder.record(app, {
      type: 'Warning',
      reason: 'AutoReverted',
      message: `${revision.commit.revision} is not healthy (${why}); back to ${healthy.sha}`,
    });
  }

  /** How long an app has to be Degraded before it reverts by itself; undefined when it never does. */
  function revertGraceMs({ metadata }: Kustomization): number | undefined {
    const text = metadata.annotations?.[annotations.autoRevert];
    if (text === undefined || text === 'false') return undefined;
    return isDuration(text) ? parseDuration(text) : defaultRevertGraceMs;
  }

  /** What is left of that; undefined when nothing runs out. */
  function revertGraceLeftMs(app: Kustomization, state: AppState): number | undefined {
    const grace = revertGraceMs(app);
    if (grace === undefined || state.lastHealth.status !== 'Degraded' || state.degradedSince === 0 || state.healthy === undefined)
      return undefined;
    if (state.autoReverted === state.sha || holdOf(app) !== undefined) return undefined;
    return Math.max(0, grace - (clock.now() - Math.max(state.degradedSince, state.appliedAt)));
  }

  /** When the first of the objects that are left alone is to be applied again. */
  function suspensionEndMs(state: AppState): number | undefined {
    let soonest: number | undefined;
    for (const { desired, skipped } of state.applied.values()) {
      const until = skipped === 'suspended' ? desired.policy.suspendedUntil : undefined;
      if (until !== undefined && Number.isFinite(until)) soonest = Math.min(soonest ?? until, until);
    }
    return soonest === undefined ? undefined : Math.max(0, soonest - clock.now());
  }

  function liveOf({ state, target }: Pass, id: ObjectId): DynamicObject | undefined {
    const known = state.applied.get(id)?.desired ?? state.rollout?.plan.objects.get(id);
    return known === undefined ? undefined : target.owned.live(known.resource, known.ref);
  }

  function forget(key: string): void {
    const state = states.get(key);
    if (state === undefined) return;
    const known = [...[...state.applied.values()].map(({ desired }) => desired), ...state.pending.values(), ...state.hookObjects.values()];
    for (const { resource, ref } of [...known, ...state.doomed.values(), ...state.checks.values()]) {
      if (resource !== undefined && ref !== undefined) bound.get(key)?.owned.disown(key, resource, ref);
    }
    bound.delete(key);
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

/** The health that readiness depends on: of the objects that `spec.healthChecks` names, unless the app waits for all of its own. */
function readiness({ checks, health: known }: AppState, health: Health): Health {
  if (checks.size === 0) return health;
  return worstOf(
    [...checks].map(
      ([id, { kind, ref }]) => known.get(id) ?? { status: 'Unknown', reason: `${describe(kind, ref)} was not looked at yet` },
    ),
  );
}

const waits = ({ spec }: Kustomization): boolean => spec.wait === true || (spec.healthChecks?.length ?? 0) > 0;

/** What an app that is gone was to say it need not say. */
const unlessGone = (change: Promise<boolean>): Promise<boolean> =>
  change.catch((err: unknown) => {
    if (!isNotFound(err)) throw err;
    return true;
  });

const othersOf = (present: readonly string[] = []): readonly string[] => present.filter((name) => name !== finalizers.flux);

/** Names of objects that a wave waits for. */
const maxWaitsShown = 5;

function retryDelayMs({ spec }: Kustomization, failures: number): number {
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

/** The chain of causes, which reads like a path. */
function messageOf(err: unknown): string {
  if (!(err instanceof Error)) return String(err);
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

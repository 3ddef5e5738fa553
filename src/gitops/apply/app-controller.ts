import { type Hold, holdOf } from '../../api/kustomize/v1/hold.ts';
import { type Kustomization, kustomizations } from '../../api/kustomize/v1/kustomization.ts';
import { type GitRepository, gitRepositories } from '../../api/source/v1/git-repository.ts';
import { annotations } from '../../api/well-known.ts';
import { timestampOf } from '../../base/clock.ts';
import { untilAborted } from '../../base/concurrency.ts';
import type { ActivityFeed } from '../../base/contracts/activity.ts';
import { invariant } from '../../base/invariant.ts';
import type { Redactor } from '../../base/redactor.ts';
import type { Informer } from '../../client/informer.ts';
import type { Finding } from '../../lifecycle/flux-conditions.ts';
import {
  type AppObservation,
  awaitsHealth,
  eventsOf,
  hasFailedOnHealth,
  healthEventsOf,
  isSyncLost,
  type KustomizationState,
  kustomizationReasons as reasons,
  stateOf,
} from '../../lifecycle/kustomization.facts.ts';
import { type KustomizationEvent, kustomizationMachine } from '../../lifecycle/kustomization.machine.ts';
import { type Health, worstOf } from '../../lifecycle/reasons.ts';
import { conditionOf } from '../../machinery/conditions.ts';
import { type DynamicObject, deepEqual, keyOf, refOf } from '../../machinery/object.ts';
import { type Controller, createController, type Result } from '../../reconcile/controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { advance } from '../../reconcile/effects.ts';
import { watchValues } from '../../reconcile/watched-values.ts';
import type { Builder } from '../render/builder.ts';
import type { KnownRevision, RevisionStore } from '../sources/follow/known-revision.ts';
import { createAppHealth, isLateForHealth } from './acts/app-health.ts';
import { createAppObject } from './acts/app-object.ts';
import { createAutoRevert } from './acts/auto-revert.ts';
import { createDriftCorrection } from './acts/correct-drift.ts';
import { createHeldRevisions } from './acts/held-revision.ts';
import type { Outcome, Pass } from './acts/pass.ts';
import { createPassingFailures } from './acts/passing-failure.ts';
import { createPruneAct } from './acts/prune-objects.ts';
import { retryDelayMs } from './acts/retry.ts';
import { createSyncAct, failureOf } from './acts/sync-revision.ts';
import { tellPhase } from './acts/tell.ts';
import { unreadyDependency } from './app-dependencies.ts';
import { describe, type ObjectId } from './objects/object-id.ts';
import type { ReadLastLine } from './observe/causes.ts';
import { createExpressions } from './observe/expressions.ts';
import type { HealthView } from './observe/health.ts';
import { overriddenBy } from './observe/takeover.ts';
import { dependencyCycle, dependencyKeys, labelsOf, sourceKeyOf, timeoutMsOf, unsupportedIn } from './plan/app-spec.ts';
import { createClaims } from './plan/claims.ts';
import { type AppBuilder, createAppBuilder } from './plan/post-build.ts';
import { messageOf, Superseded } from './plan/sync-failure.ts';
import { type AppRecords, newAppRecords, type RecordChanges } from './records/app-records.ts';
import { dueNow } from './records/attempt.ts';
import { metricsStateOf, statusChange } from './status/app-status.ts';
import type { AppMetricsState, GitOpsMetrics } from './status/gitops-metrics.ts';
import { activitiesOf } from './status/recalled-activity.ts';
import { redactedChange, redactedFeed } from './status/redacted-feed.ts';
import { createInventory } from './sync/inventory.ts';
import { contentOf, createTarget, type Target } from './target/target.ts';
import { createTargets, type OpenCluster, type TargetState } from './target/targets.ts';

export interface AppControllerOptions extends ControllerDependencies {
  readonly builder: Builder;
  readonly revisions: RevisionStore;
  readonly feed: ActivityFeed;
  /** Holds what apps have from Secrets, for everybody who shows messages. */
  readonly redactor: Redactor;
  readonly gitops: GitOpsMetrics;
  readonly random: () => number;
  readonly openCluster: OpenCluster;
  /** Apps that this engine is for; all of the cluster by default. */
  readonly labelSelector?: string | undefined;
  /** `HealthView.noControllerText` for objects of the engine's own cluster. */
  readonly noControllerText?: HealthView['noControllerText'];
  /** Reads the last line of containers in the engine's own cluster. */
  readonly readLastLine?: ReadLastLine | undefined;
  /** Field managers, beside the usual ones, whose fields on objects of apps become the apps'. */
  readonly overrideManagers?: readonly string[] | undefined;
}

export interface AppController extends Controller {
  /** A source has another commit: its apps are looked at, and what they were doing for an older one is given up. */
  revisionChanged(sourceKey: string): void;
  /** For the state families at a scrape. */
  metricsStates(): Iterable<AppMetricsState>;
  /** The health of each object of an app (`namespace/name`), as its last pass judged it; empty before that. */
  healthsOf(key: string): ReadonlyMap<ObjectId, Health>;
  /** Builds apps as the passes do. */
  readonly builder: AppBuilder;
}

const bySource = 'gitops-source';
const byDependency = 'gitops-dependency';
/** Deletions that wait for finalizers are looked at this often, beside the event of their end. */
const recheckDeletionMs = 1_000;
/** A kind that a health check names and the cluster does not have is looked for this often: nothing tells of it. */
const recheckKindMs = 5_000;
/** For so long an app may be there before its source is. */
const maxSourceWaitMs = 5_000;
/** Sources that are named when the one of an app is not there. */
const maxSourcesShown = 5;
/** One attempt at a revision; what takes longer is given up and tried again. */
const maxSyncMs = 10 * 60_000;
/** An app whose cluster is away is looked at this often, beside being woken when the cluster is back: its kubeconfig may be another. */
const recheckClusterMs = 30_000;

/** Keeps apps what their commits say: one reconcile is observe, decide, act, health, status. */
export function createAppController(options: AppControllerOptions): AppController {
  const {
    client,
    informers,
    clock,
    log,
    recorder,
    metrics,
    steps,
    builder,
    revisions,
    redactor,
    gitops,
    random,
    openCluster,
    labelSelector,
    noControllerText,
    readLastLine,
    overrideManagers,
  } = options;
  const apps: Informer<Kustomization> = informers.get(kustomizations, labelSelector === undefined ? {} : { labelSelector });
  /** What is there but without the label is not seen. */
  const absent = `does not exist${labelSelector === undefined ? '' : `, or not with the label ${labelSelector}`}`;
  apps.addIndex(bySource, sourceIndex);
  apps.addIndex(byDependency, dependencyIndex);
  const sources = informers.get(gitRepositories, labelSelector === undefined ? {} : { labelSelector });
  /** The app's source at the revision that apps are built from: the cache may be behind it, and an app ahead of it is not behind Git. */
  const sourceOf = (app: Kustomization): GitRepository | undefined => {
    const source = app.spec.sourceRef.kind === gitRepositories.kind ? sources.getByKey(sourceKeyOf(app)) : undefined;
    const newest = revisions.get(sourceKeyOf(app))?.commit.revision;
    const artifact = source?.status?.artifact;
    if (newest === undefined || artifact === undefined || artifact.revision === newest) return source;
    return { ...source, status: { ...source?.status, artifact: { ...artifact, revision: newest } } } as GitRepository;
  };
  const states = new Map<string, Stored>();
  /** Syncs under way. */
  const syncing = new Map<string, AbortController>();
  /** Apps with a variable that changed since their last sync began: it may have read the old value. */
  const changedValues = new Set<string>();
  const inventory = createInventory({
    client,
    onHistory: (app, history) => options.feed.recall(activitiesOf(app, history)),
  });
  const appBuilder = createAppBuilder({ client, builder, redactor });
  const redactFor =
    (key: string) =>
    (text: string): string =>
      redactor.text(text, key);
  const feed = redactedFeed(options.feed, redactor);
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
    isOverridden: overriddenBy(overrideManagers),
    appOf: (key: string) => apps.getByKey(key),
    recordsOf: (key: string) => states.get(key),
    objectChanged,
    handedOver,
    wake: (key: string) => controller.enqueue(key),
    drifted(key: string) {
      const app = apps.getByKey(key);
      if (app !== undefined) gitops.driftDetected(labelsOf(app));
    },
  };
  const local = createTarget({ client, informers, noControllerText, readLastLine }, shared);
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
  const appHealth = createAppHealth({ clock, log, wake: shared.wake, feed, gitops });
  const appObject = createAppObject({ client });
  const held = createHeldRevisions({ builder: appBuilder });
  const autoRevert = createAutoRevert({ clock, recorder, inventory, object: appObject });
  const syncAct = createSyncAct({ clock, log, recorder, feed, redactor, gitops, random });
  const pruneAct = createPruneAct({
    clock,
    recorder,
    feed,
    gitops,
    object: appObject,
    random,
    load: async ({ app }) => void (await load(app)),
  });
  const passingFailure = createPassingFailures({ apps, revisions, claims, clock, recordsOf: shared.recordsOf });
  const correctDrift = createDriftCorrection({ clock, recorder, feed, redactor, gitops });

  return {
    ...controller,
    get depth() {
      return controller.depth;
    },
    get active() {
      return controller.active;
    },
    async start({ signal }) {
      followApps();
      await controller.start({ signal });
    },
    revisionChanged(sourceKey) {
      for (const app of apps.byIndex(bySource, sourceKey)) {
        const key = keyOf(app);
        syncing.get(key)?.abort(new Superseded());
        controller.enqueue(key);
      }
    },
    async stop() {
      await controller.stop();
      targets.stop();
    },
    builder: appBuilder,
    healthsOf: (key) => states.get(key)?.health.known ?? new Map(),
    *metricsStates() {
      for (const cached of apps.list()) {
        const state = states.get(keyOf(cached));
        const app = appObject.newest(cached);
        yield metricsStateOf(app, { state, source: sourceOf(app), owned: bound.get(keyOf(cached))?.owned });
      }
    },
  };

  /** Not in the constructor: a cache that is full already reports all it has at once. */
  function followApps(): void {
    apps.addHandler(({ before, after }) => {
      const object = after ?? before;
      if (object === undefined) return;
      const key = keyOf(object);
      if (before === undefined || after === undefined || isNews(before, after)) {
        claims.invalidate();
        if (before !== undefined && after !== undefined && substitutesAnew(before, after)) forgetValues(key);
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
        forgetValues(key);
        claims.invalidate();
        controller.enqueue(key);
      },
    });
  }

  /** The variables are part of what the spec says: a change counts as one of the spec. */
  function forgetValues(key: string): void {
    const state = states.get(key);
    if (state === undefined) return;
    store(state, { inForce: { ...state.inForce, generation: -1 }, attempt: { ...state.attempt, failed: undefined } });
    changedValues.add(key);
  }

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
    const state = states.get(key) ?? newAppRecords(key);
    states.set(key, state);
    const app = appObject.newest(cached);
    if (reached.state !== 'ready') return unreachable(app, state, reached);
    const { target } = reached;
    bound.set(key, target);
    gitops.appSeen(labelsOf(app).namespace, app.metadata.name);
    if (await resumeWhenDue(app)) return undefined;
    const isDeleted = app.metadata.deletionTimestamp !== undefined;
    const checksUnknown = !isDeleted && (await target.checks.follow(app, state));
    const pass = await newPass({ app, state, target, signal, checksUnknown });
    const work: Work = { pass, state, finding: pass.finding, learned: [], superseded: false, finished: false, deleting: 0 };
    if (app.spec.suspend === true && !isDeleted) await surveySuspended(pass);

    // 1. Observe and decide; the effects act and add what they learned.
    const machine = kustomizationMachine;
    const effects = effectsOf(work);
    const seen = observe(pass);
    work.finding = seen.rejection ?? seen.dependency ?? work.finding;
    const observed = await advance({ machine, key, from: stateOf(app), events: eventsOf(app, seen), effects, steps });
    if (work.finished) return undefined;
    // 2. Health of what is in force, then what follows from both.
    const health = appHealth.current(app, state, target);
    const events = observeHealth(work, observed.value as KustomizationState, health);
    const settled = await advance({ machine, key, from: observed.value, events, effects, steps });
    // 3. Tell: activity, then status, in one place.
    store(state, { announced: appHealth.announce(app, state, { health, target }) });
    await autoRevert.rememberHealthy(pass, health);
    if (!work.superseded) await autoRevert.revertWhenBad(passOf(work), settled.value, health);
    await writeStatus(work, settled.value, health);
    return nextLook(work, settled.value);
  }

  /** A pass with what it has found out so far. */
  interface Work {
    readonly pass: Pass;
    readonly state: Stored;
    finding: Finding;
    readonly learned: KustomizationEvent[];
    superseded: boolean;
    finished: boolean;
    deleting: number;
  }

  function passOf({ pass, finding }: Work): Pass {
    return { ...pass, finding };
  }

  /** Stores what an act gave. */
  function take(work: Work, outcome: Outcome): void {
    store(work.state, outcome);
    work.finding = outcome.finding ?? work.finding;
    work.superseded = outcome.superseded ?? work.superseded;
    work.finished = outcome.finished ?? work.finished;
    work.deleting = outcome.deleting ?? work.deleting;
  }

  async function newPass(of: Omit<Pass, 'revision' | 'newest' | 'hold' | 'finding'>): Promise<Pass> {
    const { app, signal } = of;
    const ready = app.status?.conditions?.find(({ type }) => type === 'Ready');
    const newest = revisions.get(sourceKeyOf(app));
    // What is not found out anew stays as it was said.
    let finding: Finding = { reason: ready?.reason ?? reasons.progressing, message: ready?.message ?? '' };
    let revision = newest;
    let hold: Hold | undefined;
    if (newest !== undefined) {
      try {
        const history = async () => (await load(app)).announced.history;
        const decided = await held.heldAt(app, newest, { signal, history });
        ({ revision, hold } = decided);
        // Someone changed the hold meanwhile.
        if (decided.isReleased && !(await release(app, newest))) return newPass({ ...of, app: appObject.newest(app) });
      } catch (err) {
        if (signal.aborted) throw err;
        revision = undefined;
        hold = holdOf(app);
        finding = { reason: reasons.artifactFailed, message: `pinned revision ${hold?.pinned ?? ''} cannot be read: ${messageOf(err)}` };
      }
    } else {
      finding = sourceTrouble(app);
      const isFresh = finding.reason === reasons.sourceNotFound && ready?.reason !== finding.reason;
      if (isFresh && app.spec.suspend !== true && app.metadata.deletionTimestamp === undefined) {
        recorder.record(app, { type: 'Warning', ...finding });
        feed.add(app, { type: 'failed', at: clock.now(), app: app.metadata.name, sha: '', errors: [finding.message] });
      }
    }
    return { ...of, revision, newest, hold, finding };
  }

  /** Why an app has no revision. One that was made just now may be a moment older than its source, of the same commit. */
  function sourceTrouble(app: Kustomization): Finding {
    const key = sourceKeyOf(app);
    if (revisions.isKnown(key)) return { reason: reasons.artifactFailed, message: `Source artifact not found, retrying: ${key}` };
    const there = revisions.keys().slice(0, maxSourcesShown);
    const hint =
      there.length === 0 ? 'There is no GitRepository' : `There is ${there.join(', ')}: name it in spec.sourceRef, or add ${key}`;
    return {
      reason: sourceWaitMs(app) === undefined ? reasons.sourceNotFound : reasons.artifactFailed,
      message: `Source not found: GitRepository ${key} ${absent}. ${hint}`,
    };
  }

  /** The time that an app may still wait for a source that nobody has made; undefined when it does not, or not any more. */
  function sourceWaitMs(app: Kustomization): number | undefined {
    const leftMs = Date.parse(app.metadata.creationTimestamp ?? '') + maxSourceWaitMs - clock.now();
    return leftMs > 0 && !revisions.isKnown(sourceKeyOf(app)) ? leftMs : undefined;
  }

  /** A hold has done its work: a commit came that changes the app. False when that is not the hold any more. */
  async function release(app: Kustomization, { commit }: KnownRevision): Promise<boolean> {
    const none = Object.fromEntries(
      [annotations.hold, annotations.pin, annotations.heldBy, annotations.heldAt].map((name) => [name, null]),
    );
    const isReleased = await appObject.change(app, (now) =>
      deepEqual(holdOf(now), holdOf(app)) ? { metadata: { annotations: none } } : undefined,
    );
    if (isReleased)
      recorder.record(app, { type: 'Normal', reason: 'HoldReleased', message: `${commit.revision} changes the app and is followed again` });
    return isReleased;
  }

  /** The app's own cluster does not answer: nothing can be found out or done there until it does, which brings the next pass. */
  async function unreachable(
    app: Kustomization,
    state: AppRecords,
    { state: why, reason }: Exclude<TargetState, { readonly state: 'ready' | 'connecting' }>,
  ): Promise<Result | undefined> {
    if (app.metadata.deletionTimestamp !== undefined) {
      // As in Flux: with the kubeconfig gone, what was applied with it cannot be deleted and stays.
      if (why !== 'missing') return { requeueAfterMs: recheckClusterMs };
      recorder.record(app, { type: 'Warning', reason: reasons.pruneFailed, message: `unable to prune objects: ${reason}` });
      await appObject.letGo(app);
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
      isInDoubt: appObject.isStatusInDoubt(state.key),
      waiting: undefined,
      now: timestampOf(clock.now()),
      redact: redactFor(state.key),
    });
    if (change !== undefined) await appObject.writeStatus(state.key, change);
    return { requeueAfterMs: recheckClusterMs };
  }

  /** After a start, an app that is suspended still says what differs from the revision it was suspended at. */
  async function surveySuspended({ app, state, target, newest, signal }: Pass): Promise<void> {
    const sha = app.status?.lastAppliedRevision?.split('sha1:')[1];
    if (state.ownership.isLoaded || newest === undefined || sha === undefined) return;
    try {
      await load(app);
      const commit = await newest.source.resolve({ commit: sha }, { signal });
      await target.syncer.survey({ app, state, signal }, { ...newest, commit });
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
    if (!(await appObject.change(app, (now) => (isDue(now) ? over : undefined)))) return false;
    recorder.record(app, { type: 'Normal', reason: 'Resumed', message: 'the suspension is over' });
    return true;
  }

  /** How long an app stays suspended; undefined when it is not, or for good. */
  function suspendedForMs({ spec, metadata }: Kustomization): number | undefined {
    const until = Date.parse(metadata.annotations?.[annotations.suspendUntil] ?? '');
    return spec.suspend !== true || Number.isNaN(until) || metadata.deletionTimestamp !== undefined ? undefined : until - clock.now();
  }

  /** What a pass finds before it acts; the finding of the pass is that of the first thing that keeps the app from being applied. */
  function observe(pass: Pass): AppObservation {
    const { app, state, revision, target } = pass;
    const hasRevision = revision !== undefined;
    const seen = { rejection: undefined, hasRevision, dependency: undefined, isOutOfDate: false, hasDrifted: false };
    if (app.metadata.deletionTimestamp !== undefined || app.spec.suspend === true) return seen;
    const rejection = rejectionOf(app);
    if (rejection !== undefined) return { ...seen, rejection };
    if (!hasRevision) return seen;
    const waitsFor = unreadyDependency(app, revision, { appOf: shared.appOf, expressions, absent });
    if (waitsFor !== undefined) return { ...seen, dependency: { reason: reasons.dependencyNotReady, message: waitsFor } };
    for (const [id, { desired, skipped }] of state.ownership.applied) {
      if (skipped === 'suspended') target.drift.observe(state, id, target.owned.live(desired.resource, desired.ref));
    }
    return { ...seen, isOutOfDate: isOutOfDate(app, state, revision), hasDrifted: state.drifts.found.size > 0 };
  }

  /** What a person has to change in the spec before anything can come of it. */
  function rejectionOf(app: Kustomization): Finding | undefined {
    const unsupported = unsupportedIn(app);
    if (unsupported !== undefined) return { reason: reasons.notSupported, message: `not supported: ${unsupported}` };
    const expression = expressions.problemIn(app);
    if (expression !== undefined) return { reason: reasons.invalidExpression, message: `invalid expression: ${expression}` };
    const cycle = dependencyCycle(app, (key) => apps.getByKey(key));
    return cycle === undefined ? undefined : { reason: 'DependencyCycle', message: `dependsOn has a cycle: ${cycle.join(' → ')}` };
  }

  function effectsOf(work: Work) {
    return {
      syncRevision: () => syncRevision(work),
      correctDrift: () => correctDrift(work.pass),
      pruneObjects: () => pruneObjects(work),
      finalizeApp: async () => take(work, await pruneAct.finalize(passOf(work))),
    };
  }

  async function syncRevision(work: Work): Promise<void> {
    const pass = passOf(work);
    const { app, state, revision } = pass;
    if (revision === undefined) return;
    const abort = new AbortController();
    const cancelDeadline = clock.after(maxSyncMs, () => abort.abort(new Error('the sync did not end in time')));
    const go = syncAct.begin(pass, revision);
    const { history } = state.announced;
    syncing.set(state.key, abort);
    changedValues.delete(state.key);
    try {
      await appObject.addFinalizer(app);
      await load(app);
      const signal = AbortSignal.any([pass.signal, abort.signal]);
      take(work, learn(work, syncAct.end(pass, go, await pass.target.syncer.sync({ app, state, record: go.record, signal }))));
    } catch (err) {
      if (pass.signal.aborted) throw err;
      const { aborted, reason } = abort.signal;
      if (reason instanceof Superseded) {
        take(work, syncAct.supersede(pass));
        controller.enqueue(state.key);
      } else {
        go.record.end('failed');
        const cause = aborted ? reason : err;
        const failure = failureOf(cause);
        const passing = await passingFailure(pass, failure);
        const outcome = passing === undefined ? syncAct.fail(pass, go, cause) : syncAct.waitForApp(pass, go, { failure, passing });
        take(work, learn(work, outcome));
      }
    } finally {
      cancelDeadline();
      syncing.delete(state.key);
    }
    if (changedValues.has(state.key)) forgetGeneration(work.state);
    if (state.announced.history !== history) await writeHistory(app, state);
  }

  function learn({ learned }: Work, outcome: Outcome): Outcome {
    if (outcome.event !== undefined) learned.push(outcome.event);
    return outcome;
  }

  /** The sync read the old value of a variable: neither what is in force nor what failed is of the spec as it is now. */
  function forgetGeneration(state: Stored): void {
    const { inForce, attempt } = state;
    const failed = attempt.failed === undefined ? undefined : { ...attempt.failed, generation: -1 };
    store(state, { inForce: { ...inForce, generation: -1 }, attempt: { ...attempt, failed } });
  }

  async function pruneObjects(work: Work): Promise<KustomizationEvent | undefined> {
    const pass = passOf(work);
    const { app, state } = pass;
    const { history } = state.announced;
    try {
      take(work, await pruneAct.prune(pass));
      if (state.announced.history !== history) await writeHistory(app, state);
      await inventory.write(app, state, { revision: state.inForce.revision });
      store(work.state, { prune: { ...state.prune, failures: 0 } });
      return undefined;
    } catch (err) {
      const failed = pruneAct.fail(pass, err);
      take(work, failed);
      return failed.event;
    }
  }

  /** Reads what earlier processes wrote of the app, unless that is done. */
  async function load(app: Kustomization): Promise<AppRecords> {
    const key = keyOf(app);
    const state = states.get(key);
    invariant(state !== undefined, `no records of app ${key}`);
    if (!state.ownership.isLoaded) {
      const history = await inventory.load(app, state);
      store(state, { announced: { ...state.announced, history } });
    }
    return state;
  }

  /** What is in force does not depend on the record of it. */
  async function writeHistory(app: Kustomization, { key, announced }: AppRecords): Promise<void> {
    const redact = redactFor(key);
    const history = announced.history.map((entry) => ({
      ...entry,
      changes: entry.changes.map((change) => redactedChange(change, redact)),
    }));
    await inventory.writeHistory(app, history).catch((err: unknown) => log.error({ kustomization: key, err }, 'Could not write history'));
  }

  function objectChanged(key: string, id: ObjectId, object: DynamicObject | undefined): void {
    const state = states.get(key);
    if (state === undefined) return;
    const { ownership, prune, attempt } = state;
    if (object === undefined && ownership.doomed.has(id)) store(state, { prune: { ...prune, lookAt: 0 } });
    // An object that could not be written has changed: another try may succeed, and need not wait for its turn.
    const failed = attempt.failing.get(id);
    if (failed !== undefined && failed !== contentOf(object)) store(state, { attempt: dueNow(attempt) });
  }

  function handedOver(key: string, id: ObjectId): void {
    const state = states.get(key);
    // The app was refused the object for as long as the other one named it.
    if (state?.attempt.failed === undefined || !state.attempt.failing.has(id)) return;
    const failing = new Map([...state.attempt.failing].filter(([each]) => each !== id));
    store(state, { attempt: { ...dueNow(state.attempt), failing } });
    controller.enqueue(key);
  }

  /** What a pass finds after it acted. Begins the time that the app waits for health, and says how the wait ended. */
  function observeHealth(work: Work, from: KustomizationState, health: Health): readonly KustomizationEvent[] {
    const { pass, state, learned } = work;
    const { app } = pass;
    const acted = { learned, isRollingOut: state.attempt.rollout !== undefined, hasErrors: state.attempt.errors.length > 0 };
    const isOver = !acted.isRollingOut && !isSyncLost(learned);
    const isHealthy = health.status === 'Healthy' || state.ownership.applied.size === 0;
    if (isOver && state.attempt.record?.current === 'health' && isHealthy) endHealth(work, 'done');
    if (awaitsHealth(app, from, acted)) {
      // After a start, and when only the spec changed, nothing was applied that the time could count from.
      const isNew = learned.some(({ type }) => type === 'APPLIED') && stateOf(app) !== 'Progressing';
      if (state.inForce.waitsSince === 0 || isNew) store(state, { inForce: { ...state.inForce, waitsSince: clock.now() } });
    }
    const ready = readiness(state, health);
    const isLate = isLateForHealth(app, state, clock.now());
    const events = [...healthEventsOf(app, from, { ...acted, readiness: ready.status, isLate })];
    const outcome = events.at(-1)?.type;
    if (outcome === 'BECAME_HEALTHY') work.finding = { reason: reasons.succeeded, message: `Applied revision: ${state.inForce.revision}` };
    if (outcome === 'CANNOT_BECOME_HEALTHY' || outcome === 'HEALTH_DEADLINE_PASSED') {
      work.finding = { reason: reasons.healthCheckFailed, message: ready.reason };
      endHealth(work, 'failed');
    }
    return events;
  }

  function endHealth({ pass: { app }, state }: Work, result: 'done' | 'failed'): void {
    state.attempt.record?.end(result);
    const reason = result === 'done' ? reasons.succeeded : reasons.healthCheckFailed;
    store(state, { announced: tellPhase({ app, state, now: clock.now() }, reason) });
  }

  async function writeStatus(
    { pass: { app, revision, newest, hold, signal }, state, finding, superseded }: Work,
    value: KustomizationState,
    health: Health,
  ): Promise<void> {
    if (superseded) return;
    const isSuspended = app.spec.suspend === true && newest !== undefined;
    const status = statusChange({
      app,
      state,
      value,
      finding,
      health,
      attempted: (app.spec.suspend === true ? newest : revision)?.commit.revision,
      hold,
      isInDoubt: appObject.isStatusInDoubt(state.key),
      waiting: isSuspended ? await held.waitingAt(app, newest, signal) : undefined,
      now: timestampOf(clock.now()),
      redact: redactFor(state.key),
    });
    if (status !== undefined) await appObject.writeStatus(state.key, status);
  }

  function nextLook({ pass, state, deleting, superseded }: Work, value: KustomizationState): Result | undefined {
    const { app, target, checksUnknown } = pass;
    if (superseded) return undefined;
    const suspendedMs = suspendedForMs(app);
    if (suspendedMs !== undefined) return { requeueAfterMs: suspendedMs };
    if (deleting > 0) return { requeueAfterMs: state.prune.failures > 0 ? retryDelayMs(app, state.prune.failures) : recheckDeletionMs };
    const healthMs = appHealth.lookAgainAfterMs(app, state) ?? Number.POSITIVE_INFINITY;
    if (state.attempt.rollout !== undefined) {
      const left = timeoutMsOf(app) - (clock.monotonicMs() - state.attempt.rollout.startedAt);
      return { requeueAfterMs: Math.max(100, Math.min(state.attempt.rollout.recheckMs ?? left + 100, left + 100, healthMs)) };
    }
    const graceMs = autoRevert.graceLeftMs(app, state);
    if (value === 'Progressing' && state.inForce.waitsSince > 0) {
      const left = Math.max(1_000, timeoutMsOf(app) - (clock.now() - state.inForce.waitsSince) + 100);
      const driftMs = target.drift.retryAfterMs(state) ?? left;
      return { requeueAfterMs: Math.min(left, driftMs, graceMs ?? left, healthMs, checksUnknown ? recheckKindMs : left) };
    }
    if (state.attempt.failed !== undefined && value !== 'Suspended' && value !== 'Deleting') {
      const waited = clock.monotonicMs() - state.attempt.failed.failedAt;
      return { requeueAfterMs: Math.max(0, state.attempt.failed.retryMs - waited) };
    }
    const waits = [
      state.prune.blocked === '' || value !== 'Ready' ? undefined : Math.max(0, state.prune.lookAt - clock.monotonicMs()),
      target.drift.retryAfterMs(state),
      healthMs,
      graceMs,
      sourceWaitMs(app),
      suspensionEndMs(state),
      checksUnknown ? recheckKindMs : undefined,
    ];
    const soonest = Math.min(...waits.map((ms) => ms ?? Number.POSITIVE_INFINITY));
    return Number.isFinite(soonest) ? { requeueAfterMs: soonest } : undefined;
  }

  function isOutOfDate(app: Kustomization, state: AppRecords, { commit }: KnownRevision): boolean {
    const generation = app.metadata.generation ?? 0;
    const { failed: attempted } = state.attempt;
    if (state.attempt.rollout !== undefined) return true;
    const request = app.metadata.annotations?.[annotations.reconcileRequestedAt];
    if (request !== undefined && request !== state.inForce.handledRequest && request !== app.status?.lastHandledReconcileAt) return true;
    if (attempted !== undefined) {
      // Also when the branch went back to what is in force: that has to be said, and what came half way has to be undone.
      if (attempted.revision !== commit.revision || attempted.generation !== generation) return true;
      return clock.monotonicMs() - attempted.failedAt >= attempted.retryMs - 5;
    }
    if (
      state.inForce.digest === '' ||
      state.inForce.revision !== commit.revision ||
      state.inForce.tree !== commit.tree ||
      state.inForce.generation !== generation
    )
      return true;
    const value = stateOf(app);
    // A pass that ended with an error of its own did not come to say what it had done.
    if (app.status?.lastAppliedRevision !== state.inForce.revision || (value === 'Failed' && !hasFailedOnHealth(app))) return true;
    if (value === 'Waiting' || value === 'New' || value === 'Stalled') return true;
    if (state.ownership.doomed.size === 0 || value !== 'Ready') return false;
    // Objects that are doomed and not held go in the same look.
    return (
      clock.monotonicMs() >= state.prune.lookAt - 5 ||
      state.prune.blocked.endsWith(`=${app.metadata.annotations?.[annotations.approvePrune]}`)
    );
  }

  /** When the first of the objects that are left alone is to be applied again. */
  function suspensionEndMs(state: AppRecords): number | undefined {
    let soonest: number | undefined;
    for (const { desired, skipped } of state.ownership.applied.values()) {
      const until = skipped === 'suspended' ? desired.policy.suspendedUntil : undefined;
      if (until !== undefined && Number.isFinite(until)) soonest = Math.min(soonest ?? until, until);
    }
    return soonest === undefined ? undefined : Math.max(0, soonest - clock.now());
  }

  function forget(key: string): void {
    const state = states.get(key);
    if (state === undefined) return;
    const known = [
      ...[...state.ownership.applied.values()].map(({ desired }) => desired),
      ...state.ownership.pending.values(),
      ...state.ownership.hookObjects.values(),
    ];
    for (const { resource, ref } of [...known, ...state.ownership.doomed.values(), ...state.health.checks.values()]) {
      if (resource !== undefined && ref !== undefined) bound.get(key)?.owned.disown(key, resource, ref);
    }
    bound.delete(key);
    states.delete(key);
    changedValues.delete(key);
    appObject.forget(key);
    held.forget(key);
  }
}

/** Records as this controller alone may change them. */
type Stored = { -readonly [Name in keyof AppRecords]: AppRecords[Name] };

function store(state: Stored, { inForce, attempt, prune, announced }: RecordChanges): void {
  if (inForce !== undefined) state.inForce = inForce;
  if (attempt !== undefined) state.attempt = attempt;
  if (prune !== undefined) state.prune = prune;
  if (announced !== undefined) state.announced = announced;
}

/** The health that readiness depends on: of the objects that `spec.healthChecks` names, unless the app waits for all of its own. */
function readiness({ health: { checks, known } }: AppRecords, health: Health): Health {
  if (checks.size === 0) return health;
  return worstOf(
    [...checks].map(
      ([id, { kind, ref }]) => known.get(id) ?? { status: 'Unknown', reason: `${describe(kind, ref)} was not looked at yet` },
    ),
  );
}

function sourceIndex(app: Kustomization): readonly string[] {
  return [sourceKeyOf(app)];
}

function dependencyIndex(app: Kustomization): readonly string[] {
  return dependencyKeys(app);
}

/** True when another value of the annotation decides about variables that are not set. */
const substitutesAnew = (before: Kustomization, after: Kustomization): boolean =>
  before.metadata.annotations?.[annotations.undefinedVariables] !== after.metadata.annotations?.[annotations.undefinedVariables];

function isNews(before: Kustomization, after: Kustomization): boolean {
  return (
    before.metadata.generation !== after.metadata.generation ||
    before.metadata.deletionTimestamp !== after.metadata.deletionTimestamp ||
    !deepEqual(before.metadata.annotations, after.metadata.annotations)
  );
}

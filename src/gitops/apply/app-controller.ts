import { type Kustomization, kustomizations } from '../../api/kustomize/v1/kustomization.ts';
import { gitRepositories } from '../../api/source/v1/git-repository.ts';
import { annotations } from '../../api/well-known.ts';
import { untilAborted } from '../../base/concurrency.ts';
import type { Informer, InformerSet } from '../../client/informer.ts';
import type { Finding } from '../../lifecycle/flux-conditions.ts';
import { eventsOf, type KustomizationState, stateOf } from '../../lifecycle/kustomization.facts.ts';
import { type KustomizationEvent, kustomizationMachine } from '../../lifecycle/kustomization.machine.ts';
import type { Health } from '../../lifecycle/reasons.ts';
import { deepEqual, keyOf, refOf } from '../../machinery/object.ts';
import { type Controller, createController, type Result } from '../../reconcile/controller.ts';
import { advance } from '../../reconcile/effects.ts';
import { watchValues } from '../../reconcile/watched-values.ts';
import { judgeHealth } from './acts/judge-health.ts';
import type { Outcome, Pass } from './acts/pass.ts';
import { type AppControllerOptions, type AppParts, createAppParts } from './app-parts.ts';
import type { ObjectId } from './objects/object-id.ts';
import { byDependency, dependencyKeys, labelsOf, sourceKeyOf } from './plan/app-spec.ts';
import type { AppBuilder } from './plan/post-build.ts';
import { createRecordKeeper, type RecordKeeper } from './record-keeper.ts';
import { metricsStateOf, sourceAt } from './status/app-status.ts';
import type { AppMetricsState } from './status/gitops-metrics.ts';
import { activitiesOf } from './status/recalled-activity.ts';
import { createInventory } from './sync/inventory.ts';
import { disownAll, type Target } from './target/target.ts';

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

/** Keeps apps what their commits say: one reconcile is observe, decide, act, health, status. */
export function createAppController(options: AppControllerOptions): AppController {
  const { client, informers, clock, log, metrics, revisions, redactor, gitops, labelSelector } = options;
  const scope = labelSelector === undefined ? {} : { labelSelector };
  const apps = informers.get(kustomizations, scope);
  apps.addIndex(bySource, (app) => [sourceKeyOf(app)]);
  apps.addIndex(byDependency, dependencyKeys);
  const sources = informers.get(gitRepositories, scope);
  const inventory = createInventory({
    client,
    onHistory: (app, history) => options.feed.recall(activitiesOf(app, history)),
  });
  const keeper = createRecordKeeper({ inventory, redactor, log });
  const wake = (key: string): void => controller.enqueue(key);
  const parts = createAppParts({ options, apps, bySource, inventory, keeper, wake });
  const { attempts, claims, held, object, suspensions, targets } = parts;
  const runPass = createPasses({ options, parts, inventory, keeper, wake });
  /** Clusters of apps, each as the last pass found it. */
  const bound = new Map<string, Target>();

  const controller = createController({
    name: 'kustomization',
    clock,
    log,
    workers: 8,
    reconcile: (key, { signal }) => reconcile(key, signal),
    // Caches of other kinds are waited for by the apps that need them: one that cannot be had is no one else's trouble.
    waitForSync: ({ signal }) => untilAborted(apps.whenSynced, signal),
    observer: metrics.observerOf('kustomization'),
  });

  async function reconcile(key: string, signal: AbortSignal): Promise<Result | undefined> {
    const cached = apps.getByKey(key);
    if (cached === undefined) {
      forget(key);
      targets.release(key);
      const { namespace = '', name } = refOf(key);
      gitops.appGone(namespace, name);
      return undefined;
    }
    const cluster = await targets.of(cached);
    if (cluster.state === 'connecting') return undefined;
    // The records of an app are about its objects on one cluster.
    if (cluster.state === 'ready' && bound.get(key) !== cluster.target) forget(key);
    const state = keeper.open(key);
    const app = object.newest(cached);
    if (cluster.state !== 'ready') return parts.unreachable(app, state, cluster);
    const { target } = cluster;
    bound.set(key, target);
    gitops.appSeen(labelsOf(app).namespace, app.metadata.name);
    if (await suspensions.resumeWhenDue(app)) return undefined;
    return runPass({ app, state, target, signal });
  }

  function forget(key: string): void {
    const state = keeper.of(key);
    if (state === undefined) return;
    const target = bound.get(key);
    if (target !== undefined) disownAll(target, state);
    bound.delete(key);
    keeper.forget(key);
    attempts.forget(key);
    object.forget(key);
    held.forget(key);
  }

  /** The variables are part of what the spec says: a change counts as one of the spec. */
  function forgetValues(key: string): void {
    if (keeper.of(key) === undefined) return;
    keeper.forgetGeneration(key, 'forget');
    attempts.noteChange(key);
  }

  return {
    ...controller,
    get depth() {
      return controller.depth;
    },
    get active() {
      return controller.active;
    },
    async start({ signal }) {
      // Not in the constructor: a cache that is full already reports all it has at once.
      followApps({ apps, informers, wake, forgetValues, forgetClaims: claims.invalidate });
      await controller.start({ signal });
    },
    revisionChanged(sourceKey) {
      for (const app of apps.byIndex(bySource, sourceKey)) {
        const key = keyOf(app);
        attempts.supersede(key);
        controller.enqueue(key);
      }
    },
    async stop() {
      await controller.stop();
      targets.stop();
    },
    builder: parts.builder,
    healthsOf: (key) => keeper.of(key)?.health.known ?? new Map(),
    *metricsStates() {
      for (const cached of apps.list()) {
        const key = keyOf(cached);
        const app = object.newest(cached);
        const source = sourceAt(sources.getByKey(sourceKeyOf(app)), app, revisions);
        yield metricsStateOf(app, { state: keeper.of(key), source, owned: bound.get(key)?.owned });
      }
    },
  };
}

/** Wakes apps that changed, or a dependency or variable of theirs. */
function followApps({
  apps,
  informers,
  wake,
  forgetValues,
  forgetClaims,
}: {
  readonly apps: Informer<Kustomization>;
  readonly informers: InformerSet;
  wake(key: string): void;
  forgetValues(key: string): void;
  forgetClaims(): void;
}): void {
  apps.addHandler(({ before, after }) => {
    const object = after ?? before;
    if (object === undefined) return;
    const key = keyOf(object);
    if (before === undefined || after === undefined || isNews(before, after)) {
      forgetClaims();
      if (before !== undefined && after !== undefined && hasOtherDefaults(before, after)) forgetValues(key);
      wake(key);
    }
    for (const dependent of apps.byIndex(byDependency, key)) wake(keyOf(dependent));
  });

  watchValues({
    owners: apps,
    informers,
    refsOf: ({ spec }) => spec.postBuild?.substituteFrom ?? [],
    onChange(app) {
      const key = keyOf(app);
      forgetValues(key);
      forgetClaims();
      wake(key);
    },
  });
}

/** True when another value of the annotation decides about variables that are not set. */
const hasOtherDefaults = (before: Kustomization, after: Kustomization): boolean =>
  before.metadata.annotations?.[annotations.undefinedVariables] !== after.metadata.annotations?.[annotations.undefinedVariables];

function isNews(before: Kustomization, after: Kustomization): boolean {
  return (
    before.metadata.generation !== after.metadata.generation ||
    before.metadata.deletionTimestamp !== after.metadata.deletionTimestamp ||
    !deepEqual(before.metadata.annotations, after.metadata.annotations)
  );
}

/** A pass with its findings so far. */
interface Work {
  readonly pass: Pass;
  finding: Finding;
  readonly learned: KustomizationEvent[];
  superseded: boolean;
  finished: boolean;
  deleting: number;
}

interface PassesOptions {
  readonly options: Pick<AppControllerOptions, 'clock' | 'steps'>;
  readonly parts: AppParts;
  readonly inventory: Pick<ReturnType<typeof createInventory>, 'write'>;
  readonly keeper: RecordKeeper;
  wake(key: string): void;
}

/** Gives the function that takes an app through one pass, and stores what its acts give. */
function createPasses({ options: { clock, steps }, parts, inventory, keeper, wake }: PassesOptions) {
  const { appHealth, attempts, autoRevert, finder, pruneAct, suspensions, syncAct } = parts;
  const machine = kustomizationMachine;

  return async (of: Pick<Pass, 'app' | 'state' | 'target' | 'signal'>): Promise<Result | undefined> => {
    const work = await begin(of);
    const { pass } = work;
    const { app, state, target } = pass;
    const { key } = state;

    // 1. Observe and decide; the effects act and add what they learned.
    const effects = effectsOf(work);
    const seen = parts.observe(pass);
    work.finding = seen.rejection ?? seen.dependency ?? work.finding;
    const observed = await advance({ machine, key, from: stateOf(app), events: eventsOf(app, seen), effects, steps });
    if (work.finished) return undefined;
    // 2. Health of what is in force, then what follows from both.
    const from = observed.value as KustomizationState;
    const health = appHealth.current(app, state, target);
    const judgement = judgeHealth(pass, { from, learned: work.learned, health, now: clock.now() });
    take(work, judgement.outcome);
    const { value } = await advance({ machine, key, from, events: judgement.events, effects, steps });
    // 3. Tell: activity, then status, in one place.
    keeper.store(key, { announced: appHealth.announce(app, state, { health, target }) });
    await autoRevert.rememberHealthy(pass, health);
    // A Job that completed is on record before its time to live ends, so that no start runs it again.
    const { isLoaded, hasNewCompletions } = state.ownership;
    if (isLoaded && hasNewCompletions) await inventory.write(app, state, { revision: state.inForce.revision });
    if (work.superseded) return undefined;
    await autoRevert.revertWhenBad(passOf(work), value, health);
    await parts.status.write(passOf(work), { value, health });
    return parts.nextLook(pass, { value, deleting: work.deleting });
  };

  async function begin({ app: cached, state, target, signal }: Pick<Pass, 'app' | 'state' | 'target' | 'signal'>): Promise<Work> {
    const isDeleted = cached.metadata.deletionTimestamp !== undefined;
    const checksUnknown = !isDeleted && (await target.checks.follow(cached, state));
    const found = await finder.find(cached, signal);
    const pass: Pass = { ...found, state, target, signal, checksUnknown };
    if (cached.spec.suspend === true && !isDeleted) await suspensions.survey(pass);
    return { pass, finding: pass.finding, learned: [], superseded: false, finished: false, deleting: 0 };
  }

  function passOf({ pass, finding }: Work): Pass {
    return { ...pass, finding };
  }

  /** Stores what an act gave, at once. */
  function take(work: Work, outcome: Outcome): void {
    keeper.store(work.pass.state.key, outcome);
    work.finding = outcome.finding ?? work.finding;
    work.superseded = outcome.superseded ?? work.superseded;
    work.finished = outcome.finished ?? work.finished;
    work.deleting = outcome.deleting ?? work.deleting;
  }

  function effectsOf(work: Work) {
    return {
      syncRevision: () => syncRevision(work),
      correctDrift: () => parts.correctDrift(work.pass),
      pruneObjects: () => pruneObjects(work),
      finalizeApp: async () => take(work, await pruneAct.finalize(passOf(work))),
    };
  }

  async function syncRevision(work: Work): Promise<void> {
    const pass = passOf(work);
    const { app, state, revision } = pass;
    if (revision === undefined) return;
    const go = syncAct.begin(pass, revision);
    const { history } = state.announced;
    const end = await attempts.run(pass, go);
    const outcome = syncAct.outcomeOf(pass, go, end);
    take(work, outcome);
    if (outcome.event !== undefined) work.learned.push(outcome.event);
    if (end.type === 'superseded') wake(state.key);
    if (attempts.readOldValues(state.key)) keeper.forgetGeneration(state.key, 'keep');
    if (state.announced.history !== history) await keeper.writeHistory(app);
  }

  async function pruneObjects(work: Work): Promise<KustomizationEvent | undefined> {
    const pass = passOf(work);
    const { app, state } = pass;
    const { history } = state.announced;
    try {
      take(work, await pruneAct.prune(pass));
      if (state.announced.history !== history) await keeper.writeHistory(app);
      await inventory.write(app, state, { revision: state.inForce.revision });
      keeper.store(state.key, { prune: { ...state.prune, failures: 0 } });
      return undefined;
    } catch (err) {
      const failed = pruneAct.fail(pass, err);
      take(work, failed);
      return failed.event;
    }
  }
}

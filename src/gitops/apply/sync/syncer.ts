import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { Clock } from '../../../base/clock.ts';
import { mapBounded } from '../../../base/concurrency.ts';
import type { ObjectChange } from '../../../base/contracts/activity.ts';
import type { BuildError, BuildResult } from '../../manifests/manifest.ts';
import type { KnownRevision } from '../../sources/follow/known-revision.ts';
import type { IgnoredFields } from '../objects/ignored-fields.ts';
import { describeObject, type ObjectId } from '../objects/object-id.ts';
import type { ResourceMapper } from '../objects/resource-mapper.ts';
import type { HealthRules } from '../observe/health.ts';
import type { OwnedObjects } from '../observe/owned-objects.ts';
import { sourceKeyOf, timeoutMsOf } from '../plan/app-spec.ts';
import type { Claim, Claims } from '../plan/claims.ts';
import { type DesiredObject, type Plan, planObjects } from '../plan/plan.ts';
import type { AppBuilder } from '../plan/post-build.ts';
import { PartsMissing, SyncFailure } from '../plan/sync-failure.ts';
import type { AppRecords } from '../records/app-records.ts';
import type { Rollout } from '../records/attempt.ts';
import type { AttemptRecord } from '../records/attempt-record.ts';
import { createDryRun } from './dry-run.ts';
import type { Hooks } from './hooks.ts';
import type { Inventory } from './inventory.ts';
import type { ObjectWriter } from './object-writer.ts';
import type { PruneOutcome } from './pruner.ts';
import { changedIn, concurrency, KindsGone, kindOf, noKinds, type Progress, progressOf, type Run, rolloutOf } from './run.ts';
import type { Trials } from './trial.ts';
import { createWaves, type Wait } from './waves.ts';

export interface SyncerOptions {
  readonly builder: AppBuilder;
  readonly mapper: ResourceMapper;
  readonly owned: OwnedObjects;
  readonly writer: ObjectWriter;
  readonly trials: Trials;
  readonly hooks: Hooks;
  readonly ignored: IgnoredFields;
  readonly inventory: Pick<Inventory, 'write'>;
  readonly claims: Pick<Claims, 'othersThan' | 'isFirst'>;
  readonly clock: Clock;
  rulesOf(app: Kustomization): HealthRules;
  /** Lists Namespaces of the cluster, for messages; only some where there are very many. */
  namespaceNames(signal: AbortSignal): Promise<readonly string[]>;
  /** Deletes those objects that left Git and have to go before others come. */
  pruneBefore(
    app: Kustomization,
    state: AppRecords,
    options: { readonly revision: string; readonly signal: AbortSignal },
  ): Promise<PruneOutcome>;
}

/** An app and the attempt to put a revision of it in force. */
export interface SyncRequest {
  readonly app: Kustomization;
  readonly state: AppRecords;
  readonly record: AttemptRecord;
  readonly signal: AbortSignal;
}

export interface SyncOutcome {
  readonly build: BuildResult;
  readonly digest: string;
  readonly changes: readonly ObjectChange[];
  readonly unchanged: number;
  /** What the next wave waits for; empty when all of the revision is in force. The sync is called again when it may go on. */
  readonly waitsFor: readonly string[];
  /** How far the waves came; undefined when all of them are through. */
  readonly rollout: Rollout | undefined;
  /** Instructions in the revision that nobody carries out. */
  readonly notes?: readonly string[];
}

/** Puts a revision of an app in force, or nothing of it. */
export interface Syncer {
  /**
   * Steps: build, plan, dry run of all that changed, write-ahead inventory, apply wave by wave. Objects that are in force already cost
   * nothing. Between two waves nothing is held: the outcome says what is waited for.
   *
   * @throws SyncFailure with every error that was found; before the apply step nothing was written
   * @throws Superseded when `signal` is aborted between two objects
   */
  sync(request: SyncRequest): Promise<SyncOutcome>;
  /** Applies one object again and takes its fields back, whoever has them; undefined when nothing had to be put back. */
  heal(request: Omit<SyncRequest, 'record'>, desired: DesiredObject): Promise<ObjectChange | undefined>;
  /** Compares the cluster with a revision that is in force, and writes nothing: for an app that is suspended when the engine starts. */
  survey(request: Omit<SyncRequest, 'record'>, revision: KnownRevision): Promise<void>;
}

/** A deletion announces itself; this is for when the announcement is lost. */
const removalRecheckMs = 1_000;
/** A revision that is wrong at a place in a file is tried again by itself after this time. */
const finalRetryMs = 5 * 60_000;

export function createSyncer(options: SyncerOptions): Syncer {
  const { builder, mapper, owned, writer, trials, hooks, ignored, inventory, claims, clock, rulesOf, namespaceNames, pruneBefore } =
    options;
  const { redactor } = builder;
  const dryRun = createDryRun({ owned, writer, trials, ignored, mapper, redactor, clock, namespaceNames });
  const waves = createWaves({ dryRun, owned, writer, trials, hooks, mapper, inventory, redactor });

  return {
    async sync(request) {
      try {
        return await syncOnce(request, { rollout: request.state.attempt.rollout, gone: noKinds });
      } catch (err) {
        if (!(err instanceof KindsGone)) throw err;
        mapper.forget();
        return await syncOnce(request, { rollout: undefined, gone: err.kinds });
      }
    },
    heal: ({ app, state, signal }, desired) => writer.apply({ app, state, desired, mode: 'force', signal }),
    async survey({ app, state, signal }, revision) {
      const build = await builder.build(app, revision, signal);
      if (build.errors.length > 0) throw new SyncFailure('BuildFailed', build.errors);
      const plan = await planRevision({ app, state, signal }, { build, gone: noKinds });
      const known = [...plan.objects.values()].filter(({ id }) => !plan.undefinedYet.has(id));
      await dryRun.follow({ state, signal }, known);
      await mapBounded(known, concurrency, (desired) => writer.survey({ app, state, desired, signal }));
      for (const id of plan.objects.keys()) if (state.ownership.applied.has(id)) state.ownership.spare(id);
      state.ownership.touch();
    },
  };

  /** What an earlier attempt leaves to this one. */
  interface Earlier {
    readonly rollout: Rollout | undefined;
    readonly gone: ReadonlySet<string>;
  }

  async function syncOnce(request: SyncRequest, earlier: Earlier): Promise<SyncOutcome> {
    const { app, state, record, signal } = request;
    const { revision } = record;
    record.begin('render');
    const build = await buildRevision(request);
    if (isInForce(request, build)) return unchanged(build, state.ownership.applied.size);

    record.begin('plan');
    const rollout = goesOn(earlier.rollout, app, build) ? earlier.rollout : undefined;
    const plan = rollout?.plan ?? (await planRevision(request, { build, gone: earlier.gone }));
    state.ownership.compare(plan);
    const run: Run = { app, state, build, plan, revision, signal, rules: rulesOf(app), gone: earlier.gone };
    const changed = changedIn(plan, run);
    if (changed.length === 0 && state.ownership.doomed.size === 0 && areHooksDone(run)) return unchanged(build, plan.objects.size);
    state.ownership.touch();

    const progress = await tryOut(run, { changed, rollout });

    record.begin('apply');
    await writeAhead(run);
    return putInForce(run, progress, await applyWaves(run, progress));
  }

  /** Reads the tree, through caches. @throws SyncFailure when a file is wrong, or the app would lose all its objects */
  async function buildRevision({ app, state, record, signal }: SyncRequest): Promise<BuildResult> {
    const build = await builder.build(app, record.revision, signal);
    if (build.errors.length > 0) {
      // An error at a place in a file is there at the next try, too; a commit or the spec brings one at once.
      const isFinal = build.errors.every(({ line }) => line !== undefined);
      throw new SyncFailure('BuildFailed', build.errors, new Set(), isFinal ? finalRetryMs : 0);
    }
    if (build.manifests.length === 0 && (state.ownership.applied.size > 0 || state.ownership.doomed.size > 0)) {
      throw new SyncFailure('BuildFailed', [
        {
          file: app.spec.path ?? '.',
          message: 'holds no manifest, though the app has objects; nothing was pruned',
          hint: 'To remove an app, delete its Kustomization.',
        },
      ]);
    }
    return build;
  }

  /** Finds the kind and the names of each object, and who owns it. @throws SyncFailure with all errors */
  async function planRevision(
    { app, state, signal }: Omit<SyncRequest, 'record'>,
    { build, gone }: { readonly build: BuildResult; readonly gone: ReadonlySet<string> },
  ): Promise<Plan> {
    const { applied } = state.ownership;
    const plan = await planObjects({
      app,
      manifests: build.manifests,
      mapper,
      before: new Map([...applied].flatMap(([id, { desired }]) => (gone.has(kindOf(desired)) ? [] : [[id, desired] as const]))),
    });
    const taken = claimErrors(app, plan, await claims.othersThan(app, signal));
    const errors = [...plan.errors, ...taken.values()];
    if (plan.lacksKindsOnly && taken.size === 0) throw new PartsMissing('BuildFailed', errors);
    if (errors.length > 0) throw new SyncFailure('BuildFailed', errors, new Set(taken.keys()));
    return plan;
  }

  function claimErrors(app: Kustomization, plan: Plan, claimOf: (id: ObjectId) => Claim | undefined): ReadonlyMap<ObjectId, BuildError> {
    const errors = new Map<ObjectId, BuildError>();
    for (const [id, { object, manifest }] of [...plan.objects, ...plan.hooks]) {
      const other = claimOf(id);
      if (other === undefined || claims.isFirst(app, other, id)) continue;
      const where = `${other.file === '' ? 'has' : `defines in ${other.file}`}${other.source === sourceKeyOf(app) ? '' : ` of GitRepository ${other.source}`}`;
      errors.set(id, {
        file: manifest.file,
        line: manifest.line,
        message: `defines ${describeObject(object)}, which app ${other.app} ${where}`,
        hint: 'An object belongs to one app: remove it from the other one first.',
      });
    }
    return errors;
  }

  /** Asks the server about every object that is not decided yet: that changed since, or that failed when others did not. */
  async function tryOut(
    run: Run,
    { changed, rollout }: { readonly changed: readonly DesiredObject[]; readonly rollout: Rollout | undefined },
  ): Promise<Progress> {
    const progress = progressOf(rollout, clock.monotonicMs());
    const undecided = changed.filter(({ id }) => progress.modes.get(id) === undefined && !run.plan.undefinedYet.has(id));
    await dryRun.follow(run, undecided);
    const { modes, failed } = await dryRun.ask(run, undecided);
    return { ...progress, modes: new Map([...progress.modes, ...modes]), failed: new Map(failed) };
  }

  /** Writes down every object of the plan as the app's, before the first of them is written. */
  async function writeAhead({ app, state, plan, revision }: Run): Promise<void> {
    state.ownership.intend(plan);
    const intended = new Map([...plan.objects, ...plan.hooks]);
    await inventory.write(app, state, { revision: revision.commit.revision, intended });
  }

  /** Makes room, then applies wave by wave. @throws SyncFailure when an object or hook is refused, or a wave waits for too long */
  async function applyWaves(run: Run, progress: Progress): Promise<Wait> {
    const { app, state, revision, signal } = run;
    let wait: Wait;
    try {
      const before = await pruneBefore(app, state, { revision: revision.commit.revision, signal });
      progress.changes.push(...before.changes);
      wait =
        before.remaining > 0
          ? { waitsFor: ['objects to leave that others make room for'], recheckMs: removalRecheckMs }
          : await waves.apply(run, progress);
    } catch (err) {
      if (err instanceof SyncFailure) await waves.startFailureHooks(run);
      throw err;
    }
    if (wait.waitsFor.length > 0 && clock.monotonicMs() - progress.startedAt > timeoutMsOf(app)) {
      throw new SyncFailure(
        'HealthCheckFailed',
        wait.waitsFor.map((reason) => ({ file: '', message: `timeout waiting for: ${reason}` })),
      );
    }
    const { failed } = progress;
    if (failed.size > 0) throw new SyncFailure('ReconciliationFailed', [...failed.values()].flat(), new Set(failed.keys()));
    return wait;
  }

  /** The outcome; when all waves are through, the plan is in force as a whole. */
  function putInForce(run: Run, progress: Progress, { waitsFor, recheckMs }: Wait): SyncOutcome {
    const { state, build, plan } = run;
    const { changes } = progress;
    const outcome = { build, digest: build.digest, changes, waitsFor };
    if (waitsFor.length > 0) return { ...outcome, unchanged: 0, rollout: rolloutOf(run, progress, recheckMs) };
    state.ownership.complete(plan);
    for (const id of state.ownership.doomed.keys()) {
      // Objects to be deleted do not count for the app's health; they may be the unhealthy ones.
      state.health.drop(id);
      state.drifts.forgetNotes(id);
    }
    return { ...outcome, unchanged: plan.objects.size - changes.length, rollout: undefined, notes: plan.notes };
  }
}

/** Nothing changed since the last sync, and nothing is left to do. */
function isInForce({ app, state: { inForce, attempt, drifts, ownership } }: SyncRequest, build: BuildResult): boolean {
  const isSame = build === inForce.build && inForce.generation === app.metadata.generation;
  return isSame && attempt.failed === undefined && attempt.rollout === undefined && drifts.found.size === 0 && ownership.doomed.size === 0;
}

const goesOn = (rollout: Rollout | undefined, { metadata }: Kustomization, build: BuildResult): boolean =>
  rollout?.build === build && rollout.generation === metadata.generation;

const areHooksDone = ({ plan, build, state: { ownership } }: Run): boolean =>
  plan.hooks.size === 0 || (ownership.hooks.digest === build.digest && ownership.hooks.complete);

const unchanged = (build: BuildResult, objects: number): SyncOutcome => ({
  build,
  digest: build.digest,
  changes: [],
  unchanged: objects,
  waitsFor: [],
  rollout: undefined,
});

import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { Clock } from '../../../base/clock.ts';
import { mapBounded } from '../../../base/concurrency.ts';
import type { ObjectChange } from '../../../base/contracts/activity.ts';
import type { BuildResult } from '../../manifests/manifest.ts';
import type { KnownRevision } from '../../sources/follow/known-revision.ts';
import type { IgnoredFields } from '../objects/ignored-fields.ts';
import type { HealthRules } from '../observe/health.ts';
import type { OwnedObjects } from '../observe/owned-objects.ts';
import { timeoutMsOf } from '../plan/app-spec.ts';
import type { DesiredObject } from '../plan/plan.ts';
import { refusal, SyncFailure } from '../plan/sync-failure.ts';
import type { ObjectRecords } from '../records/app-records.ts';
import type { Attempt, Rollout } from '../records/attempt.ts';
import type { AttemptRecord } from '../records/attempt-record.ts';
import type { InForce } from '../records/in-force.ts';
import type { Wait } from './arrivals.ts';
import { createDryRun } from './dry-run.ts';
import type { Hooks } from './hooks.ts';
import type { Inventory } from './inventory.ts';
import type { ObjectWriter } from './object-writer.ts';
import { createPlanner, type PlannerOptions } from './planner.ts';
import type { PruneOptions, PruneOutcome } from './pruner.ts';
import { concurrency, findChanges, KindsGone, noKinds, type Progress, progressOf, type Run, rolloutOf } from './run.ts';
import type { Trials } from './trial.ts';
import { createWaves } from './waves.ts';

export interface SyncerOptions extends PlannerOptions {
  readonly owned: OwnedObjects;
  readonly writer: ObjectWriter;
  readonly trials: Trials;
  readonly hooks: Hooks;
  readonly ignored: IgnoredFields;
  readonly inventory: Pick<Inventory, 'write'>;
  readonly clock: Clock;
  rulesOf(app: Kustomization): HealthRules;
  /** Lists Namespaces of the cluster, for messages; only some where there are very many. */
  namespaceNames(signal: AbortSignal): Promise<readonly string[]>;
  /** Deletes those objects that left Git and have to go before others come. */
  pruneBefore(
    app: Kustomization,
    state: ObjectRecords,
    options: Pick<PruneOptions, 'revision' | 'isRevert' | 'signal'>,
  ): Promise<PruneOutcome>;
}

/** An app whose objects are compared with a revision, or written. */
export interface ObjectsRequest {
  readonly app: Kustomization;
  readonly state: ObjectRecords;
  readonly signal: AbortSignal;
}

/** An attempt to put a revision of an app in force. */
export interface SyncRequest extends ObjectsRequest {
  readonly record: AttemptRecord;
  /** The revision in force until now. */
  readonly inForce: Pick<InForce, 'build' | 'generation' | 'isRollback'>;
  /** The attempt before this one. */
  readonly attempt: Pick<Attempt, 'rollout' | 'failed'>;
}

export interface SyncOutcome {
  readonly build: BuildResult;
  readonly digest: string;
  readonly changes: readonly ObjectChange[];
  readonly unchanged: number;
  /** Reasons that the next wave waits; empty when all of the revision is in force. The sync is called again when it may go on. */
  readonly waitsFor: readonly string[];
  /** Progress of the waves; undefined when all of them are through. */
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
  heal(request: ObjectsRequest, desired: DesiredObject): Promise<ObjectChange | undefined>;
  /** Compares the cluster with a revision that is in force, and writes nothing: for an app that is suspended when the engine starts. */
  survey(request: ObjectsRequest, revision: KnownRevision): Promise<void>;
}

/** A deletion announces itself; this is for when the announcement is lost. */
const removalRecheckMs = 1_000;

export function createSyncer(options: SyncerOptions): Syncer {
  const { builder, mapper, owned, writer, trials, hooks, ignored, inventory, clock, rulesOf, namespaceNames, pruneBefore } = options;
  const { redactor } = builder;
  const planner = createPlanner(options);
  const dryRun = createDryRun({ owned, writer, trials, ignored, mapper, redactor, clock, namespaceNames });
  const waves = createWaves({ dryRun, owned, writer, trials, hooks, mapper, inventory, redactor });

  return {
    async sync(request) {
      try {
        return await syncOnce(request, { rollout: request.attempt.rollout, gone: noKinds });
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
      const plan = await planner.plan({ app, state, signal }, { build, gone: noKinds });
      const known = [...plan.objects.values()].filter(({ id }) => !plan.undefinedYet.has(id));
      await dryRun.follow({ state, signal }, known);
      await mapBounded(known, concurrency, (desired) => writer.survey({ app, state, desired, signal }));
      for (const id of plan.objects.keys()) if (state.ownership.applied.has(id)) state.ownership.spare(id);
      state.ownership.touch();
    },
  };

  /** Facts that an earlier attempt leaves to this one. */
  interface Earlier {
    readonly rollout: Rollout | undefined;
    readonly gone: ReadonlySet<string>;
  }

  async function syncOnce(request: SyncRequest, earlier: Earlier): Promise<SyncOutcome> {
    const { app, state, record, signal } = request;
    const { revision } = record;
    record.begin('render');
    const build = await planner.build(request, revision);
    if (isInForce(request, build)) return unchanged(build, state.ownership.applied.size);

    record.begin('plan');
    const rollout = goesOn(earlier.rollout, app, build) ? earlier.rollout : undefined;
    const plan = rollout?.plan ?? (await planner.plan(request, { build, gone: earlier.gone }));
    state.ownership.compare(plan);
    const run: Run = {
      app,
      state,
      build,
      plan,
      revision,
      signal,
      rules: rulesOf(app),
      gone: earlier.gone,
      isRevert: request.inForce.isRollback,
      failures: request.attempt.failed?.failures ?? 0,
    };
    const changed = findChanges(plan, run);
    if (changed.length === 0 && state.ownership.doomed.size === 0 && areHooksDone(run)) return unchanged(build, plan.objects.size);
    state.ownership.touch();

    const progress = await tryOut(run, { changed, rollout });

    record.begin('apply');
    await writeAhead(run);
    return putInForce(run, progress, await applyWaves(run, progress));
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
    const { app, state, revision, isRevert, signal } = run;
    let wait: Wait;
    try {
      const before = await pruneBefore(app, state, { revision: revision.commit.revision, isRevert, signal });
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
    if (failed.size > 0) throw refusal(failed);
    return wait;
  }
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

/** Nothing changed since the last sync, and nothing is left to do. */
function isInForce({ app, inForce, attempt, state: { drifts, ownership } }: SyncRequest, build: BuildResult): boolean {
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

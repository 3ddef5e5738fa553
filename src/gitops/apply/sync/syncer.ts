import { namespaces } from '../../../api/core/v1/namespace.ts';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { annotations } from '../../../api/well-known.ts';
import type { ObjectChange } from '../../../base/activity.ts';
import type { Clock } from '../../../base/clock.ts';
import { mapBounded } from '../../../base/concurrency.ts';
import { type DynamicObject, refOf } from '../../../machinery/object.ts';
import type { Resource } from '../../../machinery/resource.ts';
import { isForbidden, isNotFound, isStatusError, isUnknownResource, type StatusError } from '../../../machinery/status-error.ts';
import type { BuildError, BuildResult } from '../../manifests/manifest.ts';
import { SelectorError } from '../../render/kustomize/selector.ts';
import type { KnownRevision } from '../../sources/follow/known-revision.ts';
import { type ApplyMode, type AppState, type Rollout, touchInventory } from '../app-state.ts';
import type { IgnoredFields } from '../objects/ignored-fields.ts';
import { isScalable } from '../objects/ignored-fields.ts';
import { describeObject, type ObjectId, tryParseId } from '../objects/object-id.ts';
import type { HookPhase } from '../objects/object-policy.ts';
import { stagesOf, type Wave, wavesOf } from '../objects/order.ts';
import type { ResourceMapper } from '../objects/resource-mapper.ts';
import type { HealthRules } from '../observe/health.ts';
import type { OwnedObjects } from '../observe/owned-objects.ts';
import { sourceKeyOf, timeoutMsOf } from '../plan/app-spec.ts';
import type { Claim, Claims } from '../plan/claims.ts';
import { missingNamespaceError } from '../plan/missing-namespaces.ts';
import { errorsOf } from '../plan/object-errors.ts';
import { type DesiredObject, definitionKind, isDefinition, kindsOf, type Plan, planObjects } from '../plan/plan.ts';
import type { AppBuilder } from '../plan/post-build.ts';
import { type Redaction, redactionOf } from '../plan/secret-values.ts';
import { PartsMissing, Superseded, SyncFailure } from '../plan/sync-failure.ts';
import type { AttemptRecord } from './attempt.ts';
import type { Hooks } from './hooks.ts';
import type { Inventory } from './inventory.ts';
import type { ObjectWriter } from './object-writer.ts';
import type { PruneOutcome } from './pruner.ts';
import type { Trials } from './trial.ts';

export interface SyncerOptions {
  readonly builder: AppBuilder;
  readonly mapper: ResourceMapper;
  readonly owned: OwnedObjects;
  readonly writer: ObjectWriter;
  readonly trials: Trials;
  readonly hooks: Hooks;
  readonly ignored: IgnoredFields;
  readonly inventory: Inventory;
  readonly claims: Claims;
  readonly clock: Clock;
  rulesOf(app: Kustomization): HealthRules;
  /** Lists Namespaces of the cluster, for messages; only some where there are very many. */
  namespaceNames(signal: AbortSignal): Promise<readonly string[]>;
  /** Deletes those objects that left Git and have to go before others come. */
  pruneBefore(
    app: Kustomization,
    state: AppState,
    options: { readonly revision: string; readonly signal: AbortSignal },
  ): Promise<PruneOutcome>;
}

export interface SyncOutcome {
  readonly changes: readonly ObjectChange[];
  readonly digest: string;
  readonly unchanged: number;
  /** What the next wave waits for; empty when all of the revision is in force. The sync is called again when it may go on. */
  readonly waitsFor: readonly string[];
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
  sync(app: Kustomization, state: AppState, attempt: AttemptRecord, signal: AbortSignal): Promise<SyncOutcome>;
  /** Applies one object again and takes its fields back, whoever has them; undefined when nothing had to be put back. */
  heal(app: Kustomization, state: AppState, desired: DesiredObject, signal: AbortSignal): Promise<ObjectChange | undefined>;
  /** Compares the cluster with a revision that is in force, and writes nothing: for an app that is suspended when the engine starts. */
  survey(app: Kustomization, state: AppState, revision: KnownRevision, signal: AbortSignal): Promise<void>;
}

/** Requests of one app under way at the same time. */
const concurrency = 32;
/** The first list of a kind takes longer only when the cluster is in trouble, which is said then. */
const maxCacheWaitMs = 10_000;

export function createSyncer(options: SyncerOptions): Syncer {
  const { builder, mapper, owned, writer, trials, hooks, ignored, inventory, claims, clock, rulesOf, namespaceNames, pruneBefore } =
    options;

  const redaction = (app: Kustomization): Redaction => redactionOf(builder.redactor, app);

  return {
    async sync(app, state, attempt, signal) {
      try {
        return await syncOnce({ app, state, attempt, signal, gone: noKinds });
      } catch (err) {
        if (!(err instanceof KindsGone)) throw err;
        mapper.forget();
        state.rollout = undefined;
        return await syncOnce({ app, state, attempt, signal, gone: err.kinds });
      }
    },
    heal: (app, state, desired, signal) => writer.apply({ app, state, desired, mode: 'force', signal }),
    async survey(app, state, revision, signal) {
      const build = await builder.build(app, revision, signal);
      if (build.errors.length > 0) throw new SyncFailure('BuildFailed', build.errors);
      const plan = await planFor({ app, state, build, gone: noKinds, signal });
      const run: Run = { app, state, build, plan, revision, signal, failed: new Map(), rules: rulesOf(app), gone: noKinds };
      const known = [...plan.objects.values()].filter(({ id }) => !plan.undefinedYet.has(id));
      await follow(run, known);
      await mapBounded(known, concurrency, (desired) => writer.survey({ app, state, desired, signal }));
      for (const id of plan.objects.keys()) if (state.applied.has(id)) state.doomed.delete(id);
      touchInventory(state);
    },
  };

  interface Go {
    readonly app: Kustomization;
    readonly state: AppState;
    readonly attempt: AttemptRecord;
    readonly signal: AbortSignal;
    /** Kinds that the server turned out not to have any more: what was known of their objects does not count. */
    readonly gone: ReadonlySet<string>;
  }

  async function syncOnce({ app, state, attempt, signal, gone }: Go): Promise<SyncOutcome> {
    const { revision } = attempt;
    // 1. Build: the tree, read through caches.
    attempt.begin('render');
    const build = await builder.build(app, revision, signal);
    if (build.errors.length > 0) {
      // An error at a place in a file is there at the next try, too; a commit or the spec brings one at once.
      const isFinal = build.errors.every(({ line }) => line !== undefined);
      throw new SyncFailure('BuildFailed', build.errors, new Set(), isFinal ? finalRetryMs : 0);
    }
    if (build.manifests.length === 0 && (state.applied.size > 0 || state.doomed.size > 0)) {
      throw new SyncFailure('BuildFailed', [
        {
          file: app.spec.path ?? '.',
          message: 'holds no manifest, though the app has objects; nothing was pruned',
          hint: 'To remove an app, delete its Kustomization.',
        },
      ]);
    }
    const isInForce =
      build === state.build && state.generation === app.metadata.generation && state.attempted === undefined && state.rollout === undefined;
    if (isInForce && state.drifts.size === 0 && state.doomed.size === 0) {
      return { changes: [], digest: build.digest, unchanged: state.applied.size, waitsFor: [] };
    }

    // 2. Plan: kinds, names, and who owns what.
    attempt.begin('plan');
    const plan = await planFor({ app, state, build, gone, signal });
    const changed = changedIn(plan, app, state);
    for (const [id, { desired, uid }] of [...unconfirmed(state), ...state.applied]) {
      if (!plan.objects.has(id) && !plan.hooks.has(id))
        state.doomed.set(id, { version: desired.resource.version, uid, resource: desired.resource, ref: desired.ref });
    }
    // An object that is named again is no longer doomed. Until the inventory intends it, the note that it is doomed is the only one.
    const isNamed = (id: ObjectId): boolean => plan.objects.has(id) || plan.hooks.has(id);
    for (const id of state.doomed.keys()) if (isNamed(id) && state.applied.has(id)) state.doomed.delete(id);
    const hooksDone = plan.hooks.size === 0 || (state.hooks.digest === build.digest && state.hooks.complete);
    if (changed.length === 0 && state.doomed.size === 0 && hooksDone) {
      state.build = build;
      state.rollout = undefined;
      return { changes: [], digest: build.digest, unchanged: plan.objects.size, waitsFor: [] };
    }
    touchInventory(state);

    // 3. Dry run: every object that changed, so that a revision is refused as a whole.
    const run: Run = { app, state, build, plan, revision, signal, failed: new Map(), rules: rulesOf(app), gone };
    const rollout = await beginRollout(run, changed);

    // 4. Write-ahead inventory: whatever happens from here on, every object is known to be ours.
    attempt.begin('apply');
    for (const [id, desired] of plan.objects) if (!state.applied.has(id)) state.pending.set(id, desired);
    for (const [id, hook] of plan.hooks) state.hookObjects.set(id, hook);
    for (const id of state.doomed.keys()) if (isNamed(id)) state.doomed.delete(id);
    await inventory.write(app, state, { revision: revision.commit.revision, intended: new Map([...plan.objects, ...plan.hooks]) });

    // 5. Apply, wave by wave.
    try {
      rollout.waitsFor = await applyWaves(run, rollout);
    } catch (err) {
      if (err instanceof SyncFailure) await startFailureHooks(run);
      throw err;
    }
    if (rollout.waitsFor.length > 0 && clock.monotonicMs() - rollout.startedAt > timeoutMsOf(app)) {
      throw new SyncFailure(
        'HealthCheckFailed',
        rollout.waitsFor.map((reason) => ({ file: '', message: `timeout waiting for: ${reason}` })),
      );
    }
    if (run.failed.size > 0) throw new SyncFailure('ReconciliationFailed', [...run.failed.values()].flat(), new Set(run.failed.keys()));
    if (rollout.waitsFor.length > 0) {
      return { changes: rollout.changes, digest: build.digest, unchanged: 0, waitsFor: rollout.waitsFor };
    }

    for (const id of state.doomed.keys()) {
      state.applied.delete(id);
      state.hookObjects.delete(id);
      state.pending.delete(id);
      // An object that is to go does not count for the app's health: it may be the very one that is not well.
      state.health.delete(id);
      state.notes.delete(id);
    }
    // A manifest that only moved to another line or file is in force as it is.
    for (const [id, desired] of plan.objects) {
      const known = state.applied.get(id);
      if (known !== undefined && known.desired !== desired) state.applied.set(id, { ...known, desired });
    }
    state.build = build;
    state.rollout = undefined;
    const { changes } = rollout;
    return { changes, digest: build.digest, unchanged: plan.objects.size - changes.length, waitsFor: [], notes: plan.notes };
  }

  interface Run {
    readonly app: Kustomization;
    readonly state: AppState;
    readonly build: BuildResult;
    readonly plan: Plan;
    readonly revision: KnownRevision;
    readonly signal: AbortSignal;
    readonly rules: HealthRules;
    /** Errors by object, where the others go on without it. */
    readonly failed: Map<ObjectId, readonly BuildError[]>;
    /** Kinds for which discovery was asked again already. */
    readonly gone: ReadonlySet<string>;
  }

  async function planFor(planning: {
    readonly app: Kustomization;
    readonly state: AppState;
    readonly build: BuildResult;
    readonly gone: ReadonlySet<string>;
    readonly signal: AbortSignal;
  }): Promise<Plan> {
    const { app, state, build, gone, signal } = planning;
    const { rollout } = state;
    if (rollout?.build === build && rollout.generation === app.metadata.generation) return rollout.plan;
    state.rollout = undefined;
    const plan = await planObjects({
      app: refOf(state.key),
      manifests: build.manifests,
      targetNamespace: app.spec.targetNamespace,
      mapper,
      before: new Map([...state.applied].flatMap(([id, { desired }]) => (gone.has(kindOf(desired)) ? [] : [[id, desired] as const]))),
    });
    const taken = claimErrors(app, plan, await claims.othersThan(app, signal));
    const errors = [...plan.errors, ...taken.values()];
    if (plan.lacksKindsOnly && taken.size === 0) throw new PartsMissing('BuildFailed', errors);
    if (errors.length > 0) throw new SyncFailure('BuildFailed', errors, new Set(taken.keys()));
    return plan;
  }

  /** What is not in force as it is planned. A drift that is only to be reported stays as it is. */
  function changedIn(plan: Plan, app: Kustomization, state: AppState): readonly DesiredObject[] {
    const policy = app.metadata.annotations?.[annotations.drift] ?? 'correct';
    return [...plan.objects.values()].filter((desired) => {
      const known = state.applied.get(desired.id);
      if (known?.desired.object !== desired.object || known.inDoubt === true) return true;
      return state.drifts.has(desired.id) && (desired.policy.drift ?? policy) === 'correct';
    });
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

  async function beginRollout(run: Run, changed: readonly DesiredObject[]): Promise<Rollout> {
    const { app, state, build, plan } = run;
    // What is not decided yet is what changed since, and, when some objects failed, what failed.
    const known = state.rollout;
    const undecided = changed.filter(({ id }) => known?.modes.get(id) === undefined && !plan.undefinedYet.has(id));
    const rollout: Rollout = known ?? {
      build,
      plan,
      revision: run.revision.commit.revision,
      generation: app.metadata.generation ?? 0,
      startedAt: clock.monotonicMs(),
      modes: new Map(),
      made: new Set(),
      changes: [],
      waitsFor: [],
      recheckMs: undefined,
    };
    await follow(run, undecided);
    await dryRun(run, undecided, rollout.modes);
    state.rollout = rollout;
    return rollout;
  }

  /** From now on changes of these objects are heard of, and what the caches say of them can be believed. */
  async function follow({ state, signal }: Run, objects: readonly DesiredObject[]): Promise<void> {
    for (const { resource, ref, id } of objects) owned.own(state.key, id, resource, ref);
    const resources = new Map(objects.map(({ resource }) => [`${resource.group}/${resource.resource}`, resource]));
    const limit = new AbortController();
    const cancel = clock.after(maxCacheWaitMs, () => limit.abort());
    try {
      await owned.waitForSync(resources.values(), AbortSignal.any([signal, limit.signal]));
      if (objects.some(({ object }) => isScalable(object))) await ignored.waitForSync(AbortSignal.any([signal, limit.signal]));
    } catch (err) {
      if (signal.aborted) throw new Superseded();
      if (!limit.signal.aborted) throw err;
      const behind = [...resources.values()].filter((resource) => !owned.isSynced(resource)).map(nameOf);
      // A kind that has gone is never listed; the next go finds out.
      mapper.forget();
      const what = behind.length === 0 ? 'horizontalpodautoscalers.autoscaling' : behind.join(', ');
      throw new SyncFailure('ReconciliationFailed', [{ file: '', message: `the cluster does not list ${what}; nothing was applied` }]);
    } finally {
      cancel();
    }
  }

  async function dryRun(run: Run, objects: readonly DesiredObject[], modes: Map<ObjectId, ApplyMode>): Promise<void> {
    const { app, state, plan, revision, signal, failed } = run;
    const gone = new Set<string>();
    const newNamespaces = new Set(
      [...plan.objects.values()].filter(({ object }) => object.kind === 'Namespace').map(({ ref }) => ref.name),
    );
    const errors: Refusals = new Map();
    const homeless = new Map<string, DesiredObject[]>();
    await mapBounded(objects, concurrency, async (desired) => {
      if (signal.aborted) throw new Superseded();
      try {
        modes.set(desired.id, await writer.tryOut({ app, state, desired, signal }));
      } catch (err) {
        if (signal.aborted) throw new Superseded();
        if (err instanceof SelectorError)
          throw new SyncFailure('BuildFailed', [
            { file: '', message: `${app.spec.ignore === undefined ? 'spec.driftIgnoreRules' : 'spec.ignore'}: ${err.message}` },
          ]);
        if (!isStatusError(err)) throw err;
        if (isUnknownResource(err) && !run.gone.has(kindOf(desired))) {
          gone.add(kindOf(desired));
          return;
        }
        if (isNotFound(err) && err.details?.kind === 'namespaces' && newNamespaces.has(err.details.name ?? '')) {
          // It is tried out once more when its Namespace is there, before anything else is applied.
          const found = await trials.elsewhere(app, desired, signal);
          if (found !== undefined) errors.set(desired.id, await errorsOf(desired, found, revision, redaction(app)));
          return;
        }
        // The account may come with this revision, or with its Namespace in a moment.
        if (isForbidden(err) && err.message.includes('error looking up service account')) {
          modes.set(desired.id, 'apply');
          return;
        }
        const missing = isNotFound(err) && err.details?.kind === 'namespaces' ? err.details.name : undefined;
        if (missing === undefined) await note(run, desired, err, errors);
        else homeless.set(missing, [...(homeless.get(missing) ?? []), desired]);
      }
    });
    if (gone.size > 0) throw new KindsGone(gone);
    const lacksNamespacesOnly = errors.size === 0;
    const names = homeless.size === 0 ? [] : [...newNamespaces, ...(await namespaceNames(signal))];
    for (const [name, found] of homeless) {
      const error = await missingNamespaceError({ app, name, objects: found, revision, names });
      for (const { id } of found) errors.set(id, [error]);
    }
    if (errors.size === 0) return;
    if (!goesOn(app)) {
      const Failure = lacksNamespacesOnly ? PartsMissing : SyncFailure;
      throw new Failure('ReconciliationFailed', [...new Set([...errors.values()].flat())], new Set(errors.keys()));
    }
    for (const [id, found] of errors) failed.set(id, found);
  }

  /** Notes the server's error for an object. It follows a Namespace that is being deleted, whose end brings the next try. */
  async function note({ app, state, revision }: Run, desired: DesiredObject, err: StatusError, errors: Refusals): Promise<void> {
    errors.set(desired.id, await errorsOf(desired, err, revision, redaction(app)));
    const { namespace } = desired.ref;
    if (namespace === undefined || !(err.details?.causes ?? []).some(({ reason }) => reason === 'NamespaceTerminating')) return;
    const id = namespaceId(namespace);
    owned.own(state.key, id, namespaces as unknown as Resource<DynamicObject>, { name: namespace });
    if (!errors.has(id)) errors.set(id, []);
  }

  /** Gives what keeps the next wave from coming, in words; nothing when all waves are through. */
  async function applyWaves(run: Run, rollout: Rollout): Promise<readonly string[]> {
    const { app, state, plan, revision, signal, build, rules } = run;
    rollout.recheckMs = undefined;
    const before = await pruneBefore(app, state, { revision: revision.commit.revision, signal });
    rollout.changes.push(...before.changes);
    if (before.remaining > 0) {
      rollout.recheckMs = removalRecheckMs;
      return ['objects to leave that others make room for'];
    }
    const waves = wavesOf([...plan.objects.values(), ...plan.hooks.values()]);
    for (const wave of waves) {
      const waitsFor = await applyWave(run, rollout, wave);
      if (waitsFor.length > 0) return waitsFor;
      const running = await runHooks(run, wave.hooks, wave.phase);
      const applied = wave.objects.filter(({ id }) => !run.failed.has(id));
      const unsettled = wave === waves.at(-1) ? [] : unsettledIn(state, applied, rules);
      if (running.length + unsettled.length > 0) return [...running, ...unsettled];
    }
    // Other apps, and what this one holds later, need the kinds that it brings.
    for (const id of rollout.modes.keys()) {
      const definition = isDefinition(id) ? plan.objects.get(id) : undefined;
      if (definition === undefined || run.failed.has(id) || state.applied.get(id)?.skipped !== undefined) continue;
      if (await isServed(run, definition)) continue;
      rollout.recheckMs = definitionRecheckMs;
      return [`${describeObject(definition.object)} to be established`];
    }
    if (plan.hooks.size > 0) {
      if (state.hooks.digest !== build.digest)
        state.hooks = { digest: build.digest, complete: true, succeeded: new Set(), cleaning: new Map() };
      state.hooks.complete = true;
      touchInventory(state);
      await inventory.write(app, state, { revision: revision.commit.revision, intended: plan.objects });
      await hooks.clean(state);
    }
    return [];
  }

  async function applyWave(run: Run, rollout: Rollout, { objects }: Wave<DesiredObject>): Promise<readonly string[]> {
    const { app, state, plan, signal, failed } = run;
    const changed = new Set(changedIn(plan, app, state));
    const due = objects.filter((desired) => changed.has(desired) && !failed.has(desired.id));
    for (const stage of stagesOf(due, placeOf, 1)) {
      const missing = await untriedIn(run, rollout, stage);
      if (missing.length > 0) return missing;
      const errors: Refusals = new Map();
      await mapBounded(stage, concurrency, async (desired) => {
        if (signal.aborted) throw new Superseded();
        if (failed.has(desired.id)) return;
        try {
          const change = await writer.apply({ app, state, desired, mode: rollout.modes.get(desired.id) ?? 'apply', signal });
          if (change !== undefined) rollout.changes.push(change);
          if (change?.action === 'created' && opensWay(desired)) rollout.made.add(desired.id);
        } catch (err) {
          if (!isStatusError(err)) throw err;
          await note(run, desired, err, errors);
        }
      });
      if (errors.size > 0 && !goesOn(app))
        throw new SyncFailure('ReconciliationFailed', [...errors.values()].flat(), new Set(errors.keys()));
      for (const [id, found] of errors) failed.set(id, found);
    }
    return [];
  }

  /**
   * Objects whose kind or Namespace the same revision brings: once the server has it they are tried out, all of them, before anything beside
   * definitions and Namespaces is applied. Gives what is waited for. When one of them is refused, what was made for them goes again.
   */
  async function untriedIn(run: Run, rollout: Rollout, stage: readonly DesiredObject[]): Promise<readonly string[]> {
    if (stage.some(opensWay)) return [];
    const { plan, state, failed } = run;
    const due = new Set(stage);
    const isUntried = ({ id }: DesiredObject): boolean => rollout.modes.get(id) === undefined && !failed.has(id);
    const fresh = [...plan.objects.values()].filter(
      (desired) => plan.undefinedYet.has(desired.id) && isUntried(desired) && (due.has(desired) || isDefined(run, desired)),
    );
    const kinds = new Map(fresh.map((desired) => [`${desired.object.kind}.${desired.object.apiVersion}`, desired]));
    for (const { resource } of kinds.values()) {
      const definition = definitionIn(plan, resource);
      if (definition !== undefined && (await isServed(run, definition))) continue;
      rollout.recheckMs = definitionRecheckMs;
      return [`${definitionKind} ${nameOf(resource)} to be established`];
    }
    const arrived = [...rollout.made].flatMap((id) => (isNamespace(id) && state.applied.has(id) ? [tryParseId(id)?.ref.name] : []));
    if (arrived.length > 0)
      fresh.push(
        ...[...plan.objects.values()].filter(
          (desired) => arrived.includes(desired.ref.namespace) && isUntried(desired) && !plan.undefinedYet.has(desired.id),
        ),
      );
    const untried = fresh.filter(({ id, object }) => state.applied.get(id)?.desired.object !== object);
    if (untried.length === 0) return [];
    await follow(run, untried);
    try {
      await dryRun(run, untried, rollout.modes);
    } catch (err) {
      if (!(err instanceof SyncFailure) || rollout.made.size === 0) throw err;
      await unmake(run, rollout);
      // The next try makes them again.
      throw new SyncFailure(err.reason, err.errors, err.objects, unmadeRetryMs);
    }
    return [];
  }

  /** Whether a definition is established, and discovery says so of what it serves. */
  async function isServed({ rules }: Run, { resource, ref, object }: DesiredObject): Promise<boolean> {
    const live = owned.live(resource, ref);
    if (live === undefined || rules.healthOf(live).status !== 'Healthy') return false;
    for (const { group, version, kind } of kindsOf(object)) if ((await mapper.findNow(group, version, kind)) === undefined) return false;
    return true;
  }

  /** Deletes the Namespaces and definitions that a revision made and that hold nothing, so that a revision that is refused leaves nothing. */
  async function unmake({ state, plan, signal }: Run, { made }: Rollout): Promise<void> {
    for (const id of made) {
      const desired = plan.objects.get(id);
      const applied = state.applied.get(id);
      if (desired === undefined || applied?.uid === undefined) continue;
      signal.throwIfAborted();
      if (!(await trials.unmake(desired, applied.uid))) continue;
      state.applied.delete(id);
      state.health.delete(id);
      // It may take a moment to go.
      state.pending.set(id, desired);
      touchInventory(state);
    }
    made.clear();
  }

  /** Whether its definition is applied already. */
  function isDefined({ plan, state }: Run, { resource }: DesiredObject): boolean {
    const definition = definitionIn(plan, resource);
    return definition !== undefined && state.applied.has(definition.id);
  }

  async function runHooks(run: Run, due: readonly DesiredObject[], phase: HookPhase): Promise<readonly string[]> {
    const { app, state, build, rules, revision, signal } = run;
    const outcomes = await mapBounded(due, concurrency, async (hook) => {
      if (signal.aborted) throw new Superseded();
      try {
        return { hook, outcome: await hooks.run({ state, hook, phase, digest: build.digest, rules }) };
      } catch (err) {
        if (!isStatusError(err)) throw err;
        throw new SyncFailure('ReconciliationFailed', await errorsOf(hook, err, revision, redaction(app)));
      }
    });
    const errors = outcomes.flatMap(({ hook: { manifest }, outcome }) =>
      outcome.state === 'failed' ? [{ file: manifest.file, line: manifest.line, message: `${phase} hook: ${outcome.reason}` }] : [],
    );
    if (errors.length > 0) throw new SyncFailure('ReconciliationFailed', errors);
    if (state.hooks.cleaning.size > 0) {
      await inventory.write(app, state, { revision: revision.commit.revision, intended: run.plan.objects });
      await hooks.clean(state);
    }
    return outcomes.flatMap(({ outcome }) => (outcome.state === 'running' ? [outcome.reason] : []));
  }

  /** Hooks that run because the revision could not be put in force; nothing waits for them. */
  async function startFailureHooks({ state, build, plan, rules }: Run): Promise<void> {
    const due = [...plan.hooks.values()].filter(({ policy }) => policy.hooks.includes('SyncFail'));
    await mapBounded(due, concurrency, async (hook) => {
      await hooks.run({ state, hook, phase: 'SyncFail', digest: build.digest, rules }).catch((err: unknown) => {
        // The failure that is told is the one that led here.
        if (!isStatusError(err)) throw err;
      });
    });
  }

  function unsettledIn(state: AppState, objects: readonly DesiredObject[], rules: HealthRules): readonly string[] {
    return objects.flatMap(({ id, resource, ref, object }) => {
      if (state.applied.get(id)?.skipped === 'suspended') return [];
      const live = owned.live(resource, ref);
      if (live === undefined) return [describeObject(object)];
      const { status, reason } = rules.healthOf(live);
      // Nothing will ever act on an object without a controller, so no wave waits for it.
      return status === 'Healthy' || status === 'Suspended' || status === 'NoController' ? [] : [reason];
    });
  }
}

/** Deletions and new kinds announce themselves; these are for when the announcement is lost. */
const removalRecheckMs = 1_000;
const definitionRecheckMs = 500;

/** A revision that is wrong at a place in a file, and one whose Namespaces were taken away again, are tried again by themselves after this. */
const finalRetryMs = 5 * 60_000;
const unmadeRetryMs = 60_000;

const isNamespace = (id: ObjectId): boolean => tryParseId(id)?.kind === 'Namespace';

const namespaceId = (name: string): ObjectId => ['', name, namespaces.group, namespaces.kind].join('_');

/** Errors by object. A Namespace without one is in the way of an object that has one. */
type Refusals = Map<ObjectId, readonly BuildError[]>;

/** Others need it to be there before they can be tried out. */
const opensWay = ({ id }: DesiredObject): boolean => isNamespace(id) || isDefinition(id);

const placeOf = ({ object, policy }: DesiredObject) => ({ kind: object.kind, wave: policy.wave });

const definitionIn = ({ objects }: Plan, resource: Resource<DynamicObject>): DesiredObject | undefined =>
  [...objects.values()].find(({ object, ref }) => object.kind === definitionKind && ref.name === nameOf(resource));

/** `widgets.example.com` */
const nameOf = ({ group, resource }: Resource<DynamicObject>): string => (group === '' ? resource : `${resource}.${group}`);

const kindOf = ({ resource }: DesiredObject): string => `${resource.version} ${nameOf(resource)}`;

const noKinds: ReadonlySet<string> = new Set();

/** Discovery was believed of kinds that the server does not have any more. */
class KindsGone extends Error {
  override readonly name = 'KindsGone';
  readonly kinds: ReadonlySet<string>;
  constructor(kinds: ReadonlySet<string>) {
    super(`the server has no ${[...kinds].join(', ')} any more`);
    this.kinds = kinds;
  }
}

/** Whether objects without an error are applied when others have one. */
const goesOn = ({ metadata }: Kustomization): boolean => metadata.annotations?.[annotations.planMode] === 'continue';

/** What the engine may have made beside what it knows to be in force. */
function* unconfirmed({
  hookObjects,
  pending,
}: AppState): Iterable<readonly [ObjectId, { readonly desired: DesiredObject; readonly uid: undefined }]> {
  for (const [id, desired] of [...hookObjects, ...pending]) yield [id, { desired, uid: undefined }];
}

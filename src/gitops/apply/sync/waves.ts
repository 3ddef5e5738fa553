import { mapBounded } from '../../../base/concurrency.ts';
import type { DynamicObject } from '../../../machinery/object.ts';
import type { Resource } from '../../../machinery/resource.ts';
import { isStatusError } from '../../../machinery/status-error.ts';
import type { BuildError } from '../../manifests/manifest.ts';
import { describeObject, type ObjectId, tryParseId } from '../objects/object-id.ts';
import { stagesOf, type Wave, wavesOf } from '../objects/order.ts';
import type { ResourceMapper } from '../objects/resource-mapper.ts';
import type { OwnedObjects } from '../observe/owned-objects.ts';
import { type DesiredObject, definitionKind, isDefinition, kindsOf, type Plan } from '../plan/plan.ts';
import { Superseded, SyncFailure } from '../plan/sync-failure.ts';
import type { DryRun } from './dry-run.ts';
import type { ObjectWriter } from './object-writer.ts';
import { addRefusals, concurrency, findChanges, goesOn, isNamespace, nameOf, opensWay, type Progress, type Run } from './run.ts';
import type { Trials } from './trial.ts';
import { createWaveHooks, type WaveHooksOptions } from './wave-hooks.ts';

export interface WavesOptions extends WaveHooksOptions {
  readonly dryRun: DryRun;
  readonly owned: Pick<OwnedObjects, 'live'>;
  readonly writer: Pick<ObjectWriter, 'apply'>;
  readonly trials: Pick<Trials, 'unmake'>;
  readonly mapper: Pick<ResourceMapper, 'findNow'>;
}

/** Obstacles to the next wave. */
export interface Wait {
  /** A sentence each; empty when all waves are through. */
  readonly waitsFor: readonly string[];
  /** When to look again although nothing changed: the announcement may be lost. */
  readonly recheckMs?: number;
}

/** Applies a plan in waves. A wave ends when its objects are healthy and its hooks are through; nothing is held between two. */
export interface Waves {
  /** Applies as many waves as can go on now, and notes in `progress` how far they came. @throws SyncFailure */
  apply(run: Run, progress: Progress): Promise<Wait>;
  /** Starts hooks that run because the revision could not be put in force; nothing waits for them. */
  startFailureHooks(run: Run): Promise<void>;
}

const definitionRecheckMs = 500;
/** A revision whose Namespaces were taken away again is tried again by itself after this time. */
const unmadeRetryMs = 60_000;

const through: Wait = { waitsFor: [] };

export function createWaves(options: WavesOptions): Waves {
  const { dryRun, owned, writer, trials, mapper } = options;
  const waveHooks = createWaveHooks(options);
  return { apply, startFailureHooks: waveHooks.startFailureHooks };

  async function apply(run: Run, progress: Progress): Promise<Wait> {
    const { plan } = run;
    const waves = wavesOf([...plan.objects.values(), ...plan.hooks.values()]);
    for (const wave of waves) {
      const wait = await applyWave(run, progress, wave);
      if (wait.waitsFor.length > 0) return wait;
      const running = await waveHooks.run(run, wave.hooks, wave.phase);
      const applied = wave.objects.filter(({ id }) => !progress.failed.has(id));
      const unsettled = wave === waves.at(-1) ? [] : unsettledIn(run, applied, owned);
      if (running.length + unsettled.length > 0) return { waitsFor: [...running, ...unsettled] };
    }
    const unserved = await unservedIn(run, progress);
    if (unserved !== undefined) return unserved;
    if (plan.hooks.size > 0) await waveHooks.complete(run);
    return through;
  }

  /** Waits for the definitions that were applied: other apps, and what this one holds later, need their kinds. */
  async function unservedIn(run: Run, { modes, failed }: Progress): Promise<Wait | undefined> {
    for (const id of modes.keys()) {
      const definition = isDefinition(id) ? run.plan.objects.get(id) : undefined;
      if (definition === undefined || failed.has(id) || run.state.ownership.applied.get(id)?.skipped !== undefined) continue;
      if (await isServed(run, definition)) continue;
      return { waitsFor: [`${describeObject(definition.object)} to be established`], recheckMs: definitionRecheckMs };
    }
    return undefined;
  }

  async function applyWave(run: Run, progress: Progress, { objects }: Wave<DesiredObject>): Promise<Wait> {
    const { app, plan, signal } = run;
    const { failed, modes, changes, made } = progress;
    const changed = new Set(findChanges(plan, run));
    const due = objects.filter((desired) => changed.has(desired) && !failed.has(desired.id));
    for (const stage of stagesOf(due, placeOf, 1)) {
      const wait = await tryOutArrived(run, progress, stage);
      if (wait.waitsFor.length > 0) return wait;
      const errors = new Map<ObjectId, readonly BuildError[]>();
      await mapBounded(stage, concurrency, async (desired) => {
        if (signal.aborted) throw new Superseded();
        if (failed.has(desired.id)) return;
        try {
          const change = await writer.apply({ app, state: run.state, desired, mode: modes.get(desired.id) ?? 'apply', signal });
          if (change !== undefined) changes.push(change);
          if (change?.action === 'created' && opensWay(desired)) made.add(desired.id);
        } catch (err) {
          if (!isStatusError(err)) throw err;
          addRefusals(errors, await dryRun.refusalsOf(run, desired, err));
        }
      });
      if (errors.size > 0 && !goesOn(app))
        throw new SyncFailure('ReconciliationFailed', [...errors.values()].flat(), { objects: new Set(errors.keys()) });
      for (const [id, found] of errors) failed.set(id, found);
    }
    return through;
  }

  /**
   * Tries out objects whose kind or Namespace the same revision brings, once the server has it. All of them are tried out before anything
   * beside definitions and Namespaces is applied. When one of them is refused, what was made for them goes again.
   */
  async function tryOutArrived(run: Run, progress: Progress, stage: readonly DesiredObject[]): Promise<Wait> {
    if (stage.some(opensWay)) return through;
    const { plan, state } = run;
    const { modes, failed, made } = progress;
    const isUntried = ({ id }: DesiredObject): boolean => modes.get(id) === undefined && !failed.has(id);
    const due = new Set(stage);
    const fresh = [...plan.objects.values()].filter(
      (desired) => plan.undefinedYet.has(desired.id) && isUntried(desired) && (due.has(desired) || isDefined(run, desired)),
    );
    const kinds = new Map(fresh.map((desired) => [`${desired.object.kind}.${desired.object.apiVersion}`, desired]));
    for (const { resource } of kinds.values()) {
      const definition = definitionIn(plan, resource);
      if (definition !== undefined && (await isServed(run, definition))) continue;
      return { waitsFor: [`${definitionKind} ${nameOf(resource)} to be established`], recheckMs: definitionRecheckMs };
    }
    const arrived = new Set(
      [...made].flatMap((id) => (isNamespace(id) && state.ownership.applied.has(id) ? [tryParseId(id)?.ref.name] : [])),
    );
    const housed = [...plan.objects.values()].filter(
      (desired) => arrived.has(desired.ref.namespace) && isUntried(desired) && !plan.undefinedYet.has(desired.id),
    );
    const untried = [...fresh, ...housed].filter(({ id, object }) => state.ownership.applied.get(id)?.desired.object !== object);
    if (untried.length === 0) return through;
    await dryRun.follow(run, untried);
    try {
      const tried = await dryRun.ask(run, untried);
      for (const [id, mode] of tried.modes) modes.set(id, mode);
      for (const [id, errors] of tried.failed) failed.set(id, errors);
    } catch (err) {
      if (!(err instanceof SyncFailure) || made.size === 0) throw err;
      await unmake(run, made);
      // The next try makes them again.
      throw new SyncFailure(err.reason, err.errors, { objects: err.objects, minRetryMs: unmadeRetryMs });
    }
    return through;
  }

  /** True when a definition is established, and discovery has its kinds. */
  async function isServed({ rules }: Run, { resource, ref, object }: DesiredObject): Promise<boolean> {
    const live = owned.live(resource, ref);
    if (live === undefined || rules.healthOf(live).status !== 'Healthy') return false;
    for (const { group, version, kind } of kindsOf(object)) if ((await mapper.findNow(group, version, kind)) === undefined) return false;
    return true;
  }

  /** Deletes empty Namespaces and definitions that a revision made, so that a revision that is refused leaves nothing. */
  async function unmake({ state, plan, signal }: Run, made: ReadonlySet<ObjectId>): Promise<void> {
    for (const id of made) {
      const desired = plan.objects.get(id);
      const applied = state.ownership.applied.get(id);
      if (desired === undefined || applied?.uid === undefined) continue;
      signal.throwIfAborted();
      if (!(await trials.unmake(desired, applied.uid))) continue;
      state.ownership.unmake(id, desired);
      state.health.drop(id);
    }
  }
}

/** True when the definition of an object is applied already. */
function isDefined({ plan, state }: Run, { resource }: DesiredObject): boolean {
  const definition = definitionIn(plan, resource);
  return definition !== undefined && state.ownership.applied.has(definition.id);
}

/** Names the objects that are not healthy yet. */
function unsettledIn({ state, rules }: Run, objects: readonly DesiredObject[], owned: WavesOptions['owned']): readonly string[] {
  return objects.flatMap(({ id, resource, ref, object }) => {
    if (state.ownership.applied.get(id)?.skipped === 'suspended') return [];
    const live = owned.live(resource, ref);
    if (live === undefined) return [describeObject(object)];
    const { status, reason } = rules.healthOf(live);
    // Nothing will ever act on an object without a controller, so no wave waits for it.
    return status === 'Healthy' || status === 'Suspended' || status === 'NoController' ? [] : [reason];
  });
}

const placeOf = ({ object, policy }: DesiredObject) => ({ kind: object.kind, wave: policy.wave });

const definitionIn = ({ objects }: Plan, resource: Resource<DynamicObject>): DesiredObject | undefined =>
  [...objects.values()].find(({ object, ref }) => object.kind === definitionKind && ref.name === nameOf(resource));

import type { DynamicObject } from '../../../machinery/object.ts';
import type { Resource } from '../../../machinery/resource.ts';
import { describeObject, type ObjectId, tryParseId } from '../objects/object-id.ts';
import type { ResourceMapper } from '../objects/resource-mapper.ts';
import type { OwnedObjects } from '../observe/owned-objects.ts';
import { type DesiredObject, definitionKind, isDefinition, kindsOf, type Plan } from '../plan/plan.ts';
import { SyncFailure } from '../plan/sync-failure.ts';
import type { DryRun } from './dry-run.ts';
import { isNamespace, nameOf, opensWay, type Progress, type Run } from './run.ts';
import type { Trials } from './trial.ts';

/** Obstacles to the next wave. */
export interface Wait {
  /** A sentence each; empty when all waves are through. */
  readonly waitsFor: readonly string[];
  /** When to look again although nothing changed: the announcement may be lost. */
  readonly recheckMs?: number;
}

/** Nothing is in the way. */
export const through: Wait = { waitsFor: [] };

/** Objects whose kind or Namespace comes with the same revision. */
export interface Arrivals {
  /**
   * Tries out objects whose kind or Namespace the same revision brings, once the server has it. All of them are tried out before anything
   * beside definitions and Namespaces is applied. When one of them is refused, what was made for them goes again.
   *
   * @throws SyncFailure
   */
  tryOut(run: Run, progress: Progress, stage: readonly DesiredObject[]): Promise<Wait>;
  /** Waits for the definitions that were applied: other apps, and what this one holds later, need their kinds. */
  findUnserved(run: Run, progress: Progress): Promise<Wait | undefined>;
}

export interface ArrivalsOptions {
  readonly dryRun: Pick<DryRun, 'follow' | 'ask'>;
  readonly owned: Pick<OwnedObjects, 'live'>;
  readonly trials: Pick<Trials, 'unmake'>;
  readonly mapper: Pick<ResourceMapper, 'findNow'>;
}

const definitionRecheckMs = 500;
/** A revision whose Namespaces were taken away again is tried again by itself after this time. */
const unmadeRetryMs = 60_000;

export function createArrivals({ dryRun, owned, trials, mapper }: ArrivalsOptions): Arrivals {
  return { tryOut, findUnserved };

  async function findUnserved(run: Run, { modes, failed }: Progress): Promise<Wait | undefined> {
    for (const id of modes.keys()) {
      const definition = isDefinition(id) ? run.plan.objects.get(id) : undefined;
      if (definition === undefined || failed.has(id) || run.state.ownership.applied.get(id)?.skipped !== undefined) continue;
      if (await isServed(run, definition)) continue;
      return { waitsFor: [`${describeObject(definition.object)} to be established`], recheckMs: definitionRecheckMs };
    }
    return undefined;
  }

  async function tryOut(run: Run, progress: Progress, stage: readonly DesiredObject[]): Promise<Wait> {
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
      const { reason, errors, objects, nextTry } = err;
      throw new SyncFailure(reason, errors, { objects, nextTry, minRetryMs: unmadeRetryMs });
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

const definitionIn = ({ objects }: Plan, resource: Resource<DynamicObject>): DesiredObject | undefined =>
  [...objects.values()].find(({ object, ref }) => object.kind === definitionKind && ref.name === nameOf(resource));

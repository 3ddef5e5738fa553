import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { annotations } from '../../../api/well-known.ts';
import type { ObjectChange } from '../../../base/contracts/activity.ts';
import type { DynamicObject } from '../../../machinery/object.ts';
import type { Resource } from '../../../machinery/resource.ts';
import type { BuildError, BuildResult } from '../../manifests/manifest.ts';
import type { KnownRevision } from '../../sources/follow/known-revision.ts';
import { type ObjectId, tryParseId } from '../objects/object-id.ts';
import type { HealthRules } from '../observe/health.ts';
import { type DesiredObject, isDefinition, type Plan } from '../plan/plan.ts';
import type { ObjectRecords } from '../records/app-records.ts';
import type { ApplyMode, Rollout } from '../records/attempt.ts';

/** Errors by object. A Namespace without one is in the way of an object that has one. */
export type Refusals = ReadonlyMap<ObjectId, readonly BuildError[]>;

/** Adds refusals to those that are known. A Namespace in the way does not hide its own errors. */
export function addRefusals(known: Map<ObjectId, readonly BuildError[]>, more: Refusals): void {
  for (const [id, errors] of more) if (errors.length > 0 || !known.has(id)) known.set(id, errors);
}

/** Facts of one sync, which do not change while it goes on. */
export interface Run {
  readonly app: Kustomization;
  readonly state: ObjectRecords;
  readonly build: BuildResult;
  readonly plan: Plan;
  readonly revision: KnownRevision;
  readonly signal: AbortSignal;
  readonly rules: HealthRules;
  /** Kinds for which discovery was asked again already: what was known of their objects does not count. */
  readonly gone: ReadonlySet<string>;
  /** The revision in force takes an earlier one back. */
  readonly isRevert: boolean;
  /** Attempts at this revision that failed before. */
  readonly failures: number;
}

/** Progress of a rollout, collected while its waves are applied. */
export interface Progress {
  readonly startedAt: number;
  readonly modes: Map<ObjectId, ApplyMode>;
  readonly made: Set<ObjectId>;
  readonly changes: ObjectChange[];
  /** Objects with errors, where the others go on without them. */
  readonly failed: Map<ObjectId, readonly BuildError[]>;
}

/** @param now of the monotonic clock */
export const progressOf = (rollout: Rollout | undefined, now: number): Progress => ({
  startedAt: rollout?.startedAt ?? now,
  modes: new Map(rollout?.modes),
  made: new Set(rollout?.made),
  changes: [...(rollout?.changes ?? [])],
  failed: new Map(),
});

export function rolloutOf({ app, build, plan, revision }: Run, progress: Progress, recheckMs: number | undefined): Rollout {
  const { startedAt, modes, made, changes } = progress;
  return {
    build,
    plan,
    revision: revision.commit.revision,
    generation: app.metadata.generation ?? 0,
    startedAt,
    modes,
    made,
    changes,
    recheckMs,
  };
}

/** Discovery was believed of kinds that the server does not have any more. */
export class KindsGone extends Error {
  override readonly name = 'KindsGone';
  readonly kinds: ReadonlySet<string>;
  constructor(kinds: ReadonlySet<string>) {
    super(`the server has no ${[...kinds].join(', ')} any more`);
    this.kinds = kinds;
  }
}

export const noKinds: ReadonlySet<string> = new Set();

/** Requests of one app under way at the same time. */
export const concurrency = 32;

/** True when objects without an error are applied although others have one. */
export const goesOn = ({ metadata }: Kustomization): boolean => metadata.annotations?.[annotations.planMode] === 'continue';

/** `widgets.example.com` */
export const nameOf = ({ group, resource }: Resource<DynamicObject>): string => (group === '' ? resource : `${resource}.${group}`);

export const kindOf = ({ resource }: DesiredObject): string => `${resource.version} ${nameOf(resource)}`;

export const isNamespace = (id: ObjectId): boolean => tryParseId(id)?.kind === 'Namespace';

/** Others need the object to be there before they can be tried out. */
export const opensWay = ({ id }: DesiredObject): boolean => isNamespace(id) || isDefinition(id);

/** Objects that are not in force as they are planned. A drift that is only to be reported stays as it is. */
export function findChanges(plan: Plan, { app, state }: Pick<Run, 'app' | 'state'>): readonly DesiredObject[] {
  const policy = app.metadata.annotations?.[annotations.drift] ?? 'correct';
  return [...plan.objects.values()].filter((desired) => {
    const known = state.ownership.applied.get(desired.id);
    if (known?.desired.object !== desired.object || known.inDoubt === true) return true;
    return state.drifts.found.has(desired.id) && (desired.policy.drift ?? policy) === 'correct';
  });
}

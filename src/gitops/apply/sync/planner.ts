import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { BuildError, BuildResult } from '../../manifests/manifest.ts';
import type { KnownRevision } from '../../sources/follow/known-revision.ts';
import { describeObject, type ObjectId } from '../objects/object-id.ts';
import type { ResourceMapper } from '../objects/resource-mapper.ts';
import { sourceKeyOf } from '../plan/app-spec.ts';
import type { Claim } from '../plan/claim-tables.ts';
import type { Claims } from '../plan/claims.ts';
import { type Plan, planObjects } from '../plan/plan.ts';
import type { AppBuilder } from '../plan/post-build.ts';
import { isLasting, PartsMissing, SyncFailure } from '../plan/sync-failure.ts';
import type { ObjectRecords } from '../records/app-records.ts';
import { kindOf } from './run.ts';

export interface PlannerOptions {
  readonly builder: AppBuilder;
  readonly mapper: ResourceMapper;
  readonly claims: Pick<Claims, 'othersThan' | 'isFirst'>;
}

/** An app that is planned; nothing is written for it. */
export interface PlanRequest {
  readonly app: Kustomization;
  readonly state: Pick<ObjectRecords, 'key' | 'ownership'>;
  readonly signal: AbortSignal;
}

/** Finds what a revision says of an app. */
export interface Planner {
  /** Reads the tree, through caches. @throws SyncFailure when a file is wrong, or the app would lose all its objects */
  build(request: PlanRequest, revision: KnownRevision): Promise<BuildResult>;
  /**
   * Finds the kind and the names of each object, and the app that owns it. `gone` are kinds that discovery named wrongly.
   *
   * @throws SyncFailure with all errors
   */
  plan(request: PlanRequest, of: { readonly build: BuildResult; readonly gone: ReadonlySet<string> }): Promise<Plan>;
}

export function createPlanner({ builder, mapper, claims }: PlannerOptions): Planner {
  return {
    async build({ app, state, signal }, revision) {
      const build = await builder.build(app, revision, signal);
      if (build.errors.length > 0)
        throw new SyncFailure('BuildFailed', build.errors, { nextTry: isLasting(build.errors) ? 'commit' : 'soon' });
      if (build.manifests.length === 0 && (state.ownership.applied.size > 0 || state.ownership.doomed.size > 0)) {
        const error = {
          file: app.spec.path ?? '.',
          message: 'holds no manifest, though the app has objects; nothing was pruned',
          hint: 'To remove an app, delete its Kustomization.',
        };
        throw new SyncFailure('BuildFailed', [error], { nextTry: 'commit' });
      }
      return build;
    },
    async plan({ app, state, signal }, { build, gone }) {
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
      if (errors.length > 0) {
        const nextTry = taken.size === 0 && isLasting(errors) ? 'commit' : 'soon';
        const reason = plan.isUnsupported && taken.size === 0 ? 'NotSupported' : 'BuildFailed';
        throw new SyncFailure(reason, errors, { objects: new Set(taken.keys()), nextTry });
      }
      return plan;
    },
  };

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
}

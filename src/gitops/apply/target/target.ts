import { namespaces } from '../../../api/core/v1/namespace.ts';
import type { Pod } from '../../../api/core/v1/pod.ts';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { Clock } from '../../../base/clock.ts';
import type { Client } from '../../../client/client.ts';
import type { InformerSet } from '../../../client/informer.ts';
import type { DynamicObject } from '../../../machinery/object.ts';
import type { EventRecorder } from '../../../reconcile/event-recorder.ts';
import { SelectorError } from '../../render/kustomize/selector.ts';
import { createIgnoredFields, type IgnoredFields, type Pointer } from '../objects/ignored-fields.ts';
import type { ObjectId } from '../objects/object-id.ts';
import { createResourceMapper } from '../objects/resource-mapper.ts';
import { createHealthRules } from '../observe/app-rules.ts';
import { type CauseOptions, findCause } from '../observe/causes.ts';
import { createDriftWatch, type DriftWatch, type DriftWatchOptions } from '../observe/drift.ts';
import type { Expressions } from '../observe/expressions.ts';
import type { HealthRules, HealthView } from '../observe/health.ts';
import { createHealthChecks, type HealthChecks } from '../observe/health-checks.ts';
import { createOwnedObjects, type OwnedObjects } from '../observe/owned-objects.ts';
import { type IsOverridden, takeoverRules } from '../observe/takeover.ts';
import type { Claims } from '../plan/claims.ts';
import { isDefinition } from '../plan/plan.ts';
import type { AppBuilder } from '../plan/post-build.ts';
import type { AppRecords } from '../records/app-records.ts';
import type { Cause } from '../records/object-healths.ts';
import { createHooks } from '../sync/hooks.ts';
import type { Inventory } from '../sync/inventory.ts';
import { createObjectWriter } from '../sync/object-writer.ts';
import { createLossFinder } from '../sync/prune-losses.ts';
import { createPruner, type Pruner } from '../sync/pruner.ts';
import { createSyncer, type Syncer } from '../sync/syncer.ts';
import { createTrials } from '../sync/trial.ts';

/** A cluster that apps are applied to, with all that is known of it: the one the engine runs in, or another. */
export interface Target {
  readonly owned: OwnedObjects;
  readonly drift: DriftWatch;
  readonly syncer: Syncer;
  readonly pruner: Pruner;
  readonly checks: HealthChecks;
  /** Reason why the pods of an unhealthy object are not ready, as far as the cluster shows it. */
  causeOf(pods: readonly Pod[]): Promise<Cause | undefined>;
  rulesOf(app: Kustomization): HealthRules;
}

/** Parts that all targets share. */
export interface TargetDependencies {
  readonly builder: AppBuilder;
  readonly inventory: Inventory;
  readonly claims: Claims;
  readonly expressions: Expressions;
  readonly recorder: EventRecorder;
  readonly clock: Clock;
  /** Managers whose fields become the apps'. */
  readonly isOverridden: IsOverridden;
  appOf(key: string): Kustomization | undefined;
  recordsOf(key: string): AppRecords | undefined;
  /** An object of an app changed: what failed for it may be tried again, and what is held back for it is looked at. */
  objectChanged(app: string, id: ObjectId, object: DynamicObject | undefined): void;
  /** Another app lets an object go to this one, which may have been refused it until now. */
  handedOver(app: string, id: ObjectId): void;
  /** Something of an app changed: its objects, their health, or what was found of them. */
  wake(app: string): void;
  /** Someone else changed an object of an app. */
  drifted(app: string): void;
}

/** Namespaces that a name that does not exist is compared with. */
const maxNamespacesCompared = 500;

/** Changes with what an object is to be, not with how it does. */
export const contentOf = (object: DynamicObject | undefined): string =>
  object === undefined ? '' : `${object.metadata.uid} ${object.metadata.generation}`;

/** Ends the following of all objects that an app has, had or checks. */
export function disownAll(
  { owned }: Pick<Target, 'owned'>,
  { key, ownership, health }: Pick<AppRecords, 'key' | 'ownership' | 'health'>,
): void {
  const { applied, pending, hookObjects, doomed } = ownership;
  const known = [...[...applied.values()].map(({ desired }) => desired), ...pending.values(), ...hookObjects.values()];
  for (const { resource, ref } of [...known, ...doomed.values(), ...health.checks.values()]) {
    if (resource !== undefined && ref !== undefined) owned.disown(key, resource, ref);
  }
}

export interface TargetCluster extends Pick<HealthView, 'noControllerText'>, Pick<CauseOptions, 'readLastLine'> {
  readonly client: Client;
  readonly informers: InformerSet;
}

export function createTarget(
  { client, informers, noControllerText, readLastLine }: TargetCluster,
  {
    builder,
    inventory,
    claims,
    expressions,
    recorder,
    clock,
    isOverridden,
    appOf,
    recordsOf,
    objectChanged,
    handedOver,
    wake,
    drifted,
  }: TargetDependencies,
): Target {
  const mapper = createResourceMapper({ client, clock });
  const ignored = createIgnoredFields({ client, informers });
  const owned = createOwnedObjects({
    informers,
    onChange({ app, id, object, before, direct }) {
      if (direct && isDefinition(id)) mapper.forget();
      const state = recordsOf(app);
      if (state === undefined) return;
      state.health.mark([id]);
      if (direct) {
        objectChanged(app, id, object);
        drift.observe(state, { id, object, before });
      }
      wake(app);
    },
  });
  const drift = createDriftWatch({
    clock,
    recorder,
    owned,
    redactor: builder.redactor,
    isOverridden,
    autoscalerOf: ignored.autoscalerOf,
    rulesOf: driftRules({ appOf, ignored, isOverridden }),
    onDrift(app) {
      drifted(app);
      wake(app);
    },
  });
  ignored.onScaleTarget((address) => {
    for (const { app, id } of owned.ownersOf(address)) {
      const state = recordsOf(app);
      if (state === undefined) continue;
      drift.noteScaling(state, id);
      wake(app);
    }
  });
  const causeOf = (of: readonly Pod[]): Promise<Cause | undefined> => findCause(of, { client, readLastLine, now: clock.now });
  const rulesOf = createHealthRules({ mapper, owned, expressions, clock, noControllerText });
  const losses = createLossFinder({ client, mapper, claims });
  const pruner = createPruner({
    client,
    mapper,
    owned,
    claims,
    losses,
    onHandover(app, claimant, id) {
      // It may think that it has the object, from before a commit that was taken back gave it to this app.
      const state = recordsOf(claimant);
      if (state === undefined) return;
      drift.noteTakeover(state, id, app);
      handedOver(claimant, id);
    },
  });
  const syncer = createSyncer({
    builder,
    mapper,
    owned,
    writer: createObjectWriter({
      client,
      owned,
      recorder,
      ignored,
      isOverridden,
      clock,
      redactor: builder.redactor,
      recheck: drift.recheck,
    }),
    trials: createTrials({ client, losses }),
    hooks: createHooks({ client, owned, clock }),
    ignored,
    inventory,
    claims,
    clock,
    rulesOf,
    async namespaceNames(signal) {
      const { items } = await client.list(namespaces, { limit: maxNamespacesCompared, signal });
      return items.map(({ metadata }) => metadata.name);
    },
    pruneBefore: async (app, state, { revision, isRevert, signal }) =>
      app.spec.prune && state.ownership.doomed.size > 0
        ? await pruner.prune(app, state, { revision, guarded: true, isRevert, before: true, signal })
        : { changes: [], blocked: '', remaining: 0 },
  });
  return { owned, drift, syncer, pruner, checks: createHealthChecks({ mapper, owned }), causeOf, rulesOf };
}

/** Gives the function that decides whose fields become the app's when a live object differs. */
function driftRules({
  appOf,
  ignored,
  isOverridden,
}: Pick<TargetDependencies, 'appOf' | 'isOverridden'> & {
  readonly ignored: Pick<IgnoredFields, 'pointersOf'>;
}): DriftWatchOptions['rulesOf'] {
  return ({ key }, { desired, refused }, live) => {
    const app = appOf(key);
    if (app === undefined) return { object: desired.object, pointers: [], isTaken: () => false };
    let pointers: readonly Pointer[] = [];
    try {
      pointers = ignored.pointersOf(app, desired.object);
    } catch (err) {
      // An unreadable rule is reported when the app is synced.
      if (!(err instanceof SelectorError)) throw err;
    }
    return takeoverRules({ app, desired, live, pointers, refused, isOverridden });
  };
}

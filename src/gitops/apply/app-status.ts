import type { Condition } from '../../api/flux.ts';
import type { Kustomization, KustomizationStatus } from '../../api/kustomize/v1/kustomization.ts';
import type { Finding } from '../../lifecycle/flux-conditions.ts';
import { conditionsOf, type KustomizationState, kustomizationReasons } from '../../lifecycle/kustomization.facts.ts';
import type { Health } from '../../lifecycle/reasons.ts';
import { conditionOf, setCondition } from '../../machinery/conditions.ts';
import { deepEqual } from '../../machinery/object.ts';
import { sourceKeyOf } from './app-spec.ts';
import type { AppState } from './app-state.ts';
import type { AppMetricsState, SyncStatus } from './gitops-metrics.ts';
import { inventoryEntriesOf, type ObjectId } from './object-id.ts';
import type { OwnedObjects } from './owned-objects.ts';

export interface StatusFacts {
  readonly app: Kustomization;
  readonly state: AppState;
  /** Of the machine, after this pass. */
  readonly value: KustomizationState;
  readonly finding: Finding;
  readonly health: Health;
  /** The source's newest revision, when it is known. */
  readonly attempted: string | undefined;
  /** RFC 3339. */
  readonly now: string;
}

/** What has to be written to an app's status after a pass; undefined when it says so already. */
export function statusChange({ app, state, value, finding, health, attempted, now }: StatusFacts): KustomizationStatus | undefined {
  const generation = app.metadata.generation ?? 0;
  let conditions = conditionsOf({ state: value, before: app.status?.conditions ?? [], finding, generation, now });
  if (state.applied.size > 0) conditions = setCondition(conditions, healthCondition(health, generation), now);
  const blocked = { type: 'PruneBlocked', reason: 'PruneBlocked', message: state.pruneBlocked, observedGeneration: generation };
  conditions =
    state.pruneBlocked === ''
      ? conditions.filter(({ type }) => type !== blocked.type)
      : setCondition(conditions, { ...blocked, status: 'True' }, now);
  const settled = value !== 'Suspended' && value !== 'Deleting';
  const next: KustomizationStatus = {
    ...(settled ? { observedGeneration: generation, conditions } : {}),
    ...(state.loaded ? { inventory: { entries: entriesOf(app, state) } } : {}),
    ...(state.snapshots === undefined ? {} : { history: state.snapshots }),
    ...(state.revision === '' ? {} : { lastAppliedRevision: state.revision }),
    ...(attempted === undefined || !settled || value === 'Waiting' ? {} : { lastAttemptedRevision: attempted }),
    ...(state.handledRequest === undefined ? {} : { lastHandledReconcileAt: state.handledRequest }),
  };
  return deepEqual({ ...app.status, ...next }, app.status ?? {}) ? undefined : next;
}

/** The inventory in Flux's form. Once it is what the status says, the status's own array is used, which makes the next comparison free. */
function entriesOf(app: Kustomization, state: AppState): NonNullable<AppState['entries']> {
  if (state.entries === undefined) {
    const versions = new Map<ObjectId, { readonly version: string }>();
    for (const [id, doomed] of state.doomed) versions.set(id, doomed);
    for (const [id, { desired }] of state.applied) versions.set(id, desired.resource);
    state.entries = inventoryEntriesOf(versions);
  }
  const written = app.status?.inventory?.entries;
  if (written !== undefined && written !== state.entries && deepEqual(written, state.entries)) state.entries = written;
  return state.entries;
}

function healthCondition(health: Health, generation: number): Omit<Condition, 'lastTransitionTime'> {
  const status =
    health.status === 'Healthy' ? 'True' : health.status === 'Progressing' || health.status === 'Unknown' ? 'Unknown' : 'False';
  return { type: 'Healthy', status, reason: health.status, message: health.reason, observedGeneration: generation };
}

/** What the state families of `/metrics/gitops` say of an app. */
export function metricsStateOf(app: Kustomization, state: AppState | undefined, owned: OwnedObjects): AppMetricsState {
  const objects = [...(state?.applied.values() ?? [])];
  const missing = [...(state?.health.values() ?? [])].filter(({ status }) => status === 'Missing').length;
  const outOfSync = state?.drifts.size ?? 0;
  return {
    namespace: app.metadata.namespace ?? '',
    app: app.metadata.name,
    source: sourceKeyOf(app),
    path: app.spec.path ?? './',
    revision: (state?.sha ?? '').slice(0, 7),
    sync: syncStatusOf(app, state),
    health: app.spec.suspend === true ? 'Suspended' : (state?.lastHealth.status ?? 'Unknown'),
    suspended: app.spec.suspend === true,
    lastAppliedAt: Math.round((state?.appliedAt ?? 0) / 1_000),
    manifestErrors: state?.errors.length ?? 0,
    objects: objects.map(({ desired: { object, ref } }) => ({ kind: object.kind, namespace: ref.namespace ?? '', name: ref.name })),
    resources: { synced: objects.length - outOfSync - missing, outOfSync, missing, extra: state?.doomed.size ?? 0 },
    pods: objects.flatMap(({ desired }) => {
      const live = owned.live(desired.resource, desired.ref);
      return live === undefined ? [] : owned.podsOf(live).map(({ metadata: { namespace = '', name } }) => ({ namespace, name }));
    }),
  };
}

function syncStatusOf(app: Kustomization, state: AppState | undefined): SyncStatus {
  const ready = conditionOf(app.status?.conditions, 'Ready');
  if (state === undefined || ready === undefined) return 'Unknown';
  const waiting = ready.reason === kustomizationReasons.dependencyNotReady || ready.reason === kustomizationReasons.artifactFailed;
  // What was applied is what Git says, though it is not healthy.
  if (ready.status === 'False' && ready.reason !== kustomizationReasons.healthCheckFailed) return waiting ? 'Progressing' : 'Failed';
  if (state.drifts.size > 0 || state.doomed.size > 0) return 'OutOfSync';
  return state.abortSync === undefined ? 'Synced' : 'Progressing';
}

import { type Kustomization, kustomizations } from '../../api/kustomize/v1/kustomization.ts';
import type { Clock } from '../../base/clock.ts';
import { type Health, healthy, worstOf } from '../../lifecycle/reasons.ts';
import type { DynamicObject, ObjectRef } from '../../machinery/object.ts';
import type { Resource } from '../../machinery/resource.ts';
import { labelsOf } from './app-spec.ts';
import type { AppliedObject, AppState } from './app-state.ts';
import type { GitOpsMetrics } from './gitops-metrics.ts';
import type { CheckedObject } from './health-checks.ts';
import { describe } from './object-id.ts';
import type { AppFeed } from './redacted-feed.ts';
import type { Target } from './target.ts';

export interface AppHealthOptions {
  readonly clock: Clock;
  readonly feed: AppFeed;
  readonly gitops: GitOpsMetrics;
}

/** Health of apps: a state that follows the watched objects, so that nothing waits for it. */
export interface AppHealth {
  /** The worst of the app's objects and of those that its checks name; only what changed since the last call is judged anew. */
  current(app: Kustomization, state: AppState, target: Target): Health;
  /** Tells, once each, that an app became healthy after a commit or that it has a problem that lasts. */
  announce(app: Kustomization, state: AppState, told: { readonly health: Health; readonly target: Target }): void;
  /** When `announce` should be called again although nothing changes; undefined when it need not. */
  announceAgainAfterMs(state: AppState): number | undefined;
}

/** A problem is told when it is still the same after this time. */
const problemGraceMs = 500;

export function createAppHealth({ clock, feed, gitops }: AppHealthOptions): AppHealth {
  /** `5/5`: ready of desired pods of the app's workloads. */
  function podSummary(state: AppState, { owned }: Target): string {
    let ready = 0;
    let desired = 0;
    for (const { desired: object } of state.applied.values()) {
      const live = owned.live(object.resource, object.ref) as Workload | undefined;
      if (live?.kind !== 'Deployment' && live?.kind !== 'ReplicaSet') continue;
      ready += live.status?.readyReplicas ?? 0;
      desired += live.spec?.replicas ?? 1;
    }
    return desired === 0 ? '' : `${ready}/${desired}`;
  }

  return {
    current(app, state, { owned, rulesOf }) {
      const rules = rulesOf(app);
      const healthOfLive = (resource: Resource<DynamicObject>, ref: ObjectRef, kind: string): Health => {
        const live = owned.live(resource, ref);
        if (live !== undefined) return rules.healthOf(live);
        return owned.isSynced(resource)
          ? { status: 'Missing', reason: `${describe(kind, ref)} does not exist` }
          : { status: 'Unknown', reason: '' };
      };
      const healthOfApplied = ({ desired: { resource, ref, object }, skipped }: AppliedObject): Health =>
        // What is left alone may be anything, and may be away.
        skipped === 'suspended' ? healthy : healthOfLive(resource, ref, object.kind);
      const healthOfChecked = ({ resource, ref, kind }: CheckedObject): Health =>
        resource === undefined
          ? { status: 'Missing', reason: `${describe(kind, ref)} is of a kind that the cluster does not have` }
          : healthOfLive(resource, ref, kind);
      for (const id of state.healthDirty) {
        const applied = state.applied.get(id);
        const checked = state.checks.get(id);
        if (applied !== undefined) state.health.set(id, healthOfApplied(applied));
        else if (checked !== undefined) state.health.set(id, healthOfChecked(checked));
        else state.health.delete(id);
      }
      state.healthDirty.clear();
      return state.applied.size + state.checks.size === 0 ? { status: 'Unknown', reason: '' } : worstOf(state.health.values());
    },
    announce(app, state, { health, target }) {
      const before = state.lastHealth;
      const entry = { at: clock.now(), app: app.metadata.name, sha: state.sha };
      // The apps of an app list speak for themselves.
      const speaks = !isAppList(state);
      if (!isProblem(health)) state.announcedProblem = '';
      else if (health.status === 'Degraded' && state.degradedSince === 0) state.degradedSince = clock.now();
      // A problem that is over in a moment is no news: an old pod's, while a revert takes it away.
      if (isProblem(health) && state.announcedProblem !== health.reason && before.reason === health.reason && speaks) {
        state.announcedProblem = health.reason;
        feed.add(app, { type: 'degraded', ...entry, reason: health.reason });
      }
      if (health.status === 'Healthy' && state.appliedAt > 0) {
        if (!state.announcedHealthy) {
          const durationMs = clock.now() - state.seenAt;
          gitops.commitHealthy(labelsOf(app), durationMs);
          if (speaks) feed.add(app, { type: 'healthy', ...entry, summary: podSummary(state, target), durationMs });
          state.announcedHealthy = true;
        }
        if (state.degradedSince > 0) {
          gitops.restored(labelsOf(app), clock.now() - state.degradedSince);
          state.degradedSince = 0;
        }
      }
      state.lastHealth = health;
    },
    announceAgainAfterMs: ({ lastHealth, announcedProblem }) =>
      isProblem(lastHealth) && announcedProblem !== lastHealth.reason ? problemGraceMs : undefined,
  };
}

const isProblem = ({ status }: Health): boolean => status === 'Degraded' || status === 'NoController';

interface Workload {
  readonly kind: string;
  readonly spec?: { readonly replicas?: number };
  readonly status?: { readonly readyReplicas?: number };
}

const isAppList = ({ applied }: AppState): boolean =>
  [...applied.values()].every(({ desired }) => desired.object.kind === kustomizations.kind);

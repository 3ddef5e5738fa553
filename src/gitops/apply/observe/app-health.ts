import type { Pod } from '../../../api/core/v1/pod.ts';
import { type Kustomization, kustomizations } from '../../../api/kustomize/v1/kustomization.ts';
import type { Clock } from '../../../base/clock.ts';
import type { Log } from '../../../base/log.ts';
import { stateOf } from '../../../lifecycle/kustomization.facts.ts';
import { type Health, healthy, worstOf } from '../../../lifecycle/reasons.ts';
import { type DynamicObject, deepEqual, type ObjectRef } from '../../../machinery/object.ts';
import type { Resource } from '../../../machinery/resource.ts';
import type { AppliedObject, AppState } from '../app-state.ts';
import { describe } from '../objects/object-id.ts';
import { labelsOf, timeoutMsOf } from '../plan/app-spec.ts';
import type { GitOpsMetrics } from '../status/gitops-metrics.ts';
import type { AppFeed } from '../status/redacted-feed.ts';
import type { Target } from '../target/target.ts';
import { causeAt, withCause } from './causes.ts';
import type { CheckedObject } from './health-checks.ts';

export interface AppHealthOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** The app is looked at again. */
  wake(app: string): void;
  readonly feed: AppFeed;
  readonly gitops: GitOpsMetrics;
}

/** Health of apps: a state that follows the watched objects, so that nothing waits for it. */
export interface AppHealth {
  /**
   * The worst health of the app's objects and of those that its checks name; only objects that changed since the last
   * call are judged again.
   */
  current(app: Kustomization, state: AppState, target: Target): Health;
  /** Tells, once each, that an app became healthy after a commit or that it has a problem that lasts. */
  announce(app: Kustomization, state: AppState, told: { readonly health: Health; readonly target: Target }): void;
  /** When both should be called again although nothing changes; undefined when they need not. */
  lookAgainAfterMs(app: Kustomization, state: AppState): number | undefined;
}

/** A problem is reported when it is still the same after this time. */
const problemGraceMs = 500;
/** A problem that comes back within this time is the same one, and not reported again. */
const recoveryMs = 10_000;

export function createAppHealth({ clock, log, wake, feed, gitops }: AppHealthOptions): AppHealth {
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

  /**
   * The health together with its known cause. The search for the cause runs beside the work of apps, only for the
   * object that makes the app unhealthy. It runs at most every 5 s, and less often the longer the cause stays the same.
   */
  function explained(state: AppState, target: Target, health: Health): Health {
    const pods = health.status === 'Progressing' || health.status === 'Degraded' ? podsOf(state, target, health) : [];
    const at = pods.length === 0 ? undefined : causeAt(pods, clock.now());
    if (at === undefined) {
      state.cause = undefined;
      return health;
    }
    const of = kindOfProblem(health.reason);
    let { cause } = state;
    if (cause?.of !== of) {
      cause = { of, at: Math.max(at, clock.now()), looks: 0, found: undefined };
      state.cause = cause;
    }
    if (cause.at <= clock.now()) {
      cause.at = clock.now() + Math.min(maxCauseMs, minCauseMs * 2 ** cause.looks);
      cause.looks += 1;
      void look(state, target, pods, cause);
    }
    const { found } = cause;
    if (found === undefined) return health;
    return { ...health, reason: withCause(health.reason, found), ...(found.fix === undefined ? {} : { fix: found.fix }) };
  }

  async function look(state: AppState, target: Target, pods: readonly Pod[], cause: NonNullable<AppState['cause']>): Promise<void> {
    try {
      const found = await target.causeOf(pods);
      if (deepEqual(found, cause.found)) return;
      cause.found = found;
      if (state.cause === cause) wake(state.key);
    } catch (err) {
      // The reason stays as the object itself says it, until the next look.
      log.debug({ kustomization: state.key, err }, 'Could not look for the cause of an unhealthy object');
    }
  }

  function podsOf(state: AppState, { owned }: Target, health: Health): readonly Pod[] {
    for (const [id, each] of state.health) {
      if (each !== health) continue;
      const { resource, ref } = state.applied.get(id)?.desired ?? state.checks.get(id) ?? {};
      const live = resource === undefined || ref === undefined ? undefined : owned.live(resource, ref);
      if (live === undefined) return [];
      return live.kind === 'Pod' && live.apiVersion === 'v1' ? [live as unknown as Pod] : owned.podsOf(live);
    }
    return [];
  }

  /** A reason that outlasts the app's timeout, or kept the app from being ready in time, makes the app Degraded. */
  function inTime(app: Kustomization, state: AppState, health: Health, shown: Health): Health {
    if (health.status !== 'Progressing') {
      state.progress = undefined;
      if (health.status === 'Healthy') state.isOverdue = false;
      return shown;
    }
    if (state.progress?.reason !== health.reason) state.progress = { reason: health.reason, since: clock.now() };
    // That app is at fault, and says so itself.
    if (health.isOfApp === true) return shown;
    if (isLateForHealth(app, state, clock.now())) state.isOverdue = true;
    // An app that waits for health has that deadline alone, so that `Healthy` and `Ready` turn in one write.
    const isStuck = !isAwaited(app, state) && clock.now() - state.progress.since > timeoutMsOf(app);
    if (!state.isOverdue && !isStuck) return shown;
    return { ...shown, status: 'Degraded', reason: `${shown.reason} (not healthy within ${app.spec.timeout ?? '10m'})` };
  }

  return {
    current(app, state, target) {
      const { owned, rulesOf } = target;
      const rules = rulesOf(app);
      const healthOfLive = (resource: Resource<DynamicObject>, ref: ObjectRef, kind: string): Health => {
        const live = owned.live(resource, ref);
        if (live !== undefined) return rules.healthOf(live);
        return owned.isSynced(resource)
          ? { status: 'Missing', reason: `${describe(kind, ref)} does not exist` }
          : { status: 'Unknown', reason: '' };
      };
      const healthOfApplied = ({ desired: { resource, ref, object }, skipped }: AppliedObject): Health =>
        // An ignored object may have any state, and may be missing.
        skipped === 'suspended' ? healthy : ofApp(resource, healthOfLive(resource, ref, object.kind), app.spec.wait === true);
      const healthOfChecked = ({ resource, ref, kind }: CheckedObject): Health =>
        resource === undefined
          ? { status: 'Missing', reason: `${describe(kind, ref)} is of a kind that the cluster does not have` }
          : ofApp(resource, healthOfLive(resource, ref, kind), true);
      const now = clock.now();
      for (const [id, dueAt] of state.healthDue) if (dueAt <= now) state.healthDirty.add(id);
      for (const id of state.healthDirty) {
        const applied = state.applied.get(id);
        const checked = state.checks.get(id);
        const health = applied === undefined ? (checked === undefined ? undefined : healthOfChecked(checked)) : healthOfApplied(applied);
        if (health === undefined) state.health.delete(id);
        else state.health.set(id, health);
        if (health?.recheckAt === undefined) state.healthDue.delete(id);
        else state.healthDue.set(id, health.recheckAt);
      }
      state.healthDirty.clear();
      const worst = state.applied.size + state.checks.size === 0 ? unknown : worstOfOwnFirst(state.health.values());
      return inTime(app, state, worst, explained(state, target, worst));
    },
    announce(app, state, { health, target }) {
      const before = state.lastHealth;
      const problem = kindOfProblem(health.reason);
      const entry = { at: clock.now(), app: app.metadata.name, sha: state.sha };
      // The apps of an app list speak for themselves.
      const speaks = !isAppList(state);
      if (health.status === 'Degraded' && state.degradedSince === 0) state.degradedSince = clock.now();
      // A container that crashes again and again is well for a moment each time.
      if (health.status !== 'Healthy') {
        if (state.wellSince > 0 && clock.now() - state.wellSince > recoveryMs) state.announcedProblem = '';
        state.wellSince = 0;
      } else if (state.wellSince === 0) state.wellSince = clock.now();
      // A short problem is not reported: an old pod's, for example, while a revert removes it.
      if (isProblem(health) && state.announcedProblem !== problem && kindOfProblem(before.reason) === problem && speaks) {
        state.announcedProblem = problem;
        state.brokeAt = state.announcedHealthy ? state.sha : '';
        feed.add(app, { type: 'degraded', ...entry, reason: health.reason });
      }
      if (health.status === 'Healthy' && state.appliedAt > 0) {
        if (!state.announcedHealthy) {
          const durationMs = clock.now() - state.seenAt;
          gitops.commitHealthy(labelsOf(app), durationMs);
          if (speaks) feed.add(app, { type: 'healthy', ...entry, summary: podSummary(state, target), durationMs });
          state.announcedHealthy = true;
        }
        // After a commit, `healthy` says so; without one nothing else would.
        if (state.brokeAt !== '' && clock.now() - state.wellSince > recoveryMs) {
          if (state.brokeAt === state.sha) feed.add(app, { type: 'recovered', ...entry, from: 'degraded' });
          state.brokeAt = '';
        }
        if (state.degradedSince > 0) {
          gitops.restored(labelsOf(app), clock.now() - state.degradedSince);
          state.degradedSince = 0;
        }
      }
      state.lastHealth = health;
    },
    lookAgainAfterMs(app, { lastHealth, announcedProblem, healthDue, progress, cause, brokeAt, wellSince }) {
      const now = clock.now();
      const times = [...healthDue.values(), ...(progress === undefined ? [] : [progress.since + timeoutMsOf(app) + 1])];
      if (cause !== undefined) times.push(cause.at);
      if (brokeAt !== '' && lastHealth.status === 'Healthy') times.push(wellSince + recoveryMs + 1);
      if (isProblem(lastHealth) && announcedProblem !== kindOfProblem(lastHealth.reason)) times.push(now + problemGraceMs);
      const soonest = Math.min(...times.filter((time) => time > now));
      return Number.isFinite(soonest) ? soonest - now : undefined;
    },
  };
}

/** A count that grows, or an age, makes no other problem. */
const kindOfProblem = (reason: string): string => reason.replaceAll(/\b(?:once|twice|\d+ times)\b|\d+/g, '#');

const minCauseMs = 5_000;
const maxCauseMs = 60_000;

const unknown: Health = { status: 'Unknown', reason: '' };

/** True while an app waits for health; `waitsSince` is the start. */
const isAwaited = (app: Kustomization, state: AppState): boolean =>
  stateOf(app) === 'Progressing' && state.rollout === undefined && state.waitsSince > 0;

/** True when an app has waited for health for longer than its timeout. */
export const isLateForHealth = (app: Kustomization, state: AppState, now: number): boolean =>
  isAwaited(app, state) && now - state.waitsSince > timeoutMsOf(app);

const isProblem = ({ status }: Health): boolean => status === 'Degraded' || status === 'NoController';

/**
 * Health of an app inside an app. As in Flux it counts only where the outer app waits for it. It is then progressing
 * until it is ready, whatever its problem is.
 */
function ofApp({ group, kind }: Resource<DynamicObject>, health: Health, isAwaited: boolean): Health {
  if (group !== kustomizations.group || kind !== kustomizations.kind) return health;
  if (health.status === 'Healthy' || health.status === 'Missing' || health.status === 'Unknown') return health;
  return isAwaited ? { ...health, status: 'Progressing', reason: `waits for ${health.reason}`, isOfApp: true } : healthy;
}

/** Among equally bad ones, an object of the app's own comes before another app. */
function worstOfOwnFirst(all: Iterable<Health>): Health {
  const healths = [...all];
  return worstOf([...healths.filter(({ isOfApp }) => isOfApp !== true), ...healths]);
}

interface Workload {
  readonly kind: string;
  readonly spec?: { readonly replicas?: number };
  readonly status?: { readonly readyReplicas?: number };
}

const isAppList = ({ applied }: AppState): boolean =>
  [...applied.values()].every(({ desired }) => desired.object.kind === kustomizations.kind);

import type { Pod } from '../../../api/core/v1/pod.ts';
import { type Kustomization, kustomizations } from '../../../api/kustomize/v1/kustomization.ts';
import type { Clock } from '../../../base/clock.ts';
import type { Log } from '../../../base/log.ts';
import { stateOf } from '../../../lifecycle/kustomization.facts.ts';
import { type Health, healthy, worstOf } from '../../../lifecycle/reasons.ts';
import { type DynamicObject, deepEqual, type ObjectRef } from '../../../machinery/object.ts';
import type { Resource } from '../../../machinery/resource.ts';
import { describe } from '../objects/object-id.ts';
import { causeAt } from '../observe/causes.ts';
import { type PodGenerations, podGenerations, servingText } from '../observe/pod-generations.ts';
import { timeoutMsOf } from '../plan/app-spec.ts';
import type { Announced } from '../records/announced.ts';
import type { AppRecords } from '../records/app-records.ts';
import { type CauseSearch, type CheckedObject, withCause } from '../records/object-healths.ts';
import type { AppliedObject } from '../records/object-sets.ts';
import type { GitOpsMetrics } from '../status/gitops-metrics.ts';
import type { AppFeed } from '../status/redacted-feed.ts';
import type { Target } from '../target/target.ts';
import { type AnnouncedRecords, announceHealth, announcementTimes, kindOfProblem } from './announce-health.ts';

export interface AppHealthOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** The app is looked at again. */
  wake(app: string): void;
  readonly feed: AppFeed;
  readonly gitops: GitOpsMetrics;
}

/** Records that the health of an app is judged by; `health` is the one that a judgement changes. */
type JudgedRecords = Pick<AppRecords, 'key' | 'ownership' | 'health' | 'attempt' | 'inForce'>;
type ExplainedRecords = Pick<AppRecords, 'key' | 'ownership' | 'health'>;
type AwaitedRecords = Pick<AppRecords, 'attempt' | 'inForce'>;

/** Health of apps: a state that follows the watched objects, so that nothing waits for it. */
export interface AppHealth {
  /** Gives the worst health of the app's objects and checks. It judges only objects that changed since the last call. */
  current(app: Kustomization, state: JudgedRecords, target: Target): Health;
  /** Says, once each, that an app became healthy after a commit or that it has a problem that lasts; gives what has been said then. */
  announce(app: Kustomization, state: AnnouncedRecords, now: { readonly health: Health; readonly target: Target }): Announced;
  /** When both should be called again although nothing changes; undefined when they need not. */
  lookAgainAfterMs(app: Kustomization, state: Pick<AppRecords, 'announced' | 'health'>): number | undefined;
}

export function createAppHealth({ clock, log, wake, feed, gitops }: AppHealthOptions): AppHealth {
  /**
   * The health together with its known cause. The search for the cause runs beside the work of apps, only for the
   * object that makes the app unhealthy. It runs at most every 5 s, and less often the longer the cause stays the same.
   */
  function explained(state: ExplainedRecords, target: Target, health: Health): Health {
    const generations = health.status === 'Progressing' || health.status === 'Degraded' ? podsOf(state, target, health) : noPods;
    const pods = generations.judged;
    const serving = servingText(generations);
    const shown = serving === undefined ? health : { ...health, serving };
    const at = pods.length === 0 ? undefined : causeAt(pods, clock.now());
    if (at === undefined) {
      state.health.search(undefined);
      return shown;
    }
    const of = kindOfProblem(health.reason);
    let cause = state.health.cause;
    if (cause?.of !== of) cause = { of, at: Math.max(at, clock.now()), looks: 0, found: undefined };
    const isDue = cause.at <= clock.now();
    if (isDue) cause = { ...cause, at: clock.now() + Math.min(maxCauseMs, minCauseMs * 2 ** cause.looks), looks: cause.looks + 1 };
    state.health.search(cause);
    if (isDue) void look(state, target, { pods, of });
    const { found } = cause;
    if (found === undefined) return shown;
    return { ...shown, reason: withCause(health.reason, found), ...(found.fix === undefined ? {} : { fix: found.fix }) };
  }

  async function look(state: ExplainedRecords, target: Target, { pods, of }: Pick<CauseSearch, 'of'> & { readonly pods: readonly Pod[] }) {
    try {
      const found = await target.causeOf(pods);
      const { cause } = state.health;
      if (cause?.of !== of || deepEqual(found, cause.found)) return;
      state.health.search({ ...cause, found });
      wake(state.key);
    } catch (err) {
      // The reason stays as the object itself says it, until the next look.
      log.debug({ kustomization: state.key, err }, 'Could not look for the cause of an unhealthy object');
    }
  }

  /** A reason that outlasts the app's timeout, or kept the app from being ready in time, makes the app Degraded. */
  function inTime(
    app: Kustomization,
    state: AwaitedRecords & Pick<AppRecords, 'health'>,
    { health, shown }: { readonly health: Health; readonly shown: Health },
  ): Health {
    if (health.status !== 'Progressing') {
      state.health.wait(undefined);
      if (health.status === 'Healthy') state.health.setOverdue(false);
      return shown;
    }
    const progress =
      state.health.progress?.reason === health.reason ? state.health.progress : { reason: health.reason, since: clock.now() };
    state.health.wait(progress);
    // The other app reports its own fault.
    if (health.isOfApp === true) return shown;
    if (isLateForHealth(app, state, clock.now())) state.health.setOverdue(true);
    // An app that waits for health has that deadline alone, so that `Healthy` and `Ready` turn in one write.
    const isStuck = !isAwaited(app, state) && clock.now() - progress.since > timeoutMsOf(app);
    if (!state.health.isOverdue && !isStuck) return shown;
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
        skipped === 'suspended' || skipped === 'expired'
          ? healthy
          : ofApp(resource, healthOfLive(resource, ref, object.kind), app.spec.wait === true);
      const healthOfChecked = ({ resource, ref, kind }: CheckedObject): Health =>
        resource === undefined
          ? { status: 'Missing', reason: `${describe(kind, ref)} is of a kind that the cluster does not have` }
          : ofApp(resource, healthOfLive(resource, ref, kind), true);
      state.health.refresh(clock.now(), (id) => {
        const applied = state.ownership.applied.get(id);
        const checked = state.health.checks.get(id);
        if (applied !== undefined) return healthOfApplied(applied);
        return checked === undefined ? undefined : healthOfChecked(checked);
      });
      const worst = state.ownership.applied.size + state.health.checks.size === 0 ? unknown : worstOfOwnFirst(state.health.known.values());
      return inTime(app, state, { health: worst, shown: explained(state, target, worst) });
    },
    announce: (app, state, { health, target }) => announceHealth({ clock, feed, gitops }, { app, state, health, target }),
    lookAgainAfterMs(app, { announced, health: { due, progress, cause } }) {
      const now = clock.now();
      const times = [...due.values(), ...(progress === undefined ? [] : [progress.since + timeoutMsOf(app) + 1])];
      if (cause !== undefined) times.push(cause.at);
      times.push(...announcementTimes(announced, now));
      const soonest = Math.min(...times.filter((time) => time > now));
      return Number.isFinite(soonest) ? soonest - now : undefined;
    },
  };
}

/** Pods of the object that the health is of. */
function podsOf(state: Pick<AppRecords, 'ownership' | 'health'>, { owned }: Target, health: Health): PodGenerations {
  for (const [id, each] of state.health.known) {
    if (each !== health) continue;
    const { resource, ref } = state.ownership.applied.get(id)?.desired ?? state.health.checks.get(id) ?? {};
    const live = resource === undefined || ref === undefined ? undefined : owned.live(resource, ref);
    if (live === undefined) return noPods;
    return live.kind === 'Pod' && live.apiVersion === 'v1' ? { judged: [live as unknown as Pod], old: [] } : podGenerations(live, owned);
  }
  return noPods;
}

const minCauseMs = 5_000;
const maxCauseMs = 60_000;

const noPods: PodGenerations = { judged: [], old: [] };
const unknown: Health = { status: 'Unknown', reason: '' };

/** True while an app waits for health; `waitsSince` is the start. */
const isAwaited = (app: Kustomization, state: AwaitedRecords): boolean =>
  stateOf(app) === 'Progressing' && state.attempt.rollout === undefined && state.inForce.waitsSince > 0;

/** True when an app has waited for health for longer than its timeout. */
export const isLateForHealth = (app: Kustomization, state: AwaitedRecords, now: number): boolean =>
  isAwaited(app, state) && now - state.inForce.waitsSince > timeoutMsOf(app);

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

import { type Kustomization, kustomizations } from '../../../api/kustomize/v1/kustomization.ts';
import type { Clock } from '../../../base/clock.ts';
import { type Health, sentenceOf } from '../../../lifecycle/reasons.ts';
import { labelsOf } from '../plan/app-spec.ts';
import type { Announced } from '../records/announced.ts';
import type { AppRecords } from '../records/app-records.ts';
import type { GitOpsMetrics } from '../status/gitops-metrics.ts';
import type { AppFeed } from '../status/redacted-feed.ts';
import type { Target } from '../target/target.ts';

/** A problem is reported when it is still the same after this time. */
const problemGraceMs = 500;
/** A problem that comes back within this time is the same one, and not reported again. */
const recoveryMs = 10_000;

interface HealthAnnouncerOptions {
  readonly clock: Clock;
  readonly feed: AppFeed;
  readonly gitops: GitOpsMetrics;
}

/** Records that decide what is said of a health. */
export type AnnouncedRecords = Pick<AppRecords, 'ownership' | 'inForce' | 'announced'>;

/** A judged health, and the records that decide if it is worth a word. */
interface JudgedHealth {
  readonly app: Kustomization;
  readonly state: AnnouncedRecords;
  readonly health: Health;
  readonly target: Pick<Target, 'owned'>;
}

/** Says, once each, that an app became healthy after a commit or that it has a problem that lasts; gives what has been said then. */
export function announceHealth({ clock, feed, gitops }: HealthAnnouncerOptions, { app, state, health, target }: JudgedHealth): Announced {
  const { inForce } = state;
  const now = clock.now();
  const next = since(state.announced, health, now);
  const entry = { at: now, app: app.metadata.name, sha: inForce.sha };
  // The apps of an app list speak for themselves.
  const speaks = !isAppList(state);
  const problem = kindOfProblem(health.reason);
  // A short problem is not reported: an old pod's, for example, while a revert removes it.
  if (isProblem(health) && next.problem !== problem && kindOfProblem(state.announced.lastHealth.reason) === problem && speaks) {
    feed.add(app, { type: 'degraded', ...entry, reason: sentenceOf(health) });
    return { ...next, problem, brokeAt: next.isHealthy ? inForce.sha : '' };
  }
  if (health.status !== 'Healthy' || inForce.appliedAt === 0) return next;
  if (!next.isHealthy) {
    const durationMs = now - inForce.seenAt;
    gitops.commitHealthy(labelsOf(app), durationMs);
    if (speaks) feed.add(app, { type: 'healthy', ...entry, summary: podSummary(state, target), durationMs });
  }
  // After a commit, `healthy` says so; without one nothing else would.
  const isOver = next.brokeAt !== '' && now - next.wellSince > recoveryMs;
  if (isOver && next.brokeAt === inForce.sha) feed.add(app, { type: 'recovered', ...entry, from: 'degraded' });
  if (next.degradedSince > 0) gitops.restored(labelsOf(app), now - next.degradedSince);
  return { ...next, isHealthy: true, degradedSince: 0, brokeAt: isOver ? '' : next.brokeAt };
}

/** Times at which `announceHealth` may say something although nothing changes. */
export function announcementTimes({ lastHealth, problem, brokeAt, wellSince }: Announced, now: number): readonly number[] {
  const times: number[] = [];
  if (brokeAt !== '' && lastHealth.status === 'Healthy') times.push(wellSince + recoveryMs + 1);
  if (isProblem(lastHealth) && problem !== kindOfProblem(lastHealth.reason)) times.push(now + problemGraceMs);
  return times;
}

/** `5/5`: ready of desired pods of the app's workloads. */
function podSummary(state: Pick<AppRecords, 'ownership'>, { owned }: Pick<Target, 'owned'>): string {
  let ready = 0;
  let desired = 0;
  for (const { desired: object } of state.ownership.applied.values()) {
    const live = owned.live(object.resource, object.ref) as Workload | undefined;
    if (live?.kind !== 'Deployment' && live?.kind !== 'ReplicaSet') continue;
    ready += live.status?.readyReplicas ?? 0;
    desired += live.spec?.replicas ?? 1;
  }
  return desired === 0 ? '' : `${ready}/${desired}`;
}

/** Notes since when the app is well or Degraded. A container that crashes again and again is well for a moment each time. */
function since(announced: Announced, health: Health, now: number): Announced {
  const { wellSince, degradedSince, problem } = announced;
  const isWell = health.status === 'Healthy';
  return {
    ...announced,
    lastHealth: health,
    degradedSince: health.status === 'Degraded' && degradedSince === 0 ? now : degradedSince,
    problem: !isWell && wellSince > 0 && now - wellSince > recoveryMs ? '' : problem,
    wellSince: isWell ? (wellSince === 0 ? now : wellSince) : 0,
  };
}

/** A count that grows, or an age, makes no other problem. */
export const kindOfProblem = (reason: string): string => reason.replaceAll(/\b(?:once|twice|\d+ times)\b|\d+/g, '#');

const isProblem = ({ status }: Health): boolean => status === 'Degraded' || status === 'NoController';

interface Workload {
  readonly kind: string;
  readonly spec?: { readonly replicas?: number };
  readonly status?: { readonly readyReplicas?: number };
}

const isAppList = ({ ownership: { applied } }: Pick<AppRecords, 'ownership'>): boolean =>
  [...applied.values()].every(({ desired }) => desired.object.kind === kustomizations.kind);

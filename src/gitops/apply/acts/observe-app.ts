import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { annotations } from '../../../api/well-known.ts';
import type { Clock } from '../../../base/clock.ts';
import type { Finding } from '../../../lifecycle/flux-conditions.ts';
import {
  type AppObservation,
  hasFailedOnHealth,
  kustomizationReasons as reasons,
  stateOf,
} from '../../../lifecycle/kustomization.facts.ts';
import type { KnownRevision } from '../../sources/follow/known-revision.ts';
import type { Expressions } from '../observe/expressions.ts';
import { dependencyCycle, findUnsupported } from '../plan/app-spec.ts';
import type { AppRecords } from '../records/app-records.ts';
import { unreadyDependency } from './app-dependencies.ts';
import type { Pass } from './pass.ts';

export interface AppObserverOptions {
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly expressions: Expressions;
  /** State of a missing app. */
  readonly absent: string;
  appOf(key: string): Kustomization | undefined;
}

/** Observes an app before a pass acts. The first obstacle decides, and the later ones are not looked for. */
export function createAppObserver({ clock, expressions, absent, appOf }: AppObserverOptions): (pass: Pass) => AppObservation {
  return ({ app, state, revision, target }) => {
    const hasRevision = revision !== undefined;
    const seen = { rejection: undefined, hasRevision, dependency: undefined, isOutOfDate: false, hasDrifted: false };
    if (app.metadata.deletionTimestamp !== undefined || app.spec.suspend === true) return seen;
    const rejection = findRejection(app);
    if (rejection !== undefined) return { ...seen, rejection };
    if (!hasRevision) return seen;
    const waitsFor = unreadyDependency(app, revision, { appOf, expressions, absent });
    if (waitsFor !== undefined) return { ...seen, dependency: { reason: reasons.dependencyNotReady, message: waitsFor } };
    for (const [id, { desired, skipped }] of state.ownership.applied) {
      if (skipped === 'suspended') target.drift.observe(state, { id, object: target.owned.live(desired.resource, desired.ref) });
    }
    const isOutOfDate = isBehind(app, state, { revision, now: clock.monotonicMs() });
    return { ...seen, isOutOfDate, hasDrifted: state.drifts.found.size > 0 };
  };

  /** Finds what a person has to change in the spec before the app can be applied. */
  function findRejection(app: Kustomization): Finding | undefined {
    const unsupported = findUnsupported(app);
    if (unsupported !== undefined) return { reason: reasons.notSupported, message: `not supported: ${unsupported}` };
    const expression = expressions.problemIn(app);
    if (expression !== undefined) return { reason: reasons.invalidExpression, message: `invalid expression: ${expression}` };
    const cycle = dependencyCycle(app, appOf);
    return cycle === undefined ? undefined : { reason: 'DependencyCycle', message: `dependsOn has a cycle: ${cycle.join(' → ')}` };
  }
}

/** Tries come due this much early: a timer may fire a moment before its time. */
const toleranceMs = 5;

/** True when the state in force is not that of revision and spec, or is to be checked again; `now` is of the monotonic clock. */
function isBehind(
  app: Kustomization,
  { attempt, inForce, ownership, prune }: Pick<AppRecords, 'attempt' | 'inForce' | 'ownership' | 'prune'>,
  { revision: { commit }, now }: { readonly revision: Pick<KnownRevision, 'commit'>; readonly now: number },
): boolean {
  const generation = app.metadata.generation ?? 0;
  const { failed } = attempt;
  if (attempt.rollout !== undefined) return true;
  const request = app.metadata.annotations?.[annotations.reconcileRequestedAt];
  if (request !== undefined && request !== inForce.handledRequest && request !== app.status?.lastHandledReconcileAt) return true;
  if (failed !== undefined) {
    // Also when the branch went back to what is in force: that has to be said, and what came half way has to be undone.
    if (failed.revision !== commit.revision || failed.generation !== generation) return true;
    return now - failed.failedAt >= failed.retryMs - toleranceMs;
  }
  if (inForce.digest === '' || inForce.revision !== commit.revision || inForce.tree !== commit.tree || inForce.generation !== generation)
    return true;
  const value = stateOf(app);
  // A pass that ended with an error of its own did not come to say what it had done.
  if (app.status?.lastAppliedRevision !== inForce.revision || (value === 'Failed' && !hasFailedOnHealth(app))) return true;
  if (value === 'Waiting' || value === 'New' || value === 'Stalled') return true;
  if (ownership.doomed.size === 0 || value !== 'Ready') return false;
  // Objects that are doomed and not held go in the same look.
  return now >= prune.lookAt - toleranceMs || prune.blocked.endsWith(`=${app.metadata.annotations?.[annotations.approvePrune]}`);
}

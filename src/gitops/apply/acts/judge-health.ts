import {
  awaitsHealth,
  healthEventsOf,
  isSyncLost,
  type KustomizationState,
  kustomizationReasons as reasons,
  stateOf,
} from '../../../lifecycle/kustomization.facts.ts';
import type { KustomizationEvent } from '../../../lifecycle/kustomization.machine.ts';
import { type Health, worstOf } from '../../../lifecycle/reasons.ts';
import { describe } from '../objects/object-id.ts';
import type { ObjectHealths } from '../records/object-healths.ts';
import { isLateForHealth } from './app-health.ts';
import type { Outcome, Pass } from './pass.ts';
import { tellPhase } from './tell.ts';

export interface HealthFacts {
  /** State of the app before this pass acted, and its acts. */
  readonly from: KustomizationState;
  readonly learned: readonly KustomizationEvent[];
  readonly health: Health;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** Begins the time that an app waits for health, and says how that wait ended. Events are those of the acts, then those of health. */
export function judgeHealth(
  { app, state }: Pick<Pass, 'app' | 'state'>,
  { from, learned, health, now }: HealthFacts,
): { readonly events: readonly KustomizationEvent[]; readonly outcome: Outcome } {
  let { announced, inForce } = state;
  const endPhase = (result: 'done' | 'failed'): void => {
    state.attempt.record?.end(result);
    const reason = result === 'done' ? reasons.succeeded : reasons.healthCheckFailed;
    announced = tellPhase({ app, state: { ...state, announced, inForce }, now }, reason);
  };
  const acted = { learned, isRollingOut: state.attempt.rollout !== undefined, hasErrors: state.attempt.errors.length > 0 };
  const isOver = !acted.isRollingOut && !isSyncLost(learned);
  const isHealthy = health.status === 'Healthy' || state.ownership.applied.size === 0;
  if (isOver && state.attempt.record?.current === 'health' && isHealthy) endPhase('done');
  if (awaitsHealth(app, from, acted)) {
    // After a start, and when only the spec changed, nothing was applied that the time could count from.
    const isNew = learned.some(({ type }) => type === 'APPLIED') && stateOf(app) !== 'Progressing';
    if (inForce.waitsSince === 0 || isNew) inForce = { ...inForce, waitsSince: now };
  }
  const ready = readinessOf(state.health, health);
  const isLate = isLateForHealth(app, { ...state, inForce }, now);
  const events = [...healthEventsOf(app, from, { ...acted, readiness: ready.status, isLate })];
  const last = events.at(-1)?.type;
  if (last === 'BECAME_HEALTHY') {
    const finding = { reason: reasons.succeeded, message: `Applied revision: ${inForce.revision}` };
    return { events, outcome: { announced, inForce, finding } };
  }
  if (last === 'CANNOT_BECOME_HEALTHY' || last === 'HEALTH_DEADLINE_PASSED') {
    endPhase('failed');
    const finding = { reason: reasons.healthCheckFailed, message: ready.reason };
    return { events, outcome: { announced, inForce, finding } };
  }
  return { events, outcome: { announced, inForce } };
}

/** The health that readiness depends on: of the objects that `spec.healthChecks` names, unless the app waits for all of its own. */
function readinessOf({ checks, known }: Pick<ObjectHealths, 'checks' | 'known'>, health: Health): Health {
  if (checks.size === 0) return health;
  return worstOf(
    [...checks].map(
      ([id, { kind, ref }]) => known.get(id) ?? { status: 'Unknown', reason: `${describe(kind, ref)} was not looked at yet` },
    ),
  );
}

import { isDuration, parseDuration } from '../../../api/flux.ts';
import { holdAnnotations, holdOf } from '../../../api/kustomize/v1/hold.ts';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { annotations } from '../../../api/well-known.ts';
import { type Clock, timestampOf } from '../../../base/clock.ts';
import { type KustomizationState, kustomizationReasons as reasons } from '../../../lifecycle/kustomization.facts.ts';
import type { Health } from '../../../lifecycle/reasons.ts';
import type { EventRecorder } from '../../../reconcile/event-recorder.ts';
import { fieldManager } from '../objects/fields.ts';
import type { AppRecords } from '../records/app-records.ts';
import type { Inventory } from '../sync/inventory.ts';
import type { AppObject } from './app-object.ts';
import type { Pass } from './pass.ts';

/** An app that is set to revert by itself is Degraded for so long before it does. */
const defaultRevertGraceMs = 30_000;

/** Records by which an app goes back. `ownership` remembers where to, and what was reverted; the inventory writes it with `drifts`. */
type RevertRecords = Pick<AppRecords, 'ownership' | 'drifts' | 'inForce' | 'attempt' | 'announced'>;
type GraceRecords = Pick<AppRecords, 'ownership' | 'inForce' | 'announced'>;

/** The facts of a pass that decide about a revert. */
interface RevertFacts extends Pick<Pass, 'app' | 'hold' | 'revision' | 'finding'> {
  readonly state: RevertRecords;
}

/** Takes an app that asks for it back to the revision at which it was last healthy. */
export interface AutoRevert {
  rememberHealthy(facts: RevertFacts, health: Health): Promise<void>;
  revertWhenBad(facts: RevertFacts, value: KustomizationState, health: Health): Promise<void>;
  /** Until a Degraded app goes back; undefined when it does not. */
  graceLeftMs(app: Kustomization, state: GraceRecords): number | undefined;
}

export function createAutoRevert({
  clock,
  recorder,
  inventory,
  object,
}: {
  readonly clock: Clock;
  readonly recorder: EventRecorder;
  readonly inventory: Inventory;
  readonly object: AppObject;
}): AutoRevert {
  return { rememberHealthy, revertWhenBad, graceLeftMs };

  /** Notes where an app that may revert by itself would go. */
  async function rememberHealthy({ app, state, hold }: RevertFacts, health: Health): Promise<void> {
    const { digest, sha } = state.inForce;
    if (graceMs(app) === undefined || hold !== undefined || health.status !== 'Healthy' || digest === '') return;
    if (state.attempt.rollout !== undefined || state.attempt.failed !== undefined || state.ownership.healthy?.digest === digest) return;
    state.ownership.rememberHealthy({ sha, digest });
    await inventory.write(app, state, { revision: state.inForce.revision });
  }

  /** Goes back to the last healthy revision, once for each revision that is not, and holds the bad one. */
  async function revertWhenBad(
    { app, state, hold, revision, finding }: RevertFacts,
    value: KustomizationState,
    health: Health,
  ): Promise<void> {
    const { healthy } = state.ownership;
    if (revision === undefined || healthy === undefined || hold !== undefined || state.ownership.autoReverted === revision.commit.sha)
      return;
    const failedOnWave = state.attempt.failed?.revision === revision.commit.revision && finding.reason === reasons.healthCheckFailed;
    const isInForce = state.inForce.sha === revision.commit.sha && state.inForce.digest !== healthy.digest && state.inForce.digest !== '';
    const isBad = failedOnWave || (isInForce && (value === 'Failed' || (health.status === 'Degraded' && graceLeftMs(app, state) === 0)));
    if (graceMs(app) === undefined || !isBad) return;
    state.ownership.rememberReverted(revision.commit.sha);
    await inventory.write(app, state, { revision: state.inForce.revision });
    const why = health.reason || finding.message;
    const at = timestampOf(clock.now());
    const annotated = {
      metadata: { annotations: holdAnnotations({ held: revision.commit.sha, pinned: healthy.sha, by: fieldManager, at }) },
    };
    const isHeld = await object
      .change(app, (now) => (holdOf(now) === undefined ? annotated : undefined))
      .catch((err: unknown) => {
        // It is not done, and has to be tried again.
        state.ownership.rememberReverted('');
        throw err;
      });
    if (!isHeld) return;
    recorder.record(app, {
      type: 'Warning',
      reason: 'AutoReverted',
      message: `${revision.commit.revision} is not healthy (${why}); back to ${healthy.sha}`,
    });
  }

  function graceLeftMs(app: Kustomization, state: GraceRecords): number | undefined {
    const grace = graceMs(app);
    if (
      grace === undefined ||
      state.announced.lastHealth.status !== 'Degraded' ||
      state.announced.degradedSince === 0 ||
      state.ownership.healthy === undefined
    )
      return undefined;
    if (state.ownership.autoReverted === state.inForce.sha || holdOf(app) !== undefined) return undefined;
    return Math.max(0, grace - (clock.now() - Math.max(state.announced.degradedSince, state.inForce.appliedAt)));
  }
}

/** Time that an app must be Degraded before it reverts by itself; undefined when it never does. */
function graceMs({ metadata }: Kustomization): number | undefined {
  const text = metadata.annotations?.[annotations.autoRevert];
  if (text === undefined || text === 'false') return undefined;
  return isDuration(text) ? parseDuration(text) : defaultRevertGraceMs;
}

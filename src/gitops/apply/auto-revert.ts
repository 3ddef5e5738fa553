import { isDuration, parseDuration } from '../../api/flux.ts';
import { holdAnnotations, holdOf } from '../../api/kustomize/v1/hold.ts';
import type { Kustomization } from '../../api/kustomize/v1/kustomization.ts';
import { annotations } from '../../api/well-known.ts';
import { type Clock, timestampOf } from '../../base/clock.ts';
import { type KustomizationState, kustomizationReasons as reasons } from '../../lifecycle/kustomization.facts.ts';
import type { Health } from '../../lifecycle/reasons.ts';
import type { EventRecorder } from '../../reconcile/event-recorder.ts';
import type { AppObject } from './app-object.ts';
import type { Pass } from './app-pass.ts';
import { type AppState, touchInventory } from './app-state.ts';
import { fieldManager } from './objects/fields.ts';
import type { Inventory } from './sync/inventory.ts';

/** An app that is set to revert by itself is Degraded for so long before it does. */
const defaultRevertGraceMs = 30_000;

/** Takes an app that asks for it back to the revision at which it was last healthy. */
export interface AutoRevert {
  rememberHealthy(pass: Pass, health: Health): Promise<void>;
  revertWhenBad(pass: Pass, value: KustomizationState, health: Health): Promise<void>;
  /** Until a Degraded app goes back; undefined when it does not. */
  graceLeftMs(app: Kustomization, state: AppState): number | undefined;
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
  async function rememberHealthy({ app, state, hold }: Pass, health: Health): Promise<void> {
    const { digest, sha } = state;
    if (graceMs(app) === undefined || hold !== undefined || health.status !== 'Healthy' || digest === '') return;
    if (state.rollout !== undefined || state.attempted !== undefined || state.healthy?.digest === digest) return;
    state.healthy = { sha, digest };
    touchInventory(state);
    await inventory.write(app, state, { revision: state.revision });
  }

  /** Goes back to the last healthy revision, once for each revision that is not, and holds the bad one. */
  async function revertWhenBad(pass: Pass, value: KustomizationState, health: Health): Promise<void> {
    const { app, state, hold, revision, superseded } = pass;
    const { healthy } = state;
    if (superseded || revision === undefined || healthy === undefined || hold !== undefined || state.autoReverted === revision.commit.sha)
      return;
    const failedOnWave = state.attempted?.revision === revision.commit.revision && pass.finding.reason === reasons.healthCheckFailed;
    const isInForce = state.sha === revision.commit.sha && state.digest !== healthy.digest && state.digest !== '';
    const isBad = failedOnWave || (isInForce && (value === 'Failed' || (health.status === 'Degraded' && graceLeftMs(app, state) === 0)));
    if (graceMs(app) === undefined || !isBad) return;
    state.autoReverted = revision.commit.sha;
    touchInventory(state);
    await inventory.write(app, state, { revision: state.revision });
    const why = health.reason || pass.finding.message;
    const at = timestampOf(clock.now());
    const annotated = {
      metadata: { annotations: holdAnnotations({ held: revision.commit.sha, pinned: healthy.sha, by: fieldManager, at }) },
    };
    const isHeld = await object
      .change(app, (now) => (holdOf(now) === undefined ? annotated : undefined))
      .catch((err: unknown) => {
        // It is not done, and has to be tried again.
        state.autoReverted = '';
        touchInventory(state);
        throw err;
      });
    if (!isHeld) return;
    recorder.record(app, {
      type: 'Warning',
      reason: 'AutoReverted',
      message: `${revision.commit.revision} is not healthy (${why}); back to ${healthy.sha}`,
    });
  }

  function graceLeftMs(app: Kustomization, state: AppState): number | undefined {
    const grace = graceMs(app);
    if (grace === undefined || state.lastHealth.status !== 'Degraded' || state.degradedSince === 0 || state.healthy === undefined)
      return undefined;
    if (state.autoReverted === state.sha || holdOf(app) !== undefined) return undefined;
    return Math.max(0, grace - (clock.now() - Math.max(state.degradedSince, state.appliedAt)));
  }
}

/** Time that an app must be Degraded before it reverts by itself; undefined when it never does. */
function graceMs({ metadata }: Kustomization): number | undefined {
  const text = metadata.annotations?.[annotations.autoRevert];
  if (text === undefined || text === 'false') return undefined;
  return isDuration(text) ? parseDuration(text) : defaultRevertGraceMs;
}

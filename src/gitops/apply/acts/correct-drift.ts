import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { annotations } from '../../../api/well-known.ts';
import { mapBounded } from '../../../base/concurrency.ts';
import type { Activity } from '../../../base/contracts/activity.ts';
import type { Redactor } from '../../../base/redactor.ts';
import { isNotFound, isStatusError } from '../../../machinery/status-error.ts';
import type { ControllerDependencies } from '../../../reconcile/dependencies.ts';
import { describeObject } from '../objects/object-id.ts';
import { stagesOf } from '../objects/order.ts';
import { labelsOf } from '../plan/app-spec.ts';
import { messageOf } from '../plan/sync-failure.ts';
import { type Drift, driftLine } from '../records/drifts.ts';
import type { AppliedObject } from '../records/object-sets.ts';
import { heldText } from '../status/app-status.ts';
import type { GitOpsMetrics } from '../status/gitops-metrics.ts';
import type { AppFeed } from '../status/redacted-feed.ts';
import type { Pass } from './pass.ts';

export interface DriftCorrectionOptions extends Pick<ControllerDependencies, 'clock' | 'recorder'> {
  readonly feed: AppFeed;
  readonly redactor: Redactor;
  readonly gitops: GitOpsMetrics;
}

interface Due {
  readonly found: Drift;
  readonly applied: AppliedObject;
}

/** Requests of one app under way at the same time. */
const concurrency = 16;

/**
 * Puts objects back to what Git says, in the order in which they are applied.
 *
 * A namespace that is being deleted, or is gone, holds back the objects in it and nothing else: that is said once, and tried again.
 *
 * An object that the server refuses is named, and tried again; the others go on.
 *
 * @returns effect of an app's machine; it throws the first error that is no answer of the server, after it has tried all objects
 */
export function createDriftCorrection({ clock, recorder, feed, redactor, gitops }: DriftCorrectionOptions): (pass: Pass) => Promise<void> {
  return async (pass) => {
    const { app, state, signal, target } = pass;
    const blocked = new Map<string, string>();
    const failures: unknown[] = [];
    for (const stage of stagesOf(
      dueOf(pass),
      ({ applied: { desired } }) => ({ kind: desired.object.kind, wave: desired.policy.wave }),
      1,
    )) {
      await mapBounded(stage, concurrency, async (due) => {
        const { namespace } = due.applied.desired.ref;
        if (namespace !== undefined && blocked.has(namespace)) return;
        const heldMs = target.drift.heldForMs(app, state, due.found);
        if (heldMs !== undefined) return leave(pass, due, { until: clock.now() + heldMs });
        try {
          await heal(pass, due);
        } catch (err) {
          if (signal.aborted) throw err;
          gitops.synced(labelsOf(app), { trigger: 'drift', result: 'failed', durationMs: 0 });
          const reason = namespaceReason(err, namespace);
          if (namespace !== undefined && reason !== undefined) blocked.set(namespace, reason);
          else {
            noteUnhealed(pass, due, err);
            // A fault of this program is logged, and tried again, by the frame that the pass runs in.
            if (!isStatusError(err)) failures.push(err);
          }
        }
      });
    }
    tellBlocked(pass, blocked);
    if (failures.length > 0) throw failures[0];
  };

  function dueOf(pass: Pass): readonly Due[] {
    const { app, state } = pass;
    return [...state.drifts.found.values()].flatMap((found) => {
      const applied = state.ownership.applied.get(found.id);
      const policy = applied?.desired.policy.drift ?? app.metadata.annotations?.[annotations.drift] ?? 'correct';
      if (policy === 'ignore' || applied === undefined) {
        state.drifts.settle(found.id);
        return [];
      }
      if (policy === 'correct') return [{ found, applied }];
      leave(pass, { found, applied }, 'detect');
      return [];
    });
  }

  /** Reports once, with the reason, that a drift is not put back. */
  function leave({ app, state }: Pass, { found, applied: { desired } }: Due, left: NonNullable<Drift['left']>): void {
    if (found.left !== undefined) return;
    state.drifts.find({ ...found, left });
    const why = left === 'detect' ? `${annotations.drift} is detect` : heldText(left.until);
    tell(app, found, { object: describeObject(desired.object), healed: false, left: why, problem: '', durationMs: 0 });
  }

  function tell(
    app: Kustomization,
    { change, by }: Pick<Drift, 'change' | 'by'>,
    outcome: Pick<Extract<Activity, { type: 'drift' }>, 'object' | 'healed' | 'left' | 'problem' | 'durationMs'>,
  ): void {
    feed.add(app, { type: 'drift', at: clock.now(), app: app.metadata.name, change, by, ...outcome });
  }

  async function heal({ app, state, signal, target }: Pass, { found, applied: { desired } }: Due): Promise<void> {
    const startedAt = clock.now();
    // The cache may not have known of a new autoscaler yet when it reported the change.
    if ((await target.syncer.heal({ app, state, signal }, desired)) === undefined) return;
    target.drift.countCorrection(state, found);
    gitops.driftCorrected(labelsOf(app), desired.object.kind);
    gitops.synced(labelsOf(app), { trigger: 'drift', result: 'succeeded', durationMs: clock.now() - startedAt });
    const object = describeObject(desired.object);
    const message = `${driftLine(object, found)}, put back`;
    recorder.record(app, { type: 'Normal', reason: 'DriftCorrected', message });
    tell(app, found, { object, healed: true, left: '', problem: '', durationMs: clock.now() - found.detectedAt });
  }

  /** Says why an object is not put back; once, as long as the reason is the same. */
  function noteUnhealed({ app, state }: Pass, { found, applied: { desired } }: Due, err: unknown): void {
    const object = describeObject(desired.object);
    const reason = redactor.quoted(messageOf(err), state.key);
    if (state.drifts.unhealed.get(found.id)?.reason !== reason)
      tell(app, found, { object, healed: false, left: '', problem: reason, durationMs: clock.now() - found.detectedAt });
    state.drifts.fail(found.id, reason, clock.monotonicMs());
  }

  function tellBlocked({ app, state }: Pass, blocked: ReadonlyMap<string, string>): void {
    for (const [namespace, reason] of blocked) {
      if (state.drifts.blockedNamespaces.get(namespace)?.reason === reason) continue;
      recorder.record(app, { type: 'Warning', reason: 'DriftNotCorrected', message: `not healed: ${reason}` });
      const object = `Namespace ${namespace}`;
      tell(app, { change: 'deleted', by: '' }, { object, healed: false, left: '', problem: reason, durationMs: 0 });
    }
    state.drifts.block(blocked, clock.monotonicMs());
  }
}

/** Gives the reason that nothing can be made in a namespace; undefined when an error says nothing about that. */
function namespaceReason(err: unknown, namespace: string | undefined): string | undefined {
  if (!isStatusError(err) || namespace === undefined) return undefined;
  if (err.details?.causes?.some(({ reason }) => reason === 'NamespaceTerminating') === true)
    return `namespace ${namespace} is being deleted; tried again when it is gone`;
  if (isNotFound(err) && err.details?.kind === 'namespaces' && err.details.name === namespace)
    return `namespace ${namespace} does not exist; tried again when it is there`;
  return undefined;
}

import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { Finding } from '../../../lifecycle/flux-conditions.ts';
import { kustomizationReasons as reasons } from '../../../lifecycle/kustomization.facts.ts';
import { conditionOf } from '../../../machinery/conditions.ts';
import type { Result } from '../../../reconcile/controller.ts';
import type { EventRecorder } from '../../../reconcile/event-recorder.ts';
import type { AppRecords } from '../records/app-records.ts';
import type { TargetState } from '../target/targets.ts';
import type { AppObject } from './app-object.ts';
import type { StatusWriter } from './write-status.ts';

/** An app whose cluster is away is looked at this often, beside being woken when the cluster is back: its kubeconfig may be another. */
const recheckClusterMs = 30_000;

/** Handles an app whose own cluster does not answer. Nothing can be seen or done there until it does, which brings the next pass. */
export function createUnreachableApps({
  recorder,
  object,
  status,
}: {
  readonly recorder: EventRecorder;
  readonly object: AppObject;
  readonly status: StatusWriter;
}) {
  return async (
    app: Kustomization,
    state: AppRecords,
    { state: why, reason }: Exclude<TargetState, { readonly state: 'ready' | 'connecting' }>,
  ): Promise<Result | undefined> => {
    if (app.metadata.deletionTimestamp !== undefined) {
      // As in Flux: with the kubeconfig gone, what was applied with it cannot be deleted and stays.
      if (why !== 'missing') return { requeueAfterMs: recheckClusterMs };
      recorder.record(app, { type: 'Warning', reason: reasons.pruneFailed, message: `unable to prune objects: ${reason}` });
      await object.letGo(app);
      return undefined;
    }
    if (app.spec.suspend === true) return { requeueAfterMs: recheckClusterMs };
    const finding: Finding = { reason: reasons.failed, message: reason };
    if (conditionOf(app.status?.conditions, 'Ready')?.message !== reason) recorder.record(app, { type: 'Warning', ...finding });
    await status.writeUnreachable(app, state, finding);
    return { requeueAfterMs: recheckClusterMs };
  };
}

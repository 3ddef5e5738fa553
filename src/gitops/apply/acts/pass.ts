import type { Hold } from '../../../api/kustomize/v1/hold.ts';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { Finding } from '../../../lifecycle/flux-conditions.ts';
import type { KustomizationEvent } from '../../../lifecycle/kustomization.machine.ts';
import type { KnownRevision } from '../../sources/follow/known-revision.ts';
import type { AppRecords, RecordChanges } from '../records/app-records.ts';
import type { Target } from '../target/target.ts';

/** One reconcile of an app: the facts that it acts on. */
export interface Pass {
  readonly app: Kustomization;
  readonly state: AppRecords;
  readonly signal: AbortSignal;
  readonly target: Target;
  /** The newest of the source, or the one that a hold has pinned. */
  readonly revision: KnownRevision | undefined;
  readonly newest: KnownRevision | undefined;
  readonly hold: Hold | undefined;
  /** A health check names a kind that the cluster does not have yet. */
  readonly checksUnknown: boolean;
  /** The reason and message of `Ready` as far as this pass knows. */
  readonly finding: Finding;
  /** Milliseconds until a source that does not exist is an error; undefined when the app does not wait for one. */
  readonly sourceWaitMs?: number | undefined;
}

/** The result of an act. */
export interface Outcome extends RecordChanges {
  readonly finding?: Finding;
  /** For the app's machine. */
  readonly event?: KustomizationEvent;
  /** A newer revision came meanwhile: no status is written. */
  readonly superseded?: true;
  /** The object is gone: no status is written. */
  readonly finished?: true;
  /** Objects whose deletion is not confirmed yet. */
  readonly deleting?: number;
}

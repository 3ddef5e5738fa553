import type { Hold } from '../../api/kustomize/v1/hold.ts';
import type { Kustomization } from '../../api/kustomize/v1/kustomization.ts';
import type { Finding } from '../../lifecycle/flux-conditions.ts';
import type { KustomizationEvent } from '../../lifecycle/kustomization.machine.ts';
import type { KnownRevision } from '../sources/follow/known-revision.ts';
import type { AppState } from './app-state.ts';
import type { Target } from './target/target.ts';

/** One reconcile of an app: what it is about, and what it has learned so far. */
export interface Pass {
  readonly app: Kustomization;
  readonly state: AppState;
  readonly signal: AbortSignal;
  readonly target: Target;
  /** The newest of the source, or the one that a hold has pinned. */
  readonly revision: KnownRevision | undefined;
  readonly newest: KnownRevision | undefined;
  readonly hold: Hold | undefined;
  finding: Finding;
  readonly learned: KustomizationEvent[];
  /** The object is gone or will be looked at anew: no status is written. */
  finished: boolean;
  superseded: boolean;
  deleting: number;
  /** A health check names a kind that the cluster does not have yet. */
  checksUnknown: boolean;
}

/** What a sync was made of; none that the app can have when a variable has another value than the sync read. */
export function generationSeen({ metadata }: Kustomization, { valuesChanged }: AppState): number {
  return valuesChanged ? -1 : (metadata.generation ?? 0);
}

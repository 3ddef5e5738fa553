import { nameOfApp } from '../../../api/kustomize/v1/app-name.ts';
import { holdOf } from '../../../api/kustomize/v1/hold.ts';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { labels } from '../../../api/well-known.ts';
import type { Clock } from '../../../base/clock.ts';
import type { Informer } from '../../../client/informer.ts';
import { kustomizationReasons as reasons } from '../../../lifecycle/kustomization.facts.ts';
import { keyOf } from '../../../machinery/object.ts';
import type { RevisionStore } from '../../sources/follow/known-revision.ts';
import { idOf } from '../objects/object-id.ts';
import { byDependency, sourceKeyOf } from '../plan/app-spec.ts';
import type { Claims } from '../plan/claims.ts';
import { PartsMissing, type SyncFailure } from '../plan/sync-failure.ts';
import type { AppRecords } from '../records/app-records.ts';
import type { Pass } from './pass.ts';

export interface PassingFailureOptions {
  readonly apps: Informer<Kustomization>;
  readonly revisions: RevisionStore;
  readonly claims: Claims;
  readonly clock: Clock;
  recordsOf(key: string): Pick<AppRecords, 'attempt' | 'inForce' | 'prune'> | undefined;
}

/** A failure that ends by the work of another app, and when to try again. */
export interface PassingFailure {
  /** One sentence that names the other app. */
  readonly reason: string;
  readonly retryMs: number;
}

/** So long, from when its commit was seen, an app waits for others to bring what it lacks. */
const maxWaitForPartsMs = 10_000;
const partsRetryMs = 500;
/** The deletion of an app that leaves brings the next pass, so this is for one that does not come. */
const leavingRetryMs = 5_000;

/**
 * Tells failures that pass by themselves from those that a person has to act on. Apps of one commit are worked on side by side. One may
 * be built before the app list has removed it, or before the app with its kinds and Namespaces is through.
 */
export function createPassingFailures({ apps, revisions, claims, clock, recordsOf }: PassingFailureOptions) {
  /** The app that applied this one and is about to delete it: the newest commit does not have it any more. */
  async function remover(app: Kustomization, signal: AbortSignal): Promise<string | undefined> {
    const { [labels.fluxKustomizeName]: name, [labels.fluxKustomizeNamespace]: namespace } = app.metadata.labels ?? {};
    if (name === undefined || namespace === undefined) return undefined;
    const owner = `${namespace}/${name}`;
    if (owner === keyOf(app) || (recordsOf(owner)?.prune.blocked ?? '') !== '') return undefined;
    try {
      return (await claims.lettingGo(app, signal))(owner, idOf(app)) ? nameOfApp({ namespace, name }) : undefined;
    } catch (err) {
      if (signal.aborted) throw err;
      // The tree of another app cannot be read now; the failure at hand is then reported as it is.
      return undefined;
    }
  }

  /** True when an app has no final result for its newest revision. */
  function isUnderWay(app: Kustomization): boolean {
    if (app.spec.suspend === true || app.metadata.deletionTimestamp !== undefined || holdOf(app) !== undefined) return false;
    const newest = revisions.get(sourceKeyOf(app))?.commit.revision;
    const state = recordsOf(keyOf(app));
    if (newest === undefined) return revisions.isKnown(sourceKeyOf(app));
    if (state === undefined || state.attempt.rollout !== undefined) return true;
    if (state.attempt.failed?.revision === newest) return state.attempt.failed.failures === 0;
    return state.inForce.revision !== newest;
  }

  /** The app and all that wait for it, directly or not: none of them brings what it lacks. */
  function dependents(key: string): ReadonlySet<string> {
    const found = new Set([key]);
    for (const each of found) for (const waiter of apps.byIndex(byDependency, each)) found.add(keyOf(waiter));
    return found;
  }

  return async (
    { app, revision, signal }: Pick<Pass, 'app' | 'revision' | 'signal'>,
    failure: SyncFailure,
  ): Promise<PassingFailure | undefined> => {
    if (revision === undefined) return undefined;
    if (failure.reason === reasons.buildFailed) {
      const owner = await remover(app, signal);
      if (owner !== undefined) return { reason: `Git does not have this app any more: app ${owner} deletes it`, retryMs: leavingRetryMs };
    }
    if (!(failure instanceof PartsMissing) || clock.now() - revision.seenAt > maxWaitForPartsMs) return undefined;
    const waiting = dependents(keyOf(app));
    const other = [...apps.list()].find((each) => !waiting.has(keyOf(each)) && isUnderWay(each));
    if (other === undefined) return undefined;
    return { reason: `waits for app ${nameOfApp(other.metadata)}: ${failure.message}`, retryMs: partsRetryMs };
  };
}

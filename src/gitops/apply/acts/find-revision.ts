import { holdOf } from '../../../api/kustomize/v1/hold.ts';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { annotations } from '../../../api/well-known.ts';
import type { Finding } from '../../../lifecycle/flux-conditions.ts';
import { kustomizationReasons as reasons } from '../../../lifecycle/kustomization.facts.ts';
import { conditionOf } from '../../../machinery/conditions.ts';
import { deepEqual } from '../../../machinery/object.ts';
import type { ControllerDependencies } from '../../../reconcile/dependencies.ts';
import type { KnownRevision, RevisionStore } from '../../sources/follow/known-revision.ts';
import { sourceKeyOf } from '../plan/app-spec.ts';
import { messageOf } from '../plan/sync-failure.ts';
import type { HistoryEntry } from '../records/history.ts';
import type { AppFeed } from '../status/redacted-feed.ts';
import type { AppObject } from './app-object.ts';
import type { HeldRevisions } from './held-revision.ts';
import type { Pass } from './pass.ts';

/** The app with the revision that it is to have, and the finding with which a pass begins. */
export type FoundRevision = Pick<Pass, 'app' | 'revision' | 'newest' | 'hold' | 'finding' | 'sourceWaitMs'>;

/** Finds the revision of an app for one pass. */
export interface RevisionFinder {
  /** Takes a hold away that a new commit has ended. The app that it gives has that change. @throws when `signal` is aborted */
  find(app: Kustomization, signal: AbortSignal): Promise<FoundRevision>;
}

export interface RevisionFinderOptions extends Pick<ControllerDependencies, 'clock' | 'recorder'> {
  readonly feed: AppFeed;
  readonly revisions: RevisionStore;
  readonly object: AppObject;
  readonly held: HeldRevisions;
  /** State of a missing source. */
  readonly absent: string;
  /** Reads the history of an app. */
  historyOf(app: Kustomization): Promise<readonly HistoryEntry[]>;
}

/** For so long an app may be there before its source is. */
const maxSourceWaitMs = 5_000;
/** Sources that are named when the one of an app is not there. */
const maxSourcesShown = 5;

export function createRevisionFinder(options: RevisionFinderOptions): RevisionFinder {
  const { clock, recorder, feed, revisions, object, held, absent, historyOf } = options;
  return { find };

  async function find(app: Kustomization, signal: AbortSignal): Promise<FoundRevision> {
    const ready = conditionOf(app.status?.conditions, 'Ready');
    const newest = revisions.get(sourceKeyOf(app));
    if (newest === undefined) {
      const waitMs = sourceWaitMs(app);
      const finding = sourceTrouble(app, waitMs);
      if (ready?.reason !== finding.reason) reportMissing(app, finding);
      return { app, revision: undefined, newest, hold: undefined, finding, sourceWaitMs: waitMs };
    }
    try {
      const { revision, hold, isReleased } = await held.heldAt(app, newest, { signal, history: () => historyOf(app) });
      // Someone changed the hold meanwhile.
      if (isReleased && !(await release(app, newest))) return await find(object.newest(app), signal);
      // A finding of an earlier pass stays until this one has another.
      return { app, revision, newest, hold, finding: { reason: ready?.reason ?? reasons.progressing, message: ready?.message ?? '' } };
    } catch (err) {
      if (signal.aborted) throw err;
      const hold = holdOf(app);
      const message = `pinned revision ${hold?.pinned ?? ''} cannot be read: ${messageOf(err)}`;
      return { app, revision: undefined, newest, hold, finding: { reason: reasons.artifactFailed, message } };
    }
  }

  /** Says once that the source of an app does not exist. */
  function reportMissing(app: Kustomization, finding: Finding): void {
    if (finding.reason !== reasons.sourceNotFound || app.spec.suspend === true || app.metadata.deletionTimestamp !== undefined) return;
    recorder.record(app, { type: 'Warning', ...finding });
    feed.add(app, { type: 'failed', at: clock.now(), app: app.metadata.name, sha: '', errors: [finding.message] });
  }

  /** Says why an app has no revision. An app that was made just now may be a moment older than its source, of the same commit. */
  function sourceTrouble(app: Kustomization, waitMs: number | undefined): Finding {
    const key = sourceKeyOf(app);
    if (revisions.isKnown(key)) return { reason: reasons.artifactFailed, message: `Source artifact not found, retrying: ${key}` };
    const there = revisions.keys().slice(0, maxSourcesShown);
    const hint =
      there.length === 0 ? 'There is no GitRepository' : `There is ${there.join(', ')}: name it in spec.sourceRef, or add ${key}`;
    return {
      reason: waitMs === undefined ? reasons.sourceNotFound : reasons.artifactFailed,
      message: `Source not found: GitRepository ${key} ${absent}. ${hint}`,
    };
  }

  /** The time that an app may still wait for a source that does not exist; undefined when it does not wait, or not any more. */
  function sourceWaitMs(app: Kustomization): number | undefined {
    const leftMs = Date.parse(app.metadata.creationTimestamp ?? '') + maxSourceWaitMs - clock.now();
    return leftMs > 0 && !revisions.isKnown(sourceKeyOf(app)) ? leftMs : undefined;
  }

  /** Ends a hold: a commit came that changes the app. False when the app does not have that hold any more. */
  async function release(app: Kustomization, { commit }: KnownRevision): Promise<boolean> {
    const none = Object.fromEntries(
      [annotations.hold, annotations.pin, annotations.heldBy, annotations.heldAt].map((name) => [name, null]),
    );
    const isReleased = await object.change(app, (now) =>
      deepEqual(holdOf(now), holdOf(app)) ? { metadata: { annotations: none } } : undefined,
    );
    if (isReleased)
      recorder.record(app, { type: 'Normal', reason: 'HoldReleased', message: `${commit.revision} changes the app and is followed again` });
    return isReleased;
  }
}

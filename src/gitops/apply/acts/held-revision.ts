import { type Hold, holdOf } from '../../../api/kustomize/v1/hold.ts';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { keyOf } from '../../../machinery/object.ts';
import type { KnownRevision } from '../../sources/follow/known-revision.ts';
import type { Commit } from '../../sources/git-source.ts';
import type { AppBuilder } from '../plan/post-build.ts';
import type { HistoryEntry } from '../records/history.ts';

/** Revision of an app while a commit is held back. */
export interface HeldRevision {
  readonly revision: KnownRevision;
  /** The hold that is in force; undefined when there is none. */
  readonly hold: Hold | undefined;
  /** A commit came that changes the app: the hold has done its work and is to be taken away. */
  readonly isReleased: boolean;
}

export interface HeldRevisionOptions {
  readonly builder: AppBuilder;
}

/** Revisions of apps that do not follow the newest commit. A decision counts for as long as hold, commits and spec stay the same. */
export interface HeldRevisions {
  /**
   * Gives the revision that an app with a hold runs. That is the pinned one while the newest is the held one, or says the same of the app.
   * Else it is the newest.
   *
   * @throws when the pinned commit cannot be read; a held one that is gone from the repository holds nothing
   */
  heldAt(app: Kustomization, newest: KnownRevision, options: HeldOptions): Promise<HeldRevision>;
  /**
   * Gives the newest revision of a suspended app when it would change the app; undefined when a commit that waits changes nothing of it.
   * A revision that cannot be built counts as a change: nobody knows what it says.
   */
  waitingAt(app: Kustomization, newest: KnownRevision, signal: AbortSignal): Promise<string | undefined>;
  forget(app: string): void;
}

export interface HeldOptions {
  readonly signal: AbortSignal;
  /** Reads the history of the app, for a hold that names no pinned commit. */
  history(): Promise<readonly HistoryEntry[]>;
}

/** A decision, and the facts that it depends on. */
interface Decision extends Pick<HeldRevision, 'hold' | 'isReleased'> {
  readonly key: string;
  /** The pinned commit; undefined for the newest. */
  readonly commit: Commit | undefined;
}

export function createHeldRevisions({ builder }: HeldRevisionOptions): HeldRevisions {
  const held = new Map<string, Decision>();
  const waiting = new Map<string, { readonly key: string; readonly revision: string | undefined }>();

  return {
    async heldAt(app, newest, options) {
      const hold = holdOf(app);
      if (hold === undefined) {
        held.delete(keyOf(app));
        return { revision: newest, hold: undefined, isReleased: false };
      }
      const key = JSON.stringify([hold, newest.commit.sha, app.metadata.generation]);
      let decision = held.get(keyOf(app));
      if (decision?.key !== key) {
        decision = { key, ...(await decide(app, { ...options, hold, newest })) };
        held.set(keyOf(app), decision);
      }
      const { commit } = decision;
      return { hold: decision.hold, isReleased: decision.isReleased, revision: { ...newest, ...(commit === undefined ? {} : { commit }) } };
    },
    async waitingAt(app, newest, signal) {
      const inForce = app.status?.lastAppliedRevision;
      const { revision } = newest.commit;
      if (inForce === undefined || inForce === revision) return undefined;
      const key = `${inForce} ${revision} ${app.metadata.generation}`;
      let known = waiting.get(keyOf(app));
      if (known?.key !== key) {
        const sha = inForce.slice(inForce.lastIndexOf(':') + 1);
        const isSame = await isSameAt(app, { newest, sha, signal }).catch(() => {
          signal.throwIfAborted();
          return false;
        });
        known = { key, revision: isSame ? undefined : revision };
        waiting.set(keyOf(app), known);
      }
      return known.revision;
    },
    forget(app) {
      held.delete(app);
      waiting.delete(app);
    },
  };

  async function decide(
    app: Kustomization,
    { hold, newest, history, signal }: HeldOptions & { readonly hold: Hold; readonly newest: KnownRevision },
  ): Promise<Omit<Decision, 'key'>> {
    const digestOf = async (commit: Commit): Promise<string> => (await builder.build(app, { ...newest, commit }, signal)).digest;
    if (newest.commit.sha !== hold.held) {
      const commit = await newest.source.resolve({ commit: hold.held }, { signal }).catch(() => {
        signal.throwIfAborted();
        return undefined;
      });
      if (commit === undefined || (await digestOf(commit)) !== (await digestOf(newest.commit)))
        return { commit: undefined, hold: undefined, isReleased: true };
    }
    const pinned = hold.pinned === '' ? lastOther(await history(), await digestOf(newest.commit)) : hold.pinned;
    // No other revision was ever in force: the held commit is, and stays.
    if (pinned === undefined) return { commit: undefined, hold, isReleased: false };
    const commit = await newest.source.resolve({ commit: pinned }, { signal });
    const { revision, sha } = newest.commit;
    return { commit: { ...commit, revision: revision.replace(sha, commit.sha) }, hold, isReleased: false };
  }

  async function isSameAt(
    app: Kustomization,
    { newest, sha, signal }: { readonly newest: KnownRevision; readonly sha: string; readonly signal: AbortSignal },
  ): Promise<boolean> {
    const commit = await newest.source.resolve({ commit: sha }, { signal });
    const [before, after] = [await builder.build(app, { ...newest, commit }, signal), await builder.build(app, newest, signal)];
    return after.errors.length === 0 && before.digest === after.digest;
  }
}

/** The commit of the newest revision in the history whose objects are others than those of `digest`. */
function lastOther(history: readonly HistoryEntry[], digest: string): string | undefined {
  const entry = history.findLast((each) => each.result === 'applied' && each.digest !== digest);
  return entry?.revision.slice(entry.revision.lastIndexOf(':') + 1);
}

import { type Hold, holdOf } from '../../../api/kustomize/v1/hold.ts';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { KnownRevision } from '../../sources/follow/known-revision.ts';
import type { AppState } from '../app-state.ts';
import type { Inventory } from '../sync/inventory.ts';
import type { AppBuilder } from './post-build.ts';

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
  readonly inventory: Inventory;
}

/**
 * The revision that an app with a hold runs: the pinned one for as long as the newest is the held one or says the same of the app, else the
 * newest.
 *
 * @throws when the pinned commit cannot be read; a held one that is gone from the repository holds nothing
 */
export async function heldRevision(
  app: Kustomization,
  state: AppState,
  newest: KnownRevision,
  { builder, inventory, signal }: HeldRevisionOptions & { readonly signal: AbortSignal },
): Promise<HeldRevision> {
  const hold = holdOf(app);
  if (hold === undefined) {
    state.held = undefined;
    return { revision: newest, hold: undefined, isReleased: false };
  }
  const key = JSON.stringify([hold, newest.commit.sha, app.metadata.generation]);
  if (state.held?.key !== key) state.held = { key, ...(await decide()) };
  return { ...state.held, revision: { ...newest, ...(state.held.commit === undefined ? {} : { commit: state.held.commit }) } };

  async function decide(): Promise<Omit<NonNullable<AppState['held']>, 'key'>> {
    const released = { commit: undefined, hold: undefined, isReleased: true };
    if (hold === undefined) return released;
    const digestOf = async (commit: KnownRevision['commit']): Promise<string> =>
      (await builder.build(app, { ...newest, commit }, signal)).digest;
    if (newest.commit.sha !== hold.held) {
      const held = await newest.source.resolve({ commit: hold.held }, { signal }).catch(() => {
        signal.throwIfAborted();
        return undefined;
      });
      if (held === undefined || (await digestOf(held)) !== (await digestOf(newest.commit))) return released;
    }
    const pinned = hold.pinned === '' ? await lastOther(await digestOf(newest.commit)) : hold.pinned;
    // Nothing else was ever in force: the held commit is, and stays.
    if (pinned === undefined) return { commit: undefined, hold, isReleased: false };
    const commit = await newest.source.resolve({ commit: pinned }, { signal });
    const { revision, sha } = newest.commit;
    return { commit: { ...commit, revision: revision.replace(sha, commit.sha) }, hold, isReleased: false };
  }

  /** The commit of the newest revision in the history whose objects are others than those of `digest`. */
  async function lastOther(digest: string): Promise<string | undefined> {
    if (!state.loaded) await inventory.load(app, state);
    const entry = state.history.findLast((each) => each.result === 'applied' && each.digest !== digest);
    return entry?.revision.slice(entry.revision.lastIndexOf(':') + 1);
  }
}

/**
 * Gives the newest revision of a suspended app when it would change the app; undefined when a commit that waits changes nothing of it.
 * A revision that cannot be built counts as a change: nobody knows what it says.
 */
export async function waitingRevision(
  app: Kustomization,
  state: AppState,
  newest: KnownRevision,
  { builder, signal }: Pick<HeldRevisionOptions, 'builder'> & { readonly signal: AbortSignal },
): Promise<string | undefined> {
  const inForce = app.status?.lastAppliedRevision;
  const { revision } = newest.commit;
  if (inForce === undefined || inForce === revision) return undefined;
  const key = `${inForce} ${revision} ${app.metadata.generation}`;
  if (state.waiting?.key !== key) {
    const isSame = await isSameAt(inForce.slice(inForce.lastIndexOf(':') + 1)).catch(() => {
      signal.throwIfAborted();
      return false;
    });
    state.waiting = { key, revision: isSame ? undefined : revision };
  }
  return state.waiting.revision;

  async function isSameAt(sha: string): Promise<boolean> {
    const commit = await newest.source.resolve({ commit: sha }, { signal });
    const [before, after] = [await builder.build(app, { ...newest, commit }, signal), await builder.build(app, newest, signal)];
    return after.errors.length === 0 && before.digest === after.digest;
  }
}

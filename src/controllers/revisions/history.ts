import { type ControllerRevision, controllerRevisions } from '../../api/apps/v1/controller-revision.ts';
import type { Client } from '../../client/client.ts';
import type { Informer } from '../../client/informer.ts';
import { controllerOf } from '../../machinery/object.ts';
import type { Resource } from '../../machinery/resource.ts';
import { compileLabelSelector } from '../../machinery/selector.ts';
import { isAlreadyExists, isNotFound } from '../../machinery/status-error.ts';
import { claim, controllerKeyOf, indexByOwner, ownedBy } from '../ownership.ts';
import { byRevision, isRevisionOf, newRevision, type Revised } from './revision.ts';

/** The templates that an owner had, as ControllerRevisions. */
export interface History {
  /** The revision of the template that the owner has now; it is the newest. */
  readonly update: ControllerRevision;
  /** All of them, oldest first, `update` included. */
  readonly revisions: readonly ControllerRevision[];
  /** Others with the template of `update`. */
  readonly duplicates: readonly ControllerRevision[];
  /** Templates that got the name of another one, for the status. */
  readonly collisionCount: number;
}

export interface RevisionHistory {
  /**
   * Adopts revisions that match the selector, and finds or makes that of the current template. A template that comes back gets the
   * newest number, so that it counts as a new rollout.
   *
   * @throws StatusError `Conflict` when the cache is behind
   */
  sync(owner: Revised, options: { readonly signal: AbortSignal }): Promise<History>;
  /** Deletes revisions beyond `revisionHistoryLimit`, lowest number first, except those that `isLive`. */
  trim(owner: Revised, history: History, options: TrimOptions): Promise<void>;
  remove(revision: ControllerRevision, options: { readonly signal: AbortSignal }): Promise<void>;
  /** Calls `enqueue` with the key of an owner whose revision somebody deleted or took away. */
  watch(enqueue: (key: string) => void): void;
}

export interface TrimOptions {
  /** Pods have the revision, or the status names it. */
  readonly isLive: (revision: ControllerRevision) => boolean;
  readonly signal: AbortSignal;
}

export interface RevisionHistoryOptions {
  readonly client: Client;
  readonly informer: Informer<ControllerRevision>;
  /** The kind of the owners. */
  readonly resource: Resource;
  readonly hashLabel: string;
}

/** Names tried for one template; more collisions than that at once are a fault. */
const maxCollisions = 10;

export function createRevisionHistory({ client, informer, resource, hashLabel }: RevisionHistoryOptions): RevisionHistory {
  indexByOwner(informer);

  async function create(owner: Revised, revision: number, signal: AbortSignal) {
    let collisionCount = owner.status?.collisionCount ?? 0;
    for (let attempt = 0; attempt < maxCollisions; attempt += 1) {
      const wanted = newRevision({ resource, owner, hashLabel, revision, collisionCount });
      try {
        return { update: await client.create(controllerRevisions, wanted, { signal }), collisionCount };
      } catch (err) {
        if (!isAlreadyExists(err)) throw err;
      }
      const ref = { namespace: owner.metadata.namespace, name: wanted.metadata.name ?? '' };
      const there = await client.get(controllerRevisions, ref, { signal });
      // Its own, which the cache does not show yet.
      if (controllerOf(there)?.uid === owner.metadata.uid && isRevisionOf(there, owner.spec.template))
        return { update: there, collisionCount };
      collisionCount += 1;
    }
    throw new Error(`no free name for a revision of ${resource.kind} ${owner.metadata.name} after ${maxCollisions} tries`);
  }

  return {
    async sync(owner, { signal }) {
      const selector = compileLabelSelector(owner.spec.selector);
      await claim({ client, ownerResource: resource, owner, selector, resource: controllerRevisions, informer, signal });
      const known = ownedBy(informer, owner).toSorted(byRevision);
      const equal = known.filter((revision) => isRevisionOf(revision, owner.spec.template));
      const newest = known.at(-1);
      const found = equal.at(-1);
      if (found === undefined) {
        const { update, collisionCount } = await create(owner, (newest?.revision ?? 0) + 1, signal);
        const others = known.filter(({ metadata }) => metadata.name !== update.metadata.name);
        return { update, revisions: [...others, update], duplicates: [], collisionCount };
      }
      const { collisionCount = 0 } = owner.status ?? {};
      const duplicates = equal.slice(0, -1);
      if (newest === undefined || found === newest) return { update: found, revisions: known, duplicates, collisionCount };
      const update = await client.update(controllerRevisions, { ...found, revision: newest.revision + 1 }, { signal });
      return { update, revisions: [...known.filter((revision) => revision !== found), update], duplicates, collisionCount };
    },

    async trim(owner, history, { isLive, signal }) {
      for (const revision of surplusRevisions(owner, history, isLive)) await this.remove(revision, { signal });
    },

    async remove({ metadata: { namespace, name, uid = '' } }, { signal }) {
      try {
        await client.delete(controllerRevisions, { namespace, name }, { preconditions: { uid }, signal });
      } catch (err) {
        if (!isNotFound(err)) throw err;
      }
    },

    watch(enqueue) {
      informer.addHandler(({ before, after }) => {
        const key = before === undefined ? undefined : controllerKeyOf(resource, before);
        if (key !== undefined && (after === undefined || controllerKeyOf(resource, after) !== key)) enqueue(key);
      });
    },
  };
}

/** Revisions that `trim` deletes. Those in use do not count for the limit. */
export function surplusRevisions(
  owner: Revised,
  { update, revisions }: Pick<History, 'update' | 'revisions'>,
  isLive: TrimOptions['isLive'],
): readonly ControllerRevision[] {
  const old = revisions.filter((revision) => revision.metadata.name !== update.metadata.name && !isLive(revision));
  return old.slice(0, Math.max(0, old.length - (owner.spec.revisionHistoryLimit ?? 10)));
}

import { createHash } from 'node:crypto';
import { describeId, type ObjectId } from '../objects/object-id.ts';

/** Deleting more than this many objects and more than this share of an app is taken for a mistake until it is approved. */
const maxPruned = 20;
const maxShare = 0.5;

export interface PruneRequest {
  readonly revision: string;
  /** Objects that would be deleted. */
  readonly ids: readonly ObjectId[];
  /** Objects that would be deleted with one of them: those of an app whose Kustomization goes. */
  readonly along: ReadonlyMap<ObjectId, readonly ObjectId[]>;
  /** Objects of the app and of the apps in it before the prune. */
  readonly total: number;
  /** The tree is one that was applied before: what is deleted came with a commit that was taken back. */
  readonly isRevert: boolean;
  /** Value of the annotation `midship.dev/approve-prune`. */
  readonly approved: string | undefined;
  /** Objects whose deletion loses more than Git made, with a text about the loss that follows their name. */
  readonly losses: ReadonlyMap<ObjectId, string>;
}

export interface PruneVerdict {
  /** Objects that are not deleted; the rest are. */
  readonly held: ReadonlySet<ObjectId>;
  /** Reason for that; empty when nothing is held. */
  readonly reason: string;
  /** Annotating the app with it approves the deletion of exactly these objects. */
  readonly approval: string;
}

/** Objects that are held back and named; the others are counted. */
const maxNamed = 3;

/**
 * Decides which deletions are held back until a person approves them. Those are all of them when they are most of a large app, else those
 * that would lose more than Git made. An approval is bound to the revision and to the objects, so it cannot approve anything else later.
 */
export function judgePrune({ revision, ids, along, total, isRevert, approved, losses }: PruneRequest): PruneVerdict {
  const isMost = (count: number, of: number): boolean => !isRevert && count > maxPruned && count > of * maxShare;
  const reasons = new Map([...losses].map(([id, loss]) => [id, `${describeId(id)} ${loss}`]));
  for (const [id, { length }] of along) {
    if (!reasons.has(id) && isMost(length, length)) reasons.set(id, `${describeId(id)} would delete its ${length} objects`);
  }
  const rest = ids.filter((id) => !reasons.has(id));
  const count = new Set(rest.flatMap((id) => [id, ...(along.get(id) ?? [])])).size;
  const holdsAll = isMost(count, total);
  const held = new Set(holdsAll ? ids : reasons.keys());
  const approval = createHash('sha256')
    .update([revision, ...[...held].sort()].join('\n'))
    .digest('hex')
    .slice(0, 16);
  if (held.size === 0 || approved === approval) return { held: new Set(), reason: '', approval };
  const named = [...reasons.values()];
  const more = named.length - maxNamed;
  const reason = [
    ...(holdsAll ? [`${count} of ${total} objects would be deleted`] : []),
    ...named.slice(0, maxNamed),
    ...(more > 0 ? [`${more} more`] : []),
  ].join('; ');
  return { held, reason, approval };
}

import { createHash } from 'node:crypto';
import { type ObjectId, tryParseId } from './object-id.ts';

/** Deleting more than this many objects and more than this share of an app is taken for a mistake until it is approved. */
const maxPruned = 20;
const maxShare = 0.5;

/** Kinds whose deletion takes data or other people's objects with it. */
const protectedKinds: readonly string[] = ['Namespace', 'CustomResourceDefinition', 'PersistentVolume', 'PersistentVolumeClaim'];

export interface PruneRequest {
  readonly revision: string;
  /** What would be deleted. */
  readonly ids: readonly ObjectId[];
  /** Objects of the app before the prune. */
  readonly total: number;
  /** The tree is one that was applied before: what is deleted came with a commit that was taken back. */
  readonly isRevert: boolean;
  /** Value of the annotation `midship.dev/approve-prune`. */
  readonly approved: string | undefined;
  /** Protected objects that something still lives in or on, with what it is. */
  readonly dependents: ReadonlyMap<ObjectId, string>;
}

export interface PruneVerdict {
  readonly blocked: boolean;
  readonly reason: string;
  /** Annotating the app with it approves exactly this deletion. */
  readonly approval: string;
}

/** Decides whether a prune may go on. Approval is bound to the revision and to the objects, so it cannot approve anything else later. */
export function judgePrune({ revision, ids, total, isRevert, approved, dependents }: PruneRequest): PruneVerdict {
  const approval = createHash('sha256')
    .update([revision, ...[...ids].sort()].join('\n'))
    .digest('hex')
    .slice(0, 16);
  const allow = { blocked: false, reason: '', approval };
  if (approved === approval) return allow;
  const [first] = dependents;
  if (first !== undefined) {
    const [id, what] = first;
    const parsed = tryParseId(id);
    return { blocked: true, reason: `${parsed?.kind ?? ''} ${parsed?.ref.name ?? id} still holds ${what}`, approval };
  }
  if (!isRevert && ids.length > maxPruned && ids.length > total * maxShare) {
    return { blocked: true, reason: `${ids.length} of ${total} objects would be deleted`, approval };
  }
  return allow;
}

export const isProtected = (id: ObjectId): boolean => protectedKinds.includes(tryParseId(id)?.kind ?? '');

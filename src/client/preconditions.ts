import type { KubeObject } from '../machinery/object.ts';

/** Preconditions of a deletion: the server answers `Conflict` when the object has changed, or is another one, since it was read. */
export const preconditionsOf = ({
  metadata: { uid, resourceVersion },
}: Pick<KubeObject, 'metadata'>): { readonly uid?: string; readonly resourceVersion?: string } => ({
  ...(uid === undefined ? {} : { uid }),
  ...(resourceVersion === undefined ? {} : { resourceVersion }),
});

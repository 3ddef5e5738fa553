import type { ObjectMeta } from '../../../machinery/object.ts';
import { volumeAnnotations } from '../../well-known.ts';

interface WithClass {
  readonly metadata: Pick<ObjectMeta, 'annotations'>;
  readonly spec: { readonly storageClassName?: string | null };
}

/** Name of the StorageClass of a claim or a volume; the annotation of early versions comes first. Empty: it has none. */
export const storageClassNameOf = ({ metadata, spec }: WithClass): string =>
  metadata.annotations?.[volumeAnnotations.legacyClass] ?? spec.storageClassName ?? '';

/** False for a claim that leaves the choice of a class to the cluster; one with an empty name wants none. */
export const namesStorageClass = ({ metadata, spec }: WithClass): boolean =>
  metadata.annotations?.[volumeAnnotations.legacyClass] !== undefined ||
  (spec.storageClassName !== undefined && spec.storageClassName !== null);

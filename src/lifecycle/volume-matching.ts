import type { PersistentVolume } from '../api/core/v1/persistent-volume.ts';
import type { PersistentVolumeClaim } from '../api/core/v1/persistent-volume-claim.ts';
import { storageClassNameOf } from '../api/core/v1/volume-class.ts';
import { compareQuantities, type Quantity, tryQuantity } from '../machinery/quantity.ts';
import { compileLabelSelector } from '../machinery/selector.ts';

/** The volumes that a claim may have: the rules that the binder and the scheduler share. */

export interface MatchOptions {
  /** True for a volume that pods of the wanted node reach; absent: no node is known. */
  readonly isReachable?: (volume: PersistentVolume) => boolean;
  /** The scheduler chooses for this claim, so only a volume that names the claim counts here. */
  readonly isDelayed?: boolean;
  /** Volumes that another claim of the same pod gets. */
  readonly taken?: ReadonlySet<string>;
}

/**
 * The volume that fits a claim best. One that names the claim comes first. The others are compared by the number of their access modes, so
 * that a volume for many is not spent on one. Then the smallest wins.
 *
 * @see Kubernetes, "Persistent Volumes", "Binding"
 */
export function findVolume(
  claim: PersistentVolumeClaim,
  volumes: Iterable<PersistentVolume>,
  { isReachable = () => true, isDelayed = false, taken }: MatchOptions = {},
): PersistentVolume | undefined {
  const wanted = sizeOf(claim.spec.resources?.requests);
  const selector = claim.spec.selector === undefined ? undefined : compileLabelSelector(claim.spec.selector);
  let best: PersistentVolume | undefined;
  for (const volume of volumes) {
    const isNamed = isVolumeFor(volume, claim);
    if (taken?.has(volume.metadata.name) === true || (volume.spec.claimRef !== undefined && !isNamed)) continue;
    if (volume.metadata.deletionTimestamp !== undefined || !hasSize(volume, wanted)) continue;
    if (volumeModeOf(volume) !== volumeModeOf(claim) || !hasSameAttributes(volume, claim)) continue;
    if (isNamed) {
      // A volume that was made for the claim is the only one; on other nodes the claim has none.
      return isReachable(volume) ? volume : undefined;
    }
    if (isDelayed || volume.status?.phase !== 'Available' || !isReachable(volume)) continue;
    if (storageClassNameOf(volume) !== storageClassNameOf(claim) || !hasModes(volume, claim)) continue;
    if (selector !== undefined && !selector.matches(volume.metadata.labels ?? {})) continue;
    if (best === undefined || isTighter(volume, best)) best = volume;
  }
  return best;
}

/** Reason why a volume that a claim asks for by name cannot be its volume; undefined when it can. */
export function whyNotBound(volume: PersistentVolume, claim: PersistentVolumeClaim): string | undefined {
  if (volume.metadata.deletionTimestamp !== undefined) return `the volume is marked for deletion ${JSON.stringify(volume.metadata.name)}`;
  if (!hasSize(volume, sizeOf(claim.spec.resources?.requests))) return 'requested PV is too small';
  if (storageClassNameOf(volume) !== storageClassNameOf(claim)) return 'storageClassName does not match';
  if (!hasSameAttributes(volume, claim)) return 'volumeAttributesClassName does not match';
  if (volumeModeOf(volume) !== volumeModeOf(claim)) return 'incompatible volumeMode';
  return hasModes(volume, claim) ? undefined : 'incompatible accessMode';
}

/** True for a volume that names the claim; one without a UID waits for any claim of that name. */
export function isVolumeFor({ spec: { claimRef } }: PersistentVolume, { metadata }: PersistentVolumeClaim): boolean {
  if (claimRef === undefined || claimRef.name !== metadata.name || claimRef.namespace !== metadata.namespace) return false;
  return claimRef.uid === undefined || claimRef.uid === '' || claimRef.uid === metadata.uid;
}

export const volumeModeOf = ({ spec }: { readonly spec: { readonly volumeMode?: string } }): string => spec.volumeMode ?? 'Filesystem';

/** Key of the claim that a volume names. */
export function claimKeyOf({ spec: { claimRef } }: PersistentVolume): string | undefined {
  return claimRef === undefined ? undefined : `${claimRef.namespace ?? ''}/${claimRef.name ?? ''}`;
}

type Amounts = Readonly<Record<string, string>> | undefined;

const sizeOf = (amounts: Amounts): Quantity | undefined => tryQuantity(amounts?.storage);

function hasSize({ spec }: PersistentVolume, wanted: Quantity | undefined): boolean {
  const size = sizeOf(spec.capacity);
  return wanted === undefined || (size !== undefined && compareQuantities(size, wanted) >= 0);
}

const hasModes = ({ spec }: PersistentVolume, claim: PersistentVolumeClaim): boolean =>
  (claim.spec.accessModes ?? []).every((mode) => spec.accessModes?.includes(mode) === true);

const hasSameAttributes = ({ spec }: PersistentVolume, claim: PersistentVolumeClaim): boolean =>
  (spec.volumeAttributesClassName ?? '') === (claim.spec.volumeAttributesClassName ?? '');

function isTighter(a: PersistentVolume, b: PersistentVolume): boolean {
  const modes = (a.spec.accessModes?.length ?? 0) - (b.spec.accessModes?.length ?? 0);
  if (modes !== 0) return modes < 0;
  const [left, right] = [sizeOf(a.spec.capacity), sizeOf(b.spec.capacity)];
  const sizes = left === undefined || right === undefined ? 0 : compareQuantities(left, right);
  return sizes < 0 || (sizes === 0 && a.metadata.name < b.metadata.name);
}

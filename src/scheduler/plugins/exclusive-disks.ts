import type { PodSpec } from '../../api/core/v1/pod.ts';
import type { PodRecord } from '../pod-record.ts';

type Volume = NonNullable<PodSpec['volumes']>[number];

/** A disk that a pod names itself. Pods of one node may share it when all of them only read, where its kind allows that. */
interface Disk {
  /** Pods that have one of these in common want the same disk. */
  readonly ids: readonly string[];
  readonly mayBeShared: boolean;
}

/** @see Kubernetes concepts, "Volumes": awsElasticBlockStore, gcePersistentDisk, iscsi, rbd */
function diskOf({ gcePersistentDisk: gce, awsElasticBlockStore: aws, iscsi, rbd }: Volume): Disk | undefined {
  if (gce !== undefined) return { ids: [`gce ${gce.pdName}`], mayBeShared: gce.readOnly === true };
  if (aws !== undefined) return { ids: [`aws ${aws.volumeID}`], mayBeShared: false };
  if (iscsi !== undefined) return { ids: [`iscsi ${iscsi.iqn}`], mayBeShared: iscsi.readOnly === true };
  if (rbd === undefined) return undefined;
  const image = `${rbd.pool ?? 'rbd'}/${rbd.image}`;
  return { ids: rbd.monitors.map((monitor) => `rbd ${monitor} ${image}`), mayBeShared: rbd.readOnly === true };
}

const disksOf = ({ shape }: PodRecord): readonly Disk[] => (shape.source.volumes ?? []).flatMap((volume) => diskOf(volume) ?? []);

export const hasDisks = (pod: PodRecord): boolean => disksOf(pod).length > 0;

/** Both cannot be on one node. */
export function sharesDisk(pod: PodRecord, other: PodRecord): boolean {
  const theirs = disksOf(other);
  if (theirs.length === 0) return false;
  return disksOf(pod).some((mine) =>
    theirs.some(({ ids, mayBeShared }) => !(mine.mayBeShared && mayBeShared) && ids.some((id) => mine.ids.includes(id))),
  );
}

import type { Pod, Volume } from '../api/core/v1/pod.ts';
import { timestampOf } from '../base/clock.ts';
import type { Measurement, PodOnNode } from './container-metrics.ts';
import type { ContainerStats } from './container-runtime.ts';
import type { VolumeStats } from './csi/volume-stats.ts';

/**
 * The kubelet's `/stats/summary`: what the containers of each pod use, and the volumes that drivers measure.
 *
 * @see https://kubernetes.io/docs/reference/instrumentation/node-metrics/
 */
export function summaryOf(
  nodeName: string,
  pods: Iterable<PodOnNode>,
  { stats, machine, at }: Measurement,
  volumes: readonly VolumeStats[],
): object {
  const time = timestampOf(at);
  const entries = [...pods].map(({ pod, sandbox }) => {
    const { namespace = '', name, uid = '' } = pod.metadata;
    const own = stats.filter(({ podUid }) => podUid === uid);
    const volume = volumes.filter(({ podUid }) => podUid === uid).map((each) => volumeOf(pod, each, time));
    return {
      podRef: { name, namespace, uid },
      startTime: pod.status?.startTime ?? null,
      containers: own.map((sample) => ({
        name: sample.container,
        startTime: timestampOf(sandbox?.containers.find((each) => each.name === sample.container)?.startedAt ?? at),
        ...usageOf([sample], time),
      })),
      ...(own.length === 0 ? {} : usageOf(own, time)),
      ...(volume.length === 0 ? {} : { volume }),
    };
  });
  const used =
    machine === undefined
      ? {}
      : {
          cpu: { time, usageCoreNanoSeconds: Math.round(machine.cpuSeconds * 1e9) },
          memory: { time, workingSetBytes: machine.memoryWorkingSetBytes },
        };
  return { node: { nodeName, ...used }, pods: entries };
}

/** Sums; an amount that no container has is absent. */
function usageOf(samples: readonly ContainerStats[], time: string) {
  const sum = (field: 'cpuUsageSeconds' | 'memoryWorkingSetBytes' | 'memoryRssBytes'): number | undefined => {
    const known = samples.flatMap((sample) => sample[field] ?? []);
    return known.length === 0 ? undefined : known.reduce((total, each) => total + each, 0);
  };
  const [cpu, workingSetBytes, rssBytes] = [sum('cpuUsageSeconds'), sum('memoryWorkingSetBytes'), sum('memoryRssBytes')];
  return {
    ...(cpu === undefined ? {} : { cpu: { time, usageCoreNanoSeconds: Math.round(cpu * 1e9) } }),
    ...(workingSetBytes === undefined && rssBytes === undefined ? {} : { memory: { time, workingSetBytes, rssBytes } }),
  };
}

function volumeOf(pod: Pod, { claimName, volumeName, usage }: VolumeStats, time: string) {
  const [bytes, inodes] = (['BYTES', 'INODES'] as const).map((unit) => usage.find((each) => each.unit === unit));
  return {
    time,
    ...(bytes === undefined ? {} : { availableBytes: bytes.available, capacityBytes: bytes.total, usedBytes: bytes.used }),
    ...(inodes === undefined ? {} : { inodesFree: inodes.available, inodes: inodes.total, inodesUsed: inodes.used }),
    name: volumeName ?? pod.spec.volumes?.find((volume) => claimOf(pod, volume) === claimName)?.name ?? '',
    ...(claimName === undefined ? {} : { pvcRef: { name: claimName, namespace: pod.metadata.namespace ?? '' } }),
  };
}

/** The claim that a volume of the pod names, or that was made for it. */
const claimOf = ({ metadata }: Pod, { name, persistentVolumeClaim, ephemeral }: Volume): string | undefined =>
  persistentVolumeClaim?.claimName ?? (ephemeral === undefined ? undefined : `${metadata.name}-${name}`);

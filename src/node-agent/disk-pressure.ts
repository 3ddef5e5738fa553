import { statfs } from 'node:fs/promises';
import type { Clock } from '../base/clock.ts';
import type { NodeConditionReport } from './container-runtime.ts';

/** Space of the file system that holds the pods' volumes and logs. */
export interface FileSystemSpace {
  readonly sizeBytes: number;
  /** Bytes that an ordinary user can still write. */
  readonly availableBytes: number;
}

export interface DiskPressure {
  readonly condition: NodeConditionReport;
  /** Measures again. True when the condition has changed. */
  look(): Promise<boolean>;
}

export interface DiskPressureOptions {
  readonly clock: Clock;
  readonly measure: () => Promise<FileSystemSpace>;
}

/** Upstream's default, `nodefs.available<10%`. */
const minimumShare = 0.1;
/** Upstream's `evictionPressureTransitionPeriod`: a disk that hovers at the threshold must not move pods in and out. */
const transitionMs = 5 * 60_000;

/**
 * Watches whether the node's disk is nearly full. The node controller makes the taint `node.kubernetes.io/disk-pressure` of the condition,
 * and no pod is assigned to the node then.
 *
 * @see Kubernetes documentation, "Node-pressure Eviction", node conditions
 */
export function createDiskPressure({ clock, measure }: DiskPressureOptions): DiskPressure {
  let isPressed = false;
  let shortAt = Number.NEGATIVE_INFINITY;
  return {
    get condition(): NodeConditionReport {
      return isPressed
        ? { type: 'DiskPressure', status: 'True', reason: 'KubeletHasDiskPressure', message: 'kubelet has disk pressure' }
        : { type: 'DiskPressure', status: 'False', reason: 'KubeletHasNoDiskPressure', message: 'kubelet has no disk pressure' };
    },
    async look() {
      const { sizeBytes, availableBytes } = await measure();
      const now = clock.monotonicMs();
      if (availableBytes < sizeBytes * minimumShare) shortAt = now;
      const before = isPressed;
      isPressed = now - shortAt < transitionMs;
      return isPressed !== before;
    },
  };
}

export async function measureFileSystem(path: string): Promise<FileSystemSpace> {
  const { blocks, bavail, bsize } = await statfs(path);
  return { sizeBytes: blocks * bsize, availableBytes: bavail * bsize };
}

import { readFile } from 'node:fs/promises';
import type { Pod } from '../api/core/v1/pod.ts';
import { qosClassOf } from '../api/core/v1/qos.ts';
import { taints } from '../api/well-known.ts';
import type { Clock } from '../base/clock.ts';
import { toleratesTaint } from '../lifecycle/tolerations.ts';
import type { NodeConditionReport } from './container-runtime.ts';
import type { PodRejection } from './container-security.ts';
import { isCritical } from './machine-shutdown.ts';

/** Bytes of a resource of the node. */
export interface ResourceSpace {
  readonly sizeBytes: number;
  readonly availableBytes: number;
}

export type PressedResource = 'memory' | 'ephemeral-storage';

/** A resource of which less is left than the node keeps free. */
export interface Shortage {
  readonly resource: PressedResource;
  readonly availableBytes: number;
  readonly thresholdBytes: number;
}

export interface NodePressure {
  /** MemoryPressure and DiskPressure. */
  readonly conditions: readonly NodeConditionReport[];
  /** Measures again; gives the conditions that have changed. A resource that cannot be measured keeps its condition. */
  look(): Promise<readonly NodeConditionReport[]>;
  /** By the last look; memory first, as upstream. */
  readonly shortages: readonly Shortage[];
  /** The reason for which the node refuses a new pod; undefined when it takes the pod. */
  refusalOf(pod: Pod): PodRejection | undefined;
}

export interface NodePressureOptions {
  readonly clock: Clock;
  readonly measureMemory: () => Promise<ResourceSpace>;
  readonly measureDisk: () => Promise<ResourceSpace>;
  readonly onProblem: (err: unknown, resource: PressedResource) => void;
}

/** Upstream's default, `memory.available<100Mi`. */
const minimumMemoryBytes = 100 * 1024 * 1024;
/** Upstream's default, `nodefs.available<10%`. */
const minimumDiskShare = 0.1;
/** Upstream's `evictionPressureTransitionPeriod`: a resource that hovers at the threshold must not move pods in and out. */
const transitionMs = 5 * 60_000;

/**
 * Watches whether memory and disk of the node run out. The node controller makes taints of the conditions, which keep new pods away.
 *
 * @see Kubernetes documentation, "Node-pressure Eviction", node conditions
 */
export function createNodePressure({ clock, measureMemory, measureDisk, onProblem }: NodePressureOptions): NodePressure {
  const watched = [
    { resource: 'memory', measure: measureMemory, thresholdOf: () => minimumMemoryBytes, words: memoryWords },
    {
      resource: 'ephemeral-storage',
      measure: measureDisk,
      thresholdOf: ({ sizeBytes }: ResourceSpace) => Math.floor(sizeBytes * minimumDiskShare),
      words: diskWords,
    },
  ] as const;
  const shortAt = new Map<PressedResource, number>();
  const pressed = new Set<PressedResource>();
  let shortages: readonly Shortage[] = [];
  const conditionOf = ({ resource, words }: (typeof watched)[number]): NodeConditionReport => words(pressed.has(resource));
  return {
    get conditions() {
      return watched.map(conditionOf);
    },
    get shortages() {
      return shortages;
    },
    async look() {
      const found: Shortage[] = [];
      const changed: NodeConditionReport[] = [];
      for (const each of watched) {
        const { resource, measure, thresholdOf } = each;
        try {
          const space = await measure();
          const thresholdBytes = thresholdOf(space);
          const now = clock.monotonicMs();
          if (space.availableBytes < thresholdBytes) {
            shortAt.set(resource, now);
            found.push({ resource, availableBytes: space.availableBytes, thresholdBytes });
          }
          const before = pressed.has(resource);
          const isPressed = now - (shortAt.get(resource) ?? Number.NEGATIVE_INFINITY) < transitionMs;
          if (isPressed) pressed.add(resource);
          else pressed.delete(resource);
          if (isPressed !== before) changed.push(conditionOf(each));
        } catch (err) {
          onProblem(err, resource);
        }
      }
      shortages = found;
      return changed;
    },
    refusalOf(pod) {
      if (pressed.size === 0 || isCritical(pod)) return undefined;
      const tolerated = toleratesTaint(pod.spec.tolerations ?? [], { key: taints.memoryPressure, effect: 'NoSchedule' });
      // A pod with a request does not take more memory than the node keeps for it, as upstream.
      if (!pressed.has('ephemeral-storage') && (qosClassOf(pod.spec) !== 'BestEffort' || tolerated)) return undefined;
      const types = watched.filter(({ resource }) => pressed.has(resource)).map((each) => conditionOf(each).type);
      return { reason: 'Evicted', message: `The node had condition: [${types.join(' ')}]. ` };
    },
  };
}

const memoryWords = (isPressed: boolean): NodeConditionReport =>
  isPressed
    ? {
        type: 'MemoryPressure',
        status: 'True',
        reason: 'KubeletHasInsufficientMemory',
        message: 'kubelet has insufficient memory available',
      }
    : {
        type: 'MemoryPressure',
        status: 'False',
        reason: 'KubeletHasSufficientMemory',
        message: 'kubelet has sufficient memory available',
      };

const diskWords = (isPressed: boolean): NodeConditionReport =>
  isPressed
    ? { type: 'DiskPressure', status: 'True', reason: 'KubeletHasDiskPressure', message: 'kubelet has disk pressure' }
    : { type: 'DiskPressure', status: 'False', reason: 'KubeletHasNoDiskPressure', message: 'kubelet has no disk pressure' };

/**
 * Memory of the machine less its working set. Version 1 of control groups counts the usage of the root group. The root of version 2 has
 * no such count, so all memory that is not free counts as used there. MemAvailable is the answer without accounting.
 */
export async function measureMemory(): Promise<ResourceSpace> {
  const [meminfo, usage, stat1, stat2] = await Promise.all([
    readFile('/proc/meminfo', 'utf8'),
    readOptional('/sys/fs/cgroup/memory/memory.usage_in_bytes'),
    readOptional('/sys/fs/cgroup/memory/memory.stat'),
    readOptional('/sys/fs/cgroup/memory.stat'),
  ]);
  return memorySpaceOf({ meminfo, usage, stat: stat1 ?? stat2 });
}

export interface MemoryFiles {
  readonly meminfo: string;
  readonly usage: string | undefined;
  readonly stat: string | undefined;
}

/** @throws Error for a `meminfo` without the sizes */
export function memorySpaceOf({ meminfo, usage, stat }: MemoryFiles): ResourceSpace {
  const sizeOf = (name: string): number => {
    const [, text] = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(meminfo) ?? [];
    if (text === undefined) throw new Error(`/proc/meminfo has no ${name}`);
    return Number(text) * 1024;
  };
  const sizeBytes = sizeOf('MemTotal');
  const [, inactive] = /^total_inactive_file (\d+)$/m.exec(stat ?? '') ?? /^inactive_file (\d+)$/m.exec(stat ?? '') ?? [];
  if (inactive === undefined) return { sizeBytes, availableBytes: sizeOf('MemAvailable') };
  const usedBytes = usage === undefined ? sizeBytes - sizeOf('MemFree') : Number(usage);
  return { sizeBytes, availableBytes: sizeBytes - Math.max(0, usedBytes - Number(inactive)) };
}

const readOptional = (path: string): Promise<string | undefined> => readFile(path, 'utf8').catch(() => undefined);

import { readFile } from 'node:fs/promises';
import type { Pod } from '../api/core/v1/pod.ts';
import { qosClassOf } from '../api/core/v1/qos.ts';
import { amountOf, type EvictionSettings, type EvictionSignal, type EvictionThreshold, evictionSignals } from '../api/eviction-settings.ts';
import { taints } from '../api/well-known.ts';
import type { Clock } from '../base/clock.ts';
import { toleratesTaint } from '../lifecycle/tolerations.ts';
import type { NodeConditionReport } from './container-runtime.ts';
import type { PodRejection } from './container-security.ts';
import type { FileSystemSpace } from './disk-pressure.ts';
import { isCritical } from './machine-shutdown.ts';

/** Bytes of a resource of the node. */
export interface ResourceSpace {
  readonly sizeBytes: number;
  readonly availableBytes: number;
}

/** Processes of the node. */
export interface ProcessSpace {
  readonly all: number;
  readonly available: number;
}

/** As messages about evictions name it. */
export type PressedResource = 'memory' | 'ephemeral-storage' | 'inodes' | 'pids';

/** A resource of which less is left than the node keeps free. Amounts are bytes, inodes or processes. */
export interface Shortage {
  readonly resource: PressedResource;
  readonly available: number;
  readonly threshold: number;
  /** Pods are ended at once. */
  readonly isHard: boolean;
}

export interface NodePressure {
  /** MemoryPressure, DiskPressure and PIDPressure. */
  readonly conditions: readonly NodeConditionReport[];
  /** Measures again; gives the conditions that have changed. A resource that cannot be measured keeps its condition. */
  look(): Promise<readonly NodeConditionReport[]>;
  /** By the last look, those that have lasted for the time of their threshold; memory first, as upstream. */
  readonly shortages: readonly Shortage[];
  /** The reason for which the node refuses a new pod; undefined when it takes the pod. */
  refusalOf(pod: Pod): PodRejection | undefined;
}

/** Measurements of a node. An absent one has no thresholds. */
export interface NodeMeasures {
  readonly memory: () => Promise<ResourceSpace>;
  readonly nodefs: () => Promise<FileSystemSpace>;
  /** Absent: the node keeps no images. */
  readonly imagefs?: (() => Promise<FileSystemSpace>) | undefined;
  readonly pid: () => Promise<ProcessSpace>;
}

export interface NodePressureOptions {
  readonly clock: Clock;
  readonly settings: EvictionSettings;
  readonly measures: NodeMeasures;
  readonly onProblem: (err: unknown, measure: keyof NodeMeasures) => void;
}

interface Observation {
  readonly size: number;
  readonly available: number;
}

const resourceOf: Readonly<Record<EvictionSignal, PressedResource>> = {
  'memory.available': 'memory',
  'nodefs.available': 'ephemeral-storage',
  'nodefs.inodesFree': 'inodes',
  'imagefs.available': 'ephemeral-storage',
  'imagefs.inodesFree': 'inodes',
  'pid.available': 'pids',
};

/**
 * Watches whether memory, disk and process ids of the node run out. The node controller makes taints of the conditions, which keep new
 * pods away.
 *
 * @see Kubernetes documentation, "Node-pressure Eviction", node conditions
 */
export function createNodePressure({ clock, settings, measures, onProblem }: NodePressureOptions): NodePressure {
  const { thresholds, transitionMs } = settings;
  /** The time since which a threshold is not kept, without a pause. */
  const missedSince = new Map<EvictionThreshold, number>();
  /** Thresholds that pods are evicted for, until the minimum is reclaimed. */
  let acting: ReadonlySet<EvictionThreshold> = new Set();
  const missedAt = new Map<EvictionSignal, number>();
  const pressed = new Set<EvictionSignal>();
  let shortages: readonly Shortage[] = [];

  const isPressed = (words: PressureWords): boolean => words.signals.some((signal) => pressed.has(signal));
  const conditionOf = (words: PressureWords): NodeConditionReport => ({
    type: words.type,
    ...(isPressed(words) ? { status: 'True', ...words.pressed } : { status: 'False', ...words.relieved }),
  });

  async function observe(): Promise<ReadonlyMap<EvictionSignal, Observation>> {
    const found = new Map<EvictionSignal, Observation>();
    const watched = new Set(thresholds.map(({ signal }) => signal.slice(0, signal.indexOf('.'))));
    const measure = async <T>(name: keyof NodeMeasures, take: (() => Promise<T>) | undefined, note: (value: T) => void): Promise<void> => {
      if (take === undefined || !watched.has(name)) return;
      try {
        note(await take());
      } catch (err) {
        onProblem(err, name);
      }
    };
    const noteFiles =
      (name: 'nodefs' | 'imagefs') =>
      ({ sizeBytes, availableBytes, inodes }: FileSystemSpace): void => {
        found.set(`${name}.available`, { size: sizeBytes, available: availableBytes });
        if (inodes !== undefined) found.set(`${name}.inodesFree`, { size: inodes.all, available: inodes.free });
      };
    await measure('memory', measures.memory, ({ sizeBytes, availableBytes }) =>
      found.set('memory.available', { size: sizeBytes, available: availableBytes }),
    );
    await measure('nodefs', measures.nodefs, noteFiles('nodefs'));
    await measure('imagefs', measures.imagefs, noteFiles('imagefs'));
    await measure('pid', measures.pid, ({ all, available }) => found.set('pid.available', { size: all, available }));
    return found;
  }

  /** The shortage of one threshold; undefined while it is kept. */
  function shortageOf(threshold: EvictionThreshold, { size, available }: Observation): Shortage | undefined {
    const { signal, value, isHard, minimumReclaim } = threshold;
    const reclaim = minimumReclaim !== undefined && acting.has(threshold) ? amountOf(minimumReclaim, size) : 0;
    const least = amountOf(value, size);
    return available < least + reclaim ? { resource: resourceOf[signal], available, threshold: least, isHard } : undefined;
  }

  return {
    get conditions() {
      return allWords.map(conditionOf);
    },
    get shortages() {
      return shortages;
    },
    async look() {
      const before = allWords.map(isPressed);
      const observed = await observe();
      const now = clock.monotonicMs();
      const nextActing = new Set<EvictionThreshold>();
      const missed = new Set<EvictionSignal>();
      const found: { readonly rank: number; readonly shortage: Shortage }[] = [];
      for (const threshold of thresholds) {
        const observation = observed.get(threshold.signal);
        const shortage = observation === undefined ? undefined : shortageOf(threshold, observation);
        if (shortage === undefined) {
          missedSince.delete(threshold);
          continue;
        }
        const since = missedSince.get(threshold) ?? now;
        missedSince.set(threshold, since);
        missedAt.set(threshold.signal, now);
        missed.add(threshold.signal);
        if (now - since < threshold.graceMs) continue;
        nextActing.add(threshold);
        found.push({ rank: evictionSignals.indexOf(threshold.signal), shortage });
      }
      for (const signal of observed.keys()) {
        if (missed.has(signal) || now - (missedAt.get(signal) ?? Number.NEGATIVE_INFINITY) < transitionMs) pressed.add(signal);
        else pressed.delete(signal);
      }
      acting = nextActing;
      // A hard threshold of the same signal gives pods less time, so it comes first.
      shortages = found
        .sort((a, b) => a.rank - b.rank || Number(b.shortage.isHard) - Number(a.shortage.isHard))
        .map((each) => each.shortage);
      return allWords.filter((words, index) => isPressed(words) !== before[index]).map(conditionOf);
    },
    refusalOf(pod) {
      if (pressed.size === 0 || isCritical(pod)) return undefined;
      const types = allWords.filter(isPressed).map(({ type }) => type);
      const tolerated = toleratesTaint(pod.spec.tolerations ?? [], { key: taints.memoryPressure, effect: 'NoSchedule' });
      // A pod with a request does not take more memory than the node keeps for it, as upstream.
      if (types.every((type) => type === 'MemoryPressure') && (qosClassOf(pod.spec) !== 'BestEffort' || tolerated)) return undefined;
      return { reason: 'Evicted', message: `The node had condition: [${types.join(' ')}]. ` };
    },
  };
}

/** A condition of the Node, in the words of a kubelet. */
interface PressureWords {
  readonly type: 'MemoryPressure' | 'DiskPressure' | 'PIDPressure';
  readonly signals: readonly EvictionSignal[];
  readonly pressed: { readonly reason: string; readonly message: string };
  readonly relieved: { readonly reason: string; readonly message: string };
}

const allWords: readonly PressureWords[] = [
  {
    type: 'MemoryPressure',
    signals: ['memory.available'],
    pressed: { reason: 'KubeletHasInsufficientMemory', message: 'kubelet has insufficient memory available' },
    relieved: { reason: 'KubeletHasSufficientMemory', message: 'kubelet has sufficient memory available' },
  },
  {
    type: 'DiskPressure',
    signals: ['nodefs.available', 'nodefs.inodesFree', 'imagefs.available', 'imagefs.inodesFree'],
    pressed: { reason: 'KubeletHasDiskPressure', message: 'kubelet has disk pressure' },
    relieved: { reason: 'KubeletHasNoDiskPressure', message: 'kubelet has no disk pressure' },
  },
  {
    type: 'PIDPressure',
    signals: ['pid.available'],
    pressed: { reason: 'KubeletHasInsufficientPID', message: 'kubelet has insufficient PID available' },
    relieved: { reason: 'KubeletHasSufficientPID', message: 'kubelet has sufficient PID available' },
  },
];

/** Nothing runs out where no program runs. */
export const noPressure: NodePressure = {
  conditions: allWords.map(({ type, relieved }) => ({ type, status: 'False', ...relieved })),
  shortages: [],
  look: async () => [],
  refusalOf: () => undefined,
};

/** Process ids of the machine: the kernel gives at most the smaller of two numbers, and a thread takes one too. */
export async function measureProcesses(): Promise<ProcessSpace> {
  const [load, ...limits] = await Promise.all(
    ['/proc/loadavg', '/proc/sys/kernel/pid_max', '/proc/sys/kernel/threads-max'].map((path) => readFile(path, 'utf8')),
  );
  // `0.20 0.18 0.12 1/80 11206`: one of 80 runs.
  const [, running] = /^\S+ \S+ \S+ \d+\/(\d+) /.exec(load ?? '') ?? [];
  const all = Math.min(...limits.map(Number));
  if (running === undefined || !Number.isFinite(all)) throw new Error('/proc has no numbers of processes');
  return { all, available: Math.max(0, all - Number(running)) };
}

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

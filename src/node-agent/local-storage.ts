import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Pod } from '../api/core/v1/pod.ts';
import { tryQuantity, wholeValueOf } from '../machinery/quantity.ts';

export interface LocalStorageOptions {
  /** Holds the pod's emptyDirs by name. */
  readonly volumes: string;
  /** Holds a directory of logs for each container. */
  readonly logs: string;
  /** Files and directories of one volume that are looked at; 100,000 when absent. */
  readonly maxEntries?: number;
}

export interface StorageFinding {
  /** Reason for the eviction of the pod, in the words of the kubelet. */
  readonly excess: string | undefined;
  /** Volumes that could not be counted completely, as text for an Event. */
  readonly uncounted: string | undefined;
}

/** Files and directories of one volume that are looked at. Those beyond count as nothing, and an Event says so. */
const defaultMaxEntries = 100_000;
const blockBytes = 512;

/**
 * Reason to evict a pod for its disk usage, in the words of the kubelet; undefined while it keeps its bounds. The file
 * system of a container itself is in memory here and has a bound of its own, so emptyDirs and logs count.
 *
 * @see Kubernetes documentation, "Local ephemeral storage", resource ephemeral-storage consumption management
 */
export async function findExcess(pod: Pod, options: LocalStorageOptions): Promise<StorageFinding> {
  const { maxEntries = defaultMaxEntries } = options;
  const uncounted: string[] = [];
  const sizeOf = async (path: string, name: string): Promise<number> => {
    const { bytes, isWhole } = await diskUsage(path, maxEntries);
    if (!isWhole) uncounted.push(name);
    return bytes;
  };
  const excess = await excessOf(pod, options, sizeOf);
  if (excess !== undefined || uncounted.length === 0) return { excess, uncounted: undefined };
  const message = `${uncounted.join(', ')} has more than ${maxEntries} files and directories: those beyond are not counted, so its limit is not held`;
  return { excess, uncounted: message };
}

async function excessOf(
  pod: Pod,
  { volumes, logs }: LocalStorageOptions,
  sizeOf: (path: string, name: string) => Promise<number>,
): Promise<string | undefined> {
  const { containers } = pod.spec;
  const emptyDirs = (pod.spec.volumes ?? []).filter(({ emptyDir }) => emptyDir !== undefined);
  let used = 0;
  const limits = containers.map((container) => amountOf(container.resources?.limits?.['ephemeral-storage']));
  const isBounded = limits.some((limit) => limit !== undefined);
  for (const { name, emptyDir } of emptyDirs) {
    const limit = amountOf(emptyDir?.sizeLimit);
    if (limit === undefined && !isBounded) continue;
    const size = await sizeOf(join(volumes, name), `emptyDir volume "${name}"`);
    used += size;
    if (limit !== undefined && size > limit.bytes) return `Usage of EmptyDir volume "${name}" exceeds the limit "${limit.text}". `;
  }
  if (!isBounded) return undefined;
  let allowed = 0;
  for (const [index, container] of containers.entries()) {
    const size = await sizeOf(join(logs, container.name), `the log directory of container ${container.name}`);
    const limit = limits[index];
    used += size;
    allowed += limit?.bytes ?? 0;
    if (limit !== undefined && size > limit.bytes) {
      return `Container ${container.name} exceeded its local ephemeral storage limit "${limit.text}". `;
    }
  }
  // Containers without a limit add nothing to it, as upstream.
  return used > allowed ? `Pod ephemeral local storage usage exceeds the total limit of containers ${byteText(allowed)}. ` : undefined;
}

/** Bytes and files on the disk of a pod's emptyDirs and logs, with and without bounds. The containers have the logs alone. */
export async function localUsage(pod: Pod, { volumes, logs, maxEntries = defaultMaxEntries }: LocalStorageOptions) {
  let bytes = 0;
  let entries = 0;
  const add = async (path: string): Promise<number> => {
    const used = await diskUsage(path, maxEntries);
    bytes += used.bytes;
    entries += used.entries;
    return used.bytes;
  };
  const containers: { readonly name: string; readonly bytes: number }[] = [];
  for (const { name, emptyDir } of pod.spec.volumes ?? []) if (emptyDir !== undefined) await add(join(volumes, name));
  for (const { name } of pod.spec.containers) containers.push({ name, bytes: await add(join(logs, name)) });
  return { bytes, entries, containers };
}

/** True when `findExcess` has anything to check. */
export const hasStorageBounds = ({ spec }: Pod): boolean =>
  (spec.volumes ?? []).some(({ emptyDir }) => amountOf(emptyDir?.sizeLimit) !== undefined) ||
  spec.containers.some(({ resources }) => amountOf(resources?.limits?.['ephemeral-storage']) !== undefined);

function amountOf(value: unknown): { readonly bytes: number; readonly text: string } | undefined {
  const quantity = tryQuantity(value);
  if (quantity === undefined) return undefined;
  const bytes = wholeValueOf(quantity);
  return bytes > 0 ? { bytes, text: String(value) } : undefined;
}

/** `100Mi`: with the largest unit that leaves a whole number. */
export function byteText(bytes: number): string {
  if (bytes === 0) return '0';
  const unit = (['Gi', 'Mi', 'Ki'] as const).find((_, index) => bytes % 1024 ** (3 - index) === 0);
  return unit === undefined ? String(bytes) : `${bytes / 1024 ** { Gi: 3, Mi: 2, Ki: 1 }[unit]}${unit}`;
}

interface DiskUsage {
  readonly bytes: number;
  /** Files and directories, each of which takes an inode. */
  readonly entries: number;
  readonly isWhole: boolean;
}

/**
 * Bytes on the disk below `path`, as `du` counts them. Pods write there meanwhile: links are not followed, only
 * directories are opened, and files that disappear count as nothing. A tree deeper than the longest path of the kernel
 * is an attempt to hide, and its size is infinite.
 */
async function diskUsage(path: string, maxEntries: number): Promise<DiskUsage> {
  let bytes = 0;
  let entries = 0;
  const left = [path];
  for (let directory = left.pop(); directory !== undefined; directory = left.pop()) {
    try {
      for await (const entry of await opendir(directory)) {
        if (entries === maxEntries) return { bytes, entries, isWhole: false };
        entries += 1;
        const place = join(directory, entry.name);
        bytes += (await lstat(place)).blocks * blockBytes;
        if (entry.isDirectory()) left.push(place);
      }
    } catch (err) {
      const { code } = err as NodeJS.ErrnoException;
      if (code === 'ENAMETOOLONG') return { bytes: Number.POSITIVE_INFINITY, entries, isWhole: true };
      if (code !== 'ENOENT' && code !== 'ENOTDIR' && code !== 'EACCES') throw err;
    }
  }
  return { bytes, entries, isWhole: true };
}

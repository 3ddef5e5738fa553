import { statfsSync } from 'node:fs';
import type { Clock } from '../../base/clock.ts';
import { openDiskReserve } from './disk-reserve.ts';

/**
 * Room on the disk of the store. Writes that need room are refused before the disk is full, and a file of some MB is
 * kept in reserve. If the disk fills up anyway, the reserve is released piece by piece. Deletions, changes without
 * growth and compaction then still succeed, and they free room.
 */
export interface DiskRoom {
  /**
   * Reason why writes that need room are refused now; undefined: there is room. Looks at the disk once a second, after each MiB written,
   * and after each checkpoint. It looks before it refuses, too, so that writes work as soon as there is room.
   *
   * @param pendingBytes  bytes in the WAL that need as much room again in the database
   */
  refusal(pendingBytes: number): string | undefined;
  /** Size of the reserve when nothing of it was given up. */
  readonly reserveBytes: number;
  /** A write failed for lack of room: growth is refused until the next look. */
  noteFull(): void;
  /** Runs `work`, and again after giving up a piece of the reserve each time that it fails for lack of room. */
  withReserve<T>(work: () => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export interface DiskRoomOptions {
  readonly directory: string;
  /** The reserve file. */
  readonly reserve: string;
  readonly clock: Clock;
  readonly isFull: (err: unknown) => boolean;
}

/** Growth is refused from here on, but on large disks not while this much is left. */
const fullFrom = 0.95;
const enoughBytes = 1024 * 1024 * 1024;
const lookEveryMs = 1000;
const lookEveryBytes = 1024 * 1024;
/** About 1,000 commits of deletions with their checkpoint; a twentieth of a disk that is smaller than 320 MiB. */
const maxReserveBytes = 16 * 1024 * 1024;
/** Files that every start writes fit in here, so a full disk does not keep the program from starting. */
const startBytes = 1024 * 1024;

export function openDiskRoom({ directory, reserve: path, clock, isFull }: DiskRoomOptions): DiskRoom {
  let lookedAt = Number.NEGATIVE_INFINITY;
  let pendingThen = 0;
  let why: string | undefined;
  /** A write has failed since the last look, whatever the disk says: a quota, perhaps. */
  let wasFull = false;
  const { freeBytes, totalBytes } = measure(directory);
  const sizeBytes = Math.min(maxReserveBytes, totalBytes / 20);
  const reserve = openDiskReserve({
    path,
    clock,
    sizeBytes,
    hasRoom: () => look(pendingThen) === undefined,
  });
  if (freeBytes < startBytes) reserve.giveUp();

  function refusal(pendingBytes: number): string | undefined {
    const now = clock.monotonicMs();
    // A checkpoint took room, and began the count again.
    const hasWritten = pendingBytes < pendingThen || pendingBytes - pendingThen >= lookEveryBytes;
    if (now - lookedAt >= lookEveryMs || (why !== undefined && !wasFull) || hasWritten) {
      lookedAt = now;
      pendingThen = pendingBytes;
      why = look(pendingBytes);
      wasFull = false;
    }
    return why;
  }

  function noteFull(): void {
    lookedAt = clock.monotonicMs();
    why = `the disk of ${directory} is full`;
    wasFull = true;
  }

  function look(pendingBytes: number): string | undefined {
    const now = measure(directory);
    // Fill the reserve again after it was released.
    const left = Math.max(0, now.freeBytes - reserve.missingBytes - pendingBytes);
    const used = now.totalBytes === 0 ? 0 : 1 - left / now.totalBytes;
    if (used < fullFrom || left >= enoughBytes) return undefined;
    return `the disk of ${directory} is ${Math.floor(used * 100)} % full (${Math.floor(left / 1024 / 1024)} MiB free)`;
  }

  return {
    reserveBytes: sizeBytes,
    refusal,
    noteFull,
    async withReserve(work) {
      for (;;) {
        try {
          return await work();
        } catch (err) {
          if (!isFull(err)) throw err;
          noteFull();
          if (!reserve.giveUp()) throw err;
        }
      }
    },
    close: reserve.close,
  };
}

function measure(directory: string): { readonly freeBytes: number; readonly totalBytes: number } {
  try {
    const { bsize, blocks, bfree, bavail } = statfsSync(directory);
    // As df counts: blocks that only root may take are neither used nor free.
    return { freeBytes: bavail * bsize, totalBytes: (blocks - bfree + bavail) * bsize };
  } catch {
    // Without a directory the database itself fails, and says so better.
    return { freeBytes: Number.POSITIVE_INFINITY, totalBytes: 0 };
  }
}

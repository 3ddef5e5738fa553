import { randomFillSync } from 'node:crypto';
import { truncateSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Clock } from '../../base/clock.ts';
import { sizeOf } from './files.ts';

/** A file that holds room on a disk, to be given back when the disk is full. */
export interface DiskReserve {
  /** Bytes that it lacks of its size. */
  readonly missingBytes: number;
  /** Gives a piece back to the disk; false when nothing is left of it. The file is made whole again later. */
  giveUp(): boolean;
  close(): Promise<void>;
}

export interface DiskReserveOptions {
  readonly path: string;
  readonly clock: Clock;
  /** Rounded down to whole pieces. */
  readonly sizeBytes: number;
  /** False while the disk has no room for the reserve. */
  readonly hasRoom: () => boolean;
}

const pieceBytes = 1024 * 1024;
/** The file is made, and made whole again, when a start is over and then from time to time. */
const fillAfterMs = 2_000;
const fillAgainAfterMs = 10_000;

export function openDiskReserve({ path, clock, sizeBytes, hasRoom }: DiskReserveOptions): DiskReserve {
  const wanted = Math.floor(sizeBytes / pieceBytes) * pieceBytes;
  let held = sizeOf(path);
  let cancelFill: (() => void) | undefined;
  let filling: Promise<void> = Promise.resolve();
  let closed = false;
  scheduleFill(fillAfterMs);

  function scheduleFill(delayMs: number): void {
    if (closed || cancelFill !== undefined || held >= wanted) return;
    cancelFill = clock.after(delayMs, () => {
      cancelFill = undefined;
      filling = fill()
        // The disk is full, or cannot be written: the next attempt sees.
        .catch(() => undefined)
        .then(() => scheduleFill(fillAgainAfterMs));
    });
  }

  async function fill(): Promise<void> {
    if (!hasRoom()) return;
    const file = await open(path, 'a', 0o600);
    try {
      // Zeros would take no room on file systems that compress.
      const piece = randomFillSync(Buffer.alloc(pieceBytes));
      while (held < wanted && !closed) {
        const at = held;
        await file.appendFile(piece);
        // Not while it was given up meanwhile.
        if (held === at) held += pieceBytes;
      }
      await file.sync();
    } finally {
      await file.close();
      held = sizeOf(path);
    }
  }

  return {
    get missingBytes() {
      return Math.max(0, wanted - held);
    },
    giveUp() {
      if (held === 0) return false;
      held = Math.max(0, held - pieceBytes);
      truncateSync(path, held);
      scheduleFill(fillAgainAfterMs);
      return true;
    },
    async close() {
      closed = true;
      cancelFill?.();
      await filling;
    },
  };
}

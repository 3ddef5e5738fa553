import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import {
  amountOf,
  EvictionFlagError,
  type EvictionFlagValues,
  type EvictionSignal,
  evictionFlags,
  parseEvictionFlags,
} from '../api/eviction-settings.ts';
import { readSettings } from './config.ts';
import { filesOf } from './configuration.ts';
import type { Finding } from './doctor.ts';

/**
 * Judges the room for a data directory as its node does: a finding comes when the node reports DiskPressure. A node of containers has its
 * images there, too, and keeps more free for them.
 */
export async function checkDisk(dataDirectory: string): Promise<Finding> {
  const check = 'disk';
  const place = nearestDirectory(dataDirectory);
  const { bsize, blocks, bavail, files, ffree } = await statfs(place);
  const what = `${sizeText(bavail * bsize)} of ${sizeText(blocks * bsize)} are free for ${dataDirectory}`;
  const fix = `Make room on the file system of ${place} (df -h, df -i), or start with another --data-dir.`;
  const floor = await floorOf(dataDirectory, { bytes: blocks * bsize, inodes: files });
  if (bavail * bsize < floor.bytes)
    return {
      check,
      result: 'problem',
      what,
      why: `Below ${sizeText(floor.bytes)} the node takes no new pods, and a full disk refuses writes.`,
      fix,
    };
  // Some file systems make inodes as they need them, and report none.
  if (files > 0 && ffree < floor.inodes)
    return {
      check,
      result: 'problem',
      what: `${ffree} of ${files} inodes are free`,
      why: 'Without one no file can be made, whatever room there is.',
      fix,
    };
  return { check, result: 'ok', what };
}

/** Amounts of a file system. */
interface Space {
  readonly bytes: number;
  readonly inodes: number;
}

/** The least that a node with this data directory keeps free, by the largest of its thresholds. */
async function floorOf(dataDirectory: string, all: Space): Promise<Space> {
  const hasImages = existsSync(filesOf(dataDirectory).containerd);
  const thresholds = await thresholdsOf(dataDirectory);
  const largest = (resource: 'available' | 'inodesFree', size: number): number => {
    const signals: readonly EvictionSignal[] = [`nodefs.${resource}`, ...(hasImages ? [`imagefs.${resource}` as const] : [])];
    return Math.max(0, ...thresholds.filter(({ signal }) => signals.includes(signal)).map(({ value }) => amountOf(value, size)));
  };
  return { bytes: largest('available', all.bytes), inodes: largest('inodesFree', all.inodes) };
}

/** The thresholds of the last start, or the defaults where there was none. */
async function thresholdsOf(dataDirectory: string): Promise<ReturnType<typeof parseEvictionFlags>['thresholds']> {
  const settings = (await readSettings(filesOf(dataDirectory).settings).catch(() => undefined)) ?? [];
  const given = settings.find(({ name, from }) => name === '--kubelet-arg' && from === 'flag')?.value ?? '';
  const values: { -readonly [flag in keyof EvictionFlagValues]: string[] } = {};
  // `midship config` joins them so; no value of these flags has a space before such a name.
  for (const text of given.split(/, (?=eviction-)/)) {
    const flag = evictionFlags.find((known) => text.startsWith(`${known}=`));
    if (flag !== undefined) values[flag] = [...(values[flag] ?? []), text.slice(flag.length + 1)];
  }
  try {
    return parseEvictionFlags(values).thresholds;
  } catch (err) {
    // The start of a server refuses such values, so the file was changed by hand.
    if (err instanceof EvictionFlagError) return parseEvictionFlags({}).thresholds;
    throw err;
  }
}

function nearestDirectory(path: string): string {
  for (let at = path; ; at = dirname(at)) if (existsSync(at) || dirname(at) === at) return at;
}

const sizeText = (bytes: number): string =>
  bytes >= 1024 ** 3 ? `${(bytes / 1024 ** 3).toFixed(1)} GiB` : `${Math.floor(bytes / 1024 ** 2)} MiB`;

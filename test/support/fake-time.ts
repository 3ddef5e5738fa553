import { existsSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** The library of the Debian package `faketime`; undefined when it is not installed. */
const library = ['/usr/lib', ...(existsSync('/usr/lib') ? readdirSync('/usr/lib').map((name) => join('/usr/lib', name)) : [])]
  .map((directory) => join(directory, 'faketime', 'libfaketimeMT.so.1'))
  .find((path) => existsSync(path));

export const hasFakeTime = library !== undefined;

export interface FakeTime {
  /** For a child process: its time of day is another one, and its timers and durations are real. */
  readonly environment: Readonly<Record<string, string>>;
  /** Moves the time of the children that run: days from now. */
  moveTo(days: number): void;
}

/** Time that begins `days` from now. Programs that do not use the C library for it, as those in Go, keep the real time. */
export function createFakeTime(directory: string, days: number): FakeTime {
  const file = join(directory, 'time');
  const moveTo = (offset: number): void => {
    // Readers see the old or the new time, never an empty file.
    writeFileSync(`${file}.next`, `${offset < 0 ? '' : '+'}${offset}d\n`);
    renameSync(`${file}.next`, file);
  };
  moveTo(days);
  return {
    environment: {
      LD_PRELOAD: library ?? '',
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    },
    moveTo,
  };
}

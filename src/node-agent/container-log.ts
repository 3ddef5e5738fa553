import type { Clock } from '../base/clock.ts';
import type { ContainerLog } from './container-runtime.ts';
import { readCriLog } from './cri-log.ts';
import { readRawLog } from './raw-log.ts';

export interface LogOptions {
  readonly follow: boolean;
  /** Lines from the end; all when absent. */
  readonly tailLines: number | undefined;
  /** Only what was written from then on, milliseconds since the epoch. */
  readonly since: number | undefined;
  readonly timestamps: boolean;
  readonly limitBytes: number | undefined;
  /** Only what follows this byte of the current file; the options above that choose a start are then not looked at. */
  readonly offset?: number | undefined;
}

export interface ReadLogOptions {
  readonly log: ContainerLog;
  readonly options: LogOptions;
  /** A followed log ends when this is false and everything was read. */
  readonly isRunning: () => boolean;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** A container's output, the rotated part first, whatever the format of its files. */
export function readLog(options: ReadLogOptions): AsyncGenerator<Buffer> {
  const { path, timesPath } = options.log;
  return timesPath === undefined ? readCriLog(options) : readRawLog({ ...options, log: { path, timesPath } });
}

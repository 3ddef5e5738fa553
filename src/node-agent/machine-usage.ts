import { readFile } from 'node:fs/promises';
import { measureMemory } from './node-pressure.ts';

/** Usage of all processes of a machine: the pods and everything else. */
export interface MachineUsage {
  /** Since the machine started. */
  readonly cpuSeconds: number;
  readonly memoryWorkingSetBytes: number;
}

/** The unit of `/proc/stat`. The kernel counts in others and converts. */
const ticksPerSecond = 100;
/** Fields of the line `cpu` that are no work, see proc_stat(5): idle and iowait. Times of guests are part of user and nice. */
const idle = 3;
const iowait = 4;
const fields = 8;

/** @throws Error when `/proc` does not say it */
export async function measureMachine(): Promise<MachineUsage> {
  const [stat, { sizeBytes, availableBytes }] = await Promise.all([readFile('/proc/stat', 'utf8'), measureMemory()]);
  return { cpuSeconds: cpuSecondsOf(stat), memoryWorkingSetBytes: sizeBytes - availableBytes };
}

/** @param stat  text of `/proc/stat` */
export function cpuSecondsOf(stat: string): number {
  const [, text] = /^cpu +(\d+(?: \d+){7,})/.exec(stat) ?? [];
  if (text === undefined) throw new Error('/proc/stat has no times of the processors');
  const ticks = text.split(' ').slice(0, fields).map(Number);
  return ticks.filter((_, field) => field !== idle && field !== iowait).reduce((sum, each) => sum + each, 0) / ticksPerSecond;
}

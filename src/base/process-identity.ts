import { closeSync, openSync, readSync } from 'node:fs';
import { open } from 'node:fs/promises';

/** A process as /proc/PID/stat shows it. */
export interface ProcessStat {
  readonly pid: number;
  readonly state: string;
  readonly parentPid: number;
  readonly processGroup: number;
  /** The process group in the foreground of its terminal; -1 without one. */
  readonly foregroundGroup: number;
  /** Own and waited-for children's time, user and system, in clock ticks. */
  readonly cpuTicks: number;
  /** Clock ticks since boot; together with the pid it identifies a process uniquely. */
  readonly startTime: number;
  readonly rssPages: number;
}

/** The kernel lets arguments and environment have 6 MiB together; tables of sockets have 150 bytes a line. */
const maxProcBytes = 8 * 1024 * 1024;

/** @throws Error when `text` is not a line of /proc/PID/stat */
export function parseProcessStat(text: string): ProcessStat {
  // The command's name is in parentheses and may hold spaces and parentheses itself.
  const open = text.indexOf('(');
  const close = text.lastIndexOf(')');
  const fields = text.slice(close + 2).split(' ');
  const number = (index: number): number => Number(fields[index]);
  const stat = {
    pid: Number(text.slice(0, open)),
    state: fields[0] ?? '',
    parentPid: number(1),
    processGroup: number(2),
    foregroundGroup: number(5),
    cpuTicks: number(11) + number(12) + number(13) + number(14),
    startTime: number(19),
    rssPages: number(21),
  };
  if (open < 1 || close < open || !Number.isInteger(stat.pid) || !Number.isFinite(stat.startTime)) {
    throw new Error(`not a process stat line: ${text.slice(0, 80)}`);
  }
  return stat;
}

/** Undefined when there is no such process. */
export async function processStat(pid: number): Promise<ProcessStat | undefined> {
  const text = await readProcOptional(`/proc/${pid}/stat`);
  return text === undefined ? undefined : runningOf(parseProcessStat(text));
}

/**
 * `processStat` at once, for a look at many processes. The kernel makes the line from memory in 10 µs; four calls by other threads took
 * 30 times as long.
 */
export function readProcessStat(pid: number): ProcessStat | undefined {
  let file: number | undefined;
  try {
    file = openSync(`/proc/${pid}/stat`, 'r');
    // The line has at most 64 bytes of a name and 50 numbers of up to 20 digits.
    const buffer = Buffer.allocUnsafe(1_280);
    return runningOf(parseProcessStat(buffer.toString('utf8', 0, readSync(file, buffer))));
  } catch (err) {
    if (isGone(err)) return undefined;
    throw err;
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** A zombie counts as no process, since its program has ended. */
const runningOf = (stat: ProcessStat): ProcessStat | undefined => (stat.state === 'Z' || stat.state === 'X' ? undefined : stat);

export async function isSameProcess(pid: number, startTime: number): Promise<boolean> {
  return (await processStat(pid))?.startTime === startTime;
}

/** Identifies a process uniquely on this machine, also across reboots of the machine. */
export interface KnownProcess {
  readonly pid: number;
  readonly startTime: number;
  readonly bootId: string;
}

export async function thisProcess(): Promise<KnownProcess> {
  const { startTime } = parseProcessStat(await readKernelFile('/proc/self/stat'));
  return { pid: process.pid, startTime, bootId: await bootId() };
}

/** True when this process may read its terminal and set its mode. The kernel stops a background process that does (SIGTTIN, SIGTTOU). */
export async function isInForeground(): Promise<boolean> {
  const { processGroup, foregroundGroup } = parseProcessStat(await readKernelFile('/proc/self/stat'));
  return processGroup === foregroundGroup;
}

/** False also for one that was written down with less than all of its parts. A pid alone may be that of a stranger by now. */
export async function isRunning({ pid, startTime, bootId: boot }: Partial<KnownProcess>): Promise<boolean> {
  if (pid === undefined || startTime === undefined || boot === undefined || boot !== (await bootId())) return false;
  return isSameProcess(pid, startTime);
}

/** Names the running kernel: pids and start times mean nothing after a reboot. */
export async function bootId(): Promise<string> {
  return (await readProcOptional('/proc/sys/kernel/random/boot_id'))?.trim() ?? '';
}

/** Processes end while they are looked at, and those of other users are closed to us: both read as nothing there. */
const gone = new Set(['ENOENT', 'ESRCH', 'EACCES', 'EPERM']);
export const isGone = (err: unknown): boolean => gone.has((err as NodeJS.ErrnoException).code ?? '');

/** A file of /proc; undefined when the process is gone or closed to us. */
export async function readProcOptional(path: string): Promise<string | undefined> {
  try {
    return await readKernelFile(path);
  } catch (err) {
    if (isGone(err)) return undefined;
    throw err;
  }
}

/**
 * Files of /proc have no size, and for those `readFile` takes 64 KiB each. Nodes look at every process of the machine some times a minute;
 * with `readFile` that left 20 MB of garbage in an idle cluster. Most files have a line of 300 bytes.
 *
 * A process can point the kernel at any part of its memory as its arguments and environment (prctl PR_SET_MM), so the read is bounded.
 */
async function readKernelFile(path: string): Promise<string> {
  const file = await open(path);
  try {
    let buffer = Buffer.allocUnsafe(1_024);
    let length = 0;
    for (;;) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length);
      if (bytesRead === 0) return buffer.toString('utf8', 0, length);
      length += bytesRead;
      if (length >= maxProcBytes) return buffer.toString('utf8', 0, length);
      if (length === buffer.length) buffer = Buffer.concat([buffer], 2 * length);
    }
  } finally {
    await file.close();
  }
}

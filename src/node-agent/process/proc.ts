import { open, readdir, readlink } from 'node:fs/promises';
import type { ListeningAddress } from '../container-runtime.ts';

/** What /proc/PID/stat tells of a process. */
export interface ProcessStat {
  readonly pid: number;
  readonly state: string;
  readonly parentPid: number;
  /** Own and waited-for children's time, user and system, in clock ticks. */
  readonly cpuTicks: number;
  /** Clock ticks since boot; with the pid it names a process for good. */
  readonly startTime: number;
  readonly rssPages: number;
}

/** Linux has told user space 100 since 2.6, whatever the kernel's own rate is. */
export const ticksPerSecond = 100;
export const pageSizeBytes = 4096;

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
    cpuTicks: number(11) + number(12) + number(13) + number(14),
    startTime: number(19),
    rssPages: number(21),
  };
  if (open < 1 || close < open || !Number.isInteger(stat.pid) || !Number.isFinite(stat.startTime)) {
    throw new Error(`not a process stat line: ${text.slice(0, 80)}`);
  }
  return stat;
}

/** Undefined when there is no such process; a zombie counts as none, since its program has ended. */
async function processStat(pid: number): Promise<ProcessStat | undefined> {
  const text = await readOptional(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  const stat = parseProcessStat(text);
  return stat.state === 'Z' || stat.state === 'X' ? undefined : stat;
}

export async function isSameProcess(pid: number, startTime: number): Promise<boolean> {
  return (await processStat(pid))?.startTime === startTime;
}

export async function allProcesses(): Promise<readonly ProcessStat[]> {
  const found: ProcessStat[] = [];
  for (const entry of await readdir('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    const stat = await processStat(pid);
    if (stat !== undefined) found.push(stat);
  }
  return found;
}

/** `root` and everything below it, by parent. */
export function descendantsOf(root: number, processes: readonly ProcessStat[]): readonly ProcessStat[] {
  const children = new Map<number, ProcessStat[]>();
  const result: ProcessStat[] = [];
  for (const process of processes) {
    if (process.pid === root) result.push(process);
    const siblings = children.get(process.parentPid);
    if (siblings === undefined) children.set(process.parentPid, [process]);
    else siblings.push(process);
  }
  // A list that grows while it is walked: pids can not form a cycle, but a scan that races with exits might; each is taken once.
  const seen = new Set(result.map(({ pid }) => pid));
  for (let next = 0; next < result.length; next += 1) {
    for (const child of children.get(result[next]?.pid ?? -1) ?? []) {
      if (seen.has(child.pid)) continue;
      seen.add(child.pid);
      result.push(child);
    }
  }
  return result;
}

/** Processes of this user whose environment at start had `entry` (`NAME=value`); finds those that left their session and parent. */
export async function processesWithEnvironment(entry: string): Promise<readonly number[]> {
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const environment = await readOptional(`/proc/${pid}/environ`);
    if (environment?.split('\0').includes(entry) && (await processStat(pid)) !== undefined) found.push(pid);
  }
  return found;
}

/** Addresses that any of `pids` listens on, IPv4 and IPv6. */
export async function listenersOf(pids: readonly number[]): Promise<readonly ListeningAddress[]> {
  const inodes = new Set<string>();
  for (const pid of pids) {
    for (const fd of await readdirOptional(`/proc/${pid}/fd`)) {
      const target = await readlinkOptional(`/proc/${pid}/fd/${fd}`);
      const inode = target === undefined ? null : /^socket:\[(\d+)\]$/.exec(target);
      if (inode?.[1] !== undefined) inodes.add(inode[1]);
    }
  }
  if (inodes.size === 0) return [];
  const tables = await Promise.all(['/proc/net/tcp', '/proc/net/tcp6'].map(readOptional));
  return tables.flatMap((table) => parseListeners(table ?? '', inodes));
}

const listenState = '0A';

/** The listening rows of a /proc/net/tcp or tcp6 table whose socket is in `inodes`. */
export function parseListeners(table: string, inodes: ReadonlySet<string>): ListeningAddress[] {
  const found: ListeningAddress[] = [];
  for (const line of table.split('\n').slice(1)) {
    const fields = line.trim().split(/\s+/);
    const [, local = '', , state] = fields;
    if (state !== listenState || !inodes.has(fields[9] ?? '')) continue;
    const [hex = '', port = ''] = local.split(':');
    found.push({ address: hex.length === 8 ? ipv4Of(hex) : ipv6Of(hex), port: Number.parseInt(port, 16) });
  }
  return found;
}

/** The kernel prints the address as a number in host order, which is little-endian on everything Node runs on. */
function ipv4Of(hex: string): string {
  return [6, 4, 2, 0].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)).join('.');
}

function ipv6Of(hex: string): string {
  if (/^0+$/.test(hex)) return '::';
  // ::ffff:a.b.c.d
  if (hex.startsWith('0000000000000000FFFF0000')) return ipv4Of(hex.slice(24));
  const words = [0, 8, 16, 24].flatMap((at) => {
    const bytes = [6, 4, 2, 0].map((byte) => hex.slice(at + byte, at + byte + 2));
    return [`${bytes[0]}${bytes[1]}`, `${bytes[2]}${bytes[3]}`];
  });
  return words.map((word) => Number.parseInt(word, 16).toString(16)).join(':');
}

/** Names the running kernel: pids and start times mean nothing after a reboot. */
export async function bootId(): Promise<string> {
  return (await readOptional('/proc/sys/kernel/random/boot_id'))?.trim() ?? '';
}

/** Processes end while they are looked at, and those of other users are closed to us: both read as nothing there. */
const gone = new Set(['ENOENT', 'ESRCH', 'EACCES', 'EPERM']);
const isGone = (err: unknown): boolean => gone.has((err as NodeJS.ErrnoException).code ?? '');

async function readOptional(path: string): Promise<string | undefined> {
  try {
    return await readKernelFile(path);
  } catch (err) {
    if (isGone(err)) return undefined;
    throw err;
  }
}

/**
 * Files of /proc have no size, and for those `readFile` takes 64 KiB each: looks at every process of the machine, some times a minute for each
 * node, left 20 MB of garbage in an idle cluster. Most have a line of 300 bytes.
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
      if (length === buffer.length) buffer = Buffer.concat([buffer], 2 * length);
    }
  } finally {
    await file.close();
  }
}

async function readdirOptional(path: string): Promise<readonly string[]> {
  try {
    return await readdir(path);
  } catch (err) {
    if (isGone(err)) return [];
    throw err;
  }
}

async function readlinkOptional(path: string): Promise<string | undefined> {
  try {
    return await readlink(path);
  } catch (err) {
    if (isGone(err)) return undefined;
    throw err;
  }
}

import { readdir, readlink } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { isGone, type ProcessStat, processStat, readProcessStat, readProcOptional } from '../../base/process-identity.ts';
import type { ListeningAddress } from '../container-runtime.ts';

/** Linux has reported 100 to user space since 2.6, for any rate of the kernel. */
export const ticksPerSecond = 100;
export const pageSizeBytes = 4096;

/** The oldest first; none when there is no such process. */
export async function childrenOf(pid: number): Promise<readonly number[]> {
  const text = (await readProcOptional(`/proc/${pid}/task/${pid}/children`)) ?? '';
  return text
    .split(' ')
    .filter((word) => word !== '')
    .map(Number);
}

/** Processes that are read in one turn of the event loop, which takes one or two milliseconds. */
const sliceSize = 32;

/**
 * A scrape of a kubelet reads all processes of the machine. Asynchronous reads took 0.3 ms of processor time each, and a busy machine
 * needed up to 4 ms. A scrape of 300 processes was then not over after a second.
 */
export async function allProcesses(): Promise<readonly ProcessStat[]> {
  const found: ProcessStat[] = [];
  const pids = (await readdir('/proc')).map(Number).filter(Number.isInteger);
  for (const [index, pid] of pids.entries()) {
    if (index > 0 && index % sliceSize === 0) await setImmediate();
    const stat = readProcessStat(pid);
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
  // A list that grows while it is walked. Pids cannot form a cycle, but a scan that races with exits might. Each is taken once.
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
    const environment = await readProcOptional(`/proc/${pid}/environ`);
    if (environment?.split('\0').includes(entry) && (await processStat(pid)) !== undefined) found.push(pid);
  }
  return found;
}

/** Processes whose arguments, the program's name included, are accepted. */
export async function processesWithArguments(accepts: (args: readonly string[]) => boolean): Promise<readonly number[]> {
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const line = await readProcOptional(`/proc/${pid}/cmdline`);
    if (line !== undefined && accepts(line.split('\0'))) found.push(pid);
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
  return inodes.size === 0 ? [] : readListeners(inodes);
}

/** Addresses on which sockets of this network namespace listen; those whose socket is in `inodes`, where given. */
export async function readListeners(inodes?: ReadonlySet<string>): Promise<readonly ListeningAddress[]> {
  const tables = await Promise.all(['/proc/net/tcp', '/proc/net/tcp6'].map((path) => readProcOptional(path)));
  return tables.flatMap((table) => parseListeners(table ?? '', inodes));
}

const listenState = '0A';

/** The listening rows of a /proc/net/tcp or tcp6 table; those whose socket is in `inodes`, where given. */
export function parseListeners(table: string, inodes?: ReadonlySet<string>): ListeningAddress[] {
  const found: ListeningAddress[] = [];
  for (const line of table.split('\n').slice(1)) {
    const fields = line.trim().split(/\s+/);
    const [, local = '', , state] = fields;
    if (state !== listenState || inodes?.has(fields[9] ?? '') === false) continue;
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

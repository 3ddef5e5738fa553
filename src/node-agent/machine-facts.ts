import { readFile } from 'node:fs/promises';
import { arch, cpus, release, totalmem } from 'node:os';
import { measureFileSystem } from './disk-pressure.ts';

/** Facts that nodes on this machine report about it. */
export interface MachineFacts {
  readonly machineID: string;
  readonly bootID: string;
  readonly kernelVersion: string;
  readonly osImage: string;
  /** `amd64`, `arm64` */
  readonly architecture: string;
  readonly cpus: number;
  readonly memoryKiB: number;
  /** Size of the file system that has the volumes and logs of pods. */
  readonly diskKiB: number;
}

/** `directory` is there, and lies on the file system that has the volumes and logs of pods. */
export async function readMachineFacts(directory: string): Promise<MachineFacts> {
  const [machineId, bootId, osRelease] = await Promise.all(
    ['/etc/machine-id', '/proc/sys/kernel/random/boot_id', '/etc/os-release'].map(readOptional),
  );
  const { sizeBytes } = await measureFileSystem(directory);
  const pretty = /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(osRelease ?? '');
  return {
    machineID: machineId?.trim() ?? '',
    bootID: bootId?.trim() ?? '',
    kernelVersion: release(),
    osImage: pretty?.[1] ?? 'Linux',
    architecture: arch() === 'x64' ? 'amd64' : arch(),
    cpus: cpus().length,
    memoryKiB: Math.floor(totalmem() / 1024),
    diskKiB: Math.floor(sizeBytes / 1024),
  };
}

async function readOptional(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw err;
  }
}

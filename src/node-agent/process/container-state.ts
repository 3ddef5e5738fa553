import { mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ContainerConfig, ContainerId, PodSandboxConfig, SandboxId } from '../container-runtime.ts';
import { parseProcessStat } from './proc.ts';

/**
 * What the process runtime keeps on disk, one directory a sandbox with one a container in it. It is written before anything is started,
 * so that a runtime that was killed finds all it has to answer for. Values of environment variables are in it: directories are 0700.
 */
export interface SandboxRecord {
  readonly id: SandboxId;
  readonly config: PodSandboxConfig;
  readonly ip: string;
  readonly createdAt: number;
  /** False once it was stopped: its address may belong to another pod. */
  readonly ready: boolean;
}

export interface ContainerRecord {
  readonly id: ContainerId;
  readonly sandbox: SandboxId;
  readonly config: ContainerConfig;
  readonly createdAt: number;
  readonly logPath: string;
  /** The kernel's boot, since pids mean nothing in another. */
  readonly bootId: string;
}

/** The first process of a container. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTime: number;
}

export interface ExitRecord {
  readonly exitCode: number;
  readonly message: string | undefined;
  readonly finishedAt: number;
}

export const sandboxDirectory = (root: string, id: SandboxId): string => join(root, 'sandboxes', id);
export const containerDirectory = (root: string, sandbox: SandboxId, id: ContainerId): string =>
  join(sandboxDirectory(root, sandbox), 'containers', id);

export async function writeRecord(
  directory: string,
  name: 'sandbox.json' | 'container.json',
  record: SandboxRecord | ContainerRecord,
): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, name);
  await writeFile(`${path}.tmp`, JSON.stringify(record), { mode: 0o600 });
  await rename(`${path}.tmp`, path);
}

/** Every sandbox and its containers; directories without a record are left-overs of an interrupted start and are returned as `broken`. */
export async function readRecords(root: string): Promise<{
  readonly sandboxes: readonly { readonly record: SandboxRecord; readonly containers: readonly ContainerRecord[] }[];
  readonly broken: readonly string[];
}> {
  const sandboxes: { record: SandboxRecord; containers: ContainerRecord[] }[] = [];
  const broken: string[] = [];
  for (const name of await listOptional(join(root, 'sandboxes'))) {
    const directory = join(root, 'sandboxes', name);
    const record = await readJson<SandboxRecord>(join(directory, 'sandbox.json'));
    if (record === undefined) {
      broken.push(directory);
      continue;
    }
    const containers: ContainerRecord[] = [];
    for (const id of await listOptional(join(directory, 'containers'))) {
      const container = await readJson<ContainerRecord>(join(directory, 'containers', id, 'container.json'));
      if (container === undefined) broken.push(join(directory, 'containers', id));
      else containers.push(container);
    }
    sandboxes.push({ record, containers });
  }
  return { sandboxes, broken };
}

/** Undefined when the container was never started. */
export async function readIdentity(directory: string): Promise<(ProcessIdentity & { readonly startedAt: number }) | undefined> {
  const path = join(directory, 'pid');
  const text = await readOptional(path);
  if (text === undefined || !text.endsWith('\n')) return undefined;
  const { pid, startTime } = parseProcessStat(text.trim());
  return { pid, startTime, startedAt: (await stat(path)).mtimeMs };
}

/** Undefined while the program runs, and when it was killed together with the process that writes the file. */
export async function readExit(directory: string): Promise<ExitRecord | undefined> {
  const path = join(directory, 'exit');
  const text = await readOptional(path);
  if (text === undefined || !text.endsWith('\n')) return undefined;
  const match = /^(\d+)(?: (.*))?\n$/s.exec(text);
  if (match === null) throw new Error(`exit file ${path} is not readable: ${text.slice(0, 80)}`);
  return { exitCode: Number(match[1]), message: match[2], finishedAt: (await stat(path)).mtimeMs };
}

/** For a container whose first process was killed: nobody else writes any more. */
export async function writeExit(directory: string, exitCode: number): Promise<ExitRecord> {
  await writeFile(join(directory, 'exit'), `${exitCode}\n`, { mode: 0o600 });
  const exit = await readExit(directory);
  if (exit === undefined) throw new Error(`exit file of ${directory} was not written`);
  return exit;
}

async function readJson<T>(path: string): Promise<T | undefined> {
  const text = await readOptional(path);
  return text === undefined ? undefined : (JSON.parse(text) as T);
}

async function readOptional(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw err;
  }
}

async function listOptional(path: string): Promise<readonly string[]> {
  try {
    return await readdir(path);
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw err;
  }
}

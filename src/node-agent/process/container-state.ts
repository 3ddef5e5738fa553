import { lstat, mkdir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { readBoundedFile, readFileTail } from '../../base/bounded-file.ts';
import { writeDurableFile } from '../../base/durable-file.ts';
import { parseProcessStat } from '../../base/process-identity.ts';
import type { ContainerConfig, ContainerId, PodSandboxConfig, SandboxId } from '../container-runtime.ts';

/**
 * State of the process runtime on disk: one directory for each sandbox, with one for each container in it. It is
 * written before any start, so that a killed runtime finds all that it has to report. It has values of environment
 * variables, so directories are 0700.
 */
export interface SandboxRecord {
  readonly id: SandboxId;
  readonly config: PodSandboxConfig;
  readonly ip: string;
  readonly createdAt: number;
  /** False once it was stopped: its address may belong to another pod. */
  readonly ready: boolean;
  /** The kernel's boot. Absent in records of an older version. */
  readonly bootId?: string;
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

/** Values of environment variables may be as large as an object of the API. */
const maxRecordBytes = 16 * 1024 * 1024;
/** A line of numbers, or of the reason why a program was not started. */
const maxLineBytes = 4096;
const maxTerminationMessageBytes = 4096;

export const sandboxDirectory = (root: string, id: SandboxId): string => join(root, 'sandboxes', id);
export const containerDirectory = (root: string, sandbox: SandboxId, id: ContainerId): string =>
  join(sandboxDirectory(root, sandbox), 'containers', id);

export async function writeRecord(
  directory: string,
  name: 'sandbox.json' | 'container.json',
  record: SandboxRecord | ContainerRecord,
): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  // The entry is not waited for, which halves the cost: a power cut that takes back the record ends the processes that it is about.
  await writeDurableFile(join(directory, name), JSON.stringify(record), { syncEntry: false });
}

interface FoundContainer {
  readonly id: ContainerId;
  readonly directory: string;
  readonly record: ContainerRecord | Unreadable;
}

export interface FoundSandbox {
  readonly id: SandboxId;
  /** Read from the directory's name, when it is one that a runtime makes. */
  readonly podUid: string | undefined;
  readonly directory: string;
  readonly record: SandboxRecord | Unreadable;
  readonly containers: readonly FoundContainer[];
}

/** A record that is missing, cut off, or not what it should be, with the reason. */
export class Unreadable {
  readonly why: string;
  constructor(why: string) {
    this.why = why;
  }
}

/** Everything that is in the place of a sandbox, each with its record or the reason why there is none. Never fails for one of them. */
export async function readRecords(root: string): Promise<readonly FoundSandbox[]> {
  const found: FoundSandbox[] = [];
  for (const id of await listDirectory(join(root, 'sandboxes'))) {
    const directory = join(root, 'sandboxes', id);
    const record = await readRecord(join(directory, 'sandbox.json'), (value) => sandboxRecordOf(value, id));
    const containers: FoundContainer[] = [];
    // A directory that cannot be listed is part of why the sandbox is broken.
    for (const containerId of await listDirectory(join(directory, 'containers')).catch(() => [])) {
      const place = join(directory, 'containers', containerId);
      const path = join(place, 'container.json');
      containers.push({
        id: containerId,
        directory: place,
        record: await readRecord(path, (value) => containerRecordOf(value, id, containerId)),
      });
    }
    found.push({ id, podUid: /^(.+)-\d+$/.exec(id)?.[1], directory, record, containers });
  }
  return found;
}

/** Makes the directory of the sandboxes; something else in its place is kept beside it. */
export async function ensureSandboxes(root: string): Promise<void> {
  const path = join(root, 'sandboxes');
  for (const place of [root, path]) {
    const info = await lstat(place).catch((err: NodeJS.ErrnoException) => {
      if (err.code === 'ENOENT') return undefined;
      throw err;
    });
    if (info !== undefined && !info.isDirectory()) await rename(place, `${place}.damaged`);
  }
  await mkdir(path, { recursive: true, mode: 0o700 });
}

/** Undefined when there is none yet; `Unreadable` when it cannot say which process it is. */
export async function readIdentity(
  directory: string,
  name: 'pid' | 'waiter',
): Promise<(ProcessIdentity & { readonly startedAt: number }) | Unreadable | undefined> {
  const path = join(directory, name);
  try {
    const text = (await readBoundedFile(path, maxLineBytes)).toString('utf8');
    if (text === '') return undefined;
    if (!text.endsWith('\n')) throw new Error('its line has no end');
    const { pid, startTime } = parseProcessStat(text.trim());
    return { pid, startTime, startedAt: (await lstat(path)).mtimeMs };
  } catch (err) {
    return isNoEntry(err) ? undefined : new Unreadable(`${name} cannot be read: ${messageOf(err)}`);
  }
}

/** Undefined while the program runs, and when it was killed together with the waiter. */
export async function readExit(directory: string): Promise<ExitRecord | Unreadable | undefined> {
  const path = join(directory, 'exit');
  try {
    const text = (await readBoundedFile(path, maxLineBytes)).toString('utf8');
    if (text === '') return undefined;
    // Older versions wrote the reason of a failed start behind the code.
    const match = /^(\d{1,3})(?: (.*))?\n$/s.exec(text);
    if (match === null) return new Unreadable(`exit cannot be read: ${JSON.stringify(text.slice(0, 80))} is no exit code`);
    const exitCode = Number(match[1]);
    const message = match[2] ?? (exitCode === 128 ? await readFailure(directory) : undefined);
    return { exitCode, message, finishedAt: (await lstat(path)).mtimeMs };
  } catch (err) {
    return isNoEntry(err) ? undefined : new Unreadable(`exit cannot be read: ${messageOf(err)}`);
  }
}

/** Reason why the program could not be started; undefined when it was. */
async function readFailure(directory: string): Promise<string | undefined> {
  const text = (await readFileTail(join(directory, 'failure'), maxLineBytes)).toString('utf8').trimEnd();
  return text === '' ? undefined : text;
}

/** For a container whose waiter was killed: nobody else writes any more. */
export async function writeExit(directory: string, { exitCode, message }: Omit<ExitRecord, 'finishedAt'>): Promise<void> {
  await writeDurableFile(join(directory, 'exit'), `${exitCode}${message === undefined ? '' : ` ${message.replaceAll('\n', ' ')}`}\n`, {
    syncEntry: false,
  });
}

/** The end of what the container wrote to its termination log: the pod may have made it a file of any size. */
export async function readTerminationMessage(directory: string): Promise<string | undefined> {
  try {
    const text = (await readFileTail(join(directory, 'termination-log'), maxTerminationMessageBytes)).toString('utf8');
    return text === '' ? undefined : text;
  } catch (err) {
    return isNoEntry(err) ? undefined : `Error on reading termination log: ${messageOf(err)}`;
  }
}

async function readRecord<T>(path: string, parse: (value: unknown) => T): Promise<T | Unreadable> {
  try {
    return parse(JSON.parse((await readBoundedFile(path, maxRecordBytes)).toString('utf8')));
  } catch (err) {
    return new Unreadable(isNoEntry(err) ? `there is no ${path}` : `${path} cannot be read: ${messageOf(err)}`);
  }
}

function sandboxRecordOf(value: unknown, id: SandboxId): SandboxRecord {
  const record = fields(value, 'the record', { id: 'string', ip: 'string', createdAt: 'number', ready: 'boolean', config: 'object' });
  const config = fields(record.config, 'config', {
    namespace: 'string',
    name: 'string',
    uid: 'string',
    attempt: 'number',
    hostname: 'string',
    hostNetwork: 'boolean',
    hostAliases: 'array',
    logDirectory: 'string',
  });
  if (record.id !== id || id !== `${String(config.uid)}-${String(config.attempt)}`) throw new Error('it is the record of another sandbox');
  return value as SandboxRecord;
}

function containerRecordOf(value: unknown, sandbox: SandboxId, id: ContainerId): ContainerRecord {
  const record = fields(value, 'the record', {
    id: 'string',
    sandbox: 'string',
    createdAt: 'number',
    logPath: 'string',
    bootId: 'string',
    config: 'object',
  });
  const config = fields(record.config, 'config', {
    name: 'string',
    attempt: 'number',
    image: 'string',
    command: 'array',
    args: 'array',
    env: 'array',
    mounts: 'array',
    configHash: 'string',
    terminationMessagePath: 'string',
  });
  if (record.id !== id || record.sandbox !== sandbox) throw new Error('it is the record of another container');
  for (const [index, entry] of (config.env as unknown[]).entries())
    fields(entry, `config.env[${index}]`, { name: 'string', value: 'string' });
  return value as ContainerRecord;
}

type FieldType = 'string' | 'number' | 'boolean' | 'object' | 'array';

function fields(value: unknown, what: string, types: Readonly<Record<string, FieldType>>): Readonly<Record<string, unknown>> {
  if (typeOf(value) !== 'object') throw new Error(`${what} is no object`);
  const record = value as Readonly<Record<string, unknown>>;
  for (const [name, type] of Object.entries(types)) {
    if (typeOf(record[name]) !== type) throw new Error(`${name} of ${what} is no ${type}`);
  }
  return record;
}

const typeOf = (value: unknown): string => (Array.isArray(value) ? 'array' : value === null ? 'null' : typeof value);

const isNoEntry = (err: unknown): boolean => (err as NodeJS.ErrnoException).code === 'ENOENT';

const messageOf = (err: unknown): string => (err instanceof Error ? err.message : String(err));

/** The names in a directory; none when there is no such directory. */
async function listDirectory(path: string): Promise<readonly string[]> {
  try {
    return await readdir(path);
  } catch (err) {
    const { code } = err as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP') return [];
    throw err;
  }
}

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { ReadEntry } from 'tar';
import { syncDirectory } from '../base/durable-file.ts';

/**
 * Earlier versions made backups that are tar files without compression, with a copy of the database. The first entry, `manifest.json`,
 * lists every other one with size and digest; nothing else may be in it.
 */
interface Manifest {
  readonly format: 1;
  /** Version of the program that made it. */
  readonly version: string;
  /** The store is at this revision or a later one. */
  readonly revision: number;
  /** RFC 3339 */
  readonly createdAt: string;
  readonly files: readonly ManifestFile[];
}

interface ManifestFile {
  /** Below the data directory. */
  readonly path: string;
  readonly size: number;
  readonly sha256: string;
}

/** An archive that is none of ours, or is damaged; the message says what and where. */
export class ArchiveError extends Error {
  override readonly name = 'ArchiveError';
}

const manifestName = 'manifest.json';
const maxManifestBytes = 1024 * 1024;
const maxFiles = 1_000;
/** Longest extended header; the reader holds them in memory. */
const maxHeaderBytes = 64 * 1024;
const chunkBytes = 256 * 1024;
/** Everything that is restored. No other path of an archive is ever joined to a directory. */
const knownPath =
  /^(?:state\.db|network\.json|(?:git|page)-token|git\/cluster\.bundle|pki\/(?:front-proxy\/)?[A-Za-z0-9][A-Za-z0-9._-]{0,99})$/;
const requiredPaths = ['state.db', 'network.json', 'pki/ca.crt', 'pki/ca.key'];

/** True when a backup has a place for this path below a data directory. */
export const isBackedUp = (path: string): boolean => knownPath.test(path);

/**
 * Reads an archive to its end and compares every file with its size and digest.
 *
 * @param target  a directory that gets the files, synced
 * @throws ArchiveError for what is no complete backup; some files may be in `target` then
 */
export async function readArchive(file: string, target: string): Promise<Manifest> {
  await refuseOtherFiles(file);
  const { Parser } = await import('tar');
  let manifest: Manifest | undefined;
  let current: ReadEntry | undefined;
  /** Aborted by the first failure: nothing is written after it. */
  const over = new AbortController();
  const missing = new Map<string, ManifestFile>();

  async function take(entry: ReadEntry): Promise<void> {
    over.signal.throwIfAborted();
    current = entry;
    if (entry.type !== 'File') throw new ArchiveError(`${quoted(entry.path)} is a ${entry.type}, and a backup has only files`);
    if (manifest === undefined) {
      if (entry.path !== manifestName) throw new ArchiveError(`It begins with ${quoted(entry.path)} in place of ${manifestName}`);
      manifest = parseManifest(await contentOf(entry));
      for (const each of manifest.files) missing.set(each.path, each);
      return;
    }
    const expected = missing.get(entry.path);
    if (expected === undefined) throw new ArchiveError(`${quoted(entry.path)} is not in its manifest, or comes twice`);
    if (entry.size !== expected.size) {
      throw new ArchiveError(`${expected.path} has ${entry.size} bytes, and ${expected.size} by the manifest`);
    }
    const output = await createBelow(target, expected.path);
    const hash = createHash('sha256');
    try {
      over.signal.throwIfAborted();
      for await (const chunk of entry) {
        hash.update(chunk);
        await output.writeFile(chunk);
        over.signal.throwIfAborted();
      }
      await output.sync();
    } finally {
      await output.close();
    }
    if (hash.digest('hex') !== expected.sha256)
      throw new ArchiveError(`${expected.path} is damaged: its digest is not that of the manifest`);
    missing.delete(expected.path);
  }

  const failed = new Promise<never>((_, reject) => {
    over.signal.addEventListener('abort', () => reject(over.signal.reason), { once: true });
  });
  // Raced against below; it may also never be looked at.
  failed.catch(() => undefined);
  const fail = (err: unknown): void => {
    over.abort(err);
    current?.destroy();
  };
  let taking: Promise<void> = Promise.resolve();
  const parser = new Parser({
    strict: true,
    maxMetaEntrySize: maxHeaderBytes,
    onReadEntry(entry) {
      taking = taking.then(() => take(entry));
      taking.catch(fail);
    },
  });
  parser.on('ignoredEntry', (entry: ReadEntry) =>
    fail(new ArchiveError(`${quoted(entry.path)} is a ${entry.type}, and a backup has only files`)),
  );
  parser.on('error', (cause: Error) => fail(new ArchiveError(`It is damaged: ${cause.message}`, { cause })));
  let onDrain: () => void = () => undefined;
  parser.on('drain', () => onDrain());
  // Not `once`: it would reject on an error, too, before anything waits for it.
  const ended = new Promise<void>((resolve) => parser.on('end', resolve));
  try {
    for await (const chunk of createReadStream(file, { highWaterMark: chunkBytes })) {
      if (parser.write(chunk as Buffer)) continue;
      const drained = new Promise<void>((resolve) => {
        onDrain = resolve;
      });
      // The parser says nothing when an entry that it waits for was complete before.
      await Promise.race([drained, taking, failed]);
    }
    parser.end();
    await Promise.race([ended, failed]);
    await Promise.race([taking, failed]);
  } catch (err) {
    fail(err);
    // A file that is being written is closed before the caller removes it.
    await taking.catch(() => undefined);
    // The first failure is the cause of what came after it.
    throw over.signal.reason;
  }
  const [lost] = missing.keys();
  if (manifest === undefined) throw new ArchiveError('It is empty');
  if (lost !== undefined) throw new ArchiveError(`${lost} is missing: the file ends too early`);
  for (const directory of new Set((manifest as Manifest).files.map(({ path }) => dirname(join(target, path)))))
    await syncDirectory(directory);
  return manifest;
}

const quoted = (text: string): string => JSON.stringify(text.slice(0, 200));

/** The reader would unpack compressed files by itself, and what a few bytes become then has no bound. */
async function refuseOtherFiles(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    const head = Buffer.alloc(512);
    await file.read(head, 0, head.length, 0);
    const isOurs =
      head.toString('latin1', 0, manifestName.length + 1) === `${manifestName}\0` && head.toString('latin1', 257, 262) === 'ustar';
    if (!isOurs) throw new ArchiveError('It is not a backup of Midship');
  } finally {
    await file.close();
  }
}

async function contentOf(entry: ReadEntry): Promise<string> {
  if (entry.size > maxManifestBytes) throw new ArchiveError(`Its manifest is longer than ${maxManifestBytes} bytes`);
  const chunks: Buffer[] = [];
  for await (const chunk of entry) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

async function createBelow(target: string, path: string): Promise<FileHandle> {
  const place = join(target, path);
  await mkdir(dirname(place), { recursive: true, mode: 0o700 });
  return open(place, 'wx', 0o600);
}

function parseManifest(text: string): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ArchiveError('Its manifest is not JSON', { cause });
  }
  const { format, version, revision, createdAt, files } = (value ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof format === 'number' && format > 1) {
    throw new ArchiveError(`Its format is ${format}, which a newer version of Midship has made (${String(version).slice(0, 50)})`);
  }
  if (format !== 1 || typeof version !== 'string' || typeof createdAt !== 'string' || !isCount(revision) || !Array.isArray(files)) {
    throw new ArchiveError('Its manifest does not have the fields that it needs');
  }
  if (files.length > maxFiles) throw new ArchiveError(`Its manifest lists more than ${maxFiles} files`);
  const listed = files.map(parseFile);
  const paths = new Set(listed.map(({ path }) => path));
  if (paths.size !== listed.length) throw new ArchiveError('Its manifest lists a file twice');
  const lacking = requiredPaths.find((path) => !paths.has(path));
  if (lacking !== undefined) throw new ArchiveError(`Its manifest lacks ${lacking}`);
  return { format, version, revision, createdAt, files: listed };
}

function parseFile(value: unknown): ManifestFile {
  const { path, size, sha256 } = (value ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof path !== 'string' || !isBackedUp(path)) throw new ArchiveError(`A backup has no place for ${quoted(String(path))}`);
  if (!isCount(size) || typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256)) {
    throw new ArchiveError(`Its manifest has no size or digest of ${path}`);
  }
  return { path, size, sha256 };
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

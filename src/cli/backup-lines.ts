import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { createGunzip, createGzip } from 'node:zlib';
import { ArchiveError, isBackedUp } from './backup-archive.ts';
import type { StoredObject } from './repair.ts';

/**
 * A backup: lines of JSON, compressed by gzip. The first line says what it is. Files of the cluster come next, then the objects of one
 * revision as the store has them. The last line has the digest of all before it. Both stores write and read it.
 */
export interface BackupHeader {
  readonly format: typeof backupFormat;
  /** Version of the program that made it. */
  readonly version: string;
  /** RFC 3339 */
  readonly createdAt: string;
  /** Objects are of this revision or of a later one. */
  readonly revision: number;
  /** Keys of servers that share a store in etcd, encrypted by their token, and the prefix at which they open. */
  readonly bundle?: { readonly prefix: string; readonly text: string };
}

export interface BackupFile {
  /** Below the data directory. */
  readonly path: string;
  readonly content: Buffer;
}

/** The parts of a backup in their order: the header, pieces of files, pages of objects. */
export type BackupPart =
  | { readonly type: 'header'; readonly header: BackupHeader }
  /** Pieces of one file follow each other. */
  | { readonly type: 'file'; readonly file: BackupFile }
  | { readonly type: 'object'; readonly entry: StoredObject }
  /** Everything before was complete. */
  | { readonly type: 'end'; readonly objects: number };

/** The format before was a tar file with a copy of the database. */
export const backupFormat = 2;
const mark = 'midshipBackup';
/** A text of 1.5 MiB whose characters are all written as six. */
const maxLineBytes = 16 * 1024 * 1024;
const pieceBytes = 512 * 1024;

/** Compresses a backup as its reader takes it. */
export function packBackup(
  header: Omit<BackupHeader, 'format'>,
  { files, pages }: { readonly files: AsyncIterable<BackupFile>; readonly pages: AsyncIterable<readonly StoredObject[]> },
): Readable {
  async function* lines(): AsyncGenerator<string> {
    const { version, createdAt, revision, bundle } = header;
    yield JSON.stringify({ [mark]: backupFormat, version, createdAt, revision, ...(bundle === undefined ? {} : { bundle }) });
    for await (const { path, content } of files) {
      if (!isBackedUp(path)) throw new Error(`a backup has no place for ${path}`);
      for (let at = 0; at === 0 || at < content.length; at += pieceBytes) {
        yield JSON.stringify({ file: path, data: content.subarray(at, at + pieceBytes).toString('base64') });
      }
    }
    for await (const page of pages) for (const { key, revision: own, text } of page) yield JSON.stringify([key, own, text]);
  }
  async function* text(): AsyncGenerator<string> {
    const hash = createHash('sha256');
    let objects = 0;
    for await (const line of lines()) {
      if (line.startsWith('[')) objects += 1;
      hash.update(`${line}\n`);
      yield `${line}\n`;
    }
    yield `${JSON.stringify({ end: { objects, sha256: hash.digest('hex') } })}\n`;
  }
  const source = Readable.from(text(), { objectMode: true, highWaterMark: 64 });
  const packed = createGzip({ level: 6 });
  source.once('error', (err) => packed.destroy(err));
  packed.once('close', () => source.destroy());
  return source.pipe(packed);
}

/** True for a file in this format, by its first bytes. */
export async function isPackedBackup(path: string): Promise<boolean> {
  const file = await open(path, 'r');
  try {
    const head = Buffer.alloc(2);
    await file.read(head, 0, 2, 0);
    return head.readUInt16BE(0) === 0x1f8b;
  } finally {
    await file.close();
  }
}

/**
 * Reads a backup. Parts come before the digest is compared, so a caller that keeps them reads it once without doing so.
 *
 * @throws ArchiveError for what is no backup, is damaged, ends early, or is of a later version
 */
export async function* readBackup(path: string): AsyncGenerator<BackupPart> {
  const hash = createHash('sha256');
  let header: BackupHeader | undefined;
  let objects = 0;
  let isOver = false;
  for await (const line of linesOf(path)) {
    if (isOver) throw new ArchiveError('It goes on after its end');
    if (header === undefined) {
      header = parseHeader(line);
      yield { type: 'header', header };
      hash.update(line).update('\n');
      continue;
    }
    const value = parseLine(line);
    if (Array.isArray(value)) {
      objects += 1;
      yield { type: 'object', entry: parseEntry(value) };
    } else if ('file' in value) {
      yield { type: 'file', file: parseFile(value) };
    } else {
      const { end } = value as { readonly end?: { readonly objects?: unknown; readonly sha256?: unknown } };
      if (end?.objects !== objects || end.sha256 !== hash.copy().digest('hex')) {
        throw new ArchiveError('It is damaged: its digest is not that of its lines');
      }
      isOver = true;
      yield { type: 'end', objects };
    }
    hash.update(line).update('\n');
  }
  if (header === undefined) throw new ArchiveError('It is empty');
  if (!isOver) throw new ArchiveError('Its last line is missing: the file ends too early');
}

async function* linesOf(path: string): AsyncGenerator<Buffer> {
  const packed = createReadStream(path);
  const content = createGunzip();
  packed.once('error', (err) => content.destroy(err));
  packed.pipe(content);
  let rest: Buffer[] = [];
  let restBytes = 0;
  try {
    for await (const chunk of content as AsyncIterable<Buffer>) {
      let from = 0;
      for (let at = chunk.indexOf(0x0a); at !== -1; at = chunk.indexOf(0x0a, from)) {
        yield Buffer.concat([...rest, chunk.subarray(from, at)]);
        rest = [];
        restBytes = 0;
        from = at + 1;
      }
      if (from === chunk.length) continue;
      rest.push(chunk.subarray(from));
      restBytes += chunk.length - from;
      if (restBytes > maxLineBytes) throw new ArchiveError(`It has a line of more than ${maxLineBytes} bytes`);
    }
  } catch (err) {
    const { code } = err as NodeJS.ErrnoException;
    if (code?.startsWith('Z_') !== true) throw err;
    throw new ArchiveError(`It is damaged: ${(err as Error).message}`, { cause: err });
  } finally {
    packed.destroy();
    content.destroy();
  }
  if (restBytes > 0) throw new ArchiveError('Its last line is cut off: the file ends too early');
}

function parseLine(line: Buffer): readonly unknown[] | Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(line.toString('utf8'));
  } catch (cause) {
    throw new ArchiveError('It is damaged: a line is not JSON', { cause });
  }
  if (typeof value !== 'object' || value === null) throw new ArchiveError('It is damaged: a line is neither an object nor a list');
  return value as readonly unknown[] | Readonly<Record<string, unknown>>;
}

function parseHeader(line: Buffer): BackupHeader {
  let value: Readonly<Record<string, unknown>>;
  try {
    value = parseLine(line) as Readonly<Record<string, unknown>>;
  } catch (cause) {
    throw new ArchiveError('It is not a backup of Midship', { cause });
  }
  const { [mark]: format, version, createdAt, revision, bundle } = value;
  if (typeof format !== 'number') throw new ArchiveError('It is not a backup of Midship');
  if (format > backupFormat) {
    throw new ArchiveError(`Its format is ${format}, which a newer version of Midship has made (${String(version).slice(0, 50)})`);
  }
  if (format !== backupFormat || typeof version !== 'string' || typeof createdAt !== 'string' || !isRevision(revision)) {
    throw new ArchiveError('Its first line does not have the fields that it needs');
  }
  if (bundle === undefined) return { format, version, createdAt, revision };
  const { prefix, text } = (bundle ?? {}) as { readonly prefix?: unknown; readonly text?: unknown };
  if (typeof prefix !== 'string' || typeof text !== 'string') throw new ArchiveError('Its first line has no keys of servers');
  return { format, version, createdAt, revision, bundle: { prefix, text } };
}

function parseFile({ file: path, data }: Readonly<Record<string, unknown>>): BackupFile {
  if (typeof path !== 'string' || path === 'state.db' || !isBackedUp(path)) {
    throw new ArchiveError(`A backup has no place for ${JSON.stringify(String(path).slice(0, 200))}`);
  }
  if (typeof data !== 'string') throw new ArchiveError(`It has no content of ${path}`);
  return { path, content: Buffer.from(data, 'base64') };
}

function parseEntry([key, revision, text, ...more]: readonly unknown[]): StoredObject {
  if (typeof key !== 'string' || key === '' || typeof text !== 'string' || !isRevision(revision) || more.length > 0) {
    throw new ArchiveError('It is damaged: a line does not have key, revision and text');
  }
  return { key, revision, text };
}

const isRevision = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

import { type FileContent, maxFileBytes, readDocuments } from '../manifests/documents.ts';
import { type Commit, SourceError, type TreeEntry } from './git-source.ts';
import type { GitThread } from './git-thread.ts';
import { parseCommit, parseTag, parseTree } from './object-format.ts';
import { createObjectReader, type GitObject, type ObjectReader, type ObjectType } from './object-reader.ts';

/**
 * Reads commits, trees and blobs of a repository on this machine. Objects are immutable, so a read that fails because a repack moved the
 * object is tried once more.
 */
export interface GitObjects {
  readCommit(oid: string, refName: string): Promise<Commit>;
  /** The commit that a tag, or a tag of a tag, points to; a commit is its own. */
  peel(oid: string): Promise<string>;
  readTree(oid: string): Promise<readonly TreeEntry[]>;
  /** The content of a tree object as it is stored. */
  readRawTree(oid: string): Promise<Uint8Array>;
  readBlob(oid: string, maxBytes: number): Promise<Uint8Array>;
  readDocuments(oid: string): Promise<FileContent>;
  has(oid: string): Promise<boolean>;
  /** A build is over: what reads packed objects goes when nothing is asked for a while. */
  trim(): void;
  close(): void;
}

export interface GitObjectsOptions {
  readonly gitdir: string;
  readonly url: string;
  /** Parses the files of large repositories; without one this thread does all. */
  readonly thread?: GitThread | undefined;
  /** Directory of objects that a push brought and that are not accepted yet. */
  readonly quarantine?: string | undefined;
  /** Directories that are submodules are read like others; their commits were fetched into this repository. */
  readonly submodules?: boolean | undefined;
}

/** A message and a few headers. */
const maxCommitBytes = 1024 * 1024;
/** Entries take some 40 bytes: hundreds of thousands in one directory. */
const maxTreeBytes = 16 * 1024 * 1024;
const maxTagDepth = 5;
/** Files that one build reads in this thread: as long as another thread takes to answer, this one parses some dozens. */
const maxFilesHere = 64;
/** Largest file: a larger one would block this thread for more than 50 ms. */
const maxBytesHere = 256 * 1024;

export function createGitObjects({ gitdir, url, thread, quarantine, submodules = false }: GitObjectsOptions): GitObjects {
  const reader: ObjectReader = createObjectReader({ gitdir, quarantine });
  let filesRead = 0;

  async function read(oid: string, wanted: ObjectType, maxBytes: number): Promise<Uint8Array> {
    const object = await find(oid, maxBytes);
    if (object === undefined) throw unreadable(oid, undefined);
    if (object.type !== wanted) throw unreadable(oid, new Error(`it is a ${object.type}, not a ${wanted}`));
    return object.content;
  }

  async function find(oid: string, maxBytes: number): Promise<GitObject | undefined> {
    const object = await reader.read(oid, maxBytes).catch(() => {
      reader.close();
      return reader.read(oid, maxBytes).catch((cause: unknown) => {
        throw unreadable(oid, cause);
      });
    });
    if (object === undefined || 'content' in object) return object;
    throw new SourceError('TooLarge', `object ${oid} of ${url} has ${object.sizeBytes} bytes, more than ${maxBytes}`, {
      hint:
        object.type === 'commit' || object.type === 'tag'
          ? 'Shorten the message of the commit or tag.'
          : 'Keep large files out of the paths that are applied.',
    });
  }

  function unreadable(oid: string, cause: unknown): SourceError {
    return new SourceError('CorruptObject', `object ${oid} of ${url} cannot be read`, {
      // A push leaves out what a clone takes for present, so it brings nothing back.
      hint: 'In a clone that has it: git pack-objects -q --all --stdout </dev/null | git -C REPOSITORY index-pack --stdin',
      cause,
    });
  }

  function parseObject<T>(oid: string, content: Uint8Array, parse: (content: Uint8Array) => T): T {
    try {
      return parse(content);
    } catch (cause) {
      throw unreadable(oid, cause);
    }
  }

  /** A submodule names a commit; what is below it is that commit's tree. */
  async function followSubmodule(entry: TreeEntry): Promise<TreeEntry> {
    if (entry.type !== 'submodule') return entry;
    const { tree } = parseObject(entry.oid, await read(entry.oid, 'commit', maxCommitBytes), parseCommit);
    return { ...entry, type: 'tree', oid: tree };
  }

  const objects: GitObjects = {
    async readCommit(oid, refName) {
      const commit = parseObject(oid, await read(oid, 'commit', maxCommitBytes), parseCommit);
      const newline = commit.message.indexOf('\n');
      return {
        ...commit,
        sha: oid,
        subject: newline === -1 ? commit.message : commit.message.slice(0, newline),
        revision: refName === '' ? `sha1:${oid}` : `${refName}@sha1:${oid}`,
      };
    },
    async peel(oid) {
      let target = oid;
      for (let depth = 0; depth < maxTagDepth; depth += 1) {
        const object = await find(target, maxCommitBytes);
        if (object === undefined) throw unreadable(target, undefined);
        if (object.type !== 'tag') return target;
        target = parseObject(target, object.content, parseTag);
      }
      throw unreadable(oid, new Error(`tags of tags go more than ${maxTagDepth} deep`));
    },
    async readTree(oid) {
      const entries = parseObject(oid, await objects.readRawTree(oid), parseTree);
      return submodules && entries.some(({ type }) => type === 'submodule') ? Promise.all(entries.map(followSubmodule)) : entries;
    },
    readRawTree: (oid) => read(oid, 'tree', maxTreeBytes),
    readBlob: (oid, maxBytes) => read(oid, 'blob', maxBytes),
    async readDocuments(oid) {
      filesRead += 1;
      if (thread === undefined || filesRead <= maxFilesHere) {
        const bytes = await objects.readBlob(oid, maxFileBytes);
        if (thread === undefined || bytes.byteLength <= maxBytesHere) return readDocuments(bytes);
      }
      return thread.readDocuments({ gitdir, url, quarantine }, oid);
    },
    async has(oid) {
      const object = await reader.read(oid, 0).catch((cause: unknown) => {
        throw unreadable(oid, cause);
      });
      return object !== undefined;
    },
    trim() {
      filesRead = 0;
      reader.trim();
    },
    close: reader.close,
  };
  return objects;
}

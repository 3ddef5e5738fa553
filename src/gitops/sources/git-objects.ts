import fs from 'node:fs';
import git from 'isomorphic-git';
import { type Commit, SourceError, type TreeEntry } from './git-source.ts';
import { createObjectSizes } from './object-sizes.ts';

/**
 * Reads commits, trees and blobs of a repository on this machine. Objects are immutable, so a read that fails because a repack moved the
 * object is tried once more with fresh caches.
 */
export interface GitObjects {
  readCommit(oid: string, refName: string): Promise<Commit>;
  readTree(oid: string): Promise<readonly TreeEntry[]>;
  readBlob(oid: string, maxBytes: number): Promise<Uint8Array>;
  /** Drops the library's caches of pack indexes, which hold whole packs in memory, and the process that tells sizes. */
  trim(): void;
}

/** A message and a few headers. */
const maxCommitBytes = 1024 * 1024;
/** Entries take some 40 bytes: hundreds of thousands in one directory. */
const maxTreeBytes = 16 * 1024 * 1024;

export function createGitObjects({ gitdir, url }: { readonly gitdir: string; readonly url: string }): GitObjects {
  let cache: object = {};
  const sizes = createObjectSizes(gitdir);

  /** Before it is read: afterwards the memory would be taken already. */
  async function checkSize(oid: string, maxBytes: number): Promise<void> {
    const size = await read(oid, () => sizes.sizeOf(oid));
    if (size === undefined || size <= maxBytes) return;
    throw new SourceError('TooLarge', `object ${oid} of ${url} has ${size} bytes, more than ${maxBytes}`, {
      hint: 'Keep large files out of the paths that are applied.',
    });
  }

  async function read<T>(what: string, action: (cache: object) => Promise<T>): Promise<T> {
    try {
      return await action(cache);
    } catch {
      cache = {};
      try {
        return await action(cache);
      } catch (cause) {
        throw new SourceError('CorruptObject', `object ${what} of ${url} cannot be read`, {
          hint: 'Run "git fsck" in the repository; push again what is missing.',
          cause,
        });
      }
    }
  }

  return {
    async readCommit(oid, refName) {
      await checkSize(oid, maxCommitBytes);
      const { commit } = await read(oid, (shared) => git.readCommit({ fs, gitdir, oid, cache: shared }));
      const newline = commit.message.indexOf('\n');
      return {
        sha: oid,
        tree: commit.tree,
        parents: commit.parent,
        author: commit.author.name,
        email: commit.author.email,
        subject: newline === -1 ? commit.message : commit.message.slice(0, newline),
        message: commit.message,
        committedAt: commit.committer.timestamp * 1_000,
        revision: `${refName}@sha1:${oid}`,
      };
    },
    async readTree(oid) {
      await checkSize(oid, maxTreeBytes);
      const { tree } = await read(oid, (shared) => git.readTree({ fs, gitdir, oid, cache: shared }));
      return tree.map(({ path, mode, type, oid: entryOid }) => ({
        name: path,
        oid: entryOid,
        type: type === 'commit' ? 'submodule' : type === 'tree' ? 'tree' : mode === '120000' ? 'symlink' : 'blob',
      }));
    },
    async readBlob(oid, maxBytes) {
      await checkSize(oid, maxBytes);
      const { blob } = await read(oid, (shared) => git.readBlob({ fs, gitdir, oid, cache: shared }));
      return blob;
    },
    trim() {
      cache = {};
      sizes.trim();
    },
  };
}

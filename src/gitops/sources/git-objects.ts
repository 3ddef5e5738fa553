import fs from 'node:fs';
import git from 'isomorphic-git';
import { type Commit, SourceError, type TreeEntry } from './git-source.ts';

/**
 * Reads commits, trees and blobs of a repository on this machine. Objects are immutable, so a read that fails because a repack moved the
 * object is tried once more with fresh caches.
 */
export interface GitObjects {
  readCommit(oid: string, refName: string): Promise<Commit>;
  readTree(oid: string): Promise<readonly TreeEntry[]>;
  readBlob(oid: string, maxBytes: number): Promise<Uint8Array>;
  /** Drops the library's caches of pack indexes: they hold whole packs in memory. */
  trim(): void;
}

export function createGitObjects({ gitdir, url }: { readonly gitdir: string; readonly url: string }): GitObjects {
  let cache: object = {};

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
      const { tree } = await read(oid, (shared) => git.readTree({ fs, gitdir, oid, cache: shared }));
      return tree.map(({ path, mode, type, oid: entryOid }) => ({
        name: path,
        oid: entryOid,
        type: type === 'commit' ? 'submodule' : type === 'tree' ? 'tree' : mode === '120000' ? 'symlink' : 'blob',
      }));
    },
    async readBlob(oid, maxBytes) {
      const { blob } = await read(oid, (shared) => git.readBlob({ fs, gitdir, oid, cache: shared }));
      if (blob.byteLength > maxBytes) {
        throw new SourceError('TooLarge', `object ${oid} of ${url} has ${blob.byteLength} bytes, more than ${maxBytes}`, {
          hint: 'Keep large files out of the paths that are applied.',
        });
      }
      return blob;
    },
    trim() {
      cache = {};
    },
  };
}

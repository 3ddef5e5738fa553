import { lstat, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type FileContent, maxFileBytes, readDocuments } from '../manifests/documents.ts';
import { type Commit, SourceError, type TreeEntry } from '../sources/git-source.ts';
import { readName } from '../sources/object-format.ts';
import type { Tree } from './diff.ts';

/**
 * A directory of this machine as the engine reads a commit: what would be applied if all of it were committed now. Object ids are paths,
 * which holds for one run only. Links are not followed, so nothing outside of it is read.
 *
 * @param ignored  paths below it that git ignores
 */
export function openDirectorySource(root: string, ignored: ReadonlySet<string> = new Set()): Tree {
  const source = {
    url: root,
    async resolve(): Promise<Commit> {
      return workTreeCommit;
    },
    async readTree(oid: string): Promise<readonly TreeEntry[]> {
      const entries = await readdir(join(root, oid), { withFileTypes: true, encoding: 'buffer' });
      return entries
        .flatMap((entry): TreeEntry[] => {
          const named = readName(entry.name);
          const path = oid === rootId ? named.name : `${oid}/${named.name}`;
          if (ignored.has(path)) return [];
          if (entry.isSymbolicLink()) return [{ ...named, type: 'symlink', oid: path }];
          if (entry.isDirectory()) return named.name === '.git' ? [] : [{ ...named, type: 'tree', oid: path }];
          return entry.isFile() ? [{ ...named, type: 'blob', oid: path }] : [];
        })
        .sort((a, b) => (a.name < b.name ? -1 : 1));
    },
    async readBlob(oid: string, maxBytes: number): Promise<Uint8Array> {
      const path = join(root, oid);
      const { size } = await lstat(path);
      if (size > maxBytes) {
        throw new SourceError('TooLarge', `${path} has ${size} bytes, more than ${maxBytes}`, {
          hint: 'Keep large files out of the paths that are applied.',
        });
      }
      return readFile(path);
    },
    async readDocuments(oid: string): Promise<FileContent> {
      return readDocuments(await source.readBlob(oid, maxFileBytes));
    },
    trim(): void {},
    async close(): Promise<void> {},
  };
  return { source, commit: workTreeCommit };
}

const rootId = '.';

const workTreeCommit: Commit = {
  sha: '0'.repeat(40),
  tree: rootId,
  parents: [],
  author: '',
  email: '',
  subject: 'the work tree',
  message: '',
  committedAt: 0,
  revision: `work tree@sha1:${'0'.repeat(40)}`,
};

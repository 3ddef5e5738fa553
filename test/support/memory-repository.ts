import { createHash } from 'node:crypto';
import { readDocuments } from '../../src/gitops/manifests/documents.ts';
import { type Commit, type GitSource, SourceError, type TreeEntry } from '../../src/gitops/sources/git-source.ts';

export type Files = ReadonlyMap<string, string>;

/** A Git repository with one branch `main`, in memory: thousands of commits and reads a second. */
export interface MemoryRepository {
  readonly source: GitSource;
  /** SHA of the branch. */
  readonly head: string;
  /** Files of a commit; of the branch by default. */
  files(sha?: string): Files;
  /** Puts a commit with exactly these files on top of the branch; returns its SHA. */
  commit(message: string, files: Files): string;
  /** Moves the branch, as a force-push does; the objects of a SHA that is none are missing. */
  moveTo(sha: string): void;
}

const hash = (text: string): string => createHash('sha1').update(text).digest('hex');

export function createMemoryRepository(url: string): MemoryRepository {
  const blobs = new Map<string, string>();
  const trees = new Map<string, readonly TreeEntry[]>();
  const commits = new Map<string, { readonly commit: Commit; readonly files: Files }>();
  const listeners = new Set<() => void>();
  let head = '';

  function writeTree(files: Files): string {
    const children = new Map<string, Map<string, string>>();
    const entries: TreeEntry[] = [];
    for (const [path, text] of files) {
      const [first = '', ...rest] = path.split('/');
      if (rest.length === 0) {
        const oid = hash(`blob ${text}`);
        blobs.set(oid, text);
        entries.push({ name: first, type: 'blob', oid });
        continue;
      }
      const below = children.get(first) ?? new Map<string, string>();
      below.set(rest.join('/'), text);
      children.set(first, below);
    }
    for (const [name, below] of children) entries.push({ name, type: 'tree', oid: writeTree(below) });
    entries.sort((a, b) => (a.name < b.name ? -1 : 1));
    const oid = hash(`tree ${JSON.stringify(entries)}`);
    trees.set(oid, entries);
    return oid;
  }

  const missing = (what: string): SourceError => new SourceError('CorruptObject', `${what} is missing`, { hint: 'Push again.' });
  const blobOf = (oid: string): Uint8Array => {
    const text = blobs.get(oid);
    if (text === undefined) throw missing(`blob ${oid}`);
    return Buffer.from(text);
  };
  const moveTo = (sha: string): void => {
    head = sha;
    for (const listener of listeners) listener();
  };

  return {
    get head() {
      return head;
    },
    files: (sha = head) => commits.get(sha)?.files ?? new Map(),
    commit(message, files) {
      const tree = writeTree(files);
      const sha = hash(`commit ${tree} ${head} ${message} ${commits.size}`);
      const commit: Commit = {
        sha,
        tree,
        parents: head === '' ? [] : [head],
        author: 'Mara',
        email: 'mara@example.com',
        subject: message.split('\n')[0] ?? '',
        message,
        committedAt: commits.size,
        revision: `main@sha1:${sha}`,
      };
      commits.set(sha, { commit, files: new Map(files) });
      moveTo(sha);
      return sha;
    },
    moveTo,
    source: {
      url,
      async resolve(ref) {
        const found = commits.get(ref.commit ?? head);
        if (found === undefined) throw missing(`commit ${ref.commit ?? head}`);
        return found.commit;
      },
      async readTree(oid) {
        const entries = trees.get(oid);
        if (entries === undefined) throw missing(`tree ${oid}`);
        return entries;
      },
      readBlob: async (oid) => blobOf(oid),
      readDocuments: async (oid) => readDocuments(blobOf(oid)),
      onChange(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      trim: () => undefined,
      close: async () => undefined,
    },
  };
}

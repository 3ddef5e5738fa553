import { BoundedMap } from '../../base/bounded-map.ts';
import { maxFileBytes } from '../manifests/documents.ts';
import { type GitSource, SourceError, type TreeEntry } from '../sources/git-source.ts';
import { type FileTree, KustomizeError, type TreeNode } from './kustomize/file-tree.ts';

/** Remembered trees. */
const maxTrees = 20_000;

/** Trees of Git repositories as the renderer reads them; what was listed is kept by its id. */
export function createGitTrees(): (source: GitSource, root: string) => FileTree {
  const trees = new BoundedMap<string, ReadonlyMap<string, TreeEntry>>(maxTrees);
  return (source, root) => ({
    async find(path) {
      let entry: TreeEntry = { name: '', type: 'tree', oid: root };
      for (const segment of path === '' ? [] : path.split('/')) {
        if (entry.type !== 'tree') return undefined;
        const next: TreeEntry | undefined = (await entriesOf(source, entry.oid)).get(segment);
        if (next === undefined) return undefined;
        entry = next;
      }
      return nodeOf(source, path, entry);
    },
  });

  function nodeOf(source: GitSource, path: string, { type, oid, problem }: TreeEntry): TreeNode {
    if (problem !== undefined) throw new KustomizeError({ file: path, message: problem, hint: 'Rename it.' });
    switch (type) {
      case 'tree':
        return {
          type: 'directory',
          id: oid,
          async list() {
            const entries = [...(await entriesOf(source, oid)).values()];
            return new Map(entries.map((entry) => [entry.name, nodeOf(source, path === '' ? entry.name : `${path}/${entry.name}`, entry)]));
          },
        };
      case 'symlink':
        return { type: 'symlink' };
      case 'submodule':
        throw new KustomizeError({
          file: path,
          message: 'is a submodule, which is not read',
          hint: 'Copy what is needed into the repository.',
        });
      case 'blob':
        return {
          type: 'file',
          id: oid,
          async read() {
            try {
              return await source.readBlob(oid, maxFileBytes);
            } catch (err) {
              if (!(err instanceof SourceError) || err.reason !== 'TooLarge') throw err;
              throw new KustomizeError({ file: path, message: err.message, hint: err.hint });
            }
          },
        };
      default:
        return type satisfies never;
    }
  }

  async function entriesOf(source: GitSource, oid: string): Promise<ReadonlyMap<string, TreeEntry>> {
    let known = trees.use(oid);
    if (known === undefined) {
      known = new Map((await source.readTree(oid)).map((entry) => [entry.name, entry]));
      trees.set(oid, known);
    }
    return known;
  }
}

import { createHash } from 'node:crypto';
import { lstat, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type FileTree, KustomizeError, type TreeNode } from './file-tree.ts';

const maxFileBytes = 10 * 1024 * 1024;

/** A directory of this machine as a tree. Links are not followed, so nothing outside of it is read. */
export function directoryTree(root: string): FileTree {
  const nodes = new Map<string, Promise<TreeNode | undefined>>();
  const find = (path: string): Promise<TreeNode | undefined> => {
    let node = nodes.get(path);
    if (node === undefined) {
      node = look(path);
      nodes.set(path, node);
    }
    return node;
  };
  return { find };

  async function look(path: string): Promise<TreeNode | undefined> {
    const parent = path.lastIndexOf('/');
    // A path through a link would leave the tree unseen.
    if (parent > 0 && (await find(path.slice(0, parent)))?.type !== 'directory') return undefined;
    const file = join(root, path);
    const info = await lstat(file).catch((err: NodeJS.ErrnoException) => {
      if (err.code === 'ENOENT' || err.code === 'ENOTDIR') return undefined;
      throw err;
    });
    if (info === undefined) return undefined;
    if (info.isSymbolicLink()) return { type: 'symlink' };
    // The name tells files of one run apart, which is all that is asked of it.
    const id = createHash('sha256').update(file).digest('hex');
    if (info.isDirectory()) return { type: 'directory', id, list: () => list(path) };
    if (!info.isFile()) return undefined;
    return {
      type: 'file',
      id,
      async read() {
        if (info.size > maxFileBytes) throw new KustomizeError({ file: path, message: `is larger than ${maxFileBytes} bytes` });
        return readFile(file);
      },
    };
  }

  async function list(directory: string): Promise<ReadonlyMap<string, TreeNode>> {
    const nodes = new Map<string, TreeNode>();
    for (const name of await readdir(join(root, directory))) {
      const node = await find(directory === '' ? name : `${directory}/${name}`);
      if (node !== undefined) nodes.set(name, node);
    }
    return nodes;
  }
}

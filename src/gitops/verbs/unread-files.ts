import type { BuildError } from '../manifests/manifest.ts';
import { isWithin } from '../render/kustomize/file-tree.ts';
import { kustomizationFiles } from '../render/kustomize/phases/load.ts';
import { unreadSubmodule, whyUnread } from '../render/unread-entries.ts';
import type { TreeEntry } from '../sources/git-source.ts';
import { findTree } from '../sources/tree-view.ts';
import type { Tree } from './diff.ts';

/** As many as an app may have; a warning is not worth more. */
const maxEntries = 100_000;

/**
 * Finds what looks like a part of an app and is not read: manifests in JSON, which Flux leaves out as well, and submodules. Files below
 * a kustomization are listed by it, and may be JSON.
 *
 * @param paths  directories of apps, from the root of the tree
 */
export async function unreadFiles({ source, commit }: Tree, paths: readonly string[], signal: AbortSignal): Promise<readonly BuildError[]> {
  const found: BuildError[] = [];
  let left = maxEntries;

  async function look(oid: string, path: string): Promise<void> {
    signal.throwIfAborted();
    const entries = (await source.readTree(oid)).filter(({ problem }) => problem === undefined);
    left -= entries.length;
    if (left < 0 || entries.some(({ name, type }) => type === 'blob' && kustomizationFiles.includes(name))) return;
    for (const entry of entries) {
      const file = path === '' ? entry.name : `${path}/${entry.name}`;
      if (entry.name.startsWith('.')) continue;
      if (entry.type === 'tree' && !(await isClone(entry))) {
        await look(entry.oid, file);
        continue;
      }
      const why = entry.type === 'tree' ? unreadSubmodule : await whyUnread(source, entry);
      if (why !== undefined) found.push({ file, ...why });
    }
  }

  /** A work tree has the files of a submodule, and a file that says where its repository is. */
  const isClone = async ({ oid }: TreeEntry): Promise<boolean> =>
    (await source.readTree(oid)).some(({ name, type }) => name === '.git' && type === 'blob');

  const tops = paths.filter((path, index) => !paths.some((each, at) => isWithin(path, each) && (each !== path || at < index)));
  for (const path of tops) {
    const oid = await findTree(
      source,
      commit.tree,
      path.split('/').filter((segment) => segment !== ''),
    );
    if (oid !== undefined) await look(oid, path);
  }
  return found;
}

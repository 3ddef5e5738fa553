import { describe, expect, it } from 'vitest';
import { createPathHint } from '../../../src/gitops/path-hint.ts';
import type { KnownRevision } from '../../../src/gitops/sources/follow/known-revision.ts';
import type { TreeEntry } from '../../../src/gitops/sources/git-source.ts';

const entry = (name: string, type: TreeEntry['type'] = 'tree'): TreeEntry => ({ name, type, oid: name });
const readme = entry('README.md', 'blob');

/** A revision whose trees are given by object id; `root` is the commit's. */
const revision = (trees: Readonly<Record<string, readonly TreeEntry[]>>): KnownRevision =>
  ({
    commit: { tree: 'root' },
    source: {
      async readTree(oid: string) {
        const found = trees[oid];
        if (found === undefined) throw new Error(`no tree ${oid}`);
        return found;
      },
    },
  }) as unknown as KnownRevision;

const settled = () => new Promise((resolve) => setImmediate(resolve));

async function hintsOf(path: string, reads: readonly (readonly [repository: string, KnownRevision])[]): Promise<readonly string[]> {
  const hints: string[] = [];
  const look = createPathHint({ repository: 'flux-system/flux-system', path }, (hint) => void hints.push(hint));
  for (const [repository, read] of reads) {
    look(repository, read);
    await settled();
  }
  return hints;
}

describe('the hint about --path', () => {
  const fleet = revision({ root: [entry('apps'), entry('clusters')], clusters: [readme, entry('production'), entry('staging')] });

  it('comes once, with the paths that exist, when all of a repository with clusters/ is applied', async () => {
    const hint =
      'All of the repository is applied, since no --path was given. It has clusters/production, clusters/staging: for one of them, start with --path clusters/production';
    for (const path of ['./', '', '.', '/'])
      expect(
        await hintsOf(path, [
          ['flux-system/other', fleet],
          ['flux-system/flux-system', fleet],
          ['flux-system/flux-system', fleet],
        ]),
      ).toEqual([hint]);
  });

  it('does not come for an app of a directory, a repository without clusters, or a tree that cannot be read', async () => {
    const of = (read: KnownRevision, path = './') => hintsOf(path, [['flux-system/flux-system', read]]);
    expect(await of(fleet, './clusters/production')).toEqual([]);
    expect(await of(revision({ root: [entry('clusters', 'blob'), entry('apps')] }))).toEqual([]);
    expect(await of(revision({ root: [entry('clusters')], clusters: [readme] }))).toEqual([]);
    expect(await of(revision({ root: [entry('clusters')] }))).toEqual([]);
  });

  it('names five of many, and comes with the first commit that has them', async () => {
    const many = revision({ root: [entry('clusters')], clusters: ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((name) => entry(name)) });
    const [hint, ...more] = await hintsOf('./', [
      ['flux-system/flux-system', revision({ root: [] })],
      ['flux-system/flux-system', many],
    ]);
    expect(hint).toContain('It has clusters/a, clusters/b, clusters/c, clusters/d, clusters/e and 2 more: ');
    expect(more).toEqual([]);
  });
});

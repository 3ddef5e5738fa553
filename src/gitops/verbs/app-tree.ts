import type { Kustomization } from '../../api/kustomize/v1/kustomization.ts';
import { type GitRepository, gitRepositories } from '../../api/source/v1/git-repository.ts';
import type { Client } from '../../client/client.ts';
import { tryGet } from '../../client/try-get.ts';
import { sourceKeyOf } from '../apply/plan/app-spec.ts';
import type { KnownRevision } from '../sources/follow/known-revision.ts';
import { SourceError } from '../sources/git-source.ts';
import { createTreeView } from '../sources/tree-view.ts';
import { type AppTrees, revisionOf, type Tree } from './diff.ts';

export function createAppTrees(client: Client): AppTrees {
  const repositories = new Map<string, Promise<GitRepository | undefined>>();
  const views = new WeakMap<Tree, Map<string, Promise<KnownRevision>>>();

  const repositoryOf = ({ spec, metadata }: Kustomization): Promise<GitRepository | undefined> =>
    tryGet(client, gitRepositories, { namespace: spec.sourceRef.namespace ?? metadata.namespace, name: spec.sourceRef.name });

  return {
    async of(app, tree) {
      const key = sourceKeyOf(app);
      const known = repositories.get(key) ?? repositoryOf(app);
      repositories.set(key, known);
      const byKey = views.get(tree) ?? new Map<string, Promise<KnownRevision>>();
      views.set(tree, byKey);
      let view = byKey.get(key);
      if (view === undefined) {
        view = known.then((repository) => viewOf(tree, repository));
        byKey.set(key, view);
      }
      return view;
    },
  };
}

async function viewOf(tree: Tree, repository: GitRepository | undefined): Promise<KnownRevision> {
  const { ignore, sparseCheckout, include = [] } = repository?.spec ?? {};
  if (include.length > 0) {
    throw new SourceError('NotSupported', `not supported: GitRepository ${repository?.metadata.name} includes others`, {
      hint: 'A clone does not have what they hold; push to a branch of its own and look at what is applied.',
    });
  }
  return viewOfTree(tree, { ignore, sparse: sparseCheckout });
}

/** A tree without what it ignores itself, and what else is to be left out. */
export async function viewOfTree(
  { source, commit }: Tree,
  options: { readonly ignore?: string | undefined; readonly sparse?: readonly string[] | undefined } = {},
): Promise<KnownRevision> {
  const view = createTreeView({ source, ...options });
  return revisionOf({
    source: { ...source, readTree: view.readTree, readBlob: view.readBlob, readDocuments: view.readDocuments },
    commit: { ...commit, tree: await view.rootOf(commit.tree) },
  });
}

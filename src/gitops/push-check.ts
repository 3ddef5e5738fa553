import { secrets } from '../api/core/v1/secret.ts';
import { type Kustomization, kustomizations } from '../api/kustomize/v1/kustomization.ts';
import { type GitRepository, gitRepositories } from '../api/source/v1/git-repository.ts';
import { labels } from '../api/well-known.ts';
import type { Clock } from '../base/clock.ts';
import type { Client } from '../client/client.ts';
import type { InformerSet } from '../client/informer.ts';
import { keyOf } from '../machinery/object.ts';
import { isNotFound } from '../machinery/status-error.ts';
import { sourceKeyOf, unsupportedIn } from './apply/app-spec.ts';
import { createAppBuilder } from './apply/post-build.ts';
import { createResourceMapper } from './apply/resource-mapper.ts';
import { formatBuildError } from './apply/sync-failure.ts';
import type { Builder } from './build/builder.ts';
import { createGitObjects } from './sources/git-objects.ts';
import { refQueryOf } from './sources/git-refs.ts';
import type { GitSource } from './sources/git-source.ts';
import type { FindGitUser } from './sources/git-users.ts';
import type { PendingPush } from './sources/pre-receive.ts';
import { createTreeView } from './sources/tree-view.ts';
import { diffAgainstLive, revisionOf, type Tree } from './verbs/diff.ts';
import { createLookup } from './verbs/lookup.ts';

export interface PushCheckOptions {
  readonly client: Client;
  readonly informers: InformerSet;
  readonly clock: Clock;
  /** The engine's: what is built for the check is not built again when the push is in. */
  readonly builder: Builder;
}

/** Deeper lists of apps in apps are taken for a circle. */
const maxDepth = 5;
const maxApps = 1_000;

/**
 * Tries what a push would bring, as the engine will: builds the apps that follow the branch, those they define too, and sends every object
 * as a server-side dry run. Nothing is written.
 *
 * @returns what cannot be applied, with file, line and column; empty when all can
 */
export function createPushCheck({ client, informers, clock, builder }: PushCheckOptions) {
  const mapper = createResourceMapper({ client, clock });
  const appBuilder = createAppBuilder({ client, builder });
  const repositories = informers.get(gitRepositories);
  const apps = informers.get(kustomizations);

  return async (url: string, { gitdir, quarantine, updates, signal }: PendingPush): Promise<readonly string[]> => {
    const lines = new Set<string>();
    for (const repository of repositories.list()) {
      if (repository.spec.url !== url || !isChecked(repository)) continue;
      const query = refQueryOf(repository.spec.ref ?? {});
      const update = updates.find(({ ref }) => query.type === 'ref' && ref === query.name);
      if (update === undefined || /^0+$/.test(update.after)) continue;
      const tree = await treeOf(repository, { gitdir, url, quarantine, sha: update.after });
      try {
        const found = await appsOf(repository, tree, signal);
        const lookup = createLookup(client);
        const diffs = await diffAgainstLive({ client, lookup, mapper, builder: appBuilder, apps: found, tree, signal });
        for (const error of diffs.flatMap(({ errors }) => errors)) lines.add(formatBuildError(error));
      } finally {
        tree.source.trim();
      }
    }
    return [...lines];
  };

  /** Apps of the repository that Git does not define, and those that it does, as the pushed tree has them. */
  async function appsOf(repository: GitRepository, tree: Tree, signal: AbortSignal): Promise<readonly Kustomization[]> {
    const key = keyOf(repository);
    const isOurs = (app: Kustomization): boolean =>
      sourceKeyOf(app) === key && app.spec.suspend !== true && unsupportedIn(app) === undefined;
    const found = new Map<string, Kustomization>();
    let level = [...apps.list()].filter((app) => isOurs(app) && app.metadata.labels?.[labels.fluxKustomizeName] === undefined);
    for (let depth = 0; depth < maxDepth && level.length > 0; depth += 1) {
      const next: Kustomization[] = [];
      for (const app of level) {
        if (found.has(keyOf(app)) || found.size >= maxApps) continue;
        // Nothing is pruned by a check, so nothing has to be looked up for it.
        found.set(keyOf(app), { ...app, spec: { ...app.spec, prune: false } });
        const { manifests } = await appBuilder.build(app, revisionOf(tree), signal);
        for (const { object } of manifests) {
          if (object.kind !== kustomizations.kind || !object.apiVersion.startsWith(`${kustomizations.group}/`)) continue;
          const child = object as Kustomization;
          const namespace = child.metadata.namespace ?? app.spec.targetNamespace ?? app.metadata.namespace ?? '';
          const placed: Kustomization = { ...child, metadata: { ...child.metadata, namespace } };
          if (child.spec?.sourceRef !== undefined && isOurs(placed)) next.push(placed);
        }
      }
      level = next;
    }
    return [...found.values()];
  }
}

/** What is included comes from elsewhere and is not there yet; a suspended repository takes nothing. */
const isChecked = ({ spec }: GitRepository): boolean => spec.suspend !== true && (spec.include ?? []).length === 0;

interface PushedCommit {
  readonly gitdir: string;
  readonly url: string;
  readonly quarantine: string;
  readonly sha: string;
}

async function treeOf({ spec }: GitRepository, { gitdir, url, quarantine, sha }: PushedCommit): Promise<Tree> {
  const objects = createGitObjects({ gitdir, url, quarantine });
  const source: GitSource = {
    url,
    resolve: (ref) => objects.readCommit(ref.commit ?? '', ''),
    readTree: objects.readTree,
    readBlob: objects.readBlob,
    readDocuments: objects.readDocuments,
    trim: objects.trim,
    close: async () => undefined,
  };
  const commit = await objects.readCommit(sha, '');
  const view = createTreeView({ source, ignore: spec.ignore, sparse: spec.sparseCheckout });
  return { source: { ...source, ...view }, commit: { ...commit, tree: await view.rootOf(commit.tree) } };
}

/** Secret with the users of the built-in remote: a key for each, and its token or the SHA-256 of it. */
export const gitUsersSecret = { namespace: 'flux-system', name: 'midship-git-users' } as const;

/** Looks users up in their Secret, at every request. */
export function createGitUsers(client: Client): FindGitUser {
  return async (name) => {
    try {
      const { data = {} } = await client.get(secrets, gitUsersSecret);
      const entry = Object.hasOwn(data, name) ? data[name] : undefined;
      return entry === undefined ? undefined : Buffer.from(entry, 'base64').toString('utf8');
    } catch (err) {
      if (!isNotFound(err)) throw err;
      return undefined;
    }
  };
}

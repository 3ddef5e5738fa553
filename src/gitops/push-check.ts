import { secrets } from '../api/core/v1/secret.ts';
import { type Kustomization, kustomizations } from '../api/kustomize/v1/kustomization.ts';
import { type GitRepository, gitRepositories } from '../api/source/v1/git-repository.ts';
import { labels } from '../api/well-known.ts';
import type { Clock } from '../base/clock.ts';
import { mapBounded } from '../base/concurrency.ts';
import type { Client } from '../client/client.ts';
import type { InformerSet } from '../client/informer.ts';
import { tryGet } from '../client/try-get.ts';
import { keyOf } from '../machinery/object.ts';
import { parseApiVersion } from '../machinery/resource.ts';
import { isNotFound, isStatusError } from '../machinery/status-error.ts';
import { sourceKeyOf, unsupportedIn } from './apply/app-spec.ts';
import { fieldManager } from './apply/fields.ts';
import { errorsOf } from './apply/object-errors.ts';
import { planObjects } from './apply/plan.ts';
import { createAppBuilder } from './apply/post-build.ts';
import { createResourceMapper } from './apply/resource-mapper.ts';
import { formatBuildError } from './apply/sync-failure.ts';
import type { Builder } from './build/builder.ts';
import type { BuildError, Manifest } from './build/manifest.ts';
import { createGitObjects } from './sources/git-objects.ts';
import { refQueryOf } from './sources/git-refs.ts';
import type { GitSource } from './sources/git-source.ts';
import type { FindGitUser } from './sources/git-users.ts';
import type { PendingPush } from './sources/pre-receive.ts';
import { createTreeView } from './sources/tree-view.ts';
import { definedKind, revisionOf, type Tree } from './verbs/diff.ts';

export interface PushCheckOptions {
  readonly client: Client;
  readonly informers: InformerSet;
  readonly clock: Clock;
  /** The engine's: what is built for the check is not built again when the push is in. */
  readonly builder: Builder;
}

/** Deeper lists of apps in apps are taken for a circle. */
const maxDepth = 5;
const maxApps = 5_000;
/** Dry runs under way at the same time. */
const concurrency = 16;

/**
 * Tries what a push would bring, as the engine will: builds the apps that follow the branch, those they define too, and sends every object
 * that it changes as a server-side dry run. Nothing is written.
 *
 * @returns what cannot be applied, with file, line and column; empty when all can
 */
export function createPushCheck({ client, informers, clock, builder }: PushCheckOptions) {
  const mapper = createResourceMapper({ client, clock });
  const appBuilder = createAppBuilder({ client, builder });
  const repositories = informers.get(gitRepositories);
  const apps = informers.get(kustomizations);

  return async (url: string, { gitdir, quarantine, updates, signal }: PendingPush): Promise<readonly string[]> => {
    const errors: BuildError[] = [];
    for (const repository of repositories.list()) {
      if (repository.spec.url !== url || !isChecked(repository)) continue;
      const query = refQueryOf(repository.spec.ref ?? {});
      const update = updates.find(({ ref }) => query.type === 'ref' && ref === query.name);
      if (update === undefined || isNone(update.after)) continue;
      const pushed = await treeOf(repository, { gitdir, url, quarantine, sha: update.after });
      const before = isNone(update.before) ? undefined : await treeOf(repository, { gitdir, url, quarantine, sha: update.before });
      try {
        const known = before === undefined ? new Map<string, ReadonlySet<object>>() : await objectsAt(repository, before, signal);
        for (const { app, manifests, errors: found } of await appsOf(repository, pushed, signal)) {
          const isPlacedAnew = apps.getByKey(keyOf(app))?.spec.targetNamespace !== app.spec.targetNamespace;
          const changed = manifests.filter(({ object }) => isPlacedAnew || known.get(keyOf(app))?.has(object) !== true);
          errors.push(...found, ...(await tryObjects({ app, manifests, changed, tree: pushed, signal })));
        }
      } finally {
        await pushed.source.close();
        await before?.source.close();
      }
    }
    return [...new Set(errors.map(formatBuildError))];
  };

  /** Objects of apps that were there before the push. They are not tried again: they are in force, or were told of already. */
  async function objectsAt(repository: GitRepository, tree: Tree, signal: AbortSignal): Promise<ReadonlyMap<string, ReadonlySet<object>>> {
    const objects = new Map<string, ReadonlySet<object>>();
    for (const app of apps.list()) {
      if (!isOurs(repository, app)) continue;
      const { manifests } = await appBuilder.build(app, revisionOf(tree), signal);
      objects.set(keyOf(app), new Set(manifests.map(({ object }) => object)));
    }
    return objects;
  }

  interface CheckedApp {
    readonly app: Kustomization;
    readonly manifests: readonly Manifest[];
    readonly errors: readonly BuildError[];
  }

  /** Apps of the repository that Git does not define, and those that it does, as the pushed tree has them. */
  async function appsOf(repository: GitRepository, tree: Tree, signal: AbortSignal): Promise<readonly CheckedApp[]> {
    const found = new Map<string, CheckedApp>();
    let level = [...apps.list()].filter((app) => isOurs(repository, app) && app.metadata.labels?.[labels.fluxKustomizeName] === undefined);
    for (let depth = 0; depth < maxDepth && level.length > 0; depth += 1) {
      const next: Kustomization[] = [];
      for (const app of level) {
        if (found.has(keyOf(app)) || found.size >= maxApps) continue;
        signal.throwIfAborted();
        const { manifests, errors } = await appBuilder.build(app, revisionOf(tree), signal);
        found.set(keyOf(app), { app, manifests, errors });
        for (const { object } of manifests) {
          if (object.kind !== kustomizations.kind || !object.apiVersion.startsWith(`${kustomizations.group}/`)) continue;
          const child = object as Kustomization;
          const namespace = child.metadata.namespace ?? app.spec.targetNamespace ?? app.metadata.namespace ?? '';
          const placed: Kustomization = { ...child, metadata: { ...child.metadata, namespace } };
          if (child.spec?.sourceRef !== undefined && isOurs(repository, placed)) next.push(placed);
        }
      }
      level = next;
    }
    return [...found.values()];
  }

  interface Trial {
    readonly app: Kustomization;
    readonly manifests: readonly Manifest[];
    /** Those of them that are tried. */
    readonly changed: readonly Manifest[];
    readonly tree: Tree;
    readonly signal: AbortSignal;
  }

  async function tryObjects({ app, manifests, changed, tree, signal }: Trial): Promise<readonly BuildError[]> {
    const defined = new Set(manifests.flatMap(({ object }) => definedKind(object) ?? []));
    const plan = await planObjects({
      app: { namespace: app.metadata.namespace, name: app.metadata.name },
      // A kind whose definition comes with the same push cannot be tried before that is in.
      manifests: changed.filter(({ object }) => !defined.has(`${parseApiVersion(object.apiVersion).group}/${object.kind}`)),
      targetNamespace: app.spec.targetNamespace,
      mapper,
      before: new Map(),
    });
    const newNamespaces = new Set(manifests.filter(({ object }) => object.kind === 'Namespace').map(({ object }) => object.metadata.name));
    const found = await mapBounded([...plan.objects.values()], concurrency, async (desired): Promise<readonly BuildError[]> => {
      signal.throwIfAborted();
      const { resource, ref, object } = desired;
      const write = { fieldManager, force: true, dryRun: true, fieldValidation: 'Strict' } as const;
      try {
        await client.patch(resource, ref, { type: 'apply', body: object }, write);
        return [];
      } catch (err) {
        if (!isStatusError(err)) throw err;
        if (isNotFound(err) && err.details?.kind === 'namespaces' && newNamespaces.has(err.details.name ?? '')) return [];
        return errorsOf(desired, err, tree);
      }
    });
    return [...plan.errors, ...found.flat()];
  }
}

/** An app of another cluster would have to be tried there. */
const isOurs = (repository: GitRepository, app: Kustomization): boolean =>
  sourceKeyOf(app) === keyOf(repository) &&
  app.spec.suspend !== true &&
  app.spec.kubeConfig === undefined &&
  unsupportedIn(app) === undefined;

const isNone = (sha: string): boolean => /^0+$/.test(sha);

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
    close: async () => objects.close(),
  };
  const commit = await objects.readCommit(sha, '');
  const view = createTreeView({ source, ignore: spec.ignore, sparse: spec.sparseCheckout });
  return { source: { ...source, ...view }, commit: { ...commit, tree: await view.rootOf(commit.tree) } };
}

/** Secret with the users of the built-in remote: a key for each, and its token or the SHA-256 of it. */
const gitUsersSecret = { namespace: 'flux-system', name: 'midship-git-users' } as const;

/** Looks users up in their Secret, at every request. */
export function createGitUsers(client: Client): FindGitUser {
  return async (name) => {
    const { data = {} } = (await tryGet(client, secrets, gitUsersSecret)) ?? {};
    const entry = Object.hasOwn(data, name) ? data[name] : undefined;
    return entry === undefined ? undefined : Buffer.from(entry, 'base64').toString('utf8');
  };
}

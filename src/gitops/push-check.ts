import { secrets } from '../api/core/v1/secret.ts';
import { type Kustomization, kustomizations } from '../api/kustomize/v1/kustomization.ts';
import { type GitRepository, gitRepositories } from '../api/source/v1/git-repository.ts';
import { labels } from '../api/well-known.ts';
import type { Clock } from '../base/clock.ts';
import { mapBounded } from '../base/concurrency.ts';
import { createRedactor, type Redactor } from '../base/redactor.ts';
import type { Client } from '../client/client.ts';
import type { InformerSet } from '../client/informer.ts';
import { tryGet } from '../client/try-get.ts';
import { keyOf } from '../machinery/object.ts';
import { parseApiVersion } from '../machinery/resource.ts';
import { isNotFound, isStatusError } from '../machinery/status-error.ts';
import { fieldManager } from './apply/objects/fields.ts';
import { createResourceMapper } from './apply/objects/resource-mapper.ts';
import { dependencyCycle, findUnsupported, sourceKeyOf } from './apply/plan/app-spec.ts';
import { errorsOf } from './apply/plan/object-errors.ts';
import { type DesiredObject, planObjects } from './apply/plan/plan.ts';
import { createAppBuilder } from './apply/plan/post-build.ts';
import { redactionOf, withoutSecrets } from './apply/plan/secret-values.ts';
import { formatBuildError } from './apply/plan/sync-failure.ts';
import type { BuildError, Manifest } from './manifests/manifest.ts';
import type { Builder } from './render/builder.ts';
import { createGitObjects } from './sources/git-objects.ts';
import { refQueryOf } from './sources/git-refs.ts';
import type { GitSource } from './sources/git-source.ts';
import type { FindGitUser } from './sources/git-users.ts';
import type { PendingPush } from './sources/pre-receive.ts';
import { createTreeView } from './sources/tree-view.ts';
import { circles, findRivals, type PlacedApp, type PlannedApp } from './verbs/between-apps.ts';
import { definedKind, revisionOf, type Tree } from './verbs/diff.ts';

export interface PushCheckOptions {
  readonly client: Client;
  readonly informers: InformerSet;
  readonly clock: Clock;
  /** The engine's: what is built for the check is not built again when the push is in. */
  readonly builder: Builder;
  readonly redactor?: Redactor;
}

/** Deeper lists of apps in apps are taken for a circle. */
const maxDepth = 5;
const maxApps = 5_000;
/** Dry runs under way at the same time. */
const concurrency = 16;

/**
 * Tries what a push would bring, as the engine will. It builds the apps that follow the branch and those that they define.
 * Every object that the push changes is sent as a server-side dry run. Nothing is written.
 *
 * @returns what cannot be applied, with file, line and column; empty when all can
 */
export function createPushCheck({ client, informers, clock, builder, redactor = createRedactor() }: PushCheckOptions) {
  const mapper = createResourceMapper({ client, clock });
  const appBuilder = createAppBuilder({ client, builder, redactor });
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
        const known = before === undefined ? new Map<string, KnownApp>() : await knownAt(repository, before, signal);
        const checked = await appsOf(repository, pushed, signal);
        const changes = checked.map(({ app, manifests }) => {
          const isPlacedAnew = apps.getByKey(keyOf(app))?.spec.targetNamespace !== app.spec.targetNamespace;
          const last = known.get(keyOf(app))?.objects;
          return { app, changed: manifests.filter(({ object }) => isPlacedAnew || last?.has(object) !== true) };
        });
        // Errors from before the push do not block it: otherwise nobody could push any more.
        for (const { app, errors: found } of checked) {
          const last = known.get(keyOf(app))?.errors;
          errors.push(...found.filter((error) => last?.has(withoutCommit(error, update.after)) !== true));
        }
        const coming = comingOf(
          changes.flatMap(({ changed }) => changed),
          checked.flatMap(({ manifests }) => manifests),
        );
        const plans: PlannedApp[] = [];
        for (const { app, changed } of changes) {
          const tried = await tryObjects({ app, changed, coming, tree: pushed, signal });
          errors.push(...tried.errors);
          plans.push({ app, objects: tried.objects });
        }
        // The present owner comes first, so that the error names the pushed file.
        errors.push(...findRivals([...(await rivalsOf(checked, plans)), ...plans]), ...newCircles(checked));
      } finally {
        await pushed.source.close();
        await before?.source.close();
      }
    }
    // Errors between apps name objects of both.
    return [...new Set(errors.map((error) => redactor.text(formatBuildError(error))))];
  };

  /** Objects of an app before the push. They are not tried again: they are in force, or their error was reported. */
  interface KnownApp {
    readonly objects: ReadonlySet<object>;
    readonly errors: ReadonlySet<string>;
  }

  async function knownAt(repository: GitRepository, tree: Tree, signal: AbortSignal): Promise<ReadonlyMap<string, KnownApp>> {
    const known = new Map<string, KnownApp>();
    for (const app of apps.list()) {
      if (!isOurs(repository, app)) continue;
      const { manifests, errors } = await appBuilder.build(app, revisionOf(tree), signal);
      known.set(keyOf(app), {
        objects: new Set(manifests.map(({ object }) => object)),
        errors: new Set(errors.map((error) => withoutCommit(error, tree.commit.sha))),
      });
    }
    return known;
  }

  /**
   * Apps that define objects which another one of them newly defines, with those objects alone. The inventories show
   * the owners, so that a push does not plan all of a large repository.
   */
  async function rivalsOf(checked: readonly CheckedApp[], plans: readonly PlannedApp[]): Promise<readonly PlannedApp[]> {
    const owners = new Map(plans.flatMap(({ app, objects }) => objects.map(({ id }) => [id, app] as const)));
    const rivals: PlannedApp[] = [];
    for (const { app, manifests } of checked) {
      const entries = apps.getByKey(keyOf(app))?.status?.inventory?.entries ?? [];
      const ids = new Set(entries.flatMap(({ id }) => (owners.has(id) && owners.get(id) !== app ? [id] : [])));
      if (ids.size === 0) continue;
      const plan = await planOf(app, manifests);
      rivals.push({ app, objects: [...plan.objects.values()].filter(({ id }) => ids.has(id)) });
    }
    return rivals;
  }

  /** Circles of dependencies that are not there yet. */
  function newCircles(checked: readonly CheckedApp[]): readonly BuildError[] {
    const pushed = new Map(checked.map(({ app }) => [keyOf(app), app]));
    const isThere = (app: Kustomization): boolean => {
      const live = apps.getByKey(keyOf(app));
      return live !== undefined && dependencyCycle(live, (key) => apps.getByKey(key)) !== undefined;
    };
    return circles(
      checked.filter(({ app }) => !isThere(app)),
      (key) => pushed.get(key) ?? apps.getByKey(key),
    );
  }

  function planOf(app: Kustomization, manifests: readonly Manifest[]) {
    return planObjects({ app, manifests, mapper, before: new Map() });
  }

  interface CheckedApp extends PlacedApp {
    readonly manifests: readonly Manifest[];
    readonly errors: readonly BuildError[];
  }

  /** Apps of the repository that Git does not define, and those that it does, as the pushed tree has them. */
  async function appsOf(repository: GitRepository, tree: Tree, signal: AbortSignal): Promise<readonly CheckedApp[]> {
    const found = new Map<string, CheckedApp>();
    let level: PlacedApp[] = [...apps.list()]
      .filter((app) => isOurs(repository, app) && !isDefinedIn(repository, app))
      .map((app) => ({ app, place: { file: '' } }));
    for (let depth = 0; depth < maxDepth && level.length > 0; depth += 1) {
      const next: PlacedApp[] = [];
      for (const { app, place } of level) {
        if (found.has(keyOf(app)) || found.size >= maxApps) continue;
        signal.throwIfAborted();
        const { manifests, errors } = await appBuilder.build(app, revisionOf(tree), signal);
        found.set(keyOf(app), { app, place, manifests, errors });
        for (const { object, file, line } of manifests) {
          if (object.kind !== kustomizations.kind || !object.apiVersion.startsWith(`${kustomizations.group}/`)) continue;
          const child = object as Kustomization;
          const namespace = child.metadata.namespace ?? app.spec.targetNamespace ?? app.metadata.namespace ?? '';
          const placed: Kustomization = { ...child, metadata: { ...child.metadata, namespace } };
          if (child.spec?.sourceRef !== undefined && isOurs(repository, placed)) next.push({ app: placed, place: { file, line } });
        }
      }
      level = next;
    }
    return [...found.values()];
  }

  /** True when an app of the repository defines the app. */
  function isDefinedIn(repository: GitRepository, { metadata }: Kustomization): boolean {
    const { [labels.fluxKustomizeNamespace]: namespace, [labels.fluxKustomizeName]: name } = metadata.labels ?? {};
    const parent = apps.getByKey(`${namespace}/${name}`);
    return name !== undefined && (parent === undefined || isOurs(repository, parent));
  }

  interface Trial {
    readonly app: Kustomization;
    /** Manifests that are tried. */
    readonly changed: readonly Manifest[];
    readonly coming: Coming;
    readonly tree: Tree;
    readonly signal: AbortSignal;
  }

  async function tryObjects({
    app,
    changed,
    coming,
    tree,
    signal,
  }: Trial): Promise<{ readonly errors: readonly BuildError[]; readonly objects: readonly DesiredObject[] }> {
    const plan = await planOf(
      app,
      changed.filter(({ object }) => !coming.kinds.has(`${parseApiVersion(object.apiVersion).group}/${object.kind}`)),
    );
    const redaction = redactionOf(redactor, app);
    const found = await mapBounded([...plan.objects.values()], concurrency, async (desired): Promise<readonly BuildError[]> => {
      signal.throwIfAborted();
      const { resource, ref, object } = desired;
      const write = { fieldManager, force: true, dryRun: true, fieldValidation: 'Strict' } as const;
      try {
        await client.patch(resource, ref, { type: 'apply', body: object }, write);
        return [];
      } catch (err) {
        if (!isStatusError(err)) throw err;
        if (isNotFound(err) && err.details?.kind === 'namespaces' && coming.namespaces.has(err.details.name ?? '')) return [];
        return errorsOf(desired, err, { revision: tree, redaction });
      }
    });
    return { errors: [...withoutSecrets(plan.errors, redaction), ...found.flat()], objects: [...plan.objects.values()] };
  }
}

/** Objects of the apps that others of their objects need: those cannot be tried before these exist. */
interface Coming {
  /** `group/Kind` of definitions that are new or changed. */
  readonly kinds: ReadonlySet<string>;
  readonly namespaces: ReadonlySet<string>;
}

function comingOf(changed: readonly Manifest[], all: readonly Manifest[]): Coming {
  return {
    kinds: new Set(changed.flatMap(({ object }) => definedKind(object) ?? [])),
    namespaces: new Set(all.flatMap(({ object }) => (object.kind === 'Namespace' ? [object.metadata.name] : []))),
  };
}

/** The same for the same error at another commit. */
const withoutCommit = (error: BuildError, sha: string): string => formatBuildError(error).replaceAll(sha.slice(0, 7), '');

/** An app of another cluster would have to be tried there. */
const isOurs = (repository: GitRepository, app: Kustomization): boolean =>
  sourceKeyOf(app) === keyOf(repository) &&
  app.spec.suspend !== true &&
  app.spec.kubeConfig === undefined &&
  findUnsupported(app) === undefined;

const isNone = (sha: string): boolean => /^0+$/.test(sha);

/** An included repository may not be fetched yet; a suspended repository accepts nothing. */
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

import { posix } from 'node:path';
import { customResourceDefinitions } from '../../api/apiextensions/v1/custom-resource-definition.ts';
import type { CustomResourceDefinition } from '../../api/apiextensions/v1/definition.ts';
import { namespaces } from '../../api/core/v1/namespace.ts';
import { pods } from '../../api/core/v1/pod.ts';
import { serviceAccounts } from '../../api/core/v1/service-account.ts';
import { defaultAppNamespace, rootAppName } from '../../api/kustomize/v1/app-name.ts';
import { type Kustomization, kustomizations } from '../../api/kustomize/v1/kustomization.ts';
import { gitRepositories } from '../../api/source/v1/git-repository.ts';
import { insteadOfKind } from '../../api/unsupported-kinds.ts';
import { type Clock, sleep } from '../../base/clock.ts';
import { mapBounded } from '../../base/concurrency.ts';
import { nearest } from '../../base/nearest.ts';
import { createRedactor, type Redactor } from '../../base/redactor.ts';
import type { Client } from '../../client/client.ts';
import { type DynamicObject, type KubeObject, keyOf } from '../../machinery/object.ts';
import { parseApiVersion, type Resource } from '../../machinery/resource.ts';
import { isAlreadyExists, isStatusError } from '../../machinery/status-error.ts';
import { fieldManager } from '../apply/objects/fields.ts';
import { createResourceMapper } from '../apply/objects/resource-mapper.ts';
import { dependencyKeys } from '../apply/plan/app-spec.ts';
import { errorsOf } from '../apply/plan/object-errors.ts';
import { planObjects } from '../apply/plan/plan.ts';
import { createAppBuilder } from '../apply/plan/post-build.ts';
import { redactionOf } from '../apply/plan/secret-values.ts';
import type { BuildError, BuildResult, Manifest } from '../manifests/manifest.ts';
import { createBuilder } from '../render/builder.ts';
import { isWithin } from '../render/kustomize/file-tree.ts';
import type { BuildTools } from '../render/tools.ts';
import { clusterPathsOf } from '../sources/cluster-paths.ts';
import { viewOfTree } from './app-tree.ts';
import { circles, findRivals, nameOf, type PlannedApp } from './between-apps.ts';
import { appOfPath, plainWords, type Tree } from './diff.ts';
import { imagesToPull, missingReferences, misspelledNamespaces } from './references.ts';
import { unreadFiles } from './unread-files.ts';

/** Errors of a directory and of the apps that it defines, as far as they show without their cluster. */
export interface Validation {
  readonly apps: readonly { readonly app: string; readonly path: string; readonly objects: number }[];
  readonly errors: readonly BuildError[];
  /** Findings that cannot be decided here, or may be intended. */
  readonly warnings: readonly BuildError[];
  /** Findings about the running cluster; the manifests may be for another one. */
  readonly notes: readonly BuildError[];
}

export interface ValidateOptions {
  readonly tree: Tree;
  /** The cluster runs programs of its machine, and pulls no images. */
  readonly pullsNothing?: boolean;
  /** Directory of the tree. */
  readonly path: string;
  /** Client of an empty API, to which the check writes. */
  readonly client: Client;
  readonly clock: Clock;
  readonly tools?: BuildTools | undefined;
  readonly signal: AbortSignal;
}

/** An app's own list of apps may list apps again; deeper than this is taken for a circle. */
const maxDepth = 5;
const maxApps = 5_000;
const concurrency = 16;

interface ValidatedApp {
  readonly app: Kustomization;
  readonly manifests: readonly Manifest[];
}

/**
 * Builds a directory and the apps that it defines, and tries every object on an API of their own. Finds parse errors, wrong
 * kinds, fields, values and references, and objects that two files define, each with file, line and column. A repository of several
 * clusters is looked at cluster by cluster, since their apps may have the same names.
 */
export async function validateTree(options: ValidateOptions): Promise<Validation> {
  const { tree, path } = options;
  const clusters = normalizePath(path) === '' ? await clusterPathsOf(tree.source, tree.commit.tree) : [];
  if (clusters.length < 2) return validateApps(options);
  const found: Validation[] = [];
  for (const each of clusters) found.push(await validateApps({ ...options, path: each }));
  return {
    apps: found.flatMap(({ apps }) => apps),
    errors: unique(found.flatMap(({ errors }) => errors)),
    warnings: unique([...found.flatMap(({ warnings }) => warnings), ...(await looseFiles(options))]),
    notes: unique(found.flatMap(({ notes }) => notes)),
  };
}

/** Warnings of files that no app of any cluster has. */
async function looseFiles(options: ValidateOptions): Promise<readonly BuildError[]> {
  const looseWarnings: BuildError[] = [];
  await collectApps({ ...options, redactor: createRedactor() }, appOfPath(''), { errors: [], warnings: [], looseWarnings });
  return looseWarnings;
}

async function validateApps(options: ValidateOptions): Promise<Validation> {
  const { client, clock, path } = options;
  const errors: BuildError[] = [];
  const warnings: BuildError[] = [];
  // Also what a Secret of the tree holds: this prints into the logs of CI.
  const redactor = createRedactor();
  const found = await collectApps({ ...options, redactor }, appOfPath(path), { errors, warnings, looseWarnings: warnings });
  await prepare(client, found);
  await definitionsServed(options, found);
  // Only now: kinds that the tree itself defines are there.
  const mapper = createResourceMapper({ client, clock });
  const plans = await mapBounded(found, 1, async ({ app, manifests }) => {
    const { known, foreign } = await splitForeign(manifests, mapper);
    for (const kind of foreign) warnings.push(kind);
    const plan = await planObjects({
      app: { ...app, metadata: labelled },
      manifests: known,
      mapper,
      before: new Map(),
    });
    errors.push(...plan.errors);
    return { app, objects: [...plan.objects.values()] };
  });
  errors.push(...findRivals(plans), ...(await tryObjects({ ...options, redactor }, plans)), ...circlesAmong(found));
  const all = plans.flatMap(({ objects }) => objects);
  warnings.push(...missingDependencies(found), ...missingSources(found), ...missingReferences(all), ...misspelledNamespaces(all));
  warnings.push(...(await unreadFiles(options.tree, ownPaths(found), options.signal)));
  return {
    apps: plans.map(({ app, objects }) => ({ app: nameOf(app), path: app.spec.path ?? '', objects: objects.length })),
    errors: unique(errors),
    warnings: unique(warnings),
    notes: options.pullsNothing === true ? unique(imagesToPull(all)) : [],
  };
}

/** Directories of the apps. A root with apps below it is a list of apps, and the rest of it belongs to none. */
function ownPaths(found: readonly ValidatedApp[]): readonly string[] {
  const [root = '', ...apps] = found.map(({ app }) => normalizePath(app.spec.path ?? ''));
  return apps.some((path) => path !== root && isWithin(path, root)) ? apps : [root, ...apps];
}

/** Objects are tried with the labels of an app; whose it is makes no difference. */
const labelled = { name: 'app', namespace: 'default' };

async function collectApps(
  { tree, client, tools, signal, redactor }: ValidateOptions & { readonly redactor: Redactor },
  root: Kustomization,
  { errors, warnings, looseWarnings }: Readonly<Record<'errors' | 'warnings' | 'looseWarnings', BuildError[]>>,
): Promise<readonly ValidatedApp[]> {
  const builder = createAppBuilder({ client, builder: createBuilder(tools), redactor });
  const found: ValidatedApp[] = [];
  const revision = await viewOfTree(tree);
  const seen = new Set<string>();
  /** Files that no list of apps has, and those that some app is built from. */
  const loose = new Set<string>();
  const used = new Set<string>();
  const otherSources = new Set<string>();
  let level: readonly { readonly app: Kustomization; readonly by: Manifest | undefined }[] = [{ app: root, by: undefined }];
  for (let depth = 0; depth < maxDepth && level.length > 0 && found.length < maxApps; depth += 1) {
    const next: { app: Kustomization; by: Manifest }[] = [];
    for (const { app, by } of level) {
      signal.throwIfAborted();
      const unknown = app.spec.postBuild?.substituteFrom ?? [];
      const built = await builder.build(withoutSubstitutes(app), revision, signal);
      const result = by === undefined ? ofApps(built, app.spec.path ?? '', loose) : built;
      if (by !== undefined) for (const [file, found] of built.looked ?? []) if (found !== '') used.add(file);
      for (const error of plainWords(result.errors)) {
        // A path that is not there is the fault of the file that names it.
        const isPath = by !== undefined && error.line === undefined && error.message.startsWith('is not a directory');
        errors.push(isPath ? { file: by.file, line: by.line, message: `spec.path: ${error.file} ${error.message}` } : error);
      }
      if (unknown.length > 0 && by !== undefined) {
        warnings.push({
          file: by.file,
          line: by.line,
          message: `app ${nameOf(app)} takes variables from the cluster: its objects were not tried`,
        });
        continue;
      }
      found.push({ app, manifests: result.manifests });
      for (const manifest of result.manifests) {
        const { namespace, name } = manifest.object.metadata;
        // The source that `flux bootstrap` commits for itself is this tree.
        const isTree = namespace === defaultAppNamespace && name === rootAppName;
        if (isKind(manifest.object, gitRepositories) && !isTree) otherSources.add(`${namespace}/${name}`);
      }
      for (const manifest of result.manifests) {
        const child = appIn(manifest.object);
        // Another file with an app of this name is that of another cluster, or an error that is found later.
        const key = `${manifest.file} ${child === undefined ? '' : nameOf(child)}`;
        if (child === undefined || seen.has(key) || isOfOtherSource(child, otherSources)) continue;
        // The list of apps that lists itself is what is looked at already.
        if (normalizePath(child.spec.path ?? '') === normalizePath(root.spec.path ?? '') && child.metadata.name === rootAppName) continue;
        seen.add(key);
        next.push({ app: child, by: manifest });
      }
    }
    level = next;
  }
  for (const file of loose) if (!used.has(file)) looseWarnings.push({ file, message: 'is not part of any app' });
  return found;
}

/**
 * For a repository's root, or any directory that holds an app list together with the apps: the directories that list
 * apps. The apps are built by themselves. `loose` gets the other files: bases of apps, and files that no app applies.
 */
function ofApps(built: BuildResult, path: string, loose: Set<string>): BuildResult {
  const paths = built.manifests.flatMap(({ object }) => {
    const app = appIn(object);
    return app === undefined ? [] : [normalizePath(app.spec.path ?? '')];
  });
  const isOfApp = (file: string): boolean => paths.some((each) => each !== path && isWithin(file, each));
  // An overlay's objects come from the files of its base, so the apps' paths tell, not where objects come from.
  if (!paths.some((each) => each !== path && isWithin(each, path))) return built;
  const lists = new Set(built.manifests.flatMap(({ file, object }) => (isKind(object, kustomizations) ? [posix.dirname(file)] : [])));
  const isListed = (file: string): boolean =>
    !isOfApp(file) && [...lists].some((directory) => isWithin(file, directory === '.' ? '' : directory));
  for (const { file } of [...built.manifests, ...built.errors]) if (!isOfApp(file) && !isListed(file)) loose.add(file);
  return {
    ...built,
    manifests: built.manifests.filter(({ file }) => isListed(file)),
    errors: built.errors.filter(({ file }) => isListed(file)),
  };
}

const normalizePath = (path: string): string =>
  path
    .split('/')
    .filter((segment) => segment !== '' && segment !== '.')
    .join('/');

const isKind = (object: KubeObject, { group, kind }: { readonly group: string; readonly kind: string }): boolean =>
  object.kind === kind && parseApiVersion(object.apiVersion).group === group;

function appIn(object: KubeObject): Kustomization | undefined {
  if (!isKind(object, kustomizations)) return undefined;
  const { spec } = object as Partial<Kustomization>;
  // Errors of the spec itself are reported when the object is tried.
  return typeof spec?.sourceRef?.name === 'string' && spec.sourceRef.kind === 'GitRepository' && typeof (spec.path ?? '') === 'string'
    ? (object as Kustomization)
    : undefined;
}

/** A repository that the tree itself names is another one than the tree. */
const isOfOtherSource = ({ spec, metadata }: Kustomization, sources: ReadonlySet<string>): boolean =>
  sources.has(`${spec.sourceRef.namespace ?? metadata.namespace}/${spec.sourceRef.name}`);

function withoutSubstitutes(app: Kustomization): Kustomization {
  const { postBuild } = app.spec;
  if (postBuild?.substituteFrom === undefined) return app;
  const { substituteFrom: _, ...rest } = postBuild;
  return { ...app, spec: { ...app.spec, postBuild: rest } };
}

/** Makes the namespaces that objects lie in, the accounts of bare pods, and the kinds that the tree defines. */
async function prepare(client: Client, apps: readonly ValidatedApp[]): Promise<void> {
  const objects = apps.flatMap(({ app, manifests }) => manifests.map(({ object }) => ({ object, namespace: app.spec.targetNamespace })));
  const places = new Set(['default', ...objects.flatMap(({ object, namespace }) => namespace ?? object.metadata.namespace ?? [])]);
  for (const name of places) {
    await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } }).catch((err: unknown) => {
      // A name that cannot be one is said when the object is tried.
      if (!isStatusError(err)) throw err;
    });
  }
  for (const { object, namespace = object.metadata.namespace ?? 'default' } of objects) {
    if (object.kind !== pods.kind) continue;
    // No controller makes `default` here, and an account that no file has is a warning of its own.
    const metadata = { namespace, name: accountOf(object) };
    await client.create(serviceAccounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata }).catch((err: unknown) => {
      if (!isStatusError(err)) throw err;
    });
  }
  for (const { object } of objects) {
    if (object.kind !== customResources.kind) continue;
    await client.create(customResources, object as DynamicObject).catch((err: unknown) => {
      if (!isStatusError(err) && !isAlreadyExists(err)) throw err;
    });
  }
}

/** A definition of a megabyte takes some hundred milliseconds. */
const maxDefinitionWaitMs = 10_000;
const definitionPollMs = 10;

/** Waits until the kinds that the tree defines are served, or are not for want of a free name. */
async function definitionsServed({ client, clock, signal }: ValidateOptions, apps: readonly ValidatedApp[]): Promise<void> {
  const until = clock.monotonicMs() + maxDefinitionWaitMs;
  const isDecided = ({ status }: CustomResourceDefinition): boolean =>
    status?.conditions?.some(({ type }) => type === 'Established') === true;
  for (const { object } of apps.flatMap(({ manifests }) => manifests)) {
    if (object.kind !== customResources.kind) continue;
    for (;;) {
      // A definition that was refused is not there.
      const definition = await client.get(customResourceDefinitions, { name: object.metadata.name }).catch(() => undefined);
      if (definition === undefined || isDecided(definition) || clock.monotonicMs() > until) break;
      await sleep(clock, definitionPollMs, signal);
    }
  }
}

/** The manifest of the pod is not checked yet. */
function accountOf(pod: KubeObject): string {
  const { serviceAccountName } = (pod as { readonly spec?: { readonly serviceAccountName?: unknown } | null }).spec ?? {};
  return typeof serviceAccountName === 'string' && serviceAccountName !== '' ? serviceAccountName : 'default';
}

const customResources: Resource<DynamicObject> = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  resource: 'customresourcedefinitions',
  kind: 'CustomResourceDefinition',
  namespaced: false,
};

/** Kinds of foreign groups: their definition may be in the cluster already. */
async function splitForeign(
  manifests: readonly Manifest[],
  mapper: ReturnType<typeof createResourceMapper>,
): Promise<{ readonly known: readonly Manifest[]; readonly foreign: readonly BuildError[] }> {
  const groups = new Set((await mapper.all()).map(({ group }) => group));
  const known: Manifest[] = [];
  const foreign: BuildError[] = [];
  for (const manifest of manifests) {
    const { apiVersion, kind } = manifest.object;
    const { group } = parseApiVersion(apiVersion);
    if (groups.has(group)) known.push(manifest);
    else {
      const instead = insteadOfKind(group, kind);
      foreign.push({
        file: manifest.file,
        line: manifest.line,
        ...(instead === undefined
          ? { message: `${kind} of ${apiVersion} was not checked: its CustomResourceDefinition is not among the files` }
          : { message: `not supported: ${kind} in ${apiVersion}, unless its controller runs in the cluster`, hint: instead }),
      });
    }
  }
  return { known, foreign };
}

async function tryObjects(
  { client, tree, signal, redactor }: ValidateOptions & { readonly redactor: Redactor },
  plans: readonly PlannedApp[],
): Promise<readonly BuildError[]> {
  const errors = await mapBounded(
    plans.flatMap(({ app, objects }) => objects.map((desired) => ({ app, desired }))),
    concurrency,
    async ({ app, desired }): Promise<readonly BuildError[]> => {
      signal.throwIfAborted();
      const { resource, ref, object } = desired;
      try {
        await client.patch(
          resource,
          ref,
          { type: 'apply', body: object },
          { fieldManager, force: true, dryRun: true, fieldValidation: 'Strict' },
        );
        return [];
      } catch (err) {
        if (!isStatusError(err)) throw err;
        return errorsOf(desired, err, { revision: tree, redaction: redactionOf(redactor, app) });
      }
    },
  );
  return errors.flat();
}

function circlesAmong(apps: readonly ValidatedApp[]): readonly BuildError[] {
  const byKey = new Map(apps.map(({ app }) => [nameOf(app), app]));
  return circles(
    apps.map(({ app }) => ({ app, place: placeOf(apps, app) })),
    (key) => byKey.get(key),
  );
}

function missingDependencies(apps: readonly ValidatedApp[]): readonly BuildError[] {
  const known = new Set(
    apps.flatMap(({ manifests }) => manifests.flatMap(({ object }) => (isKind(object, kustomizations) ? keyOf(object) : []))),
  );
  return apps.flatMap(({ app }) =>
    dependencyKeys(app).flatMap((key) =>
      known.has(key) ? [] : [{ ...placeOf(apps, app), message: `spec.dependsOn: app ${key} is not among the files` }],
    ),
  );
}

/** Sources of apps that no file defines; the one that `up` makes is there without a file. */
function missingSources(apps: readonly ValidatedApp[]): readonly BuildError[] {
  const manifests = apps.flatMap((each) => each.manifests);
  const ofUp = { kind: gitRepositories.kind, namespace: defaultAppNamespace, name: rootAppName };
  const sources = manifests.flatMap(({ object: { apiVersion, kind, metadata } }) =>
    parseApiVersion(apiVersion).group === gitRepositories.group ? { kind, namespace: metadata.namespace ?? '', name: metadata.name } : [],
  );
  return manifests.flatMap(({ file, line, object }) => {
    const ref = isKind(object, kustomizations) ? (object as Partial<Kustomization>).spec?.sourceRef : undefined;
    if (typeof ref?.name !== 'string' || typeof ref.kind !== 'string') return [];
    const { kind, name, namespace = object.metadata.namespace ?? '' } = ref;
    const names = [...sources, ofUp].flatMap((each) => (each.kind === kind && each.namespace === namespace ? each.name : []));
    if (names.includes(name)) return [];
    const meant = nearest(name, names);
    return [
      {
        file,
        line,
        message: `spec.sourceRef: ${kind} ${namespace}/${name} is not among the files`,
        ...(meant === undefined ? {} : { hint: `Did you mean ${meant}?` }),
      },
    ];
  });
}

/** File that defines an app. */
function placeOf(apps: readonly ValidatedApp[], app: Kustomization): Pick<BuildError, 'file' | 'line'> {
  const manifest = apps.flatMap(({ manifests }) => manifests).find(({ object }) => object === app);
  return manifest === undefined ? { file: '' } : { file: manifest.file, line: manifest.line };
}

function unique(errors: readonly BuildError[]): readonly BuildError[] {
  const byText = new Map(errors.map((error) => [JSON.stringify(error), error]));
  const at = ({ line = 0, column = 0 }: BuildError): number => line * 10_000 + column;
  return [...byText.values()].sort((a, b) => (a.file === b.file ? at(a) - at(b) : a.file < b.file ? -1 : 1));
}

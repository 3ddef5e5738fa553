import { type Kustomization, kustomizations } from '../../api/kustomize/v1/kustomization.ts';
import type { Clock } from '../../base/clock.ts';
import { mapBounded } from '../../base/concurrency.ts';
import type { Client } from '../../client/client.ts';
import { tryGet } from '../../client/try-get.ts';
import { judgeApp } from '../../lifecycle/verdict.ts';
import type { DynamicObject, KubeObject } from '../../machinery/object.ts';
import { keyOf } from '../../machinery/object.ts';
import { parseApiVersion, type Resource } from '../../machinery/resource.ts';
import { isNotFound, isStatusError } from '../../machinery/status-error.ts';
import { fieldManager } from '../apply/objects/fields.ts';
import { askPointers, withoutForeign } from '../apply/objects/ignored-fields.ts';
import { describe, describeObject, idOf, type ObjectId, tryParseId } from '../apply/objects/object-id.ts';
import { skipReasonOf } from '../apply/objects/object-policy.ts';
import type { ResourceMapper } from '../apply/objects/resource-mapper.ts';
import { foldOwners, overriddenBy, takeoverRules, withoutTaken } from '../apply/observe/takeover.ts';
import { errorsOf } from '../apply/plan/object-errors.ts';
import { type DesiredObject, planObjects } from '../apply/plan/plan.ts';
import type { AppBuilder } from '../apply/plan/post-build.ts';
import { redactionOf, withoutSecrets } from '../apply/plan/secret-values.ts';
import { mayDelete } from '../apply/sync/pruner.ts';
import { mayRecreate } from '../apply/sync/recreate.ts';
import type { BuildError, Manifest } from '../manifests/manifest.ts';
import type { KnownRevision } from '../sources/follow/known-revision.ts';
import type { Commit, GitSource } from '../sources/git-source.ts';
import type { Lookup } from './lookup.ts';
import { diffOf } from './object-text.ts';

/** Changes to an app: by applying a tree, or between two revisions. */
export interface AppDiff {
  /** `namespace/name` */
  readonly app: string;
  readonly objects: readonly ObjectDiff[];
  /** Fields that are not what Git says and stay, as the app's status has them: a bounded list. */
  readonly notes: readonly string[];
  /** Reason why the tree could not be applied; the changes of objects are unknown then. */
  readonly errors: readonly BuildError[];
}

export interface ObjectDiff {
  /**
   * `replace`: an immutable field makes the engine delete and recreate the object, where the app or the object allows
   * it.
   */
  readonly action: 'create' | 'change' | 'replace' | 'prune';
  /** `Deployment web/storefront` */
  readonly object: string;
  /** `apps/web/deployment.yaml:1`; empty for what no file names any more. */
  readonly file: string;
  /** Unified, Secrets' values as stars. */
  readonly diff: string;
}

/** A commit, or what would be one. */
export interface Tree {
  readonly source: GitSource;
  readonly commit: Commit;
}

/** A tree as the engine knows a revision. */
export const revisionOf = ({ source, commit }: Tree): KnownRevision => ({
  source,
  commit,
  included: [],
  url: source.url,
  branch: '',
  seenAt: 0,
  lastFetchAt: 0,
});

/** Trees as the apps' GitRepositories leave them: without what `ignore`, `.sourceignore` and `sparseCheckout` leave out. */
export interface AppTrees {
  /** @throws SourceError `NotSupported` when the GitRepository includes others, which a clone does not have */
  of(app: Kustomization, tree: Tree): Promise<KnownRevision>;
}

/** Errors of a work tree without the commit that it is not. */
export function plainWords(errors: readonly BuildError[]): readonly BuildError[] {
  return errors.map((error) => ({ ...error, message: error.message.replace(/ at 0{7}$/, '') }));
}

const concurrency = 16;

export interface LiveDiffOptions {
  readonly client: Client;
  readonly lookup: Lookup;
  readonly mapper: ResourceMapper;
  readonly builder: AppBuilder;
  /** Absent: `tree` is what the apps' GitRepositories leave of it already. */
  readonly trees?: AppTrees;
  /** Those that are applied to other clusters are left out. */
  readonly apps: readonly Kustomization[];
  readonly tree: Tree;
  readonly clock: Clock;
  /** Field managers, beside the usual ones, whose fields on objects of apps become the apps'. */
  readonly overrideManagers?: readonly string[] | undefined;
  readonly signal: AbortSignal;
}

/**
 * Computes the changes of applying `tree` now. Every object is sent to the server as a dry run, so that defaults,
 * admission and the fields of others are as they would be. Nothing is written.
 */
export async function diffAgainstLive(options: LiveDiffOptions): Promise<readonly AppDiff[]> {
  const { builder, trees, apps, tree, signal, mapper } = options;
  const here = apps.filter(({ spec }) => spec.kubeConfig === undefined);
  const plans = await mapBounded(here, 1, async (app) => {
    const { manifests, errors } = await builder.build(app, (await trees?.of(app, tree)) ?? revisionOf(tree), signal);
    const { known, unborn } = await splitByKind(manifests, mapper);
    const plan = await planObjects({
      app,
      manifests: known,
      mapper,
      before: new Map(),
    });
    return {
      app,
      objects: plan.objects,
      unborn,
      errors: [...plainWords(errors), ...withoutSecrets(plan.errors, redactionOf(builder.redactor, app))],
    };
  });
  const claimed = new Set(plans.flatMap(({ objects }) => [...objects.keys()]));
  return mapBounded(plans, 1, async ({ app, objects, unborn, errors }) => {
    const result = { app: keyOf(app), objects: [] as ObjectDiff[], notes: judgeApp(app, undefined).notes, errors: [...errors] };
    if (errors.length > 0) return result;
    const newNamespaces = new Set([...objects.values()].filter(({ object }) => object.kind === 'Namespace').map(({ ref }) => ref.name));
    const diffs = await mapBounded([...objects.values()], concurrency, async (desired): Promise<ObjectDiff | undefined> => {
      signal.throwIfAborted();
      try {
        return await diffObject(options, { app, desired, newNamespaces });
      } catch (err) {
        if (!isStatusError(err)) throw err;
        result.errors.push(...(await errorsOf(desired, err, { revision: tree, redaction: redactionOf(builder.redactor, app) })));
        return undefined;
      }
    });
    if (result.errors.length > 0) return result;
    const pruned = app.spec.prune ? await listPruned(options, app, claimed) : [];
    result.objects.push(
      ...diffs.filter((diff) => diff !== undefined),
      ...unborn.map((manifest) => createdDiff(manifest, redactIn(builder, app))),
      ...pruned,
    );
    return result;
  });
}

/** Objects of a kind whose definition comes with the same tree cannot be tried before that is applied. */
async function splitByKind(
  manifests: readonly Manifest[],
  mapper: ResourceMapper,
): Promise<{ readonly known: readonly Manifest[]; readonly unborn: readonly Manifest[] }> {
  const defined = new Set(manifests.flatMap(({ object }) => definedKind(object) ?? []));
  const known: Manifest[] = [];
  const unborn: Manifest[] = [];
  for (const manifest of manifests) {
    const { apiVersion, kind } = manifest.object;
    const { group, version } = parseApiVersion(apiVersion);
    const isUnborn = defined.has(`${group}/${kind}`) && (await mapper.find(group, version, kind)) === undefined;
    (isUnborn ? unborn : known).push(manifest);
  }
  return { known, unborn };
}

/** `group/Kind` that a CustomResourceDefinition defines. */
export function definedKind(object: KubeObject): string | undefined {
  if (object.kind !== 'CustomResourceDefinition') return undefined;
  const { spec } = object as KubeObject & { readonly spec?: { readonly group?: unknown; readonly names?: { readonly kind?: unknown } } };
  return `${String(spec?.group)}/${String(spec?.names?.kind)}`;
}

const placeOf = ({ file, line }: Manifest): string => `${file}:${line}`;

const redactIn =
  ({ redactor }: AppBuilder, app: Kustomization) =>
  (text: string): string =>
    redactor.field(text, keyOf(app));

const createdDiff = (manifest: Manifest, redact: (text: string) => string): ObjectDiff => ({
  action: 'create',
  object: redact(describeObject(manifest.object)),
  file: placeOf(manifest),
  diff: diffOf(undefined, manifest.object as DynamicObject, redact),
});

async function diffObject(
  { client, clock, builder, overrideManagers }: LiveDiffOptions,
  {
    app,
    desired,
    newNamespaces,
  }: { readonly app: Kustomization; readonly desired: DesiredObject; readonly newNamespaces: ReadonlySet<string> },
): Promise<ObjectDiff | undefined> {
  const { resource, ref, object, policy, manifest } = desired;
  const live = await tryGet(client, resource, ref);
  if (skipReasonOf(policy, live, clock.now()) !== undefined) return undefined;
  let isReplaced = false;
  const pointers = await askPointers(client, app, { object, find: async () => live });
  const after = await client
    .patch<DynamicObject>(
      resource,
      ref,
      { type: 'apply', body: withoutForeign(object, live, pointers) },
      { fieldManager, force: true, dryRun: true, fieldValidation: 'Strict' },
    )
    .catch(async (err: unknown) => {
      isReplaced = await mayRecreate(err, { client, app, desired });
      if (isReplaced) return object;
      // Its namespace comes with the same tree.
      if (isNotFound(err) && err.details?.kind === 'namespaces' && newNamespaces.has(err.details.name ?? '')) return object;
      throw err;
    });
  const isOverridden = overriddenBy(overrideManagers);
  const folded = live === undefined ? undefined : foldOwners(live, takeoverRules({ app, desired, live, pointers, isOverridden }));
  const result = folded === undefined || isReplaced ? after : await addDefaults(client, desired, withoutTaken(after, folded));
  const diff = diffOf(live, result, redactIn(builder, app));
  if (diff === '') return undefined;
  const action = isReplaced ? 'replace' : live === undefined ? 'create' : 'change';
  return { action, object: builder.redactor.text(describeObject(object), keyOf(app)), file: placeOf(manifest), diff };
}

/** The object with its defaults, since those may have been among the fields that were taken away; as it is where the server refuses it. */
async function addDefaults(client: Client, { resource }: DesiredObject, object: DynamicObject): Promise<DynamicObject> {
  try {
    return await client.update<DynamicObject>(resource, object, { fieldManager, dryRun: true });
  } catch (err) {
    if (isStatusError(err)) return object;
    throw err;
  }
}

/** Objects that the app has now and no app of the tree names. */
async function listPruned(
  { client, lookup, builder }: LiveDiffOptions,
  app: Kustomization,
  claimed: ReadonlySet<ObjectId>,
): Promise<readonly ObjectDiff[]> {
  const gone = (app.status?.inventory?.entries ?? []).filter(({ id }) => !claimed.has(id));
  const diffs = await mapBounded(gone, concurrency, async ({ id }): Promise<ObjectDiff | undefined> => {
    const parsed = tryParseId(id);
    const resource = parsed === undefined ? undefined : await lookup.kindOf(parsed.group, parsed.kind);
    if (parsed === undefined || resource === undefined) return undefined;
    const live = await tryGet(client, resource as unknown as Resource<DynamicObject>, parsed.ref);
    return live === undefined || !mayDelete(app, live)
      ? undefined
      : {
          action: 'prune',
          object: redactIn(builder, app)(describe(parsed.kind, parsed.ref)),
          file: '',
          diff: diffOf(live, undefined, redactIn(builder, app)),
        };
  });
  return diffs.filter((diff) => diff !== undefined);
}

/** Compares the objects of an app at two trees, without asking the cluster. */
export async function diffRendered(options: {
  readonly builder: AppBuilder;
  readonly trees: AppTrees;
  readonly apps: readonly Kustomization[];
  readonly before: Tree;
  readonly after: Tree;
  readonly signal: AbortSignal;
}): Promise<readonly AppDiff[]> {
  const { builder, trees, before, after, signal } = options;
  return mapBounded(options.apps, 1, async (app) => {
    const left = await builder.build(app, await trees.of(app, before), signal);
    const right = await builder.build(app, await trees.of(app, after), signal);
    const errors = [...left.errors, ...right.errors];
    if (errors.length > 0) return { app: keyOf(app), objects: [], notes: [], errors };
    const known = new Map(left.manifests.map((manifest) => [idOf(manifest.object), manifest]));
    const objects: ObjectDiff[] = [];
    for (const manifest of right.manifests) {
      const id = idOf(manifest.object);
      const old = known.get(id);
      known.delete(id);
      const diff = diffOf(old?.object as DynamicObject | undefined, manifest.object as DynamicObject, redactIn(builder, app));
      if (diff === '') continue;
      objects.push({
        action: old === undefined ? 'create' : 'change',
        object: redactIn(builder, app)(describeObject(manifest.object)),
        file: placeOf(manifest),
        diff,
      });
    }
    for (const manifest of known.values()) {
      const diff = diffOf(manifest.object as DynamicObject, undefined, redactIn(builder, app));
      objects.push({ action: 'prune', object: redactIn(builder, app)(describeObject(manifest.object)), file: placeOf(manifest), diff });
    }
    return { app: keyOf(app), objects, notes: [], errors };
  });
}

/** A directory as an app of its own, for what no cluster knows yet. */
export const appOfPath = (path: string): Kustomization => ({
  apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
  kind: kustomizations.kind,
  metadata: { name: path === '' ? '.' : path },
  spec: { interval: '1h', prune: true, path, sourceRef: { kind: 'GitRepository', name: 'work-tree' } },
});

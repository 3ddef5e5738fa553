import { createHash } from 'node:crypto';
import { builtInGroups } from '../../../api/built-in-groups.ts';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import { insteadOfKind } from '../../../api/unsupported-kinds.ts';
import { annotations, labels } from '../../../api/well-known.ts';
import type { DiscoveredResource } from '../../../client/client.ts';
import { type DynamicObject, deepFreeze, type KubeObject, type ObjectRef } from '../../../machinery/object.ts';
import { parseApiVersion, type Resource } from '../../../machinery/resource.ts';
import type { BuildError, Manifest } from '../../manifests/manifest.ts';
import { describeObject, idOf, type ObjectId, tryParseId } from '../objects/object-id.ts';
import { type ObjectPolicy, policyOf } from '../objects/object-policy.ts';
import type { ResourceMapper } from '../objects/resource-mapper.ts';
import { fluxGroup } from './left-out.ts';
import { hintOfKind } from './spelling.ts';

/** An object as it is sent to the API: the manifest's content with its namespace and the labels that say which app it belongs to. */
export interface DesiredObject {
  readonly id: ObjectId;
  readonly resource: Resource<DynamicObject>;
  readonly ref: ObjectRef;
  readonly object: DynamicObject;
  readonly manifest: Manifest;
  readonly policy: ObjectPolicy;
}

export interface PlanOptions {
  readonly app: Pick<Kustomization, 'metadata' | 'spec'>;
  readonly manifests: readonly Manifest[];
  readonly mapper: ResourceMapper;
  /** Objects of the plan before this one; those whose manifest is the same are taken over as they are. */
  readonly before: ReadonlyMap<ObjectId, DesiredObject>;
}

export interface Plan {
  readonly objects: ReadonlyMap<ObjectId, DesiredObject>;
  /** Hooks that run once for a revision, besides the permanent objects. */
  readonly hooks: ReadonlyMap<ObjectId, DesiredObject>;
  /** Objects of kinds that a CustomResourceDefinition of the same revision defines and that the server does not have yet. */
  readonly undefinedYet: ReadonlySet<ObjectId>;
  readonly errors: readonly BuildError[];
  /** Every error is about a kind that the server does not have, and that a definition may bring. */
  readonly lacksKindsOnly: boolean;
  /** Every error is about a kind of Flux that nothing here acts on, and that the server does not have. */
  readonly isUnsupported: boolean;
  /** Instructions in the manifests that nobody carries out. */
  readonly notes: readonly string[];
}

/** Turns manifests into what is applied; reports every kind that the server does not have. */
export async function planObjects({ app, manifests, mapper, before }: PlanOptions): Promise<Plan> {
  const { targetNamespace } = app.spec;
  const objects = new Map<ObjectId, DesiredObject>();
  const hooks = new Map<ObjectId, DesiredObject>();
  const undefinedYet = new Set<ObjectId>();
  const errors: BuildError[] = [];
  const notes: string[] = [];
  let comingKinds = 0;
  let unsupportedKinds = 0;
  const reusable = new Map<object, DesiredObject>();
  for (const desired of before.values()) reusable.set(desired.manifest.object, desired);

  for (const manifest of manifests) {
    const known = reusable.get(manifest.object);
    if (
      known !== undefined &&
      (targetNamespace === undefined || known.ref.namespace === undefined || known.ref.namespace === targetNamespace)
    ) {
      objects.set(known.id, known.manifest === manifest ? known : { ...known, manifest });
      continue;
    }
    const policy = policyOf(manifest.object);
    if (policy.isSkipped) {
      const hook = manifest.object.metadata.annotations?.[annotations.argoHook] ?? '';
      // Argo CD's own word for what is never to run.
      if (hook !== 'Skip')
        notes.push(
          `${manifest.file}:${manifest.line} ${describeObject(manifest.object)} never runs: hook ${hook} is not supported. Use PreSync, Sync, PostSync or SyncFail.`,
        );
      continue;
    }
    const served = await resourceOf(manifest, mapper);
    const resource = served ?? definedBy(manifests, manifest.object);
    if (resource === undefined) {
      // No definition brings a kind to a group of Kubernetes itself.
      const { kind, apiVersion } = manifest.object;
      const { group } = parseApiVersion(apiVersion);
      const mayCome = !builtInGroups.has(group);
      const instead = insteadOfKind(group, kind);
      if (instead !== undefined) unsupportedKinds += 1;
      else if (mayCome) comingKinds += 1;
      errors.push({
        ...(mayCome ? { temporary: true } : {}),
        file: manifest.file,
        line: manifest.line,
        message: instead === undefined ? `the cluster has no kind ${kind} in ${apiVersion}` : `not supported: ${kind} in ${apiVersion}`,
        hint: instead ?? hintOfKind(manifest.object, await mapper.all()),
      });
      continue;
    }
    const desired = desiredOf({ app, manifest, resource });
    const twin = objects.get(desired.id) ?? hooks.get(desired.id);
    if (twin !== undefined) {
      errors.push({
        file: manifest.file,
        line: manifest.line,
        message: `defines ${describeObject(desired.object)}, which ${twin.manifest.file}:${twin.manifest.line} defines too`,
        hint: 'Keep one of the two.',
      });
      continue;
    }
    (policy.hooks.length === 0 ? objects : hooks).set(desired.id, desired);
    if (served === undefined) undefinedYet.add(desired.id);
  }
  const consistOf = (count: number): boolean => errors.length > 0 && errors.length === count;
  return {
    objects,
    hooks,
    undefinedYet,
    errors,
    lacksKindsOnly: consistOf(comingKinds),
    isUnsupported: consistOf(unsupportedKinds),
    notes,
  };
}

function resourceOf({ object }: Manifest, mapper: ResourceMapper): Promise<DiscoveredResource | undefined> {
  const { group, version } = parseApiVersion(object.apiVersion);
  return mapper.find(group, version, object.kind);
}

/** The resource that a CustomResourceDefinition among the manifests makes of a kind; undefined when there is none. */
function definedBy(manifests: readonly Manifest[], object: KubeObject): DiscoveredResource | undefined {
  const { group, version } = parseApiVersion(object.apiVersion);
  for (const { object: definition } of manifests) {
    if (definition.kind !== definitionKind) continue;
    const { spec } = definition as KubeObject & { readonly spec?: DefinitionSpec };
    if (spec?.group !== group || spec.names?.kind !== object.kind) continue;
    if (spec.names.plural === undefined || !spec.versions?.some(({ name, served }) => name === version && served === true)) continue;
    return {
      group,
      version,
      kind: object.kind,
      resource: spec.names.plural,
      namespaced: spec.scope === 'Namespaced',
      verbs: ['get', 'list', 'watch', 'create', 'patch', 'update', 'delete'],
      shortNames: [],
      subresources: [],
    };
  }
  return undefined;
}

/** The file is untrusted; the API validates the definition when it is applied. */
interface DefinitionSpec {
  readonly group?: string;
  readonly scope?: string;
  readonly names?: { readonly plural?: string; readonly kind?: string };
  readonly versions?: readonly { readonly name?: string; readonly served?: boolean }[];
}

export const definitionKind = 'CustomResourceDefinition';

/** The kinds that a definition serves, one a version. */
export function kindsOf(definition: KubeObject): readonly { readonly group: string; readonly version: string; readonly kind: string }[] {
  const { spec } = definition as KubeObject & { readonly spec?: DefinitionSpec };
  const { group = '', names, versions = [] } = spec ?? {};
  return versions.flatMap(({ name = '', served }) => (served === true ? [{ group, version: name, kind: names?.kind ?? '' }] : []));
}

/** With a definition kinds come and go. */
export const isDefinition = (id: ObjectId): boolean => tryParseId(id)?.kind === definitionKind;

/** The name with a hash of the spec behind it: another spec, another object. */
function hashedName(object: KubeObject): string {
  const { spec } = object as KubeObject & { readonly spec?: unknown };
  return `${object.metadata.name.slice(0, 54)}-${createHash('sha256')
    .update(JSON.stringify(spec ?? null))
    .digest('hex')
    .slice(0, 8)}`;
}

function desiredOf(options: {
  readonly app: PlanOptions['app'];
  readonly manifest: Manifest;
  readonly resource: DiscoveredResource;
}): DesiredObject {
  const { app, manifest, resource } = options;
  const source = withEncodedStrings(manifest.object as DynamicObject);
  const policy = policyOf(manifest.object);
  const { namespace: written, ...named } = source.metadata;
  const metadata = policy.hashesName && source.kind === 'Job' ? { ...named, name: hashedName(source) } : named;
  const namespace = resource.namespaced ? (app.spec.targetNamespace ?? written ?? 'default') : undefined;
  const object = deepFreeze({
    ...source,
    metadata: {
      ...metadata,
      ...(namespace === undefined ? {} : { namespace }),
      labels: {
        ...inheritedLabels(app, resource),
        ...source.metadata.labels,
        [labels.fluxKustomizeName]: app.metadata.name,
        [labels.fluxKustomizeNamespace]: app.metadata.namespace ?? '',
      },
    },
  }) as DynamicObject;
  return {
    id: idOf(object),
    resource: resource as unknown as Resource<DynamicObject>,
    ref: namespace === undefined ? { name: metadata.name } : { namespace, name: metadata.name },
    object,
    manifest,
    policy,
  };
}

/**
 * Labels that apps, sources and alerts get from the app that applies them. `midship gitops` follows by label on another
 * cluster, and would never look at the children of its own apps. A manifest may set the label to another value.
 */
function inheritedLabels({ metadata, spec }: PlanOptions['app'], { group }: DiscoveredResource): Readonly<Record<string, string>> {
  const managed = metadata.labels?.[labels.midshipManaged];
  // The cluster of a kubeconfig has an engine of its own, or none.
  if (managed === undefined || spec.kubeConfig !== undefined || !fluxGroup.test(group)) return {};
  return { [labels.midshipManaged]: managed };
}

/**
 * A Secret with `stringData` turned into the `data` that is stored. If it were applied as written, we would own
 * `stringData`, which no stored object has. An edit of the value would not be seen as drift, and a key that left Git
 * would stay.
 */
function withEncodedStrings(source: DynamicObject): DynamicObject {
  const { stringData, ...rest } = source as DynamicObject & { readonly stringData?: unknown; readonly data?: unknown };
  if (source.kind !== 'Secret' || source.apiVersion !== 'v1' || !isRecord(stringData)) return source;
  const data: unknown = rest.data ?? {};
  const entries = Object.entries(stringData);
  // An invalid value stays, so that the API names its field.
  if (!isRecord(data) || entries.some(([, value]) => typeof value !== 'string')) return source;
  const encoded = entries.map(([key, value]) => [key, Buffer.from(String(value)).toString('base64')] as const);
  return { ...rest, data: { ...data, ...Object.fromEntries(encoded) } };
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

import { labels } from '../../api/well-known.ts';
import type { DiscoveredResource } from '../../client/client.ts';
import { type DynamicObject, deepFreeze, type ObjectRef } from '../../machinery/object.ts';
import { parseApiVersion, type Resource } from '../../machinery/resource.ts';
import type { BuildError, Manifest } from '../build/manifest.ts';
import { describeObject, idOf, type ObjectId } from './object-id.ts';
import type { ResourceMapper } from './resource-mapper.ts';

/** An object as it is sent to the API: the manifest's content with its namespace and the labels that say which app it belongs to. */
export interface DesiredObject {
  readonly id: ObjectId;
  readonly resource: Resource<DynamicObject>;
  readonly ref: ObjectRef;
  readonly object: DynamicObject;
  readonly manifest: Manifest;
}

export interface PlanOptions {
  readonly app: ObjectRef;
  readonly manifests: readonly Manifest[];
  readonly targetNamespace: string | undefined;
  readonly mapper: ResourceMapper;
  /** Objects of the plan before this one; those whose manifest is the same are taken over as they are. */
  readonly before: ReadonlyMap<ObjectId, DesiredObject>;
}

export interface Plan {
  readonly objects: ReadonlyMap<ObjectId, DesiredObject>;
  readonly errors: readonly BuildError[];
}

/** Turns manifests into what is applied; reports every kind that the server does not have. */
export async function planObjects({ app, manifests, targetNamespace, mapper, before }: PlanOptions): Promise<Plan> {
  const objects = new Map<ObjectId, DesiredObject>();
  const errors: BuildError[] = [];
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
    const resource = await resourceOf(manifest, mapper);
    if (resource === undefined) {
      errors.push({
        file: manifest.file,
        line: manifest.line,
        message: `the cluster has no kind ${manifest.object.kind} in ${manifest.object.apiVersion}`,
        hint: 'Check apiVersion and kind, or apply the CustomResourceDefinition first.',
      });
      continue;
    }
    const desired = desiredOf({ app, manifest, targetNamespace, resource });
    const twin = objects.get(desired.id);
    if (twin !== undefined) {
      errors.push({
        file: manifest.file,
        line: manifest.line,
        message: `defines ${describeObject(desired.object)}, which ${twin.manifest.file}:${twin.manifest.line} defines too`,
        hint: 'Keep one of the two.',
      });
      continue;
    }
    objects.set(desired.id, desired);
  }
  return { objects, errors };
}

function resourceOf({ object }: Manifest, mapper: ResourceMapper): Promise<DiscoveredResource | undefined> {
  const { group, version } = parseApiVersion(object.apiVersion);
  return mapper.find(group, version, object.kind);
}

function desiredOf(options: {
  readonly app: ObjectRef;
  readonly manifest: Manifest;
  readonly targetNamespace: string | undefined;
  readonly resource: DiscoveredResource;
}): DesiredObject {
  const { app, manifest, targetNamespace, resource } = options;
  const source = withEncodedStrings(manifest.object as DynamicObject);
  const { namespace: written, ...metadata } = source.metadata;
  const namespace = resource.namespaced ? (targetNamespace ?? written ?? 'default') : undefined;
  const object = deepFreeze({
    ...source,
    metadata: {
      ...metadata,
      ...(namespace === undefined ? {} : { namespace }),
      labels: {
        ...source.metadata.labels,
        [labels.fluxKustomizeName]: app.name,
        [labels.fluxKustomizeNamespace]: app.namespace ?? '',
      },
    },
  }) as DynamicObject;
  return {
    id: idOf(object),
    resource: resource as unknown as Resource<DynamicObject>,
    ref: namespace === undefined ? { name: metadata.name } : { namespace, name: metadata.name },
    object,
    manifest,
  };
}

/**
 * A Secret with `stringData` turned into the `data` it is stored as. Applied as it is written, our ownership would be of `stringData`, which
 * no stored object has: an edit of the value would not be seen as drift, and a key that left Git would stay.
 */
function withEncodedStrings(source: DynamicObject): DynamicObject {
  const { stringData, ...rest } = source as DynamicObject & { readonly stringData?: unknown; readonly data?: unknown };
  if (source.kind !== 'Secret' || source.apiVersion !== 'v1' || !isRecord(stringData)) return source;
  const data: unknown = rest.data ?? {};
  const entries = Object.entries(stringData);
  // What is not valid is left as it is, for the API to name the field.
  if (!isRecord(data) || entries.some(([, value]) => typeof value !== 'string')) return source;
  const encoded = entries.map(([key, value]) => [key, Buffer.from(String(value)).toString('base64')] as const);
  return { ...rest, data: { ...data, ...Object.fromEntries(encoded) } };
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

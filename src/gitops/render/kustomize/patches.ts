import { applyJsonPatch } from '../../../machinery/json-patch.ts';
import { isStatusError } from '../../../machinery/status-error.ts';
import { MergeError, type MergeSchemas, mergeStrategic } from './merge.ts';
import {
  cloneJson,
  currentId,
  describeId,
  isMap,
  type JsonMap,
  metadataOf,
  newResource,
  originalId,
  type Resource,
  rememberId,
  withId,
} from './resource.ts';
import { select, type TargetSelector } from './selector.ts';

export class PatchError extends Error {}

/** A patch as it is written: strategic merge patches, or the operations of a JSON patch. */
export type ParsedPatch =
  | { readonly type: 'merge'; readonly objects: readonly JsonMap[] }
  | { readonly type: 'json'; readonly operations: readonly unknown[] };

export interface PatchOptions {
  readonly target: TargetSelector | undefined;
  readonly allowNameChange: boolean;
  readonly allowKindChange: boolean;
  /** True when references may still use the names that an object had before a JSON patch. */
  readonly remembersNames: boolean;
  /** Keys of list items, in place of the schemas of the built-in kinds. */
  readonly schemas: MergeSchemas | undefined;
}

/** Applies a patch to the objects it means; objects that it deletes leave the list. @throws PatchError */
export function applyPatch(resources: Resource[], patch: ParsedPatch, options: PatchOptions): void {
  if (patch.type === 'json') {
    if (options.target === undefined) throw new PatchError('must specify a target for JSON patch');
    for (const resource of select(resources, options.target)) patchWithOperations(resource, patch.operations, options);
    return;
  }
  if (options.target !== undefined) {
    const [object, ...others] = patch.objects;
    if (others.length > 0) {
      throw new PatchError('Multiple Strategic-Merge Patches in one `patches` entry is not allowed to set `patches.target` field');
    }
    if (object !== undefined)
      for (const resource of select(resources, options.target)) mergeInto({ resources, resource, patch: object }, options);
    return;
  }
  for (const object of patch.objects) mergeInto({ resources, resource: targetOf(resources, object), patch: object }, options);
}

function targetOf(resources: readonly Resource[], patch: JsonMap): Resource {
  const id = originalId(newResource(patch, { file: '', line: 0, blob: '' }));
  const matches = withId(resources, id);
  const [only] = matches;
  if (only !== undefined && matches.length === 1) return only;
  throw new PatchError(
    `no resource matches strategic merge patch "${describeId(id)}": ${matches.length === 0 ? 'no' : 'multiple'} matches for Id ${describeId(id)}; failed to find unique target for patch ${describeId(id)}`,
  );
}

interface Merge {
  /** All objects; one that the patch deletes leaves the list. */
  readonly resources: Resource[];
  readonly resource: Resource;
  readonly patch: JsonMap;
}

/** Kind, name and namespace stay what they were unless the options say otherwise. */
function mergeInto({ resources, resource, patch }: Merge, options: PatchOptions): void {
  const { kind, name, namespace } = currentId(resource);
  if (options.allowKindChange || options.allowNameChange) rememberId(resource);
  // On a whole object it has no effect.
  if (patch.$patch === 'replace') return;
  let merged: JsonMap | undefined;
  try {
    // A patch with a target need not name the target's version.
    const named = options.target === undefined ? patch : { ...patch, apiVersion: resource.object.apiVersion };
    merged = mergeStrategic(resource.object, named, options.schemas);
  } catch (err) {
    if (!(err instanceof MergeError)) throw err;
    throw new PatchError(`${describeId(currentId(resource))}: ${err.message}`);
  }
  if (merged === undefined || Object.keys(merged).length === 0) {
    resources.splice(resources.indexOf(resource), 1);
    return;
  }
  resource.object = merged;
  if (!options.allowKindChange) resource.object.kind = kind;
  const metadata = metadataOf(resource);
  if (!options.allowNameChange) metadata.name = name;
  if (namespace === '') delete metadata.namespace;
  else metadata.namespace = namespace;
}

function patchWithOperations(resource: Resource, operations: readonly unknown[], { remembersNames }: PatchOptions): void {
  if (remembersNames) rememberId(resource);
  try {
    // Copied, because a patch may put one value in two places and objects are changed in place later on.
    const patched = cloneJson(applyJsonPatch(resource.object, operations, { replaces: 'what is there' }));
    if (!isMap(patched)) throw new PatchError(`${describeId(currentId(resource))}: the patch leaves no object`);
    resource.object = patched;
  } catch (err) {
    if (!isStatusError(err)) throw err;
    const why = err.cause instanceof Error ? err.cause.message : err.message;
    throw new PatchError(`${describeId(currentId(resource))}: ${why}`);
  }
}

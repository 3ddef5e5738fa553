import type { Scale } from '../../api/autoscaling/v1/scale.ts';
import type { Binding } from '../../api/core/v1/binding.ts';
import { type Pod, type PodCondition, pods } from '../../api/core/v1/pod.ts';
import { loadSchemas } from '../../api/schemas.ts';
import { timestampOf } from '../../base/clock.ts';
import { setCondition } from '../../machinery/conditions.ts';
import { cannotBeHandled, DecodeError, decoderFor, type ObjectDecoder } from '../../machinery/field-validation.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import type { DynamicObject, KubeObject, ObjectMeta } from '../../machinery/object.ts';
import { apiVersionOf } from '../../machinery/resource.ts';
import { compileLabelSelector, type LabelSelectorObject, selectorOfLabels } from '../../machinery/selector.ts';
import { badRequest, conflict, invalid, StatusError } from '../../machinery/status-error.ts';
import { uidConflict } from './metadata.ts';
import type { AdmissionView } from './write.ts';

/** Changes that are asked for through a subresource whose body is another kind. */

// -------------------------------------------------------------------------------------------------------------------------------- scale

interface ScalePaths {
  readonly specReplicas: readonly string[];
  readonly statusReplicas: readonly string[];
  readonly selector: readonly string[];
}

export function scalePathsOf(kind: KindDefinition): ScalePaths | undefined {
  const scale = kind.subresources.find(({ name }) => name === 'scale')?.scale;
  if (scale === undefined) return undefined;
  const split = (path: string): readonly string[] => path.split('.').filter((part) => part !== '');
  return {
    specReplicas: split(scale.specReplicasPath),
    statusReplicas: split(scale.statusReplicasPath),
    selector: split(scale.selectorPath),
  };
}

export function scaleOf(object: KubeObject, paths: ScalePaths): Scale {
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata;
  const replicas = valueAt(object, paths.specReplicas);
  const current = valueAt(object, paths.statusReplicas);
  const selector = valueAt(object, paths.selector) as LabelSelectorObject | Readonly<Record<string, string>> | string | undefined;
  return {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      ...(uid === undefined ? {} : { uid }),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
      ...(creationTimestamp === undefined ? {} : { creationTimestamp }),
    },
    // Zero is left out on the wire.
    spec: typeof replicas === 'number' && replicas !== 0 ? { replicas } : {},
    status: {
      replicas: typeof current === 'number' ? current : 0,
      ...(selector === undefined ? {} : { selector: selectorText(selector) }),
    },
  };
}

/** ReplicationControllers select by a plain map of labels. */
const selectorText = (selector: LabelSelectorObject | Readonly<Record<string, string>> | string): string =>
  // Custom resources hold the text.
  typeof selector === 'string'
    ? selector
    : Object.values(selector).every((value) => typeof value === 'string')
      ? selectorOfLabels(selector as Readonly<Record<string, string>>).toString()
      : compileLabelSelector(selector).toString();

/** `object` with the replicas that `scale` wants; name, uid and resourceVersion are the client's, to be checked like those of a PUT. */
export function withScale(object: KubeObject, given: Scale, paths: ScalePaths): KubeObject {
  const scale = decodedScale(given);
  const replicas = scale.spec?.replicas ?? 0;
  const { name, namespace, uid, resourceVersion } = scale.metadata;
  if (replicas < 0) {
    throw invalid({ group: 'autoscaling', kind: 'Scale' }, object.metadata.name, [
      { type: 'FieldValueInvalid', field: 'spec.replicas', message: `Invalid value: ${replicas}: must be greater than or equal to 0` },
    ]);
  }
  const metadata = {
    ...object.metadata,
    name,
    ...(namespace === undefined ? {} : { namespace }),
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
  };
  return { ...(setAt(object, paths.specReplicas, replicas) as DynamicObject), metadata };
}

function decodedScale(scale: Scale): Scale {
  scaleDecoder ??= decoderFor(loadSchemas(), 'io.k8s.api.autoscaling.v1.Scale');
  try {
    return scaleDecoder.decode(scale).object;
  } catch (err) {
    if (err instanceof DecodeError) throw cannotBeHandled({ version: 'v1', kind: 'Scale' }, err.message);
    throw err;
  }
}

let scaleDecoder: ObjectDecoder | undefined;

/** A scaled object as admission sees it. */
export const scaleView = (paths: ScalePaths): AdmissionView => ({
  show: (object) => scaleOf(object, paths),
  apply: (object, shown) => withScale(object, shown as Scale, paths),
});

/** Change of an applied Scale to its object. */
export function appliedScale(kind: KindDefinition, scale: unknown, paths: ScalePaths): unknown {
  const { apiVersion, kind: scaleKind, metadata, spec } = (scale ?? {}) as Partial<Scale>;
  if (apiVersion !== 'autoscaling/v1' || scaleKind !== 'Scale')
    throw badRequest(`invalid object type: ${apiVersion ?? '/'}, Kind=${scaleKind ?? ''}`);
  const object = { apiVersion: apiVersionOf(kind), kind: kind.kind, metadata };
  return spec?.replicas === undefined ? object : setAt(object, paths.specReplicas, spec.replicas);
}

function valueAt(value: unknown, path: readonly string[]): unknown {
  if (path.length === 0) return undefined;
  let at = value;
  for (const field of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, field)) return undefined;
    at = (at as Readonly<Record<string, unknown>>)[field];
  }
  return at;
}

function setAt(target: unknown, [field, ...rest]: readonly string[], value: unknown): unknown {
  if (field === undefined) return value;
  const object = typeof target === 'object' && target !== null ? (target as Readonly<Record<string, unknown>>) : {};
  return { ...object, [field]: setAt(object[field], rest, value) };
}

// ------------------------------------------------------------------------------------------------------------------------------ binding

/** The pod, assigned to the node that the binding names, with the labels and annotations that it brings. */
export function bindPod(pod: Pod, { target, metadata }: Binding, nowMs: number): Pod {
  const what = { group: '', resource: 'pods/binding' };
  const { name, uid } = pod.metadata;
  const node = target?.name ?? '';
  if ((target?.kind ?? '') !== '' && target?.kind !== 'Node')
    throw refusal(`target.kind: Unsupported value: ${JSON.stringify(target?.kind)}: supported values: "Node", "<empty>"`);
  if (node === '') throw refusal('target.name: Required value');
  if (metadata?.uid !== undefined && metadata.uid !== '' && metadata.uid !== uid) {
    throw uidConflict(pods, pod.metadata, metadata.uid);
  }
  if (pod.metadata.deletionTimestamp !== undefined)
    throw conflict(what, name, `pod ${name} is being deleted, cannot be assigned to a host`);
  if ((pod.spec.nodeName ?? '') !== '') {
    throw conflict(what, name, `pod ${name} is already assigned to node ${JSON.stringify(pod.spec.nodeName)}`);
  }
  if ((pod.spec.schedulingGates ?? []).length > 0) throw conflict(what, name, `pod ${name} has non-empty .spec.schedulingGates`);
  // The wish of a scheduler has come true, or another node was chosen.
  const { nominatedNodeName: _, ...status } = pod.status ?? {};
  return {
    ...pod,
    metadata: withEntries(withEntries(pod.metadata, 'annotations', metadata?.annotations), 'labels', metadata?.labels),
    spec: { ...pod.spec, nodeName: node },
    status: { ...status, conditions: scheduledConditions(status.conditions, timestampOf(nowMs)) },
  };
}

const refusal = (message: string): StatusError => new StatusError({ code: 500, reason: '', message });

function withEntries(metadata: ObjectMeta, field: 'annotations' | 'labels', more: Readonly<Record<string, string>> = {}): ObjectMeta {
  return Object.keys(more).length === 0 ? metadata : { ...metadata, [field]: { ...metadata[field], ...more } };
}

function scheduledConditions(conditions: readonly PodCondition[] = [], now: string): readonly PodCondition[] {
  const before = conditions.map((condition) => {
    // The reason why the pod could not be placed before is no longer true.
    const { reason: _, message: __, ...rest } = condition;
    return condition.type === 'PodScheduled' ? rest : condition;
  });
  return setCondition<PodCondition>(before, { type: 'PodScheduled', lastProbeTime: null, status: 'True' } as unknown as PodCondition, now);
}

export const isPods = (kind: KindDefinition): boolean => kind.group === pods.group && kind.resource === pods.resource;

import type { PodSpec } from '../../api/core/v1/pod.ts';
import type { Ingress } from '../../api/networking/v1/ingress.ts';
import { rootCaConfigMap } from '../../api/well-known.ts';
import { isHostImage } from '../../base/contracts/host-image.ts';
import { nearest } from '../../base/nearest.ts';
import type { DynamicObject } from '../../machinery/object.ts';
import { describeObject } from '../apply/objects/object-id.ts';
import type { DesiredObject } from '../apply/plan/plan.ts';
import type { BuildError } from '../manifests/manifest.ts';

/** Objects that pods and Ingresses of these manifests need and no manifest defines. They may be in the cluster, so this is a warning. */
export function missingReferences(objects: readonly DesiredObject[]): readonly BuildError[] {
  const known = new Set(objects.map(({ object }) => `${object.kind}/${object.metadata.namespace ?? ''}/${object.metadata.name}`));
  return objects.flatMap(({ object, manifest }) => {
    const namespace = object.metadata.namespace ?? '';
    const spec = podSpecOf(object);
    const needs = object.kind === 'Ingress' ? servicesOf(object) : spec === undefined ? [] : needsOf(spec);
    const missing = [...new Set(needs)].filter((need) => !known.has(need.replace('/', `/${namespace}/`)));
    return missing.map((need) => ({
      file: manifest.file,
      line: manifest.line,
      message: `${describeObject(object)}: ${need.replace('/', ` ${namespace}/`)} is not among the files`,
    }));
  });
}

/** Namespaces that no manifest defines and that are spelled like one that a manifest does: a slip, most likely. Each is named once. */
export function misspelledNamespaces(objects: readonly DesiredObject[]): readonly BuildError[] {
  const known = objects.flatMap(({ object }) => (object.kind === 'Namespace' ? object.metadata.name : []));
  const seen = new Set(['default', ...known]);
  return objects.flatMap(({ object, manifest: { file, line } }) => {
    const { namespace } = object.metadata;
    if (namespace === undefined || seen.has(namespace)) return [];
    seen.add(namespace);
    const meant = nearest(namespace, known);
    if (meant === undefined) return [];
    const message = `${describeObject(object)}: namespace ${JSON.stringify(namespace)} is not among the files`;
    return [{ file, line, message, hint: `Did you mean ${meant}?` }];
  });
}

/** Images that nodes without a container engine cannot run. A pod with a runtime class names its runtime, so it is left out. */
export function imagesToPull(objects: readonly DesiredObject[]): readonly BuildError[] {
  return objects.flatMap(({ object, manifest: { file, line } }) => {
    const spec = podSpecOf(object);
    if (spec === undefined || spec.runtimeClassName !== undefined) return [];
    const pulled = [...(spec.initContainers ?? []), ...spec.containers].filter(
      ({ image }) => typeof image === 'string' && !isHostImage(image),
    );
    return pulled.map(({ name, image }) => ({
      file,
      line,
      message: `${describeObject(object)}: the running cluster cannot run image ${image} of container ${name}: its nodes run programs of the machine, as host/NAME`,
    }));
  });
}

/** Pod spec of a pod, a workload or a CronJob. */
function podSpecOf(object: DynamicObject): PodSpec | undefined {
  const spec = object.spec as
    | { readonly template?: unknown; readonly jobTemplate?: { readonly spec?: unknown }; readonly containers?: unknown }
    | undefined;
  if (typeof spec !== 'object' || spec === null) return undefined;
  if (object.kind === 'Pod') return spec as unknown as PodSpec;
  const inner = object.kind === 'CronJob' ? (spec.jobTemplate?.spec as { readonly template?: unknown } | undefined) : spec;
  const template = inner?.template as { readonly spec?: unknown } | undefined;
  const found = template?.spec;
  return typeof found === 'object' && found !== null && Array.isArray((found as { readonly containers?: unknown }).containers)
    ? (found as PodSpec)
    : undefined;
}

/** `Service/name` for each backend of an Ingress, which was not checked yet. */
function servicesOf({ spec }: DynamicObject): readonly string[] {
  const { defaultBackend, rules = [] } = (spec ?? {}) as NonNullable<Ingress['spec']>;
  const paths = Array.isArray(rules) ? rules.flatMap((rule) => rule?.http?.paths ?? []) : [];
  return [defaultBackend, ...paths.map((path) => path?.backend)].flatMap((backend) => {
    const name: unknown = backend?.service?.name;
    return typeof name === 'string' && name !== '' ? [`Service/${name}`] : [];
  });
}

/** `ConfigMap/name` for each object that must be there before a container starts. */
function needsOf(spec: PodSpec): readonly string[] {
  const needs: string[] = [];
  const add = (kind: string, source: { readonly name?: string | undefined; readonly optional?: boolean | undefined } | undefined): void => {
    if (typeof source?.name !== 'string' || source.name === '' || source.optional === true) return;
    // The cluster puts it into each namespace.
    if (kind !== 'ConfigMap' || source.name !== rootCaConfigMap) needs.push(`${kind}/${source.name}`);
  };
  for (const volume of spec.volumes ?? []) {
    add('ConfigMap', volume.configMap);
    add('Secret', volume.secret && { name: volume.secret.secretName, optional: volume.secret.optional });
    add('PersistentVolumeClaim', volume.persistentVolumeClaim && { name: volume.persistentVolumeClaim.claimName });
    for (const source of volume.projected?.sources ?? []) {
      add('ConfigMap', source.configMap);
      add('Secret', source.secret);
    }
  }
  for (const { env = [], envFrom = [] } of [...(spec.initContainers ?? []), ...spec.containers]) {
    for (const { valueFrom } of env) {
      add('ConfigMap', valueFrom?.configMapKeyRef);
      add('Secret', valueFrom?.secretKeyRef);
    }
    for (const { configMapRef, secretRef } of envFrom) {
      add('ConfigMap', configMapRef);
      add('Secret', secretRef);
    }
  }
  if (spec.serviceAccountName !== 'default') add('ServiceAccount', { name: spec.serviceAccountName });
  return needs;
}

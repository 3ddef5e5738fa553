import { parseDuration } from '../../../api/flux.ts';
import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { Overlay } from '../../render/kustomize/phases/render-options.ts';

const defaultTimeoutMs = 10 * 60_000;

/** Longest time for health, and for a whole sync. */
export const timeoutMsOf = ({ spec }: Kustomization): number =>
  spec.timeout === undefined ? defaultTimeoutMs : parseDuration(spec.timeout);

/** Reading of a Kustomization's spec: what it follows, what it waits for, and what of it is not there yet. */

/** The labels of an app's metrics. */
export const labelsOf = ({ metadata }: Kustomization): { readonly namespace: string; readonly app: string } => ({
  namespace: metadata.namespace ?? '',
  app: metadata.name,
});

/** `namespace/name` of the GitRepository. */
export function sourceKeyOf({ spec, metadata }: Kustomization): string {
  return `${spec.sourceRef.namespace ?? metadata.namespace}/${spec.sourceRef.name}`;
}

/** Target cluster of an app: the Secret of its kubeconfig, or empty for the app's own cluster. */
export function targetKeyOf({ spec, metadata }: Kustomization): string {
  const { secretRef } = spec.kubeConfig ?? {};
  return secretRef === undefined ? '' : `${metadata.namespace}/${secretRef.name}${secretRef.key === undefined ? '' : `/${secretRef.key}`}`;
}

/** True when a deleted app takes its objects with it, by `spec.deletionPolicy`. A suspended app never does. */
export function deletesObjects({ spec }: Kustomization): boolean {
  const policy = spec.deletionPolicy ?? 'MirrorPrune';
  if (policy === 'Orphan' || spec.suspend === true) return false;
  return policy === 'MirrorPrune' ? spec.prune : true;
}

/** Index of apps by the keys of those that they wait for. */
export const byDependency = 'gitops-dependency';

export function dependencyKeys({ spec, metadata }: Kustomization): readonly string[] {
  return (spec.dependsOn ?? []).map(({ name, namespace }) => `${namespace ?? metadata.namespace}/${name}`);
}

/** Additions of the spec to the kustomization at its path; undefined when there are none. */
export function overlayOf({ spec }: Kustomization): Overlay | undefined {
  const {
    namePrefix,
    nameSuffix,
    components = [],
    patches = [],
    images = [],
    targetNamespace,
    ignoreMissingComponents,
    buildMetadata = [],
  } = spec;
  if (
    [namePrefix, nameSuffix, targetNamespace].every((text) => !text) &&
    [components, patches, images, buildMetadata].every(({ length }) => length === 0)
  ) {
    return undefined;
  }
  return {
    namespace: targetNamespace,
    namePrefix,
    nameSuffix,
    components,
    ignoreMissingComponents,
    buildMetadata,
    patches: patches.map(({ patch, target }) => ({
      patch: patch.trim(),
      path: '',
      // An empty target selects everything, which nobody means by leaving it out.
      target: target === undefined || Object.keys(target).length === 0 ? undefined : target,
      allowNameChange: false,
      allowKindChange: false,
    })),
    images: images.map(({ name, newName = '', newTag = '', digest = '' }) => ({ name, newName, newTag, digest, tagSuffix: '' })),
  };
}

/** Fields of Flux that are not there yet. Each changes what is applied or by whom, so an app that uses one is not applied at all. */
const unsupportedFields = ['decryption', 'serviceAccountName'] as const satisfies readonly (keyof Kustomization['spec'])[];

/** Finds the first part of a spec that is not supported; undefined when all is. */
export function findUnsupported({ spec }: Kustomization): string | undefined {
  const field = unsupportedFields.find((name) => {
    const value = spec[name];
    return value !== undefined && !(Array.isArray(value) && value.length === 0);
  });
  if (field !== undefined) return `spec.${field}`;
  if (spec.kubeConfig !== undefined && spec.kubeConfig.secretRef === undefined) return 'spec.kubeConfig.configMapRef';
  return spec.sourceRef.kind === 'GitRepository' ? undefined : `spec.sourceRef.kind ${spec.sourceRef.kind}`;
}

/** The apps of a circle of dependencies that leads back to `app`, in order; undefined when there is none. */
export function dependencyCycle(app: Kustomization, find: (key: string) => Kustomization | undefined): readonly string[] | undefined {
  const start = `${app.metadata.namespace}/${app.metadata.name}`;
  const seen = new Set<string>();
  const visit = (key: string, path: readonly string[]): readonly string[] | undefined => {
    if (key === start) return [...path, key];
    if (seen.has(key)) return undefined;
    seen.add(key);
    const next = find(key);
    for (const dependency of next === undefined ? [] : dependencyKeys(next)) {
      const found = visit(dependency, [...path, key]);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  for (const dependency of dependencyKeys(app)) {
    const found = visit(dependency, [start]);
    if (found !== undefined) return found;
  }
  return undefined;
}

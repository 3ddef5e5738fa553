import type { Kustomization } from '../../api/kustomize/v1/kustomization.ts';

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

export function dependencyKeys({ spec, metadata }: Kustomization): readonly string[] {
  return (spec.dependsOn ?? []).map(({ name, namespace }) => `${namespace ?? metadata.namespace}/${name}`);
}

/** Fields of Flux that are not there yet. Each changes what is applied or by whom, so an app that uses one is not applied at all. */
const unsupportedFields = [
  'commonMetadata',
  'decryption',
  'kubeConfig',
  'postBuild',
  'namePrefix',
  'nameSuffix',
  'patches',
  'images',
  'serviceAccountName',
  'components',
  'healthCheckExprs',
  'driftIgnoreRules',
] as const satisfies readonly (keyof Kustomization['spec'])[];

/** The first thing that is not supported; undefined when all is. */
export function unsupportedIn({ spec }: Kustomization): string | undefined {
  const field = unsupportedFields.find((name) => {
    const value = spec[name];
    return value !== undefined && !(Array.isArray(value) && value.length === 0);
  });
  if (field !== undefined) return `spec.${field}`;
  if (spec.dependsOn?.some(({ readyExpr }) => readyExpr !== undefined)) return 'spec.dependsOn[].readyExpr';
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

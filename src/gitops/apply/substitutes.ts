import { configMaps } from '../../api/core/v1/config-map.ts';
import { secrets } from '../../api/core/v1/secret.ts';
import type { Kustomization } from '../../api/kustomize/v1/kustomization.ts';
import type { Informer, InformerSet } from '../../client/informer.ts';
import { deepEqual, type KubeObject, keyOf } from '../../machinery/object.ts';

export interface SubstituteWatchOptions {
  readonly apps: Informer<Kustomization>;
  readonly informers: InformerSet;
  /** The values of a ConfigMap or Secret that an app takes variables from are others than before. */
  onChange(app: string): void;
}

const bySubstitute = 'gitops-substitute';

/**
 * Follows what `spec.postBuild.substituteFrom` names, so that a changed value is applied at once and not at the next commit. ConfigMaps
 * and Secrets are only watched once an app uses any.
 */
export function watchSubstitutes({ apps, informers, onChange }: SubstituteWatchOptions): void {
  apps.addIndex(bySubstitute, substituteIndex);
  const watched = new Set<string>();

  apps.addHandler(({ after }) => {
    for (const { kind } of after?.spec.postBuild?.substituteFrom ?? []) {
      if (watched.has(kind)) continue;
      watched.add(kind);
      if (kind === 'ConfigMap') informers.get(configMaps).addHandler((change) => changed(kind, change));
      else informers.get(secrets).addHandler((change) => changed(kind, change));
    }
  });

  interface Change {
    readonly before?: KubeObject & { readonly data?: unknown };
    readonly after?: KubeObject & { readonly data?: unknown };
  }

  function changed(kind: string, { before, after }: Change): void {
    const object = after ?? before;
    if (object === undefined || (before !== undefined && after !== undefined && deepEqual(before.data, after.data))) return;
    for (const app of apps.byIndex(bySubstitute, `${kind}/${keyOf(object)}`)) onChange(keyOf(app));
  }
}

function substituteIndex({ spec, metadata }: Kustomization): readonly string[] {
  return (spec.postBuild?.substituteFrom ?? []).map(({ kind, name }) => `${kind}/${metadata.namespace}/${name}`);
}

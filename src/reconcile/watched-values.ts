import { configMaps } from '../api/core/v1/config-map.ts';
import { secrets } from '../api/core/v1/secret.ts';
import type { Informer, InformerSet } from '../client/informer.ts';
import { deepEqual, type KubeObject, keyOf } from '../machinery/object.ts';

/** A ConfigMap or Secret of an object's own namespace. */
export interface ValuesRef {
  readonly kind: 'ConfigMap' | 'Secret';
  readonly name: string;
}

export interface ValuesWatchOptions<T extends KubeObject> {
  readonly owners: Informer<T>;
  readonly informers: InformerSet;
  /** Objects from which an object takes values. */
  refsOf(owner: T): readonly ValuesRef[];
  /** The values are others than before, have come or are gone. */
  onChange(owner: T): void;
}

const byValues = 'gitops-values';

/**
 * Follows the ConfigMaps and Secrets that objects name, so that what comes or changes counts at once. They are only watched once an object
 * names any.
 */
export function watchValues<T extends KubeObject>({ owners, informers, refsOf, onChange }: ValuesWatchOptions<T>): void {
  owners.addIndex(byValues, (owner) => refsOf(owner).map(({ kind, name }) => `${kind}/${owner.metadata.namespace}/${name}`));
  const watched = new Set<string>();

  owners.addHandler(({ after }) => {
    for (const { kind } of after === undefined ? [] : refsOf(after)) {
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
    for (const owner of owners.byIndex(byValues, `${kind}/${keyOf(object)}`)) onChange(owner);
  }
}

import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import type { Registry } from '../registry/registry.ts';

/**
 * What is made of all objects of a cluster-scoped kind, in order of their names: made when it is first asked for after a change, so that
 * asking costs nothing otherwise. The function that comes back is true to every committed write.
 */
export function followed<T extends KubeObject, R>(
  registry: Pick<Registry, 'stateOf' | 'revision'>,
  kind: KindDefinition<T>,
  make: (objects: readonly T[]) => R,
): () => R {
  let made: { readonly value: R } | undefined;
  let follows = false;

  function follow(): void {
    follows = true;
    registry.stateOf(kind as KindDefinition).hub.add({
      filter: { namespace: undefined, name: undefined, indexed: undefined, predicate: undefined, selective: false },
      after: registry.revision,
      bookmarks: false,
      pending: [],
      consumer: {
        onEvents() {
          made = undefined;
        },
        // The server stops, or the process ends because its store is gone.
        onEnd: () => undefined,
      },
    });
  }

  return () => {
    if (!follows) follow();
    if (made === undefined) {
      const { all } = registry.stateOf(kind as KindDefinition);
      made = { value: make(all.keys().map((key) => all.objects.get(key) as unknown as T)) };
    }
    return made.value;
  };
}

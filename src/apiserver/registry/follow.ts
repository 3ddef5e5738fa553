import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import type { Registry } from './registry.ts';

/**
 * Calls `see` for every object of the kind that is there, and for every change from now on as soon as it is committed: what follows from
 * an object counts before its writer is told. `see` must only note.
 */
export function followObjects(
  registry: Pick<Registry, 'stateOf' | 'revision'>,
  kind: KindDefinition,
  see: (object: KubeObject, gone: boolean) => void,
): void {
  const state = registry.stateOf(kind);
  for (const object of state.all.objects.values()) see(object, false);
  state.hub.add({
    filter: { namespace: undefined, name: undefined, indexed: undefined, predicate: undefined, selective: false },
    after: registry.revision,
    bookmarks: false,
    pending: [],
    consumer: {
      onEvents(records) {
        for (const { type, object } of records) see(object, type === 'DELETED');
      },
      // The server stops, or the process ends because its store is gone.
      onEnd: () => undefined,
    },
  });
}

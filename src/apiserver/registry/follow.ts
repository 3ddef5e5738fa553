import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import type { Registry } from './registry.ts';
import type { Watcher } from './watch-hub.ts';

/**
 * Calls `see` for every existing object of the kind, and for every later change as soon as it is committed. Its effects
 * therefore count before the writer gets an answer. `see` must only note. An object that makes it throw is skipped and
 * reported. If the error were passed on, it would end the start, or silently stop following all objects.
 *
 * @returns ends it
 */
export function followObjects(
  registry: Pick<Registry, 'stateOf' | 'revision' | 'onSkipped'>,
  kind: KindDefinition,
  see: (object: KubeObject, gone: boolean) => void,
): () => void {
  const state = registry.stateOf(kind);
  const trySee = (object: KubeObject, gone: boolean): void => {
    try {
      see(object, gone);
    } catch (err) {
      registry.onSkipped?.(object, err);
    }
  };
  for (const object of state.all.objects.values()) trySee(object, false);
  const watcher: Watcher = {
    filter: { namespace: undefined, name: undefined, indexed: undefined, predicate: undefined, selective: false },
    after: registry.revision,
    bookmarks: false,
    isInternal: true,
    pending: [],
    consumer: {
      onEvents(records) {
        for (const { type, object } of records) trySee(object, type === 'DELETED');
      },
      // The server stops, or the process ends because its store is gone.
      onEnd: () => undefined,
    },
  };
  state.hub.add(watcher);
  return () => state.hub.remove(watcher);
}

import type { Log } from '../../base/log.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import type { Registry } from '../registry/registry.ts';

export interface DeriveOptions<T extends KubeObject, R> {
  readonly registry: Pick<Registry, 'stateOf' | 'revision'>;
  readonly kind: KindDefinition<T>;
  make(object: T): R;
  /** Replaces an object that `make` threw for, which an earlier version may have stored; undefined leaves it out. */
  broken?(object: T): R | undefined;
  readonly log: Log;
}

/**
 * Derives one value from each object of a cluster-scoped kind, in order of their names. The first call after a change
 * computes the list; later calls are free. The returned function reflects every committed write, and returns the same
 * list until the next. An object that makes `make` throw is logged, and only its own value is missing.
 */
export function deriveFromAll<T extends KubeObject, R>({ registry, kind, make, broken, log }: DeriveOptions<T, R>): () => readonly R[] {
  let made: readonly R[] | undefined;
  let follows = false;

  function follow(): void {
    follows = true;
    registry.stateOf(kind as KindDefinition).hub.add({
      filter: { namespace: undefined, name: undefined, indexed: undefined, predicate: undefined, selective: false },
      after: registry.revision,
      bookmarks: false,
      isInternal: true,
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

  function tryMake(object: T): readonly R[] {
    try {
      return [make(object)];
    } catch (err) {
      log.error({ err, kind: kind.kind, name: object.metadata.name }, 'Could not read a configuration of admission');
    }
    try {
      const instead = broken?.(object);
      return instead === undefined ? [] : [instead];
    } catch {
      // It cannot even be said what it is about; the log has why.
      return [];
    }
  }

  return () => {
    if (!follows) follow();
    if (made === undefined) {
      const { all } = registry.stateOf(kind as KindDefinition);
      made = all.keys().flatMap((key) => tryMake(all.objects.get(key) as unknown as T));
    }
    return made;
  };
}

/** Keeps the result of `make` for a list until `list` gives another one. */
export function memoize<T, R>(list: () => readonly T[], make: (list: readonly T[]) => R): () => R {
  let known: { readonly of: readonly T[]; readonly value: R } | undefined;
  return () => {
    const of = list();
    if (known?.of !== of) known = { of, value: make(of) };
    return known.value;
  };
}

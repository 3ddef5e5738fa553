import type { Log } from '../../base/log.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import type { Registry } from '../registry/registry.ts';

export interface FollowedOptions<T extends KubeObject, R> {
  readonly registry: Pick<Registry, 'stateOf' | 'revision'>;
  readonly kind: KindDefinition<T>;
  make(object: T): R;
  /** Replaces an object that `make` threw for, which an earlier version may have stored; undefined leaves it out. */
  broken?(object: T): R | undefined;
  readonly log: Log;
}

/**
 * Makes one value of each object of a cluster-scoped kind, in order of their names. It does so when first asked after a change, so that
 * asking costs nothing otherwise. The function that comes back is true to every committed write, and gives the same list until the next.
 * An object that `make` throws for is logged. The writes of others go on, and so does the process.
 */
export function followObjects<T extends KubeObject, R>({ registry, kind, make, broken, log }: FollowedOptions<T, R>): () => readonly R[] {
  let made: readonly R[] | undefined;
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

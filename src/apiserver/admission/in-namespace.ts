import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import type { Registry } from '../registry/registry.ts';

const none: readonly never[] = [];

/** The objects of a kind in one namespace, in order of their names. Costs a look-up when there are none, which is the usual case. */
export function inNamespace<T extends KubeObject>(
  registry: Pick<Registry, 'stateOf'>,
  kind: KindDefinition<T>,
  namespace: string | undefined,
): readonly T[] {
  if (namespace === undefined) return none;
  const bucket = registry
    .stateOf(kind as KindDefinition)
    .candidates({ namespace, name: undefined, indexed: undefined, predicate: undefined, selective: false });
  if (bucket.objects.size === 0) return none;
  const found: T[] = [];
  for (const key of bucket.keys()) {
    const object = bucket.objects.get(key);
    if (object !== undefined) found.push(object as T);
  }
  return found;
}

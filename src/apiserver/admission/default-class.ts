import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import type { Registry } from '../registry/registry.ts';

/**
 * The class that an annotation marks as the default. Among several the newest wins, then the first by name, as
 * upstream.
 */
export function defaultOf<T extends KubeObject>(
  registry: Pick<Registry, 'stateOf'>,
  kind: KindDefinition<T>,
  annotations: readonly string[],
): T | undefined {
  let chosen: KubeObject | undefined;
  for (const object of registry.stateOf(kind as KindDefinition).all.objects.values()) {
    if (!annotations.some((annotation) => object.metadata.annotations?.[annotation] === 'true')) continue;
    if (chosen === undefined || isBefore(object, chosen)) chosen = object;
  }
  return chosen as T | undefined;
}

function isBefore({ metadata: a }: KubeObject, { metadata: b }: KubeObject): boolean {
  if (a.creationTimestamp !== b.creationTimestamp) return (a.creationTimestamp ?? '') > (b.creationTimestamp ?? '');
  return a.name < b.name;
}

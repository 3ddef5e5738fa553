import { defaultAmong } from '../../api/default-class.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import type { KubeObject } from '../../machinery/object.ts';
import type { Registry } from '../registry/registry.ts';

/** The object of a kind that an annotation marks as the default. */
export const defaultOf = <T extends KubeObject>(
  registry: Pick<Registry, 'stateOf'>,
  kind: KindDefinition<T>,
  annotations: readonly string[],
): T | undefined => defaultAmong(registry.stateOf(kind as KindDefinition).all.objects.values() as Iterable<T>, annotations);

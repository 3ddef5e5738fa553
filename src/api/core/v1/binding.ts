import type { Binding as V1Binding } from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { Kube } from '../../../machinery/object.ts';
import { reviewKind } from '../../review-kind.ts';

/** The older way to assign a pod to a node: what `pods/binding` does, with the pod's name in the body alone. */
export const bindings: KindDefinition<Binding> = reviewKind({
  group: '',
  version: 'v1',
  resource: 'bindings',
  kind: 'Binding',
  singular: 'binding',
  namespaced: true,
  schemaName: 'io.k8s.api.core.v1.Binding',
});

/** Body of `pods/binding`: `target` names the node. Nothing of it is stored. */
export type Binding = Kube<V1Binding>;

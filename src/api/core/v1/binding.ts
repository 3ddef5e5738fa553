import type { Binding as V1Binding } from 'kubernetes-types/core/v1.d.ts';
import type { Kube } from '../../../machinery/object.ts';

/** Body of `pods/binding`: `target` names the node. Nothing of it is stored. */
export type Binding = Kube<V1Binding>;

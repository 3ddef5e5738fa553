import type { Scale as V1Scale } from 'kubernetes-types/autoscaling/v1.d.ts';
import type { Kube } from '../../../machinery/object.ts';

/** Body of the `scale` subresource; nothing of it is stored. `status.selector` is a label selector as text. */
export type Scale = Kube<V1Scale>;

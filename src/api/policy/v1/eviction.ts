import type { Eviction as V1Eviction } from 'kubernetes-types/policy/v1.d.ts';
import type { Kube } from '../../../machinery/object.ts';

/** Body of `pods/eviction`; nothing of it is stored. */
export type Eviction = Kube<V1Eviction>;

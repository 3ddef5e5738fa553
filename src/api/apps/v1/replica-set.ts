import type {
  ReplicaSet as V1ReplicaSet,
  ReplicaSetCondition as V1ReplicaSetCondition,
  ReplicaSetSpec as V1ReplicaSetSpec,
  ReplicaSetStatus as V1ReplicaSetStatus,
} from 'kubernetes-types/apps/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, Kube } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults, withField } from '../../copy-on-write.ts';
import { defaultPodTemplate } from '../../core/v1/pod-spec-defaults.ts';
import { checkNonNegative } from '../../formats.ts';
import {
  checkSelectorAndTemplate,
  checkSelectorKept,
  scaledSubresources,
  validateReplicaStatus,
  workloadColumns,
  workloadWarnings,
} from '../../workload.ts';

export const replicaSets: KindDefinition<ReplicaSet> = {
  group: 'apps',
  version: 'v1',
  resource: 'replicasets',
  kind: 'ReplicaSet',
  namespaced: true,
  singular: 'replicaset',
  shortNames: ['rs'],
  categories: ['all'],
  schemaName: 'io.k8s.api.apps.v1.ReplicaSet',
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  subresources: scaledSubresources,
  columns: [
    nameColumn,
    { name: 'Desired', type: 'integer', description: 'Wanted pods.', cell: ({ spec }) => spec.replicas ?? 0 },
    { name: 'Current', type: 'integer', description: 'Pods that exist.', cell: ({ status }) => status?.replicas ?? 0 },
    { name: 'Ready', type: 'integer', description: 'Pods that are ready.', cell: ({ status }) => status?.readyReplicas ?? 0 },
    ageColumn,
    ...workloadColumns,
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: (replicaSet, before) => {
    if (before !== undefined && replicaSet.spec === before.spec) return replicaSet;
    const spec = withDefaults(replicaSet.spec ?? ({} as ReplicaSetSpec), { replicas: 1 });
    return withField(replicaSet, 'spec', isAbsent(spec.template) ? spec : withField(spec, 'template', defaultPodTemplate(spec.template)));
  },
  prepareForCreate: (replicaSet) => ({ ...replicaSet, status: { replicas: 0 } }),
  validateStatus: validateReplicaStatus,
  warnings: workloadWarnings,
  validate: (replicaSet, before) => {
    const errors: FieldError[] = [];
    const { spec } = replicaSet;
    if (before !== undefined && spec === before.spec) return errors;
    checkNonNegative(errors, 'spec.replicas', spec.replicas);
    checkNonNegative(errors, 'spec.minReadySeconds', spec.minReadySeconds);
    // Scaling leaves the template as it is, and scaling is what happens most.
    const isScaled = before !== undefined && spec.template === before.spec.template && spec.selector === before.spec.selector;
    if (!isScaled) checkSelectorAndTemplate(errors, spec);
    checkSelectorKept(errors, spec, before?.spec);
    return errors;
  },
};

export type ReplicaSet = Kube<V1ReplicaSet> & { readonly spec: ReplicaSetSpec };
export type ReplicaSetSpec = DeepReadonly<V1ReplicaSetSpec>;
export type ReplicaSetStatus = DeepReadonly<V1ReplicaSetStatus>;
export type ReplicaSetCondition = DeepReadonly<V1ReplicaSetCondition>;

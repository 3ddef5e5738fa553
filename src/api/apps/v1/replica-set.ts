import type {
  ReplicaSet as V1ReplicaSet,
  ReplicaSetCondition as V1ReplicaSetCondition,
  ReplicaSetSpec as V1ReplicaSetSpec,
  ReplicaSetStatus as V1ReplicaSetStatus,
} from 'kubernetes-types/apps/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import { type DeepReadonly, deepEqual, type Kube } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults, withField } from '../../copy-on-write.ts';
import { defaultPodTemplate } from '../../core/v1/pod-spec-defaults.ts';
import { podPrefixWarnings, podWarnings } from '../../core/v1/pod-warnings.ts';
import { immutable } from '../../field-errors.ts';
import { checkNonNegative } from '../../formats.ts';
import { workloadColumns } from '../../workload-columns.ts';
import { checkReplicaCounts, checkSelectorAndTemplate } from '../../workload-validation.ts';

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
  subresources: [
    { name: 'status', verbs: ['get', 'patch', 'update'] },
    {
      name: 'scale',
      verbs: ['get', 'patch', 'update'],
      body: { group: 'autoscaling', version: 'v1', kind: 'Scale' },
      scale: { specReplicasPath: '.spec.replicas', statusReplicasPath: '.status.replicas', selectorPath: '.spec.selector' },
    },
  ],
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
  validateStatus: ({ status }) => {
    const errors: FieldError[] = [];
    checkReplicaCounts(errors, status);
    return errors;
  },
  warnings: (replicaSet, before) => {
    const { metadata, spec } = replicaSet;
    const named = before === undefined ? podPrefixWarnings(metadata.name) : [];
    return spec.template === before?.spec.template ? named : [...named, ...podWarnings('spec.template.', spec.template ?? {})];
  },
  validate: (replicaSet, before) => {
    const errors: FieldError[] = [];
    const { spec } = replicaSet;
    if (before !== undefined && spec === before.spec) return errors;
    checkNonNegative(errors, 'spec.replicas', spec.replicas);
    checkNonNegative(errors, 'spec.minReadySeconds', spec.minReadySeconds);
    // Scaling leaves the template as it is, and scaling is what happens most.
    const isScaled = before !== undefined && spec.template === before.spec.template && spec.selector === before.spec.selector;
    if (!isScaled) checkSelectorAndTemplate(errors, spec);
    if (before !== undefined && !deepEqual(spec.selector, before.spec.selector)) errors.push(immutable('spec.selector', spec.selector));
    return errors;
  },
};

export type ReplicaSet = Kube<V1ReplicaSet> & { readonly spec: ReplicaSetSpec };
export type ReplicaSetSpec = DeepReadonly<V1ReplicaSetSpec>;
export type ReplicaSetStatus = DeepReadonly<V1ReplicaSetStatus>;
export type ReplicaSetCondition = DeepReadonly<V1ReplicaSetCondition>;

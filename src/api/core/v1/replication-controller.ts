import type {
  ReplicationControllerSpec as V1ReplicationControllerSpec,
  ReplicationControllerStatus as V1ReplicationControllerStatus,
} from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, KubeObject } from '../../../machinery/object.ts';
import { selectorOfLabels } from '../../../machinery/selector.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults, withField } from '../../copy-on-write.ts';
import { forbidden, invalidValue, notSupported, required } from '../../field-errors.ts';
import { checkNonNegative } from '../../formats.ts';
import { checkReplicaCounts } from '../../workload.ts';
import type { PodTemplateSpec } from './pod.ts';
import { defaultPodTemplate } from './pod-spec-defaults.ts';
import { checkPodTemplate } from './pod-spec-validation.ts';
import { podPrefixWarnings, podWarnings } from './pod-warnings.ts';

export const replicationControllers: KindDefinition<ReplicationController> = {
  group: '',
  version: 'v1',
  resource: 'replicationcontrollers',
  kind: 'ReplicationController',
  namespaced: true,
  singular: 'replicationcontroller',
  shortNames: ['rc'],
  categories: ['all'],
  schemaName: 'io.k8s.api.core.v1.ReplicationController',
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
    {
      name: 'Containers',
      type: 'string',
      description: 'Names of the containers of the template.',
      priority: 1,
      cell: ({ spec }) => (spec.template?.spec?.containers ?? []).map(({ name }) => name).join(','),
    },
    {
      name: 'Images',
      type: 'string',
      description: 'Images of the containers of the template.',
      priority: 1,
      cell: ({ spec }) => (spec.template?.spec?.containers ?? []).map(({ image = '' }) => image).join(','),
    },
    {
      name: 'Selector',
      type: 'string',
      description: 'Labels of the pods.',
      priority: 1,
      cell: ({ spec }) => selectorOfLabels(spec.selector).toString() || '<none>',
    },
  ],
  selectableFields: { 'status.replicas': ({ status }) => String(status?.replicas ?? 0) },
  deleteAnswer: 'status',
  shortFieldLabelError: true,
  defaultPropagation: 'Orphan',
  defaults: (controller, before) => {
    if (before !== undefined && controller.spec === before.spec) return controller;
    const labels = controller.spec?.template?.metadata?.labels;
    let result = controller;
    let spec = withDefaults(controller.spec ?? {}, { replicas: 1 });
    if (labels !== undefined) {
      if (Object.keys(spec.selector ?? {}).length === 0) spec = { ...spec, selector: labels };
      if (Object.keys(result.metadata.labels ?? {}).length === 0) result = { ...result, metadata: { ...result.metadata, labels } };
    }
    return withField(result, 'spec', isAbsent(spec.template) ? spec : withField(spec, 'template', defaultPodTemplate(spec.template)));
  },
  prepareForCreate: (controller) => ({ ...controller, status: { replicas: 0 } }),
  validateStatus: ({ status }) => {
    const errors: FieldError[] = [];
    checkReplicaCounts(errors, status);
    return errors;
  },
  warnings: (controller, before) => {
    const { metadata, spec } = controller;
    const named = before === undefined ? podPrefixWarnings(metadata.name) : [];
    return spec.template === before?.spec.template ? named : [...named, ...podWarnings('spec.template.', spec.template ?? {})];
  },
  validate: ({ spec }, before) => {
    const errors: FieldError[] = [];
    if (before !== undefined && spec === before.spec) return errors;
    checkNonNegative(errors, 'spec.minReadySeconds', spec.minReadySeconds);
    const selector = spec.selector ?? {};
    if (Object.keys(selector).length === 0) errors.push(required('spec.selector'));
    checkNonNegative(errors, 'spec.replicas', spec.replicas);
    checkTemplate(errors, spec.template, selector);
    return errors;
  },
};

function checkTemplate(errors: FieldError[], template: PodTemplateSpec | undefined, selector: Readonly<Record<string, string>>): void {
  const field = 'spec.template';
  if (isAbsent(template)) {
    errors.push(required(field));
    return;
  }
  const labels = template.metadata?.labels;
  if (Object.keys(selector).length > 0 && !selectorOfLabels(selector).matches(labels)) {
    errors.push(invalidValue(`${field}.metadata.labels`, labels, '`selector` does not match template `labels`'));
  }
  checkPodTemplate(errors, field, template);
  const { restartPolicy, activeDeadlineSeconds } = template.spec ?? {};
  if (restartPolicy !== 'Always') errors.push(notSupported(`${field}.spec.restartPolicy`, restartPolicy ?? '', ['Always']));
  if (!isAbsent(activeDeadlineSeconds)) {
    errors.push(forbidden(`${field}.spec.activeDeadlineSeconds`, 'activeDeadlineSeconds in ReplicationController is not Supported'));
  }
}

export interface ReplicationController extends KubeObject {
  readonly spec: ReplicationControllerSpec;
  readonly status?: DeepReadonly<V1ReplicationControllerStatus>;
}
export type ReplicationControllerSpec = Omit<DeepReadonly<V1ReplicationControllerSpec>, 'template'> & {
  readonly template?: PodTemplateSpec;
};

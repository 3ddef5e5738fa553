import type {
  Deployment as V1Deployment,
  DeploymentCondition as V1DeploymentCondition,
  DeploymentSpec as V1DeploymentSpec,
  DeploymentStatus as V1DeploymentStatus,
} from 'kubernetes-types/apps/v1.d.ts';
import { tryPercent } from '../../../machinery/int-or-string.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, Kube } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults, withField } from '../../copy-on-write.ts';
import { defaultPodTemplate } from '../../core/v1/pod-spec-defaults.ts';
import { forbidden, invalidValue, notSupportedStruct, required } from '../../field-errors.ts';
import { checkIntOrPercent, checkNonNegative, checkNotAbove100Percent } from '../../formats.ts';
import {
  checkSelectorAndTemplate,
  checkSelectorKept,
  scaledSubresources,
  validateReplicaStatus,
  workloadColumns,
  workloadWarnings,
} from '../../workload.ts';

export const deployments: KindDefinition<Deployment> = {
  group: 'apps',
  version: 'v1',
  resource: 'deployments',
  kind: 'Deployment',
  namespaced: true,
  singular: 'deployment',
  shortNames: ['deploy'],
  categories: ['all'],
  schemaName: 'io.k8s.api.apps.v1.Deployment',
  verbs: allVerbs,
  hasGeneration: true,
  statusKeeps: ['labels'],
  countsAnnotations: true,
  nameRule: 'subdomain',
  subresources: scaledSubresources,
  columns: [
    nameColumn,
    {
      name: 'Ready',
      type: 'string',
      description: 'Ready pods and wanted pods.',
      cell: ({ spec, status }) => `${status?.readyReplicas ?? 0}/${spec.replicas ?? 0}`,
    },
    {
      name: 'Up-to-date',
      type: 'string',
      description: 'Pods of the newest template.',
      cell: ({ status }) => status?.updatedReplicas ?? 0,
    },
    {
      name: 'Available',
      type: 'string',
      description: 'Pods that were ready for minReadySeconds.',
      cell: ({ status }) => status?.availableReplicas ?? 0,
    },
    ageColumn,
    ...workloadColumns,
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: (deployment, before) =>
    before !== undefined && deployment.spec === before.spec
      ? deployment
      : withField(deployment, 'spec', defaultSpec(deployment.spec ?? ({} as DeploymentSpec))),
  prepareForCreate: (deployment) => ({ ...deployment, status: {} }),
  validateStatus: validateReplicaStatus,
  warnings: workloadWarnings,
  validate: (deployment, before) => {
    const errors: FieldError[] = [];
    const { spec } = deployment;
    if (before !== undefined && spec === before.spec) return errors;
    checkNonNegative(errors, 'spec.replicas', spec.replicas);
    checkSelectorAndTemplate(errors, spec);
    checkStrategy(errors, spec.strategy);
    checkNonNegative(errors, 'spec.minReadySeconds', spec.minReadySeconds);
    checkNonNegative(errors, 'spec.revisionHistoryLimit', spec.revisionHistoryLimit);
    const { progressDeadlineSeconds } = spec;
    if (!isAbsent(progressDeadlineSeconds)) {
      const field = 'spec.progressDeadlineSeconds';
      checkNonNegative(errors, field, progressDeadlineSeconds);
      if (progressDeadlineSeconds <= (spec.minReadySeconds ?? 0)) {
        errors.push(invalidValue(field, progressDeadlineSeconds, 'must be greater than minReadySeconds'));
      }
    }
    checkSelectorKept(errors, spec, before?.spec);
    return errors;
  },
};

function defaultSpec(spec: DeploymentSpec): DeploymentSpec {
  let result = withDefaults(spec, { replicas: 1, strategy: {}, revisionHistoryLimit: 10, progressDeadlineSeconds: 600 });
  let strategy = withDefaults(result.strategy ?? {}, { type: 'RollingUpdate' });
  if (strategy.type === 'RollingUpdate') {
    strategy = withField(strategy, 'rollingUpdate', withDefaults(strategy.rollingUpdate ?? {}, { maxUnavailable: '25%', maxSurge: '25%' }));
  }
  result = withField(result, 'strategy', strategy);
  return isAbsent(result.template) ? result : withField(result, 'template', defaultPodTemplate(result.template));
}

function checkStrategy(errors: FieldError[], strategy: DeploymentSpec['strategy']): void {
  const field = 'spec.strategy';
  const { type, rollingUpdate } = strategy ?? {};
  if (type === 'Recreate') {
    if (!isAbsent(rollingUpdate)) {
      errors.push(forbidden(`${field}.rollingUpdate`, "may not be specified when strategy `type` is 'Recreate'"));
    }
  } else if (type === 'RollingUpdate') {
    if (isAbsent(rollingUpdate)) errors.push(required(`${field}.rollingUpdate`, 'this should be defaulted and never be nil'));
    else checkRollingUpdate(errors, `${field}.rollingUpdate`, rollingUpdate);
  } else {
    errors.push(notSupportedStruct(field, 'apps/v1.DeploymentStrategy', strategy ?? {}, ['Recreate', 'RollingUpdate']));
  }
}

function checkRollingUpdate(
  errors: FieldError[],
  field: string,
  { maxUnavailable = 0, maxSurge = 0 }: NonNullable<NonNullable<DeploymentSpec['strategy']>['rollingUpdate']>,
): void {
  checkIntOrPercent(errors, `${field}.maxUnavailable`, maxUnavailable);
  checkIntOrPercent(errors, `${field}.maxSurge`, maxSurge);
  if (isZero(maxUnavailable) && isZero(maxSurge)) {
    errors.push(invalidValue(`${field}.maxUnavailable`, maxUnavailable, 'may not be 0 when `maxSurge` is 0'));
  }
  checkNotAbove100Percent(errors, `${field}.maxUnavailable`, maxUnavailable);
}

/** Texts that are no percentage count as 0, as upstream counts them after it has reported them. */
const isZero = (value: number | string): boolean => (typeof value === 'number' ? value : (tryPercent(value) ?? 0)) === 0;

export type Deployment = Kube<V1Deployment> & { readonly spec: DeploymentSpec };
export type DeploymentSpec = DeepReadonly<V1DeploymentSpec>;
export type DeploymentStatus = DeepReadonly<V1DeploymentStatus>;
export type DeploymentCondition = DeepReadonly<V1DeploymentCondition>;

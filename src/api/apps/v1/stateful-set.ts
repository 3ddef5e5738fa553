import type { StatefulSet as V1StatefulSet, StatefulSetSpec as V1StatefulSetSpec } from 'kubernetes-types/apps/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import { type DeepReadonly, deepEqual, type Kube } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, mapShared, withDefaults, withField } from '../../copy-on-write.ts';
import { defaultClaimSpec } from '../../core/v1/persistent-volume-claim.ts';
import type { PodTemplateSpec } from '../../core/v1/pod.ts';
import { defaultPodTemplate } from '../../core/v1/pod-spec-defaults.ts';
import { forbidden, invalidStruct, invalidValue, required } from '../../field-errors.ts';
import { check, checkIntOrPercent, checkNonNegative, dnsLabelErrors } from '../../formats.ts';
import { checkSelectorAndTemplate, scaledSubresources, validateReplicaStatus, workloadColumns, workloadWarnings } from '../../workload.ts';

export const statefulSets: KindDefinition<StatefulSet> = {
  group: 'apps',
  version: 'v1',
  resource: 'statefulsets',
  kind: 'StatefulSet',
  namespaced: true,
  singular: 'statefulset',
  shortNames: ['sts'],
  categories: ['all'],
  schemaName: 'io.k8s.api.apps.v1.StatefulSet',
  verbs: allVerbs,
  hasGeneration: true,
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
    ageColumn,
    ...workloadColumns.filter(({ name }) => name !== 'Selector'),
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: (set, before) =>
    before !== undefined && set.spec === before.spec ? set : withField(set, 'spec', defaultSpec(set.spec ?? ({} as StatefulSetSpec))),
  prepareForCreate: (set) => ({ ...set, status: { replicas: 0, availableReplicas: 0 } }),
  validateStatus: validateReplicaStatus,
  warnings: workloadWarnings,
  validate: ({ spec }, before) => {
    const errors: FieldError[] = [];
    if (before !== undefined && spec === before.spec) return errors;
    checkSpec(errors, spec);
    if (before !== undefined && !deepEqual(fixedPartOf(spec), fixedPartOf(before.spec))) errors.push(forbidden('spec', fixedSpec));
    return errors;
  },
};

const fixedSpec =
  "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', " +
  "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

function fixedPartOf(spec: StatefulSetSpec): object {
  const {
    replicas: _1,
    ordinals: _2,
    template: _3,
    updateStrategy: _4,
    revisionHistoryLimit: _5,
    persistentVolumeClaimRetentionPolicy: _6,
    minReadySeconds: _7,
    ...fixed
  } = spec;
  return fixed;
}

type ClaimTemplate = NonNullable<StatefulSetSpec['volumeClaimTemplates']>[number];

function defaultSpec(spec: StatefulSetSpec): StatefulSetSpec {
  let result = withDefaults(spec, { replicas: 1, podManagementPolicy: 'OrderedReady', updateStrategy: {}, revisionHistoryLimit: 10 });
  let strategy = withDefaults(result.updateStrategy ?? {}, { type: 'RollingUpdate' });
  if (strategy.type === 'RollingUpdate') {
    strategy = withField(strategy, 'rollingUpdate', withDefaults(strategy.rollingUpdate ?? {}, { partition: 0 }));
  }
  result = withField(result, 'updateStrategy', strategy);
  const retention = withDefaults(result.persistentVolumeClaimRetentionPolicy ?? {}, { whenDeleted: 'Retain', whenScaled: 'Retain' });
  result = withField(result, 'persistentVolumeClaimRetentionPolicy', retention);
  if (!isAbsent(result.volumeClaimTemplates)) {
    result = withField(result, 'volumeClaimTemplates', mapShared<ClaimTemplate>(result.volumeClaimTemplates, defaultClaim));
  }
  return isAbsent(result.template) ? result : withField(result, 'template', defaultPodTemplate(result.template));
}

function defaultClaim(claim: ClaimTemplate): ClaimTemplate {
  const complete = withDefaults<ClaimTemplate>(claim, { kind: 'PersistentVolumeClaim', apiVersion: 'v1' });
  const status = withDefaults(complete.status ?? {}, { phase: 'Pending' });
  return withField(withField(complete, 'spec', defaultClaimSpec(complete.spec ?? {})), 'status', status);
}

function checkSpec(errors: FieldError[], spec: StatefulSetSpec): void {
  const { podManagementPolicy = '', updateStrategy, replicas, minReadySeconds, revisionHistoryLimit, serviceName, ordinals } = spec;
  if (podManagementPolicy === '') errors.push(required('spec.podManagementPolicy'));
  else if (podManagementPolicy !== 'OrderedReady' && podManagementPolicy !== 'Parallel') {
    errors.push(invalidValue('spec.podManagementPolicy', podManagementPolicy, "must be 'OrderedReady' or 'Parallel'"));
  }
  checkStrategy(errors, updateStrategy);
  const retention = spec.persistentVolumeClaimRetentionPolicy;
  for (const name of ['whenDeleted', 'whenScaled'] as const) {
    const policy = retention?.[name];
    if (policy !== undefined && policy !== 'Retain' && policy !== 'Delete') {
      const why = "must be either 'Retain' or 'Delete'";
      errors.push(invalidValue(`spec.persistentVolumeClaimRetentionPolicy.${name}`, policy, why));
    }
  }
  checkNonNegative(errors, 'spec.replicas', replicas);
  if (!isAbsent(serviceName) && serviceName !== '') check(errors, 'spec.serviceName', serviceName, dnsLabelErrors(serviceName));
  checkNonNegative(errors, 'spec.minReadySeconds', minReadySeconds);
  checkNonNegative(errors, 'spec.revisionHistoryLimit', revisionHistoryLimit);
  checkNonNegative(errors, 'spec.ordinals.start', ordinals?.start);
  // Each pod gets a volume of the same name for every claim template, so containers may mount them.
  const claims = (spec.volumeClaimTemplates ?? []).flatMap(({ metadata }) => metadata?.name ?? []);
  const words = { selector: 'statefulset', kind: 'StatefulSet' };
  checkSelectorAndTemplate(errors, spec as { readonly template?: PodTemplateSpec }, words, claims);
}

function checkStrategy(errors: FieldError[], strategy: StatefulSetSpec['updateStrategy']): void {
  const field = 'spec.updateStrategy';
  const { type = '', rollingUpdate } = strategy ?? {};
  if (type === '') errors.push(required(field));
  else if (type === 'OnDelete') {
    if (!isAbsent(rollingUpdate)) {
      const why = "only allowed for updateStrategy 'RollingUpdate'";
      errors.push(invalidStruct(`${field}.rollingUpdate`, 'apps/v1.RollingUpdateStatefulSetStrategy', rollingUpdate, why));
    }
  } else if (type === 'RollingUpdate') {
    checkNonNegative(errors, `${field}.rollingUpdate.partition`, rollingUpdate?.partition);
    const { maxUnavailable } = rollingUpdate ?? {};
    if (!isAbsent(maxUnavailable)) checkIntOrPercent(errors, `${field}.rollingUpdate.maxUnavailable`, maxUnavailable);
  } else {
    errors.push(invalidStruct(field, 'apps/v1.StatefulSetUpdateStrategy', strategy, "must be 'RollingUpdate' or 'OnDelete'"));
  }
}

export type StatefulSet = Kube<V1StatefulSet> & { readonly spec: StatefulSetSpec };
export type StatefulSetSpec = DeepReadonly<V1StatefulSetSpec>;

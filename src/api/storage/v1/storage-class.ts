import type { StorageClass as V1StorageClass } from 'kubernetes-types/storage/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import { qualifiedNameErrors } from '../../../machinery/label-syntax.ts';
import { deepEqual, type Kube } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults } from '../../copy-on-write.ts';
import { immutable, notSupported, required } from '../../field-errors.ts';
import { check } from '../../formats.ts';

export const storageClasses: KindDefinition<StorageClass> = {
  group: 'storage.k8s.io',
  version: 'v1',
  resource: 'storageclasses',
  kind: 'StorageClass',
  namespaced: false,
  singular: 'storageclass',
  shortNames: ['sc'],
  categories: [],
  schemaName: 'io.k8s.api.storage.v1.StorageClass',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  subresources: [],
  columns: [
    {
      ...nameColumn,
      cell: ({ metadata }) => (isDefaultClass(metadata.annotations) ? `${metadata.name} (default)` : metadata.name),
    },
    { name: 'Provisioner', type: 'string', description: 'Provisioner of the volumes.', cell: ({ provisioner }) => provisioner ?? '' },
    {
      name: 'ReclaimPolicy',
      type: 'string',
      description: 'Treatment of a volume after its claim is deleted.',
      cell: ({ reclaimPolicy }) => reclaimPolicy ?? 'Delete',
    },
    {
      name: 'VolumeBindingMode',
      type: 'string',
      description: 'When a claim is bound.',
      cell: ({ volumeBindingMode }) => volumeBindingMode ?? 'Immediate',
    },
    {
      name: 'AllowVolumeExpansion',
      type: 'string',
      description: 'True when volumes may grow.',
      cell: ({ allowVolumeExpansion }) => allowVolumeExpansion ?? false,
    },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'object',
  defaults: (storageClass) => withDefaults(storageClass, { reclaimPolicy: 'Delete', volumeBindingMode: 'Immediate' }),
  validate: (storageClass, before) => {
    const errors: FieldError[] = [];
    const { provisioner = '', parameters, reclaimPolicy, volumeBindingMode } = storageClass;
    if (before !== undefined) {
      if (!deepEqual(parameters ?? {}, before.parameters ?? {})) {
        errors.push(immutable('parameters', parameters ?? null));
      }
      if (provisioner !== before.provisioner) errors.push(immutable('provisioner', provisioner));
      if (reclaimPolicy !== (before.reclaimPolicy ?? 'Delete')) errors.push(immutable('reclaimPolicy', reclaimPolicy));
      if (volumeBindingMode !== (before.volumeBindingMode ?? 'Immediate')) errors.push(immutable('volumeBindingMode', volumeBindingMode));
      return errors;
    }
    if (provisioner === '') errors.push(required('provisioner'));
    else check(errors, 'provisioner', provisioner, qualifiedNameErrors(provisioner.toLowerCase()));
    if (!isAbsent(reclaimPolicy) && reclaimPolicy !== '' && !reclaimPolicies.includes(reclaimPolicy)) {
      errors.push(notSupported('reclaimPolicy', reclaimPolicy, reclaimPolicies));
    }
    if (!isAbsent(volumeBindingMode) && !bindingModes.includes(volumeBindingMode)) {
      errors.push(notSupported('volumeBindingMode', volumeBindingMode, bindingModes));
    }
    return errors;
  },
};

const reclaimPolicies: readonly string[] = ['Delete', 'Retain'];
const bindingModes: readonly string[] = ['Immediate', 'WaitForFirstConsumer'];

/** A class is the default when either annotation is `true`. */
export const defaultStorageClassAnnotations = [
  'storageclass.kubernetes.io/is-default-class',
  'storageclass.beta.kubernetes.io/is-default-class',
] as const;

const isDefaultClass = (annotations: Readonly<Record<string, string>> | undefined): boolean =>
  defaultStorageClassAnnotations.some((name) => annotations?.[name] === 'true');

export type StorageClass = Kube<V1StorageClass>;

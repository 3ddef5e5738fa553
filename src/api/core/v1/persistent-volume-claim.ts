import type {
  PersistentVolumeClaim as V1PersistentVolumeClaim,
  PersistentVolumeClaimSpec as V1PersistentVolumeClaimSpec,
} from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import { type DeepReadonly, deepEqual, type Kube } from '../../../machinery/object.ts';
import { compareQuantities, tryQuantity } from '../../../machinery/quantity.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults, withField } from '../../copy-on-write.ts';
import { forbidden, immutable, invalidValue, notSupported, required } from '../../field-errors.ts';
import { check, checkLabelSelector, dnsSubdomainErrors } from '../../formats.ts';
import { goStructDiff } from '../../go-structs.ts';
import { volumeAnnotations } from '../../well-known.ts';
import { storageClassNameOf } from './volume-class.ts';
import { accessModes, accessModesText } from './volume-columns.ts';

export const persistentVolumeClaims: KindDefinition<PersistentVolumeClaim> = {
  group: '',
  version: 'v1',
  resource: 'persistentvolumeclaims',
  kind: 'PersistentVolumeClaim',
  namespaced: true,
  singular: 'persistentvolumeclaim',
  shortNames: ['pvc'],
  categories: [],
  schemaName: 'io.k8s.api.core.v1.PersistentVolumeClaim',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [
    nameColumn,
    {
      name: 'Status',
      type: 'string',
      description: 'Phase of the claim.',
      cell: ({ metadata, status }) => (metadata.deletionTimestamp === undefined ? (status?.phase ?? '') : 'Terminating'),
    },
    { name: 'Volume', type: 'string', description: 'The volume it is bound to.', cell: ({ spec }) => spec.volumeName ?? '' },
    {
      name: 'Capacity',
      type: 'string',
      description: 'Size of the volume.',
      cell: (claim) => (isBound(claim) ? (claim.status?.capacity?.storage ?? '0') : ''),
    },
    {
      name: 'Access Modes',
      type: 'string',
      description: 'Ways to mount the volume.',
      cell: (claim) => (isBound(claim) ? accessModesText(claim.status?.accessModes) : ''),
    },
    { name: 'StorageClass', type: 'string', description: 'Class of the volume.', cell: storageClassNameOf },
    {
      name: 'VolumeAttributesClass',
      type: 'string',
      description: 'Class of the attributes that can change.',
      cell: ({ spec }) => spec.volumeAttributesClassName ?? '<unset>',
    },
    ageColumn,
    {
      name: 'VolumeMode',
      type: 'string',
      description: 'File system or block device.',
      priority: 1,
      cell: ({ spec }) => spec.volumeMode ?? '<unset>',
    },
  ],
  selectableFields: {},
  deleteAnswer: 'object',
  defaults: (claim, before) =>
    before !== undefined && claim.spec === before.spec ? claim : withField(claim, 'spec', defaultClaimSpec(claim.spec ?? {})),
  prepareForCreate: (claim) => ({ ...claim, status: { phase: 'Pending' } }),
  warnings: ({ metadata }) =>
    metadata.annotations?.[volumeAnnotations.legacyClass] === undefined
      ? []
      : [`metadata.annotations[${volumeAnnotations.legacyClass}]: deprecated since v1.8; use "storageClassName" attribute instead`],
  validate: (claim, before) => {
    const errors: FieldError[] = [];
    if (before !== undefined && claim.spec === before.spec) return errors;
    checkClaimSpec(errors, 'spec', claim.spec);
    if (before !== undefined) checkUpdate(errors, claim.spec, before);
    return errors;
  },
};

const isBound = ({ spec }: PersistentVolumeClaim): boolean => !isAbsent(spec.volumeName) && spec.volumeName !== '';

/** Defaults of a claim, also of one that a StatefulSet will make. */
export const defaultClaimSpec = (spec: PersistentVolumeClaimSpec): PersistentVolumeClaimSpec =>
  withDefaults(spec, { volumeMode: 'Filesystem' });

function checkClaimSpec(errors: FieldError[], field: string, spec: PersistentVolumeClaimSpec): void {
  const modes = spec.accessModes ?? [];
  if (modes.length === 0) errors.push(required(`${field}.accessModes`, 'at least 1 access mode is required'));
  checkLabelSelector(errors, `${field}.selector`, spec.selector);
  for (const mode of modes) if (!accessModes.includes(mode)) errors.push(notSupported(`${field}.accessModes`, mode, accessModes));
  if (modes.includes('ReadWriteOncePod') && modes.length > 1) {
    errors.push(forbidden(`${field}.accessModes`, 'may not use ReadWriteOncePod with other access modes'));
  }
  const storage = spec.resources?.requests?.storage;
  if (isAbsent(storage)) errors.push(required(`${field}.resources[storage]`));
  else if ((tryQuantity(storage)?.nanos ?? 0n) <= 0n) {
    errors.push(invalidValue(`${field}.resources[storage]`, storage, 'must be greater than zero'));
  }
  for (const name of ['storageClassName', 'volumeAttributesClassName'] as const) {
    const className = spec[name];
    if (!isAbsent(className) && className !== '') check(errors, `${field}.${name}`, className, dnsSubdomainErrors(className));
  }
  if (!isAbsent(spec.volumeMode) && !volumeModes.includes(spec.volumeMode)) {
    errors.push(notSupported(`${field}.volumeMode`, spec.volumeMode, volumeModes));
  }
}

export const volumeModes: readonly string[] = ['Block', 'Filesystem'];

/** Binding names the volume, a bound claim may grow, and nothing else changes. */
function checkUpdate(errors: FieldError[], spec: PersistentVolumeClaimSpec, { spec: before, status }: PersistentVolumeClaim): void {
  const isBound = status?.phase === 'Bound';
  let rest = spec;
  const isChangeable = (field: 'volumeName' | 'storageClassName'): boolean => isAbsent(before[field]) || before[field] === '';
  if (isChangeable('volumeName')) rest = withField(rest, 'volumeName', before.volumeName);
  if (isAbsent(before.storageClassName)) rest = withField(rest, 'storageClassName', before.storageClassName);
  if (isBound) {
    rest = withField(rest, 'volumeAttributesClassName', before.volumeAttributesClassName);
    if (!isAbsent(spec.resources?.requests)) {
      const requests = withField(spec.resources.requests, 'storage', before.resources?.requests?.storage);
      rest = withField(rest, 'resources', { ...spec.resources, requests });
    }
  }
  if (!deepEqual(rest, before)) {
    const why = 'spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims';
    errors.push(forbidden('spec', `${why}\n${goStructDiff('core/v1.PersistentVolumeClaimSpec', before, rest)}`));
  }
  const [old, next, real] = [before.resources?.requests, spec.resources?.requests, status?.capacity].map((amounts) =>
    tryQuantity(amounts?.storage),
  );
  if (old !== undefined && next !== undefined && compareQuantities(next, old) < 0) {
    if (real === undefined || compareQuantities(next, real) <= 0) {
      errors.push(forbidden('spec.resources.requests.storage', 'field can not be less than status.capacity'));
    }
  }
  if ((spec.volumeMode ?? 'Filesystem') !== (before.volumeMode ?? 'Filesystem')) errors.push(immutable('volumeMode', spec.volumeMode));
}

export type PersistentVolumeClaim = Kube<V1PersistentVolumeClaim> & { readonly spec: PersistentVolumeClaimSpec };
export type PersistentVolumeClaimSpec = DeepReadonly<V1PersistentVolumeClaimSpec>;

import type {
  PersistentVolumeSpec as V1PersistentVolumeSpec,
  PersistentVolumeStatus as V1PersistentVolumeStatus,
} from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import { type DeepReadonly, deepEqual, type KubeObject } from '../../../machinery/object.ts';
import { tryQuantity } from '../../../machinery/quantity.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults, withField } from '../../copy-on-write.ts';
import { forbidden, immutable, invalidValue, notSupported, required } from '../../field-errors.ts';
import { check, checkNoBacksteps, dnsSubdomainErrors } from '../../formats.ts';
import { goStructDiff } from '../../go-structs.ts';
import { volumeAnnotations } from '../../well-known.ts';
import { volumeModes } from './persistent-volume-claim.ts';
import { deadVolumeSources } from './pod-warnings.ts';
import { storageClassNameOf } from './volume-class.ts';
import { accessModes, accessModesText } from './volume-columns.ts';

export const persistentVolumes: KindDefinition<PersistentVolume> = {
  group: '',
  version: 'v1',
  resource: 'persistentvolumes',
  kind: 'PersistentVolume',
  namespaced: false,
  singular: 'persistentvolume',
  shortNames: ['pv'],
  categories: [],
  schemaName: 'io.k8s.api.core.v1.PersistentVolume',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [
    nameColumn,
    { name: 'Capacity', type: 'string', description: 'Size of the volume.', cell: ({ spec }) => spec.capacity?.storage ?? '0' },
    {
      name: 'Access Modes',
      type: 'string',
      description: 'Ways to mount the volume.',
      cell: ({ spec }) => accessModesText(spec.accessModes),
    },
    {
      name: 'Reclaim Policy',
      type: 'string',
      description: 'Treatment of the volume after its claim is deleted.',
      cell: ({ spec }) => spec.persistentVolumeReclaimPolicy ?? '',
    },
    {
      name: 'Status',
      type: 'string',
      description: 'Phase of the volume.',
      cell: ({ metadata, status }) => (metadata.deletionTimestamp === undefined ? (status?.phase ?? '') : 'Terminating'),
    },
    {
      name: 'Claim',
      type: 'string',
      description: 'The claim it is bound to.',
      cell: ({ spec }) => (isAbsent(spec.claimRef) ? '' : `${spec.claimRef.namespace ?? ''}/${spec.claimRef.name ?? ''}`),
    },
    { name: 'StorageClass', type: 'string', description: 'Class of the volume.', cell: storageClassNameOf },
    {
      name: 'VolumeAttributesClass',
      type: 'string',
      description: 'Class of the attributes that can change.',
      cell: ({ spec }) => spec.volumeAttributesClassName ?? '<unset>',
    },
    { name: 'Reason', type: 'string', description: 'Reason of the phase.', cell: ({ status }) => status?.reason ?? '' },
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
  defaults: (volume, before) =>
    before !== undefined && volume.spec === before.spec ? volume : withField(volume, 'spec', defaultSpec(volume.spec ?? {})),
  prepareForCreate: (volume, { now }) => ({ ...volume, status: { phase: 'Pending', lastPhaseTransitionTime: now } }),
  prepareForStatus: (volume, before, { now }) => {
    const { status } = volume;
    const isMoved = status?.phase !== before.status?.phase;
    const last = before.status?.lastPhaseTransitionTime;
    if (!isMoved || isAbsent(status) || (!isAbsent(status.lastPhaseTransitionTime) && status.lastPhaseTransitionTime !== last))
      return volume;
    return { ...volume, status: { ...status, lastPhaseTransitionTime: now } };
  },
  warnings: ({ metadata, spec }) => [
    ...Object.entries(legacyAnnotations).flatMap(([key, instead]) =>
      metadata.annotations?.[key] === undefined ? [] : [`metadata.annotations[${key}]: ${instead}`],
    ),
    ...(spec.persistentVolumeReclaimPolicy === 'Recycle'
      ? [
          'spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.',
        ]
      : []),
    ...deadVolumeSources.flatMap(([source, shown, why]) =>
      isAbsent((spec as Readonly<Record<string, unknown>>)[source]) ? [] : [`spec.${shown}: ${why}`],
    ),
  ],
  validate: (volume, before) => {
    const errors: FieldError[] = [];
    if (before !== undefined && volume.spec === before.spec) return errors;
    checkSpec(errors, volume.spec);
    if (before !== undefined) {
      if (!deepEqual(sourcesOf(volume.spec), sourcesOf(before.spec))) {
        const diff = goStructDiff('core/v1.PersistentVolumeSource', before.spec, volume.spec);
        errors.push(forbidden('spec.persistentvolumesource', `spec.persistentvolumesource is immutable after creation\n${diff}`));
      }
      if (volume.spec.volumeMode !== before.spec.volumeMode) errors.push(immutable('volumeMode', volume.spec.volumeMode));
    }
    return errors;
  },
};

const legacyAnnotations: Readonly<Record<string, string>> = {
  [volumeAnnotations.legacyClass]: 'deprecated since v1.8; use "storageClassName" attribute instead',
  'volume.beta.kubernetes.io/mount-options': 'deprecated since v1.31; use "mountOptions" attribute instead',
};

function defaultSpec(spec: PersistentVolumeSpec): PersistentVolumeSpec {
  const result = withDefaults(spec, { persistentVolumeReclaimPolicy: 'Retain', volumeMode: 'Filesystem' });
  return isAbsent(result.hostPath) ? result : withField(result, 'hostPath', withDefaults(result.hostPath, { type: '' }));
}

/** Fields that name where the bytes are, in the order in which they are looked at. */
const sourceNames = [
  ...['hostPath', 'gcePersistentDisk', 'awsElasticBlockStore', 'glusterfs', 'flocker', 'nfs', 'rbd', 'quobyte', 'cephfs', 'iscsi'],
  ...['cinder', 'fc', 'azureFile', 'vsphereVolume', 'photonPersistentDisk', 'portworxVolume', 'azureDisk', 'scaleIO', 'local'],
  ...['storageos', 'csi', 'flexVolume'],
] as const;

const sourcesOf = (spec: PersistentVolumeSpec): readonly (readonly [string, unknown])[] =>
  sourceNames.map((name) => [name, (spec as Readonly<Record<string, unknown>>)[name]] as const).filter(([, source]) => !isAbsent(source));

const reclaimPolicies: readonly string[] = ['Delete', 'Recycle', 'Retain'];

function checkSpec(errors: FieldError[], spec: PersistentVolumeSpec): void {
  const modes = spec.accessModes ?? [];
  if (modes.length === 0) errors.push(required('spec.accessModes'));
  for (const mode of modes) if (!accessModes.includes(mode)) errors.push(notSupported('spec.accessModes', mode, accessModes));
  if (modes.includes('ReadWriteOncePod') && modes.length > 1) {
    errors.push(forbidden('spec.accessModes', 'may not use ReadWriteOncePod with other access modes'));
  }
  const capacity = spec.capacity ?? {};
  if (Object.keys(capacity).length === 0) errors.push(required('spec.capacity'));
  if (Object.keys(capacity).length !== 1 || !Object.hasOwn(capacity, 'storage')) {
    errors.push(notSupported('spec.capacity', spec.capacity ?? null, ['storage']));
  }
  for (const [name, amount] of Object.entries(capacity)) {
    if ((tryQuantity(amount)?.nanos ?? 0n) <= 0n) {
      errors.push(invalidValue(`spec.capacity[${name}]`, amount, 'must be greater than zero'));
    }
  }
  const policy = spec.persistentVolumeReclaimPolicy;
  if (!isAbsent(policy) && policy !== '' && !reclaimPolicies.includes(policy)) {
    errors.push(notSupported('spec.persistentVolumeReclaimPolicy', policy, reclaimPolicies));
  }
  checkSource(errors, spec);
  if (spec.hostPath?.path?.replace(/\/+$/, '') === '' && policy === 'Recycle') {
    errors.push(forbidden('spec.persistentVolumeReclaimPolicy', "may not be 'recycle' for a hostPath mount of '/'"));
  }
  const className = spec.storageClassName;
  if (!isAbsent(className) && className !== '') check(errors, 'spec.storageClassName', className, dnsSubdomainErrors(className));
  if (!isAbsent(spec.volumeMode) && !volumeModes.includes(spec.volumeMode)) {
    errors.push(notSupported('spec.volumeMode', spec.volumeMode, volumeModes));
  }
}

function checkSource(errors: FieldError[], spec: PersistentVolumeSpec): void {
  const [first, ...others] = sourcesOf(spec);
  if (first === undefined) {
    errors.push(required('spec', 'must specify a volume type'));
    return;
  }
  for (const [name] of others) errors.push(forbidden(`spec.${name}`, 'may not specify more than 1 volume type'));
  const { hostPath, nfs, local, csi } = spec;
  if (!isAbsent(hostPath)) checkPath(errors, 'spec.hostPath.path', hostPath.path);
  if (!isAbsent(local)) {
    checkPath(errors, 'spec.local.path', local.path);
    if (isAbsent(spec.nodeAffinity)) errors.push(required('spec.nodeAffinity', 'Local volume requires node affinity'));
  }
  if (!isAbsent(nfs)) {
    if ((nfs.server ?? '') === '') errors.push(required('spec.nfs.server'));
    if ((nfs.path ?? '') === '') errors.push(required('spec.nfs.path'));
    else if (!nfs.path.startsWith('/')) errors.push(invalidValue('spec.nfs.path', nfs.path, 'must be an absolute path'));
  }
  if (!isAbsent(csi)) {
    if ((csi.driver ?? '') === '') errors.push(required('spec.csi.driver'));
    if ((csi.volumeHandle ?? '') === '') errors.push(required('spec.csi.volumeHandle'));
  }
}

function checkPath(errors: FieldError[], field: string, path: string | undefined): void {
  if (isAbsent(path) || path === '') errors.push(required(field));
  else checkNoBacksteps(errors, field, path);
}

export interface PersistentVolume extends KubeObject {
  readonly spec: PersistentVolumeSpec;
  readonly status?: PersistentVolumeStatus;
}
export type PersistentVolumeSpec = DeepReadonly<V1PersistentVolumeSpec> & { readonly volumeAttributesClassName?: string };
export type PersistentVolumeStatus = DeepReadonly<V1PersistentVolumeStatus> & { readonly lastPhaseTransitionTime?: string };

import type {
  VolumeAttachmentSpec as V1VolumeAttachmentSpec,
  VolumeAttachmentStatus as V1VolumeAttachmentStatus,
} from 'kubernetes-types/storage/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import { type DeepReadonly, deepEqual, type KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent } from '../../copy-on-write.ts';
import { forbidden, immutableStruct, required } from '../../field-errors.ts';

export const volumeAttachments: KindDefinition<VolumeAttachment> = {
  group: 'storage.k8s.io',
  version: 'v1',
  resource: 'volumeattachments',
  kind: 'VolumeAttachment',
  namespaced: false,
  singular: 'volumeattachment',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.storage.v1.VolumeAttachment',
  verbs: allVerbs,
  hasGeneration: false,
  statusKeeps: 'metadata',
  nameRule: 'subdomain',
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [
    nameColumn,
    { name: 'Attacher', type: 'string', format: 'name', description: 'Who attaches it.', cell: ({ spec }) => spec.attacher ?? '' },
    { name: 'PV', type: 'string', description: 'The volume.', cell: ({ spec }) => spec.source?.persistentVolumeName ?? '' },
    { name: 'Node', type: 'string', description: 'Where to.', cell: ({ spec }) => spec.nodeName ?? '' },
    {
      name: 'Attached',
      type: 'boolean',
      description: 'True when the volume is attached.',
      cell: ({ status }) => status?.attached ?? false,
    },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'object',
  prepareForCreate: (attachment) => ({ ...attachment, status: { attached: false } }),
  validate: ({ spec }, before) => {
    const errors: FieldError[] = [];
    if ((spec?.attacher ?? '') === '') errors.push(required('spec.attacher'));
    const { persistentVolumeName, inlineVolumeSpec } = spec?.source ?? {};
    const isNamed = !isAbsent(persistentVolumeName);
    if (isNamed && !isAbsent(inlineVolumeSpec)) {
      errors.push(forbidden('spec.source', 'must specify exactly one of inlineVolumeSpec and persistentVolumeName'));
    } else if (!isNamed && isAbsent(inlineVolumeSpec)) {
      errors.push(required('spec.source', 'must specify exactly one of inlineVolumeSpec and persistentVolumeName'));
    } else if (isNamed && persistentVolumeName === '') {
      errors.push(required('spec.source.persistentVolumeName', 'must specify non empty persistentVolumeName'));
    }
    if ((spec?.nodeName ?? '') === '') errors.push(required('spec.nodeName'));
    if (before !== undefined && !deepEqual(spec, before.spec))
      errors.push(immutableStruct('spec', 'storage/v1.VolumeAttachmentSpec', spec));
    return errors;
  },
};

export interface VolumeAttachment extends KubeObject {
  readonly spec: DeepReadonly<V1VolumeAttachmentSpec>;
  readonly status?: DeepReadonly<V1VolumeAttachmentStatus>;
}

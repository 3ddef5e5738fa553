import type { CSIDriverSpec as V1CSIDriverSpec } from 'kubernetes-types/storage/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults, withField } from '../../copy-on-write.ts';
import { immutable, notSupported, required } from '../../field-errors.ts';

export const csiDrivers: KindDefinition<CSIDriver> = {
  group: 'storage.k8s.io',
  version: 'v1',
  resource: 'csidrivers',
  kind: 'CSIDriver',
  namespaced: false,
  singular: 'csidriver',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.storage.v1.CSIDriver',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  subresources: [],
  columns: [
    nameColumn,
    {
      name: 'AttachRequired',
      type: 'boolean',
      description: 'True when volumes have to be attached to nodes.',
      cell: ({ spec }) => spec.attachRequired ?? true,
    },
    {
      name: 'PodInfoOnMount',
      type: 'boolean',
      description: 'True when the driver gets the data of the pod on mount.',
      cell: ({ spec }) => spec.podInfoOnMount ?? false,
    },
    {
      name: 'StorageCapacity',
      type: 'boolean',
      description: 'True when scheduling considers free capacity.',
      cell: ({ spec }) => spec.storageCapacity ?? false,
    },
    {
      name: 'TokenRequests',
      type: 'string',
      description: 'Audiences of the tokens it gets.',
      cell: ({ spec }) => (isAbsent(spec.tokenRequests) ? '<unset>' : spec.tokenRequests.map(({ audience }) => audience).join(',')),
    },
    {
      name: 'RequiresRepublish',
      type: 'boolean',
      description: 'True when volumes are published periodically.',
      cell: ({ spec }) => spec.requiresRepublish ?? false,
    },
    {
      name: 'Modes',
      type: 'string',
      description: 'Lifecycles of its volumes.',
      cell: ({ spec }) => (spec.volumeLifecycleModes ?? []).join(',') || '<none>',
    },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'object',
  defaults: (driver, before) =>
    before !== undefined && driver.spec === before.spec
      ? driver
      : withField(
          driver,
          'spec',
          withDefaults(driver.spec ?? {}, {
            attachRequired: true,
            podInfoOnMount: false,
            storageCapacity: false,
            volumeLifecycleModes: ['Persistent'],
            fsGroupPolicy: 'ReadWriteOnceWithFSType',
            requiresRepublish: false,
            seLinuxMount: false,
          }),
        ),
  validate: ({ spec }, before) => {
    const errors: FieldError[] = [];
    for (const name of ['attachRequired', 'podInfoOnMount', 'storageCapacity'] as const) {
      if (isAbsent(spec[name])) errors.push(required(`spec.${name}`));
    }
    const policy = spec.fsGroupPolicy;
    if (!isAbsent(policy) && !fsGroupPolicies.includes(policy)) {
      errors.push(notSupported('spec.fsGroupPolicy', policy, fsGroupPolicies));
    }
    for (const mode of spec.volumeLifecycleModes ?? []) {
      if (!lifecycleModes.includes(mode)) errors.push(notSupported('spec.volumeLifecycleModes', mode, lifecycleModes));
    }
    if (before !== undefined && spec.attachRequired !== before.spec.attachRequired) {
      errors.push(immutable('spec.attachRequired', spec.attachRequired));
    }
    return errors;
  },
};

const fsGroupPolicies: readonly string[] = ['File', 'None', 'ReadWriteOnceWithFSType'];
const lifecycleModes: readonly string[] = ['Ephemeral', 'Persistent'];

export interface CSIDriver extends KubeObject {
  readonly spec: DeepReadonly<V1CSIDriverSpec>;
}

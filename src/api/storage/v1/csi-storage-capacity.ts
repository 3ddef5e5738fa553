import type { CSIStorageCapacity as V1CSIStorageCapacity } from 'kubernetes-types/storage/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import { deepEqual, type Kube } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { allVerbs, createdAtColumn, nameColumn } from '../../columns.ts';
import { immutable } from '../../field-errors.ts';
import { check, checkLabelSelector, dnsSubdomainErrors } from '../../formats.ts';

export const csiStorageCapacities: KindDefinition<CSIStorageCapacity> = {
  group: 'storage.k8s.io',
  version: 'v1',
  resource: 'csistoragecapacities',
  kind: 'CSIStorageCapacity',
  namespaced: true,
  singular: 'csistoragecapacity',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.storage.v1.CSIStorageCapacity',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  subresources: [],
  columns: [nameColumn, createdAtColumn],
  selectableFields: {},
  deleteAnswer: 'status',
  validate: ({ nodeTopology, storageClassName = '' }, before) => {
    const errors: FieldError[] = [];
    checkLabelSelector(errors, 'nodeTopology', nodeTopology);
    check(errors, 'storageClassName', storageClassName, dnsSubdomainErrors(storageClassName));
    if (before !== undefined) {
      if (!deepEqual(nodeTopology, before.nodeTopology)) errors.push(immutable('nodeTopology', nodeTopology));
      if (storageClassName !== before.storageClassName) errors.push(immutable('storageClassName', storageClassName));
    }
    return errors;
  },
};

export type CSIStorageCapacity = Kube<V1CSIStorageCapacity>;

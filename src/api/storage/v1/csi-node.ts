import type { CSINodeSpec as V1CSINodeSpec } from 'kubernetes-types/storage/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { duplicate, required } from '../../field-errors.ts';

export const csiNodes: KindDefinition<CSINode> = {
  group: 'storage.k8s.io',
  version: 'v1',
  resource: 'csinodes',
  kind: 'CSINode',
  namespaced: false,
  singular: 'csinode',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.storage.v1.CSINode',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  subresources: [],
  columns: [
    nameColumn,
    { name: 'Drivers', type: 'integer', description: 'Drivers on the node.', cell: ({ spec }) => spec?.drivers?.length ?? 0 },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'object',
  // No drivers are written as null, as the real server's store leaves them.
  prepareForCreate: (node) => ((node.spec?.drivers ?? []).length > 0 ? node : { ...node, spec: { ...node.spec, drivers: null } }),
  validate: ({ spec }) => {
    const errors: FieldError[] = [];
    const names = new Set<string>();
    for (const [index, { name = '', nodeID = '' }] of (spec?.drivers ?? []).entries()) {
      const field = `spec.drivers[${index}]`;
      if (name === '') errors.push(required(`${field}.name`));
      if (nodeID === '') errors.push(required(`${field}.nodeID`));
      if (names.has(name)) errors.push(duplicate(`${field}.name`, name));
      names.add(name);
    }
    return errors;
  },
};

export interface CSINode extends KubeObject {
  readonly spec?: { readonly drivers?: DeepReadonly<V1CSINodeSpec['drivers']> | null };
}

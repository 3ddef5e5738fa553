import type { KindDefinition } from '../../../machinery/kind.ts';
import { deepEqual, type KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { forbidden, required } from '../../field-errors.ts';

export const volumeAttributesClasses: KindDefinition<VolumeAttributesClass> = {
  group: 'storage.k8s.io',
  version: 'v1',
  resource: 'volumeattributesclasses',
  kind: 'VolumeAttributesClass',
  namespaced: false,
  singular: 'volumeattributesclass',
  shortNames: ['vac'],
  categories: [],
  schemaName: 'io.k8s.api.storage.v1.VolumeAttributesClass',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  subresources: [],
  columns: [
    nameColumn,
    { name: 'DriverName', type: 'string', description: 'The driver it is for.', cell: ({ driverName }) => driverName ?? '' },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'object',
  validate: ({ driverName = '', parameters = {} }, before) => {
    const errors: FieldError[] = [];
    if (before !== undefined) {
      if (driverName !== before.driverName) errors.push(forbidden('driverName', 'updates to driverName are forbidden.'));
      if (!deepEqual(parameters, before.parameters ?? {})) {
        errors.push(forbidden('parameters', 'updates to parameters are forbidden.'));
      }
      return errors;
    }
    if (driverName === '') errors.push(required('driverName'));
    if (Object.keys(parameters).length === 0) errors.push(required('parameters', 'must contain at least one key/value pair'));
    return errors;
  },
};

export interface VolumeAttributesClass extends KubeObject {
  readonly driverName: string;
  readonly parameters?: Readonly<Record<string, string>>;
}

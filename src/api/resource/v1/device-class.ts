import type { KindDefinition } from '../../../machinery/kind.ts';
import type { KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent } from '../../copy-on-write.ts';
import { required } from '../../field-errors.ts';
import type { DeviceConfig, DeviceSelector } from './device-requests.ts';

export const deviceClasses: KindDefinition<DeviceClass> = {
  group: 'resource.k8s.io',
  version: 'v1',
  resource: 'deviceclasses',
  kind: 'DeviceClass',
  namespaced: false,
  singular: 'deviceclass',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.resource.v1.DeviceClass',
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  subresources: [],
  columns: [nameColumn, ageColumn],
  selectableFields: {},
  deleteAnswer: 'object',
  validate: ({ spec }) => {
    const errors: FieldError[] = [];
    for (const [index, selector] of (spec?.selectors ?? []).entries()) {
      if (isAbsent(selector.cel)) errors.push(required(`spec.selectors[${index}].cel`));
      else if ((selector.cel.expression ?? '') === '') errors.push(required(`spec.selectors[${index}].cel.expression`));
    }
    return errors;
  },
};

export interface DeviceClass extends KubeObject {
  readonly spec?: { readonly selectors?: readonly DeviceSelector[]; readonly config?: readonly DeviceConfig[] };
}

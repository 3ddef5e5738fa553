import type { KindDefinition } from '../../../machinery/kind.ts';
import { controllerOf, deepEqual, type KubeObject } from '../../../machinery/object.ts';
import { groupResourceOf, parseApiVersion } from '../../../machinery/resource.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults } from '../../copy-on-write.ts';
import { immutable, required } from '../../field-errors.ts';
import { checkNonNegative } from '../../formats.ts';

export const controllerRevisions: KindDefinition<ControllerRevision> = {
  group: 'apps',
  version: 'v1',
  resource: 'controllerrevisions',
  kind: 'ControllerRevision',
  namespaced: true,
  singular: 'controllerrevision',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.apps.v1.ControllerRevision',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  subresources: [],
  columns: [
    nameColumn,
    { name: 'Controller', type: 'string', description: 'Owner of the revision.', cell: controllerText },
    { name: 'Revision', type: 'integer', description: 'Number of the revision.', cell: ({ revision }) => revision ?? 0 },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: (object) => withDefaults(object, { revision: 0 }),
  validate: (object, before) => {
    const errors: FieldError[] = [];
    if (isAbsent(object.data)) errors.push(required('data', 'data is mandatory'));
    checkNonNegative(errors, 'revision', object.revision);
    if (before !== undefined && object.data !== before.data && !deepEqual(object.data, before.data)) {
      errors.push(immutable('data', object.data));
    }
    return errors;
  },
};

function controllerText(object: ControllerRevision): string {
  const controller = controllerOf(object);
  if (controller === undefined) return '<none>';
  const { group } = parseApiVersion(controller.apiVersion);
  return `${groupResourceOf({ group, resource: controller.kind.toLowerCase() })}/${controller.name}`;
}

export interface ControllerRevision extends KubeObject {
  /** A template, as the controller that wrote it understands it. */
  readonly data?: Readonly<Record<string, unknown>>;
  readonly revision: number;
}

import type { KindDefinition } from '../../../machinery/kind.ts';
import { deepEqual, type KubeObject } from '../../../machinery/object.ts';
import { groupResourceOf } from '../../../machinery/resource.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent } from '../../copy-on-write.ts';
import { immutableStruct, required } from '../../field-errors.ts';
import { check, ipErrors } from '../../formats.ts';

export const ipAddresses: KindDefinition<IPAddress> = {
  group: 'networking.k8s.io',
  version: 'v1',
  resource: 'ipaddresses',
  kind: 'IPAddress',
  namespaced: false,
  singular: 'ipaddress',
  shortNames: ['ip'],
  categories: [],
  schemaName: 'io.k8s.api.networking.v1.IPAddress',
  verbs: allVerbs,
  hasGeneration: false,
  // The name is an address, which may have colons.
  nameRule: 'path-segment',
  subresources: [],
  columns: [nameColumn, { name: 'ParentRef', type: 'string', description: 'Owner of the address.', cell: parentText }],
  selectableFields: {},
  deleteAnswer: 'status',
  validate: ({ metadata, spec }, before) => {
    const errors: FieldError[] = [];
    if (before !== undefined) {
      if (!deepEqual(spec?.parentRef, before.spec?.parentRef))
        errors.push(immutableStruct('spec.parentRef', 'networking/v1.ParentReference', spec?.parentRef));
      return errors;
    }
    check(errors, 'metadata.name', metadata.name, ipErrors(metadata.name ?? ''));
    const parent = spec?.parentRef;
    if (isAbsent(parent)) errors.push(required('spec.parentRef'));
    else {
      for (const part of ['resource', 'name'] as const) {
        if ((parent[part] ?? '') === '') errors.push(required(`spec.parentRef.${part}`));
      }
    }
    return errors;
  },
};

function parentText({ spec }: IPAddress): string {
  const parent = spec?.parentRef;
  if (isAbsent(parent)) return '<none>';
  const { group = '', resource, namespace = '', name } = parent;
  const owner = groupResourceOf({ group, resource }).toLowerCase();
  return namespace === '' ? `${owner}/${name}` : `${owner}/${namespace}/${name}`;
}

export interface IPAddress extends KubeObject {
  readonly spec?: {
    readonly parentRef?: { readonly group?: string; readonly resource: string; readonly namespace?: string; readonly name: string };
  };
}

const managedBy = 'ipaddress.kubernetes.io/managed-by';

/** Labels of an object that shows the address of a Service. */
export const serviceAddressLabels: Readonly<Record<string, string>> = {
  'ipaddress.kubernetes.io/ip-family': 'IPv4',
  [managedBy]: 'ipallocator.k8s.io',
};

/** False for the object of a person or of another program. */
export const isServiceAddress = ({ metadata }: IPAddress): boolean => metadata.labels?.[managedBy] === serviceAddressLabels[managedBy];

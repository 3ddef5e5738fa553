import type { EndpointSubset as V1EndpointSubset, Endpoints as V1Endpoints } from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, Kube } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, mapShared, withDefaults, withField } from '../../copy-on-write.ts';
import { required } from '../../field-errors.ts';
import { check, checkEnum, dnsLabelErrors, ipErrors, portNumberErrors } from '../../formats.ts';

/** The older form of EndpointSlices. Loopback and other special addresses are refused where requests are admitted. */
export const endpoints: KindDefinition<Endpoints> = {
  group: '',
  version: 'v1',
  resource: 'endpoints',
  kind: 'Endpoints',
  namespaced: true,
  singular: 'endpoints',
  shortNames: ['ep'],
  categories: [],
  schemaName: 'io.k8s.api.core.v1.Endpoints',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  createdByUpdate: true,
  deprecation: 'v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice',
  subresources: [],
  columns: [
    nameColumn,
    { name: 'Endpoints', type: 'string', description: 'Addresses that take traffic.', cell: ({ subsets }) => addressesText(subsets ?? []) },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: (object, before) => {
    const { subsets } = object;
    if (isAbsent(subsets) || subsets === before?.subsets) return object;
    const complete = mapShared(subsets, (subset) =>
      isAbsent(subset.ports)
        ? subset
        : withField(
            subset,
            'ports',
            mapShared(subset.ports, (port) => withDefaults(port, { protocol: 'TCP' })),
          ),
    );
    return withField(object, 'subsets', complete);
  },
  validate: (object, before) => {
    const errors: FieldError[] = [];
    if (before !== undefined && object.subsets === before.subsets) return errors;
    for (const [index, subset] of (object.subsets ?? []).entries()) checkSubset(errors, `subsets[${index}]`, subset);
    return errors;
  },
};

function checkSubset(errors: FieldError[], field: string, subset: EndpointSubset): void {
  const { addresses = [], notReadyAddresses = [], ports = [] } = subset;
  if (addresses.length === 0 && notReadyAddresses.length === 0) {
    errors.push(required(field, 'must specify `addresses` or `notReadyAddresses`'));
  }
  for (const [name, list] of Object.entries({ addresses, notReadyAddresses })) {
    for (const [index, { ip, hostname }] of list.entries()) {
      check(errors, `${field}.${name}[${index}].ip`, ip ?? '', ipErrors(ip ?? ''));
      if (!isAbsent(hostname) && hostname !== '') check(errors, `${field}.${name}[${index}].hostname`, hostname, dnsLabelErrors(hostname));
    }
  }
  for (const [index, { name = '', port = 0, protocol }] of ports.entries()) {
    const at = `${field}.ports[${index}]`;
    if (name === '' && ports.length > 1) errors.push(required(`${at}.name`));
    else if (name !== '') check(errors, `${at}.name`, name, dnsLabelErrors(name));
    check(errors, `${at}.port`, port, portNumberErrors(port));
    checkEnum(errors, `${at}.protocol`, protocol, ['SCTP', 'TCP', 'UDP']);
  }
}

const shownAddresses = 3;

/** `10.0.0.1:80,10.0.0.2:80 + 3 more...` */
function addressesText(subsets: readonly EndpointSubset[]): string {
  if (subsets.length === 0) return '<none>';
  const all = subsets.flatMap(({ addresses = [], ports = [] }) =>
    ports.length === 0 ? addresses.map(({ ip }) => ip) : ports.flatMap(({ port }) => addresses.map(({ ip }) => `${ip}:${port}`)),
  );
  const shown = all.slice(0, shownAddresses).join(',');
  return all.length > shownAddresses ? `${shown} + ${all.length - shownAddresses} more...` : shown;
}

export type Endpoints = Kube<V1Endpoints>;
export type EndpointSubset = DeepReadonly<V1EndpointSubset>;

import { isIPv4, isIPv6 } from 'node:net';
import type {
  Endpoint as V1Endpoint,
  EndpointPort as V1EndpointPort,
  EndpointSlice as V1EndpointSlice,
} from 'kubernetes-types/discovery/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, Kube } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, mapShared, withDefaults, withField } from '../../copy-on-write.ts';
import { duplicate, immutable, required, tooMany } from '../../field-errors.ts';
import { check, checkEnum, dnsLabelErrors, dnsSubdomainErrors, portNumberErrors } from '../../formats.ts';

export const endpointSlices: KindDefinition<EndpointSlice> = {
  group: 'discovery.k8s.io',
  version: 'v1',
  resource: 'endpointslices',
  kind: 'EndpointSlice',
  namespaced: true,
  singular: 'endpointslice',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.discovery.v1.EndpointSlice',
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  subresources: [],
  columns: [
    nameColumn,
    { name: 'AddressType', type: 'string', description: 'Kind of the addresses.', cell: ({ addressType }) => addressType },
    {
      name: 'Ports',
      type: 'string',
      description: 'Ports of the endpoints.',
      cell: ({ ports }) => listText((ports ?? []).map(({ port }) => (isAbsent(port) ? '*' : String(port)))),
    },
    {
      name: 'Endpoints',
      type: 'string',
      description: 'Addresses of the endpoints.',
      cell: ({ endpoints }) => listText((endpoints ?? []).flatMap(({ addresses }) => addresses)),
    },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: (slice, before) => {
    let result = slice;
    if (!isAbsent(slice.ports) && slice.ports !== before?.ports) {
      result = withField(
        result,
        'ports',
        mapShared(slice.ports, (port) => withDefaults(port, { name: '', protocol: 'TCP' })),
      );
    }
    if (isAbsent(slice.endpoints) || slice.endpoints === before?.endpoints) return result;
    return withField(
      result,
      'endpoints',
      mapShared(slice.endpoints, (endpoint) => withDefaults(endpoint, { conditions: {} })),
    );
  },
  validate: (slice, before) => {
    const errors: FieldError[] = [];
    checkEnum(errors, 'addressType', slice.addressType, ['FQDN', 'IPv4', 'IPv6']);
    if (before !== undefined && slice.addressType !== before.addressType) errors.push(immutable('addressType', slice.addressType));
    // Without a kind of address there is nothing to check the addresses against.
    if (errors.length > 0) return errors;
    if (slice.endpoints !== before?.endpoints) checkEndpoints(errors, slice.endpoints ?? [], slice.addressType);
    if (slice.ports !== before?.ports) checkPorts(errors, slice.ports ?? []);
    return errors;
  },
};

const maxEndpoints = 1000;
const maxAddresses = 100;
const maxPorts = 20_000;

function checkEndpoints(errors: FieldError[], endpoints: readonly Endpoint[], addressType: string): void {
  if (endpoints.length > maxEndpoints) {
    errors.push(tooMany('endpoints', endpoints.length, maxEndpoints));
    return;
  }
  for (const [index, { addresses = [], hostname }] of endpoints.entries()) {
    const field = `endpoints[${index}]`;
    if (addresses.length === 0) errors.push(required(`${field}.addresses`, 'must contain at least 1 address'));
    else if (addresses.length > maxAddresses) errors.push(tooMany(`${field}.addresses`, addresses.length, maxAddresses));
    for (const [number, address] of addresses.entries()) {
      check(errors, `${field}.addresses[${number}]`, address, addressErrors(address, addressType));
    }
    if (!isAbsent(hostname) && hostname !== '') check(errors, `${field}.hostname`, hostname, dnsLabelErrors(hostname));
  }
}

/** Loopback addresses are refused elsewhere: inside the cluster's own range they are the addresses of its pods. */
function addressErrors(address: string, addressType: string): readonly string[] {
  switch (addressType) {
    case 'IPv4':
      if (!isIPv4(address)) return ['must be a valid IPv4 address'];
      if (address === '0.0.0.0') return [`may not be unspecified (${address})`];
      if (address.startsWith('169.254.')) return ['may not be in the link-local range (169.254.0.0/16, fe80::/10)'];
      if (address.startsWith('224.0.0.')) return ['may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)'];
      return [];
    case 'IPv6':
      return isIPv6(address) ? [] : ['must be a valid IPv6 address'];
    default:
      return dnsSubdomainErrors(address);
  }
}

function checkPorts(errors: FieldError[], ports: readonly EndpointPort[]): void {
  if (ports.length > maxPorts) {
    errors.push(tooMany('ports', ports.length, maxPorts));
    return;
  }
  const names = new Set<string>();
  for (const [index, { name = '', port, protocol }] of ports.entries()) {
    const field = `ports[${index}]`;
    if (name !== '') check(errors, `${field}.name`, name, dnsLabelErrors(name));
    if (names.has(name)) errors.push(duplicate(`${field}.name`, name));
    names.add(name);
    if (!isAbsent(port)) check(errors, `${field}.port`, port, portNumberErrors(port));
    checkEnum(errors, `${field}.protocol`, protocol, ['SCTP', 'TCP', 'UDP']);
  }
}

/** The first three, and how many more there are. */
function listText(items: readonly string[]): string {
  if (items.length === 0) return '<unset>';
  const shown = items.slice(0, 3).join(',');
  return items.length > 3 ? `${shown} + ${items.length - 3} more...` : shown;
}

export type EndpointSlice = Omit<Kube<V1EndpointSlice>, 'endpoints'> & { readonly endpoints: readonly Endpoint[] };
export type Endpoint = Omit<DeepReadonly<V1Endpoint>, 'hints'> & { readonly hints?: EndpointHints };
/** The places that are to use an endpoint. */
export interface EndpointHints {
  readonly forZones?: readonly { readonly name: string }[];
  readonly forNodes?: readonly { readonly name: string }[];
}
export type EndpointPort = DeepReadonly<V1EndpointPort>;

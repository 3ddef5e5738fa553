import { isIPv6 } from 'node:net';
import type { Endpoints } from '../../api/core/v1/endpoints.ts';
import type { EndpointSlice } from '../../api/discovery/v1/endpoint-slice.ts';
import { type AddressRange, inRange, parseRange, tryAddress } from '../../machinery/addresses.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { type FieldError, invalid } from '../../machinery/status-error.ts';
import { apiServerUser } from '../user.ts';
import type { AdmissionStep } from './admission.ts';

const loopback = parseRange('127.0.0.0/8');
const linkLocal = parseRange('169.254.0.0/16');
const linkLocalMulticast = parseRange('224.0.0.0/24');

/**
 * Refuses endpoints on loopback addresses, as upstream does. Through one, a user who may write EndpointSlices or
 * Endpoints could reach services of each node that listen on nothing else. The cluster's own part of 127/8 is the one
 * exception, since pods live there.
 */
export function endpointAddresses(podCidr: string | undefined): AdmissionStep {
  const own = podCidr === undefined ? undefined : parseRange(podCidr);
  return {
    name: 'EndpointAddresses',
    appliesTo: ({ group, resource }, operation) =>
      operation !== 'delete' &&
      ((group === 'discovery.k8s.io' && resource === 'endpointslices') || (group === '' && resource === 'endpoints')),
    admit({ kind, name, object, before, user }) {
      // The server's own address, behind the `kubernetes` Service, is wherever it listens.
      if (user.name === apiServerUser.name) return object;
      const addresses = kind.group === '' ? addressesOfEndpoints(object, before) : addressesOfSlice(object, before);
      const errors = addresses.flatMap(({ address, field }) => refusalOf(address, field, own));
      // The client gets all errors at once.
      if (errors.length > 0) throw invalid(kind, name, [...errors, ...(kind.validate?.(object, before) ?? [])]);
      return object;
    },
  };
}

interface Addressed {
  readonly address: string;
  readonly field: string;
}

function addressesOfSlice(object: KubeObject, before: KubeObject | undefined): readonly Addressed[] {
  const { endpoints } = object as EndpointSlice;
  if (endpoints === (before as EndpointSlice | undefined)?.endpoints) return [];
  // An endpoint without addresses is for validation, which names it.
  return (endpoints ?? []).flatMap(({ addresses = [] }, at) =>
    addresses.map((address, index) => ({ address, field: `endpoints[${at}].addresses[${index}]` })),
  );
}

function addressesOfEndpoints(object: KubeObject, before: KubeObject | undefined): readonly Addressed[] {
  const { subsets } = object as Endpoints;
  if (subsets === (before as Endpoints | undefined)?.subsets) return [];
  return (subsets ?? []).flatMap(({ addresses = [], notReadyAddresses = [] }, at) => [
    ...addresses.map(({ ip }, index) => ({ address: ip, field: `subsets[${at}].addresses[${index}].ip` })),
    ...notReadyAddresses.map(({ ip }, index) => ({ address: ip, field: `subsets[${at}].notReadyAddresses[${index}].ip` })),
  ]);
}

function refusalOf(address: string, field: string, own: AddressRange | undefined): readonly FieldError[] {
  const why = isIPv6(address) ? reasonV6(address) : reasonV4(address, own);
  return why === undefined ? [] : [{ type: 'FieldValueInvalid', field, message: `Invalid value: ${JSON.stringify(address)}: ${why}` }];
}

function reasonV4(address: string, own: AddressRange | undefined): string | undefined {
  const value = tryAddress(address);
  // Names and malformed addresses are for validation.
  if (value === undefined) return undefined;
  if (value === 0) return 'may not be unspecified (0.0.0.0 or ::)';
  if (inRange(loopback, value))
    return own !== undefined && inRange(own, value) ? undefined : 'may not be in the loopback range (127.0.0.0/8, ::1/128)';
  if (inRange(linkLocal, value)) return 'may not be in the link-local range (169.254.0.0/16, fe80::/10)';
  if (inRange(linkLocalMulticast, value)) return 'may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)';
  return undefined;
}

function reasonV6(address: string): string | undefined {
  const text = address.toLowerCase();
  // `new URL` writes an IPv6 address in its one shortest form.
  const short = new URL(`http://[${text}]`).hostname.slice(1, -1);
  if (short === '::') return 'may not be unspecified (0.0.0.0 or ::)';
  if (short === '::1' || /^::ffff:7f/.test(short)) return 'may not be in the loopback range (127.0.0.0/8, ::1/128)';
  if (/^fe[89ab]/.test(short)) return 'may not be in the link-local range (169.254.0.0/16, fe80::/10)';
  if (short.startsWith('ff02:')) return 'may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)';
  return undefined;
}

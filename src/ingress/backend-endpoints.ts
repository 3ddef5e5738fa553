import type { Service } from '../api/core/v1/service.ts';
import type { EndpointSlice } from '../api/discovery/v1/endpoint-slice.ts';
import { type EndpointAddress, servingEndpoints } from '../api/discovery/v1/serving-endpoints.ts';
import type { Backend } from './routing-table.ts';

/** The endpoints of a backend, or the reason why there can be none. */
export type ResolvedBackend =
  | { readonly endpoints: readonly EndpointAddress[] }
  | { readonly reason: 'ServiceNotFound' | 'PortNotFound' | 'ExternalNameNotSupported'; readonly message: string };

/** Finds the endpoints behind a port of a Service, past its own address: the proxy balances requests, not connections. */
export function resolveBackend(
  { service: key, port }: Backend,
  service: Service | undefined,
  slices: readonly EndpointSlice[],
): ResolvedBackend {
  if (service === undefined) return { reason: 'ServiceNotFound', message: `Service ${key} does not exist` };
  // The name could be one of the machine or of another network, which only the proxy reaches.
  if (service.spec.type === 'ExternalName')
    return {
      reason: 'ExternalNameNotSupported',
      message: `Service ${key} is a name of another host (ExternalName), which gets no requests`,
    };
  const found = (service.spec.ports ?? []).find(({ name, port: number }) => (typeof port === 'number' ? number === port : name === port));
  if (found === undefined) return { reason: 'PortNotFound', message: `Service ${key} has no port ${port}` };
  if ((found.protocol ?? 'TCP') !== 'TCP') return { reason: 'PortNotFound', message: `port ${port} of Service ${key} is not a TCP port` };
  return { endpoints: servingEndpoints({ portName: found.name ?? '', protocol: 'TCP', slices }) };
}

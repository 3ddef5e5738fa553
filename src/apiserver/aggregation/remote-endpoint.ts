import type { APIService } from '../../api/apiregistration/v1/api-service.ts';
import type { Service } from '../../api/core/v1/service.ts';
import type { EndpointSlice } from '../../api/discovery/v1/endpoint-slice.ts';

/**
 * Address of the server of an APIService, or the reason why there is none: reason and message of the condition
 * `Available`.
 */
export type RemoteEndpoint =
  | { readonly type: 'endpoint'; readonly address: string; readonly port: number; readonly serverName: string }
  | { readonly type: 'problem'; readonly reason: string; readonly message: string };

export interface EndpointSources {
  service(key: string): Service | undefined;
  slices(serviceKey: string): readonly EndpointSlice[];
  /** [0, 1) */
  readonly random: () => number;
}

/**
 * Chooses an endpoint of the Service that an APIService names. The connection goes to the endpoint itself and not to
 * the Service's address, so that it needs no proxy. The certificate still has to be for `NAME.NAMESPACE.svc`.
 */
export function endpointOf({ spec }: APIService, { service: serviceOf, slices: slicesOf, random }: EndpointSources): RemoteEndpoint {
  const { namespace = '', name = '', port: wanted = 443 } = spec?.service ?? {};
  const what = `service/${name} in ${JSON.stringify(namespace)}`;
  const problem = (reason: string, message: string): RemoteEndpoint => ({ type: 'problem', reason, message });
  const service = serviceOf(`${namespace}/${name}`);
  if (service === undefined) return problem('ServiceNotFound', `${what} is not present`);
  const serverName = `${name}.${namespace}.svc`;
  if (service.spec.type === 'ExternalName') {
    return { type: 'endpoint', address: service.spec.externalName ?? '', port: wanted, serverName };
  }
  const servicePort = (service.spec.ports ?? []).find(({ port }) => port === wanted);
  if (servicePort === undefined) return problem('ServicePortError', `${what} is not listening on port ${wanted}`);
  const slices = slicesOf(`${namespace}/${name}`);
  if (slices.length === 0) return problem('EndpointsNotFound', `cannot find endpointslices for ${what}`);
  const portName = servicePort.name ?? '';
  const candidates = slices.flatMap(({ ports = [], endpoints = [] }) => {
    const port = ports.find(({ name: each = '' }) => each === portName)?.port;
    if (port === undefined) return [];
    return endpoints.flatMap(({ addresses, conditions }) => {
      const [address] = addresses;
      return address === undefined || conditions?.ready === false ? [] : [{ address, port }];
    });
  });
  const chosen = candidates[Math.floor(random() * candidates.length)];
  if (chosen === undefined) {
    return problem('MissingEndpoints', `endpointslices for ${what} have no addresses with port name ${JSON.stringify(portName)}`);
  }
  return { type: 'endpoint', ...chosen, serverName };
}

import { type Namespace, namespaces } from '../api/core/v1/namespace.ts';
import { type Service, services } from '../api/core/v1/service.ts';
import { type EndpointSlice, endpointSlices } from '../api/discovery/v1/endpoint-slice.ts';
import { labels, systemNamespaces } from '../api/well-known.ts';
import type { Client, New } from '../client/client.ts';
import { deepEqual, type KubeObject } from '../machinery/object.ts';
import type { Resource } from '../machinery/resource.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../machinery/status-error.ts';
import { formatAddress, parseRange } from './admission/addresses.ts';
import { bootstrapRoles } from './bootstrap-roles.ts';

export interface BootstrapOptions {
  /** A local client of `apiServerUser`. */
  readonly client: Client;
  readonly serviceCidr: string;
  /** Where this API server is reached by pods. */
  readonly apiAddress: string;
  readonly apiPort: number;
}

/** Makes the system namespaces and the default roles: before a server is reached, so that nobody is refused for want of them. */
export async function bootstrapAccess(client: Client): Promise<void> {
  for (const name of systemNamespaces) {
    await ensure<Namespace>(client, namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } }, (stored) => stored);
  }
  await bootstrapRoles(client);
}

/**
 * Makes what every cluster has from its first start, beside `bootstrapAccess`: the `kubernetes` Service with its EndpointSlice. Run at each start: what is
 * there stays, and the Service follows the address.
 */
export async function bootstrap({ client, serviceCidr, apiAddress, apiPort }: BootstrapOptions): Promise<void> {
  const clusterIP = formatAddress(parseRange(serviceCidr).first + 1);
  const ports = [{ name: 'https', port: 443, protocol: 'TCP', targetPort: apiPort }];
  await ensure<Service>(
    client,
    services,
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'kubernetes', namespace: 'default', labels: { component: 'apiserver', provider: 'kubernetes' } },
      spec: { type: 'ClusterIP', clusterIP, ports, sessionAffinity: 'None' },
    },
    (stored) => (deepEqual(stored.spec.ports, ports) ? stored : { ...stored, spec: { ...stored.spec, ports } }),
  );
  const endpoints = [{ addresses: [apiAddress], conditions: { ready: true } }];
  const endpointPorts = [{ name: 'https', port: apiPort, protocol: 'TCP' }];
  await ensure<EndpointSlice>(
    client,
    endpointSlices,
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: 'kubernetes', namespace: 'default', labels: { [labels.serviceName]: 'kubernetes' } },
      addressType: 'IPv4',
      endpoints,
      ports: endpointPorts,
    },
    (stored) =>
      deepEqual(stored.endpoints, endpoints) && deepEqual(stored.ports, endpointPorts)
        ? stored
        : { ...stored, endpoints, ports: endpointPorts },
  );
}

const maxAttempts = 5;

/** Creates the object, or brings the stored one in line with `change`. Another server that starts at the same time does the same. */
async function ensure<T extends KubeObject>(
  client: Client,
  resource: Resource<T>,
  object: New<T>,
  change: (stored: T) => T,
): Promise<void> {
  const { namespace, name = '' } = object.metadata;
  for (let attempt = 1; ; attempt += 1) {
    try {
      const stored = await client.get(resource, { namespace, name });
      const wanted = change(stored);
      if (wanted !== stored) await client.update(resource, wanted);
      return;
    } catch (err) {
      if (isConflict(err) && attempt < maxAttempts) continue;
      if (!isNotFound(err)) throw err;
    }
    try {
      await client.create(resource, object);
      return;
    } catch (err) {
      if (!isAlreadyExists(err) || attempt === maxAttempts) throw err;
    }
  }
}

import { services } from '../../api/core/v1/service.ts';
import { endpointSlices } from '../../api/discovery/v1/endpoint-slice.ts';
import { labels } from '../../api/well-known.ts';
import { ensure } from '../../apiserver/ensure.ts';
import type { Client } from '../../client/client.ts';
import { formatAddress, parseRange } from '../../machinery/addresses.ts';
import { deepEqual } from '../../machinery/object.ts';
import { isInvalid } from '../../machinery/status-error.ts';
import type { Network } from '../data-directory.ts';

/** The Service of cluster DNS, as in every cluster. */
export const dnsService = { namespace: 'kube-system', name: 'kube-dns' } as const;
export const dnsPort = 53;

/** The Service has the tenth address of its range, unless another had that before there was cluster DNS. */
export async function publishClusterDns(client: Client, network: Network): Promise<void> {
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      ...dnsService,
      labels: { 'k8s-app': dnsService.name, 'kubernetes.io/cluster-service': 'true', 'kubernetes.io/name': 'CoreDNS' },
    },
    spec: {
      ports: [
        { name: 'dns', port: dnsPort, protocol: 'UDP', targetPort: dnsPort },
        { name: 'dns-tcp', port: dnsPort, protocol: 'TCP', targetPort: dnsPort },
      ],
    },
  };
  const clusterIP = formatAddress(parseRange(network.serviceCidr).first + 10);
  try {
    await ensure(client, services, { object: { ...service, spec: { ...service.spec, clusterIP } } });
  } catch (err) {
    if (!isInvalid(err)) throw err;
    await ensure(client, services, { object: service });
  }
  const endpoints = [{ addresses: [network.nodeAddress(0)], conditions: { ready: true } }];
  await ensure(client, endpointSlices, {
    object: {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { ...dnsService, labels: { [labels.serviceName]: dnsService.name } },
      addressType: 'IPv4',
      endpoints,
      ports: service.spec.ports.map((each) => ({ name: each.name, port: each.port, protocol: each.protocol })),
    },
    change: (stored) => (deepEqual(stored.endpoints, endpoints) ? stored : { ...stored, endpoints }),
  });
}

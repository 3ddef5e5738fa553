import { type APIService, apiServices } from '../../api/apiregistration/v1/api-service.ts';
import { type Service, services } from '../../api/core/v1/service.ts';
import { type EndpointSlice, endpointSlices } from '../../api/discovery/v1/endpoint-slice.ts';
import { type ClusterRole, clusterRoles } from '../../api/rbac/v1/cluster-role.ts';
import { labels } from '../../api/well-known.ts';
import type { Client } from '../../client/client.ts';
import { tryGet } from '../../client/try-get.ts';
import { deepEqual } from '../../machinery/object.ts';
import { isNotFound } from '../../machinery/status-error.ts';
import { ensure } from '../ensure.ts';

/** Name of the Service. It differs from that of upstream's metrics server, so that both can exist. */
const name = 'midship-metrics';
const namespace = 'kube-system';

const apiServiceName = 'v1beta1.metrics.k8s.io';
const isOwn = ({ spec }: APIService): boolean => spec?.service?.name === name && spec.service.namespace === namespace;

/** Takes back what an earlier start said. The APIService of somebody else's metrics server stays. */
export async function unregisterMetricsApi(client: Client): Promise<void> {
  const stored = await tryGet(client, apiServices, { name: apiServiceName });
  if (stored === undefined || !isOwn(stored)) return;
  await client.delete(apiServices, { name: apiServiceName }).catch((err: unknown) => {
    if (!isNotFound(err)) throw err;
  });
}

export const metricsServiceKey = `${namespace}/${name}`;
/** Under which name its certificate has to be. */
export const metricsServerName = `${name}.${namespace}.svc`;

export interface RegistrationOptions {
  readonly client: Client;
  readonly address: string;
  readonly port: number;
  /** PEM: signed its certificate. */
  readonly caCertificate: string;
}

/**
 * Says that this server has `metrics.k8s.io`, and where. An APIService that somebody has made to name another Service stays: who installs
 * a metrics server of their own means it.
 */
export async function registerMetricsApi({ client, address, port, caCertificate }: RegistrationOptions): Promise<void> {
  const metadata = { name, namespace };
  const service: Service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata,
    // Without an address of its own: nobody but the API server has a reason to come.
    spec: { clusterIP: 'None', ports: [{ name: 'https', port: 443, protocol: 'TCP' }] },
  };
  await ensure<Service>(client, services, { object: service });
  const endpoints = [{ addresses: [address], conditions: { ready: true } }];
  const ports = [{ name: 'https', port, protocol: 'TCP' }];
  await ensure<EndpointSlice>(client, endpointSlices, {
    object: {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { ...metadata, labels: { [labels.serviceName]: name } },
      addressType: 'IPv4',
      endpoints,
      ports,
    },
    change: (stored) =>
      deepEqual(stored.endpoints, endpoints) && deepEqual(stored.ports, ports) ? stored : { ...stored, endpoints, ports },
  });
  const caBundle = Buffer.from(caCertificate).toString('base64');
  const spec = {
    group: 'metrics.k8s.io',
    version: 'v1beta1',
    groupPriorityMinimum: 100,
    versionPriority: 100,
    service: { ...metadata, port: 443 },
    caBundle,
  };
  await ensure<APIService>(client, apiServices, {
    object: { apiVersion: 'apiregistration.k8s.io/v1', kind: 'APIService', metadata: { name: apiServiceName }, spec },
    change: (stored) => (!isOwn(stored) || stored.spec?.caBundle === caBundle ? stored : { ...stored, spec }),
  });
  await ensure<ClusterRole>(client, clusterRoles, {
    object: {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: {
        name: 'system:aggregated-metrics-reader',
        labels: Object.fromEntries(['view', 'edit', 'admin'].map((role) => [`rbac.authorization.k8s.io/aggregate-to-${role}`, 'true'])),
      },
      rules: [{ apiGroups: ['metrics.k8s.io'], resources: ['pods', 'nodes'], verbs: ['get', 'list', 'watch'] }],
    },
  });
}

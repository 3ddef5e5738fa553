import { type APIService, apiServices } from '../api/apiregistration/v1/api-service.ts';
import { type ConfigMap, configMaps } from '../api/core/v1/config-map.ts';
import { type Endpoints, endpoints } from '../api/core/v1/endpoints.ts';
import { type Namespace, namespaces } from '../api/core/v1/namespace.ts';
import { type Service, services } from '../api/core/v1/service.ts';
import { type EndpointSlice, endpointSlices } from '../api/discovery/v1/endpoint-slice.ts';
import { type FlowSchema, flowSchemas, withDangling } from '../api/flowcontrol/v1/flow-schema.ts';
import { type PriorityLevelConfiguration, priorityLevelConfigurations } from '../api/flowcontrol/v1/priority-level-configuration.ts';
import { builtInKinds } from '../api/kinds.ts';
import { type ServiceCIDR, serviceCidrs } from '../api/networking/v1/service-cidr.ts';
import { type PriorityClass, priorityClasses, systemPriorityClasses } from '../api/scheduling/v1/priority-class.ts';
import { labels, systemNamespaces } from '../api/well-known.ts';
import type { Client } from '../client/client.ts';
import { formatAddress, parseRange } from '../machinery/addresses.ts';
import { deepEqual, type KubeObject } from '../machinery/object.ts';
import { isConflict, isNotFound } from '../machinery/status-error.ts';
import { bootstrapRoles } from './bootstrap-roles.ts';
import { ensure } from './ensure.ts';
import { levelOf } from './flow-control/classification.ts';
import { autoupdateSpec, initialLevels, initialSchemas } from './flow-control/configuration.ts';

/** Upstream's name of the range of the flag `--service-cidr`. */
export const defaultServiceRange = 'kubernetes';

/** The ServiceCIDR `kubernetes`, from which every Service gets its address unless there are others. */
export interface ServiceRange {
  readonly serviceCidr: string;
  /** Said to machines that join, as annotations of the ServiceCIDR. */
  readonly networkAnnotations?: Readonly<Record<string, string>>;
}

export interface BootstrapOptions extends ServiceRange {
  /** A local client of `apiServerUser`. */
  readonly client: Client;
  /** Address of this API server for pods. */
  readonly apiAddress: string;
  readonly apiPort: number;
  /** Other servers are endpoints of the API, too: each adds itself, and the ports of the Service stay. */
  readonly isShared?: boolean;
  /** Authorities that extension servers need to trust this one; absent: no aggregation. */
  readonly authorities?: ClientAuthorities;
}

/**
 * Creates the system namespaces, the default roles and the flow schemas. Runs before the server is reachable, so that
 * no client is refused for want of them.
 *
 * @param options.admitsMachines  machines may join by a bootstrap token
 */
export async function bootstrapAccess(client: Client, options: { readonly admitsMachines?: boolean } = {}): Promise<void> {
  for (const name of systemNamespaces) {
    await ensure<Namespace>(client, namespaces, { object: { apiVersion: 'v1', kind: 'Namespace', metadata: { name } } });
  }
  await Promise.all([bootstrapRoles(client, options), bootstrapFlowControl(client)]);
}

/** Brings the levels and schemas of flow control to what this version suggests, save those that a person keeps. */
async function bootstrapFlowControl(client: Client): Promise<void> {
  const suggested =
    <T extends FlowSchema | PriorityLevelConfiguration>(object: T) =>
    (stored: T): T =>
      stored.metadata.annotations?.[autoupdateSpec] !== 'true' || deepEqual(stored.spec, object.spec)
        ? stored
        : { ...stored, spec: object.spec };
  // Levels first: a schema without its level counts for nothing.
  await Promise.all(
    initialLevels.map((level) =>
      ensure<PriorityLevelConfiguration>(client, priorityLevelConfigurations, { object: level, change: suggested(level) }),
    ),
  );
  await Promise.all(initialSchemas.map((schema) => ensure<FlowSchema>(client, flowSchemas, { object: schema, change: suggested(schema) })));
  const levels = new Set((await client.list(priorityLevelConfigurations)).items.map(({ metadata }) => metadata.name));
  const { items } = await client.list(flowSchemas);
  await Promise.all(
    items.map(async (schema) => {
      const told = withDangling(schema, levels.has(levelOf(schema)), schema.metadata.creationTimestamp ?? '');
      if (told === schema) return;
      try {
        await client.update(flowSchemas, told, { subresource: 'status' });
      } catch (err) {
        // Another server that starts at the same time does the same.
        if (!isConflict(err) && !isNotFound(err)) throw err;
      }
    }),
  );
}

/**
 * Creates the objects of every cluster that `bootstrapAccess` does not: the `kubernetes` Service with its EndpointSlice
 * and Endpoints, priority classes and APIServices. The configuration of extension servers is one of them, too. Runs at
 * each start: existing objects stay, and the Service follows the address.
 */
export async function bootstrap(options: BootstrapOptions): Promise<void> {
  const { client, serviceCidr, apiAddress, apiPort, authorities, isShared = false } = options;
  await bootstrapKinds(options);
  await ensureServiceRange(client, options);
  if (authorities !== undefined) await publishAuthorities(client, authorities);
  const clusterIP = formatAddress(parseRange(serviceCidr).first + 1);
  const ports = [{ name: 'https', port: 443, protocol: 'TCP', targetPort: apiPort }];
  await ensure<Service>(client, services, {
    object: {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'kubernetes', namespace: 'default', labels: { component: 'apiserver', provider: 'kubernetes' } },
      spec: { type: 'ClusterIP', clusterIP, ports, sessionAffinity: 'None' },
    },
    change: (stored) => (isShared || deepEqual(stored.spec.ports, ports) ? stored : { ...stored, spec: { ...stored.spec, ports } }),
  });
  if (isShared) return;
  const subsets = [{ addresses: [{ ip: apiAddress }], ports: [{ name: 'https', port: apiPort, protocol: 'TCP' }] }];
  await ensure<Endpoints>(client, endpoints, {
    object: {
      apiVersion: 'v1',
      kind: 'Endpoints',
      // Its slice is made here, too.
      metadata: { name: 'kubernetes', namespace: 'default', labels: { [labels.endpointSliceSkipMirror]: 'true' } },
      subsets,
    },
    change: (stored) => (deepEqual(stored.subsets, subsets) ? stored : { ...stored, subsets }),
  });
  const sliceEndpoints = [{ addresses: [apiAddress], conditions: { ready: true } }];
  const endpointPorts = [{ name: 'https', port: apiPort, protocol: 'TCP' }];
  await ensure<EndpointSlice>(client, endpointSlices, {
    object: {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: 'kubernetes', namespace: 'default', labels: { [labels.serviceName]: 'kubernetes' } },
      addressType: 'IPv4',
      endpoints: sliceEndpoints,
      ports: endpointPorts,
    },
    change: (stored) =>
      deepEqual(stored.endpoints, sliceEndpoints) && deepEqual(stored.ports, endpointPorts)
        ? stored
        : { ...stored, endpoints: sliceEndpoints, ports: endpointPorts },
  });
}

/** PEM. */
export interface ClientAuthorities {
  /** Signs the certificates of clients. */
  readonly clientCa: string;
  /** Signs the certificate with which requests are passed on, whose `X-Remote-*` headers are true. */
  readonly requestHeaderCa: string;
}

/** Name in the certificate with which requests are passed on. */
export const frontProxyName = 'front-proxy-client';

/**
 * Extension servers, and upstream's scheduler and controller manager, read here how to authenticate users whose
 * requests this server passes on.
 */
async function publishAuthorities(client: Client, { clientCa, requestHeaderCa }: ClientAuthorities): Promise<void> {
  const data = {
    'client-ca-file': clientCa,
    'requestheader-allowed-names': JSON.stringify([frontProxyName]),
    'requestheader-client-ca-file': requestHeaderCa,
    'requestheader-extra-headers-prefix': '["X-Remote-Extra-"]',
    'requestheader-group-headers': '["X-Remote-Group"]',
    'requestheader-uid-headers': '["X-Remote-Uid"]',
    'requestheader-username-headers': '["X-Remote-User"]',
  };
  await ensure<ConfigMap>(client, configMaps, {
    object: {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'extension-apiserver-authentication', namespace: 'kube-system' },
      data,
    },
    change: (stored) => (deepEqual(stored.data, data) ? stored : { ...stored, data }),
  });
}

/** The priority classes of system pods, and one APIService for each group version. */
async function bootstrapKinds({ client }: BootstrapOptions): Promise<void> {
  const keep = <T>(stored: T): T => stored;
  const groupVersions = new Map(builtInKinds.map(({ group, version }) => [`${version}.${group}`, { group, version }]));
  await Promise.all([
    ...systemPriorityClasses.map(({ name, value, description }) =>
      ensure<PriorityClass>(client, priorityClasses, {
        object: { apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', metadata: { name }, value, description },
        change: keep,
      }),
    ),
    ...[...groupVersions].map(([name, { group, version }]) =>
      ensure<APIService>(client, apiServices, {
        object: {
          apiVersion: 'apiregistration.k8s.io/v1',
          kind: 'APIService',
          metadata: { name, labels: { 'kube-aggregator.kubernetes.io/automanaged': 'onstart' } },
          spec: { group, version, ...(groupPriorities[group] ?? otherGroupPriority) },
        },
        change: keep,
      }),
    ),
  ]);
}

function withAnnotations<T extends KubeObject>(stored: T, wanted: Readonly<Record<string, string>>): T {
  const annotations = { ...stored.metadata.annotations, ...wanted };
  return deepEqual(annotations, stored.metadata.annotations ?? {}) ? stored : { ...stored, metadata: { ...stored.metadata, annotations } };
}

/** Creates the default range, and says that it is ready. */
export async function ensureServiceRange(client: Client, { serviceCidr, networkAnnotations: annotations }: ServiceRange): Promise<void> {
  await ensure<ServiceCIDR>(client, serviceCidrs, {
    object: {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'ServiceCIDR',
      metadata: { name: defaultServiceRange, ...(annotations === undefined ? {} : { annotations }) },
      spec: { cidrs: [serviceCidr] },
    },
    change: (stored) => withAnnotations(stored, annotations ?? {}),
  });
  await markReady(client);
}

/** Says of the range that it is there to take addresses from; clients that wait for a range look at this. */
async function markReady(client: Client): Promise<void> {
  const range = await client.get(serviceCidrs, { name: defaultServiceRange });
  if (range.status?.conditions?.some(({ type }) => type === 'Ready') === true) return;
  const lastTransitionTime = range.metadata.creationTimestamp ?? '';
  const ready = { type: 'Ready', status: 'True', reason: '', message: 'Kubernetes default Service CIDR is ready', lastTransitionTime };
  try {
    await client.update(serviceCidrs, { ...range, status: { conditions: [ready] } }, { subresource: 'status' });
  } catch (err) {
    // Another server that starts at the same time does the same.
    if (!isConflict(err)) throw err;
  }
}

const otherGroupPriority = { groupPriorityMinimum: 1000, versionPriority: 100 } as const;

/** In what order clients are to look for an ambiguous name, as upstream ranks its groups. */
const groupPriorities: Readonly<Record<string, { readonly groupPriorityMinimum: number; readonly versionPriority: number }>> =
  Object.fromEntries(
    [
      ['', 18_000],
      ['apps', 17_800],
      ['events.k8s.io', 17_750],
      ['authentication.k8s.io', 17_700],
      ['authorization.k8s.io', 17_600],
      ['autoscaling', 17_500],
      ['batch', 17_400],
      ['certificates.k8s.io', 17_300],
      ['networking.k8s.io', 17_200],
      ['policy', 17_100],
      ['rbac.authorization.k8s.io', 17_000],
      ['storage.k8s.io', 16_800],
      ['apiextensions.k8s.io', 16_700],
      ['admissionregistration.k8s.io', 16_700],
      ['scheduling.k8s.io', 16_600],
      ['coordination.k8s.io', 16_500],
      ['node.k8s.io', 16_300],
      ['discovery.k8s.io', 16_200],
      ['resource.k8s.io', 16_200],
      ['flowcontrol.apiserver.k8s.io', 16_100],
    ].map(([group, groupPriorityMinimum]) => [group, { groupPriorityMinimum: Number(groupPriorityMinimum), versionPriority: 15 }]),
  );

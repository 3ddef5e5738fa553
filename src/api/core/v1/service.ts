import type { Service as V1Service, ServicePort as V1ServicePort, ServiceSpec as V1ServiceSpec } from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, Kube } from '../../../machinery/object.ts';
import { selectorOfLabels } from '../../../machinery/selector.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, mapShared, withDefaults, withField } from '../../copy-on-write.ts';
import { validateService } from './service-validation.ts';

export const services: KindDefinition<Service> = {
  group: '',
  version: 'v1',
  resource: 'services',
  kind: 'Service',
  namespaced: true,
  singular: 'service',
  shortNames: ['svc'],
  categories: ['all'],
  schemaName: 'io.k8s.api.core.v1.Service',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'label',
  createdByUpdate: true,
  subresources: [
    { name: 'status', verbs: ['get', 'patch', 'update'] },
    {
      name: 'proxy',
      verbs: ['create', 'delete', 'get', 'patch', 'update'],
      body: { group: '', version: 'v1', kind: 'ServiceProxyOptions' },
    },
  ],
  columns: [
    nameColumn,
    { name: 'Type', type: 'string', description: 'Way to reach the service.', cell: ({ spec }) => spec.type ?? '' },
    {
      name: 'Cluster-IP',
      type: 'string',
      description: 'Virtual address inside the cluster.',
      cell: ({ spec }) => spec.clusterIPs?.[0] || spec.clusterIP || '<none>',
    },
    {
      name: 'External-IP',
      type: 'string',
      description: 'Addresses from outside the cluster.',
      cell: externalAddressOf,
    },
    {
      name: 'Port(s)',
      type: 'string',
      description: 'Ports that are exposed.',
      cell: ({ spec }) =>
        (spec.ports ?? [])
          .map(({ port, nodePort, protocol = 'TCP' }) =>
            isAbsent(nodePort) || nodePort === 0 ? `${port}/${protocol}` : `${port}:${nodePort}/${protocol}`,
          )
          .join(',') || '<none>',
    },
    ageColumn,
    {
      name: 'Selector',
      type: 'string',
      description: 'Labels of the pods behind the service.',
      priority: 1,
      cell: ({ spec }) => selectorOfLabels(spec.selector).toString() || '<none>',
    },
  ],
  selectableFields: {
    'spec.clusterIP': (service) => service.spec.clusterIP ?? '',
    'spec.type': (service) => service.spec.type ?? '',
  },
  deleteAnswer: 'object',
  shortFieldLabelError: true,
  defaults: (service, before) =>
    before !== undefined && service.spec === before.spec ? service : withField(service, 'spec', defaultSpec(service.spec ?? {})),
  prepareForStatus: (service) => withIpModes(service),
  warnings: ({ spec }, before) => (spec === before?.spec ? [] : warningsOf(spec)),
  prepareForCreate: (service) => ({
    ...service,
    spec: withAddressFamilies(withClusterIPs(service.spec)),
    status: { loadBalancer: {} },
  }),
  prepareForUpdate: (service, before) =>
    service.spec === before.spec ? service : withField(service, 'spec', keepAllocated(service.spec, before.spec)),
  validate: validateService,
};

/** An address of a load balancer is one that packets are sent to, unless it says that they come through a proxy. */
function withIpModes(service: Service): Service {
  const { ingress } = service.status?.loadBalancer ?? {};
  if (isAbsent(ingress)) return service;
  const complete = mapShared(ingress, (entry) => (isAbsent(entry.ip) || entry.ip === '' ? entry : withDefaults(entry, { ipMode: 'VIP' })));
  return complete === ingress ? service : { ...service, status: { ...service.status, loadBalancer: { ingress: complete } } };
}

function warningsOf({ type, externalIPs = [], externalName = '', trafficDistribution }: ServiceSpec): readonly string[] {
  const warnings: string[] = [];
  if (externalIPs.length > 0) warnings.push('spec.externalIPs is deprecated');
  if (type === 'ExternalName' && externalIPs.length > 0) warnings.push('spec.externalIPs is ignored when spec.type is "ExternalName"');
  if (type !== 'ExternalName' && externalName !== '') warnings.push('spec.externalName is ignored when spec.type is not "ExternalName"');
  if (trafficDistribution === 'PreferClose') {
    warnings.push('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"');
  }
  return warnings;
}

function defaultSpec(spec: ServiceSpec): ServiceSpec {
  let result = withDefaults(spec, { sessionAffinity: 'None', type: 'ClusterIP' });
  if (result.sessionAffinity === 'None' && !isAbsent(result.sessionAffinityConfig)) {
    result = withField(result, 'sessionAffinityConfig', undefined);
  } else if (result.sessionAffinity === 'ClientIP' && isAbsent(result.sessionAffinityConfig?.clientIP?.timeoutSeconds)) {
    result = withField(result, 'sessionAffinityConfig', { clientIP: { timeoutSeconds: 10800 } });
  }
  if (!isAbsent(result.ports)) {
    const ports = mapShared(result.ports, (port) => {
      const next = withDefaults(port, { protocol: 'TCP' });
      return isAbsent(next.targetPort) || next.targetPort === 0 || next.targetPort === '' ? withField(next, 'targetPort', next.port) : next;
    });
    result = withField(result, 'ports', ports);
  }
  const { type } = result;
  if (isFacingOutside(result)) result = withDefaults(result, { externalTrafficPolicy: 'Cluster' });
  if (type === 'ClusterIP' || type === 'NodePort' || type === 'LoadBalancer')
    result = withDefaults(result, { internalTrafficPolicy: 'Cluster' });
  return type === 'LoadBalancer' ? withDefaults(result, { allocateLoadBalancerNodePorts: true }) : result;
}

/** A client may give the address in the old field alone. */
const withClusterIPs = (spec: ServiceSpec): ServiceSpec =>
  isAbsent(spec.clusterIP) || spec.clusterIP === '' || !isAbsent(spec.clusterIPs) ? spec : { ...spec, clusterIPs: [spec.clusterIP] };

/** The cluster has one address family; a headless service without selector says nothing about its endpoints, so it gets both. */
function withAddressFamilies(spec: ServiceSpec): ServiceSpec {
  if (spec.type === 'ExternalName') return spec;
  const any = spec.clusterIP === 'None' && Object.keys(spec.selector ?? {}).length === 0;
  if (any) return withDefaults(spec, { ipFamilies: ['IPv4', 'IPv6'], ipFamilyPolicy: 'RequireDualStack' });
  return withDefaults(spec, { ipFamilies: ['IPv4'], ipFamilyPolicy: 'SingleStack' });
}

/**
 * An update without the allocated fields keeps them. Fields without use for a new type are cleared, unless the update
 * changes them.
 */
const keepAllocated = (spec: ServiceSpec, before: ServiceSpec): ServiceSpec =>
  withoutForeignFields(keepNodePorts(keepAddresses(spec, before), before), before);

function keepAddresses(spec: ServiceSpec, before: ServiceSpec): ServiceSpec {
  let result = spec;
  const hadAddress = before.type !== 'ExternalName';
  if (hadAddress && spec.type !== 'ExternalName') {
    const sameOldField = result.clusterIP === before.clusterIP;
    if (isAbsent(result.clusterIP) || result.clusterIP === '') {
      result = withDefaults(withField(result, 'clusterIP', before.clusterIP), pick(before, 'clusterIPs'));
    } else if (!sameOldField && (isAbsent(result.clusterIPs) || result.clusterIPs[0] === before.clusterIP)) {
      result = withField(result, 'clusterIPs', [result.clusterIP]);
    }
    result = withDefaults(result, { ...pick(before, 'clusterIPs'), ...pick(before, 'ipFamilies'), ...pick(before, 'ipFamilyPolicy') });
  } else if (hadAddress) {
    // Becoming an external name gives the address back.
    for (const field of ['clusterIP', 'clusterIPs', 'ipFamilies', 'ipFamilyPolicy', 'internalTrafficPolicy'] as const) {
      if (result[field] === before[field] || isAbsent(result[field])) result = withField(result, field, undefined);
    }
  } else {
    result = withAddressFamilies(result);
  }
  return result;
}

const hasNodePorts = ({ type }: ServiceSpec): boolean => type === 'NodePort' || type === 'LoadBalancer';

const hasHealthCheckPort = ({ type, externalTrafficPolicy }: ServiceSpec): boolean =>
  type === 'LoadBalancer' && externalTrafficPolicy === 'Local';

const isFacingOutside = ({ type, externalIPs = [] }: ServiceSpec): boolean =>
  type === 'NodePort' || type === 'LoadBalancer' || (type === 'ClusterIP' && externalIPs.length > 0);

const nodePortsOf = ({ ports = [] }: ServiceSpec): ReadonlySet<number> =>
  new Set(ports.map(({ nodePort }) => nodePort ?? 0).filter((port) => port !== 0));

/** A port keeps its node port by its name, unless another port of the service takes it. */
function keepNodePorts(spec: ServiceSpec, before: ServiceSpec): ServiceSpec {
  let result = spec;
  if (hasNodePorts(before) && hasNodePorts(spec) && spec.ports !== before.ports && !isAbsent(spec.ports)) {
    const mentioned = nodePortsOf(spec);
    const used = new Set([...nodePortsOf(before)].filter((port) => mentioned.has(port)));
    const byName = new Map((before.ports ?? []).map(({ name = '', nodePort = 0 }) => [name, nodePort]));
    const ports = mapShared(spec.ports, (port) => {
      const known = byName.get(port.name ?? '') ?? 0;
      if ((port.nodePort ?? 0) !== 0 || known === 0 || used.has(known)) return port;
      used.add(known);
      return withField(port, 'nodePort', known);
    });
    result = withField(result, 'ports', ports);
  }
  return hasHealthCheckPort(before) && hasHealthCheckPort(result) && (result.healthCheckNodePort ?? 0) === 0
    ? withField(result, 'healthCheckNodePort', before.healthCheckNodePort)
    : result;
}

function withoutForeignFields(spec: ServiceSpec, before: ServiceSpec): ServiceSpec {
  let result = spec;
  const drop = (field: keyof ServiceSpec, belongs: (spec: ServiceSpec) => boolean): void => {
    if (belongs(before) && !belongs(spec) && result[field] === before[field]) result = withField(result, field, undefined);
  };
  if (hasNodePorts(before) && !hasNodePorts(spec) && !isAbsent(spec.ports) && sameSets(nodePortsOf(before), nodePortsOf(spec))) {
    const ports = mapShared(spec.ports, (port) => withField(port, 'nodePort', undefined));
    result = withField(result, 'ports', ports);
  }
  drop('healthCheckNodePort', hasHealthCheckPort);
  drop('externalTrafficPolicy', isFacingOutside);
  drop('allocateLoadBalancerNodePorts', ({ type }) => type === 'LoadBalancer');
  drop('loadBalancerClass', ({ type }) => type === 'LoadBalancer');
  return result;
}

const sameSets = (a: ReadonlySet<number>, b: ReadonlySet<number>): boolean => a.size === b.size && [...a].every((item) => b.has(item));

const pick = <K extends keyof ServiceSpec>(spec: ServiceSpec, field: K): Partial<ServiceSpec> =>
  spec[field] === undefined ? {} : { [field]: spec[field] };

function externalAddressOf({ spec, status }: Service): string {
  const externalIPs = spec.externalIPs ?? [];
  switch (spec.type) {
    case 'ExternalName':
      return spec.externalName ?? '';
    case 'LoadBalancer': {
      const ingress = (status?.loadBalancer?.ingress ?? []).map(({ ip, hostname }) => ip || hostname || '').filter((text) => text !== '');
      return [...ingress, ...externalIPs].join(',') || '<pending>';
    }
    default:
      return externalIPs.join(',') || '<none>';
  }
}

export type Service = Kube<V1Service> & { readonly spec: ServiceSpec };
export type ServiceSpec = DeepReadonly<V1ServiceSpec>;
export type ServicePort = DeepReadonly<V1ServicePort>;

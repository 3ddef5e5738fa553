import { qualifiedNameErrors } from '../../../machinery/label-syntax.ts';
import { deepEqual } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { isAbsent } from '../../copy-on-write.ts';
import { duplicate, forbidden, immutable, invalidValue, notSupported, required } from '../../field-errors.ts';
import {
  check,
  checkEnum,
  checkLabels,
  checkPortReference,
  cidrErrors,
  dnsLabelErrors,
  dnsSubdomainErrors,
  ipErrors,
  portNumberErrors,
  rangeError,
  specialAddressErrors,
} from '../../formats.ts';
import type { Service, ServicePort, ServiceSpec } from './service.ts';

const serviceTypes: readonly string[] = ['ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort'];
const protocols: readonly string[] = ['SCTP', 'TCP', 'UDP'];
const policies: readonly string[] = ['Cluster', 'Local'];
const families: readonly string[] = ['IPv4', 'IPv6'];
const distributions: readonly string[] = ['PreferClose', 'PreferSameZone', 'PreferSameNode'];
const maxAffinitySeconds = 86_400;
const kubeletPort = 10_250;

/** The allocator, not this rule, decides if an address is free and in the cluster's range. */
export function validateService(service: Service, before?: Service): readonly FieldError[] {
  const errors: FieldError[] = [];
  const { spec } = service;
  if (before !== undefined && spec === before.spec) return errors;
  const ports = spec.ports ?? [];
  const headless = spec.clusterIP === 'None';
  if (ports.length === 0 && !headless && spec.type !== 'ExternalName') errors.push(required('spec.ports'));
  if (spec.type === 'LoadBalancer') {
    for (const [index, { port }] of ports.entries()) {
      const why = `may not expose port ${port} externally since it is used by kubelet`;
      if (port === kubeletPort) errors.push(invalidValue(`spec.ports[${index}]`, port, why));
    }
  }
  if (headless && (spec.type === 'LoadBalancer' || spec.type === 'NodePort')) {
    errors.push(invalidValue('spec.clusterIPs[0]', 'None', `may not be set to 'None' for ${spec.type} services`));
  }
  if (spec.type === 'ExternalName') checkExternalName(errors, spec);
  const names = new Set<string>();
  for (const [index, port] of ports.entries()) {
    checkPort(errors, `spec.ports[${index}]`, port, { names, named: ports.length > 1 });
  }
  checkLabels(errors, 'spec.selector', spec.selector);
  checkSessionAffinity(errors, spec);
  for (const [index, address] of (
    spec.clusterIPs ?? (isAbsent(spec.clusterIP) || spec.clusterIP === '' ? [] : [spec.clusterIP])
  ).entries()) {
    if (address !== 'None') check(errors, `spec.clusterIPs[${index}]`, address, ipErrors(address));
  }
  const [first] = spec.clusterIPs ?? [];
  if (first !== undefined && (isAbsent(spec.clusterIP) || spec.clusterIP === '')) {
    errors.push(invalidValue('spec.clusterIPs', spec.clusterIPs, 'must be empty when `clusterIP` is not specified'));
  } else if (first !== undefined && spec.clusterIP !== first) {
    errors.push(invalidValue('spec.clusterIPs', spec.clusterIPs, 'first value must match `clusterIP`'));
  }
  checkFamilies(errors, spec.ipFamilies ?? []);
  for (const [index, address] of (spec.externalIPs ?? []).entries()) {
    const malformed = ipErrors(address);
    check(errors, `spec.externalIPs[${index}]`, address, malformed.length > 0 ? malformed : specialAddressErrors(address));
  }
  checkEnum(errors, 'spec.type', spec.type, serviceTypes);
  checkNodePortsAndDuplicates(errors, ports, spec.type);
  checkTrafficPolicies(errors, spec);
  checkSourceRanges(errors, service);
  checkLoadBalancer(errors, spec, before?.spec);
  const { trafficDistribution } = spec;
  if (!isAbsent(trafficDistribution) && !distributions.includes(trafficDistribution)) {
    errors.push(notSupported('spec.trafficDistribution', trafficDistribution, distributions));
  }
  if (before !== undefined) checkUpdate(errors, spec, before.spec);
  return errors;
}

function checkExternalName(errors: FieldError[], spec: ServiceSpec): void {
  if ((spec.clusterIPs ?? []).length > 0 || (!isAbsent(spec.clusterIP) && spec.clusterIP !== '')) {
    errors.push(forbidden('spec.clusterIPs', 'may not be set for ExternalName services'));
  }
  const name = (spec.externalName ?? '').replace(/\.$/, '');
  if (name === '') errors.push(required('spec.externalName'));
  else check(errors, 'spec.externalName', name, dnsSubdomainErrors(name));
}

function checkPort(
  errors: FieldError[],
  field: string,
  port: ServicePort,
  { names, named }: { readonly names: Set<string>; readonly named: boolean },
): void {
  const name = port.name ?? '';
  if (name !== '') {
    check(errors, `${field}.name`, name, dnsLabelErrors(name));
    if (names.has(name)) errors.push(duplicate(`${field}.name`, name));
    names.add(name);
  } else if (named) errors.push(required(`${field}.name`));
  check(errors, `${field}.port`, port.port ?? 0, portNumberErrors(port.port ?? 0));
  checkEnum(errors, `${field}.protocol`, port.protocol, protocols);
  checkPortReference(errors, `${field}.targetPort`, port.targetPort);
  if (!isAbsent(port.appProtocol)) check(errors, `${field}.appProtocol`, port.appProtocol, qualifiedNameErrors(port.appProtocol));
}

function checkFamilies(errors: FieldError[], ipFamilies: readonly string[]): void {
  for (const [index, family] of ipFamilies.entries()) {
    const field = `spec.ipFamilies[${index}]`;
    if (!families.includes(family)) errors.push(notSupported(field, family, families));
    else if (ipFamilies.indexOf(family) !== index) errors.push(duplicate(field, family));
  }
}

function checkSessionAffinity(errors: FieldError[], { sessionAffinity, sessionAffinityConfig }: ServiceSpec): void {
  checkEnum(errors, 'spec.sessionAffinity', sessionAffinity, ['ClientIP', 'None']);
  if (sessionAffinity !== 'ClientIP') return;
  const seconds = sessionAffinityConfig?.clientIP?.timeoutSeconds ?? 0;
  if (seconds <= 0 || seconds > maxAffinitySeconds) {
    const why = `must be greater than 0 and less than ${maxAffinitySeconds}`;
    errors.push(invalidValue('spec.sessionAffinityConfig.clientIP.timeoutSeconds', seconds, why));
  }
}

function checkNodePortsAndDuplicates(errors: FieldError[], ports: readonly ServicePort[], type: string | undefined): void {
  for (const [index, { nodePort }] of ports.entries()) {
    if (isAbsent(nodePort) || nodePort === 0) continue;
    const field = `spec.ports[${index}].nodePort`;
    if (type === 'ClusterIP' || type === 'ExternalName') errors.push(forbidden(field, `may not be used when \`type\` is '${type}'`));
    else check(errors, field, nodePort, portNumberErrors(nodePort));
  }
  const seenNodePorts = new Set<string>();
  for (const [index, { nodePort, protocol = 'TCP' }] of ports.entries()) {
    if (isAbsent(nodePort) || nodePort === 0) continue;
    const key = `${protocol}/${nodePort}`;
    if (seenNodePorts.has(key)) errors.push(duplicate(`spec.ports[${index}].nodePort`, nodePort));
    seenNodePorts.add(key);
  }
  const seen = new Set<string>();
  for (const [index, { port, protocol = 'TCP' }] of ports.entries()) {
    const key = `${protocol}/${port}`;
    if (seen.has(key)) {
      // The real server shows its own struct here, under Go's names.
      const shown = { Name: '', Protocol: protocol, AppProtocol: null, Port: port, TargetPort: 0, NodePort: 0 };
      errors.push(duplicate(`spec.ports[${index}]`, shown));
    }
    seen.add(key);
  }
}

function checkTrafficPolicies(errors: FieldError[], spec: ServiceSpec): void {
  const { type, externalTrafficPolicy, internalTrafficPolicy, externalIPs = [], healthCheckNodePort } = spec;
  const external = type === 'NodePort' || type === 'LoadBalancer' || (type === 'ClusterIP' && externalIPs.length > 0);
  if (external) checkEnum(errors, 'spec.externalTrafficPolicy', externalTrafficPolicy, policies);
  else if (!isAbsent(externalTrafficPolicy) && externalTrafficPolicy !== '') {
    const why = 'may only be set for externally-accessible services';
    errors.push(invalidValue('spec.externalTrafficPolicy', externalTrafficPolicy, why));
  }
  if (!isAbsent(healthCheckNodePort) && healthCheckNodePort !== 0) {
    if (healthCheckNodePort < 0 || healthCheckNodePort > 65535) {
      errors.push(invalidValue('spec.healthCheckNodePort', healthCheckNodePort, rangeError(1, 65535)));
    } else if (type !== 'LoadBalancer' || externalTrafficPolicy !== 'Local') {
      const why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
      errors.push(invalidValue('spec.healthCheckNodePort', healthCheckNodePort, why));
    }
  }
  if (type === 'ExternalName' || !serviceTypes.includes(type ?? '')) return;
  if (isAbsent(internalTrafficPolicy)) errors.push(required('spec.internalTrafficPolicy'));
  else if (!policies.includes(internalTrafficPolicy)) {
    errors.push(notSupported('spec.internalTrafficPolicy', internalTrafficPolicy, policies));
  }
}

const forLoadBalancers = "may only be used when `type` is 'LoadBalancer'";
const sourceRangesAnnotation = 'service.beta.kubernetes.io/load-balancer-source-ranges';

/** Source ranges of a load balancer: the field, or the older annotation. The server writes the field with a capital. */
function checkSourceRanges(errors: FieldError[], { spec, metadata }: Service): void {
  const ranges = spec.loadBalancerSourceRanges ?? [];
  const annotation = metadata.annotations?.[sourceRangesAnnotation];
  if (ranges.length === 0 && annotation === undefined) return;
  const isField = ranges.length > 0;
  const field = isField ? 'spec.LoadBalancerSourceRanges' : `metadata.annotations[${sourceRangesAnnotation}]`;
  if (spec.type !== 'LoadBalancer') errors.push(forbidden(field, forLoadBalancers));
  const listed = isField ? ranges : (annotation ?? '').trim() === '' ? [] : (annotation ?? '').trim().split(',');
  for (const [index, range] of listed.entries()) {
    const cidr = range.trim();
    check(errors, isField ? `${field}[${index}]` : field, cidr, cidrErrors(cidr));
  }
}

/** Fields of load balancers alone. */
function checkLoadBalancer(errors: FieldError[], spec: ServiceSpec, before: ServiceSpec | undefined): void {
  const why = forLoadBalancers;
  const { type, allocateLoadBalancerNodePorts, loadBalancerClass } = spec;
  if (type === 'LoadBalancer') {
    if (!isAbsent(loadBalancerClass)) check(errors, 'spec.loadBalancerClass', loadBalancerClass, qualifiedNameErrors(loadBalancerClass));
    if (isAbsent(allocateLoadBalancerNodePorts)) errors.push(required('spec.allocateLoadBalancerNodePorts'));
    if (before?.type === 'LoadBalancer' && before.loadBalancerClass !== loadBalancerClass) {
      errors.push(invalidValue('spec.loadBalancerClass', loadBalancerClass ?? null, 'may not change once set'));
    }
    const port = before?.healthCheckNodePort ?? 0;
    const keepsPort = before?.type === 'LoadBalancer' && before.externalTrafficPolicy === 'Local' && spec.externalTrafficPolicy === 'Local';
    if (keepsPort && port !== 0 && port !== spec.healthCheckNodePort) {
      const fixed = 'cannot change healthCheckNodePort on loadBalancer service with externalTraffic=Local during update';
      errors.push(invalidValue('spec.healthCheckNodePort', spec.healthCheckNodePort ?? 0, fixed));
    }
    return;
  }
  if (!isAbsent(allocateLoadBalancerNodePorts)) errors.push(forbidden('spec.allocateLoadBalancerNodePorts', why));
  if (!isAbsent(loadBalancerClass)) errors.push(forbidden('spec.loadBalancerClass', why));
}

/** An address stays with a service as long as the service has one. */
function checkUpdate(errors: FieldError[], spec: ServiceSpec, before: ServiceSpec): void {
  if (before.type === 'ExternalName' || spec.type === 'ExternalName') return;
  const [old] = before.clusterIPs ?? [];
  const [next] = spec.clusterIPs ?? [];
  if (old === undefined || old === next) return;
  if (next === undefined) errors.push(invalidValue('spec.clusterIPs[0]', spec.clusterIPs ?? [], 'primary clusterIP can not be unset'));
  else errors.push(invalidValue('spec.clusterIPs[0]', spec.clusterIPs, 'may not change once set'));
  if (before.ipFamilies?.[0] !== spec.ipFamilies?.[0] && !deepEqual(before.ipFamilies, spec.ipFamilies)) {
    errors.push(immutable('spec.ipFamilies[0]', spec.ipFamilies));
  }
}

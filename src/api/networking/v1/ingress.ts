import { isIPv4, isIPv6 } from 'node:net';
import type {
  IngressBackend as V1IngressBackend,
  IngressSpec as V1IngressSpec,
  IngressStatus as V1IngressStatus,
} from 'kubernetes-types/networking/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withField } from '../../copy-on-write.ts';
import { invalidValue, notSupported, required } from '../../field-errors.ts';
import { check, dnsLabelErrors, dnsSubdomainErrors, hostPatternErrors, portNameErrors, portNumberErrors } from '../../formats.ts';

export const ingresses: KindDefinition<Ingress> = {
  group: 'networking.k8s.io',
  version: 'v1',
  resource: 'ingresses',
  kind: 'Ingress',
  namespaced: true,
  singular: 'ingress',
  shortNames: ['ing'],
  categories: [],
  schemaName: 'io.k8s.api.networking.v1.Ingress',
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [
    nameColumn,
    { name: 'Class', type: 'string', description: 'Class of the controller.', cell: ({ spec }) => spec.ingressClassName ?? '<none>' },
    { name: 'Hosts', type: 'string', description: 'Hosts that it answers for.', cell: hostsText },
    {
      name: 'Address',
      type: 'string',
      description: 'Addresses of the load balancer.',
      cell: ({ status }) => [...new Set((status?.loadBalancer?.ingress ?? []).map(({ ip, hostname }) => ip || hostname || ''))].join(','),
    },
    {
      name: 'Ports',
      type: 'string',
      description: 'Ports that it listens on.',
      cell: ({ spec }) => ((spec.tls ?? []).length > 0 ? '80, 443' : '80'),
    },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: (ingress) => (isAbsent(ingress.spec) ? withField(ingress, 'spec', {}) : ingress),
  prepareForCreate: (ingress) => ({ ...ingress, status: { loadBalancer: {} } }),
  warnings: ({ metadata }, before) => {
    const isNew = before === undefined || before.metadata.annotations?.[classAnnotation] === undefined;
    return isNew && metadata.annotations?.[classAnnotation] !== undefined
      ? [`annotation "${classAnnotation}" is deprecated, please use 'spec.ingressClassName' instead`]
      : [];
  },
  validate: ({ metadata, spec }, before) => {
    const errors: FieldError[] = [];
    if (before !== undefined && spec === before.spec) return errors;
    const className = spec.ingressClassName;
    const annotated = metadata.annotations?.[classAnnotation];
    if (before === undefined && annotated !== undefined && !isAbsent(className)) {
      const why = 'can not be set when the class field is also set';
      errors.push(invalidValue(`metadata.annotations[${classAnnotation}]`, annotated, why));
    }
    if ((spec.rules ?? []).length === 0 && isAbsent(spec.defaultBackend)) {
      errors.push(invalidValue('spec', null, 'either `defaultBackend` or `rules` must be specified'));
    }
    for (const [index, { hosts = [], secretName = '' }] of (spec.tls ?? []).entries()) {
      const field = `spec.tls[${index}]`;
      for (const [at, host] of hosts.entries()) check(errors, `${field}.hosts[${at}]`, host, hostPatternErrors(host));
      if (secretName !== '') check(errors, `${field}.secretName`, secretName, dnsSubdomainErrors(secretName));
    }
    if (!isAbsent(spec.defaultBackend)) checkBackend(errors, 'spec.defaultBackend', spec.defaultBackend);
    for (const [index, rule] of (spec.rules ?? []).entries()) checkRule(errors, `spec.rules[${index}]`, rule);
    if (!isAbsent(className)) check(errors, 'spec.ingressClassName', className, dnsSubdomainErrors(className));
    return errors;
  },
};

const classAnnotation = 'kubernetes.io/ingress.class';
const shownHosts = 3;

function hostsText({ spec }: Ingress): string {
  const hosts = (spec.rules ?? []).map(({ host }) => host ?? '').filter((host) => host !== '');
  if (hosts.length === 0) return '*';
  const shown = hosts.slice(0, shownHosts).join(',');
  return hosts.length > shownHosts ? `${shown} + ${hosts.length - shownHosts} more...` : shown;
}

type Rule = NonNullable<IngressSpec['rules']>[number];
type Path = NonNullable<Rule['http']>['paths'][number];

function checkRule(errors: FieldError[], field: string, { host = '', http }: Rule): void {
  if (host !== '') {
    if (isIPv4(host) || isIPv6(host)) errors.push(invalidValue(`${field}.host`, host, 'must be a DNS name, not an IP address'));
    check(errors, `${field}.host`, host, hostPatternErrors(host));
  }
  if (isAbsent(http)) return;
  if ((http.paths ?? []).length === 0) errors.push(required(`${field}.http.paths`));
  for (const [index, path] of (http.paths ?? []).entries()) {
    checkPath(errors, `${field}.http.paths[${index}]`, path);
    checkBackend(errors, `${field}.http.paths[${index}].backend`, path.backend);
  }
}

const pathTypes: readonly string[] = ['Exact', 'ImplementationSpecific', 'Prefix'];
const badParts = ['//', '/./', '/../', '%2f', '%2F'];
const badEnds = ['/..', '/.'];

function checkPath(errors: FieldError[], field: string, { path = '', pathType }: Path): void {
  if (isAbsent(pathType)) {
    errors.push(required(`${field}.pathType`, 'pathType must be specified'));
    return;
  }
  if (!pathTypes.includes(pathType)) {
    errors.push(notSupported(`${field}.pathType`, pathType, pathTypes));
    return;
  }
  const isLiteral = pathType !== 'ImplementationSpecific';
  if (!path.startsWith('/') && (isLiteral || path !== '')) {
    errors.push(invalidValue(`${field}.path`, path, 'must be an absolute path'));
  }
  if (!isLiteral || path === '') return;
  for (const part of badParts) if (path.includes(part)) errors.push(invalidValue(`${field}.path`, path, `must not contain '${part}'`));
  for (const end of badEnds) if (path.endsWith(end)) errors.push(invalidValue(`${field}.path`, path, `cannot end with '${end}'`));
}

function checkBackend(errors: FieldError[], field: string, backend: DeepReadonly<V1IngressBackend> | undefined): void {
  const { resource, service } = backend ?? {};
  if (!isAbsent(resource) && !isAbsent(service)) {
    errors.push(invalidValue(field, '', 'cannot set both resource and service backends'));
  } else if (!isAbsent(service)) {
    if ((service.name ?? '') === '') errors.push(required(`${field}.service.name`));
    else check(errors, `${field}.service.name`, service.name, dnsLabelErrors(service.name));
    const { name = '', number = 0 } = service.port ?? {};
    if (name !== '' && number !== 0) errors.push(invalidValue(field, '', 'cannot set both port name & port number'));
    else if (name !== '') check(errors, `${field}.service.port.name`, name, portNameErrors(name));
    else if (number !== 0) check(errors, `${field}.service.port.number`, number, portNumberErrors(number));
    else errors.push(required(field, 'port name or number is required'));
  } else if (isAbsent(resource)) {
    errors.push(required(field, 'resource or service backend is required'));
  } else {
    for (const part of ['kind', 'name'] as const) {
      if ((resource[part] ?? '') === '') errors.push(required(`${field}.resource.${part}`));
    }
  }
}

export interface Ingress extends KubeObject {
  readonly spec: IngressSpec;
  readonly status?: DeepReadonly<V1IngressStatus>;
}
export type IngressSpec = DeepReadonly<V1IngressSpec>;

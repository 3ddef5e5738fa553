import type {
  NetworkPolicyPeer as V1NetworkPolicyPeer,
  NetworkPolicyPort as V1NetworkPolicyPort,
  NetworkPolicySpec as V1NetworkPolicySpec,
} from 'kubernetes-types/networking/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, KubeObject } from '../../../machinery/object.ts';
import { describeLabelSelector } from '../../../machinery/selector.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, mapShared, withDefaults, withField } from '../../copy-on-write.ts';
import { forbidden, invalidValue, notSupported, required } from '../../field-errors.ts';
import { check, checkEnum, checkLabelSelector, checkPortReference, cidrErrors } from '../../formats.ts';

export const networkPolicies: KindDefinition<NetworkPolicy> = {
  group: 'networking.k8s.io',
  version: 'v1',
  resource: 'networkpolicies',
  kind: 'NetworkPolicy',
  namespaced: true,
  singular: 'networkpolicy',
  shortNames: ['netpol'],
  categories: [],
  schemaName: 'io.k8s.api.networking.v1.NetworkPolicy',
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  subresources: [],
  columns: [
    nameColumn,
    {
      name: 'Pod-Selector',
      type: 'string',
      description: 'Pods that it holds for.',
      cell: ({ spec }) => describeLabelSelector(spec.podSelector ?? {}),
    },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: (policy, before) =>
    before !== undefined && policy.spec === before.spec ? policy : withField(policy, 'spec', defaultSpec(policy.spec ?? {})),
  validate: ({ spec }, before) => {
    const errors: FieldError[] = [];
    if (before !== undefined && spec === before.spec) return errors;
    checkLabelSelector(errors, 'spec.podSelector', spec.podSelector);
    for (const [index, { ports = [], from = [] }] of (spec.ingress ?? []).entries()) {
      checkRule(errors, `spec.ingress[${index}]`, { ports, peers: from, side: 'from' });
    }
    for (const [index, { ports = [], to = [] }] of (spec.egress ?? []).entries()) {
      checkRule(errors, `spec.egress[${index}]`, { ports, peers: to, side: 'to' });
    }
    const types = spec.policyTypes ?? [];
    if (types.length > policyTypes.length) {
      errors.push(invalidValue('spec.policyTypes', types, 'may not specify more than two policyTypes'));
      return errors;
    }
    for (const [index, type] of types.entries()) {
      if (!policyTypes.includes(type)) errors.push(notSupported(`spec.policyTypes[${index}]`, type, policyTypes));
    }
    return errors;
  },
};

const policyTypes: readonly string[] = ['Ingress', 'Egress'];

function defaultSpec(spec: NetworkPolicySpec): NetworkPolicySpec {
  const withPorts = <T extends { readonly ports?: readonly Port[] }>(rule: T): T =>
    isAbsent(rule.ports)
      ? rule
      : withField(
          rule,
          'ports',
          mapShared(rule.ports, (port) => withDefaults(port, { protocol: 'TCP' })),
        );
  let result = withDefaults(spec, { podSelector: {} });
  if (!isAbsent(result.ingress)) result = withField(result, 'ingress', mapShared(result.ingress, withPorts));
  if (!isAbsent(result.egress)) result = withField(result, 'egress', mapShared(result.egress, withPorts));
  if ((result.policyTypes ?? []).length > 0) return result;
  return withField(result, 'policyTypes', (result.egress ?? []).length > 0 ? ['Ingress', 'Egress'] : ['Ingress']);
}

type Peer = DeepReadonly<V1NetworkPolicyPeer>;
type Port = DeepReadonly<V1NetworkPolicyPort>;

interface Rule {
  readonly ports: readonly Port[];
  readonly peers: readonly Peer[];
  readonly side: 'from' | 'to';
}

function checkRule(errors: FieldError[], field: string, { ports, peers, side }: Rule): void {
  for (const [index, { protocol, port, endPort }] of ports.entries()) {
    const at = `${field}.ports[${index}]`;
    checkEnum(errors, `${at}.protocol`, protocol, ['SCTP', 'TCP', 'UDP']);
    if (isAbsent(port)) {
      if (!isAbsent(endPort)) errors.push(invalidValue(`${at}.endPort`, endPort, 'may not be specified when `port` is not specified'));
      continue;
    }
    checkPortReference(errors, `${at}.port`, port);
    if (isAbsent(endPort)) continue;
    if (typeof port === 'string') errors.push(invalidValue(`${at}.endPort`, endPort, 'may not be specified when `port` is non-numeric'));
    else if (endPort < port) errors.push(invalidValue(`${at}.endPort`, endPort, 'must be greater than or equal to `port`'));
  }
  for (const [index, peer] of peers.entries()) checkPeer(errors, `${field}.${side}[${index}]`, peer);
}

function checkPeer(errors: FieldError[], field: string, { podSelector, namespaceSelector, ipBlock }: Peer): void {
  checkLabelSelector(errors, `${field}.podSelector`, podSelector);
  checkLabelSelector(errors, `${field}.namespaceSelector`, namespaceSelector);
  const selects = !isAbsent(podSelector) || !isAbsent(namespaceSelector);
  if (!isAbsent(ipBlock)) {
    const { cidr = '', except = [] } = ipBlock;
    if (cidr === '') errors.push(required(`${field}.ipBlock.cidr`));
    else check(errors, `${field}.ipBlock.cidr`, cidr, cidrErrors(cidr));
    for (const [index, hole] of except.entries()) check(errors, `${field}.ipBlock.except[${index}]`, hole, cidrErrors(hole));
    if (selects) errors.push(forbidden(field, 'may not specify both ipBlock and another peer'));
  } else if (!selects) errors.push(required(field, 'must specify a peer'));
}

export interface NetworkPolicy extends KubeObject {
  readonly spec: NetworkPolicySpec;
}
export type NetworkPolicySpec = DeepReadonly<Partial<V1NetworkPolicySpec>>;

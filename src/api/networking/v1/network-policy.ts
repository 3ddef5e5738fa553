import { BlockList, isIPv6 } from 'node:net';
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
import { check, checkLabelSelector, checkPortReference, cidrErrors, portNumberErrors } from '../../formats.ts';

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

const protocols: readonly string[] = ['TCP', 'UDP', 'SCTP'];
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
    if (!isAbsent(protocol) && !protocols.includes(protocol)) errors.push(notSupported(`${at}.protocol`, protocol, protocols));
    if (isAbsent(port)) {
      if (!isAbsent(endPort)) errors.push(invalidValue(`${at}.endPort`, endPort, 'may not be specified when `port` is not specified'));
      continue;
    }
    if (typeof port === 'string') {
      if (!isAbsent(endPort)) errors.push(invalidValue(`${at}.endPort`, endPort, 'may not be specified when `port` is non-numeric'));
      checkPortReference(errors, `${at}.port`, port);
      continue;
    }
    checkPortReference(errors, `${at}.port`, port);
    if (isAbsent(endPort)) continue;
    // Upstream shows the port, of which the end is less.
    if (endPort < port) errors.push(invalidValue(`${at}.endPort`, port, 'must be greater than or equal to `port`'));
    check(errors, `${at}.endPort`, endPort, portNumberErrors(endPort));
  }
  for (const [index, peer] of peers.entries()) checkPeer(errors, `${field}.${side}[${index}]`, peer);
}

/** Both are ranges of addresses. */
function isStrictSubset(inner: string, outer: string): boolean {
  const [innerAddress = '', innerBits = ''] = inner.split('/');
  const [outerAddress = '', outerBits = ''] = outer.split('/');
  const family = isIPv6(outerAddress) ? 'ipv6' : 'ipv4';
  if (isIPv6(innerAddress) !== (family === 'ipv6') || Number(innerBits) <= Number(outerBits)) return false;
  const range = new BlockList();
  range.addSubnet(outerAddress, Number(outerBits), family);
  return range.check(innerAddress, family);
}

function checkPeer(errors: FieldError[], field: string, { podSelector, namespaceSelector, ipBlock }: Peer): void {
  checkLabelSelector(errors, `${field}.podSelector`, podSelector);
  checkLabelSelector(errors, `${field}.namespaceSelector`, namespaceSelector);
  const selects = !isAbsent(podSelector) || !isAbsent(namespaceSelector);
  if (!isAbsent(ipBlock)) {
    const { cidr = '', except = [] } = ipBlock;
    if (cidr === '') errors.push(required(`${field}.ipBlock.cidr`));
    else check(errors, `${field}.ipBlock.cidr`, cidr, cidrErrors(cidr));
    for (const [index, hole] of except.entries()) {
      const at = `${field}.ipBlock.except[${index}]`;
      const sentences = cidrErrors(hole);
      check(errors, at, hole, sentences);
      if (sentences.length > 0 || cidrErrors(cidr).length > 0) continue;
      if (!isStrictSubset(hole, cidr)) errors.push(invalidValue(at, hole, 'must be a strict subset of `cidr`'));
    }
    if (selects) errors.push(forbidden(field, 'may not specify both ipBlock and another peer'));
  } else if (!selects) errors.push(required(field, 'must specify a peer'));
}

export interface NetworkPolicy extends KubeObject {
  readonly spec: NetworkPolicySpec;
}
export type NetworkPolicySpec = DeepReadonly<Partial<V1NetworkPolicySpec>>;

import type { KindDefinition } from '../../../machinery/kind.ts';
import type { KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { invalidValue, notSupported } from '../../field-errors.ts';
import { schemaOf } from '../../flux.ts';
import { check, cidrErrors, portNumberErrors } from '../../formats.ts';

const schemaName = 'dev.midship.network.v1.NodeNetworkPolicy';
const { text, integer, list, object, kind } = schemaOf;

/**
 * The rules that NetworkPolicies make for the pods of one Node, by the name of the Node. The control plane writes it, and the agent of that
 * Node alone reads it. So an agent sees addresses of other pods where a policy of its own pods selects them, and nothing else of them.
 */
export const nodeNetworkPolicies: KindDefinition<NodeNetworkPolicy> = {
  group: 'network.midship.dev',
  version: 'v1',
  resource: 'nodenetworkpolicies',
  kind: 'NodeNetworkPolicy',
  namespaced: false,
  singular: 'nodenetworkpolicy',
  shortNames: [],
  categories: [],
  schemaName,
  schemas: {
    [schemaName]: kind('Rules that NetworkPolicies make for the pods of one Node. The control plane writes them.', {
      spec: object({
        pods: list(object({ uid: text(), ingress: text('Rules for connections to it.'), egress: text('Rules for its connections.') })),
        ruleSets: list(
          object({
            name: text(),
            rules: list(
              object({
                groups: list(text()),
                endpoints: list(text()),
                blocks: list(object({ cidr: text(), except: list(text()) })),
                ports: list(object({ protocol: text(), port: integer(), endPort: integer() })),
              }),
            ),
          }),
        ),
        groups: list(object({ name: text(), addresses: list(text()) })),
        endpointGroups: list(object({ name: text(), endpoints: list(object({ address: text(), protocol: text(), port: integer() })) })),
      }),
      isSpecOptional: true,
    }),
  },
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  subresources: [],
  columns: [
    nameColumn,
    { name: 'Pods', type: 'integer', description: 'Pods of the Node.', cell: ({ spec }) => spec?.pods?.length ?? 0 },
    {
      name: 'Isolated',
      type: 'integer',
      description: 'Pods that a NetworkPolicy selects.',
      cell: ({ spec }) => spec?.pods?.filter(({ ingress, egress }) => ingress !== undefined || egress !== undefined).length ?? 0,
    },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  validate: ({ spec }, before) => (before !== undefined && spec === before.spec ? [] : validateSpec(spec ?? {})),
};

const namePattern = /^[a-z0-9-]{1,64}$/;
const protocols: readonly string[] = ['TCP', 'UDP', 'SCTP'];

/** Agents write every text of it into rules of the kernel, so each has to be what it should be. */
function validateSpec({ pods = [], ruleSets = [], groups = [], endpointGroups = [] }: NodeNetworkPolicySpec): readonly FieldError[] {
  const errors: FieldError[] = [];
  const checkName = (field: string, name: string | undefined, isOptional = false): void => {
    if ((name !== undefined || !isOptional) && !namePattern.test(name ?? '')) errors.push(invalidValue(field, name, 'must be a name'));
  };
  const checkAddress = (field: string, address: string): void => check(errors, field, address, cidrErrors(`${address}/32`));
  const checkPort = (field: string, port: number | undefined): void => {
    if (port !== undefined) check(errors, field, port, portNumberErrors(port));
  };
  const checkProtocol = (field: string, protocol: string): void => {
    if (!protocols.includes(protocol)) errors.push(notSupported(field, protocol, protocols));
  };
  for (const [index, { ingress, egress }] of pods.entries()) {
    checkName(`spec.pods[${index}].ingress`, ingress, true);
    checkName(`spec.pods[${index}].egress`, egress, true);
  }
  for (const [index, { name, rules = [] }] of ruleSets.entries()) {
    checkName(`spec.ruleSets[${index}].name`, name);
    for (const [at, rule] of rules.entries()) {
      const field = `spec.ruleSets[${index}].rules[${at}]`;
      for (const group of [...(rule.groups ?? []), ...(rule.endpoints ?? [])]) checkName(field, group);
      for (const { cidr, except = [] } of rule.blocks ?? [])
        for (const range of [cidr, ...except]) check(errors, field, range, cidrErrors(range ?? ''));
      for (const { protocol, port, endPort } of rule.ports ?? []) {
        checkProtocol(field, protocol);
        checkPort(field, port);
        checkPort(field, endPort);
      }
    }
  }
  for (const [index, { name, addresses = [] }] of groups.entries()) {
    checkName(`spec.groups[${index}].name`, name);
    for (const address of addresses) checkAddress(`spec.groups[${index}].addresses`, address);
  }
  for (const [index, { name, endpoints = [] }] of endpointGroups.entries()) {
    checkName(`spec.endpointGroups[${index}].name`, name);
    for (const { address, protocol, port } of endpoints) {
      checkAddress(`spec.endpointGroups[${index}].endpoints`, address);
      checkProtocol(`spec.endpointGroups[${index}].endpoints`, protocol);
      checkPort(`spec.endpointGroups[${index}].endpoints`, port);
    }
  }
  return errors;
}

export interface NodeNetworkPolicy extends KubeObject {
  readonly spec?: NodeNetworkPolicySpec;
}

export interface NodeNetworkPolicySpec {
  /** Every pod of the Node that was looked at, in order of uids. One that is not here is newer than this object. */
  readonly pods?: readonly PolicedPod[];
  readonly ruleSets?: readonly RuleSet[];
  readonly groups?: readonly AddressGroup[];
  readonly endpointGroups?: readonly EndpointGroup[];
}

/** Absent: no policy isolates the pod in that direction. */
export interface PolicedPod {
  readonly uid: string;
  /** Name of the rule set for connections to the pod. */
  readonly ingress?: string;
  /** Name of the rule set for connections that the pod opens. */
  readonly egress?: string;
}

/** Connections that one of the rules lets pass; all others are refused. */
export interface RuleSet {
  readonly name: string;
  readonly rules?: readonly PassRule[];
}

/** Without groups, endpoints and blocks everybody is meant; without ports every protocol and port. */
export interface PassRule {
  /** Names of groups of addresses. */
  readonly groups?: readonly string[];
  /** Names of groups of endpoints; their ports are in them. */
  readonly endpoints?: readonly string[];
  readonly blocks?: readonly { readonly cidr: string; readonly except?: readonly string[] }[];
  readonly ports?: readonly PassPort[];
}

export interface PassPort {
  readonly protocol: PolicyProtocol;
  /** Absent: every port. */
  readonly port?: number;
  readonly endPort?: number;
}

export type PolicyProtocol = 'TCP' | 'UDP' | 'SCTP';

export interface AddressGroup {
  readonly name: string;
  readonly addresses?: readonly string[];
}

export interface EndpointGroup {
  readonly name: string;
  readonly endpoints?: readonly PolicyEndpoint[];
}

export interface PolicyEndpoint {
  readonly address: string;
  readonly protocol: PolicyProtocol;
  readonly port: number;
}

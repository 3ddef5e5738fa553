import type {
  Node as V1Node,
  NodeCondition as V1NodeCondition,
  NodeSpec as V1NodeSpec,
  NodeStatus as V1NodeStatus,
  Taint as V1Taint,
} from 'kubernetes-types/core/v1.d.ts';
import { conditionOf } from '../../../machinery/conditions.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import { labelValueErrors, qualifiedNameErrors } from '../../../machinery/label-syntax.ts';
import { type DeepReadonly, deepEqual, type Kube } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults, withField } from '../../copy-on-write.ts';
import { duplicate, forbidden, notSupported, required } from '../../field-errors.ts';
import { check, cidrErrors } from '../../formats.ts';
import { labels, taints } from '../../well-known.ts';
import { taintEffects } from './scheduling-validation.ts';

export const nodes: KindDefinition<Node> = {
  group: '',
  version: 'v1',
  resource: 'nodes',
  kind: 'Node',
  namespaced: false,
  singular: 'node',
  shortNames: ['no'],
  categories: [],
  schemaName: 'io.k8s.api.core.v1.Node',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  subresources: [
    { name: 'status', verbs: ['get', 'patch', 'update'] },
    { name: 'proxy', verbs: ['create', 'delete', 'get', 'patch', 'update'], body: { group: '', version: 'v1', kind: 'NodeProxyOptions' } },
  ],
  columns: [
    nameColumn,
    {
      name: 'Status',
      type: 'string',
      description: 'Ready, NotReady or Unknown, and SchedulingDisabled when it is cordoned.',
      cell: statusOf,
    },
    { name: 'Roles', type: 'string', description: 'Roles by label.', cell: rolesOf },
    ageColumn,
    { name: 'Version', type: 'string', description: 'Version of the agent.', cell: ({ status }) => status?.nodeInfo?.kubeletVersion ?? '' },
    {
      name: 'Internal-IP',
      type: 'string',
      description: 'Address inside the cluster.',
      priority: 1,
      cell: (node) => addressOf(node, 'InternalIP'),
    },
    {
      name: 'External-IP',
      type: 'string',
      description: 'Address from outside the cluster.',
      priority: 1,
      cell: (node) => addressOf(node, 'ExternalIP'),
    },
    {
      name: 'OS-Image',
      type: 'string',
      description: 'Operating system.',
      priority: 1,
      cell: ({ status }) => status?.nodeInfo?.osImage || '<unknown>',
    },
    { name: 'Kernel-Version', type: 'string', description: 'Kernel and architecture.', priority: 1, cell: kernelOf },
    {
      name: 'Container-Runtime',
      type: 'string',
      description: 'Container runtime and its version.',
      priority: 1,
      cell: ({ status }) => status?.nodeInfo?.containerRuntimeVersion || '<unknown>',
    },
  ],
  selectableFields: { 'spec.unschedulable': (node) => String(node.spec?.unschedulable ?? false) },
  deleteAnswer: 'status',
  shortFieldLabelError: true,
  defaults: withAllocatable,
  prepareForStatus: (node, before) => withAllocatable(node, before),
  prepareForCreate: (node) => ({ ...node, spec: withNotReadyTaint(node), status: { ...emptyStatus, ...node.status } }),
  validate: (node, before) => {
    const errors: FieldError[] = [];
    if (before === undefined || node.spec !== before.spec) {
      checkTaints(errors, node.spec?.taints ?? []);
      checkPodCidrs(errors, node.spec ?? {});
      if (before !== undefined) checkUpdate(errors, node.spec ?? {}, before.spec ?? {});
    }
    return errors;
  },
};

/** Until its agent says otherwise, all that a node has can be given to pods. */
function withAllocatable(node: Node, before?: Node): Node {
  const { status } = node;
  if (status === before?.status || isAbsent(status?.capacity)) return node;
  return withField(node, 'status', withDefaults(status, { allocatable: status.capacity }));
}

function addressOf(node: Node, type: string): string {
  return node.status?.addresses?.find((address) => address.type === type)?.address ?? '<none>';
}

/** Fields that a new node's status has even before its agent says anything. */
const emptyStatus: NodeStatus = {
  daemonEndpoints: { kubeletEndpoint: { Port: 0 } },
  nodeInfo: {
    machineID: '',
    systemUUID: '',
    bootID: '',
    kernelVersion: '',
    osImage: '',
    containerRuntimeVersion: '',
    kubeletVersion: '',
    kubeProxyVersion: '',
    operatingSystem: '',
    architecture: '',
  },
};

/** A node takes no pods before its agent and the node controller have said that it is ready. */
function withNotReadyTaint({ spec = {} }: Node): NodeSpec {
  const tainted = spec.taints?.some(({ key, effect }) => key === taints.notReady && effect === 'NoSchedule') === true;
  return tainted ? spec : { ...spec, taints: [...(spec.taints ?? []), { key: taints.notReady, effect: 'NoSchedule' }] };
}

function checkTaints(errors: FieldError[], list: readonly Taint[]): void {
  const seen = new Set<string>();
  for (const [index, { key = '', value = '', effect = '' }] of list.entries()) {
    // Upstream names the place so, though the field is in the spec.
    const field = `metadata.taints[${index}]`;
    check(errors, `${field}.key`, key, qualifiedNameErrors(key));
    const sentences = labelValueErrors(value);
    if (sentences.length > 0) check(errors, `${field}.value`, value, [sentences.join(';')]);
    if (effect === '') errors.push(required(`${field}.effect`));
    else if (!taintEffects.includes(effect)) errors.push(notSupported(`${field}.effect`, effect, taintEffects));
    const id = `${effect}:${key}`;
    if (seen.has(id)) errors.push(duplicate(field, { key, value, effect }));
    seen.add(id);
  }
}

function checkPodCidrs(errors: FieldError[], { podCIDRs = [] }: NodeSpec): void {
  for (const [index, cidr] of podCIDRs.entries()) check(errors, `spec.podCIDRs[${index}]`, cidr, cidrErrors(cidr));
}

function checkUpdate(errors: FieldError[], spec: NodeSpec, before: NodeSpec): void {
  const oldCidrs = before.podCIDRs ?? [];
  const changed = spec.podCIDR !== before.podCIDR || !deepEqual(spec.podCIDRs ?? [], oldCidrs);
  if (oldCidrs.length > 0 && changed) {
    errors.push(forbidden('spec.podCIDRs', 'node updates may not change podCIDR except from "" to valid'));
  }
  if (!isAbsent(before.providerID) && before.providerID !== '' && spec.providerID !== before.providerID) {
    errors.push(forbidden('spec.providerID', 'node updates may not change providerID except from "" to valid'));
  }
}

function statusOf(node: Node): string {
  const ready = conditionOf(node.status?.conditions, 'Ready');
  const words = [ready === undefined ? 'Unknown' : ready.status === 'True' ? 'Ready' : 'NotReady'];
  if (node.spec?.unschedulable === true) words.push('SchedulingDisabled');
  return words.join(',');
}

function rolesOf({ metadata }: Node): string {
  const roles = Object.entries(metadata.labels ?? {}).flatMap(([key, value]) => {
    if (key.startsWith(labels.nodeRolePrefix)) return [key.slice(labels.nodeRolePrefix.length)];
    return key === 'kubernetes.io/role' && value !== '' ? [value] : [];
  });
  return (
    [...new Set(roles)]
      .filter((role) => role !== '')
      .sort()
      .join(',') || '<none>'
  );
}

function kernelOf({ status }: Node): string {
  const { kernelVersion = '', architecture = '' } = status?.nodeInfo ?? {};
  if (kernelVersion === '') return '<unknown>';
  return architecture === '' ? kernelVersion : `${kernelVersion} (${architecture})`;
}

export type Node = Kube<V1Node>;
export type NodeSpec = DeepReadonly<V1NodeSpec>;
export type NodeStatus = DeepReadonly<V1NodeStatus>;
export type NodeCondition = DeepReadonly<V1NodeCondition>;
export type Taint = DeepReadonly<V1Taint>;

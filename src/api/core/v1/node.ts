import type {
  Node as V1Node,
  NodeCondition as V1NodeCondition,
  NodeSpec as V1NodeSpec,
  NodeStatus as V1NodeStatus,
  Taint as V1Taint,
} from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, Kube } from '../../../machinery/object.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';

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
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [nameColumn, ageColumn],
  selectableFields: { 'spec.unschedulable': (node) => String(node.spec?.unschedulable ?? false) },
  deleteAnswer: 'status',
  shortFieldLabelError: true,
};

export type Node = Kube<V1Node>;
export type NodeSpec = DeepReadonly<V1NodeSpec>;
export type NodeStatus = DeepReadonly<V1NodeStatus>;
export type NodeCondition = DeepReadonly<V1NodeCondition>;
export type Taint = DeepReadonly<V1Taint>;

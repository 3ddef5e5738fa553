/**
 * The order in which kinds are applied: what others need comes first, what lets traffic or admission in comes last. Pruning goes the
 * other way. Kinds of one stage are applied together.
 */
const stages: readonly (readonly string[])[] = [
  ['Namespace', 'CustomResourceDefinition'],
  ['ServiceAccount', 'Role', 'ClusterRole', 'RoleBinding', 'ClusterRoleBinding'],
  ['StorageClass', 'IngressClass', 'RuntimeClass', 'PriorityClass', 'ResourceQuota', 'LimitRange', 'NetworkPolicy'],
  ['ConfigMap', 'Secret', 'PersistentVolume', 'PersistentVolumeClaim', 'Service'],
];
const last: readonly string[] = [
  'Ingress',
  'APIService',
  'MutatingWebhookConfiguration',
  'ValidatingWebhookConfiguration',
  'ValidatingAdmissionPolicy',
  'ValidatingAdmissionPolicyBinding',
];

/** 0 for what is applied first. */
function stageOf(kind: string): number {
  const stage = stages.findIndex((kinds) => kinds.includes(kind));
  if (stage !== -1) return stage;
  return last.includes(kind) ? stages.length + 1 : stages.length;
}

/** Items by stage, in order; `-1` reverses for pruning. */
export function stagesOf<T>(items: Iterable<T>, kindOf: (item: T) => string, direction: 1 | -1): readonly (readonly T[])[] {
  const grouped = new Map<number, T[]>();
  for (const item of items) {
    const stage = stageOf(kindOf(item));
    const group = grouped.get(stage);
    if (group === undefined) grouped.set(stage, [item]);
    else group.push(item);
  }
  return [...grouped].sort(([a], [b]) => (a - b) * direction).map(([, group]) => group);
}

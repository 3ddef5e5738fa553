import type { HookPhase, ObjectPolicy } from './object-policy.ts';

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

export interface Placed {
  readonly kind: string;
  readonly wave: number;
}

/** Items by wave and then by stage, in order; `-1` reverses for pruning. */
export function stagesOf<T>(items: Iterable<T>, placeOf: (item: T) => Placed, direction: 1 | -1): readonly (readonly T[])[] {
  const grouped = new Map<string, { readonly wave: number; readonly stage: number; readonly items: T[] }>();
  for (const item of items) {
    const { kind, wave } = placeOf(item);
    const stage = stageOf(kind);
    const group = grouped.get(`${wave} ${stage}`);
    if (group === undefined) grouped.set(`${wave} ${stage}`, { wave, stage, items: [item] });
    else group.items.push(item);
  }
  return [...grouped.values()].sort((a, b) => (a.wave - b.wave || a.stage - b.stage) * direction).map(({ items }) => items);
}

/** Objects that are applied together, before the next wave waits for them to be well. */
export interface Wave<T> {
  readonly phase: HookPhase;
  readonly wave: number;
  readonly objects: readonly T[];
  readonly hooks: readonly T[];
}

const phases: readonly HookPhase[] = ['PreSync', 'Sync', 'PostSync'];

/** A revision's waves: by phase, then by number. Without a hook and with one number there is one wave. */
export function wavesOf<T extends { readonly policy: ObjectPolicy }>(objects: Iterable<T>): readonly Wave<T>[] {
  const waves = new Map<string, { readonly phase: HookPhase; readonly wave: number; readonly objects: T[]; readonly hooks: T[] }>();
  const at = (phase: HookPhase, wave: number) => {
    const key = `${phase} ${wave}`;
    const found = waves.get(key) ?? { phase, wave, objects: [], hooks: [] };
    waves.set(key, found);
    return found;
  };
  for (const object of objects) {
    const { hooks, wave, isSkipped } = object.policy;
    if (isSkipped) continue;
    if (hooks.length === 0) at('Sync', wave).objects.push(object);
    for (const phase of hooks) if (phases.includes(phase)) at(phase, wave).hooks.push(object);
  }
  return [...waves.values()].sort((a, b) => phases.indexOf(a.phase) - phases.indexOf(b.phase) || a.wave - b.wave);
}

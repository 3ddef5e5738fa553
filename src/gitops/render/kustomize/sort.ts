import type { SortOptions } from './kustomization.ts';
import { currentId, type Resource, type ResourceId } from './resource.ts';

/** Kinds that others need come first; what calls into the cluster comes last. */
const defaultFirst = [
  'Namespace',
  'ResourceQuota',
  'StorageClass',
  'CustomResourceDefinition',
  'ServiceAccount',
  'PodSecurityPolicy',
  'Role',
  'ClusterRole',
  'RoleBinding',
  'ClusterRoleBinding',
  'ConfigMap',
  'Secret',
  'Endpoints',
  'Service',
  'LimitRange',
  'PriorityClass',
  'PersistentVolume',
  'PersistentVolumeClaim',
  'Deployment',
  'StatefulSet',
  'CronJob',
  'PodDisruptionBudget',
];
const defaultLast = ['MutatingWebhookConfiguration', 'ValidatingWebhookConfiguration'];

/** The objects in the order in which they are written: by kind and name unless the kustomization keeps its own order. */
export function sortResources(resources: readonly Resource[], options: SortOptions | undefined): readonly Resource[] {
  if (options?.order === 'fifo') return resources;
  const hasLists = options?.orderFirst !== undefined || options?.orderLast !== undefined;
  const first = hasLists ? (options?.orderFirst ?? []) : defaultFirst;
  const last = hasLists ? (options?.orderLast ?? []) : defaultLast;
  const ranks = new Map<string, number>();
  for (const [index, kind] of first.entries()) ranks.set(kind, index - first.length);
  for (const [index, kind] of last.entries()) ranks.set(kind, index + 1);
  const keyed = resources.map((resource) => {
    const id = currentId(resource);
    return { resource, rank: ranks.get(id.kind) ?? 0, kind: kindText(id), name: nameText(id) };
  });
  keyed.sort((a, b) => a.rank - b.rank || compare(a.kind, b.kind) || compare(a.name, b.name));
  return keyed.map(({ resource }) => resource);
}

const kindText = ({ group, version, kind }: ResourceId): string => [group || '~G', version || '~V', kind || '~K'].join('_');

const nameText = ({ namespace, name }: ResourceId): string => `${namespace || '~X'}|${name || '~N'}`;

/** By code unit, which is what a comparison of bytes gives for names of Kubernetes. */
const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

import { type Node, nodes } from '../../api/core/v1/node.ts';
import { persistentVolumes } from '../../api/core/v1/persistent-volume.ts';
import { type PersistentVolumeClaim, persistentVolumeClaims } from '../../api/core/v1/persistent-volume-claim.ts';
import { isMirrorPod, type Pod, pods } from '../../api/core/v1/pod.ts';
import { configAnnotations, finalizers, labels as known, taints } from '../../api/well-known.ts';
import { deepEqual, type KubeObject } from '../../machinery/object.ts';
import { forbidden } from '../../machinery/status-error.ts';
import { referencedNames } from '../authorizer.ts';
import type { UserInfo } from '../user.ts';
import type { AdmissionStep } from './admission.ts';

/** Labels under Kubernetes' own names that an agent says of its node. */
const ofAgents: ReadonlySet<string> = new Set([
  known.hostname,
  known.zone,
  known.region,
  known.os,
  known.arch,
  'node.kubernetes.io/instance-type',
  'failure-domain.beta.kubernetes.io/zone',
  'failure-domain.beta.kubernetes.io/region',
  'beta.kubernetes.io/instance-type',
  'beta.kubernetes.io/os',
  'beta.kubernetes.io/arch',
]);
const agentNamespaces = ['kubelet.kubernetes.io', 'node.kubernetes.io'] as const;
const restricted = 'node-restriction.kubernetes.io';
const nodePrefix = 'system:node:';

/**
 * Restricts an agent to its own node. It must not change fields that decide which pods come there: taints, and labels
 * that administrators set. A compromised node could otherwise attract pods of others. It must not choose its range of pod
 * addresses either, which the other machines route to it. The authorizer decides about the objects that it may write at
 * all.
 *
 * @throws StatusError `Forbidden`
 * @see Kubernetes reference, "Admission Controllers", "NodeRestriction"
 */
export function nodeRestriction(): AdmissionStep {
  return {
    name: 'NodeRestriction',
    subresources: ['status'],
    appliesTo: ({ group, resource }, operation, subresource) =>
      group === '' &&
      ((resource === persistentVolumeClaims.resource && operation === 'update' && subresource === 'status') ||
        (resource === nodes.resource && (operation === 'create' || operation === 'update')) ||
        (resource === pods.resource && operation === 'update' && subresource === 'status') ||
        (resource === pods.resource && operation === 'create') ||
        (resource === persistentVolumes.resource && operation === 'update')),
    admit({ kind, name, object, before, user }) {
      const own = nodeOf(user);
      if (own === undefined) return object;
      const refuse = (why: string): Error => forbidden(kind, name, `node ${JSON.stringify(own)} ${why}`);
      if (kind.resource === persistentVolumeClaims.resource) {
        if (!onlyGrows(object, before)) throw refuse('is not allowed to update fields other than status.capacity and status.conditions');
        return object;
      }
      if (kind.resource === persistentVolumes.resource) {
        if (!onlyEndsRemoval(object, before)) throw refuse('can only take its finalizer from a volume whose data are to be removed');
        return object;
      }
      if (kind.resource === pods.resource && before === undefined) {
        const why = whyNoMirror(object as Pod, own);
        if (why !== undefined) throw refuse(why);
        return object;
      }
      if (kind.resource === pods.resource) {
        // By its labels a pod is taken for the one of a Service or a controller.
        const changed = changedLabels(object.metadata.labels, before?.metadata.labels);
        if (changed.length > 0) throw refuse('cannot update labels through pod status');
        return object;
      }
      if (name !== own) throw refuse(`is not allowed to modify node ${JSON.stringify(name)}`);
      const { metadata, spec } = object as Node;
      const old = before as Node | undefined;
      const labels = changedLabels(metadata.labels, old?.metadata.labels).filter(isForbidden);
      if (!deepEqual(rangesOf(spec), rangesOf(old?.spec))) throw refuse('is not allowed to choose its podCIDR');
      if (old === undefined) {
        if (labels.length > 0) throw refuse(`is not allowed to set the following labels: ${labels.join(', ')}`);
        return object;
      }
      if (!onlyAddsOwn(spec?.taints ?? [], old.spec?.taints ?? [])) throw refuse('is not allowed to modify taints');
      if (labels.length > 0) throw refuse(`is not allowed to modify labels: ${labels.join(', ')}`);
      if (!deepEqual(metadata.ownerReferences ?? [], old.metadata.ownerReferences ?? [])) {
        throw refuse('is not allowed to modify ownerReferences');
      }
      return object;
    },
  };
}

/** True for the one change of a claim that is an agent's: it has grown the file system of the volume. */
function onlyGrows(after: KubeObject, before: KubeObject | undefined): boolean {
  const rest = (claim: PersistentVolumeClaim | undefined) => {
    const { managedFields: _fields, resourceVersion: _version, ...metadata } = claim?.metadata ?? { name: '' };
    const { capacity: _capacity, conditions: _conditions, ...status } = (claim?.status ?? {}) as Readonly<Record<string, unknown>>;
    const { allocatedResourceStatuses: _statuses, allocatedResources: _allocated, ...others } = status;
    return { ...claim, metadata, status: others };
  };
  return deepEqual(rest(after as PersistentVolumeClaim), rest(before as PersistentVolumeClaim | undefined));
}

/** True for the one change of a volume that is an agent's: it has removed the data of a volume that is being deleted. */
function onlyEndsRemoval(after: KubeObject, before: KubeObject | undefined): boolean {
  if (before?.metadata.deletionTimestamp === undefined) return false;
  const kept = (before.metadata.finalizers ?? []).filter((name) => name !== finalizers.externalProvisioner);
  const { managedFields: _fields, resourceVersion: _version, ...metadata } = after.metadata;
  const { managedFields: _oldFields, resourceVersion: _oldVersion, ...old } = before.metadata;
  return (
    deepEqual({ ...after, metadata: { ...metadata, finalizers: kept } }, { ...before, metadata: { ...old, finalizers: kept } }) &&
    deepEqual(after.metadata.finalizers ?? [], kept)
  );
}

/** The reason why a node may not create the pod: by the objects that its pods name it would get at Secrets of others. */
function whyNoMirror(pod: Pod, own: string): string | undefined {
  const { metadata, spec } = pod;
  if (!isMirrorPod(pod)) return `can only create mirror pods, with the annotation ${configAnnotations.mirror}`;
  if (spec.nodeName !== own) return 'can only create pods with spec.nodeName set to itself';
  const [owner, ...others] = metadata.ownerReferences ?? [];
  const isOwn = owner?.apiVersion === 'v1' && owner.kind === nodes.kind && owner.name === own && owner.blockOwnerDeletion !== true;
  if (!isOwn || others.length > 0) return 'can only create pods with a single owner reference, set to itself';
  for (const resource of ['serviceaccounts', 'secrets', 'configmaps']) {
    if (referencedNames(pod, resource).size > 0) return `can not create pods that reference ${resource}`;
  }
  const volumes = spec.volumes ?? [];
  if (volumes.some(({ projected }) => projected?.sources?.some(({ serviceAccountToken }) => serviceAccountToken !== undefined)))
    return 'can not create pods that ask for tokens';
  if (volumes.some(({ persistentVolumeClaim, ephemeral }) => persistentVolumeClaim !== undefined || ephemeral !== undefined))
    return 'can not create pods that reference persistentvolumeclaims';
  return (spec.resourceClaims ?? []).length > 0 ? 'can not create pods that reference resourceclaims' : undefined;
}

const rangesOf = (spec: Node['spec']): readonly string[] => [spec?.podCIDR ?? '', ...(spec?.podCIDRs ?? [])];

/** The node whose agent the user is. */
const nodeOf = ({ name, groups }: UserInfo): string | undefined =>
  name.startsWith(nodePrefix) && groups.includes('system:nodes') ? name.slice(nodePrefix.length) : undefined;

type Taints = NonNullable<NonNullable<Node['spec']>['taints']>;

/** An agent of a simulated node keeps other pods away from it, which can draw none. */
const onlyAddsOwn = (after: Taints, before: Taints): boolean =>
  after === before ||
  (before.every((taint) => after.some((other) => deepEqual(taint, other))) &&
    after.every((taint) => taint.key === taints.simulated || before.some((other) => deepEqual(taint, other))));

type Labels = Readonly<Record<string, string>>;

const changedLabels = (after: Labels = {}, before: Labels = {}): readonly string[] =>
  after === before ? [] : [...new Set([...Object.keys(after), ...Object.keys(before)])].filter((key) => after[key] !== before[key]).sort();

function isForbidden(label: string): boolean {
  const namespace = label.includes('/') ? label.slice(0, label.indexOf('/')) : '';
  const isIn = (domain: string): boolean => namespace === domain || namespace.endsWith(`.${domain}`);
  if (isIn(restricted)) return true;
  return (isIn('kubernetes.io') || isIn('k8s.io')) && !ofAgents.has(label) && !agentNamespaces.some(isIn);
}

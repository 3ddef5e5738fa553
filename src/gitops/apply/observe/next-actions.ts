import type { ContainerStatus, Pod } from '../../../api/core/v1/pod.ts';

/** Names the next action for a container whose image cannot be had, or whose settings are not there: a field to change, or a command. */
export function actionForStart(pod: Pod, { name, state }: Pick<ContainerStatus, 'name' | 'state'>): string {
  const { reason = '', message = '' } = state?.waiting ?? {};
  switch (reason) {
    case 'InvalidImageName':
      return `correct the image of container ${name} in Git`;
    case 'ErrImageNeverPull':
      return `put the image on the node, or set imagePullPolicy of container ${name} to IfNotPresent in Git`;
    case 'ErrImagePull':
    case 'ImagePullBackOff':
      return actionForImage(pod, name, message);
    default:
      return actionForMissing(pod, message);
  }
}

function actionForImage(pod: Pod, container: string, message: string): string {
  if (/unauthori[sz]ed|authentication|denied|forbidden|\b40[13]\b/i.test(message))
    return `correct the image of container ${container} in Git, or name a Secret for its registry in imagePullSecrets`;
  // A registry that does not answer is no fault of the image.
  if (/timeout|timed out|no such host|refused|EOF|unreachable|\b5\d\d\b/i.test(message)) return describeCommand(pod);
  return `correct the image of container ${container} in Git`;
}

/** The same for a message of the kubelet that names what a container or a volume needs. */
export function actionForMissing(pod: Pod, message: string): string {
  const { namespace = '' } = pod.metadata;
  const [, kind, name = ''] = /\b(secret|configmap) "([^"]+)" not found/i.exec(message) ?? [];
  if (kind !== undefined) {
    const [shown, command] = kind.toLowerCase() === 'secret' ? ['Secret', 'secret generic'] : ['ConfigMap', 'configmap'];
    return `add ${shown} ${name} to Git, or make it: kubectl create ${command} ${name} -n ${namespace} --from-literal=KEY=VALUE`;
  }
  const [, key, object] = /couldn't find key (\S+) in ((?:Secret|ConfigMap) \S+)/.exec(message) ?? [];
  if (key !== undefined) return `add key ${key} to ${object} in Git, or correct its name in the container`;
  return describeCommand(pod);
}

const describeCommand = ({ metadata: { namespace = '', name } }: Pod): string => `kubectl describe pod -n ${namespace} ${name}`;

/** Words of the scheduler, with what makes a node fit. The first that its message has counts. */
const placements: readonly (readonly [RegExp, string])[] = [
  [/no nodes available/, 'add a node'],
  [/persistentvolumeclaim "[^"]*" not found/, 'add the PersistentVolumeClaim to Git'],
  [/unbound immediate PersistentVolumeClaims/, 'give the claim a volume or a StorageClass'],
  [/untolerated taint/, 'add a toleration in Git, or take the taint off a node'],
  [/didn't match Pod's node affinity\/selector/, 'correct nodeSelector or affinity in Git, or label a node'],
  [/were unschedulable/, 'let a node take pods again: kubectl uncordon NODE'],
  [/didn't have free ports/, 'give the pod another hostPort in Git, or fewer replicas'],
];

/** The same for a pod that fits on no node; `resource` is what it needs more of than any node has left. */
export function actionForPlace({ metadata: { namespace = '', name }, status }: Pod, resource: string | undefined): string {
  const message = status?.conditions?.find(({ type }) => type === 'PodScheduled')?.message ?? '';
  const action =
    resource === undefined
      ? placements.find(([words]) => words.test(message))?.[1]
      : `lower resources.requests.${resource} in Git, or add a node with room`;
  return `${action === undefined ? '' : `${action}; `}each node's verdict: midship why pod/${name} -n ${namespace}`;
}

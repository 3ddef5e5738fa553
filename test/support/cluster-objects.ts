import type { Node } from '../../src/api/core/v1/node.ts';
import type { Pod } from '../../src/api/core/v1/pod.ts';

/** A pod that asks for a little; parts given replace those of the spec and metadata. */
export function podOf(
  name: string,
  spec: Partial<Pod['spec']> & { readonly cpu?: string; readonly memory?: string } = {},
  metadata: Partial<Pod['metadata']> = {},
): Pod {
  const { cpu, memory, ...rest } = spec;
  const requests = { ...(cpu === undefined ? {} : { cpu }), ...(memory === undefined ? {} : { memory }) };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'shop', uid: `uid-${name}`, ...metadata },
    spec: { containers: [{ name: 'main', image: 'host/sh', resources: { requests } }], ...rest },
  };
}

/** A node with 4 CPUs, 8 GiB and room for 110 pods, labelled with its name. */
export function nodeOf(
  name: string,
  { labels, spec, allocatable }: { labels?: Record<string, string>; spec?: Node['spec']; allocatable?: Record<string, string> } = {},
): Node {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels: { 'kubernetes.io/hostname': name, ...labels } },
    ...(spec === undefined ? {} : { spec }),
    status: { allocatable: { cpu: '4', memory: '8Gi', 'ephemeral-storage': '20Gi', pods: '110', ...allocatable } },
  };
}

/** The controller reference that replicas of one owner share. */
export const ownedBy = (uid: string): Pick<Pod['metadata'], 'ownerReferences'> => ({
  ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: uid, uid, controller: true }],
});

/** The manifest of a Deployment in `default` whose pods only wait. */
export const sleeperManifest = (replicas: number): string => `apiVersion: apps/v1
kind: Deployment
metadata: {name: sleeper, namespace: default}
spec:
  replicas: ${replicas}
  selector: {matchLabels: {app: sleeper}}
  template:
    metadata: {labels: {app: sleeper}}
    spec: {containers: [{name: main, image: host/sleep, command: [sleep, '1000']}]}
`;

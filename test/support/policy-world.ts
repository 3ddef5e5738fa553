import type { Namespace } from '../../src/api/core/v1/namespace.ts';
import type { Pod } from '../../src/api/core/v1/pod.ts';
import type { NetworkPolicy } from '../../src/api/networking/v1/network-policy.ts';

/** Pods `x/a` to `y/b` on one node, as in the suite of upstream: each pod has the label `pod`, each namespace the label `ns`. */
export const policyPods = {
  'x/a': '10.208.16.2',
  'x/b': '10.208.16.3',
  'y/a': '10.208.16.4',
  'y/b': '10.208.16.5',
} as const;
export type PolicyPod = keyof typeof policyPods;

export const policyNamespace = (name: string, labels: Readonly<Record<string, string>> = {}): Namespace => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name, labels: { ns: name, 'kubernetes.io/metadata.name': name, ...labels } },
});

export function policyPod(key: string, address: string, changes: { readonly labels?: Pod['metadata']['labels'] } = {}): Pod {
  const [namespace = '', name = ''] = key.split('/');
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, uid: key, labels: { pod: name, ...changes.labels } },
    spec: {
      nodeName: 'node',
      containers: [
        {
          name: 'c',
          image: 'i',
          ports: [
            { name: 'serve-80', containerPort: 80 },
            { name: 'serve-81', containerPort: 81 },
          ],
        },
      ],
    },
    status: { phase: 'Running', podIP: address },
  };
}

/** A policy in namespace `x`, unless `namespace` says otherwise. */
export const policyOf = (name: string, spec: NetworkPolicy['spec'], namespace = 'x'): NetworkPolicy => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { name, namespace },
  spec,
});

import { describe, expect, it } from 'vitest';
import type { Node } from '../../../src/api/core/v1/node.ts';
import type { Pod } from '../../../src/api/core/v1/pod.ts';
import { defaultProfile } from '../../../src/scheduler/configuration/configuration.ts';
import { createProfile } from '../../../src/scheduler/profile.ts';
import { verdictsFor } from '../../../src/scheduler/verdicts.ts';
import { nodeOf, podOf } from '../../support/cluster-objects.ts';
import { detachedHandle } from '../../support/scheduler-profile.ts';
import { schedulingCluster } from '../../support/scheduling-cluster.ts';

function verdictOf(pod: Pod, node: Node, placed: readonly Pod[] = []) {
  const { cache, clock, shapes } = schedulingCluster(
    [node],
    placed.map((there) => [there, node.metadata.name]),
  );
  return verdictsFor(shapes.read(pod), createProfile(detachedHandle(clock), defaultProfile), cache)[0];
}

const spread = {
  topologySpreadConstraints: [
    { maxSkew: 1, topologyKey: 'zone', whenUnsatisfiable: 'DoNotSchedule', labelSelector: { matchLabels: { app: 'web' } } },
  ],
};
const withPort = (name: string) => podOf(name, { containers: [{ name: 'm', ports: [{ containerPort: 80, hostPort: 80 }] }] });

describe('the verdict of a node', () => {
  it('is that the pod fits when no filter rejects it', () => {
    expect(verdictOf(podOf('a'), nodeOf('n1'))).toEqual({ node: 'n1', reasons: [], fixes: [] });
  });

  it('has the reason of every filter, and what would end each', () => {
    const node = nodeOf('n1', {
      spec: { unschedulable: true, taints: [{ key: 'dedicated', value: 'db', effect: 'NoSchedule' }] },
      allocatable: { cpu: '2' },
    });
    const pod = podOf('a', { cpu: '1500m', memory: '9Gi', nodeSelector: { disk: 'ssd' } });
    expect(verdictOf(pod, node, [podOf('there', { cpu: '1' })])).toEqual({
      node: 'n1',
      reasons: [
        'node(s) were unschedulable',
        'node(s) had untolerated taint(s)',
        "node(s) didn't match Pod's node affinity/selector",
        'Insufficient cpu',
        'Insufficient memory',
      ],
      fixes: [
        'kubectl uncordon n1',
        'let the pod tolerate dedicated=db:NoSchedule, or: kubectl taint nodes n1 dedicated:NoSchedule-',
        'kubectl label nodes n1 disk=ssd',
        'free, or request less: 500m more cpu (it requests 1500m), 1024Mi more memory (it requests 9216Mi, more than the node has (8192Mi))',
      ],
    });
  });

  it.each<[string, Pod, Node, readonly Pod[], string]>([
    ['a host port', withPort('a'), nodeOf('n1'), [withPort('there')], 'free host port 80, which pod shop/there has'],
    [
      'the number of pods',
      podOf('a'),
      nodeOf('n1', { allocatable: { pods: '1' } }),
      [podOf('there')],
      'free, or request less: room for one more pod (it may have 1)',
    ],
    [
      'an extended resource',
      podOf('a', { containers: [{ name: 'm', resources: { requests: { 'example.com/gpu': '2' } } }] }),
      nodeOf('n1', { allocatable: { 'example.com/gpu': '1' } }),
      [],
      'free, or request less: 1 more example.com/gpu (it requests 2, more than the node has (1))',
    ],
    [
      'the spread of pods',
      podOf('a', spread, { labels: { app: 'web' } }),
      nodeOf('n1'),
      [],
      'give the node the label zone, over which the pod is spread',
    ],
    [
      'affinity',
      podOf('a', {
        affinity: {
          podAffinity: {
            requiredDuringSchedulingIgnoredDuringExecution: [
              { topologyKey: 'kubernetes.io/hostname', labelSelector: { matchLabels: { app: 'cache' } } },
            ],
          },
        },
      }),
      nodeOf('n1'),
      [],
      'place a pod that its affinity selects in the same domain, or make that affinity a preferred one',
    ],
  ])('says what to do about %s', (_, pod, node, placed, fix) => {
    expect(verdictOf(pod, node, placed)?.fixes).toEqual([fix]);
  });
});

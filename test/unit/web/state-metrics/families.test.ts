import { describe, expect, it } from 'vitest';
import type { Node } from '../../../../src/api/core/v1/node.ts';
import type { Pod } from '../../../../src/api/core/v1/pod.ts';
import type { KubeObject } from '../../../../src/machinery/object.ts';
import { nodeFamilies, nodeLabels } from '../../../../src/web/state-metrics/cluster-families.ts';
import { type Family, familyLines } from '../../../../src/web/state-metrics/family.ts';
import { podFamilies, podLabels } from '../../../../src/web/state-metrics/pod-families.ts';

function samplesOf<T extends KubeObject>(
  families: readonly Family<T>[],
  name: string,
  object: T,
  labelsOf: (object: T) => string,
): string[] {
  const family = families.find((each) => each.name === name);
  if (family === undefined) throw new Error(`no family ${name}`);
  return [...familyLines(family, [{ object, labels: labelsOf(object) }])]
    .join('')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.slice(name.length));
}

const ofPod = (name: string, pod: Pod): string[] => samplesOf(podFamilies, name, pod, podLabels);

const pod: Pod = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { namespace: 'web', name: 'cache-1', uid: 'u1', creationTimestamp: '2026-01-01T00:00:00Z' },
  spec: {
    nodeName: 'node-a',
    containers: [{ name: 'main', image: 'host/sh', resources: { requests: { cpu: '250m', memory: '64Mi' } } }],
  },
  status: {
    phase: 'Running',
    conditions: [{ type: 'Ready', status: 'False' }],
    containerStatuses: [
      {
        name: 'main',
        image: 'host/sh',
        imageID: '',
        ready: false,
        restartCount: 4,
        state: { waiting: { reason: 'CrashLoopBackOff', message: 'back-off "x"' } },
        lastState: { terminated: { exitCode: 1, reason: 'A reason of its own' } },
      },
    ],
  },
};
const base = '{namespace="web",pod="cache-1",uid="u1"';

describe('kube_* families', () => {
  it('write one sample a phase, 1 for the one that holds', () => {
    expect(ofPod('kube_pod_status_phase', pod)).toEqual(
      ['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown'].map((phase) => `${base},phase="${phase}"} ${phase === 'Running' ? 1 : 0}`),
    );
    expect(ofPod('kube_pod_status_ready', pod)).toContain(`${base},condition="false"} 1`);
    expect(ofPod('kube_pod_status_scheduled', pod)).toEqual([]);
  });

  it('give amounts in base units', () => {
    expect(ofPod('kube_pod_container_resource_requests', pod)).toEqual([
      `${base},container="main",node="node-a",resource="cpu",unit="core"} 0.25`,
      `${base},container="main",node="node-a",resource="memory",unit="byte"} 67108864`,
    ]);
  });

  it('keep reasons to a known set', () => {
    expect(ofPod('kube_pod_container_status_waiting_reason', pod)).toEqual([`${base},container="main",reason="CrashLoopBackOff"} 1`]);
    expect(ofPod('kube_pod_container_status_last_terminated_reason', pod)).toEqual([`${base},container="main",reason="Other"} 1`]);
    expect(ofPod('kube_pod_container_status_restarts_total', pod)).toEqual([`${base},container="main"} 4`]);
  });

  it('write empty owner labels for a bare pod, as rules expect', () => {
    expect(ofPod('kube_pod_owner', pod)).toEqual([`${base},owner_kind="",owner_name="",owner_is_controller=""} 1`]);
  });

  it('say which nodes are simulated, and escape what people wrote', () => {
    const node: Node = {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: 'sim-1', labels: { 'midship.dev/simulated': 'true', team: 'secret' } },
      spec: { taints: [{ key: 'a', value: 'quote " and \\', effect: 'NoSchedule' }] },
    };
    expect(samplesOf(nodeFamilies, 'kube_node_labels', node, nodeLabels)).toEqual(['{node="sim-1",label_midship_dev_simulated="true"} 1']);
    expect(samplesOf(nodeFamilies, 'kube_node_spec_taint', node, nodeLabels)).toEqual([
      '{node="sim-1",key="a",value="quote \\" and \\\\",effect="NoSchedule"} 1',
    ]);
  });
});

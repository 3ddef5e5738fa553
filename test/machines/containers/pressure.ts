import { statfs } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { busyboxImage } from '../../support/containerd.ts';
import { until } from '../../support/until.ts';
import type { ContainerWorld } from './world.ts';

const mebibyte = 1024 * 1024;

/** A disk that a pod fills. The node counts as short of it for five minutes, which only another start of the program forgets. */
export function pressureTests(world: ContainerWorld): void {
  const { kubectl, apply, fieldOf, eventsOf } = world;
  /** Writes so much to its volume, and runs on. */
  const writer = (name: string, megabytes: number, spec: object = {}) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      terminationGracePeriodSeconds: 0,
      volumes: [{ name: 'data', emptyDir: {} }],
      containers: [
        {
          name: 'main',
          image: busyboxImage,
          command: ['sh', '-c', `dd if=/dev/zero of=/data/file bs=1M count=${megabytes}; sleep 1000`],
          volumeMounts: [{ name: 'data', mountPath: '/data' }],
        },
      ],
      ...spec,
    },
  });
  const ofNode = (path: string): Promise<string> => kubectl('get', 'node', 'node-a', '-o', `jsonpath={${path}}`);
  const diskPressure = (field: string): Promise<string> => ofNode(`.status.conditions[?(@.type=="DiskPressure")].${field}`);
  const taints = (): Promise<string> => ofNode('.spec.taints[*].key');
  const availableMegabytes = async (): Promise<number> => {
    const { bavail, bsize } = await statfs(world.cluster.dataDirectory);
    return (bavail * bsize) / mebibyte;
  };

  it('are evicted when they fill the disk of their node, those of a higher priority last', async () => {
    const important = { apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', metadata: { name: 'important' }, value: 1000 };
    await apply(important, writer('neighbour', 20, { priorityClassName: 'important' }));
    await kubectl('wait', 'pod/neighbour', '--for=condition=Ready', '--timeout=30s');
    expect([await diskPressure('status'), await taints()]).toEqual(['False', '']);
    const { blocks, bsize } = await statfs(world.cluster.dataDirectory);
    // Leaves three quarters of the tenth that the node keeps free.
    const grown = Math.floor((await availableMegabytes()) - ((blocks * bsize) / mebibyte) * 0.075);
    await apply(writer('grower', grown));
    await until(async () => (await fieldOf('grower', '.status.phase')) === 'Failed', { what: 'the eviction', timeoutMs: 60_000 });

    expect(await fieldOf('grower', '.status.reason')).toBe('Evicted');
    const message = await fieldOf('grower', '.status.message');
    expect(message).toMatch(
      /^The node was low on resource: ephemeral-storage\. Threshold quantity: \d+(?:Ki|Mi)?, available: \d+(?:Ki|Mi)?\. /,
    );
    expect(await eventsOf('grower')).toContain(`Evicted: ${message}`);
    expect(await fieldOf('grower', '.status.conditions[?(@.type=="DisruptionTarget")]')).toMatch(
      /"message":"The node was low on resource: .*"reason":"TerminationByKubelet","status":"True"/,
    );
    await until(async () => (await fieldOf('grower', '.status.containerStatuses[0].state.terminated.exitCode')) === '137', {
      what: async () => `the end of its program: ${await fieldOf('grower', '.status')}`,
      timeoutMs: 10_000,
    });
    expect([await diskPressure('status'), await diskPressure('reason')]).toEqual(['True', 'KubeletHasDiskPressure']);
    await until(async () => (await taints()) === 'node.kubernetes.io/disk-pressure', { what: 'the taint' });
    expect(await eventsOf('node-a')).toContain('NodeHasDiskPressure: Node node-a status is now: NodeHasDiskPressure');

    // The files go while the pod is still in the API, and so the neighbour has nothing to fear.
    await until(async () => (await availableMegabytes()) > grown, { what: 'room on the disk' });
    await apply(writer('waits', 1), writer('refused', 1, { nodeName: 'node-a', tolerations: [{ operator: 'Exists' }] }));
    await until(async () => (await fieldOf('refused', '.status.reason')) === 'Evicted', { what: 'the refusal of a pod that was sent' });
    expect(await fieldOf('refused', '.status.message')).toBe('Pod was rejected: The node had condition: [DiskPressure]. ');
    await until(async () => (await eventsOf('waits')).includes('FailedScheduling: '), { what: 'the reason of a pod that waits' });
    expect(await eventsOf('waits')).toContain('1 node(s) had untolerated taint(s)');
    expect([await fieldOf('neighbour', '.status.phase'), await fieldOf('neighbour', '.status.containerStatuses[0].restartCount')]).toEqual([
      'Running',
      '0',
    ]);
  });
}

/** After the next start of the program. */
export function roomTests({ kubectl }: ContainerWorld): void {
  it('start again on a node whose disk has room', async () => {
    await kubectl('wait', 'pod/waits', '--for=condition=Ready', '--timeout=40s');
    const shown = 'jsonpath={.status.conditions[?(@.type=="DiskPressure")].reason};{.spec.taints[*].key}';
    expect(await kubectl('get', 'node', 'node-a', '-o', shown)).toBe('KubeletHasNoDiskPressure;');
    expect(await kubectl('get', 'pods', 'neighbour', 'waits', '-o', 'jsonpath={.items[*].status.phase}')).toBe('Running Running');
    await kubectl('delete', 'pod', 'neighbour', 'waits', 'grower', 'refused', '--wait=false');
  });
}

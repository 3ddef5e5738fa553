import { expect, it } from 'vitest';
import { leases } from '../../src/api/coordination/v1/lease.ts';
import { events } from '../../src/api/core/v1/event.ts';
import { type Node, nodes } from '../../src/api/core/v1/node.ts';
import { pods } from '../../src/api/core/v1/pod.ts';
import { nodeObjectOf } from '../../src/node-agent/node-object.ts';
import { startTestNode, testNodeName } from '../support/node-agent.ts';
import { recordedLines } from '../support/recorded-lines.ts';
import { until } from '../support/until.ts';

interface Request {
  readonly method: string;
  readonly path: string;
  readonly body?: Readonly<Record<string, unknown>>;
}

const requests = recordedLines('components', 'kubelet.samples').map((line) => (JSON.parse(line) as { readonly req: Request }).req);
/** The body of the first such request of a real kubelet. */
function recorded<T>(method: string, path: RegExp): T {
  const found = requests.find((request) => request.method === method && path.test(request.path));
  if (found?.body === undefined) throw new Error(`no recording of ${method} ${path}`);
  return found.body as T;
}

it('a Node is registered with the fields of a kubelet', () => {
  const theirs = recorded<Node>('POST', /\/nodes$/);
  const { status } = theirs;
  const { nodeInfo } = status ?? {};
  const now = Date.parse(String(status?.conditions?.[0]?.lastHeartbeatTime));
  const ours = nodeObjectOf(
    {
      name: theirs.metadata.name,
      internalIP: '192.0.2.2',
      kubeletPort: 27_250,
      capacity: status?.capacity ?? {},
      allocatable: status?.allocatable ?? {},
      labels: {},
      taints: [],
      simulated: false,
      awaitsCloud: false,
      machine: {
        architecture: 'amd64',
        bootID: '<redacted>',
        machineID: '<redacted>',
        kernelVersion: nodeInfo?.kernelVersion ?? '',
        osImage: nodeInfo?.osImage ?? '',
        cpus: 2,
        memoryKiB: 1,
      },
      kubeletVersion: nodeInfo?.kubeletVersion ?? '',
      runtimeVersion: nodeInfo?.containerRuntimeVersion ?? '',
      isolation: undefined,
      disk: { type: 'DiskPressure', status: 'False', reason: 'KubeletHasNoDiskPressure', message: 'kubelet has no disk pressure' },
      conditions: [],
      notReady: 'CSINode is not yet initialized',
    },
    now,
  );
  // A kubelet lists images and features of its own, which nothing here reads.
  const { images, declaredFeatures, ...read } = { ...status } as Record<string, unknown>;
  expect([images, declaredFeatures].every(Array.isArray)).toBe(true);
  expect(ours).toEqual({ ...theirs, status: read });
});

it('a Lease, an Event and the conditions of a pod are those of a kubelet', async () => {
  const node = await startTestNode();
  try {
    const { client } = node;
    const theirLease = recorded<Record<string, Record<string, unknown>>>('POST', /\/leases$/);
    const lease = await client.get(leases, { namespace: 'kube-node-lease', name: testNodeName });
    const { uid } = (await client.get(nodes, { name: testNodeName })).metadata;
    expect(Object.keys(lease.spec ?? {}).sort()).toEqual(Object.keys(theirLease.spec ?? {}).sort());
    expect(lease.spec).toMatchObject({ holderIdentity: testNodeName, leaseDurationSeconds: theirLease.spec?.leaseDurationSeconds });
    expect(lease.metadata.ownerReferences).toEqual([{ apiVersion: 'v1', kind: 'Node', name: testNodeName, uid }]);

    const theirEvent = recorded<Record<string, Record<string, unknown>>>('POST', /\/events$/);
    const startings = async () => (await client.list(events, { namespace: 'default' })).items.filter(({ reason }) => reason === 'Starting');
    const [event] = await until(async () => ((await startings()).length > 0 ? startings() : undefined), { what: 'the first Event' });
    const name = String(theirEvent.involvedObject?.name);
    const named = JSON.parse(JSON.stringify(theirEvent).replaceAll(name, testNodeName)) as Record<string, unknown>;
    const shared = ['reason', 'message', 'source', 'count', 'type', 'reportingComponent', 'reportingInstance'] as const;
    expect(shared.map((field) => [field, event?.[field]])).toEqual(shared.map((field) => [field, named[field]]));
    expect(event?.involvedObject).toMatchObject(named.involvedObject as object);

    // The conditions of the first status of a pod, in their order.
    const patch = recorded<{ readonly status: Record<string, readonly { readonly type: string }[]> }>('PATCH', /\/pods\/[^/]+\/status$/);
    await node.run({ name: 'short', restartPolicy: 'Never', containers: [{ name: 'main', image: 'host/none', command: ['true'] }] });
    const pod = await node.pod('short', 'its conditions', ({ status }) => (status?.conditions?.length ?? 0) > 1);
    const theirTypes = (patch.status['$setElementOrder/conditions'] ?? []).map(({ type }) => type);
    expect(pod.status?.conditions?.map(({ type }) => type).sort()).toEqual([...theirTypes].sort());
    expect(pod.status?.hostIPs?.length).toBe(1);
    await client.delete(pods, { namespace: 'default', name: 'short' });
    await node.gone('short');
  } finally {
    await node.stop();
  }
});

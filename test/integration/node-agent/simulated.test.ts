import { afterAll, beforeAll, expect, it } from 'vitest';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { type Pod, pods } from '../../../src/api/core/v1/pod.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import type { Client } from '../../../src/client/client.ts';
import { createInformerSet } from '../../../src/client/informer-set.ts';
import { createNodeAgent, type NodeAgent } from '../../../src/node-agent/agent.ts';
import { createAgentGroup } from '../../../src/node-agent/agent-group.ts';
import { createConfigSource } from '../../../src/node-agent/config-source.ts';
import { createKubeletMetrics } from '../../../src/node-agent/kubelet-metrics.ts';
import { readMachineFacts } from '../../../src/node-agent/machine-facts.ts';
import { createPodQueue } from '../../../src/node-agent/pod-queue.ts';
import { createSharedPodSources } from '../../../src/node-agent/pod-source.ts';
import { createSimulatedHost } from '../../../src/node-agent/simulated/simulated-host.ts';
import { createEventQueue } from '../../../src/reconcile/event-recorder.ts';
import { createStepLog } from '../../../src/reconcile/step-log.ts';
import { startSeededApi } from '../../support/api.ts';
import { until } from '../../support/until.ts';

const nodeCount = 20;
const podCount = 200;
let client: Client;
let stop: () => Promise<void>;

beforeAll(async () => {
  const clock = systemClock;
  const log = createLog({ level: 'silent' });
  const api = await startSeededApi(['default', 'kube-node-lease']);
  client = api.clientFor();
  const abort = new AbortController();
  const { signal } = abort;
  const metrics = createMetrics();
  const informers = createInformerSet({ client, clock, log });
  const events = createEventQueue({ client, clock, log, metrics });
  const queue = createPodQueue({ clock, log });
  const podsOf = createSharedPodSources(informers);
  const host = createSimulatedHost({ clock, version: '0.1.0' });
  const shared = {
    client,
    queue,
    clock,
    log,
    config: createConfigSource(informers),
    random: () => 0.5,
    recorder: events.recorder('kubelet'),
    steps: createStepLog({ clock, log, metrics }),
    metrics: createKubeletMetrics(metrics),
    machine: await readMachineFacts('/'),
    kubeletVersion: 'v1.36.0+midship.0.1.0',
    directory: '/nonexistent',
    logDirectory: '/nonexistent',
    simulated: true,
    address: { internalIP: '', kubeletPort: 0 },
  };
  const agents = Array.from({ length: nodeCount }, (_, index): NodeAgent => {
    const nodeName = `sim-${index}`;
    return createNodeAgent({ ...shared, nodeName, runtime: host.createRuntime(), pods: podsOf(nodeName) });
  });
  const group = createAgentGroup({ name: 'simulated nodes', agents });
  informers.start({ signal });
  await queue.start({ signal });
  await group.start({ signal });
  stop = async () => {
    await group.stop();
    await queue.stop();
    abort.abort(new Error('test ends'));
    await api.stop();
  };
});
afterAll(() => stop());

const isReady = (pod: Pod): boolean => pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true;
const revision = async (): Promise<number> => Number((await client.list(pods, { limit: 1 })).metadata.resourceVersion);

it('simulated nodes say that they are', async () => {
  const { items } = await client.list(nodes);
  expect(items).toHaveLength(nodeCount);
  for (const node of items) {
    expect(node.metadata.labels?.['midship.dev/simulated']).toBe('true');
    expect(node.spec?.taints).toContainEqual({ key: 'midship.dev/simulated', value: 'true', effect: 'NoSchedule' });
    expect(node.status?.nodeInfo?.containerRuntimeVersion).toBe('simulated://0.1.0');
  }
});

it('their pods get ready with one write each and no other, and go when they are deleted', async () => {
  const before = await revision();
  await Promise.all(
    Array.from({ length: podCount }, (_, index) =>
      client.create(pods, {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: `web-${index}`, namespace: 'default' },
        spec: { nodeName: `sim-${index % nodeCount}`, containers: [{ name: 'main', image: 'nginx:1' }] },
      }),
    ),
  );
  const ready = await until(
    async () => {
      const { items } = await client.list(pods);
      return items.length === podCount && items.every(isReady) ? items : undefined;
    },
    { what: 'all ready', intervalMs: 5 },
  );
  expect(new Set(ready.map(({ status }) => status?.podIP)).size).toBe(podCount);
  expect((await revision()) - before).toBe(2 * podCount);
  await client.deleteCollection(pods, { namespace: 'default' });
  await until(async () => (await client.list(pods)).items.length === 0, { what: 'all gone', intervalMs: 5 });
});

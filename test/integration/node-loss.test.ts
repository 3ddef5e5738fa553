import { pino } from 'pino';
import { afterEach, describe, expect, it } from 'vitest';
import { deployments } from '../../src/api/apps/v1/deployment.ts';
import { namespaces } from '../../src/api/core/v1/namespace.ts';
import { nodes } from '../../src/api/core/v1/node.ts';
import { pods } from '../../src/api/core/v1/pod.ts';
import { taints } from '../../src/api/well-known.ts';
import { systemClock } from '../../src/base/clock.ts';
import type { Component } from '../../src/base/component.ts';
import { createMetrics } from '../../src/base/metrics.ts';
import { createDeploymentController } from '../../src/controllers/deployment/deployment-controller.ts';
import { createNodeLifecycleController } from '../../src/controllers/node-lifecycle/node-lifecycle-controller.ts';
import { createPodEvictionController } from '../../src/controllers/node-lifecycle/pod-eviction-controller.ts';
import { createReplicaSetController } from '../../src/controllers/replica-set/replica-set-controller.ts';
import { createNodeAgent, type NodeAgent } from '../../src/node-agent/agent.ts';
import { createConfigSource } from '../../src/node-agent/config-source.ts';
import { createKubeletMetrics } from '../../src/node-agent/kubelet-metrics.ts';
import { readMachineFacts } from '../../src/node-agent/machine-facts.ts';
import { createPodQueue } from '../../src/node-agent/pod-queue.ts';
import { createSharedPodSources } from '../../src/node-agent/pod-source.ts';
import { createSimulatedHost } from '../../src/node-agent/simulated/simulated-host.ts';
import type { ControllerDependencies } from '../../src/reconcile/dependencies.ts';
import { createScheduler } from '../../src/scheduler/scheduler.ts';
import { startControlPlane } from '../support/control-plane.ts';
import { temporaryDirectory } from '../support/git.ts';
import { until } from '../support/until.ts';

const clock = systemClock;
const log = pino({ level: 'silent' });
const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Three simulated nodes beside the controllers and the scheduler, all real parts in one process. */
async function startNodes(): Promise<{
  readonly client: ControllerDependencies['client'];
  readonly agents: ReadonlyMap<string, NodeAgent>;
}> {
  let shared: ControllerDependencies | undefined;
  const plane = await startControlPlane({
    controllers: [
      createReplicaSetController,
      createDeploymentController,
      (dependencies) =>
        createNodeLifecycleController({ ...dependencies, graceMs: 12_000, startupGraceMs: 5_000, scanMs: 100, evictionsPerSecond: 100 }),
      createPodEvictionController,
      (dependencies) => createScheduler({ ...dependencies, metrics: createMetrics() }),
      (dependencies): Component => {
        shared = dependencies;
        return { name: 'nothing', start: async () => undefined, stop: async () => undefined };
      },
    ],
  });
  cleanups.push(() => plane.stop());
  if (shared === undefined) throw new Error('the control plane gave no dependencies');
  const { client, informers, recorder, steps } = shared;
  await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'kube-node-lease' } });
  const queue = createPodQueue({ clock, log });
  const podsOf = createSharedPodSources(informers);
  const host = createSimulatedHost({ clock, version: 'test' });
  const directory = await temporaryDirectory('nodes');
  const metrics = createKubeletMetrics(createMetrics());
  const machine = await readMachineFacts('/');
  const agents = new Map<string, NodeAgent>();
  const { signal } = new AbortController();
  await queue.start({ signal });
  cleanups.push(() => queue.stop());
  for (const nodeName of ['one', 'two', 'three']) {
    const agent = createNodeAgent({
      nodeName,
      address: { internalIP: '', kubeletPort: 0 },
      runtime: host.createRuntime(),
      client,
      pods: podsOf(nodeName),
      config: createConfigSource(informers),
      queue,
      clock,
      log,
      random: Math.random,
      recorder,
      steps,
      metrics,
      machine,
      kubeletVersion: 'v1.36.0',
      directory,
      logDirectory: directory,
      simulated: true,
    });
    await agent.start({ signal });
    agents.set(nodeName, agent);
    cleanups.push(() => agent.stop());
  }
  return { client, agents };
}

describe('a simulated node that stops', () => {
  it('is marked, tainted, and its pods run elsewhere', async () => {
    const { client, agents } = await startNodes();
    const immediately = { operator: 'Exists' as const, effect: 'NoExecute', tolerationSeconds: 0 };
    await client.create(deployments, {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web', namespace: 'default' },
      spec: {
        replicas: 6,
        selector: { matchLabels: { app: 'web' } },
        template: {
          metadata: { labels: { app: 'web' } },
          spec: {
            containers: [{ name: 'web', image: 'host/none' }],
            tolerations: [
              { key: taints.simulated, operator: 'Exists' },
              { key: taints.unreachable, ...immediately },
              { key: taints.notReady, ...immediately },
            ],
          },
        },
      },
    });
    const running = async (): Promise<readonly string[]> =>
      (await client.list(pods, { namespace: 'default' })).items
        .filter(({ status, metadata }) => status?.phase === 'Running' && metadata.deletionTimestamp === undefined)
        .map(({ spec }) => spec.nodeName ?? '');
    await until(async () => (await running()).length === 6 && new Set(await running()).size === 3, { what: 'six pods on three nodes' });

    await agents.get('two')?.stop();
    const lost = await until(
      async () => {
        const node = await client.get(nodes, { name: 'two' });
        return node.spec?.taints?.some(({ key, effect }) => key === taints.unreachable && effect === 'NoExecute') && node;
      },
      { timeoutMs: 40_000, what: 'the node is tainted' },
    );
    expect(lost.status?.conditions?.find(({ type }) => type === 'Ready')).toMatchObject({
      status: 'Unknown',
      reason: 'NodeStatusUnknown',
      message: 'Kubelet stopped posting node status.',
    });
    await until(
      async () => {
        const places = await running();
        return places.filter((node) => node !== 'two').length === 6;
      },
      { what: 'six pods on the other nodes' },
    );
  });
});

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { serviceAccounts } from '../../../src/api/core/v1/service-account.ts';
import { podDisruptionBudgets } from '../../../src/api/policy/v1/pod-disruption-budget.ts';
import { createDisruptionController } from '../../../src/controllers/disruption/disruption-controller.ts';
import { isNotFound } from '../../../src/machinery/status-error.ts';
import { startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { readyStatus, startControllers } from '../../support/control-plane.ts';
import { hasKubectl } from '../../support/kubectl.ts';
import { until } from '../../support/until.ts';

const namespace = 'shop';

describe.skipIf(!hasKubectl)('kubectl drain (needs kubectl)', () => {
  let cluster: TestApiServer;
  let controllers: Awaited<ReturnType<typeof startControllers>>;
  let stopPlaying: () => void;

  beforeAll(async () => {
    cluster = await startTestApiServer();
    const client = cluster.api.clientFor();
    controllers = await startControllers(client, [createDisruptionController]);
    // The agent's part: pods that are to go are gone at once.
    stopPlaying = controllers.informers.get(pods).addHandler(({ after }) => {
      if (after?.metadata.deletionTimestamp === undefined) return;
      client.delete(pods, after.metadata, { gracePeriodSeconds: 0 }).catch((err: unknown) => {
        if (!isNotFound(err)) throw err;
      });
    });
    await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
    await client.create(serviceAccounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace } });
    for (const name of ['one', 'two']) await client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name } });
    await client.create(podDisruptionBudgets, {
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata: { name: 'web', namespace },
      spec: { minAvailable: 1, selector: { matchLabels: { app: 'web' } } },
    });
  });
  afterAll(async () => {
    stopPlaying();
    await controllers.stop();
    await cluster.stop();
  });

  async function runPod(name: string, nodeName: string): Promise<void> {
    const client = cluster.api.clientFor();
    await client.create(pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace, labels: { app: 'web' } },
      spec: { nodeName, containers: [{ name: 'c', image: 'i' }] },
    });
    await client.patch(pods, { namespace, name }, { type: 'merge', body: { status: readyStatus() } }, { subresource: 'status' });
  }

  const healthy = (count: number) =>
    until(
      async () => {
        const { status } = await cluster.api.clientFor().get(podDisruptionBudgets, { namespace, name: 'web' });
        return status?.currentHealthy === count;
      },
      { what: `the budget to count ${count} healthy pods` },
    );

  const podsOn = async (nodeName: string): Promise<readonly string[]> => {
    const { items } = await cluster.api.clientFor().list(pods, { namespace, fieldSelector: `spec.nodeName=${nodeName}` });
    return items.map(({ metadata }) => metadata.name);
  };

  it('takes what the budget allows, waits, and goes on when there are pods elsewhere', async () => {
    await runPod('a', 'one');
    await runPod('b', 'one');
    await healthy(2);
    const draining = cluster.kubectl('drain', 'one', '--force', '--timeout=60s');
    await until(async () => (await podsOn('one')).length === 1, { what: 'one pod to be evicted' });
    await healthy(1);
    await runPod('c', 'two');
    const { stdout, stderr, code } = await draining;
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(stderr).toContain("Cannot evict pod as it would violate the pod's disruption budget.");
    expect(stdout).toContain('node/one drained');
    expect(await podsOn('one')).toEqual([]);
    expect(await podsOn('two')).toEqual(['c']);
  });
});

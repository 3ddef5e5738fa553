import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { serviceAccounts } from '../../../src/api/core/v1/service-account.ts';
import { createDaemonSetController } from '../../../src/controllers/daemon-set/daemon-set-controller.ts';
import { createDeploymentController } from '../../../src/controllers/deployment/deployment-controller.ts';
import { createReplicaSetController } from '../../../src/controllers/replica-set/replica-set-controller.ts';
import { createStatefulSetController } from '../../../src/controllers/stateful-set/stateful-set-controller.ts';
import { startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { playPods, startControllers } from '../../support/control-plane.ts';
import { hasKubectl, kubectlSteps } from '../../support/kubectl.ts';

const kinds = {
  deployment: 'Deployment',
  statefulset: 'StatefulSet',
  daemonset: 'DaemonSet',
} as const;

const manifest = (kind: string, image: string): string => `apiVersion: apps/v1
kind: ${kind}
metadata: {name: web, namespace: shop, annotations: {kubernetes.io/change-cause: 'use ${image}'}}
spec:
  ${kind === 'DaemonSet' ? '' : 'replicas: 2'}
  ${kind === 'StatefulSet' ? 'serviceName: web' : ''}
  selector: {matchLabels: {app: ${kind}}}
  template:
    metadata: {labels: {app: ${kind}}}
    spec: {containers: [{name: web, image: '${image}'}]}
`;

describe.skipIf(!hasKubectl)('kubectl rollout (needs kubectl)', () => {
  let cluster: TestApiServer;
  let controllers: Awaited<ReturnType<typeof startControllers>>;
  const { ok, refused, file } = kubectlSteps(() => cluster);

  beforeAll(async () => {
    cluster = await startTestApiServer();
    const client = cluster.api.clientFor();
    await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } });
    await client.create(serviceAccounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace: 'shop' } });
    await client.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'one' } });
    // The node lifecycle's part: the node is ready.
    await client.update(nodes, { ...(await client.get(nodes, { name: 'one' })), spec: {} });
    controllers = await startControllers(client, [
      createReplicaSetController,
      createDeploymentController,
      createStatefulSetController,
      createDaemonSetController,
    ]);
    playPods({ client, informers: controllers.informers });
  });
  afterAll(async () => {
    await controllers.stop();
    await cluster.stop();
  });

  it.each(Object.entries(kinds))('shows, undoes and restarts rollouts of a %s', async (resource, kind) => {
    const name = `${resource}/web`;
    const imageOf = () => ok('-n', 'shop', 'get', name, '-o', 'jsonpath={.spec.template.spec.containers[0].image}');
    const podImages = async () => {
      const client = cluster.api.clientFor();
      const { items } = await client.list(pods, { namespace: 'shop', labelSelector: `app=${kind}` });
      return [
        ...new Set(items.filter(({ metadata }) => metadata.deletionTimestamp === undefined).map(({ spec }) => spec.containers[0]?.image)),
      ];
    };
    for (const image of ['host/web:1', 'host/web:2']) {
      await ok('apply', '-f', await file(`${resource}.yaml`, manifest(kind, image)));
      expect(await ok('-n', 'shop', 'rollout', 'status', name, '--timeout=20s')).toMatch(/success|complete/);
      expect(await podImages()).toEqual([image]);
    }
    const history = await ok('-n', 'shop', 'rollout', 'history', name);
    expect(history).toMatch(/1\s+use host\/web:1\n2\s+use host\/web:2/);
    expect(await ok('-n', 'shop', 'rollout', 'history', name, '--revision=1')).toContain('host/web:1');

    expect(await ok('-n', 'shop', 'rollout', 'undo', name)).toContain('rolled back');
    await ok('-n', 'shop', 'rollout', 'status', name, '--timeout=20s');
    expect([await imageOf(), await podImages()]).toEqual(['host/web:1', ['host/web:1']]);
    expect(await ok('-n', 'shop', 'rollout', 'history', name)).toMatch(/2\s+use host\/web:2\n3\s+use host\/web:1/);
    // Some versions of kubectl send the patch although it changes nothing; no revision comes of it.
    expect(await ok('-n', 'shop', 'rollout', 'undo', name, '--to-revision=3')).toMatch(/skipped rollback|rolled back/);
    expect(await refused('-n', 'shop', 'rollout', 'undo', name, '--to-revision=1')).toMatch(/unable to find (the )?specified revision/);

    expect(await ok('-n', 'shop', 'rollout', 'restart', name)).toContain('restarted');
    await ok('-n', 'shop', 'rollout', 'status', name, '--timeout=20s');
    expect(await ok('-n', 'shop', 'rollout', 'history', name)).toMatch(/\n4\s/);
  });
});

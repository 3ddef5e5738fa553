import { afterAll, describe, expect, it } from 'vitest';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import type { Client } from '../../../src/client/client.ts';
import { formatKubeconfig } from '../../../src/client/kubeconfig.ts';
import { isNotFound } from '../../../src/machinery/status-error.ts';
import { startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { configMap, describeOnTargets, type Project } from '../../support/gitops-project.ts';
import { until } from '../../support/until.ts';

const kubeconfigOf = ({ server, pki, adminCertificate }: TestApiServer): string =>
  formatKubeconfig({ name: 'other', server: server.url, caCertificate: pki.caCertificate, clientCertificate: adminCertificate });

const writeKubeconfig = (p: Project, name: string, text: string) =>
  p.client.patch(
    secrets,
    { namespace: p.home, name },
    {
      type: 'apply',
      body: {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { namespace: p.home, name },
        data: { value: Buffer.from(text).toString('base64') },
      },
    },
    { fieldManager: 'test', force: true },
  );

const dataAt = async (client: Client, namespace: string, name: string): Promise<string | undefined> => {
  try {
    return (await client.get(configMaps, { namespace, name })).data?.a;
  } catch (err) {
    if (isNotFound(err)) return undefined;
    throw err;
  }
};

describeOnTargets('applies to other clusters', ({ project }) => {
  const running: TestApiServer[] = [];
  // The apps are gone by then, which delete what they have there.
  afterAll(async () => {
    for (const server of running) await server.stop();
  });

  async function otherCluster(namespace: string): Promise<TestApiServer> {
    const server = await startTestApiServer();
    running.push(server);
    await server.client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
    return server;
  }

  describe('30 the same engine on any cluster, and 20 isolation', () => {
    it('applies an app to the cluster of its kubeconfig, keeps it so, and deletes it there', async () => {
      const p = await project({ 'web/a.yaml': configMap('a'), 'here/a.yaml': configMap('a', 'here') });
      const other = await otherCluster(p.namespace);
      await p.app('web', { kubeConfig: { secretRef: { name: 'other' } }, wait: true });
      await p.conditionIs(
        'web',
        'Ready',
        ({ message }) => message === `unable to read KubeConfig secret '${p.home}/other' error: it does not exist`,
      );
      await writeKubeconfig(p, 'other', kubeconfigOf(other));
      await p.change('web', { metadata: { annotations: { 'reconcile.fluxcd.io/requestedAt': 'now' } } });
      await p.applied('web');
      // The same object of two apps is no conflict when they are on two clusters.
      await p.app('here');
      await p.applied('here');
      expect([await dataAt(other.client, p.namespace, 'a'), await p.dataOf('a')]).toEqual(['1', 'here']);
      await other.client.delete(configMaps, { namespace: p.namespace, name: 'a' });
      await until(async () => (await dataAt(other.client, p.namespace, 'a')) === '1', { what: 'a is put back there' });
      await p.repository.commit('next', { 'web/a.yaml': null, 'web/b.yaml': configMap('b') });
      await p.applied('web');
      await until(async () => (await dataAt(other.client, p.namespace, 'a')) === undefined, { what: 'a is pruned there' });
      expect([await dataAt(other.client, p.namespace, 'b'), await p.dataOf('a')]).toEqual(['1', 'here']);
      await p.client.delete(kustomizations, { namespace: p.home, name: 'web' });
      await until(async () => (await dataAt(other.client, p.namespace, 'b')) === undefined, { what: 'b is deleted there' });
    });

    it('marks only the apps of a cluster that is dead or whose kubeconfig is bad, and lets an app go whose kubeconfig is gone', async () => {
      const p = await project({ 'web/a.yaml': configMap('a'), 'here/b.yaml': configMap('b') });
      const other = await otherCluster(p.namespace);
      await writeKubeconfig(p, 'other', kubeconfigOf(other));
      await p.app('web', { kubeConfig: { secretRef: { name: 'other' } } });
      await p.applied('web');
      await p.app('here');
      await p.applied('here');
      running.splice(running.indexOf(other), 1);
      await other.stop();
      await p.repository.commit('next', { 'web/a.yaml': configMap('a', '2'), 'here/b.yaml': configMap('b', '2') });
      await p.conditionIs('web', 'Ready', ({ status }) => status === 'False');
      await p.applied('here');
      // Files and programs of this machine are not for a Secret to name.
      const text = kubeconfigOf(other).replace(/client-certificate-data: .*/, 'client-certificate: /etc/passwd');
      await writeKubeconfig(p, 'files', text);
      await p.app('files', { path: './here', kubeConfig: { secretRef: { name: 'files' } } });
      await p.conditionIs('files', 'Ready', ({ status, message }) => status === 'False' && /names the file \/etc\/passwd/.test(message));
      await p.client.delete(secrets, { namespace: p.home, name: 'other' });
      await p.client.delete(kustomizations, { namespace: p.home, name: 'web' });
      await until(async () => (await p.client.list(kustomizations, { namespace: p.home })).items.length === 2, {
        timeoutMs: 60_000,
        what: 'web is gone',
      });
    });
  });
});

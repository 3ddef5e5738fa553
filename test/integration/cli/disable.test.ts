import { describe, expect, it } from 'vitest';
import { apiServices } from '../../../src/api/apiregistration/v1/api-service.ts';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { gitRepositories } from '../../../src/api/source/v1/git-repository.ts';
import { storageClasses } from '../../../src/api/storage/v1/storage-class.ts';
import { createHttpClient } from '../../../src/client/http-client.ts';
import { loadKubeconfig } from '../../../src/client/kubeconfig.ts';
import { cloneRepository, newRepository, temporaryDirectory } from '../../support/git.ts';
import { startInProcess } from '../../support/in-process-cluster.ts';
import { until } from '../../support/until.ts';

describe('--disable gitops', () => {
  it('starts everything but what Git says, takes pushes, and leaves all to the next start', async () => {
    const dataDirectory = await temporaryDirectory('disable');
    const disabled = await startInProcess(dataDirectory, { disabled: ['gitops'] });
    let commit: string;
    try {
      const { endpoints, awaits } = disabled.cluster;
      expect(awaits).toBe('nothing');
      const client = createHttpClient({ ...(await loadKubeconfig(endpoints.kubeconfig)), userAgent: 'test/0' });
      expect((await client.list(gitRepositories)).items).toEqual([]);
      // The repair of something bad in Git is a push.
      const tree = await newRepository('disable', {
        'a.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\n',
      });
      commit = await tree.git('rev-parse', 'HEAD');
      await tree.git('push', '--quiet', endpoints.git, 'HEAD:refs/heads/main');
      expect(await (await cloneRepository(endpoints.git, 'disable')).git('rev-parse', 'HEAD')).toBe(commit);
      const hook = await fetch(`${endpoints.http}/hook/x`, { method: 'POST' });
      expect(hook.status).toBe(404);
      client.close();
    } finally {
      await disabled.cluster.stop();
    }
    const again = await startInProcess(dataDirectory);
    try {
      const client = createHttpClient({ ...(await loadKubeconfig(again.cluster.endpoints.kubeconfig)), userAgent: 'test/0' });
      await until(
        async () => (await client.list(kustomizations)).items.some(({ status }) => status?.lastAppliedRevision === `main@sha1:${commit}`),
        { what: 'the commit is applied' },
      );
      client.close();
    } finally {
      await again.cluster.stop();
    }
  });
});

describe('--disable node', () => {
  it('starts no node of this machine, and everything else', async () => {
    const { cluster } = await startInProcess(await temporaryDirectory('disable-node'), {
      runtime: 'process',
      simulatedNodes: 0,
      disabled: ['node', 'controllers', 'scheduler', 'local-storage', 'metrics-server'],
    });
    try {
      const client = createHttpClient({ ...(await loadKubeconfig(cluster.endpoints.kubeconfig)), userAgent: 'test/0' });
      expect((await client.list(nodes)).items).toEqual([]);
      expect((await client.list(storageClasses)).items).toEqual([]);
      expect((await client.list(apiServices)).items.map(({ metadata }) => metadata.name)).not.toContain('v1beta1.metrics.k8s.io');
      expect((await fetch(`${cluster.endpoints.http}/readyz`)).status).toBe(200);
      client.close();
    } finally {
      await cluster.stop();
    }
  });
});

import { afterEach, describe, expect, it } from 'vitest';
import { deployments } from '../../../src/api/apps/v1/deployment.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { attemptsOf } from '../../../src/api/kustomize/v1/attempt.ts';
import { type Kustomization, kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import { gitRepositories } from '../../../src/api/source/v1/git-repository.ts';
import type { Configuration } from '../../../src/cli/configuration.ts';
import type { Client } from '../../../src/client/client.ts';
import { createHttpClient } from '../../../src/client/http-client.ts';
import { loadKubeconfig } from '../../../src/client/kubeconfig.ts';
import { tryGet } from '../../../src/client/try-get.ts';
import { readHistory } from '../../../src/gitops/apply/records/history.ts';
import type { KubeObject } from '../../../src/machinery/object.ts';
import { newRepository, temporaryDirectory } from '../../support/git.ts';
import { startInProcess } from '../../support/in-process-cluster.ts';
import { until } from '../../support/until.ts';

const home = 'flux-system';
const root = { namespace: home, name: 'flux-system' };
const former = { namespace: home, name: 'cluster' };

const app = (name: string, source: string): string => `apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: ${name}, namespace: flux-system}
spec: {interval: 10m, path: ./apps/${name}, prune: true, sourceRef: {kind: GitRepository, name: ${source}}}
`;
const deployment = (name: string): string => `apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: ${name}}}
  template:
    metadata: {labels: {app: ${name}}}
    spec: {containers: [{name: a, image: host/sleep}], tolerations: [{operator: Exists}]}
`;
const configMap = (name: string): string => `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, namespace: default}\n`;

let stop: (() => Promise<void>) | undefined;
afterEach(async () => {
  await stop?.();
  stop = undefined;
});

async function start(dataDirectory: string, overrides: Partial<Configuration> = {}) {
  const { cluster, warnings } = await startInProcess(dataDirectory, overrides);
  const client = createHttpClient({ ...(await loadKubeconfig(cluster.endpoints.kubeconfig)), userAgent: 'test/0' });
  stop = async () => {
    stop = undefined;
    client.close();
    await cluster.stop();
  };
  return { client, endpoints: cluster.endpoints, activity: cluster.activity, warnings };
}

const readyAt = (client: Client, ref: { namespace: string; name: string }, sha: string): Promise<Kustomization> =>
  until(
    async () => {
      const found = await tryGet(client, kustomizations, ref);
      const isThere = found?.status?.lastAppliedRevision === `main@sha1:${sha}`;
      return isThere && found?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ? found : undefined;
    },
    { what: async () => JSON.stringify((await tryGet(client, kustomizations, ref))?.status) },
  );

const identities = (objects: readonly KubeObject[]): readonly string[] =>
  objects.map(({ metadata }) => `${metadata.name} ${metadata.uid} ${metadata.generation ?? ''}`).sort();

describe('the app of midship up', () => {
  it('warns of a start without --repo that leaves the repository of the start before', async () => {
    const dataDirectory = await temporaryDirectory('left-repository');
    const tree = await newRepository('left-repository', { 'a.yaml': configMap('a') });
    const other = await newRepository('other-repository', { 'a.yaml': configMap('a') });
    const warningsOf = async (overrides: Partial<Configuration>): Promise<readonly string[]> => {
      const { warnings } = await start(dataDirectory, overrides);
      await stop?.();
      return warnings;
    };
    expect(await warningsOf({})).toEqual([]);
    expect(await warningsOf({ repository: tree.directory })).toEqual([]);
    expect(await warningsOf({ repository: other.directory })).toEqual([]);
    expect(await warningsOf({})).toEqual([
      expect.stringMatching(/^This start follows the built-in remote, and the one before \S*other-repository-\w+\.git\. .*--repo/),
    ]);
    expect(await warningsOf({})).toEqual([]);
  });

  it('has another name than in an earlier version, and all that was its own: nothing is pruned, restarted or left behind', async () => {
    const dataDirectory = await temporaryDirectory('root-app');
    const tree = await newRepository('root-app', {
      'cluster/app.yaml': app('web', 'cluster'),
      'cluster/own.yaml': deployment('own'),
      'cluster/old.yaml': configMap('old'),
      'apps/web/web.yaml': deployment('web'),
    });
    const first = await tree.git('rev-parse', 'HEAD');

    // An earlier version left the same objects under the name `cluster`.
    const before = await start(dataDirectory);
    await before.client.delete(kustomizations, root);
    await before.client.delete(gitRepositories, root);
    await tree.git('push', '--quiet', before.endpoints.git, 'HEAD:refs/heads/main');
    const write = { fieldManager: 'midship-up', force: true };
    const spec = { url: `${before.endpoints.http}/git/cluster.git`, interval: '10s', timeout: '60s', ref: { branch: 'main' } };
    const repository = { apiVersion: 'source.toolkit.fluxcd.io/v1', kind: 'GitRepository', metadata: former, spec };
    await before.client.patch(gitRepositories, former, { type: 'apply', body: repository }, write);
    const apply = { interval: '10m', path: './cluster', prune: true, sourceRef: { kind: 'GitRepository', name: 'cluster' } };
    const kustomization = { apiVersion: 'kustomize.toolkit.fluxcd.io/v1', kind: 'Kustomization', metadata: former, spec: apply };
    await before.client.patch(kustomizations, former, { type: 'apply', body: kustomization }, write);
    await readyAt(before.client, former, first);
    await readyAt(before.client, { namespace: home, name: 'web' }, first);
    await until(async () => (await before.client.list(pods)).items.filter(({ status }) => status?.phase === 'Running').length === 4, {
      what: 'the pods run',
    });
    const reason = { 'midship.dev/suspend-reason': 'a quiet weekend' };
    const suspension = { metadata: { annotations: reason }, spec: { suspend: true, wait: false } };
    await before.client.patch(kustomizations, former, { type: 'merge', body: suspension }, { fieldManager: 'kubectl-edit' });
    const [podsBefore, workloadsBefore] = [await before.client.list(pods), await before.client.list(deployments)];
    const historyBefore = await readHistory(before.client, { metadata: former });
    expect(historyBefore).toHaveLength(1);
    await stop?.();

    const { client, endpoints, activity } = await start(dataDirectory, { preReceive: 'enforce' });
    expect(await tryGet(client, kustomizations, former)).toBeUndefined();
    const renamed = await client.get(kustomizations, root);
    expect(renamed.spec).toEqual({
      ...apply,
      force: false,
      suspend: true,
      wait: false,
      sourceRef: { kind: 'GitRepository', name: 'flux-system' },
    });
    expect(renamed.metadata.annotations).toMatchObject(reason);
    expect(renamed.status?.lastAppliedRevision).toBe(`main@sha1:${first}`);
    expect(attemptsOf(renamed)).toHaveLength(1);
    expect(await readHistory(client, renamed)).toEqual(historyBefore);
    // Apps of the tree name the source as it was named before.
    expect((await client.get(gitRepositories, former)).spec.url).toBe(`${endpoints.http}/git/cluster.git`);

    // Pushes are still tried on the apps that follow it under that name.
    await tree.commit('a slip', { 'apps/web/web.yaml': deployment('web').replace('replicas:', 'replicaz:') });
    const refused = await tree.git('push', '--quiet', endpoints.git, 'HEAD:refs/heads/main').catch((err: Error) => err.message);
    expect(refused).toMatch(/apps\/web\/web\.yaml:5:3 .*unknown field "spec\.replicaz"/);
    await tree.git('reset', '--quiet', '--hard', first);

    // An object that leaves Git while the app is suspended is still the app's to delete.
    const second = await tree.commit('without the old map', {
      'cluster/old.yaml': null,
      'cluster/app.yaml': app('web', 'flux-system'),
    });
    await tree.git('push', '--quiet', endpoints.git, 'HEAD:refs/heads/main');
    await client.patch(kustomizations, root, { type: 'merge', body: { spec: { suspend: null } } });
    await readyAt(client, root, second);
    await readyAt(client, { namespace: home, name: 'web' }, second);
    await until(async () => (await tryGet(client, configMaps, { namespace: 'default', name: 'old' })) === undefined, {
      what: 'the map that left Git is pruned',
    });
    expect(identities((await client.list(pods)).items)).toEqual(identities(podsBefore.items));
    expect(identities((await client.list(deployments)).items)).toEqual(identities(workloadsBefore.items));
    // Two GitRepositories follow it; the terminal and the page show it once.
    expect(activity.recent().filter((entry) => entry.type === 'commit' && entry.sha === second)).toHaveLength(1);
    await stop?.();

    // Nothing names the former source any more.
    const after = await start(dataDirectory);
    expect(await tryGet(after.client, gitRepositories, former)).toBeUndefined();
    await readyAt(after.client, root, second);
    expect(identities((await after.client.list(pods)).items)).toEqual(identities(podsBefore.items));
  });

  it('runs a repository that Flux has bootstrapped as it is, and says what it leaves out', async () => {
    const labels = 'labels: {app.kubernetes.io/instance: flux-system, app.kubernetes.io/part-of: flux, app.kubernetes.io/version: v2.6.0}';
    const tree = await newRepository('flux-layout', {
      'clusters/home/flux-system/gotk-components.yaml': `apiVersion: v1
kind: Namespace
metadata: {name: flux-system, ${labels}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gitrepositories.source.toolkit.fluxcd.io, ${labels}}
spec:
  group: source.toolkit.fluxcd.io
  names: {kind: GitRepository, listKind: GitRepositoryList, plural: gitrepositories, singular: gitrepository}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: source-controller, namespace: flux-system, ${labels}}
spec:
  selector: {matchLabels: {app: source-controller}}
  template: {metadata: {labels: {app: source-controller}}, spec: {containers: [{name: manager, image: ghcr.io/fluxcd/source-controller}]}}
`,
      'clusters/home/flux-system/gotk-sync.yaml': `apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: flux-system, namespace: flux-system}
spec: {interval: 1m0s, ref: {branch: main}, secretRef: {name: flux-system}, url: ssh://git@github.com/someone/homelab}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: flux-system, namespace: flux-system}
spec: {interval: 10m0s, path: ./clusters/home, prune: true, sourceRef: {kind: GitRepository, name: flux-system}}
`,
      'clusters/home/flux-system/kustomization.yaml':
        'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [gotk-components.yaml, gotk-sync.yaml]\n',
      'clusters/home/apps.yaml': app('shop', 'flux-system'),
      'clusters/home/stray.yaml': app('stray', 'cluster'),
      'apps/shop/own.yaml': `${configMap('own')}---\n${configMap('theirs').replace('{name', '{labels: {app.kubernetes.io/part-of: flux}, name')}`,
      'apps/stray/a.yaml': configMap('stray'),
    });
    const sha = await tree.git('rev-parse', 'HEAD');
    const { client } = await start(await temporaryDirectory('flux-layout'), { repository: tree.directory, path: './clusters/home' });
    const { status } = await readyAt(client, root, sha);
    await readyAt(client, { namespace: home, name: 'shop' }, sha);
    expect(status?.inventory?.entries.map(({ id }) => id)).toEqual([
      'flux-system_shop_kustomize.toolkit.fluxcd.io_Kustomization',
      'flux-system_stray_kustomize.toolkit.fluxcd.io_Kustomization',
    ]);
    const { spec } = await client.get(gitRepositories, root);
    expect(spec).toMatchObject({ interval: '10s', url: expect.stringMatching(/^http.*\/git\/local\//) });
    expect(spec.secretRef).toBeUndefined();
    expect((await client.list(deployments)).items).toEqual([]);
    expect((await client.list(configMaps, { namespace: 'default' })).items.map(({ metadata }) => metadata.name)).toContain('theirs');
    const notes = await until(
      async () => {
        const { items } = await client.list(events, { namespace: home });
        const found = items.flatMap(({ reason, message }) => (reason === 'LeftOut' ? [message] : []));
        return found.length === 2 ? found.sort() : undefined;
      },
      { what: 'two Events' },
    );
    const directory = 'clusters/home/flux-system';
    expect(notes).toEqual([
      `Left out 3 objects of Flux's own installation in ${directory}/gotk-components.yaml: Midship does the work of Flux's controllers.`,
      `Left out Kustomization flux-system/flux-system and GitRepository flux-system/flux-system of ${directory}/gotk-sync.yaml: the flags of midship up decide what the cluster follows.`,
    ]);

    // A source that nobody has made is an error, with what there is.
    const stray = await until(
      async () => {
        const found = await client.get(kustomizations, { namespace: home, name: 'stray' });
        return found.status?.conditions?.find(({ type, reason }) => type === 'Ready' && reason === 'SourceNotFound');
      },
      { what: 'the app has no source' },
    );
    expect(stray.message).toBe(
      'Source not found: GitRepository flux-system/cluster does not exist. There is flux-system/flux-system: name it in spec.sourceRef, or add flux-system/cluster',
    );
  });
});

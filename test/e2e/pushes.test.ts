import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { type RunningCluster, startCluster } from '../support/cluster.ts';
import { cloneRepository, temporaryDirectory, type WorkTree } from '../support/git.ts';
import { hasKubectl } from '../support/kubectl.ts';
import { until } from '../support/until.ts';

let running: RunningCluster | undefined;
afterEach(async () => {
  await running?.stop();
  running = undefined;
});

const configMap = (name: string, field = 'data'): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, namespace: default}\n${field}: {a: "1"}\n`;
const app = (name: string): string => `apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: ${name}, namespace: flux-system}
spec: {interval: 10m, path: ./${name}, prune: true, sourceRef: {kind: GitRepository, name: flux-system}}
`;
const widgetDefinition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
`;
const push = (tree: WorkTree): Promise<string> => tree.git('push', '--porcelain', 'origin', 'main').catch((err: Error) => err.message);

describe('a push to the built-in remote', () => {
  it.skipIf(!hasKubectl)(
    'is tried before it is taken when it is asked for, and belongs to the user whose token it came with (needs kubectl)',
    async () => {
      running = await startCluster({ command: 'up', args: ['--runtime', 'simulated', '--path', './clusters', '--pre-receive', 'enforce'] });
      const { endpoints, kubectl } = running;
      const created = await kubectl(
        'create',
        'secret',
        'generic',
        'midship-git-users',
        '-n',
        'flux-system',
        '--from-literal=mara=a-token-of-mara-alone',
      );
      expect(created.code, created.stderr).toBe(0);
      const address = new URL(endpoints.git);
      address.username = 'mara';
      address.password = 'a-token-of-mara-alone';
      const tree = await cloneRepository(address.href, 'pusher');
      await tree.git('checkout', '--quiet', '-B', 'main');

      // Both apps come with the push that defines them, and one of them cannot be applied.
      await tree.commit('both', {
        'clusters/good.yaml': app('good'),
        'clusters/bad.yaml': app('bad'),
        'good/a.yaml': configMap('a'),
        'bad/b.yaml': configMap('b', 'dato'),
      });
      const refused = await push(tree);
      expect(refused).toMatch(/remote: ✗ bad\/b\.yaml:4:1 ConfigMap default\/b: unknown field "dato"/);
      expect(refused).toContain('nothing of it was taken');
      expect((await kubectl('get', 'configmap', 'a')).code).toBe(1);

      const sha = await tree.commit('mended', { 'bad/b.yaml': configMap('b') });
      expect(await push(tree)).toContain('Done');
      await until(async () => (await kubectl('get', 'configmap', 'a', 'b')).code === 0, { what: () => running?.output() ?? '' });
      const metadata = await until(
        async () => {
          const repository = await kubectl('get', 'gitrepository', 'flux-system', '-n', 'flux-system', '-o', 'json');
          const { artifact } = JSON.parse(repository.stdout).status;
          return artifact?.revision === `main@sha1:${sha}` && artifact.metadata;
        },
        { what: 'the status names the commit' },
      );
      expect(metadata).toEqual({ 'midship.dev/pushed-by': 'mara' });
      await until(
        async () =>
          (await kubectl('get', 'events', '-n', 'flux-system')).stdout.includes("stored artifact for commit 'mended', pushed by mara"),
        { what: 'an Event tells who pushed' },
      );

      // Objects of one app that another needs: a namespace, and the definition of a kind.
      await tree.commit('across', {
        'good/n.yaml': 'apiVersion: v1\nkind: Namespace\nmetadata: {name: fresh}\n',
        'good/c.yaml': widgetDefinition,
        'bad/b.yaml': `${configMap('b')}---\n${configMap('c').replace('default', 'fresh')}---\napiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w, namespace: fresh}\n`,
      });
      expect(await push(tree)).toContain('Done');
      const across = await tree.git('rev-parse', 'HEAD');
      await until(async () => (await kubectl('get', 'configmap', 'c', '-n', 'fresh')).code === 0, { what: () => running?.output() ?? '' });

      // Two apps, one object; a circle.
      await tree.commit('twice', { 'bad/b.yaml': `${configMap('b')}---\n${configMap('a')}` });
      expect(await push(tree)).toMatch(
        /✗ bad\/b\.yaml:6 defines ConfigMap default\/a in app flux-system\/bad, which app flux-system\/good defines in good\/a\.yaml:1/,
      );
      await tree.git('reset', '--quiet', '--hard', across);
      await tree.commit('round', { 'clusters/bad.yaml': app('bad').replace('spec: {', 'spec: {dependsOn: [{name: bad}], ') });
      expect(await push(tree)).toMatch(/✗ clusters\/bad\.yaml:1 spec\.dependsOn has a cycle: flux-system\/bad → flux-system\/bad/);
      await tree.git('reset', '--quiet', '--hard', across);

      // An app that somebody made and that cannot be applied is no reason to refuse what others push.
      const stray = await temporaryDirectory('stray');
      await writeFile(join(stray, 'app.yaml'), app('stray'));
      expect((await kubectl('apply', '-f', join(stray, 'app.yaml'))).code).toBe(0);
      await until(async () => (await kubectl('get', 'ks', 'stray', '-n', 'flux-system')).stdout.includes('not a directory'), {
        what: 'the app fails',
      });
      await tree.commit('about another', { 'good/a.yaml': configMap('a').replace('"1"', '"2"') });
      expect(await push(tree)).toContain('Done');

      // An app that is there: its file no longer parses.
      await tree.commit('typo', { 'good/a.yaml': 'a: [b\n' });
      expect(await push(tree)).toMatch(/remote: ✗ good\/a\.yaml:\d+:\d+ /);
      // A removed token is refused at once.
      await kubectl('delete', 'secret', 'midship-git-users', '-n', 'flux-system');
      expect(await push(tree)).toMatch(/[Aa]uthentication|terminal prompts disabled/);
    },
  );

  it('reports its errors, and accepts it when it should only warn', async () => {
    running = await startCluster({ command: 'up', args: ['--runtime', 'simulated', '--path', './apps', '--pre-receive', 'warn'] });
    const tree = await cloneRepository(running.endpoints.git, 'pusher');
    await tree.git('checkout', '--quiet', '-B', 'main');
    await tree.commit('bad', { 'apps/b.yaml': configMap('b', 'dato') });
    expect(await push(tree)).toContain('Done');
    await until(async () => (await running?.midship('status'))?.stdout.includes('unknown field "dato"'), {
      what: () => running?.output() ?? '',
    });
  });
});

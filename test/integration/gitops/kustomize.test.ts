// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables of manifests
import { afterEach, describe, expect, it } from 'vitest';
import { deployments } from '../../../src/api/apps/v1/deployment.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { type Kustomization, kustomizations } from '../../../src/api/kustomize/v1/kustomization.ts';
import type { Client } from '../../../src/client/client.ts';
import { createBuilder } from '../../../src/gitops/render/builder.ts';
import type { GitSource } from '../../../src/gitops/sources/git-source.ts';
import { openLocalSource } from '../../../src/gitops/sources/local-source.ts';
import { isNotFound } from '../../../src/machinery/status-error.ts';
import { type EngineWorld, startEngineWorld } from '../../support/engine.ts';
import { newRepository } from '../../support/git.ts';
import { until } from '../../support/until.ts';

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function world(files: Readonly<Record<string, string>>): Promise<EngineWorld> {
  const started = await startEngineWorld(files);
  cleanups.push(() => started.stop());
  return started;
}

const app = (client: Client, name: string, spec: Partial<Kustomization['spec']> = {}): Promise<Kustomization> =>
  client.create(kustomizations, {
    apiVersion: 'kustomize.toolkit.fluxcd.io/v1',
    kind: 'Kustomization',
    metadata: { name, namespace: 'flux-system' },
    spec: { interval: '1m', prune: true, path: `./${name}`, sourceRef: { kind: 'GitRepository', name: 'cluster' }, ...spec },
  });

const readyOf = async (client: Client, name: string) =>
  (await client.get(kustomizations, { namespace: 'flux-system', name })).status?.conditions?.find(({ type }) => type === 'Ready');

async function ready(client: Client, name: string): Promise<void> {
  let said = '';
  await until(
    async () => {
      const condition = await readyOf(client, name);
      said = condition?.message ?? '';
      return condition?.status === 'True';
    },
    { timeoutMs: 10_000, what: () => `${name} ready: ${said}` },
  );
}

const base = {
  'base/kustomization.yaml': 'resources: [deployment.yaml]\nconfigMapGenerator:\n- name: settings\n  literals: [level=info]\n',
  'base/deployment.yaml': `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: nginx:1.0
        envFrom: [{configMapRef: {name: settings}}]
`,
};
const configMap = (name: string, data: string): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}, namespace: web}\ndata: ${data}\n`;

describe('apps of kustomizations', () => {
  it('applies an overlay over a base, and follows a change of either', async () => {
    const { client, repository } = await world({
      ...base,
      'production/kustomization.yaml':
        'namespace: web\nresources: [../base]\nnamePrefix: p-\nimages: [{name: nginx, newTag: "2.0"}]\npatches:\n- path: more.yaml\n',
      'production/more.yaml': 'apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 2}\n',
    });
    await app(client, 'production');
    await ready(client, 'production');
    const deployed = await client.get(deployments, { namespace: 'web', name: 'p-web' });
    const [container] = deployed.spec?.template.spec?.containers ?? [];
    expect({ replicas: deployed.spec?.replicas, image: container?.image }).toEqual({ replicas: 2, image: 'nginx:2.0' });
    const generated = container?.envFrom?.[0]?.configMapRef?.name ?? '';
    expect(generated).toMatch(/^p-settings-[a-z0-9]{10}$/);
    expect((await client.get(configMaps, { namespace: 'web', name: generated })).data).toEqual({ level: 'info' });

    await repository.commit('louder', {
      'base/kustomization.yaml': base['base/kustomization.yaml'].replace('level=info', 'level=debug'),
    });
    const next = await until(
      async () => {
        const name = (await client.get(deployments, { namespace: 'web', name: 'p-web' })).spec?.template.spec?.containers[0]?.envFrom?.[0]
          ?.configMapRef?.name;
        return name !== generated && name;
      },
      { timeoutMs: 10_000, what: 'the reference to the new ConfigMap' },
    );
    expect((await client.get(configMaps, { namespace: 'web', name: next })).data).toEqual({ level: 'debug' });
    await until(() => client.get(configMaps, { namespace: 'web', name: generated }).then(() => false, isNotFound), {
      timeoutMs: 10_000,
      what: 'the old ConfigMap to be pruned',
    });
  });

  it('names file, line and field of what is wrong, and applies nothing of it', async () => {
    const { client } = await world({
      ...base,
      'production/kustomization.yaml': 'namespace: web\nresources:\n- ../base\npatches:\n- path: gone.yaml\n',
    });
    await app(client, 'production');
    const condition = await until(
      async () => {
        const found = await readyOf(client, 'production');
        return found?.reason === 'BuildFailed' && found;
      },
      { timeoutMs: 10_000, what: 'the error' },
    );
    expect(condition.message).toContain("production/kustomization.yaml:5:3 patches[0]: 'gone.yaml' doesn't exist");
    expect((await client.list(deployments, { namespace: 'web' })).items).toEqual([]);
  });

  it('adds what the spec says: patches, images, prefix, components, common metadata', async () => {
    const { client } = await world({
      'plain/deployment.yaml': base['base/deployment.yaml'],
      'plain/settings.yaml': configMap('settings', '{a: "1"}'),
      'extra/kustomization.yaml':
        'apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nconfigMapGenerator:\n- name: extra\n  literals: [a=1]\n  options: {disableNameSuffixHash: true}\n',
    });
    await app(client, 'plain', {
      targetNamespace: 'web',
      namePrefix: 'x-',
      components: ['../extra'],
      images: [{ name: 'nginx', newTag: '3.0' }],
      patches: [
        { patch: '- {op: replace, path: /spec/replicas, value: 0}', target: { kind: 'Deployment' } },
        { patch: 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: web}\ndata: {b: "2"}' },
      ],
      commonMetadata: { labels: { team: 'shop' }, annotations: { note: 'yes' } },
    });
    await ready(client, 'plain');
    const deployed = await client.get(deployments, { namespace: 'web', name: 'x-web' });
    expect(deployed.spec?.replicas).toBe(0);
    expect(deployed.metadata.labels?.team).toBe('shop');
    const [container] = deployed.spec?.template.spec?.containers ?? [];
    expect([container?.image, container?.envFrom?.[0]?.configMapRef?.name]).toEqual(['nginx:3.0', 'x-settings']);
    const settings = await client.get(configMaps, { namespace: 'web', name: 'x-settings' });
    expect(settings.data).toEqual({ a: '1', b: '2' });
    expect(settings.metadata.annotations?.note).toBe('yes');
    expect((await client.get(configMaps, { namespace: 'web', name: 'x-extra' })).data).toEqual({ a: '1' });
  });

  it('replaces variables, and applies a changed value without a commit', async () => {
    const { client } = await world({
      'vars/deployment.yaml': base['base/deployment.yaml'].replace('replicas: 1', 'replicas: ${replicas}'),
      'vars/script.yaml': configMap('script', '{run: "echo ${who:=nobody} in ${where^^}, $${kept} and $HOME"}'),
      'vars/verbatim.yaml': `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: verbatim\n  namespace: web\n  annotations: {kustomize.toolkit.fluxcd.io/substitute: disabled}\ndata: {run: "\${who}"}\n`,
    });
    await client.create(configMaps, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'values', namespace: 'flux-system' },
      data: { replicas: '0', where: 'berlin' },
    });
    await client.create(secrets, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'more', namespace: 'flux-system' },
      data: { where: Buffer.from('rome').toString('base64') },
    });
    await app(client, 'vars', {
      targetNamespace: 'web',
      postBuild: {
        substitute: { unused: '1' },
        substituteFrom: [
          { kind: 'ConfigMap', name: 'values' },
          { kind: 'Secret', name: 'more' },
          { kind: 'ConfigMap', name: 'absent', optional: true },
        ],
      },
    });
    await ready(client, 'vars');
    expect((await client.get(deployments, { namespace: 'web', name: 'web' })).spec?.replicas).toBe(0);
    expect((await client.get(configMaps, { namespace: 'web', name: 'script' })).data).toEqual({
      run: 'echo nobody in ROME, ${kept} and $HOME',
    });
    expect((await client.get(configMaps, { namespace: 'web', name: 'verbatim' })).data).toEqual({ run: '${who}' });

    await client.patch(
      configMaps,
      { namespace: 'flux-system', name: 'values' },
      { type: 'merge', body: { data: { who: 'mara' } } },
      { fieldManager: 'kubectl' },
    );
    await until(
      async () => (await client.get(configMaps, { namespace: 'web', name: 'script' })).data?.run?.startsWith('echo mara') === true,
      { timeoutMs: 10_000, what: 'the new value' },
    );
  });

  it('waits for variables that are missing', async () => {
    const { client } = await world({ 'vars/a.yaml': configMap('a', '{who: "${who}"}') });
    await app(client, 'vars', { postBuild: { substituteFrom: [{ kind: 'ConfigMap', name: 'values' }] } });
    await until(async () => (await readyOf(client, 'vars'))?.message.includes('ConfigMap flux-system/values does not exist') === true, {
      timeoutMs: 10_000,
      what: 'the error',
    });
    await client.create(configMaps, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'values', namespace: 'flux-system' },
      data: { who: 'mara' },
    });
    await ready(client, 'vars');
    expect((await client.get(configMaps, { namespace: 'web', name: 'a' })).data).toEqual({ who: 'mara' });
  });
});

describe('a repository laid out as Flux shows it', () => {
  const flux = (name: string, spec: string): string =>
    `apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata:
  name: ${name}
  namespace: flux-system
spec:
  interval: 1h
  retryInterval: 1m
  timeout: 5m
  sourceRef:
    kind: GitRepository
    name: cluster
  prune: true
${spec}`;

  it('is reconciled as it is: clusters, infrastructure, apps with base and overlay, variables', async () => {
    const { client } = await world({
      'clusters/production/infrastructure.yaml': `${flux('infra-controllers', '  path: ./infrastructure/controllers\n')}---\n${flux(
        'infra-configs',
        '  dependsOn:\n  - name: infra-controllers\n  path: ./infrastructure/configs\n  patches:\n  - patch: |\n      - op: replace\n        path: /data/server\n        value: https://acme.example.com\n    target:\n      kind: ConfigMap\n      name: letsencrypt\n',
      )}`,
      'clusters/production/apps.yaml': flux(
        'apps',
        '  dependsOn:\n  - name: infra-configs\n  path: ./apps/production\n  postBuild:\n    substituteFrom:\n    - kind: ConfigMap\n      name: cluster-vars\n',
      ),
      'clusters/production/cluster-vars.yaml':
        'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: cluster-vars\n  namespace: flux-system\ndata:\n  cluster: production\n  domain: example.com\n',
      'infrastructure/controllers/kustomization.yaml':
        'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- namespace.yaml\n',
      'infrastructure/controllers/namespace.yaml': 'apiVersion: v1\nkind: Namespace\nmetadata:\n  name: cert-manager\n',
      'infrastructure/configs/kustomization.yaml':
        'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- issuer.yaml\n',
      'infrastructure/configs/issuer.yaml':
        'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: letsencrypt\n  namespace: cert-manager\ndata:\n  server: https://staging.example.com\n',
      'apps/base/podinfo/kustomization.yaml':
        'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: podinfo\nresources:\n- namespace.yaml\n- settings.yaml\n',
      'apps/base/podinfo/namespace.yaml': 'apiVersion: v1\nkind: Namespace\nmetadata:\n  name: podinfo\n',
      'apps/base/podinfo/settings.yaml':
        'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: podinfo\ndata:\n  host: podinfo.${domain:=local}\n  cluster: ${cluster}\n  replicas: "1"\n',
      'apps/production/kustomization.yaml':
        'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- ../base/podinfo\npatches:\n- path: podinfo-values.yaml\n  target:\n    kind: ConfigMap\n    name: podinfo\n',
      'apps/production/podinfo-values.yaml': 'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: podinfo\ndata:\n  replicas: "3"\n',
    });
    await app(client, 'flux-system', { path: './clusters/production' });
    await ready(client, 'flux-system');
    await until(
      () =>
        readyOf(client, 'apps').then(
          (condition) => condition?.status === 'True',
          () => false,
        ),
      {
        timeoutMs: 20_000,
        what: 'apps ready',
      },
    );
    expect((await client.get(configMaps, { namespace: 'cert-manager', name: 'letsencrypt' })).data).toEqual({
      server: 'https://acme.example.com',
    });
    expect((await client.get(configMaps, { namespace: 'podinfo', name: 'podinfo' })).data).toEqual({
      host: 'podinfo.example.com',
      cluster: 'production',
      replicas: '3',
    });
  });
});

describe('the builder and kustomizations', () => {
  const signal = AbortSignal.timeout(60_000);

  async function counted(directory: string): Promise<{ readonly source: GitSource; readonly blobs: () => number }> {
    const source = await openLocalSource({ directory, url: 'test' });
    let blobs = 0;
    cleanups.push(() => source.close());
    return {
      blobs: () => blobs,
      source: {
        ...source,
        readBlob(oid, max) {
          blobs += 1;
          return source.readBlob(oid, max);
        },
      },
    };
  }

  it('builds again only what a commit changed, and keeps the objects that came out the same', async () => {
    const repository = await newRepository('kustomize', {
      ...base,
      'base/settings.yaml': configMap('other', '{a: "1"}'),
      'base/kustomization.yaml': 'resources: [deployment.yaml, settings.yaml]\n',
      'one/kustomization.yaml': 'namePrefix: one-\nresources: [../base]\n',
      'elsewhere/a.yaml': configMap('a', '{}'),
    });
    const { source, blobs } = await counted(repository.directory);
    const builder = createBuilder();
    const build = async () => builder.build({ source, commit: await source.resolve({ branch: 'main' }, { signal }), path: 'one', signal });
    const first = await build();
    expect(first.errors).toEqual([]);
    expect(first.manifests.map(({ file, line, object }) => `${file}:${line} ${object.metadata.name}`)).toEqual([
      'base/settings.yaml:1 one-other',
      'base/deployment.yaml:1 one-web',
    ]);

    await repository.commit('elsewhere', { 'elsewhere/a.yaml': configMap('a', '{a: "1"}') });
    const before = blobs();
    expect(await build()).toBe(first);
    expect(blobs()).toBe(before);

    await repository.commit('base', { 'base/settings.yaml': configMap('other', '{a: "2"}') });
    const third = await build();
    expect(third.digest).not.toBe(first.digest);
    expect(third.manifests[1]?.object).toBe(first.manifests[1]?.object);
    expect(third.manifests[0]?.object).not.toBe(first.manifests[0]?.object);

    // A file that was looked for without success is as much a part of the build as one that was found.
    await repository.commit('ambiguous', { 'base/kustomization.yml': 'resources: []\n' });
    expect((await build()).errors.map(({ message }) => message)).toEqual(['Found multiple kustomization files under: base']);
    await repository.git('revert', '--no-edit', 'HEAD');
    expect((await build()).digest).toBe(third.digest);
  });

  it('takes a directory with a kustomization file among plain manifests for one of them', async () => {
    const repository = await newRepository('mixed', {
      'apps/a.yaml': configMap('a', '{}'),
      'apps/web/kustomization.yaml': 'namespace: web\nresources: [deployment.yaml]\n',
      'apps/web/deployment.yaml': base['base/deployment.yaml'],
      'apps/web/not-listed.yaml': configMap('hidden', '{}'),
    });
    const { source } = await counted(repository.directory);
    const commit = await source.resolve({ branch: 'main' }, { signal });
    const { manifests, errors } = await createBuilder().build({ source, commit, path: 'apps', signal });
    expect(errors).toEqual([]);
    expect(manifests.map(({ object }) => `${object.metadata.namespace}/${object.metadata.name}`)).toEqual(['web/a', 'web/web']);
  });

  it('reads files of the whole repository, as Flux does', async () => {
    const repository = await newRepository('sideways', {
      'a.yaml': configMap('shared', '{a: "1"}'),
      'apps/web/kustomization.yaml': 'resources: [../../a.yaml]\nconfigMapGenerator: [{name: x, files: [../../a.yaml]}]\n',
    });
    const { source } = await counted(repository.directory);
    const commit = await source.resolve({ branch: 'main' }, { signal });
    const { manifests, errors } = await createBuilder().build({ source, commit, path: 'apps/web', signal });
    expect(errors).toEqual([]);
    expect(manifests.map(({ object }) => object.metadata.name)).toEqual(['shared', expect.stringMatching(/^x-/)]);
  });

  it('stays within the repository', async () => {
    const repository = await newRepository('escape', {
      'a/kustomization.yaml': 'resources: [../../../etc/passwd]\n',
      'b/kustomization.yaml': 'configMapGenerator:\n- name: x\n  files: [../../escape/a/kustomization.yaml]\n',
      'c/kustomization.yaml': 'resources: [../d]\n',
      'd/kustomization.yaml': 'resources: [../c]\n',
      'e/kustomization.yaml': 'resources: ["https://github.com/org/repo?ref=main"]\n',
    });
    const { source } = await counted(repository.directory);
    const commit = await source.resolve({ branch: 'main' }, { signal });
    const errorOf = async (path: string) =>
      (await createBuilder().build({ source, commit, path, signal })).errors.map(({ file, message }) => `${file}: ${message}`);
    expect(await errorOf('a')).toEqual(["a/kustomization.yaml: resources[0]: '../../../etc/passwd' leads out of the repository"]);
    expect(await errorOf('b')).toEqual([
      "b/kustomization.yaml: configMapGenerator[0]: '../../escape/a/kustomization.yaml' leads out of the repository",
    ]);
    expect(await errorOf('c')).toEqual([
      "d/kustomization.yaml: resources[0]: cycle detected: candidate root 'c' contains visited root 'c'",
    ]);
    expect(await errorOf('e')).toEqual([
      'e/kustomization.yaml: resources[0]: not supported: remote resource https://github.com/org/repo?ref=main',
    ]);
  });
});

describe('an app with the fields that Flux has since 2.9', () => {
  it('notes how objects were built, substitutes without a variable, and leaves fields alone that `ignore` names', async () => {
    const { client } = await world({
      'noted/kustomization.yaml': 'resources: [a.yaml]\ncommonAnnotations: {a: b}\n',
      'noted/a.yaml': configMap('noted', '{a: "1"}'),
      'always/a.yaml': configMap('always', '{a: "${NAME:=there}", b: "$${kept}"}'),
      'never/a.yaml': configMap('never', '{a: "${NAME:=there}"}'),
      'ignoring/a.yaml': configMap('ignoring', '{a: "1", b: "1"}'),
    });
    await app(client, 'noted', { buildMetadata: ['originAnnotations', 'transformerAnnotations'] });
    await app(client, 'always', { postBuild: { substituteStrategy: 'Always' } });
    await app(client, 'never', { postBuild: { substituteStrategy: 'WithVariables' } });
    await app(client, 'ignoring', { ignore: [{ paths: ['/data/a'], target: { kind: 'ConfigMap' } }] });
    for (const name of ['noted', 'always', 'never', 'ignoring']) await ready(client, name);
    const get = (name: string) => client.get(configMaps, { namespace: 'web', name });
    expect((await get('noted')).metadata.annotations).toEqual({
      a: 'b',
      'config.kubernetes.io/origin': 'path: a.yaml\n',
      'alpha.config.kubernetes.io/transformations':
        '- configuredIn: kustomization.yaml\n  configuredBy:\n    apiVersion: builtin\n    kind: AnnotationsTransformer\n',
    });
    expect((await get('always')).data).toEqual({ a: 'there', b: '${kept}' });
    expect((await get('never')).data).toEqual({ a: '${NAME:=there}' });
    const change = { type: 'merge', body: { data: { a: '2', b: '2' } } } as const;
    await client.patch(configMaps, { namespace: 'web', name: 'ignoring' }, change, { fieldManager: 'autoscaler' });
    await until(async () => (await get('ignoring')).data?.b === '1', { what: 'the other field is put back' });
    expect((await get('ignoring')).data).toEqual({ a: '2', b: '1' });
    await expect(app(client, 'odd', { buildMetadata: ['managedByLabel' as never] })).rejects.toThrow(/spec\.buildMetadata\[0\]/);
    await expect(app(client, 'odd', { postBuild: { substituteStrategy: 'Never' as never } })).rejects.toThrow(/substituteStrategy/);
  });
});

describe('a mistake in an app', () => {
  const said = async (client: Client, name: string): Promise<string> => {
    const ready = await until(
      async () => {
        const condition = await readyOf(client, name);
        return condition?.status === 'False' && !/^(ArtifactFailed|DependencyNotReady)$/.test(condition.reason ?? '')
          ? condition
          : undefined;
      },
      { what: () => `${name} fails` },
    );
    return ready.message ?? '';
  };

  it('is named once, at its line, with what was meant', async () => {
    const { client } = await world({
      ...base,
      'overlay/kustomization.yaml': '# a comment\nresources: [../middle]\n',
      'middle/kustomization.yaml': 'resources: [../base]\nnamespace: wep\n',
      'conflict/a.yaml': `${configMap('a', '')}<<<<<<< HEAD\n  a: "1"\n=======\n  a: "2"\n>>>>>>> other\n`,
      'merged/kustomization.yaml': 'resources:\n<<<<<<< HEAD\n- a.yaml\n=======\n- b.yaml\n>>>>>>> other\n',
      'types/a.yaml': (base['base/deployment.yaml'] ?? '')
        .replace('replicas: 1', 'replicas: "two"')
        .replace('name: web}', 'name: web, namespace: web}'),
      'large/a.yaml': configMap('large', `\n  a: ${'x'.repeat(2 * 1024 * 1024)}`),
    });
    for (const name of ['overlay', 'conflict', 'merged', 'types', 'large']) await app(client, name);
    expect(await said(client, 'overlay')).toBe(
      'middle/kustomization.yaml:2:1 namespace "wep" does not exist, and 2 objects are for it. Did you mean web?',
    );
    expect(await said(client, 'conflict')).toMatch(/^conflict\/a\.yaml:5 has a merge conflict that was committed \(<<<<<<<\)\. Keep one/);
    expect(await said(client, 'merged')).toMatch(/^merged\/kustomization\.yaml:2 has a merge conflict that was committed/);
    expect(await said(client, 'types')).toBe('types/a.yaml:5:3 Deployment web/web: spec.replicas must be a number without quotes');
    expect(await said(client, 'large')).toBe(
      'large/a.yaml:1:1 ConfigMap web/large: holds 2 MiB of data, and a ConfigMap holds 1 MiB at most: split it, or keep the data elsewhere',
    );
  });
});

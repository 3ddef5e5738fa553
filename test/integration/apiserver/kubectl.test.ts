import { spawn } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deployments } from '../../../src/api/apps/v1/deployment.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { hasKubectl, kubectlSteps } from '../../support/kubectl.ts';
import { until } from '../../support/until.ts';

const deploymentYaml = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: host/web
        ports: [{containerPort: 8080}]
`;

const podYaml = `apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: one}}
spec:
  containers: [{name: main, image: host/sleep}]
`;

describe.skipIf(!hasKubectl)('the API server under an unmodified kubectl (needs kubectl)', { shuffle: false }, () => {
  let cluster: TestApiServer;

  const { ok, file } = kubectlSteps(() => cluster);

  beforeAll(async () => {
    cluster = await startTestApiServer();
    await cluster.client.create(
      { group: '', version: 'v1', resource: 'serviceaccounts', kind: 'ServiceAccount', namespaced: true },
      {
        apiVersion: 'v1',
        kind: 'ServiceAccount',
        metadata: { name: 'default', namespace: 'default' },
      },
    );
  });
  afterAll(() => cluster.stop());

  it('tells its version', async () => {
    expect(await ok('version', '-o', 'json')).toContain('"gitVersion": "v1.36.0+midship.0.1.0"');
  });

  it('lists resources and versions', async () => {
    const resources = await ok('api-resources');
    expect(resources).toMatch(/deployments\s+deploy\s+apps\/v1\s+true\s+Deployment/);
    expect(resources).toMatch(/kustomizations\s+ks\s+kustomize.toolkit.fluxcd.io\/v1\s+true\s+Kustomization/);
    expect(await ok('api-resources', '--verbs=list', '--namespaced', '-o', 'name')).toContain('endpointslices.discovery.k8s.io\n');
    expect((await ok('api-versions')).split('\n')).toEqual(expect.arrayContaining(['apps/v1', 'v1', 'batch/v1']));
  });

  it('explains fields', async () => {
    expect(await ok('explain', 'deployment.spec.replicas')).toContain('FIELD: replicas <integer>');
  });

  it('shows what every cluster has', async () => {
    expect(await ok('get', 'ns')).toMatch(/default\s+Active\s+\d+s/);
    expect(await ok('get', 'svc', '-A')).toMatch(/default\s+kubernetes\s+ClusterIP\s+127\.64\.0\.1\s+<none>\s+443\/TCP/);
    expect(await ok('get', 'endpointslices')).toContain('127.64.0.1');
  });

  it('applies, and applies again without a change', async () => {
    const path = await file('web.yaml', deploymentYaml);
    expect(await ok('apply', '-f', path)).toBe('deployment.apps/web created\n');
    expect(await ok('apply', '-f', path)).toBe('deployment.apps/web unchanged\n');
    await file('web.yaml', deploymentYaml.replace('replicas: 2', 'replicas: 3').replace('host/web', 'host/web2'));
    expect(await ok('apply', '-f', path)).toBe('deployment.apps/web configured\n');
    expect(await ok('get', 'deploy', 'web')).toMatch(/NAME\s+READY\s+UP-TO-DATE\s+AVAILABLE\s+AGE\nweb\s+0\/3\s+0\s+0/);
    expect(await ok('get', 'deploy', 'web', '-o', 'wide')).toMatch(/CONTAINERS\s+IMAGES\s+SELECTOR\nweb\s.*host\/web2\s+app=web/);
    expect(JSON.parse(await ok('get', 'deploy', 'web', '-o', 'json')).spec.replicas).toBe(3);
    expect(await ok('get', 'deploy', 'web', '-o', 'yaml')).toContain('image: host/web2');
    expect(await ok('get', 'deploy', '-o', 'jsonpath={.items[*].metadata.name}')).toBe('web');
    expect(await ok('get', 'deploy', '-o', 'name')).toBe('deployment.apps/web\n');
    expect(await ok('get', 'deploy', '--sort-by=.metadata.name')).toContain('web');
    expect(await ok('get', 'deploy', '-L', 'app')).toMatch(/APP\nweb.*web$/m);
  });

  it('refuses unknown fields before it writes', async () => {
    const path = await file('bad.yaml', podYaml.replace('spec:', 'spec:\n  nope: 1'));
    const { code, stderr } = await cluster.kubectl('apply', '-f', path);
    expect(code).toBe(1);
    expect(stderr).toContain('strict decoding error: unknown field "spec.nope"');
  });

  it('creates, replaces, labels, annotates and patches', async () => {
    const path = await file('pod.yaml', podYaml);
    expect(await ok('create', '-f', path)).toBe('pod/one created\n');
    expect((await cluster.kubectl('create', '-f', path)).stderr).toContain('pods "one" already exists');
    expect(await ok('label', 'pod', 'one', 'tier=a')).toBe('pod/one labeled\n');
    expect(await ok('label', 'pod', 'one', 'tier=b', '--overwrite')).toBe('pod/one labeled\n');
    expect(await ok('get', 'pods', '-l', 'tier=b,app in (one,two)', '-o', 'name')).toBe('pod/one\n');
    expect(await ok('annotate', 'pod', 'one', 'note=x')).toBe('pod/one annotated\n');
    expect(await ok('patch', 'pod', 'one', '-p', '{"metadata":{"labels":{"s":"1"}}}')).toBe('pod/one patched\n');
    expect(await ok('patch', 'pod', 'one', '--type=merge', '-p', '{"metadata":{"labels":{"m":"1"}}}')).toBe('pod/one patched\n');
    expect(await ok('patch', 'pod', 'one', '--type=json', '-p', '[{"op":"remove","path":"/metadata/labels/s"}]')).toBe('pod/one patched\n');
    expect(JSON.parse(await ok('get', 'pod', 'one', '-o', 'json')).metadata.labels).toEqual({ app: 'one', tier: 'b', m: '1' });
    expect(await ok('get', 'pods', '--field-selector', 'metadata.name=one,spec.nodeName=', '-o', 'name')).toBe('pod/one\n');
    expect(await ok('describe', 'pod', 'one')).toContain('host/sleep');
    const cm = await file('cm.yaml', 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: "1"}\n');
    await ok('create', '-f', cm);
    await file('cm.yaml', 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: "2"}\n');
    expect(await ok('replace', '-f', cm)).toBe('configmap/c replaced\n');
    expect(await ok('diff', '-f', cm)).toBe('');
    expect(await ok('get', 'cm', 'c', '-o', 'jsonpath={.data.a}')).toBe('2');
  });

  it('scales and sets images through subresources and patches', async () => {
    expect(await ok('scale', 'deploy/web', '--replicas=5')).toBe('deployment.apps/web scaled\n');
    expect(await ok('get', 'deploy', 'web', '-o', 'jsonpath={.spec.replicas}')).toBe('5');
    expect(await ok('get', 'deploy', 'web', '--subresource=scale')).toMatch(/NAME\s+DESIRED\s+AVAILABLE\s+AGE\nweb\s+5\s+0/);
    expect(await ok('set', 'image', 'deploy/web', 'web=host/web3')).toBe('deployment.apps/web image updated\n');
    expect(await ok('rollout', 'restart', 'deploy/web')).toBe('deployment.apps/web restarted\n');
  });

  it('applies on the server side, with conflicts', async () => {
    const path = await file('ssa.yaml', 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ssa}\ndata: {a: "1"}\n');
    expect(await ok('apply', '--server-side', '-f', path)).toBe('configmap/ssa serverside-applied\n');
    await file('ssa.yaml', 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ssa}\ndata: {a: "2"}\n');
    const conflict = await cluster.kubectl('apply', '--server-side', '--field-manager=other', '-f', path);
    expect(conflict.stderr).toContain('conflict with "kubectl"');
    expect(await ok('apply', '--server-side', '--field-manager=other', '--force-conflicts', '-f', path)).toBe(
      'configmap/ssa serverside-applied\n',
    );
    expect(await ok('get', 'cm', 'ssa', '--show-managed-fields', '-o', 'yaml')).toContain('manager: other');
  });

  it('waits for a rollout that someone else brings about', async () => {
    const status = cluster.kubectl('rollout', 'status', 'deploy/web', '--timeout=20s');
    const web = await cluster.client.get(deployments, { namespace: 'default', name: 'web' });
    await cluster.client.update(
      deployments,
      {
        ...web,
        status: {
          observedGeneration: web.metadata.generation ?? 1,
          replicas: 5,
          updatedReplicas: 5,
          readyReplicas: 5,
          availableReplicas: 5,
        },
      },
      { subresource: 'status' },
    );
    expect(await status).toMatchObject({ code: 0, stdout: expect.stringContaining('successfully rolled out') });
  });

  it('watches as a table', async () => {
    const child = spawn('kubectl', ['get', 'pods', '-w', '--no-headers'], { env: { ...process.env, KUBECONFIG: cluster.kubeconfig } });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    try {
      await until(() => text.includes('one '), { what: () => `the pod is listed: ${text}` });
      await cluster.client.patch(
        pods,
        { namespace: 'default', name: 'one' },
        { type: 'merge', body: { status: { phase: 'Running' } } },
        { subresource: 'status' },
      );
      await until(() => /one\s+0\/1\s+Running/.test(text), { what: () => `the change is seen: ${text}` });
    } finally {
      child.kill();
    }
  });

  it('deletes, and waits until the object is gone', async () => {
    expect(await ok('delete', 'pod', 'one')).toBe('pod "one" deleted\n');
    expect(await ok('delete', 'cm', 'c', 'ssa')).toContain('configmap "ssa" deleted');
    expect(await ok('delete', 'deploy', '-l', 'app=web')).toBe('deployment.apps "web" deleted\n');
    expect((await cluster.kubectl('get', 'pod', 'one')).stderr).toContain('pods "one" not found');
    expect((await cluster.kubectl('delete', 'cm', 'nope')).stderr).toContain('configmaps "nope" not found');
    expect((await cluster.kubectl('get', 'nope')).stderr).toContain(`the server doesn't have a resource type "nope"`);
  });

  it('says that a pod without a node cannot be entered', async () => {
    await cluster.client.create(pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'two', namespace: 'default' },
      spec: { containers: [{ name: 'main', image: 'host/sleep' }] },
    });
    const { code, stderr } = await cluster.kubectl('exec', 'two', '--', 'true');
    expect(code).toBe(1);
    expect(stderr).toContain('pod two does not have a host assigned');
  });
});

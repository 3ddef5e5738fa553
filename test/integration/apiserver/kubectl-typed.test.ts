import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { builtInKinds } from '../../../src/api/kinds.ts';
import { parseTarget } from '../../../src/apiserver/http/request-target.ts';
import { startTestApiServer, type TestApiServer } from '../../support/api-server.ts';
import { encoded, makeCertificateRequest } from '../../support/certificate-requests.ts';
import { hasKubectl, kubectlSteps } from '../../support/kubectl.ts';
import { bytesField, encodeObject, envelopeOf } from '../../support/protobuf.ts';
import { recordedLines } from '../../support/recorded-lines.ts';

const serviceAccounts = { group: '', version: 'v1', resource: 'serviceaccounts', kind: 'ServiceAccount', namespaced: true };
const isServed = (resource: string, group = ''): boolean => builtInKinds.some((kind) => kind.resource === resource && kind.group === group);

/** Pods need it; its controller is not part of these tests. */
const addDefaultAccount = (cluster: TestApiServer, namespace: string) =>
  cluster.client.create(serviceAccounts, { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace } });

describe.skipIf(!hasKubectl)('typed commands of an unmodified kubectl (needs kubectl)', { shuffle: false }, () => {
  let cluster: TestApiServer;
  const steps = kubectlSteps(() => cluster);
  const ok = async (...args: string[]) => (await steps.ok(...args)).trim();
  const get = async (...args: string[]) => JSON.parse(await ok('get', '-o', 'json', ...args));

  beforeAll(async () => {
    cluster = await startTestApiServer();
    await addDefaultAccount(cluster, 'default');
  });
  afterAll(() => cluster.stop());

  it.each<[expected: string, ...args: string[]]>([
    ['namespace/team', 'namespace', 'team'],
    ['deployment.apps/web', 'deployment', 'web', '--image=host/web', '--replicas=2', '--port=8080', '--', 'web', '-p', '8080'],
    ['configmap/settings', 'configmap', 'settings', '--from-literal=a=b', '--from-literal=c='],
    ['secret/token', 'secret', 'generic', 'token', '--from-literal=a=b'],
    ['secret/registry', 'secret', 'docker-registry', 'registry', '--docker-username=u', '--docker-password=p'],
    ['service/web', 'service', 'clusterip', 'web', '--tcp=80:8080'],
    ['service/outside', 'service', 'externalname', 'outside', '--external-name=example.org'],
    ['job.batch/once', 'job', 'once', '--image=host/job', '--', 'true'],
    ['serviceaccount/robot', 'serviceaccount', 'robot'],
    ['cronjob.batch/nightly', 'cronjob', 'nightly', '--image=host/job', '--schedule=0 0 * * *'],
    ['ingress.networking.k8s.io/web', 'ingress', 'web', '--rule=a.example/=web:80'],
    ['role.rbac.authorization.k8s.io/reader', 'role', 'reader', '--verb=get', '--resource=pods'],
    ['rolebinding.rbac.authorization.k8s.io/reader', 'rolebinding', 'reader', '--role=reader', '--user=alice'],
    ['clusterrole.rbac.authorization.k8s.io/prober', 'clusterrole', 'prober', '--verb=get', '--non-resource-url=/livez'],
    ['clusterrolebinding.rbac.authorization.k8s.io/prober', 'clusterrolebinding', 'prober', '--clusterrole=prober', '--group=devs'],
    ['resourcequota/small', 'quota', 'small', '--hard=pods=5,services=10'],
    ['poddisruptionbudget.policy/web', 'poddisruptionbudget', 'web', '--selector=app=web', '--min-available=50%'],
    ['priorityclass.scheduling.k8s.io/high', 'priorityclass', 'high', '--value=1000', '--description=first'],
  ])('create makes %s', async (expected, ...args) => {
    const [type = '', name = ''] = expected.split('/');
    const [resource = '', ...group] = type.split('.');
    const kind = builtInKinds.find(({ singular, group: of }) => singular === resource && of === group.join('.'));
    expect(await ok('create', ...args)).toBe(`${expected} created`);
    expect(await get(type, name)).toMatchObject({ kind: kind?.kind, metadata: { name } });
    expect(await ok('create', '--dry-run=server', '-o', 'name', ...args.map((arg) => (arg === name ? `${name}-2` : arg)))).toBe(
      `${expected}-2`,
    );
    const again = await cluster.kubectl('create', ...args);
    expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('already exists') });
  });

  it('sends the requested objects', async () => {
    const { spec } = await get('deployment', 'web');
    expect(spec).toMatchObject({
      replicas: 2,
      strategy: { type: 'RollingUpdate' },
      template: {
        spec: { containers: [{ name: 'web', ports: [{ containerPort: 8080 }], command: ['web', '-p', '8080'], resources: {} }] },
      },
    });
    expect(await get('configmap', 'settings')).toMatchObject({ data: { a: 'b', c: '' } });
    expect(await get('secret', 'token')).toMatchObject({ type: 'Opaque', data: { a: 'Yg==' } });
    expect((await get('service', 'web')).spec.ports).toEqual([{ name: '80-8080', port: 80, protocol: 'TCP', targetPort: 8080 }]);
    expect((await get('job', 'once')).spec.template.spec).toMatchObject({ restartPolicy: 'Never', containers: [{ command: ['true'] }] });
  });

  it('runs, exposes and deletes', async () => {
    expect(await ok('run', 'one', '--image=host/one', '--port=80')).toBe('pod/one created');
    expect(await ok('expose', 'deployment', 'web', '--name=exposed', '--port=80', '--target-port=http')).toBe('service/exposed exposed');
    expect((await get('service', 'exposed')).spec).toMatchObject({ selector: { app: 'web' }, ports: [{ port: 80, targetPort: 'http' }] });
    expect(await ok('delete', 'pod/one', 'configmap/settings', '--wait=false')).toBe(
      'pod "one" deleted from default namespace\nconfigmap "settings" deleted from default namespace'.replaceAll(
        ' from default namespace',
        '',
      ),
    );
  });

  it('asks who it is and what it may', async () => {
    expect(await ok('auth', 'can-i', 'create', 'pods')).toBe('yes');
    expect(await ok('auth', 'can-i', '--list')).toContain('*.*');
    expect(JSON.parse(await ok('auth', 'whoami', '-o', 'json'))).toMatchObject({
      kind: 'SelfSubjectReview',
      status: { userInfo: { username: 'admin', groups: ['system:masters', 'system:authenticated'] } },
    });
  });

  it('makes tokens', async () => {
    expect(await ok('create', 'token', 'default', '--duration=10m')).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/);
  });

  it('autoscales', async () => {
    expect(await ok('autoscale', 'deployment', 'web', '--max=4', '--cpu-percent=50')).toContain('autoscaled');
    expect((await get('hpa', 'web')).spec).toMatchObject({ maxReplicas: 4, scaleTargetRef: { kind: 'Deployment', name: 'web' } });
  });
});

describe('protobuf bodies', () => {
  let cluster: TestApiServer;
  const protobuf = 'application/vnd.kubernetes.protobuf';
  const send = (method: string, path: string, body: Buffer, contentType = protobuf) =>
    cluster.fetch(path, { method, headers: { 'content-type': contentType }, body });
  const configMaps = '/api/v1/namespaces/default/configmaps';
  const settings = (data: object) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'settings' }, data });

  beforeAll(async () => {
    cluster = await startTestApiServer();
    await addDefaultAccount(cluster, 'default');
  });
  afterAll(() => cluster.stop());

  it('create, update and delete', async () => {
    expect(await send('POST', configMaps, encodeObject(settings({ a: '1' })))).toMatchObject({ status: 201, json: { data: { a: '1' } } });
    const updated = await send('PUT', `${configMaps}/settings`, encodeObject(settings({ a: '2' })), `${protobuf};charset=utf-8`);
    expect(updated).toMatchObject({ status: 200, json: { data: { a: '2' } } });
    const { uid } = updated.json.metadata;
    const deletion = (precondition: string) =>
      encodeObject({ apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid: precondition }, propagationPolicy: 'Background' });
    expect(await send('DELETE', `${configMaps}/settings`, deletion('other'))).toMatchObject({ status: 409 });
    expect(await send('DELETE', `${configMaps}/settings`, deletion(uid))).toMatchObject({ status: 200, json: { status: 'Success' } });
  });

  it('reach subresources', async () => {
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p' }, spec: { containers: [{ name: 'a', image: 'a' }] } };
    await send('POST', '/api/v1/namespaces/default/pods', encodeObject(pod));
    const binding = { apiVersion: 'v1', kind: 'Binding', metadata: { name: 'p' }, target: { kind: 'Node', name: 'n' } };
    expect(await send('POST', '/api/v1/namespaces/default/pods/p/binding', encodeObject(binding))).toMatchObject({ status: 201 });
    const status = { ...pod, status: { phase: 'Running', startTime: '2026-11-24T07:20:44Z', hostIPs: [{ ip: '127.64.16.1' }] } };
    expect(await send('PUT', '/api/v1/namespaces/default/pods/p/status', encodeObject(status))).toMatchObject({
      status: 200,
      json: { spec: { nodeName: 'n' }, status: { phase: 'Running', startTime: '2026-11-24T07:20:44Z' } },
    });
    const eviction = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name: 'p' } };
    expect(await send('POST', '/api/v1/namespaces/default/pods/p/eviction', encodeObject(eviction))).toMatchObject({ status: 201 });
  });

  it('go round without a change: approval of certificates', async () => {
    const path = '/apis/certificates.k8s.io/v1/certificatesigningrequests';
    const { request } = await makeCertificateRequest({ commonName: 'c' });
    const spec = {
      request: encoded(request),
      signerName: 'example.org/any',
      usages: ['client auth'],
      expirationSeconds: 3600,
    };
    const csr = {
      apiVersion: 'certificates.k8s.io/v1',
      kind: 'CertificateSigningRequest',
      metadata: { name: 'c', labels: { a: '' } },
      spec,
    };
    const created = await cluster.fetch(path, { method: 'POST', body: csr });
    if (created.status !== 201) throw new Error(created.text);
    const condition = {
      type: 'Approved',
      status: 'True',
      reason: 'KubectlApprove',
      message: 'ok',
      lastUpdateTime: '2026-11-24T07:20:44Z',
    };
    const approved = { ...created.json, status: { conditions: [condition] } };
    const { status, json } = await send('PUT', `${path}/c/approval`, encodeObject(approved));
    expect({ status, spec: json.spec, labels: json.metadata.labels }).toEqual({
      status: 200,
      spec: created.json.spec,
      labels: { a: '' },
    });
    expect(json.status.conditions).toMatchObject([condition]);
  });

  it('are refused in the words of the real server', async () => {
    const refused = async (body: Buffer, path = configMaps) => {
      const { status, json } = await send('POST', path, body);
      return `${status} ${json.message}`;
    };
    const envelope = (kind: string, raw: Buffer, apiVersion = 'v1') => envelopeOf({ apiVersion, kind, raw });
    const nothing = Buffer.alloc(0);
    expect(await refused(nothing)).toBe('400 the object provided is unrecognized (must be of type ConfigMap): empty data (<empty>)');
    expect(await refused(Buffer.from('{"a":1}'))).toBe(
      '400 the object provided is unrecognized (must be of type ConfigMap): provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] ({"a":1})',
    );
    expect(await refused(Buffer.from('k8s\0\n'))).toBe(
      '400 the object provided is unrecognized (must be of type ConfigMap): unexpected EOF (6b3873000a)',
    );
    expect(await refused(envelope('ConfigMap', Buffer.from([0x0a, 0x7f])))).toBe(
      '400 ConfigMap in version "v1" cannot be handled as a ConfigMap: unexpected EOF',
    );
    expect(await refused(envelope('Widget', nothing))).toContain('400 Widget in version "v1" cannot be handled as a ConfigMap: ');
    expect(await refused(envelope('ConfigMap', nothing, 'v2'))).toBe(
      '400 ConfigMap in version "v2" cannot be handled as a ConfigMap: no kind "ConfigMap" is registered for version "v2" in scheme "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"',
    );
    const custom = '/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/default/kustomizations';
    expect(await refused(envelope('Kustomization', bytesField(1, nothing), 'kustomize.toolkit.fluxcd.io/v1'), custom)).toBe(
      '400 Kustomization in version "v1" cannot be handled as a Kustomization: object *unstructured.Unstructured does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message',
    );
  });
});

describe('bodies that kubectl sent to the real server', () => {
  interface Recorded {
    readonly method: string;
    readonly path: string;
    readonly query?: string;
    readonly bodyBase64: string;
    readonly status: number;
    readonly jsonAnswer: { readonly kind: string; readonly note?: string };
  }
  const recorded = recordedLines('kubectl', 'protobuf-bodies').map((line) => JSON.parse(line) as Recorded);
  const served = recorded.filter(({ method, path, jsonAnswer }) => {
    const target = parseTarget(path);
    // An answer that is not kept says nothing, and these depend on who asks.
    if (['SelfSubjectReview', 'SelfSubjectRulesReview'].includes(jsonAnswer.kind)) return false;
    return method === 'POST' && target.type === 'resource' && jsonAnswer.note === undefined && isServed(target.resource, target.group);
  });
  let cluster: TestApiServer;

  beforeAll(async () => {
    cluster = await startTestApiServer();
    await cluster.fetch('/api/v1/namespaces', {
      method: 'POST',
      body: { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'jo' } },
    });
    await addDefaultAccount(cluster, 'jo');
  });
  afterAll(() => cluster.stop());

  it.each(served.map((each, index) => [`${each.jsonAnswer.kind} ${index}`, each] as const))(
    'store what it stored: %s',
    async (_name, each) => {
      const { status, json } = await cluster.fetch(`${each.path}?${each.query ?? ''}`, {
        method: 'POST',
        headers: { 'content-type': 'application/vnd.kubernetes.protobuf' },
        body: Buffer.from(each.bodyBase64, 'base64'),
      });
      expect({ status, json: normalized(json) }).toEqual({ status: each.status, json: normalized(each.jsonAnswer) });
      // The same name comes again, in another version.
      if (json.kind === 'HorizontalPodAutoscaler') await cluster.fetch(`${each.path}/${json.metadata.name}`, { method: 'DELETE' });
    },
  );
});

/** Without what differs from run to run: ids, times, versions, allocated addresses. */
function normalized(object: object): unknown {
  const { managedFields: _dropped, ...metadata } = (object as { metadata?: Record<string, unknown> }).metadata ?? {};
  const text = JSON.stringify({ ...object, metadata }, (key, value: unknown) =>
    ['uid', 'resourceVersion', 'creationTimestamp', 'clusterIP', 'clusterIPs'].includes(key) ? '<differs>' : value,
  );
  return JSON.parse(text.replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, '<uid>'));
}

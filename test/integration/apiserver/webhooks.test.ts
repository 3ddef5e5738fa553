import { mkdtemp, readFile, rm } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  mutatingWebhookConfigurations,
  validatingWebhookConfigurations,
  type WebhookConfiguration,
} from '../../../src/api/admissionregistration/v1/webhook-configuration.ts';
import { type Deployment, deployments } from '../../../src/api/apps/v1/deployment.ts';
import { horizontalPodAutoscalersV1 } from '../../../src/api/autoscaling/v1/horizontal-pod-autoscaler.ts';
import { type ConfigMap, configMaps } from '../../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../../src/api/core/v1/namespace.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { services } from '../../../src/api/core/v1/service.ts';
import { createAuditLog } from '../../../src/apiserver/audit.ts';
import { bootstrap, bootstrapAccess } from '../../../src/apiserver/bootstrap.ts';
import { apiServerUser } from '../../../src/apiserver/user.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createLog } from '../../../src/base/log.ts';
import { createMetrics, type Metrics } from '../../../src/base/metrics.ts';
import { openPki, type Pki } from '../../../src/base/pki.ts';
import type { Client, WriteOptions } from '../../../src/client/client.ts';
import { isNotFound, isStatusError, type StatusError } from '../../../src/machinery/status-error.ts';
import { startSeededApi, type TestApi, testServiceCidr } from '../../support/api.ts';
import { serveTestApi, type TestApiServer } from '../../support/api-server.ts';
import { jsonPatch, type ReviewRequest, startWebhookServer, type WebhookServer } from '../../support/webhook-server.ts';

let directory: string;
let pki: Pki;
let hook: WebhookServer;
let metrics: Metrics;
let api: TestApi;
let client: Client;
/** `api` on the wire, in tests that need it. */
let served: TestApiServer | undefined;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'webhooks-'));
  pki = await openPki({ directory, clock: systemClock });
});
afterAll(() => rm(directory, { recursive: true, force: true }));
beforeEach(async () => {
  hook = await startWebhookServer(pki);
  metrics = createMetrics();
  api = await startSeededApi(['shop', 'other'], { signingKey: await pki.signingKey(), metrics });
  client = api.clientFor();
});
afterEach(async () => {
  await (served ?? api).stop();
  served = undefined;
  await hook.stop();
});

const ownedData = { 'f:data': { '.': {}, 'f:k': {} } };

type Kind = 'Mutating' | 'Validating';
const onConfigMaps = [{ operations: ['*'], apiGroups: [''], apiVersions: ['v1'], resources: ['configmaps'] }];

function configure(kind: Kind, path: string, webhook: object = {}, name = 'hooks'): Promise<WebhookConfiguration> {
  const resource = kind === 'Mutating' ? mutatingWebhookConfigurations : validatingWebhookConfigurations;
  return client.create(resource, {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: `${kind}WebhookConfiguration`,
    metadata: { name },
    webhooks: [
      {
        name: 'h.wire.example',
        clientConfig: { url: `${hook.url}${path}`, caBundle: hook.caBundle },
        rules: onConfigMaps,
        sideEffects: 'None',
        admissionReviewVersions: ['v1'],
        timeoutSeconds: 5,
        ...webhook,
      },
    ] as never,
  });
}

const map = (name: string, fields: Partial<ConfigMap> = {}, namespace = 'shop') => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace },
  ...fields,
});

const make = (name: string, fields: Partial<ConfigMap> = {}, options?: WriteOptions): Promise<ConfigMap> =>
  client.create(configMaps, map(name, fields), options);

async function failureOf(write: Promise<unknown>): Promise<StatusError> {
  const err = await write.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!isStatusError(err)) throw new Error('expected a StatusError', { cause: err });
  return err;
}

const reviewed = (): readonly ReviewRequest[] => hook.seen.map(({ request }) => request);

describe('a mutating webhook', () => {
  it('is shown the object as its writer sent it, and changes it', async () => {
    await configure('Mutating', '/mutate');
    hook.answer('/mutate', { ...jsonPatch({ op: 'add', path: '/metadata/labels', value: { hooked: 'yes' } }), warnings: ['from hook'] });
    const warnings: string[] = [];
    const made = await make('a', { data: { k: 'v' } }, { fieldManager: 'me', onWarning: (text) => warnings.push(text) });
    expect(made.metadata.labels).toEqual({ hooked: 'yes' });
    expect(made.metadata.uid).toBeDefined();
    expect(warnings).toEqual(['from hook']);
    const [seen] = hook.seen;
    expect(seen?.path).toBe('/mutate?timeout=5s');
    expect(seen?.headers).toMatchObject({
      'content-type': 'application/json',
      accept: 'application/json, */*',
      'user-agent': 'kube-apiserver-admission',
    });
    const { uid, ...request } = seen?.request ?? {};
    expect(uid).toMatch(/^[0-9a-f-]{36}$/);
    expect(request).toEqual({
      kind: { group: '', version: 'v1', kind: 'ConfigMap' },
      resource: { group: '', version: 'v1', resource: 'configmaps' },
      requestKind: { group: '', version: 'v1', kind: 'ConfigMap' },
      requestResource: { group: '', version: 'v1', resource: 'configmaps' },
      name: 'a',
      namespace: 'shop',
      operation: 'CREATE',
      userInfo: { username: 'admin', groups: ['system:masters', 'system:authenticated'] },
      object: {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'a', namespace: 'shop', managedFields: [expect.objectContaining({ manager: 'me', fieldsV1: ownedData })] },
        data: { k: 'v' },
      },
      oldObject: null,
      dryRun: false,
      options: { kind: 'CreateOptions', apiVersion: 'meta.k8s.io/v1', fieldManager: 'me' },
    });
  });

  it('comes before the name that the server makes, and before owners get what it sets', async () => {
    await configure('Mutating', '/mutate');
    await configure('Validating', '/validate');
    hook.answer('/mutate', jsonPatch({ op: 'add', path: '/data/hooked', value: 'yes' }));
    hook.answer('/validate', {});
    const unnamed = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { generateName: 'some-', namespace: 'shop' } as never,
      data: { k: 'v' },
    };
    const made = await client.create(configMaps, unnamed, { fieldManager: 'me' });
    expect(made).toMatchObject({ metadata: { name: expect.stringMatching(/^some-.{5}$/) }, data: { k: 'v', hooked: 'yes' } });
    const generated = { 'f:metadata': { 'f:generateName': {} } };
    expect(made.metadata.managedFields).toEqual([expect.objectContaining({ fieldsV1: { ...ownedData, ...generated } })]);
    const [mutating, validating] = reviewed();
    for (const request of [mutating, validating]) expect(request).not.toHaveProperty('name');
    expect(mutating?.object?.metadata).not.toHaveProperty('name');
    expect(mutating?.object?.metadata.generateName).toBe('some-');
    expect(validating?.object?.metadata.name).toBe(made.metadata.name);
    const changed = await client.update(configMaps, { ...made, data: { k: 'w' } }, { fieldManager: 'you' });
    expect(changed.data).toEqual({ k: 'w', hooked: 'yes' });
    expect(changed.metadata.managedFields?.map(({ manager, fieldsV1 }) => [manager, fieldsV1])).toEqual([
      ['me', { 'f:data': {}, ...generated }],
      ['you', { 'f:data': { 'f:k': {} } }],
    ]);
  });

  it('cannot change what the server owns, nor whose object it is', async () => {
    await configure('Mutating', '/mutate');
    hook.answer(
      '/mutate',
      jsonPatch(
        { op: 'replace', path: '/metadata/name', value: 'evil' },
        { op: 'replace', path: '/metadata/namespace', value: 'other' },
        { op: 'add', path: '/metadata/uid', value: 'evil' },
        { op: 'add', path: '/metadata/creationTimestamp', value: '1970-01-01T00:00:00Z' },
        { op: 'add', path: '/metadata/deletionTimestamp', value: '1970-01-01T00:00:00Z' },
        { op: 'add', path: '/data', value: { a: '1' } },
      ),
    );
    const { metadata, data } = await make('a');
    expect(metadata).toMatchObject({ name: 'a', namespace: 'shop' });
    expect(metadata.uid).not.toBe('evil');
    expect(metadata.creationTimestamp).not.toContain('1970');
    expect(metadata.deletionTimestamp).toBeUndefined();
    expect(data).toEqual({ a: '1' });
  });

  it('changes no status with an object, and nothing but the status with a status', async () => {
    await configure('Mutating', '/mutate', {
      rules: [{ operations: ['UPDATE'], apiGroups: ['apps'], apiVersions: ['v1'], resources: ['deployments', 'deployments/status'] }],
    });
    const template = { metadata: { labels: { app: 'a' } }, spec: { containers: [{ name: 'c', image: 'i' }] } };
    await client.create(deployments, {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web', namespace: 'shop' },
      spec: { selector: { matchLabels: { app: 'a' } }, template },
    } as Deployment);
    hook.answer(
      '/mutate',
      jsonPatch({ op: 'add', path: '/spec/replicas', value: 7 }, { op: 'add', path: '/status', value: { replicas: 7, readyReplicas: 7 } }),
    );
    const ref = { namespace: 'shop', name: 'web' };
    const written = await client.patch(deployments, ref, { type: 'merge', body: { metadata: { labels: { l: 'v' } } } });
    expect(written).toMatchObject({ metadata: { generation: 2 }, spec: { replicas: 7 } });
    expect(written.status?.replicas).toBeUndefined();
    hook.answer(
      '/mutate',
      jsonPatch({ op: 'add', path: '/spec/replicas', value: 9 }, { op: 'add', path: '/status/readyReplicas', value: 1 }),
    );
    const told = await client.patch(deployments, ref, { type: 'merge', body: { status: { replicas: 1 } } }, { subresource: 'status' });
    expect(told).toMatchObject({ metadata: { generation: 2 }, spec: { replicas: 7 }, status: { replicas: 1, readyReplicas: 1 } });
  });

  it('gets its containers the defaults and the token that all containers get', async () => {
    await configure('Mutating', '/inject', {
      rules: [{ operations: ['CREATE'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods'] }],
    });
    hook.answer('/inject', jsonPatch({ op: 'add', path: '/spec/containers/-', value: { name: 'sidecar', image: 's' } }));
    const pod = await client.create(pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'p', namespace: 'shop' },
      spec: { containers: [{ name: 'c', image: 'i' }] },
    });
    const [own, sidecar] = pod.spec.containers;
    expect(sidecar).toMatchObject({ name: 'sidecar', imagePullPolicy: 'Always', terminationMessagePolicy: 'File' });
    expect(sidecar?.volumeMounts).toEqual(own?.volumeMounts);
    expect(pod.spec.volumes).toHaveLength(1);
  });

  it('comes in the order of names, and once more when it asks for it', async () => {
    const add = (label: string) => (request: ReviewRequest) =>
      request.object.metadata.labels?.[label] === undefined
        ? jsonPatch({ op: 'add', path: '/metadata/labels', value: { ...request.object.metadata.labels, [label]: 'yes' } })
        : {};
    await configure('Mutating', '/b', {}, 'b');
    await configure('Mutating', '/a', { reinvocationPolicy: 'IfNeeded' }, 'a');
    hook.answer('/a', add('a'));
    hook.answer('/b', add('b'));
    expect((await make('x')).metadata.labels).toEqual({ a: 'yes', b: 'yes' });
    expect(hook.seen.map(({ path }) => path.split('?')[0])).toEqual(['/a', '/b', '/a']);
    expect(hook.seen[2]?.request.object.metadata.labels).toEqual({ a: 'yes', b: 'yes' });
  });

  it('fails when its patch leaves no object of the kind, and the request is invalid when the object is', async () => {
    await configure('Mutating', '/mutate');
    for (const operations of [
      [{ op: 'remove', path: '/nowhere' }],
      [{ op: 'add', path: '/data', value: 'text' }],
      [{ op: 'replace', path: '', value: [] }],
      [{ op: 'remove', path: '/metadata' }],
      [{ op: 'add', path: '/metadata/labels', value: { a: 1 } }],
    ]) {
      hook.answer('/mutate', jsonPatch(...operations));
      expect((await failureOf(make('a'))).code, JSON.stringify(operations)).toBe(500);
    }
    hook.answer('/mutate', jsonPatch({ op: 'add', path: '/metadata/labels', value: { 'a b': '!' } }));
    expect((await failureOf(make('a'))).code).toBe(422);
    hook.answer(
      '/mutate',
      jsonPatch({ op: 'add', path: '/__proto__', value: { polluted: 'yes' } }, { op: 'add', path: '/data', value: { __proto__: null } }),
    );
    await failureOf(make('a')).catch(() => undefined);
    expect(({} as { polluted?: string }).polluted).toBeUndefined();
  });
});

describe('a validating webhook', () => {
  it('refuses with its own status', async () => {
    await make('a');
    await configure('Validating', '/validate');
    hook.answer('/validate', { allowed: false, status: { code: 418, reason: 'Teapot', message: 'hook says no' } });
    for (const write of [
      () => make('b'),
      () => client.patch(configMaps, { namespace: 'shop', name: 'a' }, { type: 'merge', body: { data: { a: '1' } } }),
      () => client.delete(configMaps, { namespace: 'shop', name: 'a' }),
    ]) {
      const err = await failureOf(write());
      expect(err.toStatus()).toEqual({
        kind: 'Status',
        apiVersion: 'v1',
        metadata: {},
        status: 'Failure',
        message: 'admission webhook "h.wire.example" denied the request: hook says no',
        reason: 'Teapot',
        code: 418,
      });
    }
    const [created, updated, deleted] = reviewed();
    expect(created?.object.metadata.uid).toBeDefined();
    expect(updated).toMatchObject({ operation: 'UPDATE', oldObject: { metadata: { name: 'a' } }, object: { data: { a: '1' } } });
    expect(deleted).toMatchObject({
      operation: 'DELETE',
      object: null,
      oldObject: { metadata: { name: 'a' } },
      options: { kind: 'DeleteOptions' },
    });
  });

  it('also refuses without a reason or with an impossible code', async () => {
    await configure('Validating', '/validate');
    hook.answer('/validate', { allowed: false, status: { code: 200 } });
    const silent = await failureOf(make('a'));
    expect([silent.code, silent.message]).toEqual([400, 'admission webhook "h.wire.example" denied the request without explanation']);
    hook.answer('/validate', { allowed: 'yes', status: { reason: 'Because' } });
    expect((await failureOf(make('a'))).message).toBe('admission webhook "h.wire.example" denied the request: Because');
  });

  it('is asked about what its rules, selectors and conditions name', async () => {
    await client.patch(namespaces, { name: 'other' }, { type: 'merge', body: { metadata: { labels: { team: 'x' } } } });
    await configure('Validating', '/validate', {
      namespaceSelector: { matchLabels: { team: 'x' } },
      objectSelector: { matchLabels: { watched: 'yes' } },
      matchConditions: [
        { name: 'not-admin', expression: 'request.userInfo.username != "root"' },
        { name: 'named', expression: 'object != null && object.metadata.name.startsWith("a")' },
      ],
    });
    const labels = { watched: 'yes' };
    await client.create(configMaps, map('a1', {}, 'other'));
    await client.create(configMaps, { ...map('a2'), metadata: { name: 'a2', namespace: 'shop', labels } });
    await client.create(configMaps, { ...map('b1'), metadata: { name: 'b1', namespace: 'other', labels } });
    expect(hook.seen).toEqual([]);
    await client.create(configMaps, { ...map('a3'), metadata: { name: 'a3', namespace: 'other', labels } });
    expect(reviewed().map(({ name }) => name)).toEqual(['a3']);
    // An object cannot leave the webhook's reach by dropping its label.
    await client.patch(configMaps, { namespace: 'other', name: 'a3' }, { type: 'merge', body: { metadata: { labels: null } } });
    expect(hook.seen).toHaveLength(2);
  });

  it('fails as its policy says when its condition cannot be evaluated', async () => {
    await configure('Validating', '/validate', { matchConditions: [{ name: 'odd', expression: 'object.data.missing == "x"' }] });
    const err = await failureOf(make('a', { data: { k: 'v' } }));
    expect([err.code, err.message]).toEqual([
      403,
      `configmaps "a" is forbidden: expression 'object.data.missing == "x"' resulted in error: no such key: missing`,
    ]);
  });

  it('sees subresources and versions by the rules that name them', async () => {
    await configure('Validating', '/scale', {
      rules: [
        { operations: ['UPDATE'], apiGroups: ['apps'], apiVersions: ['v1'], resources: ['deployments/scale', '*/status'] },
        { operations: ['CREATE'], apiGroups: ['autoscaling'], apiVersions: ['v2'], resources: ['horizontalpodautoscalers'] },
        { operations: ['CREATE'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods/eviction'] },
      ],
    });
    const template = { metadata: { labels: { app: 'a' } }, spec: { containers: [{ name: 'c', image: 'i' }] } };
    await client.create(deployments, {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web', namespace: 'shop' },
      spec: { selector: { matchLabels: { app: 'a' } }, template },
    } as Deployment);
    const ref = { namespace: 'shop', name: 'web' };
    await client.patch(deployments, ref, { type: 'merge', body: { spec: { replicas: 3 } } }, { subresource: 'scale' });
    await client.patch(deployments, ref, { type: 'merge', body: { status: { replicas: 1 } } }, { subresource: 'status' });
    await client.create(horizontalPodAutoscalersV1, {
      apiVersion: 'autoscaling/v1',
      kind: 'HorizontalPodAutoscaler',
      metadata: { name: 'web', namespace: 'shop' },
      spec: {
        maxReplicas: 3,
        scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web' },
        targetCPUUtilizationPercentage: 50,
      },
    } as never);
    await client.create(pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'p', namespace: 'shop' },
      spec: { containers: [{ name: 'c', image: 'i' }] },
    });
    await client.createSubresource(pods, { namespace: 'shop', name: 'p' }, 'eviction', {
      apiVersion: 'policy/v1',
      kind: 'Eviction',
      metadata: { name: 'p', namespace: 'shop' },
    });
    const [scale, status, autoscaler, eviction] = reviewed();
    expect(scale).toMatchObject({
      subResource: 'scale',
      kind: { group: 'autoscaling', version: 'v1', kind: 'Scale' },
      object: { kind: 'Scale', spec: { replicas: 3 } },
      oldObject: { kind: 'Scale' },
    });
    expect(status).toMatchObject({
      subResource: 'status',
      kind: { group: 'apps', kind: 'Deployment' },
      object: { status: { replicas: 1 } },
    });
    // Written as v1, matched as v2: it is shown as what the rule names.
    expect(autoscaler).toMatchObject({
      kind: { group: 'autoscaling', version: 'v2' },
      requestKind: { group: 'autoscaling', version: 'v1' },
      object: { apiVersion: 'autoscaling/v2', spec: { metrics: [{ type: 'Resource' }] } },
    });
    expect(eviction).toMatchObject({ subResource: 'eviction', kind: { group: 'policy', kind: 'Eviction' }, operation: 'CREATE' });
  });

  it('is asked before a connection is made, and what it notes is in the audit log', async () => {
    await configure('Validating', '/validate', {
      rules: [{ operations: ['CONNECT'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods/exec', 'pods/proxy'] }],
    });
    hook.answer('/validate', { allowed: false, status: { code: 403, message: 'no shells' }, auditAnnotations: { who: 'hook' } });
    await client.create(pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'p', namespace: 'shop' },
      spec: { containers: [{ name: 'c', image: 'i' }] },
    });
    const path = join(directory, 'audit.log');
    const audit = createAuditLog({ path, clock: systemClock, log: createLog({ level: 'silent' }), metrics: createMetrics() });
    served = await serveTestApi(api, { audit });
    const exec = await served.fetch('/api/v1/namespaces/shop/pods/p/exec?command=sh&command=-c&stdin=true&stdout=true');
    expect([exec.status, exec.json.message]).toEqual([403, 'admission webhook "h.wire.example" denied the request: no shells']);
    expect((await served.fetch('/api/v1/namespaces/shop/pods/p/proxy/a/b')).status).toBe(403);
    // Its audit annotations are written after the answer.
    await served.server.stop();
    await audit.stop();
    const [shell, proxied] = reviewed();
    expect(shell).toMatchObject({
      operation: 'CONNECT',
      subResource: 'exec',
      name: 'p',
      kind: { group: '', version: 'v1', kind: 'PodExecOptions' },
      object: { kind: 'PodExecOptions', stdin: true, stdout: true, command: ['sh', '-c'] },
      options: null,
    });
    expect(proxied).toMatchObject({ object: { kind: 'PodProxyOptions', path: '/a/b' } });
    const [entry = ''] = (await readFile(path, 'utf8')).split('\n');
    expect(JSON.parse(entry).annotations).toMatchObject({ 'h.wire.example/who': 'hook' });
  });

  it('is reached through the Service it names', async () => {
    await configure('Validating', '/unused', {
      clientConfig: { service: { namespace: 'shop', name: 'hook', path: '/validate', port: hook.port }, caBundle: hook.caBundle },
    });
    const shown = `https://hook.shop.svc:${hook.port}/validate?timeout=5s`;
    expect((await failureOf(make('a'))).message).toContain(`failed to call webhook: Post "${shown}": service "hook" not found`);
    // An address of the cluster leads nowhere without a proxy; a name from outside does.
    await client.create(services, {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'hook', namespace: 'shop' },
      spec: { type: 'ExternalName', externalName: '127.0.0.1' },
    } as never);
    await make('a');
    expect(hook.seen[0]?.path).toBe('/validate?timeout=5s');
    expect(hook.seen[0]?.headers.host).toBe(`hook.shop.svc:${hook.port}`);
  });
});

describe('the metrics of webhooks', () => {
  const linesOf = async (family: string): Promise<readonly string[]> =>
    (await metrics.text()).split('\n').filter((line) => line.startsWith(`${family}{`));

  it('count calls, refusals and failures by the name of the webhook, as upstream does', async () => {
    hook.answer('/deny', { allowed: false, status: { code: 403, message: 'no' } });
    hook.answer('/allow', { allowed: true });
    await configure('Validating', '/deny', { name: 'deny.wire.example', objectSelector: { matchLabels: { deny: 'yes' } } }, 'deny');
    await configure('Mutating', '/allow', { name: 'allow.wire.example' }, 'allow');
    await configure('Mutating', '/nonsense', { name: 'open.wire.example', failurePolicy: 'Ignore' }, 'open');
    hook.answer('/nonsense', { uid: 'another' });
    await make('a');
    await failureOf(make('b', { metadata: { name: 'b', namespace: 'shop', labels: { deny: 'yes' } } }));
    expect(await linesOf('apiserver_admission_webhook_request_total')).toEqual([
      'apiserver_admission_webhook_request_total{name="allow.wire.example",type="admit",operation="CREATE",code="200",rejected="false"} 2',
      'apiserver_admission_webhook_request_total{name="open.wire.example",type="admit",operation="CREATE",code="503",rejected="false"} 2',
      'apiserver_admission_webhook_request_total{name="deny.wire.example",type="validating",operation="CREATE",code="403",rejected="true"} 1',
    ]);
    expect(await linesOf('apiserver_admission_webhook_rejection_count')).toEqual([
      'apiserver_admission_webhook_rejection_count{name="deny.wire.example",type="validating",operation="CREATE",error_type="no_error",rejection_code="403"} 1',
    ]);
    expect(await linesOf('apiserver_admission_webhook_fail_open_count')).toEqual([
      'apiserver_admission_webhook_fail_open_count{name="open.wire.example",type="admit"} 2',
    ]);
    expect(await linesOf('apiserver_admission_webhook_admission_duration_seconds_count')).toContain(
      'apiserver_admission_webhook_admission_duration_seconds_count{name="deny.wire.example",operation="CREATE",type="validating",rejected="true"} 1',
    );
  });
});

describe('a webhook that cannot be relied on', () => {
  const message = 'failed calling webhook "h.wire.example": ';
  const failsWith = async (why: string): Promise<void> => {
    const err = await failureOf(make('a'));
    expect(err.toStatus()).toMatchObject({
      code: 500,
      reason: 'InternalError',
      message: `Internal error occurred: ${message}${why}`,
      details: { causes: [{ message: `${message}${why}` }] },
    });
  };

  it('and is not there fails the write, or is passed over', async () => {
    await configure('Validating', '/validate');
    const { url, port } = hook;
    await hook.stop();
    await failsWith(`failed to call webhook: Post "${url}/validate?timeout=5s": dial tcp 127.0.0.1:${port}: connect: connection refused`);
    await client.patch(
      validatingWebhookConfigurations,
      { name: 'hooks' },
      { type: 'json', body: [{ op: 'replace', path: '/webhooks/0/failurePolicy', value: 'Ignore' }] },
    );
    await make('a');
    hook = await startWebhookServer(pki);
  });

  it('and closed a connection that was kept is asked again on another one, once', async () => {
    await configure('Validating', '/kept');
    await client.create(configMaps, map('first'));
    let closed = 0;
    hook.answer('/kept', () => {
      closed += 1;
      return closed === 1 ? (response: ServerResponse) => void response.destroy() : { allowed: true };
    });
    await client.create(configMaps, map('second'));
    expect(hook.seen).toHaveLength(3);
    hook.answer('/kept', (response: ServerResponse, _request: ReviewRequest) => void response.destroy());
    await expect(client.create(configMaps, map('third'))).rejects.toThrow('EOF');
    expect(hook.seen).toHaveLength(4);
  });

  it('and answers another question, or nothing, or nonsense, fails the write', async () => {
    await configure('Validating', '/validate');
    const raw =
      (text: string, code = 200) =>
      (response: { statusCode: number; end(text: string): void }, _request: ReviewRequest) => {
        response.statusCode = code;
        response.end(text);
      };
    const review = (response: object | undefined, type: object = { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview' }) =>
      raw(JSON.stringify({ ...type, response }));
    hook.answer('/validate', { uid: 'another' });
    expect((await failureOf(make('a'))).message).toMatch(
      /received invalid webhook response: expected response\.uid="[0-9a-f-]+", got "another"$/,
    );
    hook.answer('/validate', review(undefined));
    await failsWith('received invalid webhook response: webhook response was absent');
    hook.answer('/validate', jsonPatch({ op: 'add', path: '/data', value: {} }));
    await failsWith('received invalid webhook response: validating webhook may not return response.patch');
    hook.answer('/validate', raw('not json'));
    expect((await failureOf(make('a'))).message).toContain("couldn't get version/kind; json parse error");
    hook.answer('/validate', raw('', 404));
    await failsWith('failed to call webhook: the server could not find the requested resource');
    hook.answer('/validate', raw('boom', 500));
    await failsWith('failed to call webhook: an error on the server ("boom") has prevented the request from succeeding');
    hook.answer('/validate', (response, _request) => {
      response.writeHead(307, { location: `${hook.url}/elsewhere` });
      response.end();
    });
    expect((await failureOf(make('a'))).code).toBe(500);
    expect(hook.seen.some(({ path }) => path.startsWith('/elsewhere'))).toBe(false);
  });

  it('and answers without end is cut off', async () => {
    await configure('Validating', '/validate');
    hook.answer('/validate', (response, _request) => {
      const chunk = 'x'.repeat(256 * 1024);
      const more = (): void => {
        while (!response.destroyed && response.write(chunk));
      };
      response.on('drain', more);
      more();
    });
    await failsWith(`failed to call webhook: Post "${hook.url}/validate?timeout=5s": the answer is larger than 4194304 bytes`);
  });

  it('and does not answer in its time is given up', async () => {
    await configure('Validating', '/validate', { timeoutSeconds: 1 });
    hook.answer('/validate', (_response, _request) => undefined);
    await failsWith(`failed to call webhook: Post "${hook.url}/validate?timeout=1s": context deadline exceeded`);
  });

  it('and has a certificate of somebody else is not asked', async () => {
    const strangers = await mkdtemp(join(tmpdir(), 'strangers-'));
    const other = await openPki({ directory: strangers, clock: systemClock });
    await rm(strangers, { recursive: true, force: true });
    await configure('Validating', '/validate', {
      clientConfig: { url: `${hook.url}/validate`, caBundle: Buffer.from(other.caCertificate).toString('base64') },
    });
    expect((await failureOf(make('a'))).message).toContain('x509: certificate signed by unknown authority');
    expect(hook.seen).toEqual([]);
  });

  it('never keeps its own configuration from being changed or removed', async () => {
    await configure('Validating', '/validate', {
      rules: [{ operations: ['*'], apiGroups: ['*'], apiVersions: ['*'], resources: ['*/*'] }],
    });
    hook.answer('/validate', { allowed: false });
    expect((await failureOf(make('a'))).code).toBe(400);
    await client.delete(validatingWebhookConfigurations, { name: 'hooks' });
    await expect(client.get(validatingWebhookConfigurations, { name: 'hooks' })).rejects.toSatisfy(isNotFound);
    await make('a');
  });

  it('keeps neither the server from starting nor anybody from getting rid of it', async () => {
    await configure('Validating', '/validate', {
      rules: [{ operations: ['*'], apiGroups: ['*'], apiVersions: ['*'], resources: ['*/*'] }],
    });
    await hook.stop();
    served = await serveTestApi(api);
    const own = api.clientFor(apiServerUser);
    await bootstrapAccess(own);
    await bootstrap({ client: own, serviceCidr: testServiceCidr, apiAddress: '127.64.0.1', apiPort: 6443 });
    expect((await failureOf(make('a'))).code).toBe(500);
    // Somebody with that name who comes from outside is nobody special.
    const impostor = { user: { name: apiServerUser.name, groups: ['system:masters'] }, userAgent: 'x' };
    expect((await failureOf(api.kubeApi.create({ ...impostor, kind: configMaps }, 'shop', map('b')))).code).toBe(500);
    expect(
      (await served.fetch('/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/hooks', { method: 'DELETE' })).status,
    ).toBe(200);
    await make('a');
  });

  it('and has side effects does not see dry runs', async () => {
    // Only older objects can say so: new ones are refused.
    await configure('Validating', '/validate', { sideEffects: 'NoneOnDryRun' });
    await make('a', {}, { dryRun: true });
    expect(reviewed()[0]).toMatchObject({ dryRun: true, options: { dryRun: ['All'] } });
  });
});

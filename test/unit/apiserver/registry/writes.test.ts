import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { mutatingWebhookConfigurations } from '../../../../src/api/admissionregistration/v1/webhook-configuration.ts';
import { type Deployment, deployments } from '../../../../src/api/apps/v1/deployment.ts';
import { jobs } from '../../../../src/api/batch/v1/job.ts';
import { type ConfigMap, configMaps } from '../../../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../../../src/api/core/v1/namespace.ts';
import { persistentVolumes } from '../../../../src/api/core/v1/persistent-volume.ts';
import { persistentVolumeClaims } from '../../../../src/api/core/v1/persistent-volume-claim.ts';
import { type Pod, pods } from '../../../../src/api/core/v1/pod.ts';
import { secrets } from '../../../../src/api/core/v1/secret.ts';
import { podDisruptionBudgets } from '../../../../src/api/policy/v1/pod-disruption-budget.ts';
import { type ClusterRole, clusterRoles } from '../../../../src/api/rbac/v1/cluster-role.ts';
import type { DeleteOutcome, WriteRequest } from '../../../../src/apiserver/kube-api.ts';
import type { Client, DeleteOptions } from '../../../../src/client/client.ts';
import type { KindDefinition } from '../../../../src/machinery/kind.ts';
import type { KubeObject } from '../../../../src/machinery/object.ts';
import { isAlreadyExists, isStatusError, type StatusError } from '../../../../src/machinery/status-error.ts';
import { openMemoryStorage } from '../../../../src/storage/memory/storage.ts';
import type { Storage } from '../../../../src/storage/storage.ts';
import { admin, startSeededApi, startTestApi, type TestApi } from '../../../support/api.ts';
import { createManualClock, type ManualClock } from '../../../support/manual-clock.ts';

/**
 * Writes change objects as here; texts are those of a real server's answers (`api/errors`, `api/deletion`,
 * `api/subresources`).
 */

let api: TestApi;
let client: Client;
let clock: ManualClock;
let draws: number[];

beforeEach(async () => {
  clock = createManualClock();
  draws = [];
  api = await startSeededApi(['raw'], { clock, random: () => draws.shift() ?? Math.random() });
  client = api.clientFor();
});

afterEach(() => api.stop());

const requestOf = (options: Partial<WriteRequest> = {}): Omit<WriteRequest, 'kind'> => ({ user: admin, userAgent: 'test', ...options });

const configMap = (metadata: Partial<ConfigMap['metadata']>, data?: Record<string, string>): ConfigMap => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { namespace: 'raw', ...metadata } as ConfigMap['metadata'],
  ...(data === undefined ? {} : { data }),
});

const make = (name: string, metadata: Partial<ConfigMap['metadata']> = {}): Promise<ConfigMap> =>
  client.create(configMaps, configMap({ name, ...metadata }));

const pod = (name: string, nodeName?: string): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'raw' },
  spec: { containers: [{ name: 'c', image: 'host/x' }], terminationGracePeriodSeconds: 7, ...(nodeName === undefined ? {} : { nodeName }) },
});

const deployment = (name: string): Deployment =>
  ({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace: 'raw' },
    spec: { selector: { matchLabels: { app: 'x' } }, template: { metadata: { labels: { app: 'x' } }, spec: pod('x').spec } },
  }) as unknown as Deployment;

const remove = (
  kind: KindDefinition,
  name: string,
  options: DeleteOptions = {},
  request: Partial<WriteRequest> = {},
): Promise<DeleteOutcome> => api.kubeApi.delete({ ...requestOf(request), kind }, { namespace: 'raw', name }, options);

async function failureOf(call: Promise<unknown>): Promise<StatusError> {
  const err = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!isStatusError(err)) throw new Error('expected a StatusError', { cause: err });
  return err;
}

describe('create', () => {
  test('overwrites what the server owns and drops what it does not know', async () => {
    const created = await client.create(
      configMaps,
      configMap({
        name: 'clientset',
        uid: 'abc',
        creationTimestamp: '2001-01-01T00:00:00Z',
        generation: 5,
        deletionTimestamp: '2001-01-01T00:00:00Z',
        deletionGracePeriodSeconds: 3,
      }),
    );
    expect(created.metadata).toMatchObject({ name: 'clientset', generation: 5, creationTimestamp: '2026-01-01T00:00:00Z' });
    expect(created.metadata.uid).not.toBe('abc');
    expect(created.metadata.deletionTimestamp).toBeUndefined();
    expect(created.metadata.deletionGracePeriodSeconds).toBeUndefined();
  });

  test('takes kind and apiVersion from the path, and refuses others', async () => {
    const bare = { metadata: { name: 'nokind' } } as ConfigMap;
    expect(await api.kubeApi.create({ ...requestOf(), kind: configMaps }, 'raw', bare)).toMatchObject({
      kind: 'ConfigMap',
      apiVersion: 'v1',
    });
    const secret = await failureOf(
      api.kubeApi.create({ ...requestOf(), kind: configMaps }, 'raw', { ...bare, kind: 'Secret', apiVersion: 'v1' }),
    );
    expect(secret.code).toBe(400);
    expect(secret.message).toMatch(/^(Secret|ConfigMap) in version "v1" cannot be handled as a ConfigMap: converting \(v1\.Secret\)/);
  });

  test('refuses a resourceVersion, another namespace, and no name', async () => {
    const versioned = await failureOf(client.create(configMaps, configMap({ name: 'rv', resourceVersion: '5' })));
    expect(versioned.toStatus()).toMatchObject({ code: 500, message: 'resourceVersion should not be set on objects to be created' });
    const elsewhere = await failureOf(
      api.kubeApi.create({ ...requestOf(), kind: configMaps }, 'raw', configMap({ name: 'x', namespace: 'other' })),
    );
    expect(elsewhere).toMatchObject({
      code: 400,
      message: 'the namespace of the provided object does not match the namespace sent on the request',
    });
    const nameless = await failureOf(api.kubeApi.create({ ...requestOf(), kind: configMaps }, 'raw', configMap({})));
    expect(nameless).toMatchObject({
      code: 422,
      message: 'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required',
    });
  });

  test('drops a namespace sent for a cluster-scoped kind', async () => {
    const created = await api.kubeApi.create({ ...requestOf(), kind: namespaces }, undefined, {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'zz', namespace: 'x' },
    });
    expect(created.metadata.namespace).toBeUndefined();
  });

  test('draws generated names again until one is free', async () => {
    const zeros = Array.from({ length: 5 }, () => 0);
    draws = [...zeros, ...zeros, 0.5, 0.5, 0.5, 0.5, 0.5];
    const first = await client.create(configMaps, configMap({ generateName: 'gen-' }));
    const second = await client.create(configMaps, configMap({ generateName: 'gen-' }));
    expect([first, second].map(({ metadata }) => metadata.name)).toEqual(['gen-bbbbb', 'gen-rrrrr']);
  });

  test('draws again also against a create that is under way, and gives up after eight draws', async () => {
    draws = Array.from({ length: 10 }, () => 0).concat([0.5, 0.5, 0.5, 0.5, 0.5]);
    const both = await Promise.all([0, 1].map(() => client.create(configMaps, configMap({ generateName: 'gen-' }))));
    expect(both.map(({ metadata }) => metadata.name)).toEqual(['gen-bbbbb', 'gen-rrrrr']);
    draws = Array.from({ length: 40 }, () => 0);
    expect(isAlreadyExists(await failureOf(client.create(configMaps, configMap({ generateName: 'gen-' }))))).toBe(true);
    expect(draws).toEqual([]);
  });

  test('cuts long prefixes so that the name fits', async () => {
    const created = await client.create(configMaps, configMap({ generateName: 'g'.repeat(100) }));
    expect(created.metadata.name).toHaveLength(63);
  });

  test('a name wins over generateName', async () => {
    const created = await client.create(configMaps, configMap({ name: 'named', generateName: 'gen-' }));
    expect(created.metadata).toMatchObject({ name: 'named', generateName: 'gen-' });
  });

  test('accepts exactly one of many creates of one name', async () => {
    const outcomes = await Promise.allSettled(Array.from({ length: 30 }, () => make('one')));
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(outcomes.every((outcome) => outcome.status === 'fulfilled' || isAlreadyExists(outcome.reason))).toBe(true);
  });

  test('pods of one template share its spec', async () => {
    const owner = await client.create(deployments, deployment('web'));
    const spec = owner.spec.template.spec as Pod['spec'];
    const made = await Promise.all(['a', 'b'].map((name) => client.create(pods, { ...pod(name), spec })));
    expect(made[0]?.spec).toBe(made[1]?.spec);
  });
});

describe('update', () => {
  test('checks names, uid and version', async () => {
    const stored = await make('e1');
    const put = (object: ConfigMap) =>
      failureOf(api.kubeApi.update({ ...requestOf(), kind: configMaps }, { namespace: 'raw', name: 'e1' }, object));
    expect(await put(configMap({ name: 'e2' }))).toMatchObject({
      code: 400,
      message: 'the name of the object (e2) does not match the name on the URL (e1)',
    });
    const uid = '00000000-0000-0000-0000-000000000000';
    expect(await put(configMap({ name: 'e1', uid }))).toMatchObject({
      code: 409,
      message: `Operation cannot be fulfilled on configmaps "e1": StorageError: invalid object, Code: 4, Key: /registry/configmaps/raw/e1, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: ${uid}, UID in object meta: ${stored.metadata.uid}`,
    });
    expect((await put(configMap({ name: 'e1', resourceVersion: '1' }))).code).toBe(409);
  });

  test('without a version is unconditional', async () => {
    await make('a');
    await client.patch(configMaps, { namespace: 'raw', name: 'a' }, { type: 'merge', body: { data: { x: '1' } } });
    expect((await client.update(configMaps, configMap({ name: 'a' }, { y: '2' }))).data).toEqual({ y: '2' });
  });

  test('keeps what the server owns, and drops what the client left out', async () => {
    const stored = await make('a', { labels: { a: '1' }, annotations: { b: '2' } });
    const updated = await client.update(configMaps, configMap({ name: 'a', creationTimestamp: '2001-01-01T00:00:00Z' }));
    const { uid, creationTimestamp, name, namespace } = stored.metadata;
    expect(updated.metadata).toMatchObject({ uid, creationTimestamp, name, namespace });
    expect(updated.metadata.labels).toBeUndefined();
    expect(updated.metadata.annotations).toBeUndefined();
  });

  test('keeps the references of what did not change', async () => {
    const created = await client.create(pods, pod('a'));
    const sent = JSON.parse(JSON.stringify(created)) as Pod;
    const updated = await client.update(pods, { ...sent, metadata: { ...sent.metadata, labels: { a: 'b' } } });
    expect(updated.spec).toBe(created.spec);
    expect(updated.status).toBe(created.status);
  });

  test('a strict patch of an unknown field is blamed on the patch', async () => {
    await make('a');
    const patch = { type: 'strategic', body: { spec: { foo: 1 } } } as const;
    const err = await failureOf(client.patch(configMaps, { namespace: 'raw', name: 'a' }, patch, { fieldValidation: 'Strict' }));
    const message = 'Invalid value: "map[spec:map[foo:1]]": strict decoding error: unknown field "spec"';
    expect(err.toStatus()).toMatchObject({
      code: 422,
      message: ` "" is invalid: patch: ${message}`,
      details: { causes: [{ reason: 'FieldValueInvalid', message, field: 'patch' }] },
    });
  });
});

describe('scale', () => {
  let stored: Deployment;

  beforeEach(async () => {
    stored = await client.create(deployments, deployment('min'));
  });

  const scale = requestOf({ subresource: 'scale' });
  const ref = { namespace: 'raw', name: 'min' };

  test('reads as a Scale', async () => {
    const { uid, resourceVersion, creationTimestamp } = stored.metadata;
    expect(await api.kubeApi.get({ ...scale, kind: deployments }, ref)).toEqual({
      kind: 'Scale',
      apiVersion: 'autoscaling/v1',
      metadata: { name: 'min', namespace: 'raw', uid, resourceVersion, creationTimestamp },
      spec: { replicas: 1 },
      status: { replicas: 0, selector: 'app=x' },
    });
  });

  test('writes as one', async () => {
    const body = {
      apiVersion: 'autoscaling/v1',
      kind: 'Scale',
      metadata: { name: 'min', namespace: 'raw' },
      spec: { replicas: 2 },
    } as KubeObject;
    expect(await api.kubeApi.update({ ...scale, kind: deployments }, ref, body)).toMatchObject({ kind: 'Scale', spec: { replicas: 2 } });
    expect(await client.get(deployments, ref)).toMatchObject({ metadata: { generation: 2 }, spec: { replicas: 2 } });
    const stale = { ...body, metadata: { ...body.metadata, resourceVersion: '1' } };
    expect(await failureOf(api.kubeApi.update({ ...scale, kind: deployments }, ref, stale))).toMatchObject({
      code: 409,
      message:
        'Operation cannot be fulfilled on deployments.apps "min": the object has been modified; please apply your changes to the latest version and try again',
    });
    const negative = { ...body, spec: { replicas: -1 } } as KubeObject;
    expect(await failureOf(api.kubeApi.update({ ...scale, kind: deployments }, ref, negative))).toMatchObject({
      code: 422,
      message: 'Scale.autoscaling "min" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0',
    });
  });

  test('other subresources are not there', async () => {
    const err = await failureOf(api.kubeApi.update({ ...requestOf({ subresource: 'foo' }), kind: deployments }, ref, stored));
    expect(err).toMatchObject({ code: 404, message: 'the server could not find the requested resource' });
  });
});

describe('delete', () => {
  test('answers with a Status or the object, by kind', async () => {
    const { metadata } = await make('named');
    expect(await remove(configMaps, 'named')).toEqual({ type: 'status', ref: { namespace: 'raw', name: 'named' }, uid: metadata.uid });
    await client.create(pods, pod('u1'));
    expect(await remove(pods, 'u1')).toMatchObject({
      type: 'object',
      object: { metadata: { generation: 2, deletionTimestamp: '2026-01-01T00:00:00Z', deletionGracePeriodSeconds: 0 } },
    });
  });

  test('shortens the grace period of a pod on a node and never lengthens it', async () => {
    await client.create(pods, pod('u2', 'n1'));
    const answers: unknown[] = [];
    for (const gracePeriodSeconds of [undefined, 2, 60, 0]) {
      const outcome = await remove(pods, 'u2', gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds });
      const { generation, deletionTimestamp, deletionGracePeriodSeconds } = outcome.type === 'object' ? outcome.object.metadata : {};
      answers.push([generation, deletionTimestamp, deletionGracePeriodSeconds]);
    }
    expect(answers).toEqual([
      [2, '2026-01-01T00:00:07Z', 7],
      [2, '2026-01-01T00:00:02Z', 2],
      [2, '2026-01-01T00:00:02Z', 2],
      [2, '2026-01-01T00:00:00Z', 0],
    ]);
    expect((await failureOf(client.get(pods, { namespace: 'raw', name: 'u2' }))).code).toBe(404);
  });

  test('leaves the pods of a Job by default, and says so', async () => {
    await client.create(jobs, {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name: 'min', namespace: 'raw' },
      spec: { template: { spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'host/x' }] } } },
    } as never);
    const warnings: string[] = [];
    const outcome = await remove(jobs, 'min', {}, { onWarning: (text) => warnings.push(text) });
    expect(outcome).toMatchObject({ type: 'object', object: { metadata: { finalizers: expect.arrayContaining(['orphan']) } } });
    expect(warnings).toEqual([
      'child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning',
    ]);
  });

  test('words preconditions and bad options as the real server', async () => {
    const { metadata } = await make('d5');
    const uid = '00000000-0000-0000-0000-000000000000';
    expect(await failureOf(remove(configMaps, 'd5', { preconditions: { uid } }))).toMatchObject({
      code: 409,
      message: `Operation cannot be fulfilled on ConfigMap "d5": the UID in the precondition (${uid}) does not match the UID in record (${metadata.uid}). The object might have been deleted and then recreated`,
    });
    expect(await failureOf(remove(configMaps, 'd5', { preconditions: { resourceVersion: '1' } }))).toMatchObject({
      message: `Operation cannot be fulfilled on ConfigMap "d5": the ResourceVersion in the precondition (1) does not match the ResourceVersion in record (${metadata.resourceVersion}). The object might have been modified`,
    });
    expect((await failureOf(remove(configMaps, 'd5', { propagationPolicy: 'Foo' as never }))).message).toBe(
      'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Foo": supported values: "Foreground", "Background", "Orphan", "nil"',
    );
    expect((await remove(configMaps, 'd5', { gracePeriodSeconds: -5 })).type).toBe('status');
  });

  test('again, while finalizers hold the object, changes nothing', async () => {
    await make('d1', { finalizers: ['x.example/f'] });
    const first = await remove(configMaps, 'd1');
    expect(first).toMatchObject({ type: 'object', object: { metadata: { deletionGracePeriodSeconds: 0, finalizers: ['x.example/f'] } } });
    clock.advance(5000);
    expect(await remove(configMaps, 'd1')).toEqual(first);
    const err = await failureOf(
      client.patch(
        configMaps,
        { namespace: 'raw', name: 'd1' },
        { type: 'merge', body: { metadata: { finalizers: ['x.example/f', 'x.example/g'] } } },
      ),
    );
    expect(err.message).toMatch(
      /^ConfigMap "d1" is invalid: metadata\.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers \[\]string\{"x\.example\/g"\}/,
    );
    const last = await client.patch(
      configMaps,
      { namespace: 'raw', name: 'd1' },
      { type: 'merge', body: { metadata: { finalizers: null } } },
    );
    expect(last.metadata).toMatchObject({ deletionGracePeriodSeconds: 0 });
    expect((await failureOf(client.get(configMaps, { namespace: 'raw', name: 'd1' }))).code).toBe(404);
  });

  test('spares the system namespaces', async () => {
    await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'kube-system' } });
    expect((await failureOf(client.delete(namespaces, { name: 'kube-system' }))).toStatus()).toMatchObject({
      message: 'namespaces "kube-system" is forbidden: this namespace may not be deleted',
      details: { name: 'kube-system', kind: 'namespaces' },
      code: 403,
    });
  });
});

describe('two servers over one store', () => {
  let storage: Storage;
  let other: TestApi;
  let here: Client;
  let there: Client;

  beforeEach(async () => {
    storage = await openMemoryStorage();
    const first = await startSeededApi(['raw'], { storage });
    other = await startTestApi({ storage });
    here = first.clientFor();
    there = other.clientFor();
  });

  afterEach(() => other.stop());

  test('patches of both go through, each on top of the other', async () => {
    await here.create(configMaps, configMap({ name: 'a' }));
    const patch = (client: Client, n: number) =>
      client.patch(configMaps, { namespace: 'raw', name: 'a' }, { type: 'merge', body: { data: { [`k${n}`]: 'x' } } });
    await Promise.all(Array.from({ length: 6 }, (_, n) => patch(n % 2 === 0 ? here : there, n)));
    expect(Object.keys((await there.get(configMaps, { namespace: 'raw', name: 'a' })).data ?? {})).toHaveLength(6);
  });

  test('a name is given once', async () => {
    const outcomes = await Promise.allSettled([here, there].map((client) => client.create(configMaps, configMap({ name: 'a' }))));
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  });
});

/** Owners as the API machinery of a real server records them; found by sending both the same random writes. */
describe('owners of fields after other writes', () => {
  const applied = (more: object) =>
    client.patch(
      configMaps,
      { namespace: 'raw', name: 'a' },
      { type: 'apply', body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: 'raw', name: 'a' }, ...more } },
      { fieldManager: 'm' },
    );

  test('nobody, once the only one who applied an object applies nothing of it', async () => {
    await applied({ data: { a: '1' } });
    const left = await applied({});
    expect(left).not.toHaveProperty('data');
    expect(left.metadata).not.toHaveProperty('managedFields');
    expect((await applied({ data: { a: '2' } })).metadata.managedFields).toMatchObject([
      { manager: 'm', fieldsV1: { 'f:data': { 'f:a': {} } } },
    ]);
  });

  test('not of a list that is null because it cannot be left out', async () => {
    const role = { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRole' };
    const selectors = { aggregationRule: { clusterRoleSelectors: [{ matchLabels: { a: 'b' } }] } };
    const made = await client.create(clusterRoles, { ...role, metadata: { name: 'sum' }, ...selectors } as ClusterRole);
    expect(made).toMatchObject({ rules: null });
    expect(made.metadata.managedFields?.[0]?.fieldsV1).toEqual({
      'f:aggregationRule': { '.': {}, 'f:clusterRoleSelectors': {} },
    });
  });
});

describe('owners of fields', () => {
  test('are given up while a webhook is registered that nothing concerns', async () => {
    await client.create(mutatingWebhookConfigurations, {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'MutatingWebhookConfiguration',
      metadata: { name: 'other' },
      webhooks: [
        {
          name: 'other.example.com',
          clientConfig: { url: 'https://127.0.0.1:1/' },
          sideEffects: 'None',
          admissionReviewVersions: ['v1'],
          rules: [{ apiGroups: ['apps'], apiVersions: ['v1'], operations: ['*'], resources: ['deployments'] }],
        },
      ],
    } as never);
    const at = { name: 'owned', namespace: 'raw' };
    await client.patch(configMaps, at, { type: 'apply', body: configMap({ name: 'owned' }, { a: '1' }) }, { fieldManager: 'm' });
    const reset = await client.patch(configMaps, at, { type: 'merge', body: { metadata: { managedFields: [{}] } } });
    expect(reset.metadata.managedFields).toBeUndefined();
  });

  test('are not recorded for data that is not base64, since the apply fails', async () => {
    const body = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 's' }, data: { a: 'not base64!' } };
    await expect(client.patch(secrets, { name: 's', namespace: 'raw' }, { type: 'apply', body }, { fieldManager: 'm' })).rejects.toThrow(
      'failed to convert new object (/s; /v1, Kind=Secret) to proper version',
    );
  });

  test('get the empty text for a null that is applied into a map of texts', async () => {
    const at = { name: 'nothing', namespace: 'raw' };
    const body = { ...configMap({ name: 'nothing' }), data: { q: null } };
    const applied = await client.patch(configMaps, at, { type: 'apply', body }, { fieldManager: 'm' });
    expect(applied.data).toEqual({ q: '' });
    const again = await client.patch(configMaps, at, { type: 'apply', body }, { fieldManager: 'm' });
    expect(again.metadata.resourceVersion).toBe(applied.metadata.resourceVersion);
  });
});

describe('pods', () => {
  const podStatus = (name: string, status: object) =>
    client.patch(pods, { name, namespace: 'raw' }, { type: 'merge', body: { status } }, { subresource: 'status' });

  test('have one address in both fields of their status', async () => {
    await client.create(pods, pod('p', 'n'));
    expect((await podStatus('p', { podIP: '10.1.1.1' })).status).toMatchObject({ podIP: '10.1.1.1', podIPs: [{ ip: '10.1.1.1' }] });
    expect((await podStatus('p', { podIPs: [{ ip: '10.2.2.2' }] })).status?.podIPs).toEqual([{ ip: '10.1.1.1' }]);
    expect((await podStatus('p', { podIP: null, podIPs: [{ ip: '10.2.2.2' }] })).status?.podIP).toBe('10.2.2.2');
    await expect(podStatus('p', { podIP: 'x' })).rejects.toThrow('status.podIPs[0]: Invalid value: "x": must be a valid IP address');
    await expect(podStatus('p', { podIPs: [{ ip: '10.2.2.2' }, { ip: '10.2.2.3' }] })).rejects.toThrow(
      'no more than one IP for each IP family',
    );
    await expect(podStatus('p', { qosClass: 'Guaranteed' })).rejects.toThrow(
      'status.qosClass: Invalid value: "Guaranteed": field is immutable',
    );
  });

  test('get labels and annotations of their binding, and no longer say why they waited', async () => {
    await client.create(pods, pod('b'));
    await podStatus('b', { conditions: [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: 'no room' }] });
    const binding = { metadata: { name: 'b', labels: { l: 'b' }, annotations: { from: 'binding' } }, target: { kind: 'Node', name: 'n' } };
    await api.kubeApi.createSubresource(
      { ...requestOf({ subresource: 'binding' }), kind: pods },
      { name: 'b', namespace: 'raw' },
      binding as never,
    );
    const bound = await client.get(pods, { name: 'b', namespace: 'raw' });
    expect([bound.metadata.labels, bound.metadata.annotations]).toEqual([{ l: 'b' }, { from: 'binding' }]);
    const [condition] = bound.status?.conditions ?? [];
    expect([condition?.status, condition?.reason, condition?.message]).toEqual(['True', undefined, undefined]);
  });

  test('behind a gate are not bound', async () => {
    const gated = pod('g');
    await client.create(pods, { ...gated, spec: { ...gated.spec, schedulingGates: [{ name: 'wait' }] } });
    const binding = { metadata: { name: 'g' }, target: { kind: 'Node', name: 'n' } };
    await expect(
      api.kubeApi.createSubresource(
        { ...requestOf({ subresource: 'binding' }), kind: pods },
        { name: 'g', namespace: 'raw' },
        binding as never,
      ),
    ).rejects.toThrow('pod g has non-empty .spec.schedulingGates');
  });

  test('ask for amounts that are counted in thousandths at the finest', async () => {
    const asking = pod('q');
    const [container] = asking.spec.containers;
    const containers = [{ ...container, resources: { requests: { cpu: '0.0001', memory: '100u' } } }];
    const made = await client.create(pods, { ...asking, spec: { ...asking.spec, containers } } as Pod);
    expect(made.spec.containers[0]?.resources?.requests).toEqual({ cpu: '1m', memory: '1m' });
  });
});

describe('a request that other clusters refuse', () => {
  const admission = 'admissionregistration.k8s.io/v1';
  const rule = { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] };
  const policy = (spec: object) => ({
    apiVersion: admission,
    kind: 'ValidatingAdmissionPolicy',
    metadata: { name: 'p' },
    spec: { matchConstraints: { resourceRules: [rule] }, validations: [{ expression: 'true' }], ...spec },
  });
  const hook = (webhook: object) => ({
    apiVersion: admission,
    kind: 'ValidatingWebhookConfiguration',
    metadata: { name: 'h' },
    webhooks: [
      {
        name: 'h.example.com',
        sideEffects: 'None',
        admissionReviewVersions: ['v1'],
        clientConfig: { service: { name: 's', namespace: 'raw' } },
        ...webhook,
      },
    ],
  });
  const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n' }, spec: { podCIDRs: ['x'] } };

  test.each([
    [policy({ validations: [{ expression: 'true', reason: 'Foo' }] }), 'spec.validations[0].reason: Unsupported value: "Foo"'],
    [policy({ matchConditions: [{ name: 'a b', expression: 'true' }] }), 'spec.matchConditions[0].name: Invalid value: "a b"'],
    [
      policy({ matchConditions: [1, 2].map(() => ({ name: 'a', expression: 'true' })) }),
      'spec.matchConditions[1].name: Duplicate value: "a"',
    ],
    [hook({ clientConfig: { service: { name: 's', namespace: 'raw', port: 0 } } }), 'service.port: Invalid value: 0: port is not valid'],
    [hook({ matchConditions: [{ expression: 'true' }] }), 'webhooks[0].matchConditions[0].name: Required value'],
    [node, 'spec.podCIDRs[0]: Invalid value: "x": must be a valid CIDR value'],
  ])('%#', async (object, message) => {
    const kind = api.kubeApi.kinds.findByKind(object.apiVersion.includes('/') ? 'admissionregistration.k8s.io' : '', 'v1', object.kind);
    if (kind === undefined) throw new Error(`no ${object.kind}`);
    await expect(api.kubeApi.create({ ...requestOf(), kind }, undefined, object as never)).rejects.toThrow(message);
  });

  test('is a budget that is replaced by whoever saw no version of it', async () => {
    const budget = {
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata: { name: 'b', namespace: 'raw' },
      spec: { minAvailable: 1, selector: {} },
    };
    const made = await client.create(podDisruptionBudgets, budget as never);
    await expect(client.update(podDisruptionBudgets, budget as never)).rejects.toThrow('must be specified for an update');
    await client.update(podDisruptionBudgets, made);
  });
});

describe('a deprecation', () => {
  const warningsOf = async (kind: KindDefinition, object: object): Promise<readonly string[]> => {
    const warnings: string[] = [];
    const request = requestOf({ onWarning: (text) => warnings.push(text), dryRun: true });
    await api.kubeApi.create({ ...request, kind }, kind.namespaced ? 'raw' : undefined, object as KubeObject);
    return warnings;
  };
  const legacyClass = { 'volume.beta.kubernetes.io/storage-class': 'x' };
  const why =
    'metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use "storageClassName" attribute instead';
  const volume = { capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce'] };

  test('is said of volumes and claims', async () => {
    const claim = { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } };
    expect(await warningsOf(persistentVolumeClaims, { metadata: { name: 'c', annotations: legacyClass }, spec: claim })).toEqual([why]);
    const storageos = { volumeName: 'v' };
    expect(
      await warningsOf(persistentVolumes, { metadata: { name: 'v', annotations: legacyClass }, spec: { ...volume, storageos } }),
    ).toEqual([why, 'spec.storageOS: deprecated in v1.22, non-functional in v1.25+']);
  });
});

import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { configMaps } from '../../../../src/api/core/v1/config-map.ts';
import { type Node, nodes } from '../../../../src/api/core/v1/node.ts';
import { persistentVolumeClaims } from '../../../../src/api/core/v1/persistent-volume-claim.ts';
import { type Pod, type PodSpec, pods } from '../../../../src/api/core/v1/pod.ts';
import { ingresses } from '../../../../src/api/networking/v1/ingress.ts';
import { ingressClasses } from '../../../../src/api/networking/v1/ingress-class.ts';
import { runtimeClasses } from '../../../../src/api/node/v1/runtime-class.ts';
import { clusterRoles } from '../../../../src/api/rbac/v1/cluster-role.ts';
import { clusterRoleBindings } from '../../../../src/api/rbac/v1/cluster-role-binding.ts';
import type { PolicyRule } from '../../../../src/api/rbac/v1/policy-rule.ts';
import { priorityClasses } from '../../../../src/api/scheduling/v1/priority-class.ts';
import { storageClasses } from '../../../../src/api/storage/v1/storage-class.ts';
import type { Client } from '../../../../src/client/client.ts';
import { isStatusError } from '../../../../src/machinery/status-error.ts';
import { startSeededApi, type TestApi } from '../../../support/api.ts';

const namespace = 'shop';
let api: TestApi;
let client: Client;
beforeEach(async () => {
  api = await startSeededApi([namespace]);
  client = api.clientFor();
});
afterEach(() => api.stop());

const pod = (spec: Partial<PodSpec> = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { generateName: 'p-', name: '', namespace },
  spec: { containers: [{ name: 'c', image: 'i' }], ...spec },
});

async function refusalOf(write: Promise<unknown>): Promise<string> {
  const err = await write.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!isStatusError(err)) throw new Error('expected a refusal', { cause: err });
  expect(err.code).toBe(403);
  return err.message.replace(/^.*? is forbidden: /, '');
}

describe('a runtime class', () => {
  beforeEach(() =>
    client.create(runtimeClasses, {
      apiVersion: 'node.k8s.io/v1',
      kind: 'RuntimeClass',
      metadata: { name: 'vm' },
      handler: 'vm',
      overhead: { podFixed: { cpu: '250m' } },
      scheduling: { nodeSelector: { vm: 'yes' }, tolerations: [{ key: 'vm', operator: 'Exists' }] },
    }),
  );

  test('brings its cost and where it can run', async () => {
    const { spec } = await client.create(pods, pod({ runtimeClassName: 'vm', nodeSelector: { disk: 'ssd' } }));
    expect(spec).toMatchObject({ overhead: { cpu: '250m' }, nodeSelector: { disk: 'ssd', vm: 'yes' } });
    expect(spec.tolerations).toContainEqual({ key: 'vm', operator: 'Exists' });
  });

  test('has to be there and not be contradicted', async () => {
    expect(await refusalOf(client.create(pods, pod({ runtimeClassName: 'nope' })))).toBe('pod rejected: RuntimeClass "nope" not found');
    expect(await refusalOf(client.create(pods, pod({ runtimeClassName: 'vm', overhead: { cpu: '1' } })))).toBe(
      "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
    );
    expect(await refusalOf(client.create(pods, pod({ overhead: { cpu: '1' } })))).toBe(
      'pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead',
    );
    expect(await refusalOf(client.create(pods, pod({ runtimeClassName: 'vm', nodeSelector: { vm: 'no' } })))).toBe(
      'conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no',
    );
  });
});

describe('storage', () => {
  const claim = (name: string, spec: object = {}) => ({
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, namespace },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } }, ...spec },
  });
  const makeClass = (name: string, isDefault: boolean, more: object = {}) =>
    client.create(storageClasses, {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'StorageClass',
      metadata: { name, annotations: { 'storageclass.kubernetes.io/is-default-class': String(isDefault) } },
      provisioner: 'p.example',
      ...more,
    });

  test('goes to the class that is the default, unless it says otherwise', async () => {
    await makeClass('slow', false);
    expect((await client.create(persistentVolumeClaims, claim('none'))).spec.storageClassName).toBeUndefined();
    await makeClass('fast', true);
    expect((await client.create(persistentVolumeClaims, claim('a'))).spec.storageClassName).toBe('fast');
    expect((await client.create(persistentVolumeClaims, claim('b', { storageClassName: '' }))).spec.storageClassName).toBe('');
  });

  test('grows where its class lets it', async () => {
    await makeClass('fixed', false);
    await makeClass('elastic', false, { allowVolumeExpansion: true });
    const grow = (name: string) =>
      client.patch(
        persistentVolumeClaims,
        { namespace, name },
        { type: 'merge', body: { spec: { resources: { requests: { storage: '2Gi' } } } } },
      );
    for (const storageClassName of ['fixed', 'elastic']) {
      await client.create(persistentVolumeClaims, claim(storageClassName, { storageClassName }));
      await client.patch(
        persistentVolumeClaims,
        { namespace, name: storageClassName },
        { type: 'merge', body: { status: { phase: 'Bound', capacity: { storage: '1Gi' } } } },
        { subresource: 'status' },
      );
    }
    expect(await refusalOf(grow('fixed'))).toContain('only dynamically provisioned pvc can be resized');
    expect((await grow('elastic')).spec.resources?.requests).toEqual({ storage: '2Gi' });
  });
});

test('an Ingress goes to the class that is the default', async () => {
  await client.create(ingressClasses, {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'IngressClass',
    metadata: { name: 'edge', annotations: { 'ingressclass.kubernetes.io/is-default-class': 'true' } },
    spec: { controller: 'c.example/c' },
  });
  const made = await client.create(ingresses, {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'Ingress',
    metadata: { name: 'i', namespace },
    spec: { defaultBackend: { service: { name: 's', port: { number: 80 } } } },
  });
  expect(made.spec?.ingressClassName).toBe('edge');
});

describe('priorities', () => {
  const makeClass = (name: string, more: object = {}) =>
    client.create(priorityClasses, { apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', metadata: { name }, value: 5, ...more });

  test('are those of the class, with its policy', async () => {
    await makeClass('polite', { preemptionPolicy: 'Never' });
    expect((await client.create(pods, pod({ priorityClassName: 'polite' }))).spec).toMatchObject({
      priority: 5,
      preemptionPolicy: 'Never',
    });
    expect(await refusalOf(client.create(pods, pod({ priorityClassName: 'polite', preemptionPolicy: 'PreemptLowerPriority' })))).toBe(
      'the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority admission controller computed Never from the given PriorityClass name',
    );
  });

  test('have one default', async () => {
    await makeClass('a', { globalDefault: true });
    expect(await refusalOf(makeClass('b', { globalDefault: true }))).toBe(
      'PriorityClass a is already marked as default. Only one default can exist',
    );
    await client.patch(priorityClasses, { name: 'a' }, { type: 'merge', body: { description: 'still the one' } });
  });
});

describe('priority classes of the system', () => {
  test('stay, since pods of the system are refused without them', async () => {
    const make = (name: string, value: number) =>
      client.create(priorityClasses, { apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', metadata: { name }, value });
    await make('system-node-critical', 2_000_001_000);
    await make('mine', 5);
    expect(await refusalOf(client.delete(priorityClasses, { name: 'system-node-critical' }))).toBe(
      'this is a system priority class and cannot be deleted',
    );
    await client.delete(priorityClasses, { name: 'mine' });
    expect((await client.list(priorityClasses)).items.map(({ metadata }) => metadata.name)).toEqual(['system-node-critical']);
  });
});

/** A client of somebody with these rights everywhere. */
async function someone(rules: readonly PolicyRule[]): Promise<Client> {
  const group = 'rbac.authorization.k8s.io';
  await client.create(clusterRoles, { apiVersion: `${group}/v1`, kind: 'ClusterRole', metadata: { name: 'r' }, rules });
  await client.create(clusterRoleBindings, {
    apiVersion: `${group}/v1`,
    kind: 'ClusterRoleBinding',
    metadata: { name: 'r' },
    subjects: [{ kind: 'User', apiGroup: group, name: 'alice' }],
    roleRef: { apiGroup: group, kind: 'ClusterRole', name: 'r' },
  });
  return api.clientFor({ name: 'alice', groups: ['system:authenticated'] });
}

const map = (name: string, blockOwnerDeletion: boolean) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: {
    name,
    namespace,
    ownerReferences: [{ apiVersion: 'apps/v1', kind: 'Deployment', name: 'd', uid: 'u', blockOwnerDeletion }],
  },
});

describe('owners', () => {
  test("are anybody's to name unless the check is switched on", async () => {
    const alice = await someone([{ apiGroups: [''], resources: ['configmaps'], verbs: ['create', 'update', 'patch'] }]);
    await alice.create(configMaps, map('held', true));
    await alice.patch(configMaps, { namespace, name: 'held' }, { type: 'merge', body: { metadata: { ownerReferences: null } } });
  });
});

describe('owners, with OwnerReferencesPermissionEnforcement', () => {
  beforeEach(async () => {
    await api.stop();
    api = await startSeededApi([namespace], { optionalAdmission: ['OwnerReferencesPermissionEnforcement'] });
    client = api.clientFor();
  });

  test('are held up only by who may set their finalizers', async () => {
    const alice = await someone([{ apiGroups: [''], resources: ['configmaps'], verbs: ['create', 'update', 'patch'] }]);
    await alice.create(configMaps, map('free', false));
    expect(await refusalOf(alice.create(configMaps, map('held', true)))).toBe(
      "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>",
    );
    const role = await client.get(clusterRoles, { name: 'r' });
    const more = { apiGroups: ['apps'], resources: ['deployments/finalizers'], verbs: ['update'] };
    await client.update(clusterRoles, { ...role, rules: [...(role.rules ?? []), more] });
    await alice.create(configMaps, map('held', true));
  });

  test('are changed only by who may delete the object', async () => {
    const alice = await someone([{ apiGroups: [''], resources: ['configmaps'], verbs: ['create', 'update', 'patch'] }]);
    await alice.create(configMaps, map('a', false));
    const patch = (metadata: object) => alice.patch(configMaps, { namespace, name: 'a' }, { type: 'merge', body: { metadata } });
    await patch({ labels: { l: 'v' } });
    expect(await refusalOf(patch({ ownerReferences: null }))).toBe("cannot set an ownerRef on a resource you can't delete: , <nil>");
  });

  test('are not changed by way of the status either', async () => {
    await client.create(ingresses, {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'Ingress',
      metadata: { namespace, name: 'i' },
      spec: { defaultBackend: { service: { name: 's', port: { number: 80 } } } },
    });
    const alice = await someone([{ apiGroups: ['networking.k8s.io'], resources: ['ingresses/status'], verbs: ['patch'] }]);
    const { ownerReferences } = map('a', false).metadata;
    const body = { metadata: { ownerReferences } };
    expect(await refusalOf(alice.patch(ingresses, { namespace, name: 'i' }, { type: 'merge', body }, { subresource: 'status' }))).toBe(
      "cannot set an ownerRef on a resource you can't delete: , <nil>",
    );
  });

  test('cannot be blocked when their kind is unknown', async () => {
    const alice = await someone([{ apiGroups: [''], resources: ['configmaps'], verbs: ['create'] }]);
    const object = map('a', true);
    const [owner] = object.metadata.ownerReferences;
    const ownerReferences = [{ ...(owner as (typeof object.metadata.ownerReferences)[number]), apiVersion: 'x.example/v1', kind: 'X' }];
    expect(await refusalOf(alice.create(configMaps, { ...object, metadata: { ...object.metadata, ownerReferences } }))).toContain(
      'cannot find RESTMapping for APIVersion x.example/v1 Kind X',
    );
  });
});

describe('an agent', () => {
  const agent = () => api.clientFor({ name: 'system:node:n', groups: ['system:nodes', 'system:authenticated'] });
  const node = (labels: Record<string, string>): Node => ({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n', labels } });
  const patch = (body: object) => agent().patch(nodes, { name: 'n' }, { type: 'merge', body });

  test('says what it sees of its node, and no more', async () => {
    expect(await refusalOf(agent().create(nodes, node({ 'node-role.kubernetes.io/admin': '' })))).toBe(
      'node "n" is not allowed to set the following labels: node-role.kubernetes.io/admin',
    );
    const everything = { podCIDR: '0.0.0.0/0', podCIDRs: ['0.0.0.0/0'] };
    expect(await refusalOf(agent().create(nodes, { ...node({}), spec: everything }))).toBe('node "n" is not allowed to choose its podCIDR');
    await agent().create(nodes, node({ 'kubernetes.io/hostname': 'n', 'node.kubernetes.io/rack': '1', 'example.com/x': 'y' }));
    await patch({ metadata: { labels: { 'topology.kubernetes.io/zone': 'z' } } });
    expect(await refusalOf(patch({ metadata: { labels: { 'x.node-restriction.kubernetes.io/pci': 'yes' } } }))).toBe(
      'node "n" is not allowed to modify labels: x.node-restriction.kubernetes.io/pci',
    );
    expect(await refusalOf(patch({ spec: { taints: null } }))).toBe('node "n" is not allowed to modify taints');
    expect(await refusalOf(patch({ spec: everything }))).toBe('node "n" is not allowed to choose its podCIDR');
    expect(await refusalOf(patch({ metadata: { ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'n', uid: 'u' }] } }))).toBe(
      'node "n" is not allowed to modify ownerReferences',
    );
  });

  test('does not get around that through the status of its node or of its pods', async () => {
    await agent().create(nodes, node({ 'kubernetes.io/hostname': 'n' }));
    const throughStatus = (body: object) => agent().patch(nodes, { name: 'n' }, { type: 'merge', body }, { subresource: 'status' });
    const { metadata } = await throughStatus({ metadata: { labels: { 'topology.kubernetes.io/zone': 'z' } } });
    expect(metadata.labels).toMatchObject({ 'topology.kubernetes.io/zone': 'z' });
    expect(await refusalOf(throughStatus({ metadata: { labels: { 'x.node-restriction.kubernetes.io/pci': 'yes' } } }))).toBe(
      'node "n" is not allowed to modify labels: x.node-restriction.kubernetes.io/pci',
    );
    const { name } = (await client.create(pods, pod({ nodeName: 'n' }))).metadata;
    const label = agent().patch(
      pods,
      { namespace, name },
      { type: 'merge', body: { metadata: { labels: { app: 'web' } } } },
      { subresource: 'status' },
    );
    expect(await refusalOf(label)).toBe('node "n" cannot update labels through pod status');
  });
});

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { persistentVolumes } from '../../../src/api/core/v1/persistent-volume.ts';
import { type PersistentVolumeClaim, persistentVolumeClaims } from '../../../src/api/core/v1/persistent-volume-claim.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { secrets } from '../../../src/api/core/v1/secret.ts';
import { ingresses } from '../../../src/api/networking/v1/ingress.ts';
import { ingressClasses } from '../../../src/api/networking/v1/ingress-class.ts';
import { volumeAttachments } from '../../../src/api/storage/v1/volume-attachment.ts';
import { bootstrapAccess } from '../../../src/apiserver/bootstrap.ts';
import type { RequestAttributes } from '../../../src/apiserver/kube-api.ts';
import { apiServerUser, type UserInfo } from '../../../src/apiserver/user.ts';
import { isStatusError } from '../../../src/machinery/status-error.ts';
import { admin, startSeededApi, type TestApi } from '../../support/api.ts';

const alice: UserInfo = { name: 'alice', groups: ['devs', 'system:authenticated'] };
const anonymous: UserInfo = { name: 'system:anonymous', groups: ['system:unauthenticated'] };
const node: UserInfo = { name: 'system:node:n1', groups: ['system:nodes', 'system:authenticated'] };

const finalizer = 'external-provisioner.volume.kubernetes.io/finalizer';
const claimSpec = { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } };

let api: TestApi;

beforeAll(async () => {
  api = await startSeededApi(['shop', 'default']);
  await bootstrapAccess(api.clientFor(apiServerUser));
  const client = api.clientFor();
  const base = { apiVersion: 'v1', kind: 'Pod' };
  await client.create(pods, {
    ...base,
    metadata: { name: 'mine', namespace: 'shop' },
    spec: {
      nodeName: 'n1',
      containers: [{ name: 'c', image: 'host/x', envFrom: [{ secretRef: { name: 'env' } }] }],
      volumes: [
        { name: 'v', configMap: { name: 'conf' } },
        { name: 'data', persistentVolumeClaim: { claimName: 'data' } },
        { name: 'tmp', ephemeral: { volumeClaimTemplate: { spec: claimSpec } } },
        { name: 'inline', csi: { driver: 'd.example', nodePublishSecretRef: { name: 'of-inline' } } },
      ],
    },
  });
  for (const [name, claim, nodeName] of [
    ['used', 'data', 'n2'],
    ['own', 'unused', 'n1'],
    ['other', 'unused', 'n2'],
  ] as const) {
    await client.create(persistentVolumes, {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name, labels: { 'midship.dev/storage-node': nodeName }, finalizers: [finalizer] },
      spec: {
        accessModes: ['ReadWriteOnce'],
        capacity: { storage: '1Gi' },
        hostPath: { path: '/x' },
        claimRef: { namespace: 'shop', name: claim },
      },
    });
  }
  for (const [name, claim] of [
    ['csi-used', 'data'],
    ['csi-other', 'unused'],
  ] as const) {
    const secretRef = (use: string) => ({ namespace: 'drivers', name: `${use}-${name}` });
    await client.create(persistentVolumes, {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name },
      spec: {
        accessModes: ['ReadWriteOnce'],
        capacity: { storage: '1Gi' },
        csi: {
          driver: 'd.example',
          volumeHandle: name,
          nodeStageSecretRef: secretRef('stage'),
          nodePublishSecretRef: secretRef('publish'),
          controllerPublishSecretRef: secretRef('controller'),
        },
        claimRef: { namespace: 'shop', name: claim },
      },
    });
  }
  for (const nodeName of ['n1', 'n2']) {
    await client.create(volumeAttachments, {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'VolumeAttachment',
      metadata: { name: `to-${nodeName}` },
      spec: { attacher: 'd.example', nodeName, source: { persistentVolumeName: 'csi-used' } },
    });
  }
  await client.create(pods, {
    ...base,
    metadata: { name: 'theirs', namespace: 'shop' },
    spec: { nodeName: 'n2', containers: [{ name: 'c', image: 'host/x' }] },
  });
  const secret = (name: string, type: string) =>
    client.create(secrets, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name, namespace: 'shop' },
      type,
      data: { 'tls.crt': '', 'tls.key': '' },
    });
  for (const name of ['shown', 'foreign-cert', 'unnamed-cert']) await secret(name, 'kubernetes.io/tls');
  await secret('opaque', 'Opaque');
  const group = 'networking.k8s.io/v1';
  for (const [name, controller] of [
    ['midship', 'midship.dev/ingress'],
    ['nginx', 'k8s.io/ingress-nginx'],
  ] as const)
    await client.create(ingressClasses, { apiVersion: group, kind: 'IngressClass', metadata: { name }, spec: { controller } });
  const ingress = (name: string, ingressClassName: string, names: readonly string[], namespace = 'shop') =>
    client.create(ingresses, {
      apiVersion: group,
      kind: 'Ingress',
      metadata: { name, namespace },
      spec: {
        ingressClassName,
        tls: names.map((secretName) => ({ secretName })),
        defaultBackend: { service: { name: 'x', port: { number: 80 } } },
      },
    });
  await ingress('own', 'midship', ['shown', 'opaque', 'absent']);
  await ingress('other', 'nginx', ['foreign-cert']);
  // Only the Secrets of its own namespace are an Ingress's.
  await ingress('elsewhere', 'midship', ['unnamed-cert'], 'default');
});

afterAll(() => api.stop());

function denialOf(user: UserInfo, attributes: RequestAttributes): string | undefined {
  try {
    api.kubeApi.authorize(user, attributes);
    return undefined;
  } catch (err) {
    if (!isStatusError(err) || err.code !== 403) throw err;
    return err.message;
  }
}

const shop = { version: 'v1', namespace: 'shop' };

const component = (name: string): UserInfo => ({ name, groups: ['system:authenticated'], isLocal: true });

describe('everything is open to', () => {
  test.each<UserInfo>([
    admin,
    component('system:kube-scheduler'),
    component('system:kube-controller-manager'),
    component('system:midship:gitops'),
  ])('$name', (user) => {
    expect(denialOf(user, { verb: 'delete', resource: 'secrets', ...shop, name: 'x' })).toBeUndefined();
    expect(denialOf(user, { verb: 'get', path: '/metrics' })).toBeUndefined();
  });
});

describe('the name of a component alone opens nothing', () => {
  test.each(['system:apiserver', 'system:midship:gitops', 'system:kube-scheduler'])('%s over HTTP', (name) => {
    const { isLocal: _, ...stranger } = component(name);
    expect(denialOf(stranger, { verb: 'delete', resource: 'secrets', ...shop, name: 'x' })).toBeDefined();
  });

  test('a local user of another name has what RBAC gives', () => {
    expect(denialOf({ ...alice, isLocal: true }, { verb: 'list', resource: 'pods', ...shop })).toBeDefined();
  });
});

describe('others get a refusal that names the missing right, as RBAC words it', () => {
  test.each<[RequestAttributes, string]>([
    [
      { verb: 'list', resource: 'configmaps', ...shop },
      'configmaps is forbidden: User "alice" cannot list resource "configmaps" in API group "" in the namespace "shop"',
    ],
    [
      { verb: 'delete', resource: 'configmaps', ...shop, name: 'e1' },
      'configmaps "e1" is forbidden: User "alice" cannot delete resource "configmaps" in API group "" in the namespace "shop"',
    ],
    [
      { verb: 'list', resource: 'nodes', version: 'v1' },
      'nodes is forbidden: User "alice" cannot list resource "nodes" in API group "" at the cluster scope',
    ],
    [
      { verb: 'create', group: 'apps', resource: 'deployments', ...shop },
      'deployments.apps is forbidden: User "alice" cannot create resource "deployments" in API group "apps" in the namespace "shop"',
    ],
    [
      { verb: 'get', resource: 'pods', subresource: 'log', ...shop, name: 'x' },
      'pods "x" is forbidden: User "alice" cannot get resource "pods/log" in API group "" in the namespace "shop"',
    ],
    [{ verb: 'get', path: '/metrics' }, 'forbidden: User "alice" cannot get path "/metrics"'],
  ])('%o', (attributes, message) => {
    expect(denialOf(alice, attributes)).toBe(message);
  });

  test('calls through the service are checked', async () => {
    await expect(api.clientFor(alice).list(pods, { namespace: 'shop' })).rejects.toThrow('cannot list resource "pods"');
    await expect(api.clientFor(alice).delete(pods, { namespace: 'shop', name: 'mine' })).rejects.toThrow('cannot delete resource "pods"');
  });

  test('a node name without the group of nodes is no node', () => {
    expect(denialOf({ ...node, groups: ['system:authenticated'] }, { verb: 'get', resource: 'nodes', name: 'n1' })).toBeDefined();
  });
});

describe('paths', () => {
  test('health and version are open to all, discovery to whoever is known', () => {
    for (const path of ['/healthz', '/livez', '/readyz', '/version']) expect(denialOf(anonymous, { verb: 'get', path })).toBeUndefined();
    for (const path of ['/api', '/apis', '/apis/apps/v1', '/openapi/v3']) {
      expect(denialOf(alice, { verb: 'get', path })).toBeUndefined();
      expect(denialOf(anonymous, { verb: 'get', path })).toBe(`forbidden: User "system:anonymous" cannot get path "${path}"`);
    }
    for (const path of ['/apiary', '/metrics', '/', '/healthzz', '/readyz/ping'])
      expect(denialOf(alice, { verb: 'get', path })).toBeDefined();
    expect(denialOf(alice, { verb: 'post', path: '/version' })).toBeDefined();
  });
});

describe('a node', () => {
  const allowed: readonly RequestAttributes[] = [
    { verb: 'create', resource: 'nodes', name: 'n1' },
    { verb: 'patch', resource: 'nodes', name: 'n1', subresource: 'status' },
    { verb: 'get', resource: 'nodes', name: 'n1' },
    { verb: 'watch', resource: 'nodes', fieldSelector: 'metadata.name=n1' },
    { verb: 'get', group: 'network.midship.dev', resource: 'nodenetworkpolicies', name: 'n1' },
    { verb: 'watch', group: 'network.midship.dev', resource: 'nodenetworkpolicies', fieldSelector: 'metadata.name=n1' },
    { verb: 'update', group: 'coordination.k8s.io', resource: 'leases', namespace: 'kube-node-lease', name: 'n1' },
    { verb: 'watch', resource: 'pods', fieldSelector: 'spec.nodeName=n1' },
    { verb: 'get', resource: 'pods', ...shop, name: 'mine' },
    { verb: 'patch', resource: 'pods', ...shop, name: 'mine', subresource: 'status' },
    { verb: 'delete', resource: 'pods', ...shop, name: 'mine' },
    { verb: 'get', resource: 'secrets', ...shop, name: 'env' },
    { verb: 'watch', resource: 'configmaps', ...shop, fieldSelector: 'metadata.name=conf' },
    { verb: 'get', resource: 'serviceaccounts', ...shop, name: 'default' },
    { verb: 'create', resource: 'events', ...shop },
    { verb: 'get', resource: 'secrets', ...shop, name: 'shown' },
    { verb: 'watch', resource: 'secrets', ...shop, fieldSelector: 'metadata.name=shown' },
    { verb: 'watch', group: 'networking.k8s.io', resource: 'ingresses' },
    { verb: 'list', group: 'networking.k8s.io', resource: 'ingressclasses' },
    { verb: 'get', group: 'node.k8s.io', resource: 'runtimeclasses', name: 'crun' },
    { verb: 'get', group: 'storage.k8s.io', resource: 'csidrivers', name: 'd.example' },
    { verb: 'create', group: 'storage.k8s.io', resource: 'csinodes', name: 'n1' },
    { verb: 'update', group: 'storage.k8s.io', resource: 'csinodes', name: 'n1' },
    { verb: 'get', group: 'storage.k8s.io', resource: 'volumeattachments', name: 'to-n1' },
    { verb: 'patch', resource: 'persistentvolumeclaims', subresource: 'status', namespace: 'shop', name: 'data' },
    { verb: 'get', resource: 'secrets', namespace: 'drivers', name: 'stage-csi-used' },
    { verb: 'get', resource: 'secrets', namespace: 'drivers', name: 'publish-csi-used' },
    { verb: 'get', resource: 'secrets', namespace: 'shop', name: 'of-inline' },
    { verb: 'get', resource: 'persistentvolumeclaims', ...shop, name: 'data' },
    { verb: 'get', resource: 'persistentvolumeclaims', ...shop, name: 'mine-tmp' },
    { verb: 'get', resource: 'persistentvolumes', name: 'used' },
    { verb: 'get', resource: 'persistentvolumes', name: 'own' },
    { verb: 'update', resource: 'persistentvolumes', name: 'own' },
    { verb: 'watch', resource: 'persistentvolumes', labelSelector: 'midship.dev/storage-node=n1' },
    { verb: 'watch', resource: 'services' },
    { verb: 'list', group: 'discovery.k8s.io', resource: 'endpointslices' },
  ];
  test.each(allowed)('may $verb $resource $name $fieldSelector', (attributes) => {
    expect(denialOf(node, attributes)).toBeUndefined();
  });

  const denied: readonly RequestAttributes[] = [
    { verb: 'get', resource: 'nodes', name: 'n2' },
    { verb: 'update', group: 'storage.k8s.io', resource: 'csinodes', name: 'n2' },
    { verb: 'list', group: 'storage.k8s.io', resource: 'csinodes' },
    { verb: 'update', group: 'storage.k8s.io', resource: 'csidrivers', name: 'd.example' },
    { verb: 'get', group: 'storage.k8s.io', resource: 'volumeattachments', name: 'to-n2' },
    { verb: 'get', group: 'storage.k8s.io', resource: 'volumeattachments', name: 'not-there' },
    { verb: 'update', group: 'storage.k8s.io', resource: 'volumeattachments', name: 'to-n1' },
    { verb: 'patch', resource: 'persistentvolumeclaims', subresource: 'status', namespace: 'shop', name: 'unused' },
    { verb: 'patch', resource: 'persistentvolumeclaims', namespace: 'shop', name: 'data' },
    { verb: 'get', resource: 'secrets', namespace: 'drivers', name: 'stage-csi-other' },
    { verb: 'get', resource: 'secrets', namespace: 'drivers', name: 'controller-csi-used' },
    { verb: 'get', resource: 'secrets', namespace: 'drivers', name: 'of-inline' },
    { verb: 'get', group: 'network.midship.dev', resource: 'nodenetworkpolicies', name: 'n2' },
    { verb: 'watch', group: 'network.midship.dev', resource: 'nodenetworkpolicies' },
    { verb: 'update', group: 'network.midship.dev', resource: 'nodenetworkpolicies', name: 'n1' },
    { verb: 'list', group: 'networking.k8s.io', resource: 'networkpolicies' },
    { verb: 'get', resource: 'nodes', name: 'n1', subresource: 'proxy' },
    { verb: 'list', resource: 'nodes' },
    { verb: 'watch', resource: 'nodes', fieldSelector: 'metadata.name=n2' },
    { verb: 'watch', resource: 'nodes', fieldSelector: 'metadata.name!=n1' },
    { verb: 'update', resource: 'nodes', name: 'n2' },
    { verb: 'delete', resource: 'nodes', name: 'n1' },
    { verb: 'update', group: 'coordination.k8s.io', resource: 'leases', namespace: 'kube-node-lease', name: 'n2' },
    { verb: 'update', group: 'coordination.k8s.io', resource: 'leases', namespace: 'kube-system', name: 'n1' },
    { verb: 'watch', resource: 'pods' },
    { verb: 'watch', resource: 'pods', fieldSelector: 'spec.nodeName=n2' },
    { verb: 'watch', resource: 'pods', fieldSelector: 'spec.nodeName!=n1' },
    { verb: 'patch', resource: 'pods', ...shop, name: 'theirs', subresource: 'status' },
    { verb: 'update', resource: 'pods', ...shop, name: 'mine' },
    { verb: 'create', resource: 'pods', ...shop, name: 'mine', subresource: 'binding' },
    { verb: 'get', resource: 'secrets', ...shop, name: 'other' },
    { verb: 'list', resource: 'secrets', ...shop },
    { verb: 'get', resource: 'secrets', ...shop, name: 'opaque' },
    { verb: 'get', resource: 'secrets', ...shop, name: 'absent' },
    { verb: 'get', resource: 'secrets', ...shop, name: 'foreign-cert' },
    { verb: 'get', resource: 'secrets', ...shop, name: 'unnamed-cert' },
    { verb: 'update', resource: 'secrets', ...shop, name: 'shown' },
    { verb: 'patch', group: 'networking.k8s.io', resource: 'ingresses', ...shop, name: 'own', subresource: 'status' },
    { verb: 'get', resource: 'configmaps', ...shop, name: 'env' },
    { verb: 'update', resource: 'configmaps', ...shop, name: 'conf' },
    { verb: 'create', group: 'apps', resource: 'deployments', ...shop },
    { verb: 'get', resource: 'persistentvolumeclaims', ...shop, name: 'unused' },
    { verb: 'list', resource: 'persistentvolumeclaims', ...shop },
    { verb: 'update', resource: 'persistentvolumeclaims', ...shop, name: 'data' },
    { verb: 'get', resource: 'persistentvolumes', name: 'other' },
    { verb: 'update', resource: 'persistentvolumes', name: 'used' },
    { verb: 'update', resource: 'persistentvolumes', name: 'own', subresource: 'status' },
    { verb: 'create', resource: 'persistentvolumes', name: 'new' },
    { verb: 'delete', resource: 'persistentvolumes', name: 'own' },
    { verb: 'watch', resource: 'persistentvolumes' },
    { verb: 'watch', resource: 'persistentvolumes', labelSelector: 'midship.dev/storage-node=n2' },
    { verb: 'watch', resource: 'persistentvolumes', labelSelector: 'midship.dev/storage-node!=n2' },
    { verb: 'watch', resource: 'persistentvolumes', labelSelector: 'midship.dev/storage-node in (n1,n2)' },
  ];
  test.each(denied)('may not $verb $resource $name $subresource $fieldSelector', (attributes) => {
    expect(denialOf(node, attributes)).toBeDefined();
  });

  test('takes nothing from a volume but its finalizer, and that only while the volume goes', async () => {
    const [agent, client] = [api.clientFor(node), api.clientFor()];
    const refusal = 'can only take its finalizer from a volume whose data are to be removed';
    const kept = await agent.get(persistentVolumes, { name: 'own' });
    const without = (volume: typeof kept) => ({ ...volume, metadata: { ...volume.metadata, finalizers: ['kubernetes.io/pv-protection'] } });
    await expect(agent.update(persistentVolumes, without(kept))).rejects.toThrow(refusal);
    await client.delete(persistentVolumes, { name: 'own' });
    const going = await agent.get(persistentVolumes, { name: 'own' });
    const { metadata, spec } = going;
    for (const changed of [
      { ...going, metadata: { ...metadata, finalizers: [] } },
      { ...without(going), spec: { ...spec, claimRef: { namespace: 'shop', name: 'theirs' } } },
      { ...without(going), metadata: { ...without(going).metadata, labels: { 'midship.dev/storage-node': 'n2' } } },
    ])
      await expect(agent.update(persistentVolumes, changed)).rejects.toThrow(refusal);
    expect((await agent.update(persistentVolumes, without(going))).metadata.finalizers).toEqual(['kubernetes.io/pv-protection']);
  });

  test('says in a claim of its pods how large the volume has grown, and nothing else', async () => {
    const [agent, client] = [api.clientFor(node), api.clientFor()];
    const ref = { namespace: 'shop', name: 'data' };
    const claim = { apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: ref, spec: claimSpec };
    await client.create(persistentVolumeClaims, claim as PersistentVolumeClaim);
    const patch = (body: object) => agent.patch(persistentVolumeClaims, ref, { type: 'merge', body }, { subresource: 'status' });
    const refusal = 'node "n1" is not allowed to update fields other than status.capacity and status.conditions';
    await expect(patch({ status: { phase: 'Bound' } })).rejects.toThrow(refusal);
    await expect(patch({ metadata: { labels: { a: 'b' } }, status: { capacity: { storage: '2Gi' } } })).rejects.toThrow(refusal);
    expect((await patch({ status: { capacity: { storage: '2Gi' } } })).status?.capacity).toEqual({ storage: '2Gi' });
  });
});

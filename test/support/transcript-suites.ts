import type { JsonObject } from './transcript.ts';
import type { HiddenAct } from './transcript-hidden.ts';

/** Objects that the recorded suites set up without recording it, as their answers show. */

const owned = (fieldsV1: JsonObject, apiVersion = 'v1'): JsonObject => ({
  managedFields: [{ manager: 'held-out', operation: 'Update', apiVersion, time: '2026-12-01T06:43:19Z', fieldsType: 'FieldsV1', fieldsV1 }],
});

const patchedConfigMap = (number: number): HiddenAct => ({
  put: {
    kind: 'ConfigMap',
    apiVersion: 'v1',
    metadata: {
      name: `c${number}`,
      namespace: 'jp-tag',
      labels: { a: '1', 'x.example/y': 'z' },
      ...owned({
        'f:data': { '.': {}, 'f:a': {}, 'f:b': {}, 'f:k.t': {} },
        'f:metadata': { 'f:labels': { '.': {}, 'f:a': {}, 'f:x.example/y': {} } },
      }),
    },
    data: { a: '1', b: '2', 'k.t': 'd' },
  },
});

const template = { metadata: { labels: { a: 'b' } }, spec: { containers: [{ name: 'c', image: 'x' }] } };
const workload = (kind: string, name: string): HiddenAct => ({
  put: {
    kind,
    apiVersion: 'apps/v1',
    metadata: { name, namespace: 'iv-tag' },
    spec: { selector: { matchLabels: { a: 'b' } }, template },
    status: {},
  },
});

/** An object with a label of its own name; parts of its metadata may be given. */
const object = (kind: string, apiVersion: string, { metadata, ...rest }: JsonObject & { readonly metadata: JsonObject }): HiddenAct => ({
  put: { kind, apiVersion, metadata: { labels: { app: metadata.name ?? '' }, ...metadata }, ...rest },
});

const container: JsonObject = { name: 'c', image: 'x' };
const waiting: JsonObject = { phase: 'Pending', qosClass: 'BestEffort' };

const pod = (metadata: JsonObject, spec: JsonObject, status = waiting): HiddenAct =>
  object('Pod', 'v1', { metadata: { namespace: 'sub-tag', ...metadata }, spec: { containers: [container], ...spec }, status });

/** With every default, so that an update changes no more than it says. */
const gatedSpec: JsonObject = {
  containers: [
    {
      ...container,
      resources: {},
      terminationMessagePath: '/dev/termination-log',
      terminationMessagePolicy: 'File',
      imagePullPolicy: 'Always',
    },
  ],
  restartPolicy: 'Always',
  terminationGracePeriodSeconds: 30,
  dnsPolicy: 'ClusterFirst',
  securityContext: {},
  schedulerName: 'default-scheduler',
  schedulingGates: [{ name: 'a.example/gate' }],
  enableServiceLinks: true,
};

const resizable: JsonObject = {
  ...container,
  resources: { requests: { cpu: '100m', memory: '64Mi' }, limits: { cpu: '200m', memory: '64Mi' } },
};

/** Allows no eviction of the pod `e3`, which is the last that is healthy. */
const budget = (name: string): HiddenAct =>
  object('PodDisruptionBudget', 'policy/v1', {
    metadata: { name, namespace: 'sub-tag', generation: 1 },
    spec: { minAvailable: 1, selector: { matchLabels: { app: 'e3' } } },
    status: { observedGeneration: 1, disruptionsAllowed: 0, currentHealthy: 1, desiredHealthy: 1, expectedPods: 1 },
  });

const scaledDeployment = object('Deployment', 'apps/v1', {
  metadata: { name: 'd', namespace: 'sub-tag' },
  spec: {
    replicas: 0,
    selector: {
      matchLabels: { a: 'b' },
      matchExpressions: [
        { key: 'y', operator: 'DoesNotExist' },
        { key: 'z', operator: 'In', values: ['1', '2'] },
      ],
    },
    template: { metadata: { labels: { a: 'b', z: '1' } }, spec: { containers: [container] } },
  },
  status: {},
});

const rbacGroup = 'rbac.authorization.k8s.io';
const rbacVersion = `${rbacGroup}/v1`;
const viewer: JsonObject = { apiGroup: rbacGroup, kind: 'Role', name: 'viewer' };
const inAccess = (name: string): JsonObject => ({ name, namespace: 'az-tag' });

/** Rights of the users alice and bob, of whom bob is in the group `ops`, and of the default account. */
const accessActs: readonly HiddenAct[] = [
  object('Role', rbacVersion, {
    metadata: inAccess('viewer'),
    rules: [
      { apiGroups: [''], resources: ['configmaps', 'pods/log'], verbs: ['get', 'list'] },
      { apiGroups: [''], resources: ['secrets'], resourceNames: ['one'], verbs: ['get'] },
    ],
  }),
  object('RoleBinding', rbacVersion, {
    metadata: inAccess('alice'),
    roleRef: viewer,
    subjects: [{ kind: 'User', name: 'alice', apiGroup: rbacGroup }],
  }),
  object('RoleBinding', rbacVersion, {
    metadata: inAccess('account'),
    roleRef: viewer,
    subjects: [{ kind: 'ServiceAccount', name: 'default', namespace: 'az-tag' }],
  }),
  object('ClusterRole', rbacVersion, {
    metadata: { name: 'az-tag' },
    rules: [
      { nonResourceURLs: ['/metrics', '/logs/*'], verbs: ['get'] },
      { apiGroups: ['apps'], resources: ['deployments'], verbs: ['get', 'delete'] },
      { apiGroups: [rbacGroup], resources: ['roles', 'rolebindings'], verbs: ['get', 'create', 'update', 'patch'] },
    ],
  }),
  object('ClusterRoleBinding', rbacVersion, {
    metadata: { name: 'az-tag' },
    roleRef: { apiGroup: rbacGroup, kind: 'ClusterRole', name: 'az-tag' },
    subjects: [{ kind: 'Group', name: 'ops', apiGroup: rbacGroup }],
  }),
];

export const suiteActs: Readonly<Record<string, Readonly<Record<number, readonly HiddenAct[]>>>> = {
  'second/json-merge-patch': { 1: Array.from({ length: 83 }, (_, number) => patchedConfigMap(number)) },
  'second/immutable-validation': {
    1: [
      workload('Deployment', 'd'),
      workload('DaemonSet', 'ds'),
      workload('ReplicaSet', 'rs'),
      {
        put: {
          kind: 'EndpointSlice',
          apiVersion: 'discovery.k8s.io/v1',
          metadata: { name: 'e', namespace: 'iv-tag' },
          addressType: 'IPv4',
          endpoints: [{ addresses: ['10.1.1.1'] }],
        },
      },
    ],
    194: [{ remove: { kind: 'PriorityClass', apiVersion: 'scheduling.k8s.io/v1', metadata: { name: 'ivx-tag' } } }],
  },
  'second/authn-authz': { 1: accessActs },
  'second/subresources': {
    1: [scaledDeployment],
    63: [pod({ name: 'e3' }, {}, { ...waiting, phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] }), budget('guard')],
    64: [budget('second')],
    75: [pod({ name: 'b2' }, gatedSpec)],
    82: [
      pod({ name: 'tk', uid: '6980fe65-7aac-4078-ae69-d2478e3245fa' }, { serviceAccountName: 'default' }),
      object('Secret', 'v1', { metadata: { name: 'bs', namespace: 'sub-tag' }, type: 'Opaque' }),
    ],
    93: [pod({ name: 'ec' }, { containers: [resizable] }, { ...waiting, qosClass: 'Burstable' })],
    112: [pod({ name: 'rz2' }, {})],
    115: [pod({ name: 'two' }, { containers: [container, { name: 'd', image: 'x' }] })],
  },
};

/** Applies that found nothing of their name, though their answers do not say so. */
export const appliedToNothing: ReadonlySet<string> = new Set(['second/ssa:34', 'second/ssa:41', 'second/ssa:42', 'second/ssa:86']);

import type { JsonObject } from './transcript.ts';

/** One of the three: an object that came or changed, one that went, or the end of the webhooks' server. */
export interface HiddenAct {
  readonly put?: JsonObject;
  readonly remove?: JsonObject;
  readonly stopsWebhooks?: true;
}

/** Placeholders in an act for the address of the webhooks' server and its authority. */
export const webhookUrl = '{webhooks}';
export const webhookCaBundle = '{ca}';

/** Answers of the recorded cluster's webhooks, by path. */
export const webhookAnswers: Readonly<Record<string, JsonObject>> = {
  '/mutate': {
    patchType: 'JSONPatch',
    patch: Buffer.from(JSON.stringify([{ op: 'add', path: '/metadata/labels', value: { hooked: 'yes' } }])).toString('base64'),
    warnings: ['from hook'],
  },
  '/validate': { allowed: false, status: { code: 418, reason: 'Teapot', message: 'hook says no' } },
};

const admissionGroup = 'admissionregistration.k8s.io/v1';
const configMapRules = {
  operations: ['CREATE', 'UPDATE', 'DELETE'],
  apiGroups: [''],
  apiVersions: ['v1'],
  resources: ['configmaps'],
  scope: '*',
};

const webhookConfiguration = (kind: 'Mutating' | 'Validating', path: string): JsonObject => ({
  kind: `${kind}WebhookConfiguration`,
  apiVersion: admissionGroup,
  metadata: { name: 'raw2-hook' },
  webhooks: [
    {
      name: 'h.wire.example',
      clientConfig: { url: `${webhookUrl}${path}`, caBundle: webhookCaBundle },
      rules: [configMapRules],
      failurePolicy: 'Fail',
      matchPolicy: 'Equivalent',
      namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'raw2' } },
      objectSelector: {},
      sideEffects: 'None',
      timeoutSeconds: 3,
      admissionReviewVersions: ['v1'],
      reinvocationPolicy: 'Never',
    },
  ],
});

const policy: JsonObject = {
  kind: 'ValidatingAdmissionPolicy',
  apiVersion: admissionGroup,
  metadata: { name: 'raw2-vap' },
  spec: {
    failurePolicy: 'Fail',
    matchConstraints: {
      namespaceSelector: {},
      objectSelector: {},
      matchPolicy: 'Equivalent',
      resourceRules: [{ operations: ['CREATE'], apiGroups: [''], apiVersions: ['v1'], resources: ['configmaps'], scope: '*' }],
    },
    validations: [{ expression: "!('forbidden' in object.data)", message: 'no forbidden key' }],
  },
};

const policyBinding = (action: 'Deny' | 'Warn'): JsonObject => ({
  kind: 'ValidatingAdmissionPolicyBinding',
  apiVersion: admissionGroup,
  metadata: { name: 'raw2-vap' },
  spec: { policyName: 'raw2-vap', validationActions: [action] },
});

/** Made in another recording, and in force from then on. */
const limitRange: JsonObject = {
  kind: 'LimitRange',
  apiVersion: 'v1',
  metadata: { name: 'min', namespace: 'raw2' },
  spec: { limits: [{ type: 'Container', default: { cpu: '100m' }, defaultRequest: { cpu: '100m' } }] },
};

const configMap = (name: string, fields: JsonObject = {}, namespace = 'raw'): JsonObject => {
  const { labels, ...rest } = fields;
  return { kind: 'ConfigMap', apiVersion: 'v1', metadata: { name, namespace, ...(labels === undefined ? {} : { labels }) }, ...rest };
};

const rbac = 'rbac.authorization.k8s.io';
const alice = [{ kind: 'User', apiGroup: rbac, name: 'alice' }];

/** Rights of `alice` in the commands about access. */
const rolesOfAlice: readonly HiddenAct[] = [
  {
    put: {
      kind: 'Role',
      apiVersion: `${rbac}/v1`,
      metadata: { name: 'r1', namespace: 'w132' },
      rules: [{ verbs: ['get', 'list', 'watch'], apiGroups: [''], resources: ['pods', 'pods/log'] }],
    },
  },
  {
    put: {
      kind: 'RoleBinding',
      apiVersion: `${rbac}/v1`,
      metadata: { name: 'rb1', namespace: 'w132' },
      subjects: alice,
      roleRef: { apiGroup: rbac, kind: 'Role', name: 'r1' },
    },
  },
  {
    put: {
      kind: 'ClusterRole',
      apiVersion: `${rbac}/v1`,
      metadata: { name: 'cr1' },
      rules: [{ verbs: ['get'], apiGroups: [''], resources: ['nodes'] }],
    },
  },
  {
    put: {
      kind: 'ClusterRoleBinding',
      apiVersion: `${rbac}/v1`,
      metadata: { name: 'crb1' },
      subjects: alice,
      roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: 'cr1' },
    },
  },
];

const ownedBy = (manager: string, operation: string, data: JsonObject): JsonObject => ({
  manager,
  operation,
  apiVersion: 'v1',
  time: '2026-11-24T06:55:50Z',
  fieldsType: 'FieldsV1',
  fieldsV1: { 'f:data': data },
});

/** Conditions that the node controller sets for a node whose agent has not reported yet. */
const neverUpdated = (type: string): JsonObject => ({
  type,
  status: 'Unknown',
  lastHeartbeatTime: '2026-11-24T07:33:52Z',
  lastTransitionTime: '2026-11-24T07:33:53Z',
  reason: 'NodeStatusNeverUpdated',
  message: 'Kubelet never posted node status.',
});

/** Acts right before a line of a file that only titles and answers show. */
export const hiddenActs: Readonly<Record<string, Readonly<Record<number, readonly HiddenAct[]>>>> = {
  'api/list-paging': {
    1: [
      ...[0, 1, 2, 3, 4, 5, 6].map((number) => ({ put: configMap(`pg${number}`, { labels: { pg: String(number % 2) } }) })),
      { put: configMap('w2') },
      { put: configMap('kube-root-ca.crt') },
      { put: configMap('openshift-service-ca.crt') },
    ],
    3: [{ remove: configMap('pg5') }],
  },
  'api/aggregation-metrics': {
    8: [
      {
        put: {
          kind: 'APIService',
          apiVersion: 'apiregistration.k8s.io/v1',
          metadata: { name: 'v1.nosuch.example' },
          spec: {
            group: 'nosuch.example',
            version: 'v1',
            groupPriorityMinimum: 100,
            versionPriority: 100,
            insecureSkipTLSVerify: true,
            service: { namespace: 'raw2', name: 'nosuch', port: 443 },
          },
        },
      },
    ],
  },
  'kubectl/10-as': { 2: rolesOfAlice },
  'kubectl/10-cani': { 2: rolesOfAlice },
  'kubectl/10-cani-list': { 2: rolesOfAlice },
  'kubectl/10-cani-no': { 2: rolesOfAlice },
  'api/admission': {
    3: [{ remove: { kind: 'ResourceQuota', apiVersion: 'v1', metadata: { name: 'min', namespace: 'raw2' } } }, { put: limitRange }],
    4: [
      {
        put: {
          kind: 'Namespace',
          apiVersion: 'v1',
          metadata: {
            name: 'raw2-ns',
            labels: {
              'kubernetes.io/metadata.name': 'raw2-ns',
              'pod-security.kubernetes.io/enforce': 'restricted',
              'pod-security.kubernetes.io/warn': 'restricted',
            },
          },
        },
      },
      { put: { kind: 'ServiceAccount', apiVersion: 'v1', metadata: { name: 'default', namespace: 'raw2-ns' } } },
    ],
    6: [{ put: policy }, { put: policyBinding('Deny') }],
    7: [{ put: policyBinding('Warn') }],
    9: [{ remove: policyBinding('Warn') }, { put: webhookConfiguration('Mutating', '/mutate') }],
    10: [{ remove: webhookConfiguration('Mutating', '/mutate') }, { put: webhookConfiguration('Validating', '/validate') }],
    12: [{ stopsWebhooks: true }],
  },
  // Two had written it, the second by an apply that was forced.
  'kubectl/05-ssa-conflict': {
    3: [
      {
        put: {
          ...configMap('ssa', { data: { owner: 'one', shared: 'a' } }, 'w132'),
          metadata: {
            name: 'ssa',
            namespace: 'w132',
            managedFields: [
              ownedBy('one', 'Apply', { 'f:owner': {}, 'f:shared': {} }),
              ownedBy('kubectl-create', 'Update', { '.': {}, 'f:shared': {} }),
            ],
          },
        },
      },
    ],
  },
  'api/subresources': {
    40: [
      {
        put: {
          kind: 'Node',
          apiVersion: 'v1',
          metadata: { name: 'raw2-node' },
          status: {
            conditions: ['Ready', 'MemoryPressure', 'DiskPressure', 'PIDPressure'].map(neverUpdated),
            daemonEndpoints: { kubeletEndpoint: { Port: 0 } },
            nodeInfo: Object.fromEntries(
              [
                ...['machineID', 'systemUUID', 'bootID', 'kernelVersion', 'osImage', 'containerRuntimeVersion', 'kubeletVersion'],
                ...['kubeProxyVersion', 'operatingSystem', 'architecture'],
              ].map((field) => [field, '']),
            ),
          },
        },
      },
    ],
  },
  'api/validation': {
    29: [{ put: limitRange }],
    121: [
      {
        put: {
          kind: 'Node',
          apiVersion: 'v1',
          metadata: { name: 'raw2-node' },
          spec: { podCIDR: '10.244.1.0/24', podCIDRs: ['10.244.1.0/24'] },
        },
      },
    ],
    116: [{ put: configMap('imm', { data: { a: '1' }, immutable: true }, 'raw2') }],
  },
};

import type { FieldSpec } from './field-spec.ts';

/**
 * Fields of the built-in kinds that each transformer changes, as kustomize documents them ("Default transformer
 * configurations").
 */

interface PodOwner {
  readonly kind: string;
  readonly path: string;
  readonly version?: string;
}

const pod: PodOwner = { kind: 'Pod', path: 'spec' };
const podTemplate: PodOwner = { kind: 'PodTemplate', path: 'template/spec' };
const cronJob: PodOwner = { kind: 'CronJob', path: 'spec/jobTemplate/spec/template/spec' };
const workload = (kind: string): PodOwner => ({ kind, path: 'spec/template/spec' });
const workloads = ['Deployment', 'ReplicaSet', 'DaemonSet', 'StatefulSet', 'Job'].map(workload);
const podOwners: readonly PodOwner[] = [{ ...pod, version: 'v1' }, podTemplate, ...workloads, cronJob];
/** Other lists than `podOwners` name replication controllers too, but not ReplicaSets and templates. */
const serviceOwners: readonly PodOwner[] = [
  pod,
  ...['StatefulSet', 'Deployment', 'ReplicationController'].map(workload),
  cronJob,
  ...['Job', 'DaemonSet'].map(workload),
];

const inPods = (owners: readonly PodOwner[], paths: readonly string[]): readonly FieldSpec[] =>
  owners.flatMap(({ kind, path, version }) => paths.map((rest) => ({ kind, version, path: `${path}/${rest}` })));

const inContainers = (rest: string): readonly string[] => [`containers/${rest}`, `initContainers/${rest}`];

const apps = 'apps';
const batch = 'batch';
const rbac = 'rbac.authorization.k8s.io';
const admission = 'admissionregistration.k8s.io';

export const metadataLabels: FieldSpec = { path: 'metadata/labels', create: true };

export const templateLabels: readonly FieldSpec[] = [
  metadataLabels,
  { version: 'v1', kind: 'ReplicationController', path: 'spec/template/metadata/labels', create: true },
  { kind: 'Deployment', path: 'spec/template/metadata/labels', create: true },
  { kind: 'ReplicaSet', path: 'spec/template/metadata/labels', create: true },
  { kind: 'DaemonSet', path: 'spec/template/metadata/labels', create: true },
  { group: apps, kind: 'StatefulSet', path: 'spec/template/metadata/labels', create: true },
  { group: apps, kind: 'StatefulSet', path: 'spec/volumeClaimTemplates[]/metadata/labels', create: true },
  { group: batch, kind: 'Job', path: 'spec/template/metadata/labels', create: true },
  { group: batch, kind: 'CronJob', path: 'spec/jobTemplate/metadata/labels', create: true },
  { group: batch, kind: 'CronJob', path: 'spec/jobTemplate/spec/template/metadata/labels', create: true },
];

const spreadSelectors = (kind: string): readonly FieldSpec[] =>
  [
    ...['podAffinity', 'podAntiAffinity'].flatMap((affinity) => [
      `affinity/${affinity}/preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm/labelSelector/matchLabels`,
      `affinity/${affinity}/requiredDuringSchedulingIgnoredDuringExecution/labelSelector/matchLabels`,
    ]),
    'topologySpreadConstraints/labelSelector/matchLabels',
  ].map((path) => ({ group: apps, kind, path: `spec/template/spec/${path}`, create: false }));

/** Labels with their selectors: an object that selects by label goes on selecting what it did. */
export const selectorLabels: readonly FieldSpec[] = [
  { version: 'v1', kind: 'Service', path: 'spec/selector', create: true },
  { version: 'v1', kind: 'ReplicationController', path: 'spec/selector', create: true },
  { kind: 'Deployment', path: 'spec/selector/matchLabels', create: true },
  ...spreadSelectors('Deployment'),
  { kind: 'ReplicaSet', path: 'spec/selector/matchLabels', create: true },
  { kind: 'DaemonSet', path: 'spec/selector/matchLabels', create: true },
  { group: apps, kind: 'StatefulSet', path: 'spec/selector/matchLabels', create: true },
  ...spreadSelectors('StatefulSet'),
  { group: batch, kind: 'Job', path: 'spec/selector/matchLabels', create: false },
  { group: batch, kind: 'CronJob', path: 'spec/jobTemplate/spec/selector/matchLabels', create: false },
  { group: 'policy', kind: 'PodDisruptionBudget', path: 'spec/selector/matchLabels', create: false },
  { group: 'networking.k8s.io', kind: 'NetworkPolicy', path: 'spec/podSelector/matchLabels', create: false },
  { group: 'networking.k8s.io', kind: 'NetworkPolicy', path: 'spec/ingress/from/podSelector/matchLabels', create: false },
  { group: 'networking.k8s.io', kind: 'NetworkPolicy', path: 'spec/egress/to/podSelector/matchLabels', create: false },
  ...templateLabels,
];

export const commonAnnotations: readonly FieldSpec[] = [
  { path: 'metadata/annotations', create: true },
  { version: 'v1', kind: 'ReplicationController', path: 'spec/template/metadata/annotations', create: true },
  ...['Deployment', 'ReplicaSet', 'DaemonSet', 'StatefulSet'].map((kind) => ({
    kind,
    path: 'spec/template/metadata/annotations',
    create: true,
  })),
  { group: batch, kind: 'Job', path: 'spec/template/metadata/annotations', create: true },
  { group: batch, kind: 'CronJob', path: 'spec/jobTemplate/metadata/annotations', create: true },
  { group: batch, kind: 'CronJob', path: 'spec/jobTemplate/spec/template/metadata/annotations', create: true },
];

/** Beside `metadata.namespace`, which every object with a namespace gets. */
export const namespaceFields: readonly FieldSpec[] = [
  { kind: 'Namespace', path: 'metadata/name', create: true },
  { group: 'apiregistration.k8s.io', kind: 'APIService', path: 'spec/service/namespace', create: true },
  { group: 'apiextensions.k8s.io', kind: 'CustomResourceDefinition', path: 'spec/conversion/webhook/clientConfig/service/namespace' },
];

export const replicaFields: readonly FieldSpec[] = ['Deployment', 'ReplicationController', 'ReplicaSet', 'StatefulSet'].map((kind) => ({
  kind,
  path: 'spec/replicas',
  create: true,
}));

/** Images of any kind, beside those of all lists of containers. */
export const imageFields: readonly FieldSpec[] = ['spec', 'spec/template/spec'].flatMap((path) =>
  inContainers('image')
    .map((rest) => rest.replace('/', '[]/'))
    .map((rest) => ({ path: `${path}/${rest}`, create: true })),
);

/** Kinds whose name no prefix or suffix changes. */
export const fixedNames: readonly { readonly group?: string; readonly kind: string }[] = [
  { kind: 'CustomResourceDefinition' },
  { group: 'apiregistration.k8s.io', kind: 'APIService' },
  { kind: 'Namespace' },
];

export interface NameReference {
  readonly group?: string;
  readonly version?: string;
  readonly kind: string;
  readonly fields: readonly FieldSpec[];
}

const scaleTarget = (kind: string): NameReference => ({
  kind,
  fields: [{ kind: 'HorizontalPodAutoscaler', path: 'spec/scaleTargetRef/name' }],
});

const fieldsOf = (kind: string, paths: readonly string[], group?: string): readonly FieldSpec[] =>
  paths.map((path) => ({ kind, path, group }));

/** Fields that name an object of a kind. */
export const nameReferences: readonly NameReference[] = [
  ...['Deployment', 'ReplicationController', 'ReplicaSet', 'StatefulSet'].map(scaleTarget),
  {
    version: 'v1',
    kind: 'ConfigMap',
    fields: [
      ...inPods(podOwners, [
        'volumes/configMap/name',
        ...inContainers('env/valueFrom/configMapKeyRef/name'),
        ...inContainers('envFrom/configMapRef/name'),
        'volumes/projected/sources/configMap/name',
      ]),
      ...fieldsOf('Node', ['spec/configSource/configMap']),
      ...fieldsOf('Role', ['rules/resourceNames']),
      ...fieldsOf('ClusterRole', ['rules/resourceNames']),
      ...fieldsOf('Ingress', ['metadata/annotations/nginx.ingress.kubernetes.io\\/fastcgi-params-configmap']),
    ],
  },
  {
    version: 'v1',
    kind: 'Secret',
    fields: [
      ...inPods(podOwners, [
        'volumes/secret/secretName',
        ...inContainers('env/valueFrom/secretKeyRef/name'),
        ...inContainers('envFrom/secretRef/name'),
        'imagePullSecrets/name',
        'volumes/projected/sources/secret/name',
      ]),
      ...fieldsOf('Ingress', [
        'spec/tls/secretName',
        'metadata/annotations/ingress.kubernetes.io\\/auth-secret',
        'metadata/annotations/nginx.ingress.kubernetes.io\\/auth-secret',
        'metadata/annotations/nginx.ingress.kubernetes.io\\/auth-tls-secret',
      ]),
      ...fieldsOf('ServiceAccount', ['imagePullSecrets/name']),
      ...fieldsOf('StorageClass', [
        'parameters/secretName',
        'parameters/adminSecretName',
        'parameters/userSecretName',
        'parameters/secretRef',
      ]),
      ...fieldsOf('Role', ['rules/resourceNames']),
      ...fieldsOf('ClusterRole', ['rules/resourceNames']),
      {
        group: 'serving.knative.dev',
        version: 'v1',
        kind: 'Service',
        path: 'spec/template/spec/containers/env/valueFrom/secretKeyRef/name',
      },
      ...fieldsOf('PersistentVolume', ['spec/azureFile/secretName']),
    ],
  },
  {
    version: 'v1',
    kind: 'Service',
    fields: [
      ...fieldsOf('StatefulSet', ['spec/serviceName'], apps),
      ...fieldsOf('Ingress', [
        'spec/rules/http/paths/backend/serviceName',
        'spec/backend/serviceName',
        'spec/rules/http/paths/backend/service/name',
        'spec/defaultBackend/service/name',
      ]),
      ...fieldsOf('APIService', ['spec/service/name'], 'apiregistration.k8s.io'),
      ...fieldsOf('ValidatingWebhookConfiguration', ['webhooks/clientConfig/service'], admission),
      ...fieldsOf('MutatingWebhookConfiguration', ['webhooks/clientConfig/service'], admission),
    ],
  },
  { group: rbac, kind: 'Role', fields: fieldsOf('RoleBinding', ['roleRef/name'], rbac) },
  {
    group: rbac,
    kind: 'ClusterRole',
    fields: [...fieldsOf('RoleBinding', ['roleRef/name'], rbac), ...fieldsOf('ClusterRoleBinding', ['roleRef/name'], rbac)],
  },
  {
    version: 'v1',
    kind: 'ServiceAccount',
    fields: [
      ...fieldsOf('RoleBinding', ['subjects'], rbac),
      ...fieldsOf('ClusterRoleBinding', ['subjects'], rbac),
      ...inPods(serviceOwners, ['serviceAccountName']),
    ],
  },
  { version: 'v1', kind: 'PersistentVolumeClaim', fields: inPods(serviceOwners, ['volumes/persistentVolumeClaim/claimName']) },
  {
    version: 'v1',
    kind: 'PersistentVolume',
    fields: [...fieldsOf('PersistentVolumeClaim', ['spec/volumeName']), ...fieldsOf('ClusterRole', ['rules/resourceNames'])],
  },
  {
    group: 'storage.k8s.io',
    version: 'v1',
    kind: 'StorageClass',
    fields: [
      ...fieldsOf('PersistentVolume', ['spec/storageClassName']),
      ...fieldsOf('PersistentVolumeClaim', ['spec/storageClassName']),
      ...fieldsOf('StatefulSet', ['spec/volumeClaimTemplates/spec/storageClassName']),
    ],
  },
  { group: 'scheduling.k8s.io', version: 'v1', kind: 'PriorityClass', fields: inPods(serviceOwners, ['priorityClassName']) },
  {
    group: admission,
    kind: 'ValidatingAdmissionPolicy',
    fields: fieldsOf('ValidatingAdmissionPolicyBinding', ['spec/policyName'], admission),
  },
];

/** Fields in which `$(NAME)` of a variable is replaced. */
export const variableFields: readonly FieldSpec[] = [
  ...inPods([pod, ...workloads, cronJob], ['args', 'command', 'env/value', 'volumeMounts/mountPath'].flatMap(inContainers)),
  ...inPods([pod, ...workloads.filter(({ kind }) => kind !== 'StatefulSet')], ['volumes/nfs/server']),
  // As kustomize has it, which is no field of a CronJob.
  ...fieldsOf('CronJob', ['spec/jobTemplate/spec/template/volumes/nfs/server']),
  ...fieldsOf('Deployment', ['spec/template/metadata/annotations']),
  ...fieldsOf('Ingress', ['spec/rules/host', 'spec/tls/hosts', 'spec/tls/secretName']),
  ...fieldsOf('Service', ['spec/ports/port', 'spec/ports/targetPort']),
  ...fieldsOf('StatefulSet', ['spec/volumeClaimTemplates/spec/nfs/server']),
  ...fieldsOf('PersistentVolume', ['spec/nfs/server']),
  { path: 'metadata/labels' },
  { path: 'metadata/annotations' },
];

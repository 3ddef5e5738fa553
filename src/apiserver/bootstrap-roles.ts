import type { AnyBinding, RoleRef, Subject } from '../api/rbac/v1/binding-parts.ts';
import { sameRoleRef } from '../api/rbac/v1/binding-parts.ts';
import { type ClusterRole, clusterRoles } from '../api/rbac/v1/cluster-role.ts';
import { type ClusterRoleBinding, clusterRoleBindings } from '../api/rbac/v1/cluster-role-binding.ts';
import { type PolicyRule, rbacGroup } from '../api/rbac/v1/policy-rule.ts';
import { type Role, roles } from '../api/rbac/v1/role.ts';
import { type RoleBinding, roleBindings } from '../api/rbac/v1/role-binding.ts';
import { gitPath, gitPeerUser } from '../api/well-known.ts';
import type { Client, New } from '../client/client.ts';
import { deepEqual, type KubeObject } from '../machinery/object.ts';
import type { Resource } from '../machinery/resource.ts';
import { ensure } from './ensure.ts';
import { missingRights } from './rbac/rules.ts';

/**
 * The roles and bindings that every cluster has, named and worded as upstream's, so that what is written for Kubernetes finds them.
 *
 * @see Kubernetes, "Using RBAC Authorization", "Default roles and role bindings"
 */

const autoupdate = 'rbac.authorization.kubernetes.io/autoupdate';
const bootstrapLabels = { 'kubernetes.io/bootstrapping': 'rbac-defaults' };

// ------------------------------------------------------------------------------------------------------------------------------ rules

const words = (text: string): readonly string[] => text.split(' ');
/** `verbs` and `resources` are lists of words; the core group is the empty one. */
const rule = (verbs: string, group: string, resources: string): PolicyRule => ({
  verbs: words(verbs),
  apiGroups: [group],
  resources: words(resources),
});
const named = (name: string, general: PolicyRule): PolicyRule => ({ ...general, resourceNames: words(name) });
const paths = (verbs: string, urls: string): PolicyRule => ({ verbs: words(verbs), nonResourceURLs: words(urls) });

const read = 'get list watch';
const write = 'create delete deletecollection patch update';
const all = `${write} ${read}`;
const recordsEvents: readonly PolicyRule[] = [
  rule('create patch update', '', 'events'),
  rule('create patch update', 'events.k8s.io', 'events'),
];
const updatesFinalizers = (group: string, resources: string): PolicyRule => rule('update', group, resources);

const workloads =
  'controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status';

// ------------------------------------------------------------------------------------------------------------------------------ roles

interface RoleSpec {
  readonly rules?: readonly PolicyRule[];
  readonly labels?: Readonly<Record<string, string>>;
  /** The role is made of those with this label. */
  readonly aggregates?: string;
  /** Subjects of the binding of the same name; none: there is no binding. */
  readonly subjects?: readonly Subject[];
}

const group = (name: string): Subject => ({ apiGroup: rbacGroup, kind: 'Group', name });
const user = (name: string): Subject => ({ apiGroup: rbacGroup, kind: 'User', name });
const systemAccount = (name: string): Subject => ({ kind: 'ServiceAccount', name, namespace: 'kube-system' });

const aggregateTo = (role: string): string => `rbac.authorization.k8s.io/aggregate-to-${role}`;
const certificates = 'certificates.k8s.io';
const csrs = 'certificatesigningrequests';
const approves = (signer: string): readonly PolicyRule[] => [named(signer, rule('approve', certificates, 'signers'))];

/**
 * The most that a kubelet may do. The Node authorizer narrows it to the node's own pods, so no binding refers to this
 * role.
 */
const nodeRules: readonly PolicyRule[] = [
  rule('create', 'authentication.k8s.io', 'tokenreviews'),
  rule('create', 'authorization.k8s.io', 'localsubjectaccessreviews subjectaccessreviews'),
  rule(read, '', 'services'),
  rule(`create ${read}`, '', 'nodes'),
  rule('patch update', '', 'nodes/status'),
  rule('patch update', '', 'nodes'),
  rule(`create delete ${read}`, '', 'pods'),
  rule('patch update', '', 'pods/status'),
  rule('create', '', 'pods/eviction'),
  rule(read, '', 'configmaps secrets'),
  rule('get', '', 'persistentvolumeclaims persistentvolumes serviceaccounts'),
  rule('get patch update', '', 'persistentvolumeclaims/status'),
  rule('get', '', 'endpoints'),
  rule(`create ${read}`, certificates, csrs),
  rule('create delete get patch update', 'coordination.k8s.io', 'leases'),
  rule('get', 'storage.k8s.io', 'volumeattachments'),
  rule('create', '', 'serviceaccounts/token'),
  rule(read, 'storage.k8s.io', 'csidrivers'),
  rule('create delete get patch update', 'storage.k8s.io', 'csinodes'),
  rule(read, 'node.k8s.io', 'runtimeclasses'),
  rule('get', 'resource.k8s.io', 'resourceclaims'),
  rule('deletecollection', 'resource.k8s.io', 'resourceslices'),
  ...recordsEvents,
];

const clusterRoleSpecs: Readonly<Record<string, RoleSpec>> = {
  'cluster-admin': { rules: [rule('*', '*', '*'), paths('*', '*')], subjects: [group('system:masters')] },
  admin: { aggregates: aggregateTo('admin') },
  edit: { aggregates: aggregateTo('edit'), labels: { [aggregateTo('admin')]: 'true' } },
  view: { aggregates: aggregateTo('view'), labels: { [aggregateTo('edit')]: 'true' } },
  'system:aggregate-to-admin': {
    labels: { [aggregateTo('admin')]: 'true' },
    rules: [rule('create', 'authorization.k8s.io', 'localsubjectaccessreviews'), rule(all, rbacGroup, 'rolebindings roles')],
  },
  'system:aggregate-to-edit': {
    labels: { [aggregateTo('edit')]: 'true' },
    rules: [
      rule(read, '', 'pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy'),
      rule('impersonate', '', 'serviceaccounts'),
      rule(write, '', 'pods pods/attach pods/exec pods/portforward pods/proxy'),
      rule('create', '', 'pods/eviction'),
      rule(
        write,
        '',
        'configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets serviceaccounts services services/proxy',
      ),
      rule('create', '', 'serviceaccounts/token'),
      rule(
        write,
        'apps',
        'daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale',
      ),
      rule(write, 'autoscaling', 'horizontalpodautoscalers'),
      rule(write, 'batch', 'cronjobs jobs'),
      rule(write, 'events.k8s.io', 'events'),
      rule(
        write,
        'extensions',
        'daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets replicasets/scale replicationcontrollers/scale',
      ),
      rule(write, 'policy', 'poddisruptionbudgets'),
      rule(write, 'networking.k8s.io', 'ingresses networkpolicies'),
      rule(write, 'resource.k8s.io', 'resourceclaims resourceclaimtemplates'),
      rule(all, 'coordination.k8s.io', 'leases'),
    ],
  },
  'system:aggregate-to-view': {
    labels: { [aggregateTo('view')]: 'true' },
    rules: [
      rule(
        read,
        '',
        'configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status',
      ),
      rule(
        read,
        '',
        'bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status resourcequotas resourcequotas/status',
      ),
      rule(read, '', 'namespaces'),
      rule(read, 'discovery.k8s.io', 'endpointslices'),
      rule(read, 'apps', workloads),
      rule(read, 'autoscaling', 'horizontalpodautoscalers horizontalpodautoscalers/status'),
      rule(read, 'batch', 'cronjobs cronjobs/status jobs jobs/status'),
      rule(read, 'events.k8s.io', 'events'),
      rule(
        read,
        'extensions',
        'daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale',
      ),
      rule(read, 'policy', 'poddisruptionbudgets poddisruptionbudgets/status'),
      rule(read, 'networking.k8s.io', 'ingresses ingresses/status networkpolicies'),
      rule(read, 'resource.k8s.io', 'resourceclaims resourceclaims/status resourceclaimtemplates'),
    ],
  },
  'system:discovery': {
    rules: [paths('get', '/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/')],
    subjects: [group('system:authenticated')],
  },
  'system:public-info-viewer': {
    rules: [paths('get', '/healthz /livez /readyz /version /version/')],
    subjects: [group('system:authenticated'), group('system:unauthenticated')],
  },
  'system:basic-user': {
    rules: [
      rule('create', 'authorization.k8s.io', 'selfsubjectaccessreviews selfsubjectrulesreviews'),
      rule('create', 'authentication.k8s.io', 'selfsubjectreviews'),
    ],
    subjects: [group('system:authenticated')],
  },
  'system:monitoring': {
    rules: [rule('get', '', 'nodes/metrics'), paths('get', '/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*')],
    subjects: [group('system:monitoring')],
  },
  'system:service-account-issuer-discovery': {
    rules: [paths('get', '/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/')],
    subjects: [group('system:serviceaccounts')],
  },
  'system:node': { rules: nodeRules, subjects: [] },
  'system:node-problem-detector': { rules: [rule('get', '', 'nodes'), rule('patch', '', 'nodes/status'), ...recordsEvents] },
  'system:node-proxier': {
    rules: [
      rule('list watch', '', 'endpoints services'),
      rule(read, '', 'nodes'),
      rule('list watch', 'discovery.k8s.io', 'endpointslices'),
      rule('list watch', 'networking.k8s.io', 'servicecidrs'),
      ...recordsEvents,
    ],
    subjects: [user('system:kube-proxy')],
  },
  'system:node-bootstrapper': { rules: [rule(`create ${read}`, certificates, csrs)] },
  'system:kubelet-api-admin': {
    rules: [
      rule(read, '', 'nodes'),
      rule('proxy', '', 'nodes'),
      rule('*', '', 'nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/spec nodes/stats'),
    ],
  },
  'system:auth-delegator': {
    rules: [rule('create', 'authentication.k8s.io', 'tokenreviews'), rule('create', 'authorization.k8s.io', 'subjectaccessreviews')],
  },
  'system:kube-aggregator': { rules: [rule(read, '', 'endpoints services')] },
  'system:kube-dns': { rules: [rule('list watch', '', 'endpoints services')], subjects: [systemAccount('kube-dns')] },
  'system:persistent-volume-provisioner': {
    rules: [
      rule('create delete get list watch', '', 'persistentvolumes'),
      rule('get list update watch', '', 'persistentvolumeclaims'),
      rule(read, 'storage.k8s.io', 'storageclasses'),
      rule('watch', '', 'events'),
      ...recordsEvents,
    ],
  },
  'system:volume-scheduler': {
    rules: [
      rule('get list patch update watch', '', 'persistentvolumes'),
      rule(read, 'storage.k8s.io', 'storageclasses'),
      rule('get list patch update watch', '', 'persistentvolumeclaims'),
    ],
    subjects: [user('system:kube-scheduler')],
  },
  'system:certificates.k8s.io:certificatesigningrequests:nodeclient': { rules: [rule('create', certificates, `${csrs}/nodeclient`)] },
  'system:certificates.k8s.io:certificatesigningrequests:selfnodeclient': {
    rules: [rule('create', certificates, `${csrs}/selfnodeclient`)],
  },
  'system:certificates.k8s.io:legacy-unknown-approver': { rules: approves('kubernetes.io/legacy-unknown') },
  'system:certificates.k8s.io:kubelet-serving-approver': { rules: approves('kubernetes.io/kubelet-serving') },
  'system:certificates.k8s.io:kube-apiserver-client-approver': { rules: approves('kubernetes.io/kube-apiserver-client') },
  'system:certificates.k8s.io:kube-apiserver-client-kubelet-approver': { rules: approves('kubernetes.io/kube-apiserver-client-kubelet') },
  'system:kube-controller-manager': {
    rules: [
      ...recordsEvents,
      rule('create', 'coordination.k8s.io', 'leases'),
      named('kube-controller-manager', rule('get update', 'coordination.k8s.io', 'leases')),
      rule('create', '', 'secrets serviceaccounts'),
      rule('delete', '', 'secrets'),
      rule('get', '', 'configmaps namespaces secrets serviceaccounts'),
      rule('update', '', 'secrets serviceaccounts'),
      rule('create', 'authentication.k8s.io', 'tokenreviews'),
      rule('create', 'authorization.k8s.io', 'subjectaccessreviews'),
      rule('list watch', '*', '*'),
      rule('create', '', 'serviceaccounts/token'),
    ],
    subjects: [user('system:kube-controller-manager')],
  },
  'system:kube-scheduler': {
    rules: [
      ...recordsEvents,
      rule('create', 'coordination.k8s.io', 'leases'),
      named('kube-scheduler', rule('get list update watch', 'coordination.k8s.io', 'leases')),
      rule(read, '', 'nodes'),
      rule('delete get list watch', '', 'pods'),
      rule('create', '', 'bindings pods/binding'),
      rule('patch update', '', 'pods/status'),
      rule(read, '', 'replicationcontrollers services'),
      rule(read, 'apps', 'replicasets statefulsets'),
      rule(read, 'policy', 'poddisruptionbudgets'),
      rule('get list watch', '', 'persistentvolumeclaims persistentvolumes'),
      rule('create', 'authentication.k8s.io', 'tokenreviews'),
      rule('create', 'authorization.k8s.io', 'subjectaccessreviews'),
      rule(read, 'storage.k8s.io', 'csidrivers csinodes csistoragecapacities volumeattachments'),
      rule(read, '', 'namespaces'),
      updatesFinalizers('', 'pods/finalizers'),
      rule('create get list update watch', 'coordination.k8s.io', 'leasecandidates'),
      rule('create delete', 'resource.k8s.io', 'resourceclaims'),
      rule('get list patch update watch', 'resource.k8s.io', 'resourceclaims resourceclaims/status'),
      rule('patch update', 'resource.k8s.io', 'resourceclaims/binding'),
      rule(read, 'resource.k8s.io', 'deviceclasses resourceslices'),
    ],
    subjects: [user('system:kube-scheduler')],
  },
};

/** The controllers of kube-controller-manager, which may run under accounts of their own. */
const controllerRules: Readonly<Record<string, readonly PolicyRule[]>> = {
  'attachdetach-controller': [
    rule('list watch', '', 'persistentvolumeclaims persistentvolumes'),
    rule(read, '', 'nodes'),
    rule('patch update', '', 'nodes/status'),
    rule('list watch', '', 'pods'),
    rule('create delete get list watch', 'storage.k8s.io', 'volumeattachments'),
    rule(read, 'storage.k8s.io', 'csidrivers csinodes'),
  ],
  'certificate-controller': [
    rule('delete get list watch', certificates, csrs),
    rule('update', certificates, `${csrs}/approval ${csrs}/status`),
    named('kubernetes.io/kube-apiserver-client-kubelet', rule('approve', certificates, 'signers')),
    named(
      'kubernetes.io/kube-apiserver-client kubernetes.io/kube-apiserver-client-kubelet kubernetes.io/kubelet-serving kubernetes.io/legacy-unknown',
      rule('sign', certificates, 'signers'),
    ),
    rule('create', 'authorization.k8s.io', 'subjectaccessreviews'),
  ],
  'clusterrole-aggregation-controller': [rule('escalate get list patch update watch', rbacGroup, 'clusterroles')],
  'cronjob-controller': [
    rule('get list update watch', 'batch', 'cronjobs'),
    rule('create delete get list patch update watch', 'batch', 'jobs'),
    rule('update', 'batch', 'cronjobs/status'),
    updatesFinalizers('batch', 'cronjobs/finalizers'),
    rule('delete list watch', '', 'pods'),
  ],
  'daemon-set-controller': [
    rule(read, 'apps', 'daemonsets'),
    rule('update', 'apps', 'daemonsets/status'),
    updatesFinalizers('apps', 'daemonsets/finalizers'),
    rule('list watch', '', 'nodes'),
    rule('create delete list patch watch', '', 'pods'),
    rule('create', '', 'pods/binding'),
    rule('create delete get list patch update watch', 'apps', 'controllerrevisions'),
  ],
  'deployment-controller': [
    rule('get list update watch', 'apps', 'deployments'),
    rule('update', 'apps', 'deployments/status'),
    updatesFinalizers('apps', 'deployments/finalizers'),
    rule('create delete get list patch update watch', 'apps', 'replicasets'),
    rule('get list update watch', '', 'pods'),
  ],
  'disruption-controller': [
    rule(read, 'apps', 'deployments replicasets statefulsets'),
    rule(read, '', 'replicationcontrollers'),
    rule(read, 'policy', 'poddisruptionbudgets'),
    rule('update', 'policy', 'poddisruptionbudgets/status'),
    rule('patch update', '', 'pods/status'),
    rule('get', '*', '*/scale'),
  ],
  'endpoint-controller': [
    rule(read, '', 'pods services'),
    rule('create delete get list update', '', 'endpoints'),
    rule('create', '', 'endpoints/restricted'),
  ],
  'endpointslice-controller': [
    rule(read, '', 'nodes pods services'),
    updatesFinalizers('', 'services/finalizers'),
    rule('create delete get list update', 'discovery.k8s.io', 'endpointslices'),
    rule('create', 'discovery.k8s.io', 'endpointslices/restricted'),
  ],
  'endpointslicemirroring-controller': [
    rule(read, '', 'endpoints services'),
    updatesFinalizers('', 'endpoints/finalizers services/finalizers'),
    rule('create delete get list update', 'discovery.k8s.io', 'endpointslices'),
    rule('create', 'discovery.k8s.io', 'endpointslices/restricted'),
  ],
  'ephemeral-volume-controller': [
    updatesFinalizers('', 'pods/finalizers'),
    rule(read, '', 'pods'),
    rule(`create ${read}`, '', 'persistentvolumeclaims'),
  ],
  'expand-controller': [
    rule('get list patch update watch', '', 'persistentvolumes'),
    rule('patch update', '', 'persistentvolumeclaims/status'),
    rule(read, '', 'persistentvolumeclaims'),
  ],
  'generic-garbage-collector': [rule('delete get list patch update watch', '*', '*')],
  'horizontal-pod-autoscaler': [
    rule(read, 'autoscaling', 'horizontalpodautoscalers'),
    rule('update', 'autoscaling', 'horizontalpodautoscalers/status'),
    rule('get update', '*', '*/scale'),
    rule('list', '', 'pods'),
    rule('list', 'metrics.k8s.io', 'pods'),
    rule('get list', 'custom.metrics.k8s.io', '*'),
    rule('get list', 'external.metrics.k8s.io', '*'),
  ],
  'job-controller': [
    rule('get list patch update watch', 'batch', 'jobs'),
    rule('update', 'batch', 'jobs/status'),
    updatesFinalizers('batch', 'jobs/finalizers'),
    rule('create delete list patch watch', '', 'pods'),
  ],
  'legacy-service-account-token-cleaner': [
    named('kube-apiserver-legacy-service-account-token-tracking', rule('get', '', 'configmaps')),
    rule('delete patch', '', 'secrets'),
  ],
  'namespace-controller': [
    rule('delete get list watch', '', 'namespaces'),
    rule('update', '', 'namespaces/finalize namespaces/status'),
    rule('delete deletecollection get list', '*', '*'),
  ],
  'node-controller': [
    rule('delete get list patch update', '', 'nodes'),
    rule('patch update', '', 'nodes/status'),
    rule('patch update', '', 'pods/status'),
    rule('delete get list', '', 'pods'),
  ],
  'persistent-volume-binder': [
    rule('create delete get list update watch', '', 'persistentvolumes'),
    rule('update', '', 'persistentvolumes/status'),
    rule('get list update watch', '', 'persistentvolumeclaims'),
    rule('update', '', 'persistentvolumeclaims/status'),
    rule('create delete get list watch', '', 'pods'),
    rule(read, 'storage.k8s.io', 'storageclasses'),
    rule(read, '', 'nodes'),
    rule('get list', '', 'secrets'),
  ],
  'pod-garbage-collector': [rule('delete list watch', '', 'pods'), rule('get list', '', 'nodes'), rule('patch', '', 'pods/status')],
  'pv-protection-controller': [rule('get list update watch', '', 'persistentvolumes')],
  'pvc-protection-controller': [rule('get list update watch', '', 'persistentvolumeclaims'), rule(read, '', 'pods')],
  'replicaset-controller': [
    rule('get list update watch', 'apps', 'replicasets'),
    rule('update', 'apps', 'replicasets/status'),
    updatesFinalizers('apps', 'replicasets/finalizers'),
    rule('create delete list patch watch', '', 'pods'),
  ],
  'replication-controller': [
    rule('get list update watch', '', 'replicationcontrollers'),
    rule('update', '', 'replicationcontrollers/status'),
    updatesFinalizers('', 'replicationcontrollers/finalizers'),
    rule('create delete list patch watch', '', 'pods'),
  ],
  'resource-claim-controller': [
    rule(read, '', 'pods'),
    updatesFinalizers('', 'pods/finalizers'),
    rule('create delete get list watch', 'resource.k8s.io', 'resourceclaims'),
    rule(read, 'resource.k8s.io', 'resourceclaimtemplates'),
    rule('patch update', 'resource.k8s.io', 'resourceclaims resourceclaims/status'),
    rule('patch update', '', 'pods/status'),
  ],
  'resourcequota-controller': [rule('list watch', '*', '*'), rule('update', '', 'resourcequotas/status')],
  'root-ca-cert-publisher': [rule('create update', '', 'configmaps')],
  'route-controller': [rule('list watch', '', 'nodes'), rule('patch update', '', 'nodes/status')],
  'selinux-warning-controller': [
    rule(read, '', 'persistentvolumeclaims persistentvolumes pods'),
    rule(read, 'storage.k8s.io', 'csidrivers'),
  ],
  'service-account-controller': [rule('create', '', 'serviceaccounts')],
  'service-cidrs-controller': [
    rule('get list patch update watch', 'networking.k8s.io', 'servicecidrs'),
    rule('patch update', 'networking.k8s.io', 'servicecidrs/finalizers servicecidrs/status'),
    rule(read, 'networking.k8s.io', 'ipaddresses'),
  ],
  'service-controller': [rule(read, '', 'services'), rule('patch update', '', 'services/status'), rule('list watch', '', 'nodes')],
  'statefulset-controller': [
    rule('list watch', '', 'pods'),
    rule(read, 'apps', 'statefulsets'),
    rule('update', 'apps', 'statefulsets/status'),
    updatesFinalizers('apps', 'statefulsets/finalizers'),
    rule('create delete get patch update', '', 'pods'),
    updatesFinalizers('', 'pods/finalizers'),
    rule('create delete get list patch update watch', 'apps', 'controllerrevisions'),
    rule('create get', '', 'persistentvolumeclaims'),
    rule('delete list update watch', '', 'persistentvolumeclaims'),
  ],
  'ttl-after-finished-controller': [rule('delete get list watch', 'batch', 'jobs')],
  'ttl-controller': [rule('list patch update watch', '', 'nodes')],
  'validatingadmissionpolicy-status-controller': [
    rule(read, 'admissionregistration.k8s.io', 'validatingadmissionpolicies'),
    rule('get patch update', 'admissionregistration.k8s.io', 'validatingadmissionpolicies/status'),
  ],
  'volumeattributesclass-protection-controller': [
    rule(read, '', 'persistentvolumeclaims persistentvolumes'),
    rule('get list update watch', 'storage.k8s.io', 'volumeattributesclasses'),
  ],
};

interface NamespacedSpec extends Required<Pick<RoleSpec, 'rules' | 'subjects'>> {
  readonly namespace: 'kube-public' | 'kube-system';
  readonly name: string;
  /** Name of the binding, where it is another. */
  readonly binding?: string;
}

const leaderLocking = (component: string, more: readonly Subject[] = []): NamespacedSpec => ({
  namespace: 'kube-system',
  name: `system::leader-locking-${component}`,
  rules: [
    rule('watch', '', 'configmaps'),
    named(component, rule('get update', '', 'configmaps')),
    rule('create get list update watch', 'coordination.k8s.io', 'leasecandidates leases'),
  ],
  subjects: [user(`system:${component}`), systemAccount(component), ...more],
});

/** Servers of one cluster ask each other for the built-in Git remote, and for nothing else. */
const serverRoleSpecs: Readonly<Record<string, RoleSpec>> = {
  [gitPeerUser]: { rules: [paths('get post', `${gitPath}*`)], subjects: [user(gitPeerUser)] },
};

/** Roles of one namespace, each with its binding. */
const namespacedSpecs: readonly NamespacedSpec[] = [
  {
    namespace: 'kube-system',
    name: 'extension-apiserver-authentication-reader',
    binding: 'system::extension-apiserver-authentication-reader',
    rules: [named('extension-apiserver-authentication', rule(read, '', 'configmaps'))],
    subjects: [user('system:kube-controller-manager'), user('system:kube-scheduler')],
  },
  leaderLocking('kube-controller-manager', [systemAccount('leader-election-controller')]),
  leaderLocking('kube-scheduler'),
  {
    namespace: 'kube-system',
    name: 'system:controller:bootstrap-signer',
    rules: [rule(read, '', 'secrets')],
    subjects: [systemAccount('bootstrap-signer')],
  },
  {
    namespace: 'kube-public',
    name: 'system:controller:bootstrap-signer',
    rules: [rule(read, '', 'configmaps'), named('cluster-info', rule('update', '', 'configmaps')), ...recordsEvents],
    subjects: [systemAccount('bootstrap-signer')],
  },
  {
    namespace: 'kube-system',
    name: 'system:controller:cloud-provider',
    rules: [rule('create get list watch', '', 'configmaps')],
    subjects: [systemAccount('cloud-provider')],
  },
  {
    namespace: 'kube-system',
    name: 'system:controller:token-cleaner',
    rules: [rule(`delete ${read}`, '', 'secrets'), ...recordsEvents],
    subjects: [systemAccount('token-cleaner')],
  },
];

// --------------------------------------------------------------------------------------------------------------------------- bringing in

/**
 * Creates missing roles and bindings, and adds missing rules and subjects to existing ones, unless their annotation
 * `rbac.authorization.kubernetes.io/autoupdate` is `false`. Runs at each start, before any client is admitted.
 *
 * @param client  client of the API server's own user
 */
export async function bootstrapRoles(
  client: Client,
  { admitsMachines = false }: { readonly admitsMachines?: boolean } = {},
): Promise<void> {
  const specs = Object.entries(admitsMachines ? { ...clusterRoleSpecs, ...serverRoleSpecs } : clusterRoleSpecs).concat(
    Object.entries(controllerRules).map(([name, rules]) => [
      `system:controller:${name}`,
      { rules: [...rules, ...recordsEvents], subjects: [systemAccount(name)] },
    ]),
  );
  // All at once: they share commits.
  await Promise.all([
    ...specs.map(([name, spec]) =>
      ensureRole<ClusterRole>(client, clusterRoles, { wanted: clusterRoleOf(name, spec), complete: withRights }),
    ),
    ...specs.flatMap(([name, { subjects }]) =>
      subjects === undefined
        ? []
        : [
            ensureRole<ClusterRoleBinding>(client, clusterRoleBindings, {
              wanted: clusterRoleBindingOf(name, subjects),
              complete: withSubjects,
            }),
          ],
    ),
    ...(admitsMachines ? machineBindings : []).map((wanted) =>
      ensureRole<ClusterRoleBinding>(client, clusterRoleBindings, { wanted, complete: withSubjects }),
    ),
    ...namespacedSpecs.flatMap(({ namespace, name, binding = name, rules, subjects }) => [
      ensureRole<Role>(client, roles, {
        wanted: { apiVersion, kind: 'Role', metadata: metadataOf(name, namespace), rules },
        complete: withRights,
      }),
      ensureRole<RoleBinding>(client, roleBindings, {
        wanted: {
          apiVersion,
          kind: 'RoleBinding',
          metadata: metadataOf(binding, namespace),
          roleRef: { apiGroup: rbacGroup, kind: 'Role', name },
          subjects,
        },
        complete: withSubjects,
      }),
    ]),
  ]);
}

const apiVersion = `${rbacGroup}/v1`;

const metadataOf = (name: string, namespace?: string, labels: Readonly<Record<string, string>> = {}): KubeObject['metadata'] => ({
  name,
  ...(namespace === undefined ? {} : { namespace }),
  labels: { ...bootstrapLabels, ...labels },
  annotations: { [autoupdate]: 'true' },
});

const clusterRoleOf = (name: string, { rules, labels, aggregates }: RoleSpec): ClusterRole => ({
  apiVersion,
  kind: 'ClusterRole',
  metadata: metadataOf(name, undefined, labels),
  ...(aggregates === undefined
    ? { rules: rules ?? [] }
    : { rules: [], aggregationRule: { clusterRoleSelectors: [{ matchLabels: { [aggregates]: 'true' } }] } }),
});

const clusterRoleBindingOf = (name: string, subjects: readonly Subject[]): ClusterRoleBinding => ({
  apiVersion,
  kind: 'ClusterRoleBinding',
  metadata: metadataOf(name),
  roleRef: { apiGroup: rbacGroup, kind: 'ClusterRole', name },
  subjects,
});

/**
 * Machines join by a bootstrap token and renew what they got, as kubeadm sets it up. Each runs its own Service proxy and
 * routes to the others.
 */
const machineBindings: readonly ClusterRoleBinding[] = (
  [
    ['midship:node-bootstrapper', 'system:node-bootstrapper', 'system:bootstrappers'],
    ['midship:node-autoapprove-bootstrap', 'system:certificates.k8s.io:certificatesigningrequests:nodeclient', 'system:bootstrappers'],
    ['midship:node-autoapprove-renewal', 'system:certificates.k8s.io:certificatesigningrequests:selfnodeclient', 'system:nodes'],
    ['midship:node-proxier', 'system:node-proxier', 'system:nodes'],
  ] as const
).map(([name, role, subject]) => ({
  ...clusterRoleBindingOf(name, [group(subject)]),
  roleRef: { apiGroup: rbacGroup, kind: 'ClusterRole', name: role },
}));

/** The stored role with the rights it lacks; more than that is a person's choice and stays. */
function withRights<T extends Role | ClusterRole>(stored: T, wanted: T): T {
  const missing = missingRights(stored.rules ?? [], wanted.rules ?? []) ?? [];
  const aggregationRule = (wanted as ClusterRole).aggregationRule;
  const rules = missing.length === 0 ? stored : { ...stored, rules: [...(stored.rules ?? []), ...missing] };
  return aggregationRule === undefined || deepEqual((stored as ClusterRole).aggregationRule, aggregationRule)
    ? rules
    : { ...rules, aggregationRule };
}

function withSubjects<T extends AnyBinding>(stored: T, wanted: T): T {
  const known = stored.subjects ?? [];
  const missing = (wanted.subjects ?? []).filter((subject) => !known.some((each) => sameSubject(each, subject)));
  return missing.length === 0 ? stored : { ...stored, subjects: [...known, ...missing] };
}

const sameSubject = (a: Subject, b: Subject): boolean =>
  a.kind === b.kind && a.name === b.name && (a.namespace ?? '') === (b.namespace ?? '');

function withMetadata<T extends KubeObject>(stored: T, wanted: T): T {
  const labels = { ...stored.metadata.labels, ...wanted.metadata.labels };
  const annotations = { ...wanted.metadata.annotations, ...stored.metadata.annotations };
  if (deepEqual(labels, stored.metadata.labels) && deepEqual(annotations, stored.metadata.annotations)) return stored;
  return { ...stored, metadata: { ...stored.metadata, labels, annotations } };
}

interface Ensured<T> {
  readonly wanted: T;
  complete(stored: T, wanted: T): T;
}

/** Creates the object or completes the stored one, unless a person keeps it. */
function ensureRole<T extends KubeObject>(client: Client, resource: Resource<T>, { wanted, complete }: Ensured<T>): Promise<void> {
  const isKept = ({ metadata }: T): boolean => metadata.annotations?.[autoupdate] === 'false';
  return ensure(client, resource, {
    object: wanted as New<T>,
    change: (stored) => (isKept(stored) ? stored : withMetadata(complete(stored, wanted), wanted)),
    // The role of a binding is immutable.
    replaces: (stored) => !isKept(stored) && isOtherRole(stored, wanted),
  });
}

function isOtherRole(stored: KubeObject, wanted: KubeObject): boolean {
  const { roleRef } = stored as { readonly roleRef?: RoleRef };
  const { roleRef: other } = wanted as { readonly roleRef?: RoleRef };
  return roleRef !== undefined && other !== undefined && !sameRoleRef(roleRef, other);
}

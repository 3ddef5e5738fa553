import type { KubeObject } from '../../../machinery/object.ts';
import { parseApiVersion } from '../../../machinery/resource.ts';

/**
 * Rules for the status of well-known custom kinds, as the documents of their projects have it. They are expressions in CEL, like those of
 * `spec.healthCheckExprs`, which come before these. The first that holds counts, in the order of the fields. An expression about a missing
 * field does not hold. An object for which none holds is on its way.
 */
export interface KindRule {
  /** `*.` in front means every group below. */
  readonly group: string;
  /** Absent: all kinds of the group but those of `except`. */
  readonly kinds?: readonly string[];
  readonly except?: readonly string[];
  readonly suspended?: string;
  readonly failed?: string;
  readonly inProgress?: string;
  readonly current: string;
  /** Conditions whose message says why, the first that has one. */
  readonly tells?: readonly string[];
  /** The controller may have nothing to write: a missing status counts as a healthy one. */
  readonly mayLackStatus?: true;
}

const is = (type: string, status: 'True' | 'False'): string =>
  `status.conditions.exists(c, c.type == '${type}' && c.status == '${status}')`;
const because = (type: string, status: 'True' | 'False', ...reasons: readonly string[]): string =>
  `status.conditions.exists(c, c.type == '${type}' && c.status == '${status}' && c.reason in [${quoted(reasons)}])`;
const oneOf = (field: string, ...values: readonly string[]): string => `${field} in [${quoted(values)}]`;
const quoted = (values: readonly string[]): string => values.map((value) => `'${value}'`).join(', ');
const any = (...expressions: readonly string[]): string => expressions.join(' || ');
const all = (...expressions: readonly string[]): string => expressions.map((expression) => `(${expression})`).join(' && ');

/** For kinds whose controller writes `Ready=False` only when something is wrong, and nothing or `Unknown` before. */
const falseIsFailure = { failed: is('Ready', 'False'), current: is('Ready', 'True') } as const;
const phases = (field: string, { failed, current }: { readonly failed: readonly string[]; readonly current: readonly string[] }) => ({
  failed: oneOf(field, ...failed),
  current: oneOf(field, ...current),
});

const routeCondition = (type: string, status: 'True' | 'False'): string =>
  `p.conditions.exists(c, c.type == '${type}' && c.status == '${status}')`;

export const kindRules: readonly KindRule[] = [
  // cert-manager: a certificate that is being issued is not ready, and one whose issuance failed is tried again after an hour.
  {
    group: 'cert-manager.io',
    kinds: ['Certificate'],
    failed: all(is('Ready', 'False'), because('Issuing', 'False', 'Failed')),
    inProgress: is('Issuing', 'True'),
    current: is('Ready', 'True'),
    tells: ['Issuing', 'Ready'],
  },
  { group: 'cert-manager.io', kinds: ['Issuer', 'ClusterIssuer'], ...falseIsFailure },
  {
    group: 'cert-manager.io',
    kinds: ['CertificateRequest'],
    failed: any(because('Ready', 'False', 'Failed', 'Denied'), is('InvalidRequest', 'True'), is('Denied', 'True')),
    current: is('Ready', 'True'),
  },
  {
    group: 'acme.cert-manager.io',
    kinds: ['Order', 'Challenge'],
    ...phases('status.state', { failed: ['invalid', 'errored', 'expired'], current: ['valid'] }),
  },
  // External Secrets Operator, Sealed Secrets.
  {
    group: 'external-secrets.io',
    kinds: ['ExternalSecret', 'ClusterExternalSecret', 'PushSecret', 'SecretStore', 'ClusterSecretStore'],
    ...falseIsFailure,
  },
  { group: 'bitnami.com', kinds: ['SealedSecret'], failed: is('Synced', 'False'), current: is('Synced', 'True'), tells: ['Synced'] },
  // Argo.
  {
    group: 'argoproj.io',
    kinds: ['Rollout'],
    suspended: "status.phase == 'Paused'",
    failed: any(is('InvalidSpec', 'True'), "status.phase == 'Degraded'"),
    current: "status.phase == 'Healthy'",
    tells: ['InvalidSpec'],
  },
  {
    group: 'argoproj.io',
    kinds: ['Application'],
    suspended: "status.health.status == 'Suspended'",
    failed: "status.health.status == 'Degraded'",
    current: "status.health.status == 'Healthy'",
  },
  {
    group: 'argoproj.io',
    kinds: ['AnalysisRun', 'Experiment', 'Workflow'],
    ...phases('status.phase', { failed: ['Failed', 'Error'], current: ['Successful', 'Succeeded'] }),
  },
  // CloudNativePG.
  {
    group: 'postgresql.cnpg.io',
    kinds: ['Cluster'],
    suspended: any(is('cnpg.io/hibernation', 'True'), "metadata.annotations['cnpg.io/reconciliationLoop'] == 'disabled'"),
    failed: oneOf(
      'status.phase',
      'Waiting for user action',
      'Unable to create required cluster objects',
      'Cluster cannot proceed to reconciliation due to an unknown plugin being required',
      'Cluster cannot execute instance online upgrade due to missing architecture binary',
      'Cluster has incomplete or invalid image catalog',
      'Cluster is unrecoverable and needs manual intervention',
    ),
    current: "status.phase == 'Cluster in healthy state'",
  },
  { group: 'postgresql.cnpg.io', kinds: ['Backup'], ...phases('status.phase', { failed: ['failed'], current: ['completed'] }) },
  // Crossplane: `Synced=False` is an error of the provider, `Ready=False` a resource that is being made.
  {
    group: 'pkg.crossplane.io',
    kinds: ['Provider', 'Function', 'Configuration'],
    current: all(is('Installed', 'True'), is('Healthy', 'True')),
    tells: ['Healthy', 'Installed'],
  },
  {
    group: 'apiextensions.crossplane.io',
    kinds: ['CompositeResourceDefinition'],
    current: is('Established', 'True'),
    tells: ['Established'],
  },
  ...['*.crossplane.io', '*.upbound.io'].map((group) => ({
    group,
    except: [
      'Composition',
      'CompositionRevision',
      'ProviderConfig',
      'ClusterProviderConfig',
      'ProviderConfigUsage',
      'ControllerConfig',
      'DeploymentRuntimeConfig',
      'EnvironmentConfig',
      'Lock',
      'ProviderRevision',
      'FunctionRevision',
      'ConfigurationRevision',
      'StoreConfig',
      'Usage',
      'ImageConfig',
    ],
    failed: any(because('Synced', 'False', 'ReconcileError'), is('LastAsyncOperation', 'False')),
    current: is('Ready', 'True'),
    tells: ['LastAsyncOperation', 'Synced', 'Ready'],
  })),
  // KEDA.
  { group: 'keda.sh', kinds: ['ScaledObject', 'ScaledJob'], suspended: is('Paused', 'True'), ...falseIsFailure },
  // Prometheus operator.
  {
    group: 'monitoring.coreos.com',
    kinds: ['Prometheus', 'PrometheusAgent', 'Alertmanager', 'ThanosRuler'],
    failed: is('Reconciled', 'False'),
    current: all(is('Available', 'True'), is('Reconciled', 'True')),
    tells: ['Reconciled', 'Available'],
  },
  // Gateway API: `Accepted` and `ResolvedRefs` are about the object, `Programmed` about the data plane, which follows.
  {
    group: 'gateway.networking.k8s.io',
    kinds: ['GatewayClass'],
    failed: is('Accepted', 'False'),
    current: is('Accepted', 'True'),
    tells: ['Accepted'],
  },
  {
    group: 'gateway.networking.k8s.io',
    kinds: ['Gateway'],
    failed: any(
      is('Accepted', 'False'),
      "status.listeners.exists(l, l.conditions.exists(c, c.type in ['Accepted', 'ResolvedRefs'] && c.status == 'False'))",
    ),
    current: all(is('Accepted', 'True'), is('Programmed', 'True')),
    tells: ['Accepted', 'Programmed'],
  },
  {
    group: 'gateway.networking.k8s.io',
    kinds: ['HTTPRoute', 'GRPCRoute', 'TCPRoute', 'TLSRoute', 'UDPRoute'],
    failed: `status.parents.exists(p, ${any(routeCondition('Accepted', 'False'), routeCondition('ResolvedRefs', 'False'))})`,
    current: `status.parents.size() > 0 && status.parents.all(p, ${routeCondition('Accepted', 'True')})`,
  },
  // Cluster API.
  {
    group: 'cluster.x-k8s.io',
    kinds: ['Cluster', 'Machine', 'MachineDeployment', 'MachinePool'],
    suspended: 'spec.paused == true',
    failed: "status.phase == 'Failed'",
    current: oneOf('status.phase', 'Provisioned', 'Running'),
  },
  // KubeVirt and its importer of disks.
  {
    group: 'kubevirt.io',
    kinds: ['VirtualMachine'],
    suspended: any(is('Paused', 'True'), oneOf('status.printableStatus', 'Stopped', 'Paused')),
    failed: oneOf(
      'status.printableStatus',
      'CrashLoopBackOff',
      'ErrorUnschedulable',
      'ErrImagePull',
      'ImagePullBackOff',
      'ErrorPvcNotFound',
      'DataVolumeError',
    ),
    current: is('Ready', 'True'),
  },
  {
    group: 'kubevirt.io',
    kinds: ['VirtualMachineInstance'],
    failed: "status.phase == 'Failed'",
    current: any("status.phase == 'Succeeded'", is('Ready', 'True')),
  },
  {
    group: 'cdi.kubevirt.io',
    kinds: ['DataVolume'],
    suspended: "status.phase == 'Paused'",
    ...phases('status.phase', { failed: ['Failed'], current: ['Succeeded'] }),
  },
  // Knative: `Unknown` is on its way, `False` is final until the spec changes.
  { group: 'serving.knative.dev', kinds: ['Service', 'Route', 'Configuration', 'Revision'], ...falseIsFailure },
  { group: 'eventing.knative.dev', kinds: ['Broker', 'Trigger'], ...falseIsFailure },
  // Strimzi.
  {
    group: 'kafka.strimzi.io',
    kinds: ['Kafka', 'KafkaConnect', 'KafkaConnector', 'KafkaTopic', 'KafkaUser', 'KafkaBridge', 'KafkaMirrorMaker2'],
    failed: "status.conditions.exists(c, c.type == 'NotReady' && c.status == 'True' && c.reason != 'Creating')",
    current: is('Ready', 'True'),
    tells: ['NotReady'],
  },
  // Istio writes a status only when its analysis is on.
  ...['networking.istio.io', 'security.istio.io'].map((group) => ({
    group,
    failed: "status.validationMessages.exists(m, m.level == 'ERROR')",
    current: 'true',
    mayLackStatus: true as const,
  })),
  // Velero.
  {
    group: 'velero.io',
    kinds: ['Backup', 'Restore'],
    ...phases('status.phase', {
      failed: ['FailedValidation', 'Failed', 'PartiallyFailed', 'WaitingForPluginOperationsPartiallyFailed', 'FinalizingPartiallyFailed'],
      current: ['Completed'],
    }),
  },
  {
    group: 'velero.io',
    kinds: ['Schedule'],
    suspended: 'spec.paused == true',
    ...phases('status.phase', { failed: ['FailedValidation'], current: ['Enabled'] }),
  },
  { group: 'velero.io', kinds: ['BackupStorageLocation'], ...phases('status.phase', { failed: ['Unavailable'], current: ['Available'] }) },
  // Longhorn, Rook.
  {
    group: 'longhorn.io',
    kinds: ['Volume'],
    failed: "status.robustness == 'faulted'",
    current: any("status.state == 'detached'", all("status.state == 'attached'", "status.robustness == 'healthy'")),
  },
  {
    group: 'ceph.rook.io',
    kinds: ['CephCluster'],
    failed: any("status.ceph.health == 'HEALTH_ERR'", oneOf('status.state', 'Error')),
    current: all(oneOf('status.phase', 'Ready', 'Connected'), oneOf('status.ceph.health', 'HEALTH_OK', 'HEALTH_WARN')),
  },
  {
    group: 'ceph.rook.io',
    kinds: ['CephBlockPool', 'CephFilesystem', 'CephObjectStore'],
    ...phases('status.phase', { failed: ['Failure'], current: ['Ready', 'Connected'] }),
  },
  // Kyverno, Flagger, Tekton.
  { group: 'kyverno.io', kinds: ['ClusterPolicy', 'Policy'], ...falseIsFailure },
  {
    group: 'flagger.app',
    kinds: ['Canary'],
    ...phases('status.phase', { failed: ['Failed'], current: ['Initialized', 'Succeeded'] }),
    tells: ['Promoted'],
  },
  {
    group: 'tekton.dev',
    kinds: ['PipelineRun', 'TaskRun'],
    failed: is('Succeeded', 'False'),
    current: is('Succeeded', 'True'),
    tells: ['Succeeded'],
  },
  // MetalLB's operator, the Operator Lifecycle Manager, volume snapshots.
  { group: 'metallb.io', kinds: ['MetalLB'], failed: is('Degraded', 'True'), current: is('Available', 'True'), tells: ['Degraded'] },
  {
    group: 'operators.coreos.com',
    kinds: ['ClusterServiceVersion'],
    ...phases('status.phase', { failed: ['Failed'], current: ['Succeeded'] }),
  },
  {
    group: 'operators.coreos.com',
    kinds: ['InstallPlan'],
    suspended: "status.phase == 'RequiresApproval'",
    ...phases('status.phase', { failed: ['Failed'], current: ['Complete'] }),
  },
  {
    group: 'snapshot.storage.k8s.io',
    kinds: ['VolumeSnapshot'],
    failed: 'has(status.error) && status.readyToUse != true',
    current: 'status.readyToUse == true',
  },
  // Elastic Cloud on Kubernetes, RabbitMQ, Zalando's Postgres.
  {
    group: 'elasticsearch.k8s.elastic.co',
    kinds: ['Elasticsearch'],
    failed: "status.health == 'red'",
    current: "status.health == 'green' && status.phase == 'Ready'",
  },
  {
    group: 'rabbitmq.com',
    kinds: ['RabbitmqCluster'],
    failed: is('ReconcileSuccess', 'False'),
    current: is('AllReplicasReady', 'True'),
    tells: ['ReconcileSuccess', 'AllReplicasReady'],
  },
  {
    group: 'acid.zalan.do',
    kinds: ['postgresql'],
    ...phases('status.PostgresClusterStatus', { failed: ['CreateFailed', 'UpdateFailed', 'SyncFailed', 'Invalid'], current: ['Running'] }),
  },
];

/** The rule of an object's kind; undefined when there is none. */
export function ruleOf({ apiVersion, kind }: KubeObject): KindRule | undefined {
  return ruleOfKind(parseApiVersion(apiVersion).group, kind);
}

export function ruleOfKind(group: string, kind: string): KindRule | undefined {
  const place = `${group}/${kind}`;
  let rule = found.get(place);
  if (rule === undefined && !found.has(place)) {
    rule = kindRules.find((each) => matches(each, group, kind));
    if (found.size < maxFound) found.set(place, rule);
  }
  return rule;
}

const found = new Map<string, KindRule | undefined>();
/** Kinds whose rule is remembered, with those that have none. */
const maxFound = 1_000;

function matches({ group, kinds, except = [] }: KindRule, of: string, kind: string): boolean {
  const isGroup = group.startsWith('*.') ? of.endsWith(group.slice(1)) : of === group;
  return isGroup && (kinds?.includes(kind) ?? !except.includes(kind));
}

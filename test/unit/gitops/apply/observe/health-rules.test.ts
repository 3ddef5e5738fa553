import { describe, expect, it } from 'vitest';
import { healthOf } from '../../../../../src/gitops/apply/observe/health.ts';
import { type KindRule, kindRules, ruleOf } from '../../../../../src/gitops/apply/observe/health-rules.ts';
import { healthByRule } from '../../../../../src/gitops/apply/observe/rule-health.ts';
import type { HealthStatus } from '../../../../../src/lifecycle/reasons.ts';
import type { KubeObject } from '../../../../../src/machinery/object.ts';

type Case = readonly [kind: string, status: HealthStatus, of: object, rest?: object];

const conditions = (...all: readonly [type: string, status: string, reason?: string][]): object => ({
  conditions: all.map(([type, status, reason = '']) => ({ type, status, reason, message: `${type} ${reason}` })),
});
const ready = (status: string, reason = ''): object => conditions(['Ready', status, reason]);
const phase = (name: string): object => ({ phase: name });
const readyKinds = (kinds: readonly string[]): readonly Case[] =>
  kinds.flatMap((kind): readonly Case[] => [
    [kind, 'Healthy', ready('True')],
    [kind, 'Degraded', ready('False', 'Broken')],
    [kind, 'Progressing', ready('Unknown')],
    [kind, 'Progressing', {}],
  ]);
const phaseKind = (
  kind: string,
  of: Readonly<Record<string, HealthStatus>>,
  field = (value: string): object => phase(value),
): readonly Case[] => Object.entries(of).map(([value, status]): Case => [kind, status, field(value)]);

const cases: readonly Case[] = [
  ['cert-manager.io/Certificate', 'Progressing', {}],
  ['cert-manager.io/Certificate', 'Progressing', conditions(['Ready', 'False', 'DoesNotExist'], ['Issuing', 'True', 'DoesNotExist'])],
  ['cert-manager.io/Certificate', 'Progressing', conditions(['Ready', 'True'], ['Issuing', 'True', 'Renewing'])],
  ['cert-manager.io/Certificate', 'Progressing', ready('False', 'DoesNotExist')],
  ['cert-manager.io/Certificate', 'Degraded', conditions(['Ready', 'False', 'DoesNotExist'], ['Issuing', 'False', 'Failed'])],
  ['cert-manager.io/Certificate', 'Healthy', conditions(['Ready', 'True'], ['Issuing', 'False', 'Failed'])],
  ['cert-manager.io/CertificateRequest', 'Progressing', ready('False', 'Pending')],
  ['cert-manager.io/CertificateRequest', 'Degraded', ready('False', 'Denied')],
  ['cert-manager.io/CertificateRequest', 'Degraded', conditions(['InvalidRequest', 'True'])],
  ['cert-manager.io/CertificateRequest', 'Healthy', ready('True', 'Issued')],
  ...phaseKind('acme.cert-manager.io/Order', { pending: 'Progressing', valid: 'Healthy', errored: 'Degraded' }, (state) => ({ state })),
  ...readyKinds([
    'cert-manager.io/Issuer',
    'external-secrets.io/ExternalSecret',
    'external-secrets.io/ClusterSecretStore',
    'keda.sh/ScaledObject',
    'serving.knative.dev/Service',
    'eventing.knative.dev/Trigger',
    'kyverno.io/ClusterPolicy',
  ]),
  ['keda.sh/ScaledObject', 'Suspended', conditions(['Ready', 'True'], ['Paused', 'True'])],
  ['bitnami.com/SealedSecret', 'Healthy', conditions(['Synced', 'True'])],
  ['bitnami.com/SealedSecret', 'Degraded', conditions(['Synced', 'False'])],
  ['bitnami.com/SealedSecret', 'Progressing', {}],
  ...phaseKind('argoproj.io/Rollout', { Progressing: 'Progressing', Paused: 'Suspended', Degraded: 'Degraded', Healthy: 'Healthy' }),
  ['argoproj.io/Rollout', 'Degraded', { phase: 'Progressing', ...conditions(['InvalidSpec', 'True']) }],
  ...phaseKind('argoproj.io/Workflow', { Running: 'Progressing', Succeeded: 'Healthy', Error: 'Degraded' }),
  ...phaseKind(
    'argoproj.io/Application',
    { Missing: 'Progressing', Suspended: 'Suspended', Healthy: 'Healthy', Degraded: 'Degraded' },
    (status) => ({
      health: { status },
    }),
  ),
  ...phaseKind('postgresql.cnpg.io/Cluster', {
    'Setting up primary': 'Progressing',
    'Cluster in healthy state': 'Healthy',
    'Cluster is unrecoverable and needs manual intervention': 'Degraded',
  }),
  ['postgresql.cnpg.io/Cluster', 'Suspended', conditions(['cnpg.io/hibernation', 'True'])],
  ...phaseKind('postgresql.cnpg.io/Backup', { running: 'Progressing', completed: 'Healthy', failed: 'Degraded' }),
  ['s3.aws.upbound.io/Bucket', 'Progressing', conditions(['Synced', 'True'], ['Ready', 'False', 'Creating'])],
  ['s3.aws.upbound.io/Bucket', 'Degraded', conditions(['Synced', 'False', 'ReconcileError'])],
  ['database.example.crossplane.io/Postgres', 'Healthy', conditions(['Synced', 'True'], ['Ready', 'True'])],
  ['database.example.crossplane.io/Postgres', 'Degraded', conditions(['LastAsyncOperation', 'False'], ['Ready', 'True'])],
  ['s3.aws.upbound.io/Bucket', 'Healthy', ready('True')],
  ['gateway.networking.k8s.io/GatewayClass', 'Degraded', conditions(['Accepted', 'False'])],
  ['kubevirt.io/VirtualMachineInstance', 'Healthy', ready('True')],
  ['networking.istio.io/Gateway', 'Degraded', { validationMessages: [{ level: 'ERROR' }] }],
  ['security.istio.io/PeerAuthentication', 'Healthy', { validationMessages: [] }],
  ...phaseKind('velero.io/Schedule', { New: 'Progressing', Enabled: 'Healthy', FailedValidation: 'Degraded' }),
  ['operators.coreos.com/InstallPlan', 'Degraded', phase('Failed')],
  ['pkg.crossplane.io/Provider', 'Progressing', conditions(['Installed', 'True'], ['Healthy', 'False', 'UnhealthyPackageRevision'])],
  ['pkg.crossplane.io/Provider', 'Healthy', conditions(['Installed', 'True'], ['Healthy', 'True'])],
  ['apiextensions.crossplane.io/CompositeResourceDefinition', 'Healthy', conditions(['Established', 'True'])],
  ['aws.upbound.io/ProviderConfig', 'Healthy', {}],
  ['monitoring.coreos.com/Prometheus', 'Progressing', conditions(['Available', 'False'], ['Reconciled', 'True'])],
  ['monitoring.coreos.com/Alertmanager', 'Degraded', conditions(['Available', 'True'], ['Reconciled', 'False'])],
  ['monitoring.coreos.com/Prometheus', 'Healthy', conditions(['Available', 'True'], ['Reconciled', 'True'])],
  ['gateway.networking.k8s.io/GatewayClass', 'Healthy', conditions(['Accepted', 'True'])],
  ['gateway.networking.k8s.io/GatewayClass', 'Progressing', conditions(['Accepted', 'Unknown', 'Pending'])],
  ['gateway.networking.k8s.io/Gateway', 'Progressing', conditions(['Accepted', 'True'], ['Programmed', 'False', 'AddressNotAssigned'])],
  [
    'gateway.networking.k8s.io/Gateway',
    'Degraded',
    { ...conditions(['Accepted', 'True']), listeners: [conditions(['ResolvedRefs', 'False'])] },
  ],
  ['gateway.networking.k8s.io/Gateway', 'Healthy', conditions(['Accepted', 'True'], ['Programmed', 'True'])],
  ['gateway.networking.k8s.io/HTTPRoute', 'Progressing', { parents: [] }],
  ['gateway.networking.k8s.io/HTTPRoute', 'Degraded', { parents: [conditions(['Accepted', 'True'], ['ResolvedRefs', 'False'])] }],
  ['gateway.networking.k8s.io/HTTPRoute', 'Healthy', { parents: [conditions(['Accepted', 'True'], ['ResolvedRefs', 'True'])] }],
  ...phaseKind('cluster.x-k8s.io/Cluster', { Provisioning: 'Progressing', Provisioned: 'Healthy', Failed: 'Degraded' }),
  ['cluster.x-k8s.io/Cluster', 'Progressing', { phase: 'Pending', ...ready('False', 'WaitingForInfrastructure') }],
  ['cluster.x-k8s.io/Cluster', 'Suspended', phase('Provisioned'), { spec: { paused: true } }],
  ['kubevirt.io/VirtualMachine', 'Progressing', { printableStatus: 'Starting', ...ready('False', 'GuestNotRunning') }],
  ['kubevirt.io/VirtualMachine', 'Suspended', { printableStatus: 'Stopped', ...ready('False') }],
  ['kubevirt.io/VirtualMachine', 'Degraded', { printableStatus: 'ErrorUnschedulable', ...ready('False') }],
  ['kubevirt.io/VirtualMachine', 'Healthy', { printableStatus: 'Running', ...ready('True') }],
  ['kubevirt.io/VirtualMachineInstance', 'Degraded', phase('Failed')],
  ...phaseKind('cdi.kubevirt.io/DataVolume', {
    ImportInProgress: 'Progressing',
    Succeeded: 'Healthy',
    Paused: 'Suspended',
    Failed: 'Degraded',
  }),
  ['kafka.strimzi.io/Kafka', 'Progressing', conditions(['NotReady', 'True', 'Creating'])],
  ['kafka.strimzi.io/KafkaTopic', 'Degraded', conditions(['NotReady', 'True', 'KafkaError'])],
  ['kafka.strimzi.io/Kafka', 'Healthy', ready('True')],
  ['networking.istio.io/VirtualService', 'Healthy', {}],
  ['networking.istio.io/VirtualService', 'Healthy', { validationMessages: [{ level: 'WARNING' }] }],
  ['security.istio.io/AuthorizationPolicy', 'Degraded', { validationMessages: [{ level: 'ERROR' }] }],
  ...phaseKind('velero.io/Backup', { InProgress: 'Progressing', Completed: 'Healthy', PartiallyFailed: 'Degraded' }),
  ['velero.io/Schedule', 'Suspended', phase('Enabled'), { spec: { paused: true } }],
  ...phaseKind('velero.io/BackupStorageLocation', { Available: 'Healthy', Unavailable: 'Degraded' }),
  ['longhorn.io/Volume', 'Healthy', { state: 'attached', robustness: 'healthy' }],
  ['longhorn.io/Volume', 'Healthy', { state: 'detached', robustness: 'unknown' }],
  ['longhorn.io/Volume', 'Progressing', { state: 'attached', robustness: 'degraded' }],
  ['longhorn.io/Volume', 'Degraded', { state: 'detached', robustness: 'faulted' }],
  ['ceph.rook.io/CephCluster', 'Progressing', { phase: 'Progressing', state: 'Creating' }],
  ['ceph.rook.io/CephCluster', 'Healthy', { phase: 'Ready', ceph: { health: 'HEALTH_WARN' } }],
  ['ceph.rook.io/CephCluster', 'Degraded', { phase: 'Ready', ceph: { health: 'HEALTH_ERR' } }],
  ...phaseKind('ceph.rook.io/CephObjectStore', { Progressing: 'Progressing', Ready: 'Healthy', Failure: 'Degraded' }),
  ...phaseKind('flagger.app/Canary', { Progressing: 'Progressing', Initialized: 'Healthy', Succeeded: 'Healthy', Failed: 'Degraded' }),
  ['tekton.dev/PipelineRun', 'Progressing', conditions(['Succeeded', 'Unknown', 'Running'])],
  ['tekton.dev/PipelineRun', 'Degraded', conditions(['Succeeded', 'False'])],
  ['tekton.dev/TaskRun', 'Healthy', conditions(['Succeeded', 'True'])],
  ['metallb.io/MetalLB', 'Healthy', conditions(['Available', 'True'], ['Degraded', 'False'])],
  ['metallb.io/MetalLB', 'Degraded', conditions(['Available', 'False'], ['Degraded', 'True'])],
  ...phaseKind('operators.coreos.com/ClusterServiceVersion', { Installing: 'Progressing', Succeeded: 'Healthy', Failed: 'Degraded' }),
  ...phaseKind('operators.coreos.com/InstallPlan', { Installing: 'Progressing', RequiresApproval: 'Suspended', Complete: 'Healthy' }),
  ['snapshot.storage.k8s.io/VolumeSnapshot', 'Progressing', { readyToUse: false }],
  ['snapshot.storage.k8s.io/VolumeSnapshot', 'Degraded', { readyToUse: false, error: { message: 'no' } }],
  ['snapshot.storage.k8s.io/VolumeSnapshot', 'Healthy', { readyToUse: true }],
  ['elasticsearch.k8s.elastic.co/Elasticsearch', 'Progressing', { health: 'yellow', phase: 'ApplyingChanges' }],
  ['elasticsearch.k8s.elastic.co/Elasticsearch', 'Healthy', { health: 'green', phase: 'Ready' }],
  ['elasticsearch.k8s.elastic.co/Elasticsearch', 'Degraded', { health: 'red', phase: 'Ready' }],
  ['rabbitmq.com/RabbitmqCluster', 'Progressing', conditions(['AllReplicasReady', 'False'], ['ReconcileSuccess', 'True'])],
  ['rabbitmq.com/RabbitmqCluster', 'Healthy', conditions(['AllReplicasReady', 'True'], ['ReconcileSuccess', 'True'])],
  ['rabbitmq.com/RabbitmqCluster', 'Degraded', conditions(['ReconcileSuccess', 'False'])],
  ...phaseKind(
    'acid.zalan.do/postgresql',
    { Creating: 'Progressing', Running: 'Healthy', SyncFailed: 'Degraded' },
    (PostgresClusterStatus) => ({
      PostgresClusterStatus,
    }),
  ),
];

const objectOf = ([place, , status, rest = {}]: Case): KubeObject => {
  const [group = '', kind = ''] = place.split('/');
  return { apiVersion: `${group}/v1`, kind, metadata: { name: 'x', generation: 1 }, status, ...rest } as KubeObject;
};
const health = (object: KubeObject) => healthOf(object, { podsOf: () => [], replicaSetsOf: () => [], now: () => 0, healthByRule });

describe('health of well-known custom kinds', () => {
  it.each(cases.map((each) => [`${each[0]} ${JSON.stringify(each[2])}`, each] as const))('%s', (_, each) => {
    expect(health(objectOf(each)).status).toBe(each[1]);
  });

  it('has an example of each rule in each state that it knows', () => {
    const indexOf = (rule: KindRule | undefined): number => (rule === undefined ? -1 : kindRules.indexOf(rule));
    const seen = new Set(cases.map((each) => `${indexOf(ruleOf(objectOf(each)))} ${each[1]}`));
    const missing = kindRules.flatMap((rule, index) => {
      const states = [
        'Healthy',
        ...(rule.failed === undefined ? [] : ['Degraded']),
        ...(rule.suspended === undefined ? [] : ['Suspended']),
      ];
      return states.filter((state) => !seen.has(`${index} ${state}`)).map((state) => `${rule.group} ${rule.kinds?.join()} ${state}`);
    });
    expect(missing).toEqual([]);
  });

  it('says what the status says, and waits for the newest generation', () => {
    const failed = objectOf(['external-secrets.io/ExternalSecret', 'Degraded', ready('False', 'SecretSyncedError')]);
    expect(health(failed).reason).toBe('ExternalSecret x: Ready SecretSyncedError');
    expect(health(objectOf(['velero.io/Backup', 'Degraded', { phase: 'Failed', failureReason: 'no space' }])).reason).toBe(
      'Backup x: no space',
    );
    const old = objectOf(['argoproj.io/Workflow', 'Progressing', { phase: 'Succeeded', observedGeneration: 0 }]);
    expect(health(old)).toEqual({ status: 'Progressing', reason: 'Workflow x was changed just now' });
  });
});

import type { RunningKubeApi } from '../../apiserver/create-kube-api.ts';
import type { Component } from '../../base/component.ts';
import type { Pki } from '../../base/pki.ts';
import { type CloudSettings, createCloudControllers } from '../../cloud/cloud-controllers.ts';
import { createCertificateApprovingController } from '../../controllers/certificates/approving-controller.ts';
import { createCertificateSigningController } from '../../controllers/certificates/signing-controller.ts';
import { createClusterRoleAggregationController } from '../../controllers/cluster-role-aggregation.ts';
import { createCronJobController } from '../../controllers/cron-job/cron-job-controller.ts';
import { createDaemonSetController } from '../../controllers/daemon-set/daemon-set-controller.ts';
import { createDeploymentController } from '../../controllers/deployment/deployment-controller.ts';
import { createDisruptionController } from '../../controllers/disruption/disruption-controller.ts';
import { createEndpointSliceController } from '../../controllers/endpoint-slice/endpoint-slice-controller.ts';
import { createEndpointSliceMirroringController } from '../../controllers/endpoint-slice/mirroring-controller.ts';
import { createEndpointsController } from '../../controllers/endpoints/endpoints-controller.ts';
import { createExpiryController } from '../../controllers/expiry/expiry-controller.ts';
import { bootstrapTokens, certificateRequests, finishedJobs } from '../../controllers/expiry/rules.ts';
import { createFlowSchemaController } from '../../controllers/flow-schema.ts';
import { createGarbageCollector } from '../../controllers/garbage-collector/garbage-collector.ts';
import { createHorizontalPodAutoscalerController } from '../../controllers/horizontal-pod-autoscaler/horizontal-pod-autoscaler-controller.ts';
import type { RawReader } from '../../controllers/horizontal-pod-autoscaler/metrics-client.ts';
import { createJobController } from '../../controllers/job/job-controller.ts';
import { createLocalPathClassController } from '../../controllers/local-path/local-path-class.ts';
import { createLocalPathClaimController, createLocalPathVolumeController } from '../../controllers/local-path/local-path-controller.ts';
import { createNamespaceController } from '../../controllers/namespace/namespace-controller.ts';
import { createNoControllerEvents } from '../../controllers/no-controller-events.ts';
import { createNodeIpamController } from '../../controllers/node-ipam/node-ipam-controller.ts';
import { createNodeLifecycleController } from '../../controllers/node-lifecycle/node-lifecycle-controller.ts';
import { createPodEvictionController } from '../../controllers/node-lifecycle/pod-eviction-controller.ts';
import { createPodGcController } from '../../controllers/pod-gc.ts';
import {
  createAttributesClassProtectionController,
  createClaimProtectionController,
  createVolumeProtectionController,
} from '../../controllers/protection/protection-controller.ts';
import { createReplicaSetController } from '../../controllers/replica-set/replica-set-controller.ts';
import { createReplicationController } from '../../controllers/replication-controller/replication-controller.ts';
import { createResourceQuotaController } from '../../controllers/resource-quota/resource-quota-controller.ts';
import { createRootCaController } from '../../controllers/root-ca.ts';
import { createServiceAccountController } from '../../controllers/service-account.ts';
import { createStatefulSetController } from '../../controllers/stateful-set/stateful-set-controller.ts';
import { createTokenSecretController } from '../../controllers/token-secrets.ts';
import { createAttachDetachController } from '../../controllers/volume-attachment/attach-detach-controller.ts';
import { createExpansionController } from '../../controllers/volume-attachment/expansion-controller.ts';
import { createClaimBindingController } from '../../controllers/volume-binding/claim-controller.ts';
import { createVolumeBindingController } from '../../controllers/volume-binding/volume-controller.ts';
import { createEphemeralVolumeController } from '../../controllers/volume-ephemeral/ephemeral-volume-controller.ts';
import { createIngressController } from '../../ingress/ingress-controller.ts';
import { localPathProvisioner } from '../../lifecycle/local-path-volume.ts';
import { createNetworkPolicyController } from '../../network-policy/policy-controller.ts';
import type { ControllerDependencies } from '../../reconcile/dependencies.ts';
import { createScheduler, type SchedulerOptions } from '../../scheduler/scheduler.ts';

export interface ControllersOptions {
  /** The parts of a controller, for the component of that name. */
  dependencies(component: string): ControllerDependencies;
  readonly pki: Pki;
  /** Other machines join, and each Node gets its part of this range. Absent: the nodes of this machine have their addresses. */
  readonly clusterCidr: string | undefined;
  /** Silence after which a Node counts as lost; undefined: upstream's 40 s. */
  readonly nodeGraceMs: number | undefined;
  /** Absent: tokens of service accounts are not signed here. */
  readonly accountTokens: RunningKubeApi['tokens'];
  /** Reads the metrics APIs, which are not behind the client of this process. */
  readonly rawReader: RawReader;
  /** Machines of the cluster have the proxy for Ingresses. */
  readonly servesIngresses: boolean;
  readonly cloud: CloudSettings;
  readonly scheduler: Pick<SchedulerOptions, 'client' | 'recorder' | 'metrics' | 'random' | 'configuration'>;
}

/** Controllers and the scheduler, in the order in which they start. */
export function createControllers(options: ControllersOptions): readonly Component[] {
  const { dependencies, pki, clusterCidr, nodeGraceMs, accountTokens, scheduler } = options;
  const { informers, clock, log, steps } = dependencies('scheduler');
  return [
    createNamespaceController(dependencies('namespace-controller')),
    createServiceAccountController(dependencies('service-account-controller')),
    createClusterRoleAggregationController(dependencies('clusterrole-aggregation-controller')),
    ...(accountTokens === undefined
      ? []
      : [
          createTokenSecretController({
            ...dependencies('tokens-controller'),
            caCertificate: pki.caCertificate,
            issueToken: (account, secretName) => accountTokens.issueForSecret(account, secretName),
          }),
        ]),
    createRootCaController({ ...dependencies('root-ca-certificate-publisher'), caCertificate: pki.caCertificate }),
    createCertificateApprovingController({
      ...dependencies('certificate-approving-controller'),
      admitsMachines: clusterCidr !== undefined,
    }),
    createCertificateSigningController({ ...dependencies('certificate-signing-controller'), pki }),
    createExpiryController(certificateRequests, dependencies('certificate-cleaner-controller')),
    createExpiryController(bootstrapTokens, dependencies('token-cleaner')),
    createExpiryController(finishedJobs, dependencies('ttl-after-finished-controller')),
    createFlowSchemaController(dependencies('flow-schema-controller')),
    createGarbageCollector(dependencies('garbage-collector-controller')),
    ...(clusterCidr === undefined ? [] : [createNodeIpamController({ ...dependencies('node-ipam-controller'), clusterCidr })]),
    createNodeLifecycleController({ ...dependencies('node-controller'), ...(nodeGraceMs === undefined ? {} : { graceMs: nodeGraceMs }) }),
    createPodEvictionController(dependencies('taint-eviction-controller')),
    createPodGcController(dependencies('pod-garbage-collector')),
    createEndpointSliceController(dependencies('endpoint-slice-controller')),
    createEndpointSliceMirroringController(dependencies('endpoint-slice-mirroring-controller')),
    createEndpointsController(dependencies('endpoint-controller')),
    createReplicaSetController(dependencies('replicaset-controller')),
    createReplicationController(dependencies('replication-controller')),
    createDeploymentController(dependencies('deployment-controller')),
    createStatefulSetController(dependencies('statefulset-controller')),
    createDaemonSetController(dependencies('daemonset-controller')),
    createJobController(dependencies('job-controller')),
    createCronJobController(dependencies('cronjob-controller')),
    createHorizontalPodAutoscalerController({ ...dependencies('horizontal-pod-autoscaler'), rawReader: options.rawReader }),
    createDisruptionController(dependencies('disruption-controller')),
    createResourceQuotaController(dependencies('resourcequota-controller')),
    createClaimProtectionController(dependencies('pvc-protection-controller')),
    createVolumeProtectionController(dependencies('pv-protection-controller')),
    createAttributesClassProtectionController(dependencies('vac-protection-controller')),
    createClaimBindingController(dependencies('persistentvolume-controller')),
    createVolumeBindingController(dependencies('persistentvolume-controller')),
    createEphemeralVolumeController(dependencies('ephemeral_volume')),
    createAttachDetachController(dependencies('attachdetach-controller')),
    createExpansionController(dependencies('volume_expand')),
    createLocalPathClassController(dependencies(localPathProvisioner)),
    createLocalPathClaimController(dependencies(localPathProvisioner)),
    createLocalPathVolumeController(dependencies(localPathProvisioner)),
    createNetworkPolicyController(dependencies('network-policy-controller')),
    createIngressController({ ...dependencies('midship-ingress-controller'), isServed: options.servesIngresses }),
    ...createCloudControllers({ dependencies, settings: options.cloud, clusterCidr }),
    createNoControllerEvents(dependencies('midship')),
    createScheduler({ ...scheduler, informers, clock, log, steps }),
  ];
}

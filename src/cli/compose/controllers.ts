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
import { createNodeTtlController } from '../../controllers/node-ttl.ts';
import { createPodGcController } from '../../controllers/pod-gc.ts';
import {
  createAttributesClassProtectionController,
  createClaimProtectionController,
  createVolumeProtectionController,
} from '../../controllers/protection/protection-controller.ts';
import { createReplicaSetController } from '../../controllers/replica-set/replica-set-controller.ts';
import { createReplicationController } from '../../controllers/replication-controller/replication-controller.ts';
import {
  createPodResourceClaimController,
  createResourceClaimController,
} from '../../controllers/resource-claim/resource-claim-controller.ts';
import { createResourceQuotaController } from '../../controllers/resource-quota/resource-quota-controller.ts';
import { createRootCaController } from '../../controllers/root-ca.ts';
import { createServiceAccountController } from '../../controllers/service-account.ts';
import { createServiceCidrController } from '../../controllers/service-cidr/service-cidr-controller.ts';
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

export interface ControllersOptions {
  /** The parts of a controller, for the component of that name. */
  dependencies(component: string): ControllerDependencies;
  /** PEM: the authority of the API's certificate; undefined: one that machines trust anyway. */
  readonly caCertificate: string | undefined;
  /** Machines may ask for the certificate of their Node. */
  readonly admitsMachines: boolean;
  /** Each Node gets its part of this range. Absent: nodes have their addresses from elsewhere. */
  readonly clusterCidr: string | undefined;
  /** Silence after which a Node counts as lost; undefined: upstream's 40 s. */
  readonly nodeGraceMs: number | undefined;
  /** Reads the metrics APIs, which are behind the wire alone. */
  readonly rawReader: RawReader;
}

/** The controllers of kube-controller-manager, in the order in which they start. They need the API alone. */
export function createControllers(options: ControllersOptions): readonly Component[] {
  const { dependencies, caCertificate, admitsMachines, clusterCidr, nodeGraceMs } = options;
  return [
    createNamespaceController(dependencies('namespace-controller')),
    createServiceAccountController(dependencies('service-account-controller')),
    createClusterRoleAggregationController(dependencies('clusterrole-aggregation-controller')),
    ...(caCertificate === undefined ? [] : [createRootCaController({ ...dependencies('root-ca-certificate-publisher'), caCertificate })]),
    createCertificateApprovingController({
      ...dependencies('certificate-approving-controller'),
      admitsMachines,
    }),
    createExpiryController(certificateRequests, dependencies('certificate-cleaner-controller')),
    createExpiryController(bootstrapTokens, dependencies('token-cleaner')),
    createExpiryController(finishedJobs, dependencies('ttl-after-finished-controller')),
    createGarbageCollector(dependencies('garbage-collector-controller')),
    ...(clusterCidr === undefined ? [] : [createNodeIpamController({ ...dependencies('node-ipam-controller'), clusterCidr })]),
    createServiceCidrController(dependencies('service-cidrs-controller')),
    createNodeLifecycleController({ ...dependencies('node-controller'), ...(nodeGraceMs === undefined ? {} : { graceMs: nodeGraceMs }) }),
    createNodeTtlController(dependencies('ttl-controller')),
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
    createPodResourceClaimController(dependencies('resource_claim')),
    createResourceClaimController(dependencies('resource_claim')),
    createAttachDetachController(dependencies('attachdetach-controller')),
    createExpansionController(dependencies('volume_expand')),
  ];
}

export interface ServerControllersOptions extends Pick<ControllersOptions, 'dependencies' | 'clusterCidr'> {
  readonly pki: Pki;
  /** Absent: tokens of service accounts are not signed here. */
  readonly accountTokens: RunningKubeApi['tokens'];
  /** Machines of the cluster have the proxy for Ingresses. */
  readonly servesIngresses: boolean;
  /** Claims of the class `local-path` get directories of nodes. */
  readonly hasLocalStorage: boolean;
  readonly cloud: CloudSettings;
}

/** Controllers that stay with the server: they sign with its keys, or belong to Midship's own nodes. */
export function createServerControllers(options: ServerControllersOptions): readonly Component[] {
  const { dependencies, pki, clusterCidr, accountTokens, hasLocalStorage } = options;
  return [
    ...(accountTokens === undefined
      ? []
      : [
          createTokenSecretController({
            ...dependencies('tokens-controller'),
            caCertificate: pki.caCertificate,
            issueToken: (account, secretName) => accountTokens.issueForSecret(account, secretName),
          }),
        ]),
    createCertificateSigningController({ ...dependencies('certificate-signing-controller'), pki }),
    createFlowSchemaController(dependencies('flow-schema-controller')),
    createLocalPathClassController({ ...dependencies(localPathProvisioner), isWanted: hasLocalStorage }),
    ...(hasLocalStorage
      ? [
          createLocalPathClaimController(dependencies(localPathProvisioner)),
          createLocalPathVolumeController(dependencies(localPathProvisioner)),
        ]
      : []),
    createNetworkPolicyController(dependencies('network-policy-controller')),
    createIngressController({ ...dependencies('midship-ingress-controller'), isServed: options.servesIngresses }),
    ...createCloudControllers({ dependencies, settings: options.cloud, clusterCidr }),
    createNoControllerEvents(dependencies('midship')),
  ];
}

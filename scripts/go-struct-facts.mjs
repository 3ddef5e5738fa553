// Differences between the types of the wire and the structures in which the API server holds objects. Facts only, from
// Kubernetes 1.36.

/** Roots of the printing: types that answers show whole. */
export const roots = [
  ...['core/v1.PodTemplateSpec', 'core/v1.PersistentVolumeClaimSpec', 'core/v1.PersistentVolumeSpec'],
  ...['batch/v1.PodFailurePolicy', 'batch/v1.SuccessPolicy', 'rbac/v1.RoleRef', 'networking/v1.ParentReference', 'node/v1.Overhead'],
  ...[
    'storage/v1.VolumeAttachmentSpec',
    'policy/v1.PodDisruptionBudgetSpec',
    'apps/v1.DeploymentStrategy',
    'apps/v1.StatefulSetUpdateStrategy',
    'apps/v1.DaemonSetUpdateStrategy',
  ],
];

/** Order of fields where it is not that of the wire types; those that are not named here follow in their own order. */
export const orders = {
  'core/v1.VolumeSource': [
    ...['HostPath', 'EmptyDir', 'GCEPersistentDisk', 'AWSElasticBlockStore', 'GitRepo', 'Secret', 'NFS', 'ISCSI', 'Glusterfs'],
    ...['PersistentVolumeClaim', 'RBD', 'Quobyte', 'FlexVolume', 'Cinder', 'CephFS', 'Flocker', 'DownwardAPI', 'FC', 'AzureFile'],
    ...['ConfigMap', 'VsphereVolume', 'AzureDisk', 'PhotonPersistentDisk', 'Projected', 'PortworxVolume', 'ScaleIO', 'StorageOS'],
    ...['CSI', 'Ephemeral', 'Image'],
  ],
  'core/v1.PersistentVolumeSource': [
    ...['GCEPersistentDisk', 'AWSElasticBlockStore', 'HostPath', 'Glusterfs', 'NFS', 'RBD', 'Quobyte', 'ISCSI', 'FlexVolume'],
    ...['Cinder', 'CephFS', 'FC', 'Flocker', 'AzureFile', 'VsphereVolume', 'AzureDisk', 'PhotonPersistentDisk', 'PortworxVolume'],
    ...['ScaleIO', 'Local', 'StorageOS', 'CSI'],
  ],
  'core/v1.PodSpec': [
    ...['Volumes', 'InitContainers', 'Containers', 'EphemeralContainers', 'RestartPolicy', 'TerminationGracePeriodSeconds'],
    ...['ActiveDeadlineSeconds', 'DNSPolicy', 'NodeSelector', 'ServiceAccountName', 'AutomountServiceAccountToken', 'NodeName'],
    ...['SecurityContext', 'ImagePullSecrets', 'Hostname', 'Subdomain', 'SetHostnameAsFQDN', 'Affinity', 'SchedulerName'],
    ...['Tolerations', 'HostAliases', 'PriorityClassName', 'Priority', 'PreemptionPolicy', 'DNSConfig', 'ReadinessGates'],
    ...['RuntimeClassName', 'Overhead', 'EnableServiceLinks', 'TopologySpreadConstraints', 'OS', 'SchedulingGates', 'ResourceClaims'],
    ...['Resources', 'HostnameOverride', 'SchedulingGroup'],
  ],
  'core/v1.PodSecurityContext': [
    ...['HostNetwork', 'HostPID', 'HostIPC', 'ShareProcessNamespace', 'HostUsers', 'SELinuxOptions', 'WindowsOptions', 'RunAsUser'],
    ...['RunAsGroup', 'RunAsNonRoot', 'SupplementalGroups', 'SupplementalGroupsPolicy', 'FSGroup', 'FSGroupChangePolicy', 'Sysctls'],
    ...['SeccompProfile', 'AppArmorProfile', 'SELinuxChangePolicy'],
  ],
  'core/v1.Container': [...containerStart(), 'VolumeMounts'],
  'core/v1.EphemeralContainerCommon': [...containerStart(), 'VolumeMounts'],
};

function containerStart() {
  return [
    ...['Name', 'Image', 'Command', 'Args', 'WorkingDir', 'Ports', 'EnvFrom', 'Env', 'Resources', 'ResizePolicy', 'RestartPolicy'],
    'RestartPolicyRules',
  ];
}

/** Fields that only the wire types have: the pod's namespaces are part of its security context in memory. */
export const gone = {
  'core/v1.PodSpec': ['DeprecatedServiceAccount', 'HostNetwork', 'HostPID', 'HostIPC', 'ShareProcessNamespace', 'HostUsers'],
};

/** Fields that only the structures in memory have, or that are newer than Debian's packages (1.32); in the form of the output. */
export const added = {
  'networking/v1.ParentReference': { Group: '', Resource: '', Namespace: '', Name: '' },
  'core/v1.PodSecurityContext': { HostNetwork: false, HostPID: false, HostIPC: false, ShareProcessNamespace: null, HostUsers: null },
  'core/v1.PodSpec': { HostnameOverride: null, SchedulingGroup: '?core/v1.PodSchedulingGroup' },
  'core/v1.PodSchedulingGroup': { PodGroupName: null },
  'core/v1.Container': { RestartPolicyRules: '?core/v1.ContainerRestartRule' },
  'core/v1.EphemeralContainerCommon': { RestartPolicyRules: '?core/v1.ContainerRestartRule' },
  'core/v1.ContainerRestartRule': { Action: '', ExitCodes: '?core/v1.ContainerRestartRuleOnExitCodes' },
  'core/v1.ContainerRestartRuleOnExitCodes': { Operator: '', Values: null },
  'core/v1.EnvVarSource': { FileKeyRef: '?core/v1.FileKeySelector' },
  'core/v1.FileKeySelector': { VolumeName: '', Path: '', Key: '', Optional: null },
  'core/v1.Lifecycle': { StopSignal: null },
  'core/v1.VolumeProjection': { PodCertificate: '?core/v1.PodCertificateProjection' },
  'core/v1.PodCertificateProjection': {
    ...{ SignerName: '', KeyType: '', MaxExpirationSeconds: null, CredentialBundlePath: '', KeyPath: '', CertificateChainPath: '' },
    UserAnnotations: null,
  },
};

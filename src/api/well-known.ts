/** Names that several parts agree on: labels, annotations, finalizers and taints of Kubernetes, of Flux and our own. */

export const labels = {
  hostname: 'kubernetes.io/hostname',
  os: 'kubernetes.io/os',
  arch: 'kubernetes.io/arch',
  zone: 'topology.kubernetes.io/zone',
  region: 'topology.kubernetes.io/region',
  nodeRolePrefix: 'node-role.kubernetes.io/',
  namespaceName: 'kubernetes.io/metadata.name',
  serviceName: 'kubernetes.io/service-name',
  endpointSliceManagedBy: 'endpointslice.kubernetes.io/managed-by',
  endpointSliceSkipMirror: 'endpointslice.kubernetes.io/skip-mirror',
  endpointsManagedBy: 'endpoints.kubernetes.io/managed-by',
  legacyTokenInvalidSince: 'kubernetes.io/legacy-token-invalid-since',
  headlessService: 'service.kubernetes.io/headless',
  /** On a Service that another proxy serves. */
  serviceProxyName: 'service.kubernetes.io/service-proxy-name',
  podTemplateHash: 'pod-template-hash',
  controllerRevisionHash: 'controller-revision-hash',
  /** On the ControllerRevisions of a StatefulSet. */
  revisionHash: 'controller.kubernetes.io/hash',
  templateGeneration: 'pod-template-generation',
  statefulPodName: 'statefulset.kubernetes.io/pod-name',
  podIndex: 'apps.kubernetes.io/pod-index',
  jobName: 'batch.kubernetes.io/job-name',
  legacyJobName: 'job-name',
  controllerUid: 'batch.kubernetes.io/controller-uid',
  legacyControllerUid: 'controller-uid',
  appName: 'app.kubernetes.io/name',
  managedBy: 'app.kubernetes.io/managed-by',
  partOf: 'app.kubernetes.io/part-of',
  fluxKustomizeName: 'kustomize.toolkit.fluxcd.io/name',
  fluxKustomizeNamespace: 'kustomize.toolkit.fluxcd.io/namespace',
  midshipManaged: 'midship.dev/managed',
  midshipSimulated: 'midship.dev/simulated',
  /** On a PersistentVolume: the node whose agent has its directory. */
  storageNode: 'midship.dev/storage-node',
  /** On a Node: how NetworkPolicies are enforced on its pods; absent where they are not. */
  networkPolicy: 'midship.dev/network-policy',
  instanceType: 'node.kubernetes.io/instance-type',
  /** On a Node: it gets no connections of load balancers. */
  excludeFromLoadBalancers: 'node.kubernetes.io/exclude-from-external-load-balancers',
} as const;

export const annotations = {
  deploymentRevision: 'deployment.kubernetes.io/revision',
  deploymentRevisionHistory: 'deployment.kubernetes.io/revision-history',
  deploymentDesiredReplicas: 'deployment.kubernetes.io/desired-replicas',
  deploymentMaxReplicas: 'deployment.kubernetes.io/max-replicas',
  changeCause: 'kubernetes.io/change-cause',
  templateGeneration: 'deprecated.daemonset.template.generation',
  restartedAt: 'kubectl.kubernetes.io/restartedAt',
  lastAppliedConfiguration: 'kubectl.kubernetes.io/last-applied-configuration',
  defaultContainer: 'kubectl.kubernetes.io/default-container',
  podDeletionCost: 'controller.kubernetes.io/pod-deletion-cost',
  /** Also a label. */
  jobCompletionIndex: 'batch.kubernetes.io/job-completion-index',
  jobIndexFailureCount: 'batch.kubernetes.io/job-index-failure-count',
  jobIndexIgnoredFailureCount: 'batch.kubernetes.io/job-index-ignored-failure-count',
  cronJobScheduledTimestamp: 'batch.kubernetes.io/cronjob-scheduled-timestamp',
  /** On a Service: `Auto` asks for hints by the CPU of zones. */
  topologyMode: 'service.kubernetes.io/topology-mode',
  /** Its name until Kubernetes 1.27. */
  topologyAwareHints: 'service.kubernetes.io/topology-aware-hints',
  /** On a Node: seconds for which its kubelet may keep Secrets and ConfigMaps, by the size of the cluster. */
  objectTtl: 'node.alpha.kubernetes.io/ttl',
  endpointsOverCapacity: 'endpoints.kubernetes.io/over-capacity',
  leader: 'control-plane.alpha.kubernetes.io/leader',
  endpointsLastChangeTriggerTime: 'endpoints.kubernetes.io/last-change-trigger-time',
  serviceAccountName: 'kubernetes.io/service-account.name',
  serviceAccountUid: 'kubernetes.io/service-account.uid',
  initialEventsEnd: 'k8s.io/initial-events-end',
  /** On the ServiceCIDR `kubernetes`: addresses of all pods, for machines that join. */
  clusterCidr: 'midship.dev/cluster-cidr',
  /** There, too: `host-gw`, `vxlan` or `wireguard`. */
  networkBackend: 'midship.dev/network-backend',
  /** On a Node: the key for which others encrypt packets to its pods. */
  wireguardPublicKey: 'midship.dev/wireguard-public-key',
  /** On the ServiceCIDR, too: addresses of load balancers that nodes announce; empty: none. */
  loadBalancerPool: 'midship.dev/load-balancer-pool',
  /** There, too: `external` where Nodes wait for a cloud provider. */
  cloudProvider: 'midship.dev/cloud-provider',
  /** On a Node: the directory of its machine that holds the volumes of the class `local-path`. */
  storageDirectory: 'midship.dev/storage-directory',
  /** On a Node: controllers attach volumes to it. */
  controllerAttaches: 'volumes.kubernetes.io/controller-managed-attach-detach',
  /** On the Lease of an API server among several: places of the API and the page, and the version. */
  serverAddress: 'midship.dev/server-address',
  serverPort: 'midship.dev/server-port',
  serverPage: 'midship.dev/server-page',
  /** Pushes to the built-in Git remote since the start of the server. */
  serverPushes: 'midship.dev/server-pushes',
  serverVersion: 'midship.dev/server-version',
  /** The name of the server in the store. */
  serverId: 'midship.dev/server-id',
  /** Revision of the keys of the cluster that the server has, and digests of its keys of the store. */
  serverKeysRevision: 'midship.dev/server-keys-revision',
  serverEncryptionKeys: 'midship.dev/server-encryption-keys',
  /** On a Node: the name that each driver of volumes (CSI) has for it, as a JSON object. */
  csiNodeId: 'csi.volume.kubernetes.io/nodeid',
  /** On a volume of that class, as k3s' provisioner has it. */
  localPathNode: 'local.path.provisioner/selected-node',
  reconcileRequestedAt: 'reconcile.fluxcd.io/requestedAt',
  fluxPrune: 'kustomize.toolkit.fluxcd.io/prune',
  fluxReconcile: 'kustomize.toolkit.fluxcd.io/reconcile',
  fluxSsa: 'kustomize.toolkit.fluxcd.io/ssa',
  fluxForce: 'kustomize.toolkit.fluxcd.io/force',
  planMode: 'midship.dev/plan-mode',
  ingressTlsRedirect: 'midship.dev/ssl-redirect',
  undefinedVariables: 'midship.dev/undefined-variables',
  drift: 'midship.dev/drift',
  prune: 'midship.dev/prune',
  onConflict: 'midship.dev/on-conflict',
  autoRevert: 'midship.dev/auto-revert',
  approvePrune: 'midship.dev/approve-prune',
  /** On a Job, `name-hash`: its name ends with a hash of its spec, so that a change makes another one. */
  recreate: 'midship.dev/recreate',
  /** Run of a hook that created the object, so that a restart finds it again. */
  hookRun: 'midship.dev/hook-run',
  argoHook: 'argocd.argoproj.io/hook',
  /** SHA of a commit that an app skips, with every later one that changes nothing of the app. */
  hold: 'midship.dev/hold',
  /** SHA that runs meanwhile; without it, the newest in the app's history whose objects differ from those of the held one. */
  pin: 'midship.dev/pin',
  heldBy: 'midship.dev/held-by',
  /** RFC 3339. */
  heldAt: 'midship.dev/held-at',
  /**
   * On a GitRepository: the reaction to a branch that does not continue from the commit in force. `follow`, `halt`, or
   * the id of the commit to accept.
   */
  historyRewrite: 'midship.dev/history-rewrite',
  /** In the metadata of an artifact: the user who pushed the commit to the built-in remote. */
  pushedBy: 'midship.dev/pushed-by',
  /** On an app and a GitRepository of `midship up`: the name that an earlier version gave it. */
  renamedFrom: 'midship.dev/renamed-from',
  suspendReason: 'midship.dev/suspend-reason',
  suspendedBy: 'midship.dev/suspended-by',
  suspendUntil: 'midship.dev/suspend-until',
} as const;

/** On claims and volumes: how binders, schedulers and provisioners of storage speak with each other. */
export const volumeAnnotations = {
  /** On a claim: its volume was chosen once, and is never looked for again. */
  bindCompleted: 'pv.kubernetes.io/bind-completed',
  boundByController: 'pv.kubernetes.io/bound-by-controller',
  provisionedBy: 'pv.kubernetes.io/provisioned-by',
  storageProvisioner: 'volume.kubernetes.io/storage-provisioner',
  legacyStorageProvisioner: 'volume.beta.kubernetes.io/storage-provisioner',
  /** On a claim: the scheduler has a node for its first pod. */
  selectedNode: 'volume.kubernetes.io/selected-node',
  legacyClass: 'volume.beta.kubernetes.io/storage-class',
} as const;

/** On pods that files of a node say, and on their mirrors in the API. */
export const configAnnotations = {
  hash: 'kubernetes.io/config.hash',
  /** On the mirror alone: the UID of the pod that runs. */
  mirror: 'kubernetes.io/config.mirror',
  seen: 'kubernetes.io/config.seen',
  source: 'kubernetes.io/config.source',
} as const;

export const finalizers = {
  foregroundDeletion: 'foregroundDeletion',
  orphan: 'orphan',
  /** In `spec.finalizers` of a Namespace. */
  kubernetes: 'kubernetes',
  jobTracking: 'batch.kubernetes.io/job-tracking',
  flux: 'finalizers.fluxcd.io',
  pvcProtection: 'kubernetes.io/pvc-protection',
  pvProtection: 'kubernetes.io/pv-protection',
  vacProtection: 'kubernetes.io/vac-protection',
  serviceCidrProtection: 'networking.k8s.io/service-cidr-finalizer',
  loadBalancerCleanup: 'service.kubernetes.io/load-balancer-cleanup',
  /** Keeps a volume until its provisioner has removed the data. */
  externalProvisioner: 'external-provisioner.volume.kubernetes.io/finalizer',
  customResourceCleanup: 'customresourcecleanup.apiextensions.k8s.io',
} as const;

export const taints = {
  notReady: 'node.kubernetes.io/not-ready',
  unreachable: 'node.kubernetes.io/unreachable',
  unschedulable: 'node.kubernetes.io/unschedulable',
  memoryPressure: 'node.kubernetes.io/memory-pressure',
  diskPressure: 'node.kubernetes.io/disk-pressure',
  pidPressure: 'node.kubernetes.io/pid-pressure',
  networkUnavailable: 'node.kubernetes.io/network-unavailable',
  outOfService: 'node.kubernetes.io/out-of-service',
  uninitialized: 'node.cloudprovider.kubernetes.io/uninitialized',
  shutDown: 'node.cloudprovider.kubernetes.io/shutdown',
  simulated: 'midship.dev/simulated',
} as const;

/** Namespaces that exist from the first start. */
export const systemNamespaces = ['default', 'kube-system', 'kube-public', 'kube-node-lease', 'flux-system'] as const;

/** Directory of a container's token, the authority's certificate and its namespace. */
export const serviceAccountDirectory = '/var/run/secrets/kubernetes.io/serviceaccount';

/** ConfigMap with the cluster's CA certificate (`ca.crt`), in every namespace. */
export const rootCaConfigMap = 'kube-root-ca.crt';

/** Not of Kubernetes, but of k3s: GET shows the authority of the cluster to machines that want to join. */
export const authorityPath = '/cacerts';

/** Not of Kubernetes: POST answers with a backup of the whole cluster, all keys included. */
export const backupPath = '/midship.dev/v1/backup';

/** Not of Kubernetes: below it the port of the page serves the built-in Git remote. That of the API does so for other servers. */
export const gitPath = '/git/';

/** User that one server is at the API of another, to copy the built-in Git repository and to pass pushes on. */
export const gitPeerUser = 'midship:git-peer';

/** In front of the name of an action on the keys of the cluster. */
export const keysPath = '/midship.dev/v1/keys/';

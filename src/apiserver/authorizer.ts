import { type PersistentVolume, persistentVolumes } from '../api/core/v1/persistent-volume.ts';
import { type Pod, pods } from '../api/core/v1/pod.ts';
import { claimNameOf } from '../api/core/v1/pod-claims.ts';
import { type Secret, secrets } from '../api/core/v1/secret.ts';
import { type Ingress, ingresses } from '../api/networking/v1/ingress.ts';
import { type IngressClass, ingressClasses } from '../api/networking/v1/ingress-class.ts';
import { isServedHere } from '../api/networking/v1/ingress-ownership.ts';
import { type VolumeAttachment, volumeAttachments } from '../api/storage/v1/volume-attachment.ts';
import { labels } from '../api/well-known.ts';
import { parseFieldSelector } from '../machinery/selector.ts';
import { forbidden, StatusError } from '../machinery/status-error.ts';
import type { RequestAttributes } from './kube-api.ts';
import { createRbacAuthorizer, type Decision } from './rbac/rbac-authorizer.ts';
import type { RuleIndex } from './rbac/rule-index.ts';
import type { Registry } from './registry/registry.ts';
import { apiServerUser, type UserInfo } from './user.ts';

/**
 * Authorizes requests. The first of three that allows is enough. The group `system:masters` and the components of this
 * process may do everything. The rules of nodes depend on their pods. The roles and bindings of RBAC come last.
 *
 * The components of this process are recognized by name, and only on the local client: no request over HTTP gets their
 * rights under any name. They need no roles, so that a broken binding cannot stop the cluster from healing.
 */
export interface Authorizer {
  /** @throws StatusError `Forbidden`, worded as RBAC words it */
  authorize(user: UserInfo, attributes: RequestAttributes): void;
  decide(user: UserInfo, attributes: RequestAttributes): Decision;
  /** Users who may do everything, and so may grant every right to others. */
  isPrivileged(user: UserInfo): boolean;
}

const components: ReadonlySet<string> = new Set([apiServerUser.name, 'system:kube-controller-manager', 'system:kube-scheduler']);
const componentPrefix = 'system:midship:';
const nodePrefix = 'system:node:';

const allowed: Decision = { allowed: true, reason: '' };

export function createAuthorizer(registry: Pick<Registry, 'get' | 'stateOf'>, index: RuleIndex): Authorizer {
  const rbac = createRbacAuthorizer(index);

  const isPrivileged = ({ name, groups, isLocal }: UserInfo): boolean =>
    groups.includes('system:masters') || (isLocal === true && (components.has(name) || name.startsWith(componentPrefix)));

  function decide(user: UserInfo, attributes: RequestAttributes): Decision {
    if (isPrivileged(user)) return allowed;
    const isNode = attributes.path === undefined && user.name.startsWith(nodePrefix) && user.groups.includes('system:nodes');
    if (isNode && nodeMay(registry, user.name.slice(nodePrefix.length), attributes)) return allowed;
    return rbac.decide(user, attributes);
  }

  return {
    isPrivileged,
    decide,
    authorize(user, attributes) {
      const decision = decide(user, attributes);
      if (!decision.allowed) throw denial(user, attributes, decision.reason);
    },
  };
}

/** Rules for a kubelet, after upstream's Node authorizer and NodeRestriction. */
function nodeMay(registry: Pick<Registry, 'get' | 'stateOf'>, node: string, attributes: RequestAttributes): boolean {
  const { verb, group = '', resource = '', subresource = '', namespace = '', name = '', fieldSelector = '' } = attributes;
  const { labelSelector = '' } = attributes;
  const reads = verb === 'get' || verb === 'list' || verb === 'watch';
  const boundPod = (): boolean => {
    const pod = registry.get(pods, `${namespace}/${name}`) as Pod | undefined;
    return pod?.spec.nodeName === node;
  };
  switch (group === '' ? resource : `${resource}.${group}`) {
    case 'nodes':
      // As upstream since 1.34: a kubelet reads its own Node and no other.
      if (reads) return subresource === '' && (verb === 'get' ? name : exactValueOf(fieldSelector, 'metadata.name')) === node;
      return name === node && (subresource === '' || subresource === 'status') && ['create', 'update', 'patch'].includes(verb);
    case 'nodenetworkpolicies.network.midship.dev':
      return reads && subresource === '' && (verb === 'get' ? name : exactValueOf(fieldSelector, 'metadata.name')) === node;
    case 'leases.coordination.k8s.io':
      return namespace === 'kube-node-lease' && name === node && ['get', 'create', 'update', 'patch', 'delete'].includes(verb);
    case 'pods':
      if (verb === 'list' || verb === 'watch') return exactValueOf(fieldSelector, 'spec.nodeName') === node;
      if (subresource === 'status') return (verb === 'update' || verb === 'patch') && boundPod();
      if (subresource === 'eviction') return verb === 'create' && boundPod();
      // Mirrors of its own static pods alone: NodeRestriction reads the body.
      if (verb === 'create') return subresource === '';
      return subresource === '' && (verb === 'get' || verb === 'delete') && boundPod();
    case 'secrets':
    case 'configmaps':
    case 'serviceaccounts': {
      // For which pod is said in the body, and checked there.
      if (subresource === 'token') return verb === 'create' && isReferenced(registry, node, { namespace, resource, name });
      const wanted = verb === 'get' ? name : exactValueOf(fieldSelector, 'metadata.name');
      if (!reads || subresource !== '' || wanted === undefined) return false;
      if (isReferenced(registry, node, { namespace, resource, name: wanted })) return true;
      if (resource !== 'secrets') return false;
      return isShownToClients(registry, { namespace, name: wanted }) || isForDriver(registry, node, { namespace, name: wanted });
    }
    case 'persistentvolumeclaims':
      // It says how large a volume is that it has grown: NodeRestriction reads the body.
      if (subresource === 'status' && verb !== 'get')
        return (verb === 'update' || verb === 'patch') && isReferenced(registry, node, { namespace, resource, name });
      return verb === 'get' && subresource === '' && isReferenced(registry, node, { namespace, resource, name });
    case 'csinodes.storage.k8s.io':
      return subresource === '' && name === node && ['get', 'create', 'update', 'patch', 'delete'].includes(verb);
    case 'volumeattachments.storage.k8s.io': {
      const attachment = verb === 'get' ? (registry.get(volumeAttachments, name) as VolumeAttachment | undefined) : undefined;
      return subresource === '' && attachment?.spec.nodeName === node;
    }
    case 'persistentvolumes': {
      if (verb === 'list' || verb === 'watch') return labelSelector === `${labels.storageNode}=${node}`;
      const volume = registry.get(persistentVolumes, name) as PersistentVolume | undefined;
      if (volume === undefined || subresource !== '') return false;
      const isOwn = volume.metadata.labels?.[labels.storageNode] === node;
      // It takes the finalizer away once it has removed the directory: NodeRestriction reads the body.
      if (verb === 'update') return isOwn;
      const { namespace: of = '', name: claim = '' } = volume.spec.claimRef ?? {};
      return verb === 'get' && (isOwn || isReferenced(registry, node, { namespace: of, resource: 'persistentvolumeclaims', name: claim }));
    }
    case 'certificatesigningrequests.certificates.k8s.io':
      return subresource === '' && (reads || verb === 'create');
    case 'events':
    case 'events.events.k8s.io':
      return verb === 'create' || verb === 'patch' || verb === 'update';
    // The Service proxy, cluster DNS and the Ingress proxy of a machine.
    case 'ingresses.networking.k8s.io':
    case 'ingressclasses.networking.k8s.io':
    // The agent: handlers of its runtime.
    case 'runtimeclasses.node.k8s.io':
    // There, too: drivers of volumes.
    case 'csidrivers.storage.k8s.io':
      return reads && subresource === '';
    case 'services':
    case 'namespaces':
    case 'endpointslices.discovery.k8s.io':
      return reads;
    default:
      return false;
  }
}

/** The value that a list or watch is limited to. @throws StatusError for a selector that cannot be read */
export function exactValueOf(fieldSelector: string, field: string): string | undefined {
  if (fieldSelector === '') return undefined;
  return parseFieldSelector(fieldSelector).exactValueOf(field);
}

interface Referenced {
  readonly namespace: string;
  readonly resource: string;
  readonly name: string;
}

/** True when a pod of the node uses the object. Reads some dozens of pods; kubelets fetch each object once. */
function isReferenced(registry: Pick<Registry, 'stateOf'>, node: string, { namespace, resource, name }: Referenced): boolean {
  const bound = registry
    .stateOf(pods)
    .candidates({ namespace: undefined, name: undefined, indexed: node, predicate: undefined, selective: true });
  for (const object of bound.objects.values()) {
    const pod = object as Pod;
    if (pod.metadata.namespace === namespace && referencedNames(pod, resource).has(name)) return true;
  }
  return false;
}

/** True for a Secret that a driver needs to mount the volume of a claim of one of the node's pods. Those for its controller stay closed. */
function isForDriver(
  registry: Pick<Registry, 'get' | 'stateOf'>,
  node: string,
  { namespace, name }: Pick<Referenced, 'namespace' | 'name'>,
): boolean {
  for (const object of registry.stateOf(persistentVolumes).all.objects.values()) {
    const { csi, claimRef } = (object as PersistentVolume).spec;
    const refs = csi === undefined ? [] : nodeSecretsOf(csi);
    if (!refs.some((ref) => ref?.name === name && ref.namespace === namespace)) continue;
    const claim = { namespace: claimRef?.namespace ?? '', resource: 'persistentvolumeclaims', name: claimRef?.name ?? '' };
    if (isReferenced(registry, node, claim)) return true;
  }
  return false;
}

interface SecretRef {
  readonly name?: string;
  readonly namespace?: string;
}

const nodeSecretsOf = (csi: object): readonly (SecretRef | undefined)[] => {
  const { nodePublishSecretRef, nodeStageSecretRef, nodeExpandSecretRef } = csi as Readonly<Record<string, SecretRef | undefined>>;
  return [nodePublishSecretRef, nodeStageSecretRef, nodeExpandSecretRef];
};

/**
 * True for the Secret of a certificate that an Ingress of our class names: each machine shows it to clients. Other Secrets stay closed,
 * whatever an Ingress names.
 */
function isShownToClients(
  registry: Pick<Registry, 'get' | 'stateOf'>,
  { namespace, name }: Pick<Referenced, 'namespace' | 'name'>,
): boolean {
  const secret = registry.get(secrets, `${namespace}/${name}`) as Secret | undefined;
  if (secret?.type !== 'kubernetes.io/tls') return false;
  const classes = [...registry.stateOf(ingressClasses).all.objects.values()] as IngressClass[];
  for (const object of registry.stateOf(ingresses).all.objects.values()) {
    const ingress = object as Ingress;
    if (ingress.metadata.namespace !== namespace) continue;
    if (ingress.spec.tls?.some(({ secretName }) => secretName === name) === true && isServedHere(ingress, classes)) return true;
  }
  return false;
}

/** Names of `serviceaccounts`, `secrets`, `configmaps` or `persistentvolumeclaims` that the pod uses. */
export function referencedNames({ metadata, spec }: Pod, resource: string): ReadonlySet<string> {
  const names = new Set<string>();
  const add = (name: string | undefined): void => {
    if (name !== undefined) names.add(name);
  };
  if (resource === 'serviceaccounts') {
    add(spec.serviceAccountName);
    return names;
  }
  if (resource === 'persistentvolumeclaims') {
    for (const volume of spec.volumes ?? []) add(claimNameOf(metadata.name, volume));
    return names;
  }
  const isSecrets = resource === 'secrets';
  if (isSecrets) for (const { name } of spec.imagePullSecrets ?? []) add(name);
  for (const { secret, configMap, projected, csi } of spec.volumes ?? []) {
    if (isSecrets) add(csi?.nodePublishSecretRef?.name);
    add(isSecrets ? secret?.secretName : configMap?.name);
    for (const source of projected?.sources ?? []) add(isSecrets ? source.secret?.name : source.configMap?.name);
  }
  for (const { env, envFrom } of [...(spec.initContainers ?? []), ...spec.containers, ...(spec.ephemeralContainers ?? [])]) {
    for (const { valueFrom } of env ?? []) add(isSecrets ? valueFrom?.secretKeyRef?.name : valueFrom?.configMapKeyRef?.name);
    for (const source of envFrom ?? []) add(isSecrets ? source.secretRef?.name : source.configMapRef?.name);
  }
  return names;
}

function denial(
  user: UserInfo,
  { verb, group = '', resource = '', subresource, namespace, name = '', path }: RequestAttributes,
  reason: string,
): StatusError {
  const because = reason === '' ? '' : `: ${reason}`;
  const who = `User ${JSON.stringify(user.name)}`;
  if (path !== undefined) {
    const message = `forbidden: ${who} cannot ${verb} path ${JSON.stringify(path)}${because}`;
    return new StatusError({ code: 403, reason: 'Forbidden', message, details: {} });
  }
  const full = subresource === undefined || subresource === '' ? resource : `${resource}/${subresource}`;
  const scope = (namespace ?? '') === '' ? 'at the cluster scope' : `in the namespace ${JSON.stringify(namespace)}`;
  return forbidden(
    { group, resource },
    // The path of a create names no object, so the real server's words do not either.
    verb === 'create' && full === resource ? '' : name,
    `${who} cannot ${verb} resource ${JSON.stringify(full)} in API group ${JSON.stringify(group)} ${scope}${because}`,
  );
}

import { type Container, isMirrorPod, type Pod, type PodSpec, pods } from '../../api/core/v1/pod.ts';
import { type ServiceAccount, serviceAccounts } from '../../api/core/v1/service-account.ts';
import { rootCaConfigMap, serviceAccountDirectory } from '../../api/well-known.ts';
import { deepFreeze } from '../../machinery/object.ts';
import { generateName } from '../registry/names.ts';
import type { Registry } from '../registry/registry.ts';
import type { AdmissionStep } from './admission.ts';

const lifetimeSeconds = 3_607;
const defaultMode = 0o644;
const volumePrefix = 'kube-api-access-';

/**
 * Gives every container access to the API in the name of the pod's service account, unless the pod or the account opts
 * out. It adds a volume with a short-lived token, the certificate of the cluster's authority and the namespace.
 *
 * The pods of one template share the spec that comes out, the random name of the volume included.
 */
export function serviceAccountToken(registry: Pick<Registry, 'get'>, random: () => number): AdmissionStep {
  const filled = new WeakMap<PodSpec, PodSpec>();
  return {
    name: 'ServiceAccountToken',
    appliesTo: (kind, operation) => operation === 'create' && kind.group === pods.group && kind.resource === pods.resource,
    admit({ object }) {
      const pod = object as Pod;
      if (isMirrorPod(pod)) return object;
      const { spec, metadata } = pod;
      const account = registry.get(serviceAccounts, `${metadata.namespace ?? ''}/${spec.serviceAccountName ?? ''}`) as
        | ServiceAccount
        | undefined;
      if (!(spec.automountServiceAccountToken ?? account?.automountServiceAccountToken ?? true)) return object;
      let next = filled.get(spec);
      if (next === undefined) {
        next = withAccess(spec, random);
        if (Object.isFrozen(spec)) filled.set(spec, deepFreeze(next));
      }
      return next === spec ? object : { ...pod, spec: next };
    },
  };
}

function withAccess(spec: PodSpec, random: () => number): PodSpec {
  const lacks = ({ volumeMounts }: Container): boolean =>
    !(volumeMounts ?? []).some(({ mountPath }) => mountPath === serviceAccountDirectory);
  const all = [...(spec.initContainers ?? []), ...(spec.containers ?? [])];
  if (!all.some(lacks)) return spec;
  // A container that a webhook has put in shares the volume of the rest.
  const known = spec.volumes?.find((volume) => volume.name.startsWith(volumePrefix))?.name;
  const name = known ?? generateName(volumePrefix, random);
  const mount = { name, readOnly: true, mountPath: serviceAccountDirectory };
  const mounted = (container: Container): Container =>
    lacks(container) ? { ...container, volumeMounts: [...(container.volumeMounts ?? []), mount] } : container;
  return {
    ...spec,
    ...(known === undefined ? { volumes: [...(spec.volumes ?? []), { name, projected: { sources, defaultMode } }] } : {}),
    ...(spec.initContainers === undefined ? {} : { initContainers: spec.initContainers.map(mounted) }),
    containers: spec.containers.map(mounted),
  };
}

const sources = deepFreeze([
  { serviceAccountToken: { expirationSeconds: lifetimeSeconds, path: 'token' } },
  { configMap: { name: rootCaConfigMap, items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
  { downwardAPI: { items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }] } },
]);

import { deepFreeze } from '../../../machinery/object.ts';
import { isAbsent, mapShared, withDefaults, withField } from '../../copy-on-write.ts';
import type { Container, PodSpec, PodTemplateSpec, Probe, Volume } from './pod.ts';

/**
 * Defaults of the pod spec, shared by Pods and by the templates of workloads. Parts that lack nothing keep their reference, so the pods
 * of one template share it.
 */

/** Frozen specs that are known to lack nothing: a template is looked at once, not once for each of its pods. */
const completeSpecs = new WeakSet<PodSpec>();

/**
 * Defaults a frozen template's spec for a Pod. All pods of the template share the result, so facts about one hold for
 * all.
 */
const podSpecs = new WeakMap<PodSpec, PodSpec>();

/** A template; what only Pods get (`enableServiceLinks`, requests from limits, host ports) is left out, as upstream leaves it out. */
export function defaultPodTemplate<T extends PodTemplateSpec>(template: T): T {
  return withField(template, 'spec', defaultPodSpec(template.spec ?? { containers: [] }));
}

function defaultPodSpec(spec: PodSpec): PodSpec {
  if (completeSpecs.has(spec)) return spec;
  let result = withDefaults(spec, {
    restartPolicy: 'Always',
    dnsPolicy: 'ClusterFirst',
    securityContext: {},
    schedulerName: 'default-scheduler',
    terminationGracePeriodSeconds: 30,
  });
  if (isAbsent(result.containers)) result = withField(result, 'containers', []);
  result = withField(result, 'containers', mapShared(result.containers, defaultContainer));
  if (!isAbsent(result.initContainers)) result = withField(result, 'initContainers', mapShared(result.initContainers, defaultContainer));
  if (!isAbsent(result.ephemeralContainers)) {
    const containers = mapShared(result.ephemeralContainers as readonly Container[], defaultContainer);
    result = withField(result, 'ephemeralContainers', containers as NonNullable<PodSpec['ephemeralContainers']>);
  }
  if (!isAbsent(result.volumes)) result = withField(result, 'volumes', mapShared(result.volumes, defaultVolume));
  // The old name of the field is kept equal to the new one.
  if (isSet(result.serviceAccountName) && result.serviceAccount !== result.serviceAccountName) {
    result = withField(result, 'serviceAccount', result.serviceAccountName);
  } else if (!isSet(result.serviceAccountName) && isSet(result.serviceAccount)) {
    result = withField(result, 'serviceAccountName', result.serviceAccount);
  }
  if (result === spec && Object.isFrozen(spec)) completeSpecs.add(spec);
  return result;
}

/** Defaults of the spec of a Pod: those of a template and what only Pods get. */
export function defaultSpecOfPod(spec: PodSpec): PodSpec {
  const known = podSpecs.get(spec);
  if (known !== undefined) return known;
  const result = completeSpecOfPod(spec);
  if (Object.isFrozen(spec)) podSpecs.set(spec, deepFreeze(result));
  return result;
}

function completeSpecOfPod(spec: PodSpec): PodSpec {
  let result = withDefaults(defaultPodSpec(spec), { enableServiceLinks: true });
  const { hostNetwork } = result;
  const change = (container: Container): Container => {
    const next = requestsFromLimits(container);
    return hostNetwork === true ? hostPortsOf(next) : next;
  };
  result = withField(result, 'containers', mapShared(result.containers, change));
  if (!isAbsent(result.initContainers)) result = withField(result, 'initContainers', mapShared(result.initContainers, change));
  // A negative grace period counts as the shortest one.
  return (result.terminationGracePeriodSeconds ?? 0) < 0 ? withField(result, 'terminationGracePeriodSeconds', 1) : result;
}

const isSet = (text: string | undefined): text is string => !isAbsent(text) && text !== '';

function defaultContainer(container: Container): Container {
  let result = withDefaults(container, {
    resources: {},
    terminationMessagePath: '/dev/termination-log',
    terminationMessagePolicy: 'File',
    imagePullPolicy: isAbsent(container.imagePullPolicy) ? pullPolicyOf(container.image ?? '') : container.imagePullPolicy,
  });
  if (!isAbsent(result.ports)) {
    result = withField(
      result,
      'ports',
      mapShared(result.ports, (port) => withDefaults(port, { protocol: 'TCP' })),
    );
  }
  for (const name of ['livenessProbe', 'readinessProbe', 'startupProbe'] as const) {
    const probe = result[name];
    if (!isAbsent(probe)) result = withField(result, name, defaultProbe(probe));
  }
  const { lifecycle } = result;
  if (!isAbsent(lifecycle)) {
    let hooks = lifecycle;
    for (const name of ['postStart', 'preStop'] as const) {
      const hook = hooks[name];
      if (!isAbsent(hook)) hooks = withField(hooks, name, defaultHandler(hook));
    }
    result = withField(result, 'lifecycle', hooks);
  }
  if (!isAbsent(result.env)) {
    result = withField(
      result,
      'env',
      mapShared(result.env, (variable) => {
        const { valueFrom } = variable;
        if (isAbsent(valueFrom) || isAbsent(valueFrom.fieldRef)) return variable;
        const fieldRef = withDefaults(valueFrom.fieldRef, { apiVersion: 'v1' });
        return withField(variable, 'valueFrom', withField(valueFrom, 'fieldRef', fieldRef));
      }),
    );
  }
  return result;
}

const component = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const imageSyntax = new RegExp(`^(?:[A-Za-z0-9.-]+(?::\\d+)?/)?${component}(?:/${component})*(?::[\\w][\\w.-]{0,127})?(?:@[\\w:.+-]+)?$`);

/** `Always` for the tag `latest`, which is also what no tag and no digest mean. A text that is no image has no tag to look at. */
function pullPolicyOf(image: string): string {
  if (!imageSyntax.test(image)) return 'IfNotPresent';
  const name = image.slice(image.lastIndexOf('/') + 1);
  if (name.includes('@')) return 'IfNotPresent';
  const colon = name.indexOf(':');
  return colon === -1 || name.slice(colon + 1) === 'latest' ? 'Always' : 'IfNotPresent';
}

function defaultProbe(probe: Probe): Probe {
  return defaultHandler(withDefaults(probe, { timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 }));
}

function defaultHandler<T extends Pick<Probe, 'httpGet'>>(handler: T): T {
  const { httpGet } = handler;
  if (isAbsent(httpGet)) return handler;
  return withField<Pick<Probe, 'httpGet'>, 'httpGet'>(handler, 'httpGet', withDefaults(httpGet, { path: '/', scheme: 'HTTP' })) as T;
}

function requestsFromLimits(container: Container): Container {
  const { resources } = container;
  if (isAbsent(resources) || isAbsent(resources.limits)) return container;
  const requests = withDefaults(resources.requests ?? {}, resources.limits);
  return Object.keys(requests).length === 0 ? container : withField(container, 'resources', withField(resources, 'requests', requests));
}

function hostPortsOf(container: Container): Container {
  if (isAbsent(container.ports)) return container;
  const ports = mapShared(container.ports, (port) => ((port.hostPort ?? 0) === 0 ? withField(port, 'hostPort', port.containerPort) : port));
  return withField(container, 'ports', ports);
}

const volumeSources: ReadonlySet<string> = new Set([
  ...['awsElasticBlockStore', 'azureDisk', 'azureFile', 'cephfs', 'cinder', 'configMap', 'csi', 'downwardAPI', 'emptyDir', 'ephemeral'],
  ...['fc', 'flexVolume', 'flocker', 'gcePersistentDisk', 'gitRepo', 'glusterfs', 'hostPath', 'image', 'iscsi', 'nfs'],
  ...['persistentVolumeClaim', 'photonPersistentDisk', 'portworxVolume', 'projected', 'quobyte', 'rbd', 'scaleIO', 'secret'],
  ...['storageos', 'vsphereVolume'],
]);

/** The kinds of source that a volume names; more than one is an error. */
export const volumeSourcesOf = (volume: Volume): readonly string[] =>
  Object.entries(volume)
    .filter(([key, value]) => volumeSources.has(key) && !isAbsent(value))
    .map(([key]) => key);

/** 0644 */
const defaultMode = 420;

type ImageVolume = Volume & { readonly image?: { readonly reference?: string; readonly pullPolicy?: string } };

function defaultVolume(volume: Volume): Volume {
  if (volumeSourcesOf(volume).length === 0) return withField(volume, 'emptyDir', {});
  if (!isAbsent(volume.secret)) return withField(volume, 'secret', withDefaults(volume.secret, { defaultMode }));
  if (!isAbsent(volume.configMap)) return withField(volume, 'configMap', withDefaults(volume.configMap, { defaultMode }));
  const { image } = volume as ImageVolume;
  if (!isAbsent(image)) {
    return withField<ImageVolume, 'image'>(volume, 'image', withDefaults(image, { pullPolicy: pullPolicyOf(image.reference ?? '') }));
  }
  if (!isAbsent(volume.hostPath)) return withField(volume, 'hostPath', withDefaults(volume.hostPath, { type: '' }));
  if (!isAbsent(volume.downwardAPI)) {
    return withField(volume, 'downwardAPI', withFieldRefs(withDefaults(volume.downwardAPI, { defaultMode })));
  }
  if (!isAbsent(volume.projected)) {
    const projected = withDefaults(volume.projected, { defaultMode });
    const sources = mapShared(projected.sources ?? [], (source) => {
      if (!isAbsent(source.serviceAccountToken)) {
        const token = withDefaults(source.serviceAccountToken, { expirationSeconds: 3600 });
        return withField(source, 'serviceAccountToken', token);
      }
      return isAbsent(source.downwardAPI) ? source : withField(source, 'downwardAPI', withFieldRefs(source.downwardAPI));
    });
    return withField(volume, 'projected', isAbsent(projected.sources) ? projected : withField(projected, 'sources', sources));
  }
  return volume;
}

type DownwardItems = NonNullable<NonNullable<Volume['downwardAPI']>['items']>;

function withFieldRefs<T extends { readonly items?: DownwardItems }>(source: T): T {
  const { items } = source;
  if (isAbsent(items)) return source;
  const next: DownwardItems = mapShared(items, (item) =>
    isAbsent(item.fieldRef) ? item : withField(item, 'fieldRef', withDefaults(item.fieldRef, { apiVersion: 'v1' })),
  );
  return next === items ? source : { ...source, items: next };
}

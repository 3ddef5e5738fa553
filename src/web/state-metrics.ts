import { deployments } from '../api/apps/v1/deployment.ts';
import { replicaSets } from '../api/apps/v1/replica-set.ts';
import { jobs } from '../api/batch/v1/job.ts';
import { leases } from '../api/coordination/v1/lease.ts';
import { configMaps } from '../api/core/v1/config-map.ts';
import { namespaces } from '../api/core/v1/namespace.ts';
import { nodes } from '../api/core/v1/node.ts';
import { pods } from '../api/core/v1/pod.ts';
import { secrets } from '../api/core/v1/secret.ts';
import { services } from '../api/core/v1/service.ts';
import { endpointSlices } from '../api/discovery/v1/endpoint-slice.ts';
import type { TextCollector } from '../base/metrics.ts';
import type { InformerSet } from '../client/informer.ts';
import type { KubeObject } from '../machinery/object.ts';
import type { Resource } from '../machinery/resource.ts';
import {
  configMapFamilies,
  endpointSliceFamilies,
  leaseFamilies,
  namespaceFamilies,
  namespaceLabels,
  nodeFamilies,
  nodeLabels,
  secretFamilies,
  serviceFamilies,
} from './state-metrics/cluster-families.ts';
import { type Family, familyLines, namespacedLabels } from './state-metrics/family.ts';
import { podFamilies, podLabels } from './state-metrics/pod-families.ts';
import { deploymentFamilies, jobFamilies, replicaSetFamilies } from './state-metrics/workload-families.ts';

/**
 * The state of objects as `kube_*` families, which are those of kube-state-metrics. Written as text from the caches at each scrape. So
 * series go with their object and 50,000 of them do not hold up the event loop.
 *
 * @see https://github.com/kubernetes/kube-state-metrics/tree/main/docs
 */
export function createStateCollector(informers: InformerSet): TextCollector {
  const collectors = [
    collectorOf(informers, namespaces, namespaceFamilies, namespaceLabels),
    collectorOf(informers, nodes, nodeFamilies, nodeLabels),
    collectorOf(informers, pods, podFamilies, podLabels),
    collectorOf(informers, deployments, deploymentFamilies, namespacedLabels('deployment')),
    collectorOf(informers, replicaSets, replicaSetFamilies, namespacedLabels('replicaset')),
    collectorOf(informers, jobs, jobFamilies, namespacedLabels('job_name')),
    collectorOf(informers, services, serviceFamilies, namespacedLabels('service')),
    collectorOf(informers, endpointSlices, endpointSliceFamilies, namespacedLabels('endpointslice')),
    collectorOf(informers, configMaps, configMapFamilies, namespacedLabels('configmap')),
    collectorOf(informers, secrets, secretFamilies, namespacedLabels('secret')),
    collectorOf(informers, leases, leaseFamilies, namespacedLabels('lease')),
  ];
  return function* collect() {
    for (const each of collectors) yield* each();
  };
}

function collectorOf<T extends KubeObject>(
  informers: InformerSet,
  resource: Resource<T>,
  families: readonly Family<T>[],
  labelsOf: (object: T) => string,
): TextCollector {
  const informer = informers.get(resource);
  return function* collect() {
    // Taken at once: the caller lets others run between lines, and all families of a kind must speak of the same objects.
    const objects = Array.from(informer.list(), (object) => ({ object, labels: labelsOf(object) }));
    for (const family of families) yield* familyLines(family, objects);
  };
}

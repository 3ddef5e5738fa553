import type { Pod } from '../../api/core/v1/pod.ts';
import type { Service } from '../../api/core/v1/service.ts';
import type { Informer } from '../../client/informer.ts';
import { deepEqual, keyOf } from '../../machinery/object.ts';
import { type LabelSelector, selectorOfLabels } from '../../machinery/selector.ts';

/**
 * The pods that each Service selects, kept up to date by events. Labels are compared only when they or the selector
 * change, not for every status of a pod. A Service is synchronized without a look at the pods of others.
 */
export interface Memberships {
  setService(service: Service): void;
  deleteService(key: string): void;
  /** Keys of Services that selected the pod before, or do now. */
  setPod(pod: Pod): readonly string[];
  deletePod(pod: Pod): readonly string[];
  /** Keys of the pods a Service selects. */
  podsOf(serviceKey: string): Iterable<string>;
}

interface Entry {
  readonly source: Service['spec']['selector'];
  readonly selector: LabelSelector;
  readonly pods: Set<string>;
}

export function createMemberships(pods: Informer<Pod>): Memberships {
  /** By namespace, then by key. */
  const services = new Map<string, Map<string, Entry>>();
  const ofPod = new Map<string, { readonly labels: Pod['metadata']['labels']; readonly services: readonly string[] }>();

  function remember(pod: string, labels: Pod['metadata']['labels'], selecting: readonly string[]): void {
    ofPod.set(pod, { labels, services: selecting });
  }

  function deleteService(key: string): void {
    const namespace = namespaceOfKey(key);
    const ofNamespace = services.get(namespace);
    const entry = ofNamespace?.get(key);
    if (ofNamespace === undefined || entry === undefined) return;
    for (const pod of entry.pods) {
      const known = ofPod.get(pod);
      if (known !== undefined) {
        remember(
          pod,
          known.labels,
          known.services.filter((service) => service !== key),
        );
      }
    }
    ofNamespace.delete(key);
    if (ofNamespace.size === 0) services.delete(namespace);
  }

  return {
    setService(service) {
      const key = keyOf(service);
      const namespace = service.metadata.namespace ?? '';
      const source = selectorOfService(service);
      const known = services.get(namespace)?.get(key);
      if (known !== undefined && source !== undefined && deepEqual(known.source, source)) return;
      deleteService(key);
      if (source === undefined) return;
      const entry: Entry = { source, selector: selectorOfLabels(source), pods: new Set() };
      let ofNamespace = services.get(namespace);
      if (ofNamespace === undefined) {
        ofNamespace = new Map();
        services.set(namespace, ofNamespace);
      }
      ofNamespace.set(key, entry);
      for (const pod of pods.list({ namespace, selector: entry.selector })) {
        const podKey = keyOf(pod);
        entry.pods.add(podKey);
        remember(podKey, pod.metadata.labels, [...(ofPod.get(podKey)?.services ?? []), key]);
      }
    },
    deleteService,
    setPod(pod) {
      const key = keyOf(pod);
      const known = ofPod.get(key);
      if (known !== undefined && known.labels === pod.metadata.labels) return known.services;
      const selecting: string[] = [];
      for (const [service, entry] of services.get(pod.metadata.namespace ?? '') ?? []) {
        if (entry.selector.matches(pod.metadata.labels)) {
          entry.pods.add(key);
          selecting.push(service);
        } else entry.pods.delete(key);
      }
      remember(key, pod.metadata.labels, selecting);
      if (known === undefined || known.services.length === 0) return selecting;
      return [...new Set([...known.services, ...selecting])];
    },
    deletePod(pod) {
      const key = keyOf(pod);
      const selecting = ofPod.get(key)?.services ?? [];
      ofPod.delete(key);
      for (const service of selecting)
        services
          .get(pod.metadata.namespace ?? '')
          ?.get(service)
          ?.pods.delete(key);
      return selecting;
    },
    podsOf: (serviceKey) => services.get(namespaceOfKey(serviceKey))?.get(serviceKey)?.pods ?? [],
  };
}

/** Selector of a Service; undefined when it has none, or when other programs keep its endpoints. */
export function selectorOfService({ spec }: Service): Service['spec']['selector'] {
  if (spec.type === 'ExternalName' || spec.selector === undefined || Object.keys(spec.selector).length === 0) return undefined;
  return spec.selector;
}

const namespaceOfKey = (key: string): string => key.slice(0, Math.max(0, key.indexOf('/')));

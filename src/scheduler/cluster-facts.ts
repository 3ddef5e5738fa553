import { namespaces } from '../api/core/v1/namespace.ts';
import { type Service, services } from '../api/core/v1/service.ts';
import { type PodDisruptionBudget, podDisruptionBudgets } from '../api/policy/v1/pod-disruption-budget.ts';
import type { InformerSet } from '../client/informer.ts';
import { deepEqual } from '../machinery/object.ts';
import type { SchedulerCache } from './cache.ts';
import type { ChangeListener } from './plugin.ts';

/** Objects besides nodes and pods that decisions depend on: namespaces, Services and disruption budgets. */
export interface ClusterFacts {
  namespaceLabels(name: string): Readonly<Record<string, string>> | undefined;
  serviceSelectors(namespace: string): Iterable<Readonly<Record<string, string>>>;
  budgets(): readonly PodDisruptionBudget[];
  /** Reports changes that may help a pod, and says to `cache` when answers have to be found again. Returns a function that ends it. */
  watch(cache: SchedulerCache, onChange: ChangeListener): () => void;
}

export function createClusterFacts(informers: InformerSet): ClusterFacts {
  const namespaceInformer = informers.get(namespaces);
  const serviceInformer = informers.get(services);
  const budgetInformer = informers.get(podDisruptionBudgets);
  serviceInformer.addIndex(byNamespace, ({ metadata }) => [metadata.namespace ?? '']);

  return {
    namespaceLabels: (name) => namespaceInformer.get({ name })?.metadata.labels,
    *serviceSelectors(namespace) {
      for (const service of serviceInformer.byIndex(byNamespace, namespace)) {
        const selector = selectorOf(service);
        if (selector !== undefined) yield selector;
      }
    },
    budgets: () => [...budgetInformer.list()],
    watch(cache, onChange) {
      const removeHandlers = [
        namespaceInformer.addHandler(({ before, after }) => {
          if (after === undefined || deepEqual(before?.metadata.labels, after.metadata.labels)) return;
          cache.topologyChanged();
          onChange('NamespaceChanged', before === undefined ? { after } : { before, after });
        }),
        serviceInformer.addHandler(({ before, after }) => {
          if (!deepEqual(before === undefined ? undefined : selectorOf(before), after === undefined ? undefined : selectorOf(after))) {
            cache.topologyChanged();
          }
        }),
      ];
      return () => {
        for (const remove of removeHandlers) remove();
      };
    },
  };
}

const byNamespace = 'scheduler/namespace';

function selectorOf({ spec }: Service): Readonly<Record<string, string>> | undefined {
  const { selector } = spec ?? {};
  return selector === undefined || Object.keys(selector).length === 0 ? undefined : selector;
}

import type { Pod } from '../../api/core/v1/pod.ts';
import type { LabelSelector } from '../../machinery/selector.ts';

/** Selectors of all autoscalers, so that two for the same pods are found. */
export interface SelectorBook {
  /** Notes the selector of an autoscaler. Gives the autoscalers that select one of its pods; none when it is alone. */
  claim(key: string, selector: LabelSelector, pods: readonly Pod[]): readonly string[];
  forget(key: string): void;
}

/** Autoscalers that a message names. */
const maxNamed = 2;

export function createSelectorBook(): SelectorBook {
  const byNamespace = new Map<string, Map<string, LabelSelector>>();
  const namespaceOf = (key: string): string => key.slice(0, key.indexOf('/'));
  return {
    claim(key, selector, pods) {
      const namespace = namespaceOf(key);
      const known = byNamespace.get(namespace) ?? new Map<string, LabelSelector>();
      byNamespace.set(namespace, known);
      known.set(key, selector);
      const rivals: string[] = [];
      for (const [other, chosen] of known) {
        if (rivals.length === maxNamed - 1) break;
        if (other !== key && pods.some(({ metadata }) => chosen.matches(metadata.labels))) rivals.push(other);
      }
      return rivals.length === 0 ? [] : [key, ...rivals];
    },
    forget(key) {
      const namespace = namespaceOf(key);
      const known = byNamespace.get(namespace);
      known?.delete(key);
      if (known?.size === 0) byNamespace.delete(namespace);
    },
  };
}

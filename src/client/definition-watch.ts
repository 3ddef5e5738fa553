import { customResourceDefinitions } from '../api/apiextensions/v1/custom-resource-definition.ts';
import type { KubeObject } from '../machinery/object.ts';
import { groupResourceOf, type Resource } from '../machinery/resource.ts';
import type { Client } from './client.ts';

/** The definition of one kind, followed from a version of the server on. */
export interface DefinitionWatch {
  /**
   * Ends when the definition changes, or when `signal` is aborted. It never fails: a client that may not read definitions waits for
   * the signal.
   */
  changed(signal: AbortSignal): Promise<void>;
}

/** Begins to follow the definition of a kind that the server does not have now. Changes from this call on count. */
export async function followDefinition(client: Client, resource: Resource, signal: AbortSignal): Promise<DefinitionWatch> {
  const fieldSelector = `metadata.name=${groupResourceOf(resource)}`;
  const resourceVersion = await client
    .list(customResourceDefinitions, { fieldSelector, signal })
    .then(({ metadata }) => metadata.resourceVersion)
    .catch(() => undefined);
  return {
    async changed(until) {
      if (resourceVersion === undefined) return aborted(until);
      const stop = new AbortController();
      const ended = AbortSignal.any([until, stop.signal]);
      let isChanged = false;
      const onEvents = (events: readonly { readonly type: string; readonly object: KubeObject }[]): void => {
        if (!events.some(({ type }) => type !== 'BOOKMARK')) return;
        isChanged = true;
        stop.abort();
      };
      await client.watch(customResourceDefinitions, { fieldSelector, resourceVersion, signal: ended, onEvents }).catch(() => undefined);
      // A watch that ended for another reason must not make the caller ask in a tight loop.
      if (!isChanged) await aborted(until);
    },
  };
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });

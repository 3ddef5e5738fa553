import type { Log } from '../../base/log.ts';
import type { Client } from '../../client/client.ts';
import { preconditionsOf } from '../../client/preconditions.ts';
import { keyOf, type OwnerReference } from '../../machinery/object.ts';
import { groupResourceOf } from '../../machinery/resource.ts';
import { isConflict, isNotFound } from '../../machinery/status-error.ts';
import { messageOf } from '../refusals.ts';
import type { FoundObject } from './followed-resources.ts';
import type { PropagationPolicy } from './verdict.ts';

/**
 * Requests of the collector. Each one names the uid and version that was judged, so an object that changed meanwhile refuses it with a
 * conflict. An object that is gone needs no write.
 */
export interface ObjectWrites {
  delete(found: FoundObject, propagationPolicy: PropagationPolicy, signal: AbortSignal): Promise<void>;
  dropOwners(found: FoundObject, lost: readonly OwnerReference[], signal: AbortSignal): Promise<void>;
  dropFinalizer(found: FoundObject, finalizer: string, signal: AbortSignal): Promise<void>;
}

export function createObjectWrites({ client, log }: { readonly client: Client; readonly log: Log }): ObjectWrites {
  async function patchMetadata(
    { resource, object }: FoundObject,
    change: Readonly<Record<string, unknown>>,
    signal: AbortSignal,
  ): Promise<void> {
    const { namespace, name, uid, resourceVersion } = object.metadata;
    const body = { metadata: { uid, resourceVersion, ...change } };
    try {
      await client.patch(resource, { namespace, name }, { type: 'merge', body }, { signal });
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }

  return {
    async delete({ resource, object }, propagationPolicy, signal) {
      const { namespace, name } = object.metadata;
      log.debug({ resource: groupResourceOf(resource), object: keyOf(object), propagationPolicy }, 'Deleted object without owners');
      try {
        await client.delete(resource, { namespace, name }, { propagationPolicy, preconditions: preconditionsOf(object), signal });
      } catch (err) {
        if (isNotFound(err)) return;
        // Changed since it was judged, for example adopted: judged again with what the cache shows then.
        throw isConflict(err) ? err : new Error(`delete ${groupResourceOf(resource)} ${keyOf(object)}: ${messageOf(err)}`, { cause: err });
      }
    },
    async dropOwners(found, lost, signal) {
      const gone = new Set(lost.map(({ uid }) => uid));
      const left = (found.object.metadata.ownerReferences ?? []).filter(({ uid }) => !gone.has(uid));
      await patchMetadata(found, { ownerReferences: left.length === 0 ? null : left }, signal);
    },
    async dropFinalizer(found, finalizer, signal) {
      const left = (found.object.metadata.finalizers ?? []).filter((other) => other !== finalizer);
      await patchMetadata(found, { finalizers: left.length === 0 ? null : left }, signal);
    },
  };
}

import { type EndpointSlice, endpointSlices } from '../../api/discovery/v1/endpoint-slice.ts';
import type { Clock } from '../../base/clock.ts';
import type { Client } from '../../client/client.ts';
import type { Informer } from '../../client/informer.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { isConflict, isNotFound } from '../../machinery/status-error.ts';
import type { EventRecorder } from '../../reconcile/event-recorder.ts';
import { isNamespaceTerminating, messageOf } from '../refusals.ts';
import type { SliceIndex, SlicePlan } from './slice-set.ts';
import { createWrittenSlices } from './written-slices.ts';

/** Carries out plans for the slices of one manager. Sees that no plan is made from slices that the cache does not show yet. */
export interface SliceWriter {
  /** Slices of the manager under the Service; undefined while the cache is behind our own writes. */
  slicesOf(serviceKey: string): readonly EndpointSlice[] | undefined;
  /**
   * Makes all writes of the plan. The owner gets an Event when one fails that a person may want to know of.
   *
   * @throws the first failure; refusals of a namespace that ends are none
   */
  carryOut(
    serviceKey: string,
    plan: SlicePlan,
    context: { readonly owner: KubeObject | undefined; readonly signal: AbortSignal },
  ): Promise<void>;
  forget(serviceKey: string): void;
}

export interface SliceWriterOptions {
  readonly client: Client;
  readonly clock: Clock;
  readonly slices: Informer<EndpointSlice>;
  readonly index: SliceIndex;
  readonly recorder: EventRecorder;
  /** Kind of the owners, for Events. */
  readonly ownerKind: string;
  /** Somebody else changed a slice of the Service. */
  readonly onChange: (serviceKey: string) => void;
}

/** Wait before another look at a Service when the cache has not caught up with our own writes. */
export const staleRetryMs = 20;

export function createSliceWriter(options: SliceWriterOptions): SliceWriter {
  const { client, clock, slices, index, recorder, ownerKind, onChange } = options;
  const written = createWrittenSlices(clock);
  slices.addIndex(index.name, index.serviceKeysOf);
  slices.addHandler(({ before, after }) => {
    const slice = after ?? before;
    if (slice === undefined) return;
    for (const key of index.serviceKeysOf(slice)) {
      if (after === undefined ? written.noteSeenRemoved(key, slice) : written.noteSeen(key, slice)) onChange(key);
    }
  });

  async function removeSlice(key: string, slice: EndpointSlice, signal: AbortSignal): Promise<void> {
    const { namespace, name, uid } = slice.metadata;
    try {
      await client.delete(endpointSlices, { namespace, name }, { signal, ...(uid === undefined ? {} : { preconditions: { uid } }) });
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
    written.noteRemoved(key, slice);
  }

  return {
    slicesOf(key) {
      const cached = slices.byIndex(index.name, key);
      return written.isStale(key, cached) ? undefined : cached;
    },
    async carryOut(key, { create, update, remove }, { owner, signal }) {
      written.begin(key);
      const writes = [
        ...update.map(async (slice) => written.noteWritten(key, await client.update(endpointSlices, slice, { signal }))),
        ...create.map(async (slice) => written.noteWritten(key, await client.create(endpointSlices, slice, { signal }))),
        ...remove.map((slice) => removeSlice(key, slice, signal)),
      ];
      const failures = (await Promise.allSettled(writes)).flatMap((outcome) =>
        outcome.status === 'rejected' ? [outcome.reason as unknown] : [],
      );
      if (written.finish(key)) onChange(key);
      const failure = failures.find((err) => !isNamespaceTerminating(err));
      if (failure === undefined) return;
      if (owner !== undefined && !isConflict(failure)) {
        recorder.record(owner, {
          type: 'Warning',
          reason: 'FailedToUpdateEndpointSlices',
          message: `Error updating Endpoint Slices for ${ownerKind} ${key}: ${messageOf(failure)}`,
        });
      }
      throw failure;
    },
    forget: (key) => written.forget(key),
  };
}

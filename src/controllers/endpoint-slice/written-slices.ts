import type { EndpointSlice } from '../../api/discovery/v1/endpoint-slice.ts';
import type { Clock } from '../../base/clock.ts';

/**
 * Slices that we wrote and what version they got: the cache may be behind, and a plan made from old slices would create some twice.
 */
export interface WrittenSlices {
  noteWritten(serviceKey: string, slice: EndpointSlice): void;
  noteRemoved(serviceKey: string, slice: EndpointSlice): void;
  /** The cache has seen the slice go, whoever removed it. */
  noteSeenRemoved(serviceKey: string, slice: EndpointSlice): void;
  /** The cache has not caught up. Given up after five seconds: a slice may have come and gone between two lists. */
  isStale(serviceKey: string, cached: readonly EndpointSlice[]): boolean;
  /** The change is what we wrote ourselves. */
  isOwn(serviceKey: string, slice: EndpointSlice | undefined): boolean;
  forget(serviceKey: string): void;
}

const patienceMs = 5_000;

interface Written {
  /** Absent once removed. */
  readonly resourceVersion: number | undefined;
  readonly at: number;
}

export function createWrittenSlices(clock: Clock): WrittenSlices {
  const byService = new Map<string, Map<string, Written>>();

  function note(serviceKey: string, name: string, resourceVersion: number | undefined): void {
    let slices = byService.get(serviceKey);
    if (slices === undefined) {
      slices = new Map();
      byService.set(serviceKey, slices);
    }
    slices.set(name, { resourceVersion, at: clock.monotonicMs() });
  }

  return {
    noteWritten: (serviceKey, slice) => note(serviceKey, slice.metadata.name, versionOf(slice)),
    noteRemoved: (serviceKey, slice) => note(serviceKey, slice.metadata.name, undefined),
    noteSeenRemoved: (serviceKey, slice) => byService.get(serviceKey)?.delete(slice.metadata.name),
    isStale(serviceKey, cached) {
      const slices = byService.get(serviceKey);
      if (slices === undefined) return false;
      const versions = new Map(cached.map((slice) => [slice.metadata.name, versionOf(slice)]));
      let isStale = false;
      for (const [name, { resourceVersion, at }] of slices) {
        const seen = versions.get(name);
        const caughtUp = resourceVersion === undefined ? seen === undefined : seen !== undefined && seen >= resourceVersion;
        if (!caughtUp && clock.monotonicMs() - at < patienceMs) isStale = true;
        // Seen, or not to be seen any more: a version of others is theirs to change.
        else if (seen === undefined || !caughtUp) slices.delete(name);
      }
      return isStale;
    },
    isOwn(serviceKey, slice) {
      if (slice === undefined) return false;
      return byService.get(serviceKey)?.get(slice.metadata.name)?.resourceVersion === versionOf(slice);
    },
    forget: (serviceKey) => byService.delete(serviceKey),
  };
}

const versionOf = (slice: EndpointSlice): number => Number(slice.metadata.resourceVersion ?? 0);

import type { EndpointSlice } from '../../api/discovery/v1/endpoint-slice.ts';
import type { Clock } from '../../base/clock.ts';

/**
 * Slices that we wrote and what version they got: the cache may be behind, and a plan made from old slices would create some twice.
 */
export interface WrittenSlices {
  noteWritten(serviceKey: string, slice: EndpointSlice): void;
  noteRemoved(serviceKey: string, slice: EndpointSlice): void;
  /** The cache shows that a slice is gone. True when the Service has to be looked at for that. */
  noteSeenRemoved(serviceKey: string, slice: EndpointSlice): boolean;
  /** The cache has not caught up. Given up after five seconds: a slice may have come and gone between two lists. */
  isStale(serviceKey: string, cached: readonly EndpointSlice[]): boolean;
  /** Writes begin: until `finish`, changes of slices are taken for their echo, which may arrive before the answer does. */
  begin(serviceKey: string): void;
  /** @returns true when a slice was changed meanwhile by someone else */
  finish(serviceKey: string): boolean;
  /** The cache shows a changed slice. True when the Service has to be looked at for that. */
  noteSeen(serviceKey: string, slice: EndpointSlice): boolean;
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
  /** Slices seen to change while their Service is being written: the last version, undefined when gone. */
  const underWay = new Map<string, Map<string, number | undefined>>();

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
    begin: (serviceKey) => underWay.set(serviceKey, new Map()),
    finish(serviceKey) {
      const seen = underWay.get(serviceKey);
      underWay.delete(serviceKey);
      for (const [name, version] of seen ?? []) {
        const own = byService.get(serviceKey)?.get(name);
        if (own === undefined || own.resourceVersion !== version) return true;
      }
      return false;
    },
    noteSeen(serviceKey, slice) {
      const seen = underWay.get(serviceKey);
      if (seen === undefined) return byService.get(serviceKey)?.get(slice.metadata.name)?.resourceVersion !== versionOf(slice);
      seen.set(slice.metadata.name, versionOf(slice));
      return false;
    },
    noteSeenRemoved(serviceKey, slice) {
      const own = byService.get(serviceKey)?.get(slice.metadata.name);
      byService.get(serviceKey)?.delete(slice.metadata.name);
      const seen = underWay.get(serviceKey);
      if (seen === undefined) return own === undefined || own.resourceVersion !== undefined;
      seen.set(slice.metadata.name, undefined);
      return false;
    },
    forget(serviceKey) {
      byService.delete(serviceKey);
      underWay.delete(serviceKey);
    },
  };
}

const versionOf = (slice: EndpointSlice): number => Number(slice.metadata.resourceVersion ?? 0);
